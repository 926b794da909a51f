/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pending_io.c -- a vCPU that left KVM_RUN for an access is not at rest yet
 *
 * Relied upon: KVM_RUN with immediate_exit set completes the access, runs nothing of the guest, and returns
 * EINTR. Only then do the registers tell where the guest stands; a state saved before would run the instruction
 * twice.
 */
#include "machine.h"

int main(void)
{
	/* in al, PORT; mov [0x8000], al; hlt */
	const uint8_t code[] = { 0xe4, PORT, 0xa2, 0, 0x80, 0, 0, 0xf4 };
	struct kvm_regs regs = { .rip = CODE, .rflags = 2 };
	struct machine m;

	machine_new(&m);
	machine_slot(&m, 0);
	machine_vcpu(&m);
	memcpy(m.memory + CODE, code, sizeof(code));
	must(ioctl(m.vcpu_fd, KVM_SET_REGS, &regs) == 0);
	must(ioctl(m.vcpu_fd, KVM_RUN, 0ul) == 0);
	must(m.run->exit_reason == KVM_EXIT_IO && m.run->io.direction == KVM_EXIT_IO_IN);
	*((uint8_t *)m.run + m.run->io.data_offset) = 0x77;

	m.run->immediate_exit = 1;
	must(ioctl(m.vcpu_fd, KVM_RUN, 0ul) < 0 && errno == EINTR);
	must(ioctl(m.vcpu_fd, KVM_GET_REGS, &regs) == 0);
	must(regs.rip == CODE + 2 && (regs.rax & 0xff) == 0x77 && m.memory[0x8000] == 0);

	m.run->immediate_exit = 0;
	must(ioctl(m.vcpu_fd, KVM_RUN, 0ul) == 0);
	must(m.run->exit_reason == KVM_EXIT_HLT && m.memory[0x8000] == 0x77);
	printf("pending access: completed by KVM_RUN with immediate_exit, which runs nothing else\n");
	return 0;
}

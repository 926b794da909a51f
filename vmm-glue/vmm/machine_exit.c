/* SPDX-License-Identifier: BSD-2-Clause */
/* machine_exit.c -- answers the exits of KVM_RUN: port and memory-mapped accesses, full dirty rings, the guest's end */
#include "vmm/machine_internal.h"

#include "util/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define EFER_LME 0x100ull
#define CR4_PAE 0x20ull

void machine_end(struct machine *machine, bool failed, const char *fmt, ...)
{
	pthread_mutex_lock(&machine->lock);
	if (machine->state != MACHINE_ENDED) {
		va_list args;

		va_start(args, fmt);
		vsnprintf(machine->why, sizeof(machine->why), fmt, args);
		va_end(args);
		machine->failed = failed;
		machine->state = MACHINE_ENDED;
	}
	pthread_mutex_unlock(&machine->lock);
	if (machine->host.ended != NULL)
		machine->host.ended(machine->host.opaque);
}

static void machine_exit_io(struct machine *machine, struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++) {
		bus_access(&machine->bus, BUS_PIO, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
		data += run->io.size;
	}
}

/* Did this vCPU try to run 64-bit code on a KVM that cannot? */
static bool machine_lacks_long_mode(struct machine *machine, struct vcpu *vcpu)
{
	struct decant_kvm_caps caps = { .size = sizeof(caps) };
	struct kvm_sregs sregs;

	if (ioctl(vcpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	if (!(sregs.efer & EFER_LME) && !(sregs.cr4 & CR4_PAE))
		return false;
	return decant_kvm_probe(machine->kvm_fd, &caps, NULL) == 0 && !caps.long_mode;
}

static enum vcpu_verdict machine_exit_broken(struct machine *machine, struct vcpu *vcpu, const char *what)
{
	struct kvm_regs regs = { 0 };

	ioctl(vcpu->fd, KVM_GET_REGS, &regs);
	if (machine_lacks_long_mode(machine, vcpu))
		machine_end(machine, true,
			    "this KVM cannot run 64-bit guests: %s on vCPU %u at 0x%llx; use a host "
			    "with VT-x or AMD-V",
			    what, vcpu->index, regs.rip);
	else
		machine_end(machine, true, "%s on vCPU %u at 0x%llx", what, vcpu->index, regs.rip);
	return VCPU_ENDED;
}

/* where @host lies in the guest's memory; where it does not, @host itself */
static uint64_t machine_guest_address(const struct machine *machine, uintptr_t host)
{
	for (uint32_t i = 0; i < decant_memory_count(machine->memory); i++) {
		const struct decant_region *region = decant_memory_region(machine->memory, i);
		const uintptr_t offset = host - (uintptr_t)region->address;

		if (offset < region->length)
			return region->guest_address + offset;
	}
	return host;
}

static enum vcpu_verdict machine_exit_error(struct machine *machine, struct vcpu *vcpu, int error)
{
	char what[128];

	if (error == -EHWPOISON)
		snprintf(what, sizeof(what),
			 "the guest has used memory that has failed in the host (guest address 0x%llx)",
			 (unsigned long long)machine_guest_address(machine, vcpu->poisoned));
	else
		snprintf(what, sizeof(what), "KVM_RUN failed (%s)", strerror(-error));
	return machine_exit_broken(machine, vcpu, what);
}

static enum vcpu_verdict machine_exit_ring(struct machine *machine, struct vcpu *vcpu)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (decant_kvm_ring_full(machine->kvm, &err) == 0)
		return VCPU_GO_ON;
	machine_end(machine, true, "vCPU %u: %s", vcpu->index, err.msg);
	return VCPU_ENDED;
}

static enum vcpu_verdict machine_exit_system(struct machine *machine, const struct kvm_run *run)
{
	bool crash = run->system_event.type == KVM_SYSTEM_EVENT_CRASH;

	machine_end(machine, crash, crash ? "the guest has crashed" : "the guest has shut down");
	return VCPU_ENDED;
}

static enum vcpu_verdict machine_exit_other(struct machine *machine, struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char what[96];

	switch (run->exit_reason) {
	case KVM_EXIT_SHUTDOWN:
		return machine_exit_broken(machine, vcpu, "triple fault");
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "entry failed, hardware reason 0x%llx",
			 run->fail_entry.hardware_entry_failure_reason);
		return machine_exit_broken(machine, vcpu, what);
	case KVM_EXIT_INTERNAL_ERROR:
		snprintf(what, sizeof(what), "KVM internal error %u", run->internal.suberror);
		return machine_exit_broken(machine, vcpu, what);
	default:
		snprintf(what, sizeof(what), "unknown exit %u of KVM_RUN", run->exit_reason);
		return machine_exit_broken(machine, vcpu, what);
	}
}

/* bus devices that end the guest have noted it by the time the access returns */
static enum vcpu_verdict machine_exit_ended(struct machine *machine)
{
	return machine_get_state(machine) == MACHINE_ENDED ? VCPU_ENDED : VCPU_GO_ON;
}

enum vcpu_verdict machine_exit(void *opaque, struct vcpu *vcpu, int error)
{
	struct machine *machine = opaque;
	struct kvm_run *run = vcpu->run;

	if (error < 0)
		return machine_exit_error(machine, vcpu, error);
	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		machine_exit_io(machine, run);
		return machine_exit_ended(machine);
	case KVM_EXIT_MMIO:
		bus_access(&machine->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
			   run->mmio.is_write);
		return machine_exit_ended(machine);
	case KVM_EXIT_DIRTY_RING_FULL:
		return machine_exit_ring(machine, vcpu);
	case KVM_EXIT_INTR:
	case KVM_EXIT_IRQ_WINDOW_OPEN:
		return VCPU_GO_ON;
	case KVM_EXIT_HLT:
		machine_end(machine, false, "the guest has halted");
		return VCPU_ENDED;
	case KVM_EXIT_SYSTEM_EVENT:
		return machine_exit_system(machine, run);
	default:
		return machine_exit_other(machine, vcpu);
	}
}

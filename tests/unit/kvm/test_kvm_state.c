/* SPDX-License-Identifier: BSD-2-Clause */
/* test_kvm_state.c -- all that KVM holds of a VM goes into records and comes back out of them, to the byte */
#include "kvm/irqchip_state.h"
#include "kvm/kvm.h"
#include "kvm/msr.h"
#include "kvm/vcpu_state.h"
#include "support/tiny_vm.h"
#include "util/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MEMORY (4u << 20)

#define MSR_APIC_BASE_ENABLE (1u << 11)
#define LAPIC_TPR 0x080u
#define LAPIC_LDR 0x0d0u
#define LAPIC_SPURIOUS 0x0f0u
#define LAPIC_IRR1 0x210u
#define LAPIC_LVT_TIMER 0x320u
#define LAPIC_LVT_LINT0 0x350u
#define LAPIC_TIMER_DIVIDE 0x3e0u
#define LVT_PERIODIC (1u << 17)
#define LVT_DEADLINE (2u << 17)
#define LVT_MASKED (1u << 16)

struct vms {
	struct tiny_vm *from;
	struct tiny_vm *to;
};

static const struct tiny_vm_opts four_vcpus = { .vcpus = 4, .memory = MEMORY };

static int vms_setup(void **state)
{
	struct vms *vms = calloc(1, sizeof(*vms));

	vms->from = tiny_vm_new(&four_vcpus);
	vms->to = tiny_vm_new(&four_vcpus);
	*state = vms;
	return 0;
}

static int vms_teardown(void **state)
{
	struct vms *vms = *state;

	tiny_vm_free(vms->from);
	tiny_vm_free(vms->to);
	free(vms);
	return 0;
}

static struct decant_state_writer *saved(struct tiny_vm *vm)
{
	struct decant_state_writer *writer = NULL;
	struct decant_error err = DECANT_ERROR_INIT;

	assert_int_equal(decant_state_writer_new(&writer, NULL), 0);
	if (decant_kvm_state_save(vm->kvm, writer, &err) < 0)
		fail_msg("%s", err.msg);
	return writer;
}

static struct decant_state_reader *reader_of(const struct decant_state_writer *writer)
{
	struct decant_state_reader *reader = NULL;
	size_t length;
	const void *bytes = decant_state_writer_bytes(writer, &length);

	assert_int_equal(decant_state_reader_new(bytes, length, &reader, NULL), 0);
	return reader;
}

static int load(struct tiny_vm *vm, const struct decant_state_writer *writer, struct decant_error *err)
{
	struct decant_state_reader *reader = reader_of(writer);
	struct decant_state_record unused;
	int r = decant_kvm_state_load(vm->kvm, reader, err);

	if (r == 0)
		assert_int_equal(decant_state_unused(reader, &unused), 0);
	decant_state_reader_free(reader);
	return r;
}

static void must_load(struct tiny_vm *vm, const struct decant_state_writer *writer)
{
	struct decant_error err = DECANT_ERROR_INIT;

	if (load(vm, writer, &err) < 0)
		fail_msg("%s", err.msg);
}

/* Names the first record that differs. */
static void assert_same_state(const struct decant_state_writer *a, const struct decant_state_writer *b)
{
	struct decant_state_reader *ra = reader_of(a);
	struct decant_state_reader *rb = reader_of(b);
	struct decant_state_record one, other;
	size_t length_a, length_b;
	const void *bytes_a, *bytes_b;

	while (decant_state_next(ra, &one)) {
		if (!decant_state_next(rb, &other) || strcmp(one.name, other.name) != 0 ||
		    one.instance != other.instance || one.length != other.length)
			fail_msg("%s %u: not the same records", one.name, one.instance);
		for (size_t i = 0; i < one.length; i++)
			if (((const uint8_t *)one.data)[i] != ((const uint8_t *)other.data)[i])
				fail_msg("%s %u: differs at byte %zu", one.name, one.instance, i);
	}
	bytes_a = decant_state_writer_bytes(a, &length_a);
	bytes_b = decant_state_writer_bytes(b, &length_b);
	assert_int_equal(length_a, length_b);
	assert_memory_equal(bytes_a, bytes_b, length_a);
	decant_state_reader_free(ra);
	decant_state_reader_free(rb);
}

static void must(int fd, unsigned long request, void *argument)
{
	int r = kvm_ioctl(fd, request, argument);

	if (r < 0)
		fail_msg("ioctl 0x%lx: %s", request, strerror(-r));
}

static void set_msr(int fd, uint32_t index, uint64_t value)
{
	if (kvm_msr_set(fd, index, value) != 1)
		fail_msg("MSR 0x%x is not taken", index);
}

static void lapic_put(struct kvm_lapic_state *lapic, uint32_t at, uint32_t value)
{
	memcpy(lapic->regs + at, &value, sizeof(value));
}

static uint32_t lapic_at(const struct kvm_lapic_state *lapic, uint32_t at)
{
	uint32_t value;

	memcpy(&value, lapic->regs + at, sizeof(value));
	return value;
}

static void odd_registers(const struct tiny_vcpu *vcpu)
{
	struct kvm_regs regs = { .rax = 0x1111111111111111,
				 .rbx = 2,
				 .rcx = ~0ull,
				 .rdx = 4,
				 .rsi = 5,
				 .rdi = 6,
				 .rsp = 0x7000,
				 .rbp = 8,
				 .r8 = 9,
				 .r15 = 0xf00000000000000f,
				 .rip = 0x1234,
				 .rflags = 0x2 | 0x200 | 0x40000 };
	struct kvm_debugregs debug = { .db = { 0x1000, 0x2000, 0x3000, 0x4000 }, .dr6 = 0xffff0ff1, .dr7 = 0x455 };
	struct kvm_sregs sregs;

	must(vcpu->fd, KVM_GET_SREGS, &sregs);
	sregs.cr2 = 0xdeadb000;
	sregs.cr3 = 0x5000;
	sregs.cr8 = 3;
	sregs.idt.base = 0x6000;
	sregs.idt.limit = 0x7ff;
	sregs.gdt.base = 0x8000;
	sregs.gdt.limit = 0x37;
	sregs.fs.base = 0x12345678;
	must(vcpu->fd, KVM_SET_SREGS, &sregs);
	must(vcpu->fd, KVM_SET_REGS, &regs);
	must(vcpu->fd, KVM_SET_DEBUGREGS, &debug);
}

static void odd_xsave(const struct tiny_vm *vm, const struct tiny_vcpu *vcpu)
{
	uint32_t *xsave = calloc(1, vm->kvm->xsave_size);
	bool large = vm->kvm->xsave_size > sizeof(struct kvm_xsave);

	assert_non_null(xsave);
	must(vcpu->fd, large ? KVM_GET_XSAVE2 : KVM_GET_XSAVE, xsave);
	((uint16_t *)xsave)[0] = 0x27f; /* FCW */
	xsave[24 / 4] = 0x1fa0;         /* MXCSR */
	xsave[32 / 4] = 0x01020304;     /* ST0 */
	xsave[36 / 4] = 0x80000000;
	xsave[160 / 4 + 5] = 0xcafe0001; /* XMM1 */
	xsave[512 / 4] |= 0x3;           /* XSTATE_BV: x87, SSE */
	must(vcpu->fd, KVM_SET_XSAVE, xsave);
	free(xsave);
}

static void odd_msrs(const struct tiny_vcpu *vcpu)
{
	set_msr(vcpu->fd, 0x174, 0x10);                                   /* SYSENTER_CS */
	set_msr(vcpu->fd, 0x175, 0x9000);                                 /* SYSENTER_ESP */
	set_msr(vcpu->fd, 0x176, 0xa000);                                 /* SYSENTER_EIP */
	set_msr(vcpu->fd, 0xc0000081, 0x0023001000000000);                /* STAR */
	set_msr(vcpu->fd, 0xc0000084, 0x47700);                           /* SFMASK */
	set_msr(vcpu->fd, 0x277, 0x0007010600070106);                     /* PAT */
	set_msr(vcpu->fd, 0x3b, 12345 + vcpu->index);                     /* TSC_ADJUST */
	set_msr(vcpu->fd, 0x2ff, 0xc06);                                  /* MTRRdefType */
	set_msr(vcpu->fd, 0x250, 0x0606060606060606);                     /* MTRRfix64K */
	set_msr(vcpu->fd, 0x200, 0xc0000000);                             /* MTRRphysBase0 */
	set_msr(vcpu->fd, 0x201, 0xfc0000800);                            /* MTRRphysMask0 */
	set_msr(vcpu->fd, 0x400, 0);                                      /* MC0_CTL */
	set_msr(vcpu->fd, 0x4b564d01, 0x300000 + 0x40 * vcpu->index + 1); /* KVM system time */
}

static void odd_lapic(const struct tiny_vcpu *vcpu, uint32_t timer, uint32_t initial, uint32_t current)
{
	struct kvm_lapic_state lapic;

	must(vcpu->fd, KVM_GET_LAPIC, &lapic);
	lapic_put(&lapic, LAPIC_SPURIOUS, 0x1ff);
	lapic_put(&lapic, LAPIC_LDR, 0x01000000u << vcpu->index);
	lapic_put(&lapic, LAPIC_TPR, 0x30);
	lapic_put(&lapic, LAPIC_IRR1, 0x00010004);
	lapic_put(&lapic, LAPIC_LVT_LINT0, LVT_MASKED | 0x700);
	lapic_put(&lapic, LAPIC_TIMER_DIVIDE, 0xb);
	lapic_put(&lapic, LAPIC_LVT_TIMER, timer);
	lapic_put(&lapic, LAPIC_TIMER_INITIAL, initial);
	lapic_put(&lapic, LAPIC_TIMER_CURRENT, current);
	must(vcpu->fd, KVM_SET_LAPIC, &lapic);
}

static void odd_irqchips(struct tiny_vm *vm)
{
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_PIC_MASTER };
	struct kvm_pit_state2 pit;

	must(vm->vm_fd, KVM_GET_IRQCHIP, &chip);
	chip.chip.pic.imr = 0xb8;
	chip.chip.pic.irr = 0x01;
	chip.chip.pic.irq_base = 0x20;
	chip.chip.pic.elcr = 0x00;
	must(vm->vm_fd, KVM_SET_IRQCHIP, &chip);
	chip = (struct kvm_irqchip){ .chip_id = KVM_IRQCHIP_PIC_SLAVE };
	must(vm->vm_fd, KVM_GET_IRQCHIP, &chip);
	chip.chip.pic.imr = 0x9d;
	chip.chip.pic.irq_base = 0x28;
	chip.chip.pic.elcr = 0x0c;
	must(vm->vm_fd, KVM_SET_IRQCHIP, &chip);
	chip = (struct kvm_irqchip){ .chip_id = KVM_IRQCHIP_IOAPIC };
	must(vm->vm_fd, KVM_GET_IRQCHIP, &chip);
	for (uint32_t pin = 0; pin < KVM_IOAPIC_NUM_PINS; pin++)
		chip.chip.ioapic.redirtbl[pin].bits = 0x0100000000010030ull + pin; /* masked */
	chip.chip.ioapic.id = 5;
	chip.chip.ioapic.irr = 1u << 9;
	must(vm->vm_fd, KVM_SET_IRQCHIP, &chip);
	memset(&pit, 0, sizeof(pit));
	must(vm->vm_fd, KVM_GET_PIT2, &pit);
	pit.channels[0].mode = 2;
	pit.channels[0].count = 1193; /* a tick each millisecond */
	pit.channels[0].gate = 1;
	pit.channels[2].mode = 3;
	pit.channels[2].count = 0x4321;
	pit.flags = KVM_PIT_FLAGS_SPEAKER_DATA_ON;
	must(vm->vm_fd, KVM_SET_PIT2, &pit);
}

/* vCPU 0 has been running, 1 is halted with a deadline set, 2 has got INIT, 3 waits for its first. */
static void odd_state(struct tiny_vm *vm)
{
	struct kvm_mp_state halted = { .mp_state = KVM_MP_STATE_HALTED };
	struct kvm_mp_state init = { .mp_state = KVM_MP_STATE_INIT_RECEIVED };
	struct kvm_vcpu_events events;

	odd_irqchips(vm);
	for (uint32_t i = 0; i < 3; i++) {
		odd_registers(&vm->vcpu[i]);
		odd_xsave(vm, &vm->vcpu[i]);
		odd_msrs(&vm->vcpu[i]);
	}
	odd_lapic(&vm->vcpu[0], LVT_PERIODIC | 0x40, 1000000, 400000);
	odd_lapic(&vm->vcpu[1], LVT_DEADLINE | 0x41, 0, 0);
	set_msr(vm->vcpu[1].fd, MSR_TSC_DEADLINE, __builtin_ia32_rdtsc() + 50000000);
	must(vm->vcpu[0].fd, KVM_GET_VCPU_EVENTS, &events);
	events.nmi.pending = 1;
	events.nmi.masked = 1;
	events.interrupt.shadow = KVM_X86_SHADOW_INT_STI;
	events.exception.injected = 1;
	events.exception.nr = 13;
	events.exception.has_error_code = 1;
	events.exception.error_code = 0x18;
	must(vm->vcpu[0].fd, KVM_SET_VCPU_EVENTS, &events);
	must(vm->vcpu[1].fd, KVM_SET_MP_STATE, &halted);
	must(vm->vcpu[2].fd, KVM_SET_MP_STATE, &init);
}

static void test_state_load__saves_again_to_the_same_bytes(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first, *second;

	odd_state(vms->from);
	assert_int_equal(decant_kvm_clock_stop(vms->from->kvm, NULL), 0);
	first = saved(vms->from);
	must_load(vms->to, first);
	usleep(60000); /* timers that were armed too early would have run by now */
	second = saved(vms->to);

	assert_same_state(first, second);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
}

static void test_state_load__twice(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *fresh = saved(vms->to);
	struct decant_state_writer *first, *second, *third;

	odd_state(vms->from);
	first = saved(vms->from);
	must_load(vms->to, first);
	must_load(vms->to, first);
	second = saved(vms->to);
	assert_same_state(first, second);

	must_load(vms->to, fresh);
	third = saved(vms->to);
	assert_same_state(fresh, third);
	decant_state_writer_free(fresh);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
	decant_state_writer_free(third);
}

static void test_state_load__really_sets_what_was_odd(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first;
	struct kvm_lapic_state lapic;
	struct kvm_mp_state mp_state;
	struct kvm_irqchip chip = { .chip_id = KVM_IRQCHIP_IOAPIC };
	struct kvm_regs regs;
	uint64_t value = 0;

	odd_state(vms->from);
	first = saved(vms->from);
	must_load(vms->to, first);

	must(vms->to->vcpu[0].fd, KVM_GET_REGS, &regs);
	assert_true(regs.r15 == 0xf00000000000000f);
	assert_int_equal(kvm_msr_get(vms->to->vcpu[2].fd, 0x3b, &value), 1);
	assert_int_equal(value, 12347);
	must(vms->to->vcpu[1].fd, KVM_GET_LAPIC, &lapic);
	assert_int_equal(lapic_at(&lapic, LAPIC_IRR1), 0x00010004);
	must(vms->to->vcpu[2].fd, KVM_GET_MP_STATE, &mp_state);
	assert_int_equal(mp_state.mp_state, KVM_MP_STATE_INIT_RECEIVED);
	must(vms->to->vcpu[3].fd, KVM_GET_MP_STATE, &mp_state);
	assert_int_equal(mp_state.mp_state, KVM_MP_STATE_UNINITIALIZED);
	must(vms->to->vm_fd, KVM_GET_IRQCHIP, &chip);
	assert_int_equal(chip.chip.ioapic.irr, 1u << 9);
	decant_state_writer_free(first);
}

/* A periodic timer that is due stands at 0 until the host has run its handler, which takes a busy host a while. */
static void await_count(int vcpu_fd, struct kvm_lapic_state *lapic)
{
	const uint64_t deadline = clock_deadline_ns(30 * NSEC_PER_SEC);

	do
		must(vcpu_fd, KVM_GET_LAPIC, lapic);
	while (lapic_at(lapic, LAPIC_TIMER_CURRENT) == 0 && clock_now_ns() < deadline);
}

static void test_clock_start__arms_the_timers(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first;
	struct kvm_lapic_state lapic;
	struct kvm_pit_state2 pit;

	odd_state(vms->from);
	first = saved(vms->from);
	must_load(vms->to, first);
	must(vms->to->vcpu[0].fd, KVM_GET_LAPIC, &lapic);
	assert_int_equal(lapic_at(&lapic, LAPIC_TIMER_INITIAL), 0);
	must(vms->to->vm_fd, KVM_GET_PIT2, &pit);
	assert_int_equal(pit.channels[0].mode, 0xff);

	assert_int_equal(decant_kvm_clock_start(vms->to->kvm, NULL, NULL), 0);

	await_count(vms->to->vcpu[0].fd, &lapic);
	assert_int_equal(lapic_at(&lapic, LAPIC_TIMER_INITIAL), 1000000);
	assert_in_range(lapic_at(&lapic, LAPIC_TIMER_CURRENT), 1, 1000000);
	must(vms->to->vm_fd, KVM_GET_PIT2, &pit);
	assert_int_equal(pit.channels[0].mode, 2);
	assert_int_equal(pit.channels[0].count, 1193);
	decant_state_writer_free(first);
}

static void test_state_save__without_interrupt_chips(void **state)
{
	const struct tiny_vm_opts opts = { .vcpus = 1, .memory = MEMORY, .no_irqchip = true };
	struct vms vms = { .from = tiny_vm_new(&opts), .to = tiny_vm_new(&opts) };
	struct decant_state_writer *first, *second;

	(void)state;
	odd_registers(&vms.from->vcpu[0]);
	first = saved(vms.from);
	must_load(vms.to, first);
	second = saved(vms.to);

	assert_same_state(first, second);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
	tiny_vm_free(vms.from);
	tiny_vm_free(vms.to);
}

static void test_state_load__into_a_vm_without_interrupt_chips(void **state)
{
	const struct tiny_vm_opts opts = { .vcpus = 4, .memory = MEMORY, .no_irqchip = true };
	struct vms *vms = *state;
	struct tiny_vm *bare = tiny_vm_new(&opts);
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_state_writer *first = saved(vms->from);

	assert_int_equal(load(bare, first, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "PIT"));
	decant_state_writer_free(first);
	tiny_vm_free(bare);
}

static void test_state_load__pae_pointers_are_registers(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first, *second;
	struct kvm_sregs2 sregs = { 0 };
	const uint64_t entry = 0x3001;

	if (!vms->from->kvm->sregs2)
		tiny_vm_skip("this KVM has no KVM_GET_SREGS2");
	memcpy(vms->from->ram + 0x2000, &entry, sizeof(entry));
	must(vms->from->vcpu[0].fd, KVM_GET_SREGS2, &sregs);
	sregs.cr3 = 0x2000;
	sregs.cr4 |= 0x20;
	sregs.cr0 |= 0x80000001;
	sregs.flags = KVM_SREGS2_FLAGS_PDPTRS_VALID;
	sregs.pdptrs[0] = 0x7001;
	must(vms->from->vcpu[0].fd, KVM_SET_SREGS2, &sregs);
	must(vms->from->vcpu[0].fd, KVM_GET_SREGS2, &sregs);
	if (!(sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID))
		tiny_vm_skip("this KVM runs no guest with paging");
	first = saved(vms->from);
	memcpy(vms->to->ram, vms->from->ram, MEMORY);
	must_load(vms->to, first);
	second = saved(vms->to);
	assert_same_state(first, second);

	memset(&sregs, 0, sizeof(sregs));
	must(vms->to->vcpu[0].fd, KVM_GET_SREGS2, &sregs);
	assert_int_equal(sregs.pdptrs[0], 0x7001);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
}

/* A copy of @from without the record @leave, or with its version, length or data changed. */
struct tamper {
	const char *name;
	uint32_t instance;
	bool leave;
	uint32_t version;
	size_t cut;
	size_t flip; /* byte to turn over, 1-based */
};

static struct decant_state_writer *tampered(const struct decant_state_writer *from, const struct tamper *tamper)
{
	struct decant_state_writer *copy = NULL;
	struct decant_state_reader *reader = reader_of(from);
	struct decant_state_record record;

	assert_int_equal(decant_state_writer_new(&copy, NULL), 0);
	while (decant_state_next(reader, &record)) {
		bool this = strcmp(record.name, tamper->name) == 0 && record.instance == tamper->instance;
		uint8_t *data = malloc(record.length);

		memcpy(data, record.data, record.length);
		if (this && tamper->flip != 0)
			data[tamper->flip - 1] ^= 0xff;
		if (!this || !tamper->leave)
			assert_int_equal(decant_state_put(copy, record.name, record.instance,
							  this && tamper->version ? tamper->version
										  : record.version,
							  data, record.length - (this ? tamper->cut : 0), NULL),
					 0);
		free(data);
	}
	decant_state_reader_free(reader);
	return copy;
}

static void test_state_load__refuses_what_is_wrong(void **state)
{
	static const struct {
		struct tamper tamper;
		int code;
		const char *says;
	} cases[] = {
		{ { .name = "kvm.clock", .leave = true }, -EPROTO, "kvm.clock" },
		{ { .name = "kvm.clock", .version = 2 }, -EPROTO, "kvm.clock" },
		{ { .name = "kvm.clock", .cut = 1 }, -EPROTO, "kvm.clock" },
		{ { .name = "kvm.irqchip", .instance = 2, .cut = 4 }, -EPROTO, "kvm.irqchip" },
		{ { .name = "kvm.irqchip", .instance = 2, .leave = true }, -EOPNOTSUPP, "IOAPIC" },
		{ { .name = "kvm.pit", .version = 9 }, -EPROTO, "kvm.pit" },
		{ { .name = "kvm.vcpu.sregs", .instance = 3, .leave = true }, -EPROTO, "kvm.vcpu.sregs" },
		{ { .name = "kvm.vcpu.regs", .instance = 1, .cut = 8 }, -EPROTO, "kvm.vcpu.regs" },
		{ { .name = "kvm.vcpu.msrs", .instance = 1, .cut = 8 }, -EPROTO, "kvm.vcpu.msrs" },
		{ { .name = "kvm.vcpu.msrs", .instance = 1, .version = 7 }, -EPROTO, "kvm.vcpu.msrs" },
		{ { .name = "kvm.vcpu.lapic", .instance = 1, .leave = true }, -EOPNOTSUPP, "local APIC" },
		{ { .name = "kvm.vcpu.mp_state", .instance = 0, .flip = 1 }, -EOPNOTSUPP, "MP_STATE" },
		{ { .name = "kvm.vcpu.xsave", .instance = 0, .flip = 521 }, -EOPNOTSUPP, "XSAVE" },
		{ { .name = "kvm.vcpu.xcrs", .instance = 0, .flip = 16 }, -EOPNOTSUPP, "XCRS" },
	};
	struct vms *vms = *state;
	struct decant_state_writer *first = saved(vms->from);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct decant_state_writer *bad = tampered(first, &cases[i].tamper);
		struct decant_error err = DECANT_ERROR_INIT;
		int r = load(vms->to, bad, &err);

		if (r != cases[i].code || strstr(err.msg, cases[i].says) == NULL)
			fail_msg("case %zu: %d: %s", i, r, err.msg);
		decant_state_writer_free(bad);
	}
	must_load(vms->to, first);
	decant_state_writer_free(first);
}

/* Turns one MSR of the record into another that no processor has. */
static struct decant_state_writer *with_strange_msr(const struct decant_state_writer *from, uint64_t value,
						    uint64_t reset)
{
	struct decant_state_writer *copy = NULL;
	struct decant_state_reader *reader = reader_of(from);
	struct decant_state_record record;

	assert_int_equal(decant_state_writer_new(&copy, NULL), 0);
	while (decant_state_next(reader, &record)) {
		struct kvm_msr_value *values = calloc(1, record.length + sizeof(*values));
		size_t length = record.length;

		memcpy(values, record.data, length);
		if (strcmp(record.name, "kvm.vcpu.msrs") == 0 && record.instance == 1) {
			values[length / sizeof(*values)] =
				(struct kvm_msr_value){ .index = 0xdead0, .value = value, .reset = reset };
			length += sizeof(*values);
		}
		assert_int_equal(decant_state_put(copy, record.name, record.instance, record.version, values,
						  length, NULL),
				 0);
		free(values);
	}
	decant_state_reader_free(reader);
	return copy;
}

static void test_state_load__msr_that_this_host_lacks(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first = saved(vms->from);
	struct decant_state_writer *used = with_strange_msr(first, 7, 0);
	struct decant_state_writer *unused = with_strange_msr(first, 9, 9);
	struct decant_error err = DECANT_ERROR_INIT;

	assert_int_equal(load(vms->to, used, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.msg, "MSR 0xdead0"));
	must_load(vms->to, unused);
	decant_state_writer_free(first);
	decant_state_writer_free(used);
	decant_state_writer_free(unused);
}

static void test_state_save__from_a_guest_that_ran(void **state)
{
	struct vms *vms = *state;
	struct decant_state_writer *first, *second;
	uint8_t code[TINY_CODE_MAX];

	tiny_vm_program(vms->from, 0, code, tiny_code_sweep(code, 0x10000, 16, 1));
	tiny_vm_start(vms->from, 0);
	usleep(20000);
	tiny_vm_stop(vms->from, 0);
	first = saved(vms->from);
	must_load(vms->to, first);
	second = saved(vms->to);

	assert_same_state(first, second);
	decant_state_writer_free(first);
	decant_state_writer_free(second);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_state_load__saves_again_to_the_same_bytes, vms_setup,
						vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_load__twice, vms_setup, vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_load__really_sets_what_was_odd, vms_setup,
						vms_teardown),
		cmocka_unit_test_setup_teardown(test_clock_start__arms_the_timers, vms_setup, vms_teardown),
		cmocka_unit_test(test_state_save__without_interrupt_chips),
		cmocka_unit_test_setup_teardown(test_state_load__into_a_vm_without_interrupt_chips, vms_setup,
						vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_load__pae_pointers_are_registers, vms_setup,
						vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_load__refuses_what_is_wrong, vms_setup, vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_load__msr_that_this_host_lacks, vms_setup,
						vms_teardown),
		cmocka_unit_test_setup_teardown(test_state_save__from_a_guest_that_ran, vms_setup, vms_teardown),
	};

	if (!tiny_vm_available())
		return 77;
	return cmocka_run_group_tests_name("kvm_state", tests, NULL, NULL);
}

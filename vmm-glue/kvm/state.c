/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state.c -- saving and loading all that KVM holds of a VM
 *
 * docs/kvm-state.md has the order and its reasons. Between a load and decant_kvm_clock_start() clocks and timers
 * are kept aside: the VM stands still in every respect, and a save gives the very bytes that were loaded.
 */
#include "kvm/clock_state.h"
#include "kvm/irqchip_state.h"
#include "kvm/vcpu_state.h"

int decant_kvm_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err)
{
	int r = kvm->clock.captured ? 0 : decant_kvm_clock_stop(kvm, err);

	if (r == 0)
		r = kvm_clock_state_save(kvm, state, err);
	/* the vCPUs first: reading mp_state may still move an interrupt message */
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++)
		r = kvm_vcpu_state_save(kvm, kvm->vcpus[i], state, err);
	if (r == 0)
		r = kvm_irqchip_state_save(kvm, state, err);
	return r;
}

static int state_check(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	int r = kvm_irqchip_state_check(kvm, state, err);

	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++)
		r = kvm_vcpu_state_check(kvm, kvm->vcpus[i], state, err);
	return r == 0 ? kvm_clock_state_check(kvm, err) : r;
}

int decant_kvm_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	int r = kvm_clock_state_load(kvm, state, err);

	if (r == 0)
		r = kvm_irqchip_state_load(kvm, state, err);
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++)
		r = kvm_vcpu_state_load(kvm, kvm->vcpus[i], state, err);
	return r == 0 ? state_check(kvm, state, err) : r;
}

int decant_kvm_clock_start(struct decant_kvm *kvm, const struct decant_handover *handover,
			   struct decant_error *err)
{
	int r = kvm->clock.captured ? kvm_clock_start(kvm, handover, err) : 0;

	/* timers last: they count in the clocks that have just been set */
	for (uint32_t i = 0; r == 0 && i < kvm->vcpu_count; i++)
		r = kvm_vcpu_timers_arm(kvm->vcpus[i], err);
	if (r == 0)
		r = kvm_irqchip_timer_arm(kvm, err);
	if (r == 0)
		kvm->clock.captured = false;
	return r;
}

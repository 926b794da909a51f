/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * irqchip_state.c -- both PICs, the IOAPIC and the PIT, as records
 *
 * The PIT's count_load_time is an instant of the host's clock and means nothing elsewhere; KVM starts a fresh
 * period when a state is set anyway. It travels as 0. Counter 0 raises an interrupt by itself, so a load sets it
 * in a mode in which KVM runs no timer and keeps the true mode aside until decant_kvm_clock_start().
 */
#include "kvm/irqchip_state.h"

#include <string.h>

#define IRQCHIP_RECORD "kvm.irqchip"
#define PIT_RECORD "kvm.pit"
#define RECORD_VERSION 1u
#define IRQCHIPS 3u
#define PIT_MODE_NONE 0xff /* as after a reset: counter 0 does not run */

static const char *const irqchip_names[IRQCHIPS] = { "PIC 1", "PIC 2", "IOAPIC" };

_Static_assert(KVM_IRQCHIP_PIC_MASTER == 0 && KVM_IRQCHIP_PIC_SLAVE == 1 && KVM_IRQCHIP_IOAPIC == 2,
	       "the record's instance is KVM's number");

/* 1, 0 if KVM has none */
static int irqchip_get(const struct decant_kvm *kvm, uint32_t chip, struct kvm_irqchip *state)
{
	int r;

	memset(state, 0, sizeof(*state));
	state->chip_id = chip;
	r = kvm_ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, state);
	if (r == -ENXIO)
		return 0;
	return r < 0 ? r : 1;
}

/* 1, 0 if KVM has none */
static int pit_get(const struct decant_kvm *kvm, struct kvm_pit_state2 *pit)
{
	int r;

	memset(pit, 0, sizeof(*pit));
	r = kvm_ioctl(kvm->vm_fd, KVM_GET_PIT2, pit);
	if (r == -ENXIO)
		return 0;
	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		pit->channels[i].count_load_time = 0;
	if (kvm->pit_aside)
		pit->channels[0].mode = kvm->pit_mode;
	return 1;
}

uint32_t kvm_irqchip_shape(const struct decant_kvm *kvm)
{
	struct kvm_irqchip chip;
	struct kvm_pit_state2 pit;

	return (irqchip_get(kvm, KVM_IRQCHIP_IOAPIC, &chip) == 1 ? 1u : 0u) | (pit_get(kvm, &pit) == 1 ? 2u : 0u);
}

int kvm_irqchip_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err)
{
	struct kvm_pit_state2 pit;
	int r;

	for (uint32_t i = 0; i < IRQCHIPS; i++) {
		struct kvm_irqchip chip;

		r = irqchip_get(kvm, i, &chip);
		if (r < 0)
			return decant_error_set(err, r, "KVM_GET_IRQCHIP: %s: %s", irqchip_names[i], strerror(-r));
		if (r > 0)
			r = decant_state_put(state, IRQCHIP_RECORD, i, RECORD_VERSION, &chip, sizeof(chip), err);
		if (r < 0)
			return r;
	}
	r = pit_get(kvm, &pit);
	if (r < 0)
		return decant_error_set(err, r, "KVM_GET_PIT2: %s", strerror(-r));
	return r == 0 ? 0 : decant_state_put(state, PIT_RECORD, 0, RECORD_VERSION, &pit, sizeof(pit), err);
}

/* 1 with the record in *@data, 0 if there is none, -errno */
static int irqchip_record(struct decant_state_reader *state, const char *name, uint32_t instance, void *data,
			  size_t length, struct decant_error *err)
{
	struct decant_state_record found;
	int r = decant_state_get(state, name, instance, RECORD_VERSION, &found, err);

	if (r == -ENOENT) {
		decant_error_clear(err);
		return 0;
	}
	if (r < 0)
		return r;
	if (found.length != length)
		return decant_error_set(err, -EPROTO, "record %s %u: %zu bytes", name, instance, found.length);
	memcpy(data, found.data, length);
	return 1;
}

static int irqchip_refused(const char *call, const char *what, int code, struct decant_error *err)
{
	if (code == -ENXIO)
		return decant_error_set(err, -EOPNOTSUPP, "%s: %s: this VM has none in the kernel", call, what);
	return decant_error_set(err, code, "%s: %s: %s", call, what, strerror(-code));
}

static int pit_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	struct kvm_pit_state2 pit;
	int r = irqchip_record(state, PIT_RECORD, 0, &pit, sizeof(pit), err);

	kvm->pit_aside = false;
	if (r <= 0)
		return r;
	kvm->pit_aside = true;
	kvm->pit_mode = pit.channels[0].mode;
	pit.channels[0].mode = PIT_MODE_NONE;
	r = kvm_ioctl(kvm->vm_fd, KVM_SET_PIT2, &pit);
	return r < 0 ? irqchip_refused("KVM_SET_PIT2", "PIT", r, err) : 0;
}

int kvm_irqchip_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	int r = pit_load(kvm, state, err);

	for (uint32_t i = 0; r >= 0 && i < IRQCHIPS; i++) {
		struct kvm_irqchip chip;

		r = irqchip_record(state, IRQCHIP_RECORD, i, &chip, sizeof(chip), err);
		if (r <= 0)
			continue;
		chip.chip_id = i;
		r = kvm_ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip);
		if (r < 0)
			return irqchip_refused("KVM_SET_IRQCHIP", irqchip_names[i], r, err);
	}
	return r < 0 ? r : 0;
}

static int irqchip_differs(const char *what, struct decant_error *err)
{
	return decant_error_set(err, -EOPNOTSUPP, "%s: this host's KVM makes something else of the guest's", what);
}

int kvm_irqchip_state_check(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err)
{
	struct kvm_pit_state2 pit, pit_now;
	int r, now;

	for (uint32_t i = 0; i < IRQCHIPS; i++) {
		struct kvm_irqchip chip, chip_now;

		r = irqchip_record(state, IRQCHIP_RECORD, i, &chip, sizeof(chip), err);
		if (r < 0)
			return r;
		now = irqchip_get(kvm, i, &chip_now);
		if (r != now ||
		    (r == 1 && memcmp(chip.chip.dummy, chip_now.chip.dummy, sizeof(chip.chip.dummy)) != 0))
			return irqchip_differs(irqchip_names[i], err);
	}
	r = irqchip_record(state, PIT_RECORD, 0, &pit, sizeof(pit), err);
	if (r < 0)
		return r;
	now = pit_get(kvm, &pit_now);
	if (r != now || (r == 1 && memcmp(&pit, &pit_now, sizeof(pit)) != 0))
		return irqchip_differs("PIT", err);
	return 0;
}

int kvm_irqchip_timer_arm(struct decant_kvm *kvm, struct decant_error *err)
{
	struct kvm_pit_state2 pit;
	int r;

	if (!kvm->pit_aside)
		return 0;
	r = pit_get(kvm, &pit);
	if (r == 1)
		r = kvm_ioctl(kvm->vm_fd, KVM_SET_PIT2, &pit);
	if (r < 0)
		return irqchip_refused("KVM_SET_PIT2", "PIT", r, err);
	kvm->pit_aside = false;
	return 0;
}

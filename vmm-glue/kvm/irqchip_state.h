/* SPDX-License-Identifier: BSD-2-Clause */
/* irqchip_state.h -- both PICs, the IOAPIC and the PIT, as records */
#ifndef KVM_IRQCHIP_STATE_H
#define KVM_IRQCHIP_STATE_H

#include "kvm/kvm.h"

int kvm_irqchip_state_save(struct decant_kvm *kvm, struct decant_state_writer *state, struct decant_error *err);

/* kvm_irqchip_state_load() -- before the vCPUs; the PIT's counter 0 is left disarmed */
int kvm_irqchip_state_load(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err);

/* kvm_irqchip_state_check() -- read back what was loaded */
int kvm_irqchip_state_check(struct decant_kvm *kvm, struct decant_state_reader *state, struct decant_error *err);

/* kvm_irqchip_timer_arm() -- let the PIT count */
int kvm_irqchip_timer_arm(struct decant_kvm *kvm, struct decant_error *err);

/* kvm_irqchip_shape() -- bit 0: PICs and IOAPIC are in the kernel, bit 1: the PIT too */
uint32_t kvm_irqchip_shape(const struct decant_kvm *kvm);

#endif

# SPDX-License-Identifier: BSD-2-Clause
libdecant_kvm_srcs += \
	vmm-glue/kvm/clock_state.c \
	vmm-glue/kvm/cpuid.c \
	vmm-glue/kvm/dirty.c \
	vmm-glue/kvm/dirty_log.c \
	vmm-glue/kvm/dirty_ring.c \
	vmm-glue/kvm/irqchip_state.c \
	vmm-glue/kvm/kvm.c \
	vmm-glue/kvm/marks.c \
	vmm-glue/kvm/memslot.c \
	vmm-glue/kvm/msr.c \
	vmm-glue/kvm/probe.c \
	vmm-glue/kvm/shape.c \
	vmm-glue/kvm/slices.c \
	vmm-glue/kvm/state.c \
	vmm-glue/kvm/vcpu_state.c

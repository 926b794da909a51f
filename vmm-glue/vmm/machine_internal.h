/* SPDX-License-Identifier: BSD-2-Clause */
/* machine_internal.h -- what the files of a machine share; nobody else includes it */
#ifndef VMM_MACHINE_INTERNAL_H
#define VMM_MACHINE_INTERNAL_H

#include "guest/stress_host.h"
#include "vmm/bus.h"
#include "vmm/machine.h"
#include "vmm/serial.h"
#include "vmm/vcpu.h"

/* RAM lies below the hole for devices as far as it fits, the rest from 4 GiB on. */
#define MACHINE_LOW_MAX (3ull << 30)
#define MACHINE_HIGH_ADDRESS (4ull << 30)

struct machine {
	/* set at creation, read-only after */
	struct machine_config config;
	struct machine_host host;
	int kvm_fd;
	int vm_fd;
	bool owns_memory;
	struct decant_memory *memory;
	struct decant_kvm *kvm;
	struct bus bus;
	struct vcpu_group vcpus;
	struct decant_kvm_slices *slices;
	struct serial serial;
	struct stress_host stress; /* finds one only where a stress guest has started */

	pthread_mutex_t lock; /* protects all below; taken last */
	enum machine_state state;
	bool failed;
	char why[256];
};

/* machine_exit() -- the vcpu_exit_fn of a machine */
enum vcpu_verdict machine_exit(void *opaque, struct vcpu *vcpu, int error);

/* machine_end() -- the guest has ended; the first reason given stands */
void machine_end(struct machine *machine, bool failed, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* machine_make_memory() -- and tell KVM of it */
int machine_make_memory(struct machine *machine, struct decant_error *err);

/* machine_attach_stress() -- once memory is there */
int machine_attach_stress(struct machine *machine, struct decant_error *err);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* guest_vm.h -- the smallest VM that runs the stress guest: to test the guest without the rest of the VMM */
#ifndef SUPPORT_GUEST_VM_H
#define SUPPORT_GUEST_VM_H

#include "guest/stress_host.h"

#include <decant/error.h>
#include <decant/memory.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_vm;

/* guest_vm_usable() -- can this host make a VM? */
bool guest_vm_usable(void);

/* guest_vm_new() -- build it, load the stress guest with @options (stress_options_parse()) and start it */
int guest_vm_new(uint64_t memory_bytes, uint32_t vcpus, const char *options, struct guest_vm **vm,
		 struct decant_error *err);

struct stress_host *guest_vm_host(struct guest_vm *vm);

/* guest_vm_page() -- the host's address of guest page @page */
void *guest_vm_page(struct guest_vm *vm, uint32_t page);

struct decant_memory *guest_vm_memory(struct guest_vm *vm);

/* guest_vm_wait_run() -- until the guest has begun its work; false: it has not within @timeout_ns */
bool guest_vm_wait_run(struct guest_vm *vm, uint64_t timeout_ns);

/* guest_vm_pause(), guest_vm_resume() -- stop all vCPUs where they are, and go on */
void guest_vm_pause(struct guest_vm *vm);
void guest_vm_resume(struct guest_vm *vm);

/* guest_vm_serial() -- a copy of what it printed so far, terminated */
void guest_vm_serial(struct guest_vm *vm, char *text, size_t length);

/* guest_vm_why() -- why a vCPU has stopped by itself; "" if none has */
const char *guest_vm_why(struct guest_vm *vm);

void guest_vm_free(struct guest_vm *vm);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine.h -- a virtual machine: memory, vCPUs, interrupt controllers, timer, serial port
 *
 * HELD     made, loaded or paused: no vCPU is in KVM_RUN
 * RUNNING  the guest runs
 * ENDED    the guest has stopped by itself, for good; machine_why() says how
 *
 * Any number of machines may live in one process. Calls on one machine are made by one thread at a time, except
 * machine_get_state(), machine_why(), machine_ready() and machine_serial_input(), which any thread may make.
 */
#ifndef VMM_MACHINE_H
#define VMM_MACHINE_H

#include <decant/error.h>
#include <decant/kvm.h>
#include <decant/log.h>
#include <decant/memory.h>
#include <decant/migration.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MACHINE_NAME_MAX 64 /* with terminator */
#define MACHINE_VCPUS_MAX 64
#define MACHINE_MEMORY_MIN (4ull << 20)
#define MACHINE_MEMORY_MAX (16ull << 40)

enum machine_guest {
	MACHINE_GUEST_STRESS, /* the built-in one */
	MACHINE_GUEST_KERNEL, /* an image that the user gave */
};

/* All that two machines must have in common. It travels as the record "vmm.shape". */
struct machine_config {
	char name[MACHINE_NAME_MAX];
	uint64_t memory_bytes;
	uint64_t page_size;
	uint32_t vcpus;
	enum decant_kvm_dirty dirty;
	enum machine_guest guest;
};

/* What a machine needs of the process it lives in. */
struct machine_host {
	int serial_sink; /* descriptor for the serial port's output, -1: nowhere; stays the caller's */
	int numa_node;   /* that the guest's memory should lie on, -1: anywhere */
	struct decant_log log;
	void (*ended)(void *opaque); /* the guest has ended; from a vCPU's thread; may be NULL */
	void *opaque;
	struct decant_memory *
		reserve; /* of machine_memory_new(), or NULL: the first machine takes it, or frees it if it is not just its memory */
};

#define MACHINE_HOST_INIT                           \
	{                                           \
		.serial_sink = -1, .numa_node = -1, \
	}

/* What the guest is made to run; see boot.h and stress_host.h. */
struct machine_boot {
	const char *stress; /* options of the stress guest, "wss=40M,rate=1000"; "" for none; NULL: boot @kernel */
	const char *kernel; /* file */
	const char *initrd; /* file or NULL */
	const char *command; /* kernel command line or NULL */
};

enum machine_state {
	MACHINE_HELD,
	MACHINE_RUNNING,
	MACHINE_ENDED,
};

struct machine;

/* machine_name_check() -- letters, digits, '.', '_', '-'; the first a letter or digit; at most 63. 0 or -EINVAL */
int machine_name_check(const char *name, struct decant_error *err);

/*
 * machine_new() -- build a VM, HELD, its memory all zeros
 *
 * @memory NULL: the machine allocates its memory and owns it. Otherwise an empty set of the caller's, which gets the
 * regions and must outlive the machine.
 * Returns 0 or: -EINVAL (which value, and what it may be), -ENOMEM, -EOPNOTSUPP (what this host's KVM lacks), -ENOENT,
 * -EACCES (/dev/kvm).
 */
int machine_new(const struct machine_config *config, const struct machine_host *host, struct decant_memory *memory,
		struct machine **machine, struct decant_error *err);

/*
 * machine_memory_new() -- the memory of a machine of @bytes, on @numa_node or, -1, anywhere, populated beforehand, for machine_host.reserve
 *
 * Returns 0, -EINVAL: no memory that a machine may have, or as decant_memory_populate().
 */
int machine_memory_new(uint64_t bytes, uint64_t page_size, int numa_node, struct decant_memory **memory,
		       struct decant_error *err);

/* machine_boot() -- put the guest's image and its parameters into memory and vCPU 0 at its entry. Once, before the first run. */
int machine_boot(struct machine *machine, const struct machine_boot *boot, struct decant_error *err);

/* machine_run() -- HELD to RUNNING; *@entered_ns may be NULL. -ESHUTDOWN: it has ENDED */
int machine_run(struct machine *machine, uint64_t *entered_ns, struct decant_error *err);

/* machine_hold() -- RUNNING to HELD; *@left_ns may be NULL. -ESHUTDOWN: it has ENDED */
int machine_hold(struct machine *machine, uint64_t *left_ns, struct decant_error *err);

enum machine_state machine_get_state(struct machine *machine);

/* machine_why() -- why it has ENDED, one line; "" while it has not. *@failed: it did not ask for it (a triple fault, an error) */
void machine_why(struct machine *machine, char *text, size_t length, bool *failed);

/* machine_judges() -- is it a stress guest, which tells its phase and judges its memory? */
bool machine_judges(const struct machine *machine);

/* machine_ready() -- has the guest begun its work? A guest that does not tell is ready once it runs. */
bool machine_ready(const struct machine *machine);

/* machine_gap_reset() -- a guest that judges shall measure its pause from now on */
void machine_gap_reset(struct machine *machine);

/*
 * machine_verdict() -- ask the guest whether its memory is as it should be; takes up to minutes
 *
 * DECANT_VERDICT_NONE from a guest that does not judge, or that is HELD. -ETIMEDOUT: no answer; -ECANCELED: abandoned.
 */
int machine_verdict(struct machine *machine, struct decant_verdict *verdict, struct decant_error *err);

/* machine_abandon_verdict() -- the guest is gone or has to go: whoever waits for its verdict, waits no more */
void machine_abandon_verdict(struct machine *machine);

size_t machine_serial_input(struct machine *machine, const void *bytes, size_t length);

const struct machine_config *machine_config(const struct machine *machine);
struct decant_memory *machine_memory(struct machine *machine);
struct decant_kvm *machine_kvm(struct machine *machine);

/* machine_adopt_memory() -- the set that machine_new() was given belongs to the machine from now on */
void machine_adopt_memory(struct machine *machine);

/* machine_free() -- stops it, whatever it does; NULL is fine */
void machine_free(struct machine *machine);

/*
 * The place of a machine in a migration: the `vmm` of machine_vmm_ops().
 *
 * At the source @machine is the VM. At the destination it is NULL until create() has built one, and again after discard().
 * A machine that the source had HELD (its user had paused it) arrives HELD and stays so.
 */
struct machine_slot {
	struct machine *machine;
	struct machine_host host;    /* destination: for the machine to be made */
	char name[MACHINE_NAME_MAX]; /* destination: the machine's name here; "": the source's */
	/* destination, may be NULL: may a machine of this name live here? dismiss: it does not, after all */
	int (*admit)(void *opaque, const char *name, struct decant_error *err);
	void (*dismiss)(void *opaque);
	void *opaque;

	/* the migration's own, zero at first */
	bool was_held;
};

/* machine_vmm_ops() -- static; for decant_migration_new() and decant_receiver_new() with a struct machine_slot */
const struct decant_vmm_ops *machine_vmm_ops(void);

#endif

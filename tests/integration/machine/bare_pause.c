/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bare_pause.c -- with a real guest: no thread of either end allocates between the pause and the start
 *
 * Both machines are in this process, whose malloc counts. What the library does besides is the matter of pause.c; here it is all of the
 * reference VMM: libdecant, libdecant-kvm, its own devices, and what libc does for them.
 */
#include <decant/migration.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/clock.h"
#include "vmm/machine.h"

/* of glibc, by these names for who stands in for the others */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);

static _Atomic bool watching;
static _Atomic unsigned allocated;

static void count(void)
{
	if (atomic_load_explicit(&watching, memory_order_relaxed))
		atomic_fetch_add(&allocated, 1);
}

void *malloc(size_t size)
{
	count();
	return __libc_malloc(size);
}

void *calloc(size_t number, size_t size)
{
	count();
	return __libc_calloc(number, size);
}

void *realloc(void *old, size_t size)
{
	count();
	return __libc_realloc(old, size);
}

/* ---- the VMM's operations, with the watch set at the pause and ended at the start ---- */

static unsigned pauses, starts;

static int watched_pause(void *vmm, uint64_t *left_ns, struct decant_error *err)
{
	int rc = machine_vmm_ops()->pause(vmm, left_ns, err);

	pauses++;
	atomic_store(&watching, true);
	return rc;
}

static int watched_start(void *vmm, const struct decant_handover *handover, uint64_t *entered_ns,
			 struct decant_error *err)
{
	int rc = machine_vmm_ops()->start(vmm, handover, entered_ns, err);

	atomic_store(&watching, false);
	starts++;
	return rc;
}

static struct decant_vmm_ops watched_ops(void)
{
	struct decant_vmm_ops ops = *machine_vmm_ops();

	ops.pause = watched_pause;
	ops.start = watched_start;
	return ops;
}

/* ---- one migration ---- */

static void fail(const char *what, const struct decant_error *err)
{
	printf("not ok 1 - bare_pause: %s: %s\n", what, err->msg);
	exit(1);
}

static struct machine *boot(void)
{
	struct machine_config config = { .name = "bare",
					 .memory_bytes = 64u << 20,
					 .page_size = 4096,
					 .vcpus = 2,
					 .guest = MACHINE_GUEST_STRESS };
	const struct machine_host host = MACHINE_HOST_INIT;
	const struct machine_boot image = { .stress = "wss=4M,data=16M" };
	const struct timespec wait = { .tv_nsec = 10 * (long)NSEC_PER_MSEC };
	struct decant_error err = DECANT_ERROR_INIT;
	struct machine *machine;

	if (machine_new(&config, &host, NULL, &machine, &err) < 0 || machine_boot(machine, &image, &err) < 0 ||
	    machine_run(machine, NULL, &err) < 0)
		fail("machine", &err);
	while (!machine_ready(machine))
		nanosleep(&wait, NULL);
	return machine;
}

struct arrival {
	struct machine_slot slot;
	struct decant_receiver *receiver;
	struct decant_memory *memory;
	struct decant_error err;
};

static void *arrival_thread(void *opaque)
{
	struct arrival *arrival = opaque;

	if (decant_receiver_run(arrival->receiver, &arrival->memory, &arrival->err) < 0)
		fail("receiver", &arrival->err);
	return NULL;
}

static struct machine *migrate(struct machine *machine)
{
	const struct decant_vmm_ops ops = watched_ops();
	struct decant_migration_opts opts = DECANT_MIGRATION_OPTS_INIT;
	struct decant_receiver_opts receiver_opts = DECANT_RECEIVER_OPTS_INIT;
	struct machine_slot source = { .machine = machine, .host = MACHINE_HOST_INIT };
	struct arrival arrival = { .slot = { .host = MACHINE_HOST_INIT }, .err = DECANT_ERROR_INIT };
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_migration *migration;
	pthread_t thread;
	char peer[32];

	receiver_opts.listen = "127.0.0.1:0";
	if (decant_receiver_new(&receiver_opts, &ops, &arrival.slot, &arrival.receiver, &err) < 0)
		fail("receiver", &err);
	pthread_create(&thread, NULL, arrival_thread, &arrival);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_receiver_port(arrival.receiver));
	opts.peer = peer;
	opts.name = "bare";
	opts.fabric = "tcp";
	opts.max_downtime_ns = opts.switchover_timeout_ns = 20 * NSEC_PER_SEC;
	if (decant_migration_new(&opts, &ops, &source, machine_memory(machine), &migration, &err) < 0 ||
	    decant_migration_run(migration, &err) < 0)
		fail("migration", &err);
	pthread_join(thread, NULL);
	decant_migration_free(migration);
	decant_receiver_free(arrival.receiver);
	machine_free(machine);
	machine_adopt_memory(arrival.slot.machine);
	return arrival.slot.machine;
}

int main(void)
{
	bool good;

	if (access("/dev/kvm", R_OK | W_OK) != 0) {
		printf("SKIP: /dev/kvm cannot be used: %s\n", strerror(errno));
		return 77;
	}
	printf("1..1\n");
	machine_free(migrate(boot()));
	good = pauses == 1 && starts == 1 && allocated == 0;
	printf("%s 1 - bare_pause: %u allocations between pause and start\n", good ? "ok" : "not ok", allocated);
	return good ? 0 : 1;
}

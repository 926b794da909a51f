/* SPDX-License-Identifier: BSD-2-Clause */
/* arrival.c -- a VM on its way into this process */
#include "vmm/arrival.h"

#include "util/io.h"

#include <decant/migration.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arrival {
	/* set at creation, read-only after */
	struct decant_receiver *receiver;
	pthread_t thread;
	bool started;
	bool claims; /* the name is the source's, so it is claimed when it is known */
	int wake_fd;
	struct decant_memory *reserve; /* what is left of it when the first VM has come is nothing */

	/* the thread's until it has finished, then the owner's */
	struct machine_slot slot;
	struct control_claim claim;
	struct decant_error error;
	bool joined;

	_Atomic bool finished; /* set with release after all above */
};

static int arrival_admit(void *opaque, const char *name, struct decant_error *err)
{
	struct arrival *arrival = opaque;

	return arrival->claims ? control_claim(name, &arrival->claim, err) : 0;
}

static void arrival_dismiss(void *opaque)
{
	struct arrival *arrival = opaque;

	control_unclaim(&arrival->claim);
}

static void *arrival_thread(void *opaque)
{
	struct arrival *arrival = opaque;
	struct decant_memory *memory = NULL;

	if (decant_receiver_run(arrival->receiver, &memory, &arrival->error) == 0)
		machine_adopt_memory(arrival->slot.machine);
	atomic_store_explicit(&arrival->finished, true, memory_order_release);
	io_wake_set(arrival->wake_fd);
	return NULL;
}

static int arrival_listen(struct arrival *arrival, const struct arrival_opts *opts, struct decant_error *err)
{
	struct decant_receiver_opts receiver = DECANT_RECEIVER_OPTS_INIT;

	receiver.listen = opts->listen;
	receiver.max_memory = opts->max_memory != 0 ? opts->max_memory : opts->prealloc;
	receiver.cpus = opts->cpus;
	receiver.key = opts->key != NULL ? opts->key->bytes : NULL;
	receiver.key_length = opts->key != NULL ? opts->key->length : 0;
	receiver.log = opts->log;
	return decant_receiver_new(&receiver, machine_vmm_ops(), &arrival->slot, &arrival->receiver, err);
}

static int arrival_reserve(struct arrival *arrival, const struct arrival_opts *opts, struct decant_error *err)
{
	int ret;

	if (opts->prealloc == 0)
		return 0;
	ret = machine_memory_new(opts->prealloc, opts->page_size, opts->host.numa_node, &arrival->reserve, err);
	if (ret < 0)
		decant_error_prefix(err, "--prealloc");
	arrival->slot.host.reserve = arrival->reserve;
	return ret;
}

int arrival_start(const struct arrival_opts *opts, struct arrival **arrival_ptr, struct decant_error *err)
{
	struct arrival *arrival = calloc(1, sizeof(*arrival));
	int ret;

	if (arrival == NULL)
		return decant_error_set(err, -ENOMEM, "no memory");
	arrival->wake_fd = opts->wake_fd;
	arrival->claim = (struct control_claim)CONTROL_CLAIM_INIT;
	arrival->claims = opts->name == NULL;
	arrival->slot.host = opts->host;
	arrival->slot.admit = arrival_admit;
	arrival->slot.dismiss = arrival_dismiss;
	arrival->slot.opaque = arrival;
	if (opts->name != NULL)
		snprintf(arrival->slot.name, sizeof(arrival->slot.name), "%s", opts->name);
	ret = arrival_reserve(arrival, opts, err);
	if (ret == 0)
		ret = arrival_listen(arrival, opts, err);
	if (ret == 0) {
		ret = -pthread_create(&arrival->thread, NULL, arrival_thread, arrival);
		if (ret < 0)
			decant_error_set(err, ret, "cannot start a thread: %s", strerror(-ret));
		arrival->started = ret == 0;
	}
	if (ret < 0) {
		arrival_free(arrival);
		return ret;
	}
	*arrival_ptr = arrival;
	return 0;
}

uint16_t arrival_port(const struct arrival *arrival)
{
	return decant_receiver_port(arrival->receiver);
}

bool arrival_finished(struct arrival *arrival)
{
	return atomic_load_explicit(&arrival->finished, memory_order_acquire);
}

static void arrival_join(struct arrival *arrival)
{
	if (arrival->started && !arrival->joined)
		pthread_join(arrival->thread, NULL);
	arrival->joined = true;
}

/* The slot keeps the machine too: the receiver asks it for the guest's verdict. */
struct machine *arrival_take(struct arrival *arrival, struct control_claim *claim, struct decant_error *err)
{
	arrival_join(arrival);
	if (arrival->error.code != 0 || arrival->slot.machine == NULL) {
		if (err != NULL)
			*err = arrival->error;
		return NULL;
	}
	if (claim != NULL) {
		*claim = arrival->claim;
		arrival->claim = (struct control_claim)CONTROL_CLAIM_INIT;
	}
	return arrival->slot.machine;
}

void arrival_stats(struct arrival *arrival, struct decant_stats *stats)
{
	stats->size = sizeof(*stats);
	decant_receiver_get_stats(arrival->receiver, stats);
}

void arrival_stop(struct arrival *arrival)
{
	decant_receiver_stop(arrival->receiver);
}

void arrival_free(struct arrival *arrival)
{
	if (arrival == NULL)
		return;
	if (arrival->started && !arrival->joined) {
		decant_receiver_stop(arrival->receiver);
		arrival_join(arrival);
	}
	decant_receiver_free(arrival->receiver);
	decant_memory_free(arrival->reserve);
	control_unclaim(&arrival->claim);
	free(arrival);
}

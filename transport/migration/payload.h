/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * payload.h -- where the payloads of received control messages lie
 *
 * What comes while a guest is paused must find its place made. Small payloads, and nearly all are, take one of some slots; a large one
 * takes the one place that was reserved for it. What finds neither is allocated.
 */
#ifndef MIGRATION_PAYLOAD_H
#define MIGRATION_PAYLOAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_SLOT_SIZE 1024u
#define PAYLOAD_SLOTS 64u

struct payloads {
	/* set at creation, read-only after */
	uint8_t *slots;

	/* protected by lock */
	pthread_mutex_t lock;
	uint64_t free_slots; /* bit i: slot i */
	uint8_t *large;      /* NULL: none was reserved */
	size_t large_size;
	bool large_in_use;
};

/* payloads_init() -- 0 or -ENOMEM */
int payloads_init(struct payloads *payloads);

/* payloads_reserve() -- from now on one payload of up to @length bytes finds its place made; 0, -ENOMEM, -EBUSY */
int payloads_reserve(struct payloads *payloads, size_t length);

/* payloads_take() -- a place for @length bytes; NULL: out of memory. Any thread. */
uint8_t *payloads_take(struct payloads *payloads, size_t length);

/* payloads_give() -- back with it; NULL is fine. Any thread. */
void payloads_give(struct payloads *payloads, uint8_t *bytes);

/* payloads_destroy() -- all must have been given back */
void payloads_destroy(struct payloads *payloads);

#endif

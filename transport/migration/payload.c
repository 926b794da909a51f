/* SPDX-License-Identifier: BSD-2-Clause */
/* payload.c -- where the payloads of received control messages lie */
#include "migration/payload.h"

#include "util/cleanup.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static_assert(PAYLOAD_SLOTS == 64, "a bit for each");

int payloads_init(struct payloads *payloads)
{
	*payloads = (struct payloads){ .free_slots = UINT64_MAX };
	payloads->slots = malloc((size_t)PAYLOAD_SLOTS * PAYLOAD_SLOT_SIZE);
	if (payloads->slots == NULL)
		return -ENOMEM;
	pthread_mutex_init(&payloads->lock, NULL);
	return 0;
}

int payloads_reserve(struct payloads *payloads, size_t length)
{
	DECANT_AUTO_UNLOCK(&payloads->lock);
	if (payloads->large_in_use)
		return -EBUSY;
	if (payloads->large_size >= length)
		return 0;
	free(payloads->large);
	payloads->large_size = 0;
	payloads->large = malloc(length);
	if (payloads->large == NULL)
		return -ENOMEM;
	/* the kernel hands out pages at the first touch, which shall not be in the pause */
	memset(payloads->large, 0, length);
	payloads->large_size = length;
	return 0;
}

/* Lock held. NULL: nothing that was made beforehand fits. */
static uint8_t *take_made(struct payloads *payloads, size_t length)
{
	unsigned int slot;

	if (length <= PAYLOAD_SLOT_SIZE && payloads->free_slots != 0) {
		slot = (unsigned int)__builtin_ctzll(payloads->free_slots);
		payloads->free_slots &= payloads->free_slots - 1;
		return payloads->slots + (size_t)slot * PAYLOAD_SLOT_SIZE;
	}
	if (length <= PAYLOAD_SLOT_SIZE || length > payloads->large_size || payloads->large_in_use)
		return NULL;
	payloads->large_in_use = true;
	return payloads->large;
}

uint8_t *payloads_take(struct payloads *payloads, size_t length)
{
	uint8_t *bytes;

	{
		DECANT_AUTO_UNLOCK(&payloads->lock);
		bytes = take_made(payloads, length);
	}
	return bytes != NULL ? bytes : malloc(length > 0 ? length : 1);
}

void payloads_give(struct payloads *payloads, uint8_t *bytes)
{
	uintptr_t offset;

	if (bytes == NULL)
		return;
	offset = (uintptr_t)bytes - (uintptr_t)payloads->slots;
	{
		DECANT_AUTO_UNLOCK(&payloads->lock);
		if (offset < (uintptr_t)PAYLOAD_SLOTS * PAYLOAD_SLOT_SIZE) {
			payloads->free_slots |= 1ull << offset / PAYLOAD_SLOT_SIZE;
			return;
		}
		if (bytes == payloads->large) {
			payloads->large_in_use = false;
			return;
		}
	}
	free(bytes);
}

void payloads_destroy(struct payloads *payloads)
{
	free(payloads->slots);
	free(payloads->large);
	pthread_mutex_destroy(&payloads->lock);
}

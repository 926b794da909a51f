/* SPDX-License-Identifier: BSD-2-Clause */
/* mover_hear.c -- what the destination says that nobody has asked for at this moment: in the thread that reads the control connection */
#include "migration/mover_private.h"

#include <errno.h>

static int take_grant(struct decant_mover *mover, const struct peer_message *message, struct decant_error *err)
{
	struct wire_grant grant;
	struct granules *granules;
	int rc = wire_grant_decode(&grant, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (grant.region >= decant_memory_count(mover->memory))
		return decant_error_set(err, -EPROTO, "GRANT: no region %u", grant.region);
	granules = &mover->granules[grant.region];
	if (grant.first > granules->count || grant.count > granules->count - grant.first)
		return decant_error_set(err, -EPROTO, "GRANT: granules beyond region %u", grant.region);
	for (uint32_t i = 0; i < grant.count; i++) {
		const uint64_t g = grant.first + i;

		/* one that was not asked for in this epoch belongs to the last: its key is dead */
		if (grant.epoch != mover->epoch || granules->state[g] != GRANULE_ASKED)
			continue;
		granules->rkey[g] = wire_grant_key(&grant, i);
		granules->state[g] = GRANULE_GRANTED;
		mover->granted = true;
	}
	return 0;
}

static int take_barrier_ack(struct decant_mover *mover, const struct peer_message *message,
			    struct decant_error *err)
{
	struct wire_barrier_ack ack;
	int rc = wire_barrier_ack_decode(&ack, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (ack.epoch > mover->epoch || ack.round > mover->asked_round)
		return decant_error_set(err, -EPROTO, "BARRIER_ACK of round %llu in epoch %llu: it was not posted",
					(unsigned long long)ack.round, (unsigned long long)ack.epoch);
	mover->acked_epoch = ack.epoch;
	mover->acked_round = ack.round;
	return 0;
}

static int take_fenced(struct decant_mover *mover, const struct peer_message *message, struct decant_error *err)
{
	struct wire_fence fence;
	int rc = wire_fence_decode(&fence, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (fence.epoch != mover->asked_fence)
		return decant_error_set(err, -EPROTO, "FENCED of epoch %llu: nobody has asked for it",
					(unsigned long long)fence.epoch);
	mover->fenced_epoch = fence.epoch;
	return 0;
}

/* It may also be the answer to OPEN, for which the feeder waits. */
static int take_lost(struct decant_mover *mover, const struct peer_message *message, bool *answer,
		     struct decant_error *err)
{
	struct wire_lost lost;
	int rc = wire_lost_decode(&lost, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	*answer = mover->opening && lost.epoch == mover->epoch;
	/* two codes mean something to the caller of the migration that no destination may say */
	if (lost.code == ECANCELED || lost.code == EINPROGRESS)
		lost.code = EIO;
	if (lost.epoch == mover->epoch && mover->lost.code == 0)
		decant_error_set(&mover->lost, -(int)lost.code, "the destination says: %s", lost.text);
	return 0;
}

/* Without the lock, under which the feeder would wait for whom it has itself given the message to. */
static int take_message(struct decant_mover *mover, const struct peer_message *message, struct decant_error *err)
{
	const struct decant_mover_opts *opts = &mover->setup.opts;
	struct wire_message taken;
	int rc = wire_message_decode(&taken, message->payload, message->length, err);

	if (rc < 0)
		return rc;
	if (!(mover->welcome.features & WIRE_FEATURE_MESSAGES) || opts->message == NULL)
		return decant_error_set(err, -EPROTO, "MESSAGE, which nobody here takes");
	mover->messages_back++;
	return opts->message(opts->opaque, taken.data, taken.length, err);
}

static int mover_intercept(void *opaque, const struct peer_message *message, struct decant_error *err)
{
	struct decant_mover *mover = opaque;
	bool queue = false;
	int rc = 0;

	if (message->type == WIRE_MESSAGE) {
		rc = take_message(mover, message, err);
		return rc < 0 ? rc : 1;
	}
	pthread_mutex_lock(&mover->lock);
	switch (message->type) {
	case WIRE_GRANT:
		rc = take_grant(mover, message, err);
		break;
	case WIRE_BARRIER_ACK:
		rc = take_barrier_ack(mover, message, err);
		break;
	case WIRE_FENCED:
		rc = take_fenced(mover, message, err);
		break;
	case WIRE_LOST:
		rc = take_lost(mover, message, &queue, err);
		break;
	case WIRE_ERROR:
		/* for the feeder, who may be pushing; it is also queued for one that is waiting for an answer */
		peer_error_decode(message->payload, message->length, &mover->failed);
		pthread_cond_broadcast(&mover->changed);
		pthread_mutex_unlock(&mover->lock);
		return 0;
	default:
		pthread_mutex_unlock(&mover->lock);
		return 0;
	}
	pthread_cond_broadcast(&mover->changed);
	pthread_mutex_unlock(&mover->lock);
	return rc < 0 ? rc : !queue;
}

static void mover_lost(void *opaque, const struct decant_error *why)
{
	struct decant_mover *mover = opaque;
	const struct decant_mover_opts *opts = &mover->setup.opts;
	struct decant_error said = *why;

	pthread_mutex_lock(&mover->lock);
	mover->heard_all = true;
	if (mover->failed.code != 0)
		said = mover->failed;
	pthread_cond_broadcast(&mover->changed);
	pthread_mutex_unlock(&mover->lock);
	if (opts->lost != NULL && !mover->closing)
		opts->lost(opts->opaque, &said);
}

const struct peer_events mover_events = {
	.intercept = mover_intercept,
	.lost = mover_lost,
};

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receiver.c -- the thread of one channel of a TCP sink
 *
 * Theory of operation
 * -------------------
 * Every run of a frame is checked before the first byte of its data is read, and then the data goes from the socket into
 * the pages by recvmsg(2). The same call reads the head of the next frame: nothing has to be done when data has landed, since only a
 * barrier tells of it, and a barrier is a frame. So a frame costs two reads that wait for data, however many runs it has.
 */
#include "fabric/tcp/receiver.h"

#include "fabric/tcp/tcp.h"
#include "util/clock.h"
#include "util/fault.h"
#include "util/io.h"
#include "util/placement.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

static bool receiver_fenced(const struct receiver *receiver)
{
	return atomic_load_explicit(receiver->fenced, memory_order_acquire);
}

/* all of @iov, which is used up; the socket is blocking */
static int receiver_read(struct receiver *receiver, size_t count, struct decant_error *err)
{
	struct iovec *iov = receiver->iov;

	while (count > 0) {
		struct msghdr msg = { .msg_iov = iov, .msg_iovlen = count };
		ssize_t n = recvmsg(receiver->fd, &msg, MSG_WAITALL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return decant_error_set(err, -errno, "recvmsg: %s", strerror(errno));
		if (n == 0)
			return decant_error_set(err, -ECONNRESET, "the source has closed it without a goodbye");
		for (; count > 0 && (size_t)n >= iov->iov_len; iov++, count--)
			n -= (ssize_t)iov->iov_len;
		if (count > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

static int receiver_read_one(struct receiver *receiver, void *bytes, size_t length, struct decant_error *err)
{
	receiver->iov[0] = (struct iovec){ .iov_base = bytes, .iov_len = length };
	return receiver_read(receiver, length > 0, err);
}

static int receiver_read_head(struct receiver *receiver, struct decant_error *err)
{
	return receiver_read_one(receiver, receiver->head_bytes, FRAME_HEAD_SIZE, err);
}

/* Which of the runs is it that could not be written? */
static void receiver_explain_fault(const struct receiver *receiver, const struct frame_head *head,
				   struct decant_error *err)
{
	struct decant_error none = DECANT_ERROR_INIT;
	struct fault fault;
	void *memory;

	for (uint32_t i = 0; i < head->count; i++) {
		const struct frame_run *run = &receiver->runs[i];

		if (exposure_find(receiver->exposure, run->region, run->offset, run->length, &memory, &none) < 0 ||
		    fault_find(memory, run->length, true, &fault) == 0)
			continue;
		decant_error_set(err, fault.code,
				 "memory of region %" PRIu32 " + 0x%" PRIx64 " cannot be written: %s", run->region,
				 run->offset + (fault.address - (uintptr_t)memory), strerror(-fault.code));
		return;
	}
}

static int receiver_writes(struct receiver *receiver, const struct frame_head *head, struct decant_error *err)
{
	int rc = receiver_read_one(receiver, receiver->run_bytes, (size_t)head->count * FRAME_RUN_SIZE, err);

	rc = rc ? rc : frame_runs_decode(head, receiver->runs, receiver->run_bytes, err);
	for (uint32_t i = 0; i < head->count && rc == 0; i++) {
		const struct frame_run *run = &receiver->runs[i];

		rc = exposure_find(receiver->exposure, run->region, run->offset, run->length,
				   &receiver->iov[i].iov_base, err);
		receiver->iov[i].iov_len = run->length;
	}
	if (rc < 0)
		return rc;
	receiver->iov[head->count] = (struct iovec){
		.iov_base = receiver->head_bytes,
		.iov_len = FRAME_HEAD_SIZE,
	};
	rc = receiver_read(receiver, head->count + 1u, err);
	if (rc == -EFAULT)
		receiver_explain_fault(receiver, head, err);
	return rc;
}

static int receiver_give_credit(struct receiver *receiver, struct decant_error *err)
{
	const struct frame_head credit = { .type = FRAME_CREDIT, .value = 1 };
	uint8_t bytes[FRAME_HEAD_SIZE];
	struct iovec iov = { .iov_base = bytes, .iov_len = sizeof(bytes) };
	int rc;

	frame_head_encode(&credit, bytes);
	rc = io_send_full(receiver->fd, &iov, 1, CLOCK_NEVER, -1);
	return rc < 0 ? decant_error_set(err, rc, "send CREDIT: %s", strerror(-rc)) : 0;
}

static int receiver_message(struct receiver *receiver, const struct frame_head *head, struct decant_error *err)
{
	int rc;

	if (receiver->channel != 0)
		return decant_error_set(err, -EPROTO, "a MESSAGE frame, which belongs on channel 0");
	rc = receiver_read_one(receiver, receiver->message, head->value, err);
	if (rc == 0 && !receiver_fenced(receiver)) {
		rc = receiver->events->message(receiver->opaque, receiver->message, head->value, err);
		if (rc < 0 && err->code == 0)
			decant_error_set(err, rc, "the message was not taken: %s", strerror(-rc));
	}
	rc = rc ? rc : receiver_give_credit(receiver, err);
	return rc ? rc : receiver_read_head(receiver, err);
}

static int receiver_barrier(struct receiver *receiver, uint64_t round, struct decant_error *err)
{
	if (!receiver_fenced(receiver))
		receiver->events->barrier(receiver->opaque, receiver->channel, round);
	return receiver_read_head(receiver, err);
}

/* one frame, whose head is in head_bytes, and the head of the next; 1: it was the goodbye */
static int receiver_step(struct receiver *receiver, struct decant_error *err)
{
	struct frame_head head;
	int rc = frame_head_decode(&head, receiver->head_bytes, err);

	if (rc < 0)
		return rc;
	switch (head.type) {
	case FRAME_WRITES:
		return receiver_writes(receiver, &head, err);
	case FRAME_BARRIER:
		return receiver_barrier(receiver, head.value, err);
	case FRAME_MESSAGE:
		return receiver_message(receiver, &head, err);
	case FRAME_BYE:
		return 1;
	default:
		return decant_error_set(err, -EPROTO, "a %s frame, which the source never sends here",
					frame_strtype(head.type));
	}
}

static void *receiver_main(void *arg)
{
	struct receiver *receiver = arg;
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	placement_near_socket(receiver->fd);
	rc = receiver_read_head(receiver, &err);
	/* what still lies in the socket's buffer can be read after a shutdown, so a fence is looked for too */
	while (rc == 0 && !receiver_fenced(receiver)) {
		rc = receiver_step(receiver, &err);
		atomic_store_explicit(&receiver->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
	}
	shutdown(receiver->fd, SHUT_RDWR);
	if (rc < 0 && !receiver_fenced(receiver)) {
		decant_error_prefix(&err, "tcp sink: channel %" PRIu32, receiver->channel);
		receiver->events->lost(receiver->opaque, receiver->channel, &err);
	}
	return NULL;
}

int receiver_start(struct receiver *receiver, struct decant_error *err)
{
	char name[16];

	snprintf(name, sizeof(name), "tcp-recv-%u", receiver->channel);
	return tcp_thread_start(&receiver->thread, name, receiver_main, receiver, err);
}

void receiver_join(struct receiver *receiver)
{
	pthread_join(receiver->thread, NULL);
}

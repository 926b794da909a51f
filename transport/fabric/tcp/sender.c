/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sender.c -- the queue and the thread of one channel of a TCP source
 *
 * Theory of operation
 * -------------------
 * Waking a thread per write would cost more than sending a page, so writes gather in the ring until they make a batch, or
 * are flushed; barriers and messages flush. The thread turns the writes at the head of the ring into one frame, whose
 * iovec points at its head and then straight at the pages, and gives it to sendmsg(2) in one call if the kernel takes it whole.
 *
 * Entries leave the ring when they are put into a frame, but their bytes are pending until the kernel has them. With zero-copy the head
 * of a frame is copied all the same, since it is overwritten by the next one's; only guest memory goes by reference, and
 * stays pending until the kernel has let go of it (zerocopy.h).
 */
#include "fabric/tcp/sender.h"

#include "fabric/tcp/tcp.h"
#include "util/clock.h"
#include "util/placement.h"

#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static_assert((SENDER_RING & (SENDER_RING - 1)) == 0, "indices run freely");

static struct sender_entry *sender_entry(struct sender *sender, uint32_t index)
{
	return &sender->ring[index & (SENDER_RING - 1)];
}

/* lock held */
static uint64_t sender_bytes_max(const struct sender *sender)
{
	return window_bytes(&sender->window, SENDER_BYTES_MIN, SENDER_BYTES_MAX);
}

/* lock held */
static uint64_t sender_batch(const struct sender *sender)
{
	const uint64_t half = sender_bytes_max(sender) / 2;

	return half < SENDER_BATCH_BYTES ? half : SENDER_BATCH_BYTES;
}

/* lock held */
static bool sender_ready(const struct sender *sender)
{
	const uint32_t queued = sender->tail - sender->head;

	return queued > 0 && (sender->ring_bytes >= sender_batch(sender) || queued >= FRAME_RUNS_MAX ||
			      (int32_t)(sender->flushed - sender->head) > 0);
}

/* the writes at the head of the ring, as many as a frame holds; lock held */
static void sender_gather(struct sender *sender)
{
	struct frame_head head = { .type = FRAME_WRITES };

	while (sender->head != sender->tail && head.count < FRAME_RUNS_MAX) {
		const struct sender_entry *entry = sender_entry(sender, sender->head);
		const struct frame_run run = {
			.region = entry->region,
			.length = entry->length,
			.offset = entry->value,
		};

		if (entry->kind != SENDER_WRITE || head.value + entry->length > FRAME_BYTES_MAX)
			break;
		frame_run_encode(&run, &sender->head_bytes[FRAME_HEAD_SIZE + head.count * FRAME_RUN_SIZE]);
		head.count++;
		head.value += entry->length;
		sender->iov[head.count].iov_base = (void *)entry->data;
		sender->iov[head.count].iov_len = entry->length;
		sender->head++;
	}
	frame_head_encode(&head, sender->head_bytes);
	sender->iov[0].iov_len = FRAME_HEAD_SIZE + head.count * FRAME_RUN_SIZE;
	sender->batch_iovs = head.count + 1u;
	sender->batch_bytes = head.value;
	sender->batch_messages = 0;
	sender->ring_bytes -= head.value;
}

/* a barrier or a message; lock held */
static void sender_take_marker(struct sender *sender)
{
	const struct sender_entry *entry = sender_entry(sender, sender->head++);
	const bool message = entry->kind == SENDER_MESSAGE;
	const struct frame_head head = {
		.type = message ? FRAME_MESSAGE : FRAME_BARRIER,
		.value = message ? entry->length : entry->value,
	};

	frame_head_encode(&head, sender->head_bytes);
	sender->iov[0].iov_len = FRAME_HEAD_SIZE;
	sender->iov[1].iov_base = (void *)entry->data;
	sender->iov[1].iov_len = message ? entry->length : 0;
	sender->batch_iovs = message ? 2 : 1;
	sender->batch_bytes = 0;
	sender->batch_messages = message;
}

/* waits for work and makes the next frame of it; false: the channel is closed */
static bool sender_next(struct sender *sender)
{
	bool open;

	pthread_mutex_lock(&sender->lock);
	while (!sender->closed && !sender_ready(sender))
		pthread_cond_wait(&sender->work, &sender->lock);
	open = !sender->closed;
	if (open) {
		sender->sending = true;
		sender->iov[0].iov_base = sender->head_bytes;
		if (sender_entry(sender, sender->head)->kind == SENDER_WRITE)
			sender_gather(sender);
		else
			sender_take_marker(sender);
	}
	pthread_mutex_unlock(&sender->lock);
	return open;
}

static bool sender_may_refer(struct sender *sender, size_t bytes)
{
	bool may;

	pthread_mutex_lock(&sender->lock);
	may = zerocopy_begin(&sender->zerocopy, bytes);
	/* given up for good: from the next frame on, head and data go in one call again */
	if (!sender->zerocopy.on)
		sender->zero_copy = DECANT_ZERO_COPY_OFF;
	pthread_mutex_unlock(&sender->lock);
	return may;
}

/* @bytes of @iov by reference; -1 with ENOBUFS: the kernel has no room for more of that */
static ssize_t sender_refer(struct sender *sender, const struct msghdr *msg, size_t bytes)
{
	const ssize_t n = sendmsg(sender->fd, msg, MSG_NOSIGNAL | MSG_ZEROCOPY);
	const int code = errno;

	pthread_mutex_lock(&sender->lock);
	zerocopy_end(&sender->zerocopy, bytes, n);
	pthread_mutex_unlock(&sender->lock);
	errno = code;
	return n;
}

/* all of @left pieces of @iov, which is used up; @bytes: what they are together, if they may go by reference */
static int sender_send_iov(struct sender *sender, struct iovec *iov, size_t left, size_t bytes, int flags,
			   bool may_refer)
{
	while (left > 0) {
		const struct msghdr msg = { .msg_iov = iov, .msg_iovlen = left };
		const bool refer = may_refer && sender_may_refer(sender, bytes);
		ssize_t n = refer ? sender_refer(sender, &msg, bytes)
				  : sendmsg(sender->fd, &msg, MSG_NOSIGNAL | flags);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && refer && errno == ENOBUFS) {
			may_refer = false;
			continue;
		}
		if (n < 0)
			return errno == EPIPE ? -ECONNRESET : -errno;
		atomic_fetch_add_explicit(&sender->posts, 1, memory_order_relaxed);
		bytes -= may_refer ? (size_t)n : 0;
		for (; left > 0 && (size_t)n >= iov->iov_len; iov++, left--)
			n -= (ssize_t)iov->iov_len;
		if (left > 0) {
			iov->iov_base = (char *)iov->iov_base + n;
			iov->iov_len -= (size_t)n;
		}
	}
	return 0;
}

/* the frame that is in iov */
static int sender_send(struct sender *sender)
{
	struct iovec *iov = sender->iov;
	const size_t data = sender->batch_bytes;
	int rc;

	if (sender->zero_copy == DECANT_ZERO_COPY_OFF || data < ZEROCOPY_WORTH_BYTES)
		return sender_send_iov(sender, iov, sender->batch_iovs, 0, 0, false);
	rc = sender_send_iov(sender, iov, 1, 0, MSG_MORE, false);
	return rc ? rc : sender_send_iov(sender, iov + 1, sender->batch_iovs - 1, data, 0, true);
}

/* The kernel sees acknowledgements, where this thread sees only room in a buffer. 0: it does not tell. */
static uint64_t sender_rate(const struct sender *sender)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	if (sender->window.time_ns == 0 || getsockopt(sender->fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
		return 0;
	return info.tcpi_delivery_rate;
}

static void sender_sent(struct sender *sender)
{
	const uint64_t rate_Bps = sender_rate(sender);

	pthread_mutex_lock(&sender->lock);
	sender->window.rate_Bps = rate_Bps;
	atomic_fetch_sub_explicit(&sender->pending, sender->batch_bytes, memory_order_relaxed);
	sender->unsent -= sender->batch_messages;
	sender->sending = false;
	pthread_cond_broadcast(&sender->room);
	pthread_mutex_unlock(&sender->lock);
	atomic_store_explicit(&sender->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
}

/* nothing is left, and the sink has been told so by a barrier */
static bool sender_orderly(struct sender *sender)
{
	bool orderly;

	pthread_mutex_lock(&sender->lock);
	orderly = sender->head == sender->tail && !sender->unfinished;
	pthread_mutex_unlock(&sender->lock);
	return orderly;
}

static void sender_goodbye(struct sender *sender)
{
	const struct frame_head bye = { .type = FRAME_BYE };

	frame_head_encode(&bye, sender->head_bytes);
	sender->iov[0].iov_base = sender->head_bytes;
	sender->iov[0].iov_len = FRAME_HEAD_SIZE;
	sender->batch_iovs = 1;
	if (sender_send(sender) == 0)
		shutdown(sender->fd, SHUT_WR);
}

/* What the kernel has by reference it would go on sending; to make it forget the connection is the only way to stop that. */
static void sender_abort(struct sender *sender)
{
	const struct sockaddr nobody = { .sa_family = AF_UNSPEC };

	shutdown(sender->fd, SHUT_RDWR);
	if (atomic_load_explicit(&sender->zerocopy.in_flight, memory_order_relaxed) > 0)
		(void)connect(sender->fd, &nobody, sizeof(nobody));
}

static void *sender_main(void *arg)
{
	struct sender *sender = arg;
	int rc = 0;

	placement_near_socket(sender->fd);
	while (rc == 0 && sender_next(sender)) {
		rc = sender_send(sender);
		if (rc == 0)
			sender_sent(sender);
	}
	if (rc < 0)
		sender->lost(sender->opaque, sender->channel, rc);
	if (rc == 0 && sender_orderly(sender))
		sender_goodbye(sender);
	else
		sender_abort(sender);
	atomic_store_explicit(&sender->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
	pthread_mutex_lock(&sender->lock);
	sender->exited = true;
	pthread_cond_broadcast(&sender->room);
	pthread_mutex_unlock(&sender->lock);
	return NULL;
}

int sender_start(struct sender *sender, int fd, struct decant_error *err)
{
	char name[16];
	int rc;

	snprintf(name, sizeof(name), "tcp-send-%u", sender->channel);
	sender->ring = calloc(SENDER_RING, sizeof(*sender->ring));
	if (sender->ring == NULL)
		return decant_error_set(err, -ENOMEM, "tcp: queue of channel %u: out of memory", sender->channel);
	pthread_mutex_init(&sender->lock, NULL);
	pthread_cond_init(&sender->work, NULL);
	pthread_cond_init(&sender->room, NULL);
	sender->fd = fd;
	zerocopy_open(&sender->zerocopy, fd, sender->zero_copy);
	if (!sender->zerocopy.on)
		sender->zero_copy = DECANT_ZERO_COPY_OFF;
	rc = tcp_thread_start(&sender->thread, name, sender_main, sender, err);
	if (rc < 0) {
		sender->fd = -1;
		sender_destroy(sender);
	}
	return rc;
}

bool sender_has_room(const struct sender *sender, enum sender_kind kind)
{
	if (sender->tail - sender->head >= SENDER_RING)
		return false;
	if (kind == SENDER_WRITE)
		return atomic_load_explicit(&sender->pending, memory_order_relaxed) < sender_bytes_max(sender);
	return kind == SENDER_BARRIER || (sender->credits > 0 && sender->unsent < TCP_CREDITS);
}

/* lock held, and there is room */
static void sender_append(struct sender *sender, const struct sender_entry *entry)
{
	const bool was_ready = sender_ready(sender);

	*sender_entry(sender, sender->tail++) = *entry;
	if (entry->kind == SENDER_WRITE) {
		sender->ring_bytes += entry->length;
		atomic_fetch_add_explicit(&sender->pending, entry->length, memory_order_relaxed);
	} else {
		sender->flushed = sender->tail;
	}
	if (entry->kind == SENDER_MESSAGE) {
		sender->credits--;
		sender->unsent++;
	}
	sender->unfinished = entry->kind != SENDER_BARRIER;
	if (!was_ready && sender_ready(sender))
		pthread_cond_signal(&sender->work);
}

int sender_push(struct sender *sender, const struct sender_entry *entry)
{
	int rc = -EAGAIN;

	pthread_mutex_lock(&sender->lock);
	if (sender_has_room(sender, entry->kind)) {
		sender_append(sender, entry);
		rc = 0;
	}
	pthread_mutex_unlock(&sender->lock);
	return rc;
}

void sender_flush(struct sender *sender)
{
	pthread_mutex_lock(&sender->lock);
	sender->flushed = sender->tail;
	pthread_cond_signal(&sender->work);
	pthread_mutex_unlock(&sender->lock);
}

void sender_wake(struct sender *sender)
{
	pthread_mutex_lock(&sender->lock);
	pthread_cond_broadcast(&sender->room);
	pthread_mutex_unlock(&sender->lock);
}

void sender_reap(struct sender *sender)
{
	pthread_mutex_lock(&sender->lock);
	zerocopy_reap(&sender->zerocopy);
	pthread_mutex_unlock(&sender->lock);
}

uint64_t sender_pending(const struct sender *sender)
{
	return atomic_load_explicit(&sender->pending, memory_order_relaxed) +
	       atomic_load_explicit(&sender->zerocopy.in_flight, memory_order_relaxed);
}

void sender_close(struct sender *sender)
{
	pthread_mutex_lock(&sender->lock);
	sender->closed = true;
	/* what is being sent with no barrier behind it is not worth waiting for */
	if (sender->sending && (sender->head != sender->tail || sender->unfinished))
		shutdown(sender->fd, SHUT_RDWR);
	pthread_cond_signal(&sender->work);
	pthread_cond_broadcast(&sender->room);
	pthread_mutex_unlock(&sender->lock);
}

void sender_join(struct sender *sender, uint64_t deadline_ns)
{
	const struct timespec deadline = clock_timespec(deadline_ns);

	pthread_mutex_lock(&sender->lock);
	while (!sender->exited &&
	       pthread_cond_clockwait(&sender->room, &sender->lock, CLOCK_MONOTONIC, &deadline) != ETIMEDOUT)
		;
	if (!sender->exited)
		shutdown(sender->fd, SHUT_RDWR);
	pthread_mutex_unlock(&sender->lock);
	pthread_join(sender->thread, NULL);
}

void sender_destroy(struct sender *sender)
{
	if (sender->fd >= 0)
		close(sender->fd);
	pthread_cond_destroy(&sender->room);
	pthread_cond_destroy(&sender->work);
	pthread_mutex_destroy(&sender->lock);
	free(sender->ring);
	sender->ring = NULL;
}

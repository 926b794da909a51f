/* SPDX-License-Identifier: BSD-2-Clause */
/* channel.c -- one queue pair with its completion queue */
#include "fabric/rdma/channel.h"

#include "fabric/rdma/diagnose.h"
#include "util/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#define POLL_BATCH 32
#define IMM_KIND_SHIFT 24
#define IMM_VALUE_MASK 0xffffffu

/* SENDs beside the writes, and the sink's own */
#define SEND_RESERVE (CHANNEL_CREDITS + 2u)

/* A receive's number tells it from a send's: sends count up from 1. */
#define RECEIVE_ID (UINT64_C(1) << 63)

/* ---- making and ending it ---- */

static uint32_t at_most(uint32_t wanted, int limit)
{
	return limit > 0 && (uint32_t)limit < wanted ? (uint32_t)limit : wanted;
}

/* The queue's depth is bounded by the device, also by its completion queues: an entry per list and per receive. */
static int choose_depth(struct channel *channel, struct ibv_context *context, uint8_t port,
			struct decant_error *err)
{
	struct ibv_device_attr device;
	struct ibv_port_attr attr;
	uint32_t entries;
	int rc = verbs_query_device(context, &device);

	if (rc == 0)
		rc = verbs_query_port(context, port, &attr);
	if (rc < 0)
		return decant_error_set(err, rc, "device %s: query: %s", ibv_get_device_name(context->device),
					strerror(-rc));
	entries = at_most(CHANNEL_DEPTH + SEND_RESERVE, device.max_qp_wr);
	entries = at_most(entries, device.max_cqe - (int)CHANNEL_CREDITS);
	if (entries < SEND_RESERVE + 2 || device.max_qp_wr < (int)CHANNEL_CREDITS ||
	    device.max_cqe < (int)(2 * CHANNEL_CREDITS))
		return decant_error_set(err, -EOPNOTSUPP,
					"device %s: queues of %d work requests and %d completions are too short",
					ibv_get_device_name(context->device), device.max_qp_wr, device.max_cqe);
	channel->depth = entries - SEND_RESERVE;
	channel->list_max = channel->depth / 2 < CHANNEL_LIST_MAX ? channel->depth / 2 : CHANNEL_LIST_MAX;
	channel->message_max = attr.max_msg_sz == 0 ? UINT32_MAX : attr.max_msg_sz;
	return 0;
}

static int make_ring(struct channel *channel, const struct channel_opts *opts, struct decant_error *err)
{
	const size_t size = (size_t)opts->slot_size * CHANNEL_CREDITS;
	void *ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	if (ring == MAP_FAILED)
		return decant_error_set(err, -ENOMEM, "message ring of %zu bytes: out of memory", size);
	channel->ring = ring;
	channel->slot_size = opts->slot_size;
	rc = verbs_register(opts->pd, ring, size, (uintptr_t)ring, opts->receives ? IBV_ACCESS_LOCAL_WRITE : 0,
			    &channel->ring_mr);
	if (rc == 0)
		return 0;
	channel->ring_mr = NULL;
	return diagnose_register(rc, ibv_get_device_name(opts->pd->context->device), size, 0, err);
}

static int make_queues(struct channel *channel, const struct channel_opts *opts, struct decant_error *err)
{
	struct ibv_context *context = opts->id->verbs;
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = channel->depth + SEND_RESERVE,
			 .max_recv_wr = CHANNEL_CREDITS,
			 .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.qp_type = IBV_QPT_RC,
	};
	int rc = verbs_completion_channel(context, &channel->notice);

	if (rc < 0)
		return decant_error_set(err, rc, "completion channel: %s", strerror(-rc));
	rc = verbs_cq(context, (int)(channel->depth + SEND_RESERVE + CHANNEL_CREDITS), channel->notice,
		      &channel->cq);
	if (rc < 0)
		return decant_error_set(err, rc, "completion queue of %u entries: %s",
					channel->depth + SEND_RESERVE + CHANNEL_CREDITS, strerror(-rc));
	rc = verbs_arm(channel->cq);
	if (rc < 0)
		return decant_error_set(err, rc, "arm the completion queue: %s", strerror(-rc));
	attr.send_cq = channel->cq;
	attr.recv_cq = channel->cq;
	rc = verbs_create_qp(opts->id, opts->pd, &attr);
	if (rc < 0)
		return decant_error_set(err, rc, "queue pair of %u work requests: %s", attr.cap.max_send_wr,
					strerror(-rc));
	channel->id = opts->id;
	return 0;
}

int channel_open(struct channel *channel, const struct channel_opts *opts, struct decant_error *err)
{
	int rc;

	memset(channel, 0, sizeof(*channel));
	channel->index = opts->index;
	channel->receives = opts->receives;
	channel->window.time_ns = opts->under_way_ns;
	rc = choose_depth(channel, opts->id->verbs, opts->id->port_num, err);
	if (rc == 0)
		rc = make_ring(channel, opts, err);
	if (rc == 0)
		rc = make_queues(channel, opts, err);
	if (rc == 0) {
		rc = channel_post_receives(channel, 0, CHANNEL_CREDITS);
		if (rc < 0)
			decant_error_set(err, rc, "post the first receives: %s", strerror(-rc));
	}
	if (rc < 0) {
		channel_kill(channel);
		channel->id = NULL; /* still the caller's */
		channel_close(channel);
	}
	return rc;
}

/* Destroying a queue pair returns when the device has let go of memory; the orderly way to tell the peer comes before. */
void channel_kill(struct channel *channel)
{
	if (channel->id == NULL || channel->id->qp == NULL)
		return;
	verbs_fail_qp(channel->id->qp);
	rdma_destroy_qp(channel->id);
}

void channel_close(struct channel *channel)
{
	channel_kill(channel);
	if (channel->id != NULL)
		rdma_destroy_id(channel->id);
	if (channel->cq != NULL)
		ibv_destroy_cq(channel->cq);
	if (channel->notice != NULL)
		ibv_destroy_comp_channel(channel->notice);
	if (channel->ring_mr != NULL)
		verbs_deregister(channel->ring_mr);
	if (channel->ring != NULL)
		munmap(channel->ring, (size_t)channel->slot_size * CHANNEL_CREDITS);
	memset(channel, 0, sizeof(*channel));
}

/* ---- work out ---- */

static uint64_t bytes_max(const struct channel *channel)
{
	return window_bytes(&channel->window, CHANNEL_BYTES_MIN, CHANNEL_BYTES_MAX);
}

static uint64_t now_ns(const struct channel *channel)
{
	return channel->window.time_ns == 0 ? 0 : clock_now_ns();
}

int channel_flush(struct channel *channel)
{
	const uint32_t count = channel->gathered;
	struct channel_list *list;
	int rc;

	if (count == 0)
		return 0;
	for (uint32_t i = 0; i + 1 < count; i++)
		channel->wr[i].next = &channel->wr[i + 1];
	channel->wr[count - 1].next = NULL;
	channel->wr[count - 1].send_flags |= IBV_SEND_SIGNALED;
	channel->wr[count - 1].wr_id = channel->posted + count;
	if (channel->list_count == 0)
		channel->progress_ns = clock_now_ns();
	rc = verbs_post_send(channel->id->qp, channel->wr);
	if (rc < 0)
		return rc;
	list = &channel->list[(channel->list_head + channel->list_count++) % CHANNEL_LISTS_MAX];
	*list = (struct channel_list){
		.last = channel->posted + count,
		.bytes = channel->gathered_bytes,
		.posted = window_begin(&channel->window, now_ns(channel)),
	};
	channel->posted += count;
	channel->bytes += channel->gathered_bytes;
	channel->gathered = 0;
	channel->gathered_bytes = 0;
	channel->posts++;
	return 0;
}

static bool is_full(const struct channel *channel)
{
	return channel->posted + channel->gathered - channel->done >= channel->depth ||
	       channel->bytes + channel->gathered_bytes >= bytes_max(channel);
}

static bool is_list_full(const struct channel *channel)
{
	return channel->gathered == channel->list_max || channel->gathered_bytes >= bytes_max(channel) / 2;
}

static int gather(struct channel *channel, const struct ibv_send_wr *wr, const struct ibv_sge *sge)
{
	const uint32_t i = channel->gathered++;

	channel->wr[i] = *wr;
	channel->sge[i] = *sge;
	channel->wr[i].sg_list = &channel->sge[i];
	channel->wr[i].num_sge = sge->length == 0 ? 0 : 1;
	channel->gathered_bytes += wr->opcode == IBV_WR_RDMA_WRITE ? sge->length : 0;
	return is_list_full(channel) ? channel_flush(channel) : 0;
}

/* A write longer than the device's messages goes in pieces; if there is no room for all, the same write comes again. */
int channel_write(struct channel *channel, const void *data, uint32_t length, uint32_t lkey, uint64_t remote,
		  uint32_t rkey)
{
	int rc;

	channel->open = true;
	while (channel->pieces < length) {
		const uint32_t at = channel->pieces;
		const uint32_t left = length - at;
		const struct ibv_sge sge = {
			.addr = (uintptr_t)data + at,
			.length = left < channel->message_max ? left : channel->message_max,
			.lkey = lkey,
		};
		const struct ibv_send_wr wr = {
			.opcode = IBV_WR_RDMA_WRITE,
			.wr.rdma = { .remote_addr = remote + at, .rkey = rkey },
		};

		if (is_full(channel)) {
			rc = channel_flush(channel);
			return rc < 0 ? rc : -EAGAIN;
		}
		rc = gather(channel, &wr, &sge);
		if (rc < 0)
			return rc;
		channel->pieces += sge.length;
	}
	channel->pieces = 0;
	return 0;
}

static uint32_t immediate(enum channel_kind kind, uint32_t value)
{
	return htonl((uint32_t)kind << IMM_KIND_SHIFT | (value & IMM_VALUE_MASK));
}

/*
 * Writes leave the reserve alone, so a credit nearly always has its room. Not always: it comes back when the peer has posted its receive
 * again, which may be before the completion of the SEND that took it.
 */
bool channel_can_send(const struct channel *channel, uint32_t kept)
{
	return channel->credits > kept &&
	       channel->posted + channel->gathered + kept - channel->done < channel->depth + SEND_RESERVE;
}

int channel_send(struct channel *channel, enum channel_kind kind, const void *data, uint32_t length)
{
	/* with a credit in hand the SEND that many before has been received, so its slot is free */
	uint8_t *slot = channel->ring + (size_t)(channel->sends % CHANNEL_CREDITS) * channel->slot_size;
	const struct ibv_sge sge = { .addr = (uintptr_t)slot, .length = length, .lkey = channel->ring_mr->lkey };
	const struct ibv_send_wr wr = { .opcode = IBV_WR_SEND_WITH_IMM, .imm_data = immediate(kind, 0) };
	int rc;

	if (length > 0)
		memcpy(slot, data, length);
	channel->open = kind == CHANNEL_MESSAGE;
	channel->sends++;
	channel->credits--;
	rc = gather(channel, &wr, &sge);
	return rc < 0 ? rc : channel_flush(channel);
}

int channel_give_credits(struct channel *channel, uint32_t count)
{
	const struct ibv_sge none = { 0 };
	const struct ibv_send_wr wr = {
		.opcode = IBV_WR_SEND_WITH_IMM,
		.imm_data = immediate(CHANNEL_CREDIT, count),
	};
	const int rc = gather(channel, &wr, &none);

	return rc < 0 ? rc : channel_flush(channel);
}

int channel_post_receives(struct channel *channel, uint32_t slot, uint32_t count)
{
	struct ibv_recv_wr wr[CHANNEL_CREDITS];
	struct ibv_sge sge[CHANNEL_CREDITS];

	for (uint32_t i = 0; i < count; i++) {
		const uint32_t n = (slot + i) % CHANNEL_CREDITS;

		sge[i] = (struct ibv_sge){
			.addr = (uintptr_t)(channel->ring + (size_t)n * channel->slot_size),
			.length = channel->slot_size,
			.lkey = channel->ring_mr->lkey,
		};
		wr[i] = (struct ibv_recv_wr){
			.wr_id = RECEIVE_ID | n,
			.next = i + 1 < count ? &wr[i + 1] : NULL,
			.sg_list = &sge[i],
			.num_sge = channel->receives ? 1
						     : 0, /* the source's hold nothing but the immediate data */
		};
	}
	return count == 0 ? 0 : verbs_post_receive(channel->id->qp, wr);
}

/* ---- completions in ---- */

/* A queue pair works in order: all that was handed over up to this one is done. */
static void account(struct channel *channel, uint64_t number)
{
	channel->done = number;
	channel->completions++;
	while (channel->list_count > 0 && channel->list[channel->list_head].last <= number) {
		const struct channel_list *list = &channel->list[channel->list_head];

		channel->bytes -= list->bytes;
		if (channel->window.time_ns > 0 && list->bytes > 0)
			window_end(&channel->window, &list->posted, list->bytes, list->last <= channel->full_at,
				   channel->progress_ns);
		channel->list_head = (channel->list_head + 1) % CHANNEL_LISTS_MAX;
		channel->list_count--;
	}
}

static int refuse_completion(const struct channel *channel, const struct ibv_wc *wc, struct decant_error *err)
{
	const char *what = (wc->wr_id & RECEIVE_ID) != 0 ? "receive" : "send";
	int code = -EIO;

	if (wc->status == IBV_WC_RETRY_EXC_ERR || wc->status == IBV_WC_RNR_RETRY_EXC_ERR)
		code = -ETIMEDOUT;
	else if (wc->status == IBV_WC_REM_ACCESS_ERR)
		code = -EACCES;
	else if (wc->status == IBV_WC_WR_FLUSH_ERR)
		code = -ECONNRESET;
	return decant_error_set(err, code, "channel %" PRIu32 ": %s completed with \"%s\" (vendor's code %#x); %s",
				channel->index, what, ibv_wc_status_str(wc->status), wc->vendor_err,
				diagnose_completion(wc->status));
}

static int take_receive(const struct channel *channel, const struct ibv_wc *wc, struct channel_receipt *receipt,
			struct decant_error *err)
{
	const uint32_t imm = ntohl(wc->imm_data);

	if (wc->opcode != IBV_WC_RECV || (wc->wc_flags & IBV_WC_WITH_IMM) == 0)
		return decant_error_set(err, -EPROTO, "channel %" PRIu32 ": the peer sent something of no kind",
					channel->index);
	*receipt = (struct channel_receipt){
		.kind = (enum channel_kind)(imm >> IMM_KIND_SHIFT),
		.value = imm & IMM_VALUE_MASK,
		.slot = (uint32_t)(wc->wr_id & ~RECEIVE_ID),
		.length = wc->byte_len,
	};
	return 0;
}

static int take_completion(struct channel *channel, const struct ibv_wc *wc, struct channel_receipt *receipts,
			   int *found, struct decant_error *err)
{
	int rc;

	if (wc->status != IBV_WC_SUCCESS)
		return refuse_completion(channel, wc, err);
	if ((wc->wr_id & RECEIVE_ID) == 0) {
		account(channel, wc->wr_id);
		return 0;
	}
	rc = take_receive(channel, wc, &receipts[*found], err);
	if (rc == 0)
		++*found;
	return rc;
}

int channel_poll(struct channel *channel, struct channel_receipt *receipts, int max, bool *any,
		 struct decant_error *err)
{
	struct ibv_wc wc[POLL_BATCH];
	int found = 0, n = 1;

	if (channel->has_failed)
		wc[0] = channel->failed;
	else
		n = verbs_poll(channel->cq, max < POLL_BATCH ? max : POLL_BATCH, wc);
	*any = n > 0;
	if (n < 0)
		return decant_error_set(err, n, "channel %" PRIu32 ": poll: %s", channel->index, strerror(-n));
	if (n > 0)
		channel->progress_ns = clock_now_ns();
	for (int i = 0; i < n; i++) {
		const int rc = take_completion(channel, &wc[i], receipts, &found, err);

		if (rc < 0 && found == 0)
			return rc;
		if (rc < 0) {
			/* a barrier or a goodbye that came before the end counts */
			channel->failed = wc[i];
			channel->has_failed = true;
			break;
		}
	}
	return found;
}

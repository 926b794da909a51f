/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_link.c -- streams between two sidecars, over a mover that also pushes pages, and whose data channels may die
 *
 * Each end is one thread that does what a relay does: waits for the link, writes what there is room for, reads what has come. The bytes of a
 * stream are a function of their place, so that one that is lost, doubled or elsewhere shows.
 */
#include "integration/breaker.h"
#include "integration/scenarios.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fabric/loop/loop.h"
#include "qemu/link.h"
#include "util/clock.h"

#define STREAMS 4u
#define STREAM_BYTES SCALE(12u << 20, 3u << 20)
#define LINK_PAGES 512u
#define STUCK_NS (60 * NSEC_PER_SEC)

struct flow {
	uint32_t id; /* 0: none yet */
	uint64_t written, read, most;
	bool ended, at_end;
};

/* One of the two ends; all but what is atomic is its thread's. */
struct end {
	struct link *link;
	struct flow flow[STREAMS];
	uint32_t flows;
	bool lazy; /* reads stream 0 only when all others are done */
	char wrong[160];
};

struct linked {
	struct end source, destination;
	struct decant_memory *memory;
	struct decant_mover *mover;
	struct decant_landing *landing;
	pthread_t landing_thread, destination_thread;
	int landed;
	struct decant_error landed_err, err;
	struct decant_memory *received;
	unsigned pushed;
	void (*disturb)(struct linked *linked, const struct rig *rig); /* at the half, and again */
	const struct rig *rig;
	unsigned disturbed;
};

static uint8_t byte_at(uint32_t id, bool of_source, uint64_t place)
{
	return (uint8_t)(place * 31 + (place >> 12) * 7 + id * 101 + (of_source ? 0 : 57));
}

/* ---- what both ends do ---- */

static void complain(struct end *end, const char *what, const struct flow *flow, const struct decant_error *err)
{
	if (end->wrong[0] == '\0')
		snprintf(end->wrong, sizeof(end->wrong), "%s: stream %u at %llu, %llu: %.80s", what, flow->id,
			 (unsigned long long)flow->written, (unsigned long long)flow->read,
			 err != NULL ? err->msg : "");
}

static void write_flow(struct end *end, struct flow *flow, bool of_source)
{
	static _Thread_local uint8_t bytes[100000];
	struct decant_error err = DECANT_ERROR_INIT;
	size_t length = flow->most - flow->written;
	int rc;

	if (length > sizeof(bytes))
		length = sizeof(bytes);
	if (length > link_room(end->link, flow->id))
		length = link_room(end->link, flow->id);
	for (size_t i = 0; i < length; i++)
		bytes[i] = byte_at(flow->id, of_source, flow->written + i);
	rc = length > 0 ? link_write(end->link, flow->id, bytes, length, &err) : 0;
	if (rc < 0 || (size_t)rc != length)
		complain(end, "link_write", flow, &err);
	else
		flow->written += length;
	if (flow->written < flow->most || flow->ended)
		return;
	if (link_end(end->link, flow->id, &err) < 0)
		complain(end, "link_end", flow, &err);
	flow->ended = true;
}

static void read_flow(struct end *end, struct flow *flow, bool of_source)
{
	struct decant_error err = DECANT_ERROR_INIT;
	const void *data = NULL;
	size_t length;
	int rc = link_peek(end->link, flow->id, &data, &length, &err);

	if (rc < 0)
		complain(end, "link_peek", flow, &err);
	flow->at_end = rc == 1;
	for (size_t i = 0; i < length; i++)
		if (((const uint8_t *)data)[i] != byte_at(flow->id, !of_source, flow->read + i))
			complain(end, "another byte was due", flow, NULL);
	flow->read += length;
	if (length > 0 && link_consume(end->link, flow->id, length, &err) < 0)
		complain(end, "link_consume", flow, &err);
}

static bool is_done(const struct flow *flow)
{
	return flow->ended && flow->at_end;
}

static bool others_are_done(const struct end *end)
{
	for (uint32_t i = 1; i < STREAMS; i++)
		if (!is_done(&end->flow[i]))
			return false;
	return true;
}

static bool step(struct end *end, bool of_source)
{
	bool done = end->flows == STREAMS;

	for (uint32_t i = 0; i < end->flows; i++) {
		struct flow *flow = &end->flow[i];

		write_flow(end, flow, of_source);
		if (!flow->at_end && (i > 0 || !end->lazy || others_are_done(end)))
			read_flow(end, flow, of_source);
		done = done && is_done(flow);
	}
	return done || end->wrong[0] != '\0';
}

static bool can_go_on(struct end *end)
{
	const void *data;
	size_t length;

	for (uint32_t i = 0; i < end->flows; i++) {
		const struct flow *flow = &end->flow[i];

		if (flow->written < flow->most && link_room(end->link, flow->id) > 0)
			return true;
		if ((i > 0 || !end->lazy || others_are_done(end)) && !flow->at_end &&
		    (link_peek(end->link, flow->id, &data, &length, NULL) != 0 || length > 0))
			return true;
	}
	return false;
}

/* Nothing that has come since the link was cleared is missed: it is looked at after that. */
static void await(struct end *end, uint64_t stuck_ns)
{
	struct pollfd pollfd = { .fd = link_fd(end->link), .events = POLLIN };
	struct decant_error err = DECANT_ERROR_INIT;

	if (!can_go_on(end) && poll(&pollfd, 1, 1000) < 0)
		snprintf(end->wrong, sizeof(end->wrong), "poll: %s", strerror(errno));
	link_clear(end->link);
	if (link_check(end->link, &err) < 0)
		snprintf(end->wrong, sizeof(end->wrong), "%.150s", err.msg);
	else if (clock_now_ns() > stuck_ns)
		snprintf(end->wrong, sizeof(end->wrong), "nothing goes on");
}

/* ---- the ends ---- */

static void *destination_main(void *opaque)
{
	struct linked *linked = opaque;
	struct end *end = &linked->destination;
	const uint64_t stuck_ns = clock_deadline_ns(STUCK_NS);
	enum link_service service;
	uint32_t id;

	while (!step(end, false)) {
		while (end->flows < STREAMS && link_accept(end->link, &id, &service) == 1) {
			end->flow[end->flows] = (struct flow){ .id = id, .most = STREAM_BYTES + id };
			if (service != (end->flows == 0 ? LINK_MIGRATION : LINK_DISK))
				complain(end, "another service", &end->flow[end->flows], NULL);
			end->flows++;
		}
		await(end, stuck_ns);
	}
	for (uint32_t i = 0; i < end->flows; i++)
		link_close(end->link, end->flow[i].id, 0);
	return NULL;
}

static void open_flows(struct linked *linked)
{
	struct end *end = &linked->source;

	for (uint32_t i = 0; i < STREAMS; i++) {
		struct flow *flow = &end->flow[i];

		if (link_open(end->link, i == 0 ? LINK_MIGRATION : LINK_DISK, &flow->id, &linked->err) < 0)
			fail_msg("link_open: %s", linked->err.msg);
		flow->most = STREAM_BYTES + flow->id;
	}
	end->flows = STREAMS;
}

/* The mover's feeder, with pages between the bytes. */
static void source_main(struct linked *linked)
{
	struct end *end = &linked->source;
	const uint64_t stuck_ns = clock_deadline_ns(STUCK_NS);
	uint8_t *base = decant_memory_region(linked->memory, 0)->address;

	open_flows(linked);
	while (!step(end, true)) {
		const uint64_t page = linked->pushed++ % LINK_PAGES;

		memset(base + page * PAGE, (int)(linked->pushed & 0xff), PAGE);
		if (decant_mover_push(linked->mover, 0, page * PAGE, PAGE, &linked->err) < 0)
			fail_msg("decant_mover_push: %s", linked->err.msg);
		if (linked->disturb != NULL && linked->disturbed < 2 &&
		    end->flow[1].written > (linked->disturbed + 1) * (uint64_t)STREAM_BYTES / 4)
			linked->disturb(linked, linked->rig);
		await(end, stuck_ns);
	}
	if (end->wrong[0] != '\0')
		fail_msg("source: %s", end->wrong);
}

/* ---- the session ---- */

static int make_memory(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		       uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	(void)opaque;
	(void)shape;
	return count == 1 ? (decant_memory_allocate(memory, &regions[0], err) < 0 ? -ENOMEM : 0) : -EINVAL;
}

static int deliver_there(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	return link_deliver(((struct linked *)opaque)->destination.link, data, length, err);
}

static int deliver_here(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	return link_deliver(((struct linked *)opaque)->source.link, data, length, err);
}

static int send_there(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	return decant_mover_message(((struct linked *)opaque)->mover, data, length, err);
}

static int send_here(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	return decant_landing_message(((struct linked *)opaque)->landing, data, length, err);
}

static void lost_here(void *opaque, const struct decant_error *why)
{
	link_fail(((struct linked *)opaque)->source.link, why);
}

static void *landing_main(void *opaque)
{
	struct linked *linked = opaque;

	linked->landed = decant_landing_run(linked->landing, &linked->received, &linked->landed_err);
	link_fail(linked->destination.link, &linked->landed_err);
	return NULL;
}

static void open_landing(struct linked *linked, const struct rig *rig)
{
	static const struct decant_landing_ops ops = {
		.size = sizeof(ops),
		.create = make_memory,
		.message = deliver_there,
	};
	const struct link_opts here = { .source = true, .send = send_there, .opaque = linked };
	const struct link_opts there = { .send = send_here, .opaque = linked };
	struct decant_landing_opts opts = DECANT_LANDING_OPTS_INIT;

	opts.listen = "127.0.0.1:0";
	opts.log = rig->receiver_opts.log;
	assert_int_equal(link_new(&here, &linked->source.link, NULL), 0);
	assert_int_equal(link_new(&there, &linked->destination.link, NULL), 0);
	assert_int_equal(decant_landing_new(&opts, &ops, linked, &linked->landing, NULL), 0);
	assert_int_equal(pthread_create(&linked->landing_thread, NULL, landing_main, linked), 0);
}

static void open_link(struct linked *linked, const struct rig *rig)
{
	struct decant_mover_opts opts = DECANT_MOVER_OPTS_INIT;
	struct decant_region region = DECANT_REGION_INIT;
	char peer[64];

	open_landing(linked, rig);
	snprintf(region.name, sizeof(region.name), "pc.ram");
	region.length = LINK_PAGES * PAGE;
	assert_int_equal(decant_memory_new(&linked->memory, NULL), 0);
	assert_int_equal(decant_memory_allocate(linked->memory, &region, NULL), 0);
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_landing_port(linked->landing));
	opts.peer = peer;
	opts.fabric = rig->fabric;
	opts.channels = 2;
	opts.log = rig->opts.log;
	opts.message = deliver_here;
	opts.lost = lost_here;
	opts.opaque = linked;
	if (decant_mover_connect(&opts, linked->memory, NULL, &linked->mover, &linked->err) < 0)
		fail_msg("decant_mover_connect: %s", linked->err.msg);
	linked->rig = rig;
	assert_int_equal(pthread_create(&linked->destination_thread, NULL, destination_main, linked), 0);
}

static void expect_whole(const struct end *end, const char *which)
{
	if (end->wrong[0] != '\0')
		fail_msg("%s: %s", which, end->wrong);
	for (uint32_t i = 0; i < STREAMS; i++) {
		const struct flow *flow = &end->flow[i];

		if (flow->read != STREAM_BYTES + flow->id || flow->written != STREAM_BYTES + flow->id)
			fail_msg("%s: stream %u: %llu read", which, flow->id, (unsigned long long)flow->read);
	}
}

static void close_link(struct linked *linked)
{
	struct link_stats here, there;

	pthread_join(linked->destination_thread, NULL);
	assert_int_equal(decant_mover_barrier(linked->mover, &linked->err), 0);
	decant_mover_close(linked->mover);
	pthread_join(linked->landing_thread, NULL);
	if (linked->landed != 0)
		fail_msg("decant_landing_run: %s", linked->landed_err.msg);
	link_get_stats(linked->source.link, &here);
	link_get_stats(linked->destination.link, &there);
	assert_int_equal(here.sent_bytes, there.received_bytes);
	assert_int_equal(there.sent_bytes, here.received_bytes);
	assert_true(here.streams == STREAMS && there.streams == STREAMS);
	assert_memory_equal(decant_memory_region(linked->received, 0)->address,
			    decant_memory_region(linked->memory, 0)->address, LINK_PAGES * PAGE);
	decant_landing_free(linked->landing);
	link_free(linked->source.link);
	link_free(linked->destination.link);
	decant_memory_free(linked->received);
	decant_memory_free(linked->memory);
}

static void run_link(struct linked *linked, const struct rig *rig)
{
	open_link(linked, rig);
	source_main(linked);
	close_link(linked);
	expect_whole(&linked->source, "source");
	expect_whole(&linked->destination, "destination");
}

/* Every stream is full in both directions. */
void scenario_link_both_ways(struct rig *rig)
{
	struct linked linked = { 0 };

	run_link(&linked, rig);
}

/* The stream that is not read has its window full, and no other waits for it. */
void scenario_link_with_a_lazy_reader(struct rig *rig)
{
	struct linked linked = { .source.lazy = true, .destination.lazy = true };

	run_link(&linked, rig);
}

static enum loop_action kill_now(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	_Atomic unsigned *kills = opaque;

	(void)epoch;
	(void)write;
	return atomic_exchange(kills, 0) != 0 ? LOOP_KILL : LOOP_DELIVER;
}

static _Atomic unsigned loop_kills;

static void break_channels(struct linked *linked, const struct rig *rig)
{
	linked->disturbed++;
	if (strcmp(rig->fabric, "loop") == 0)
		atomic_store(&loop_kills, 1);
	else if (rig_has_rails(rig) && linked->disturbed == 1)
		breaker_arm(BREAKER_WRITE, 0);
	else
		assert_true(rig_kill_data_but(decant_landing_port(linked->landing)));
}

/* The data channels die twice under it; no byte is lost or doubled. */
void scenario_link_over_failover(struct rig *rig)
{
	const struct loop_plan plan = { .decide = kill_now, .opaque = &loop_kills };
	struct linked linked = { .disturb = break_channels };
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;

	loop_plan_set(&plan);
	open_link(&linked, rig);
	source_main(&linked);
	decant_mover_get_stats(linked.mover, &stats);
	assert_int_equal(linked.disturbed, 2);
	assert_true(stats.failovers >= 1);
	close_link(&linked);
	expect_whole(&linked.source, "source");
	expect_whole(&linked.destination, "destination");
	loop_plan_set(NULL);
}

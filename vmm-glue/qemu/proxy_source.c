/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * proxy_source.c -- the sidecar beside the QEMU that a VM leaves
 *
 * Theory of operation
 * -------------------
 * One thread polls all: the sockets that QEMU connects to, its connections, the link. A connection is known by its first bytes: the main
 * stream, one of multifd's, or nothing of QEMU's. The main stream is read by the feeder; it is joined with a stream of the link for
 * what is forwarded and for the return path. Disks are plain relays.
 *
 * The other sidecar is connected to when it is known what memory there is: with the stream's block list, or earlier if a disk is.
 * Until then nothing has been forwarded, so whatever speaks against shared memory can still make it a fallback.
 *
 * Whatever fails, QEMU's connections are closed at once: that is what ends its migration, and lets its VM go on.
 */
#include "qemu/proxy_source_private.h"

#include "qemu/feeder.h"
#include "qemu/guest_ram.h"
#include "qemu/preflight.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRESS_NS (500 * NSEC_PER_MSEC)
#define START_NS (30 * NSEC_PER_SEC)
#define HALTING_NS (50 * NSEC_PER_MSEC) /* how often those that begin in pieces are looked at */

/* ---- beginning and end ---- */

static int source_listen(struct proxy_source *source, struct decant_error *err)
{
	int ret = unix_listen(&source->listener, source->opts.socket, err);

	if (ret == 0 && source->opts.disks != NULL)
		ret = unix_listen(&source->disk_listener, source->opts.disks, err);
	return ret;
}

int proxy_source_new(const struct proxy_source_opts *opts, struct proxy_source **out, struct decant_error *err)
{
	struct proxy_source *source = calloc(1, sizeof(*source));
	int ret;

	if (source == NULL)
		return decant_error_set(err, -ENOMEM, "proxy: out of memory");
	source->opts = *opts;
	source->listener = source->disk_listener = (struct unix_listener)UNIX_LISTENER_INIT;
	source->main = (struct relay)RELAY_INIT;
	source->ram = opts->ram;
	source->preflight = opts->preflight;
	source->cancel_fd = io_wake_new();
	ret = source->cancel_fd < 0 ? source->cancel_fd : 0;
	if (ret < 0)
		decant_error_set(err, ret, "proxy: eventfd: %s", strerror(-ret));
	else if (opts->key_length > sizeof(source->key))
		ret = decant_error_set(err, -EINVAL, "proxy: a key has at most %zu bytes", sizeof(source->key));
	if (ret == 0 && opts->key_length > 0)
		memcpy(source->key, opts->key, opts->key_length);
	source->opts.key = opts->key != NULL ? source->key : NULL;
	if (ret == 0)
		ret = source_listen(source, err);
	if (ret < 0) {
		proxy_source_free(source);
		return ret;
	}
	*out = source;
	return 0;
}

void proxy_source_cancel(struct proxy_source *source)
{
	io_wake_set(source->cancel_fd);
}

/* QEMU's connections, and the sockets. The other sidecar is told why by a word, not stream by stream. */
static void source_shut(struct proxy_source *source)
{
	relay_close(&source->main, NULL, 0);
	for (uint32_t i = 0; i < source->relays; i++)
		relay_close(&source->relay[i], NULL, 0);
	source->relays = 0;
	for (uint32_t i = 0; i < source->strangers; i++)
		close(source->stranger[i].fd);
	source->strangers = 0;
	feeder_free(source->feeder); /* with multifd's */
	source->feeder = NULL;
	unix_unlisten(&source->listener);
	unix_unlisten(&source->disk_listener);
}

void proxy_source_free(struct proxy_source *source)
{
	if (source == NULL)
		return;
	source_shut(source);
	proxy_session_close(&source->session, NULL);
	guest_ram_free(source->own_ram);
	preflight_free(source->own_preflight);
	if (source->cancel_fd >= 0)
		close(source->cancel_fd);
	explicit_bzero(source->key, sizeof(source->key));
	free(source);
}

/* ---- what it says of itself ---- */

static void source_stats(struct proxy_source *source)
{
	struct decant_mover_stats mover = DECANT_MOVER_STATS_INIT;
	struct proxy_stats *stats = &source->stats;
	struct feeder_stats fed = { 0 };

	if (source->session.mover != NULL) {
		decant_mover_get_stats(source->session.mover, &mover);
		memcpy(stats->fabric, mover.fabric, sizeof(stats->fabric));
		memcpy(stats->fabric_reason, mover.fabric_reason, sizeof(mover.fabric_reason));
		stats->channels = mover.channels;
		stats->failovers = mover.failovers;
		stats->sent_bytes = mover.sent_bytes;
		stats->pages_sent = mover.pages_sent;
		stats->zero_pages = mover.pages_zero;
		stats->region_bytes = proxy_session_bytes(&source->session);
		stats->regions = stats->region_bytes > 0 ? decant_memory_count(source->session.memory) : 0;
	}
	if (source->feeder != NULL)
		feeder_get_stats(source->feeder, &fed);
	stats->stream_bytes = fed.stream_bytes + source->channel_bytes;
	stats->forwarded_bytes = fed.forwarded_bytes + source->channel_bytes;
	stats->dirty_pages = fed.dirty_pages;
	stats->passed_block_bytes = fed.passing_bytes;
	stats->drain_ns = fed.drain_ns;
	stats->return_bytes = source->main.out_bytes;
	stats->fallback = source->pass;
	if (source->pass)
		snprintf(stats->fabric_reason, sizeof(stats->fabric_reason), "%s", source->why);
	if (source->begin_ns != 0 && stats->stage < PROXY_CLOSED)
		stats->total_ns = clock_now_ns() - source->begin_ns;
	stats->cpu_ns = clock_process_cpu_ns() - source->cpu_ns;
}

static void source_tell(struct proxy_source *source, bool now)
{
	const uint64_t now_ns = clock_now_ns();

	if (!now && now_ns < source->told_ns + PROGRESS_NS)
		return;
	source->told_ns = now_ns;
	source_stats(source);
	if (source->opts.ops != NULL && source->opts.ops->progress != NULL)
		source->opts.ops->progress(source->opts.opaque, &source->stats);
}

void proxy_source_stage(struct proxy_source *source, enum proxy_stage stage)
{
	if (source->stats.stage >= stage)
		return;
	source->stats.stage = stage;
	source_tell(source, true);
}

/* ---- the loop ---- */

static int source_control(struct proxy_source *source, struct decant_error *err)
{
	char text[LINK_CONTROL_MAX + 1];
	enum link_control kind;

	while (source->session.link != NULL && link_next_control(source->session.link, &kind, text) == 1) {
		if (kind == LINK_ERROR)
			return decant_error_set(err, -EREMOTEIO, "at the destination: %s", text);
		if (kind == LINK_STARTED && source->start_sent)
			source->started = true;
	}
	return 0;
}

/* With a disk there is a link before the migration has a stream of it. */
static bool source_main_open(const struct proxy_source *source)
{
	return source->session.link != NULL && source->main.fd >= 0 && source->main.id != 0;
}

static int source_pump_main(struct proxy_source *source, struct decant_error *err)
{
	struct relay *main = &source->main;
	int ret = source->feeder != NULL ? feeder_turn(source->feeder, err) : 0;

	if (ret < 0 || source->feeder == NULL || !source_main_open(source))
		return ret;
	ret = relay_pump(main, source->session.link, err);
	if (ret < 0 && !source->path.shut)
		return ret;
	if (return_path_loaded(&source->path))
		proxy_source_stage(source, PROXY_LOADED);
	if (main->out_ended && !source->path.shut && !source->pass)
		return decant_error_set(err, -ECONNRESET,
					"the destination's QEMU has closed its connection; what it says on its "
					"standard error, or in its log, is why");
	/* once SHUT has passed, that QEMU here is gone is no error of ours */
	if (ret != 0) {
		source->main_ended = true;
		relay_close(main, source->session.link, 0);
	}
	return 0;
}

static void source_pump_relays(struct proxy_source *source)
{
	struct link *link = source->session.link;
	uint32_t left = 0;

	for (uint32_t i = 0; i < source->relays; i++) {
		struct decant_error why = DECANT_ERROR_INIT;
		struct relay *relay = &source->relay[i];
		const uint64_t before = relay->in_bytes + relay->out_bytes;
		const int ret = relay_pump(relay, link, &why);

		*(source->service[i] == LINK_DISK ? &source->stats.disk_bytes : &source->channel_bytes) +=
			relay->in_bytes + relay->out_bytes - before;
		if (ret == 0) {
			source->service[left] = source->service[i];
			source->relay[left++] = *relay;
			continue;
		}
		if (ret < 0)
			log_info(&source->opts.log, "%s", why.msg);
		relay_close(relay, link, ret < 0 ? ECONNRESET : 0);
	}
	source->relays = left;
}

static int source_turn(struct proxy_source *source, struct decant_error *err)
{
	int ret = source_control(source, err);

	if (ret == 0)
		ret = proxy_source_accept(source, err);
	if (ret == 0)
		ret = proxy_source_accept_disks(source, err);
	if (ret == 0)
		ret = proxy_source_meet_all(source, err);
	if (ret == 0)
		ret = source_pump_main(source, err);
	if (ret == 0)
		source_pump_relays(source);
	if (ret == 0 && source->feeder != NULL)
		ret = feeder_settle(source->feeder, err);
	if (ret == 0 && source->session.link != NULL)
		ret = link_check(source->session.link, err);
	return ret;
}

static void poll_add(struct pollfd *fds, nfds_t *count, int fd, short events)
{
	if (fd >= 0 && events != 0)
		fds[(*count)++] = (struct pollfd){ .fd = fd, .events = events };
}

static bool source_polls(const struct proxy_source *source, const struct source_stranger *stranger)
{
	return !stranger->halting && (!stranger->channel || proxy_source_takes_channels(source));
}

static nfds_t source_fds(struct proxy_source *source, struct pollfd *fds)
{
	struct link *link = source->session.link;
	nfds_t count = 0;
	int fd;

	poll_add(fds, &count, source->cancel_fd, POLLIN);
	poll_add(fds, &count, source->strangers < STRANGERS_MAX ? source->listener.fd : -1, POLLIN);
	poll_add(fds, &count, source->disk_listener.fd, POLLIN);
	poll_add(fds, &count, link != NULL ? link_fd(link) : -1, POLLIN);
	for (uint32_t i = 0; i < source->strangers; i++)
		if (source_polls(source, &source->stranger[i]))
			poll_add(fds, &count, source->stranger[i].fd, POLLIN);
	if (source->feeder != NULL && feeder_wants_main(source->feeder))
		poll_add(fds, &count, source->main.fd, POLLIN);
	if (source_main_open(source))
		poll_add(fds, &count, source->main.fd, relay_events(&source->main, link));
	for (uint32_t i = 0; source->feeder != NULL && (fd = feeder_channel(source->feeder, i)) != -2; i++)
		poll_add(fds, &count, fd, POLLIN);
	for (uint32_t i = 0; i < source->relays; i++)
		poll_add(fds, &count, source->relay[i].fd, relay_events(&source->relay[i], link));
	return count;
}

/* Waits for something to do, tells of progress; -ECANCELED */
static int source_wait(struct proxy_source *source, struct decant_error *err)
{
	struct pollfd fds[8 + STRANGERS_MAX + FEEDER_CHANNELS_MAX + RELAYS_MAX];
	const nfds_t count = source_fds(source, fds);
	uint64_t until_ns = source->told_ns + PROGRESS_NS;

	for (uint32_t i = 0; i < source->strangers; i++)
		if (source->stranger[i].halting)
			until_ns = clock_deadline_ns(HALTING_NS);
	if (poll(fds, count, clock_poll_ms(until_ns)) < 0 && errno != EINTR)
		return decant_error_set(err, -errno, "poll: %s", strerror(errno));
	if (source->session.link != NULL)
		link_clear(source->session.link);
	source_tell(source, false);
	if (io_wake_test(source->cancel_fd))
		return decant_error_set(err, -ECANCELED, "cancelled");
	return 0;
}

/* ---- after the migration stream ---- */

static int source_judge(const struct proxy_source *source, struct decant_error *err)
{
	if (return_path_loaded(&source->path))
		return 0;
	/* what passes unchanged may have none, or an encrypted one: then QEMU alone knows */
	if (source->pass && !source->path.shut && !return_path_open(&source->path))
		return 0;
	if (source->path.shut)
		return decant_error_set(
			err, -EREMOTEIO,
			"the destination's QEMU could not load the VM (status %u); what it says on its "
			"standard error, or in its log, is why",
			source->path.status);
	return decant_error_set(err, -ECONNRESET,
				"QEMU has ended the migration before the VM was loaded at the destination; "
				"query-migrate says why");
}

/* Both QEMUs have closed. Asks whether the VM is to be started there. */
static int source_loaded(struct proxy_source *source, struct decant_error *err)
{
	int ret = source_judge(source, err);

	if (ret < 0)
		return ret;
	/* nothing that blocks is left to do, and the word that starts the VM is not to be lost */
	cancel_watch_mover(&source->watch, NULL);
	source_stats(source);
	proxy_source_stage(source, PROXY_CLOSED);
	if (source->opts.ops == NULL || source->opts.ops->loaded == NULL)
		return 0;
	ret = source->opts.ops->loaded(source->opts.opaque, &source->stats, err);
	if (ret <= 0)
		return ret;
	source->start_sent = true;
	source->start_deadline_ns = clock_deadline_ns(START_NS);
	return link_send_control(source->session.link, LINK_START, "", err);
}

static bool source_finished(const struct proxy_source *source)
{
	return source->stats.stage == PROXY_CLOSED && source->relays == 0 && source->start_sent == source->started;
}

static int source_loop(struct proxy_source *source, struct decant_error *err)
{
	int ret = 0;

	while (ret == 0 && !source_finished(source)) {
		ret = source_wait(source, err);
		if (ret == 0)
			ret = source_turn(source, err);
		if (ret == 0 && source->main_ended && source->stats.stage < PROXY_CLOSED)
			ret = source_loaded(source, err);
		if (ret == 0 && source->start_sent && !source->started &&
		    clock_now_ns() > source->start_deadline_ns)
			ret = decant_error_set(
				err, -ETIMEDOUT,
				"the destination's sidecar does not say whether it has started the VM");
	}
	return ret;
}

/* Why the other end has ended it is worth more than that the connection is lost. */
static int source_reason(struct proxy_source *source, int ret, struct decant_error *err)
{
	struct decant_error said = DECANT_ERROR_INIT;

	if (ret == -EREMOTEIO || source_control(source, &said) == 0)
		return ret;
	*err = said;
	return said.code;
}

int proxy_source_run(struct proxy_source *source, struct proxy_stats *stats, enum proxy_outcome *outcome,
		     struct decant_error *caller_err)
{
	struct decant_error local = DECANT_ERROR_INIT;
	struct decant_error *err = caller_err != NULL ? caller_err : &local;
	int ret;

	source->cpu_ns = clock_process_cpu_ns();
	ret = cancel_watch_start(&source->watch, source->cancel_fd, err);
	if (ret == 0) {
		ret = source_loop(source, err);
		cancel_watch_stop(&source->watch);
	}
	if (ret < 0)
		ret = source_reason(source, ret, err);
	*outcome = PROXY_DONE;
	if (ret < 0)
		*outcome = source->stats.stage >= PROXY_LOADED ? PROXY_IN_DOUBT : PROXY_FAILED;
	source_stats(source);
	source_shut(source);
	proxy_session_close(&source->session, ret < 0 && ret != -EREMOTEIO ? err : NULL);
	*stats = source->stats;
	return ret;
}

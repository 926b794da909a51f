/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_source_peer.c -- the source's sidecar: which memory there is to move, and the other sidecar */
#include "qemu/proxy_source_private.h"

#include "qemu/feeder.h"
#include "qemu/guest_ram.h"
#include "qemu/preflight.h"
#include "qemu/ram_blocks.h"

#include "util/clock.h"
#include "util/io.h"
#include "util/log.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AGAIN_NS (5 * NSEC_PER_SEC)

/*
 * What may be under way: QEMU stops the guest when what is left would fit into the downtime, and cannot see what it has already given away. A tenth of
 * its default of 300 ms, and long enough for a network to stay busy while this end is woken.
 */
#define UNDER_WAY_NS (30 * NSEC_PER_MSEC)

int proxy_source_fall_back(struct proxy_source *source, struct decant_error *err)
{
	if (!source->opts.fallback)
		return err->code;
	if (source->session.mover != NULL) {
		decant_error_prefix(err, "too late for --fallback: a disk came first (--disks), and with it the "
					 "sidecars have shared the memory");
		return err->code;
	}
	source->pass = true;
	snprintf(source->why, sizeof(source->why), "%s", err->msg);
	log_warning(&source->opts.log, "all is passed unchanged, by QEMU's own means: %s", err->msg);
	*err = (struct decant_error)DECANT_ERROR_INIT;
	return 0;
}

static int source_preflight(struct proxy_source *source, pid_t pid, struct decant_error *err)
{
	const struct preflight_opts opts = { .end = PREFLIGHT_SOURCE,
					     .under_way = true,
					     .pinned = source->opts.fabric != NULL &&
						       strcmp(source->opts.fabric, "tcp") != 0 };
	const char *unfit;
	int ret = 0;

	if (source->preflight == NULL) {
		ret = preflight_look_process(pid, &opts, &source->own_preflight, err);
		source->preflight = source->own_preflight;
	}
	if (ret < 0)
		return ret;
	unfit = preflight_unfit(source->preflight);
	return unfit == NULL ? 0 : decant_error_set(err, -ENOTSUP, "%s", unfit);
}

int proxy_source_look(struct proxy_source *source, pid_t pid, struct decant_error *err)
{
	int ret = 0;

	if (pid <= 0 && (source->ram == NULL || source->preflight == NULL))
		return decant_error_set(err, -ESRCH,
					"%s: the process that has connected is in no PID namespace of ours, so its "
					"memory cannot be found; give --qmp, or run this where QEMU runs",
					source->opts.socket);
	ret = source_preflight(source, pid, err);
	if (ret == 0 && source->ram == NULL) {
		ret = guest_ram_find(pid, NULL, NULL, &source->own_ram, err);
		source->ram = source->own_ram;
	}
	return ret;
}

static int source_open(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
		       struct decant_error *err)
{
	const struct proxy_source_opts *opts = &source->opts;
	struct decant_mover_opts mover = DECANT_MOVER_OPTS_INIT;
	int ret;

	mover.peer = opts->peer;
	mover.fabric = opts->fabric != NULL ? opts->fabric : "auto";
	mover.rails = source->pass || opts->rails == NULL || opts->rails[0] == '\0' ? NULL : opts->rails;
	mover.cpus = opts->cpus;
	mover.channels = opts->channels;
	mover.bandwidth_Bps = opts->bandwidth_Bps;
	mover.under_way_ns = UNDER_WAY_NS;
	mover.key = opts->key;
	mover.key_length = opts->key_length;
	mover.log = opts->log;
	ret = proxy_session_open(&source->session, &mover, source->pass ? NULL : source->ram, list, count,
				 opts->fallback,
				 source->preflight != NULL ? preflight_facts(source->preflight) : NULL, err);
	if (ret < 0)
		return ret;
	cancel_watch_mover(&source->watch, source->session.mover);
	proxy_source_stage(source, PROXY_CONNECTED);
	return 0;
}

/* The other sidecar may yet be letting go of what it has refused. */
static int source_open_again(struct proxy_source *source, struct decant_error *err)
{
	const uint64_t deadline_ns = clock_deadline_ns(AGAIN_NS);
	int ret;

	while ((ret = source_open(source, NULL, 0, err)) == -EBUSY && clock_now_ns() < deadline_ns)
		if (io_wait(source->cancel_fd, POLLIN, clock_deadline_ns(AGAIN_NS / 100), -1) == 0)
			return decant_error_set(err, -ECANCELED, "cancelled");
	if (ret == 0)
		*err = (struct decant_error)DECANT_ERROR_INIT;
	return ret;
}

int proxy_source_connect(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
			 struct decant_error *err)
{
	int ret;

	if (source->pass)
		return source_open_again(source, err);
	ret = source_open(source, list, count, err);
	if (ret == 0 || ret == -ECONNREFUSED || ret == -EACCES || ret == -ENOENT)
		return ret;
	ret = proxy_source_fall_back(source, err);
	return ret < 0 ? ret : source_open_again(source, err);
}

static int source_find(struct proxy_source *source, struct guest_ram_wanted *list, uint32_t count,
		       struct decant_error *err)
{
	int ret;

	if (source->session.mover == NULL)
		return proxy_source_connect(source, list, count, err);
	ret = proxy_session_find(&source->session, source->ram, list, count, err);
	return ret < 0 ? proxy_source_fall_back(source, err) : 0;
}

static int source_set_regions(struct proxy_source *source, struct ram_blocks *blocks, struct decant_error *err)
{
	struct guest_ram_wanted *list = calloc(blocks->count + 1u, sizeof(*list));
	int ret;

	if (list == NULL)
		return decant_error_set(err, -ENOMEM, "the list of blocks: out of memory");
	for (uint32_t i = 0; i < blocks->count; i++)
		list[i] = (struct guest_ram_wanted){ .idstr = blocks->list[i].name,
						     .length = blocks->list[i].length,
						     .region = -1 };
	ret = source_find(source, list, blocks->count, err);
	for (uint32_t i = 0; i < blocks->count; i++)
		blocks->list[i].region = source->pass ? -1 : list[i].region;
	free(list);
	return ret;
}

/* The stream's beginning is known, and nothing of it has been forwarded. */
int proxy_source_blocks(void *opaque, struct ram_blocks *blocks, bool return_path, struct decant_error *err)
{
	struct proxy_source *source = opaque;
	int ret = 0;

	if (!return_path) {
		decant_error_set(err, -ENOTSUP,
				 "QEMU migrates without a return path, so nobody would know whether the VM was "
				 "loaded; set the capability return-path at both ends");
		ret = proxy_source_fall_back(source, err);
	}
	if (ret == 0 && !source->pass)
		ret = source_set_regions(source, blocks, err);
	else if (ret == 0 && source->session.mover == NULL)
		ret = proxy_source_connect(source, NULL, 0, err);
	if (ret == 0)
		ret = link_open(source->session.link, LINK_MIGRATION, &source->main.id, err);
	if (ret < 0)
		return ret;
	feeder_connect(source->feeder, source->session.mover, source->session.link);
	source->blocks_known = true;
	proxy_source_stage(source, source->pass ? PROXY_OPENED : PROXY_RAM);
	return source->pass ? 1 : 0;
}

void proxy_source_ram_end(void *opaque)
{
	struct proxy_source *source = opaque;

	source->stats.ram_ns = clock_now_ns() - source->begin_ns;
	proxy_source_stage(source, PROXY_DEVICES);
}

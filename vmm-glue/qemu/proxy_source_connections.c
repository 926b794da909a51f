/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_source_connections.c -- the source's sidecar: who has connected, and what it is */
#include "qemu/proxy_source_private.h"

#include "qemu/feeder.h"
#include "qemu/multifd.h"

#include "util/clock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static int source_add_relay(struct proxy_source *source, int fd, enum link_service service,
			    struct decant_error *err)
{
	struct relay *relay = &source->relay[source->relays];
	uint32_t id;
	int ret = 0;

	if (source->relays == RELAYS_MAX)
		ret = decant_error_set(err, -EMFILE, "more than %u connections of QEMU's", RELAYS_MAX);
	if (ret == 0)
		ret = link_open(source->session.link, service, &id, err);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	*relay = (struct relay)RELAY_INIT;
	relay_begin(relay, fd, id);
	source->service[source->relays++] = service;
	return 0;
}

static int source_channels(void *opaque, struct decant_error *err);

static int source_begin_pass(struct proxy_source *source, struct decant_error *err)
{
	int ret = source->session.mover == NULL ? proxy_source_connect(source, NULL, 0, err) : 0;

	if (ret == 0)
		ret = link_open(source->session.link, LINK_MIGRATION, &source->main.id, err);
	if (ret < 0)
		return ret;
	feeder_connect(source->feeder, source->session.mover, source->session.link);
	proxy_source_stage(source, PROXY_OPENED);
	return 0;
}

/* The main connection has come; @pid writes into it. */
static int source_begin(struct proxy_source *source, int fd, pid_t pid, struct decant_error *err)
{
	struct feeder_opts opts = { .blocks = proxy_source_blocks,
				    .channels = source_channels,
				    .ram_end = proxy_source_ram_end,
				    .opaque = source };
	int ret;

	source->begin_ns = clock_now_ns();
	source->stats.connections++;
	relay_begin(&source->main, fd, 0);
	source->main.out_path = &source->path;
	ret = source->pass ? 0 : proxy_source_look(source, pid, err);
	if (ret < 0)
		ret = proxy_source_fall_back(source, err);
	if (ret < 0)
		return ret;
	opts.pass = source->pass;
	ret = feeder_new(&opts, &source->main, &source->feeder, err);
	if (ret == 0 && source->pass)
		ret = source_begin_pass(source, err);
	return ret;
}

bool proxy_source_takes_channels(const struct proxy_source *source)
{
	return source->main.fd >= 0 && (source->pass || source->blocks_known);
}

static int source_take_channel(struct proxy_source *source, int fd, struct decant_error *err)
{
	source->stats.connections++;
	return source->pass ? source_add_relay(source, fd, LINK_MIGRATION, err)
			    : feeder_add_channel(source->feeder, fd, err);
}

/* One that has shown its first bytes. 1: it must wait; else it is somebody's, or closed. */
static int source_take(struct proxy_source *source, struct source_stranger *stranger, const uint8_t first[4],
		       pid_t pid, struct decant_error *err)
{
	const enum multifd_kind kind = multifd_kind(first);
	const bool begun = source->main.fd >= 0;

	if (kind == MULTIFD_TLS && !begun && !source->pass) {
		decant_error_set(err, -ENOTSUP,
				 "QEMU's migration is encrypted (TLS); unset the parameter tls-creds at both ends: "
				 "the sidecars have a --key-file instead");
		if (proxy_source_fall_back(source, err) < 0) {
			close(stranger->fd);
			return err->code;
		}
	}
	if (!begun && (kind == MULTIFD_MAIN || (source->pass && kind == MULTIFD_TLS)))
		return source_begin(source, stranger->fd, pid, err);
	/* they may be there before the main connection has said anything */
	if (kind == MULTIFD_CHANNEL || (begun && source->pass && kind == MULTIFD_TLS)) {
		stranger->channel = true;
		return proxy_source_takes_channels(source) ? source_take_channel(source, stranger->fd, err) : 1;
	}
	close(stranger->fd);
	if (begun)
		return 0; /* a second migration, or nothing of QEMU's: nobody waits for it */
	return decant_error_set(
		err, -EPROTO,
		"%s: what has connected is no migration of QEMU's (it begins with %02x %02x %02x %02x)",
		source->opts.socket, first[0], first[1], first[2], first[3]);
}

/* 1: it stays a stranger */
static int source_meet(struct proxy_source *source, struct source_stranger *stranger, struct decant_error *err)
{
	uint8_t first[4];
	pid_t pid;
	const ssize_t got = unix_peek(stranger->fd, first, sizeof(first), &pid);

	if (got == (ssize_t)sizeof(first))
		return source_take(source, stranger, first, pid, err);
	stranger->halting = got > 0;
	if (got > 0 || got == -EAGAIN || got == -EINTR)
		return 1;
	close(stranger->fd);
	return 0;
}

int proxy_source_meet_all(struct proxy_source *source, struct decant_error *err)
{
	uint32_t left = 0;
	int ret = 0;

	for (uint32_t i = 0; i < source->strangers; i++) {
		struct source_stranger stranger = source->stranger[i];
		const int met = ret < 0 ? 1 : source_meet(source, &stranger, err);

		if (met < 0)
			ret = met;
		else if (met == 1)
			source->stranger[left++] = stranger;
	}
	source->strangers = left;
	return ret;
}

int proxy_source_accept(struct proxy_source *source, struct decant_error *err)
{
	int fd = 0;

	while (source->strangers < STRANGERS_MAX && source->listener.fd >= 0) {
		fd = unix_accept(&source->listener, err);
		if (fd < 0)
			return fd == -EAGAIN ? 0 : fd;
		source->stranger[source->strangers++] = (struct source_stranger){ .fd = fd };
	}
	return 0;
}

static int source_channels(void *opaque, struct decant_error *err)
{
	struct proxy_source *source = opaque;
	const int ret = proxy_source_accept(source, err);

	return ret < 0 ? ret : proxy_source_meet_all(source, err);
}

static int source_begin_disks(struct proxy_source *source, int fd, struct decant_error *err)
{
	int ret = source->pass ? 0 : proxy_source_look(source, unix_peer(fd), err);

	if (ret < 0)
		ret = proxy_source_fall_back(source, err);
	return ret < 0 ? ret : proxy_source_connect(source, NULL, 0, err);
}

int proxy_source_accept_disks(struct proxy_source *source, struct decant_error *err)
{
	int ret = 0;

	while (ret == 0 && source->disk_listener.fd >= 0) {
		const int fd = unix_accept(&source->disk_listener, err);

		if (fd < 0)
			return fd == -EAGAIN ? 0 : fd;
		ret = source->session.mover == NULL ? source_begin_disks(source, fd, err) : 0;
		if (ret < 0)
			close(fd);
		else
			ret = source_add_relay(source, fd, LINK_DISK, err);
		source->stats.disk_connections++;
	}
	return ret;
}

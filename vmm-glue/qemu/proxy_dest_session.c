/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_dest_session.c -- the destination's sidecar meets the source: preflight, QEMU, its memory */
#include "qemu/proxy_dest_private.h"

#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight.h"
#include "qemu/proxy_shape.h"
#include "qemu/qmp.h"
#include "qemu/unix_socket.h"

#include "util/io.h"
#include "util/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define MONITOR_NS (5 * NSEC_PER_SEC)

static int dest_preflight(struct proxy_dest *dest, pid_t pid, const struct proxy_shape *shape,
			  struct decant_error *err)
{
	const struct preflight_opts opts = { .end = PREFLIGHT_DEST };
	const char *unfit;
	int ret;

	preflight_free(dest->preflight);
	dest->preflight = NULL;
	if (dest->qmp != NULL)
		ret = preflight_look(dest->qmp, &opts, &dest->preflight, err);
	else
		ret = preflight_look_process(pid, &opts, &dest->preflight, err);
	if (ret == 0 && shape->facts != NULL)
		ret = preflight_compare(dest->preflight, shape->facts, err);
	if (ret < 0)
		return ret;
	unfit = preflight_unfit(dest->preflight);
	return unfit == NULL ? 0 : decant_error_set(err, -ENOTSUP, "%s", unfit);
}

/* A QEMU that waits to be told where to listen (-incoming defer) is told. */
static int dest_incoming(struct proxy_dest *dest, struct decant_error *err)
{
	struct json_object *arguments;
	char uri[512];

	if (dest->preflight == NULL ||
	    strcmp(json_get_text(preflight_facts(dest->preflight), "incoming", ""), "deferred") != 0)
		return 0;
	snprintf(uri, sizeof(uri), "unix:%s", dest->opts.socket);
	arguments = json_object_new_object();
	json_add_text(arguments, "uri", uri);
	return qmp_call(dest->qmp, "migrate-incoming", arguments, NULL, err);
}

static int dest_connect_main(struct proxy_dest *dest, struct decant_error *err)
{
	const int fd = dest->main_fd >= 0 ? dest->main_fd
					  : unix_connect(dest->opts.socket, clock_deadline_ns(QEMU_LISTENS_NS),
							 dest->stop_fd, err);

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		decant_error_prefix(
			err, "is QEMU there, started with -incoming unix:%s or, with --qmp, -incoming defer?",
			dest->opts.socket);
	dest->main_fd = fd;
	return fd < 0 ? fd : 0;
}

static int dest_match(struct proxy_dest *dest, struct proxy_shape *shape, struct decant_memory *memory,
		      struct decant_error *err)
{
	struct decant_memory *found;
	int ret = guest_ram_match(dest->ram, shape->list, shape->count, &found, err);

	if (ret < 0)
		return ret;
	ret = decant_memory_move(memory, found, err);
	decant_memory_free(found);
	return ret;
}

/* A source that was refused may have come before. */
static int dest_find(struct proxy_dest *dest, pid_t pid, struct decant_error *err)
{
	guest_ram_free(dest->ram);
	dest->ram = NULL;
	return guest_ram_find(pid, dest->qmp, NULL, &dest->ram, err);
}

/* All of it before QEMU is connected to: see dest_greet(). */
static int dest_ask(struct proxy_dest *dest, struct proxy_shape *shape, struct decant_error *err)
{
	const pid_t pid = qmp_pid(dest->qmp);
	int ret = dest_preflight(dest, pid, shape, err);

	if (ret == 0)
		ret = dest_find(dest, pid, err);
	return ret < 0 ? ret : dest_incoming(dest, err);
}

/* Without a monitor it is the process that listens. */
static int dest_look(struct proxy_dest *dest, struct proxy_shape *shape, struct decant_error *err)
{
	const pid_t pid = unix_peer(dest->main_fd);
	int ret = pid > 0 ? 0
			  : decant_error_set(err, -ESRCH, "%s: who listens there is in no PID namespace of ours",
					     dest->opts.socket);

	if (ret == 0)
		ret = dest_preflight(dest, pid, shape, err);
	return ret < 0 ? ret : dest_find(dest, pid, err);
}

/*
 * With multifd QEMU 8.0 and newer look at the first bytes of a connection to know which it is, and stand still until these are there: the
 * monitor, the NBD server of a disk that comes first. They are always the same.
 */
static int dest_greet(struct proxy_dest *dest, struct decant_error *err)
{
	static const char first[PROXY_DEST_GREETING] = { 'Q', 'E', 'V', 'M' };

	if (!dest->greeted && send(dest->main_fd, first, sizeof(first), MSG_NOSIGNAL) != sizeof(first))
		return decant_error_set(err, -ECONNRESET, "%s: QEMU has closed its connection", dest->opts.socket);
	dest->greeted = true;
	return 0;
}

static int dest_share(struct proxy_dest *dest, struct proxy_shape *shape, struct decant_memory *memory,
		      struct decant_error *err)
{
	int ret = dest->qmp != NULL ? dest_ask(dest, shape, err) : 0;

	if (ret == 0)
		ret = dest_connect_main(dest, err);
	if (ret == 0 && dest->qmp == NULL)
		ret = dest_look(dest, shape, err);
	if (ret == 0)
		ret = dest_greet(dest, err);
	return ret < 0 ? ret : dest_match(dest, shape, memory, err);
}

/*
 * A source that will ask for the VM to be started has to hear now if that cannot be, or would come by itself: when it asks it has
 * given the VM up.
 */
static int dest_check_start(const struct proxy_dest *dest, const struct proxy_shape *shape,
			    struct decant_error *err)
{
	if (!json_get_bool(shape->facts, "start", false))
		return 0;
	if (dest->opts.qmp == NULL)
		return decant_error_set(
			err, -ENOTSUP,
			"the source wants the VM started here, which needs the monitor of QEMU here: decant "
			"proxy dest --qmp SOCKET");
	if (dest->preflight != NULL && !json_get_bool(preflight_facts(dest->preflight), "waits", false))
		return decant_error_set(
			err, -ENOTSUP,
			"QEMU here was not started with -S, so it would start the VM by itself, whether or not "
			"the source has given it up; start it with -S");
	return 0;
}

static int dest_pass(struct proxy_dest *dest, const struct proxy_shape *shape, const struct decant_region *regions,
		     struct decant_memory *memory, struct decant_error *err)
{
	struct decant_error ignored = DECANT_ERROR_INIT;
	const struct proxy_shape nothing = { 0 };
	int ret = 0;

	if (dest->qmp != NULL && dest->preflight == NULL)
		dest_preflight(dest, qmp_pid(dest->qmp), &nothing, &ignored);
	ret = dest_check_start(dest, shape, err);
	if (ret == 0 && dest->main_fd < 0)
		ret = dest_incoming(dest, err);
	if (ret == 0)
		ret = dest_connect_main(dest, err);
	if (ret == 0)
		ret = decant_memory_allocate(memory, regions, err);
	return ret < 0 ? ret : 0;
}

int proxy_dest_create(void *opaque, struct decant_state_reader *reader, const struct decant_region *regions,
		      uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct proxy_dest *dest = opaque;
	struct proxy_shape shape;
	int ret = proxy_shape_decode(reader, &shape, err);

	if (ret < 0)
		return ret;
	if (dest->opts.qmp != NULL)
		ret = qmp_open(dest->opts.qmp, clock_deadline_ns(MONITOR_NS), dest->stop_fd, &dest->qmp, err);
	if (ret < 0)
		decant_error_prefix(err, "--qmp");
	else if (shape.pass && (count != 1 || regions[0].length > DECANT_GRANULE_SIZE))
		ret = decant_error_set(err, -EPROTO, "the source's sidecar: it is to pass all, but brings memory");
	else if (shape.pass)
		ret = dest_pass(dest, &shape, regions, memory, err);
	else
		ret = dest_check_start(dest, &shape, err);
	if (ret == 0 && !shape.pass)
		ret = dest_share(dest, &shape, memory, err);
	qmp_close(dest->qmp);
	dest->qmp = NULL;
	dest->refused = ret < 0;
	dest->come_again = shape.fallback && !shape.pass;
	dest->pass = shape.pass;
	dest->regions = shape.pass ? 0 : decant_memory_count(memory);
	dest->region_bytes = shape.pass ? 0 : decant_memory_bytes(memory);
	proxy_shape_clear(&shape);
	return ret;
}

int proxy_dest_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct proxy_dest *dest = opaque;

	/* not before: the fabric can still fail, and the source come again without */
	atomic_store_explicit(&dest->met, true, memory_order_release);
	return link_deliver(dest->link, data, length, err);
}

/* Sessions that end before the source was met are no migration, unless it was refused for good. */
void *proxy_dest_session(void *opaque)
{
	struct proxy_dest *dest = opaque;
	bool again = true;

	while (again) {
		struct decant_error *err = &dest->session_err;

		dest->refused = dest->come_again = false;
		*err = (struct decant_error)DECANT_ERROR_INIT;
		dest->session_ret = decant_landing_run(dest->landing, &dest->memory, err);
		again = dest->session_ret < 0 && !dest->met && !io_wake_test(dest->stop_fd) &&
			(!dest->refused || dest->come_again);
		if (again)
			log_warning(&dest->opts.log, "%s; waiting for another", err->msg);
	}
	if (dest->session_ret < 0)
		link_fail(dest->link, &dest->session_err);
	atomic_store_explicit(&dest->ended, true, memory_order_release);
	io_wake_set(dest->ended_fd);
	return NULL;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* proxy_session.c -- the source's sidecar connected with the destination's */
#include "qemu/proxy_session.h"

#include "qemu/link.h"
#include "qemu/proxy_shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int session_send(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	const struct proxy_session *session = opaque;

	return decant_mover_message(session->mover, data, length, err);
}

static int session_message(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	const struct proxy_session *session = opaque;

	return link_deliver(session->link, data, length, err);
}

static void session_lost(void *opaque, const struct decant_error *why)
{
	const struct proxy_session *session = opaque;

	link_fail(session->link, why);
}

/* The mover wants memory, and a migration that passes unchanged has none: a page that nobody writes. */
static int session_page(struct decant_memory **memory, struct decant_error *err)
{
	const struct decant_region page = { .size = sizeof(page),
					    .name = "none",
					    .length = DECANT_PAGE_SIZE,
					    .page_size = DECANT_PAGE_SIZE,
					    .numa_node = -1,
					    .fd = -1 };
	int ret = decant_memory_new(memory, err);

	if (ret == 0) {
		ret = decant_memory_allocate(*memory, &page, err);
		if (ret < 0)
			decant_memory_free(*memory);
	}
	return ret < 0 ? ret : 0;
}

static int session_connect(struct proxy_session *session, const struct decant_mover_opts *opts,
			   const struct proxy_shape *shape, struct decant_error *err)
{
	const struct link_opts link_opts = { .source = true, .send = session_send, .opaque = session };
	struct decant_mover_opts mover_opts = *opts;
	struct decant_state_writer *writer;
	int ret = proxy_shape_encode(shape, &writer, err);

	if (ret < 0)
		return ret;
	mover_opts.message = session_message;
	mover_opts.lost = session_lost;
	mover_opts.opaque = session;
	if (shape->pass)
		mover_opts.fabric = "tcp";
	ret = link_new(&link_opts, &session->link, err);
	if (ret == 0)
		ret = decant_mover_connect(&mover_opts, session->memory, writer, &session->mover, err);
	decant_state_writer_free(writer);
	return ret;
}

/* The memory itself as the list, before there is a stream with one. *@list is the caller's. */
static int session_all(const struct guest_ram *ram, struct guest_ram_wanted **list, uint32_t *count,
		       struct decant_error *err)
{
	*count = guest_ram_count(ram);
	*list = calloc(*count, sizeof(**list));
	if (*list == NULL)
		return decant_error_set(err, -ENOMEM, "the list of memory: out of memory");
	for (uint32_t i = 0; i < *count; i++) {
		const struct guest_ram_block *block = guest_ram_block(ram, i);

		(*list)[i] = (struct guest_ram_wanted){ .idstr = block->name, .length = block->length };
	}
	return 0;
}

int proxy_session_open(struct proxy_session *session, const struct decant_mover_opts *opts,
		       const struct guest_ram *ram, struct guest_ram_wanted *list, uint32_t count, bool fallback,
		       struct json_object *facts, struct decant_error *err)
{
	struct proxy_shape shape = {
		.pass = ram == NULL, .fallback = fallback, .facts = facts, .list = list, .count = count
	};
	struct guest_ram_wanted *own = NULL;
	int ret = 0;

	*session = (struct proxy_session){ .pass = shape.pass };
	if (ram != NULL && list == NULL) {
		ret = session_all(ram, &own, &shape.count, err);
		shape.list = own;
	}
	if (ret == 0 && ram == NULL) {
		shape.count = 0;
		ret = session_page(&session->memory, err);
	} else if (ret == 0) {
		ret = guest_ram_match(ram, shape.list, shape.count, &session->memory, err);
	}
	if (ret == 0)
		ret = session_connect(session, opts, &shape, err);
	free(own);
	if (ret < 0)
		proxy_session_close(session, NULL);
	return ret;
}

static int session_region_at(const struct decant_memory *memory, const void *address)
{
	for (uint32_t i = 0; i < decant_memory_count(memory); i++)
		if (decant_memory_region(memory, i)->address == address)
			return (int)i;
	return -1;
}

int proxy_session_find(const struct proxy_session *session, const struct guest_ram *ram,
		       struct guest_ram_wanted *list, uint32_t count, struct decant_error *err)
{
	struct decant_memory *wanted;
	int ret = guest_ram_match(ram, list, count, &wanted, err);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < count; i++)
		if (list[i].region >= 0)
			list[i].region =
				session_region_at(session->memory,
						  decant_memory_region(wanted, (uint32_t)list[i].region)->address);
	decant_memory_free(wanted);
	return 0;
}

uint64_t proxy_session_bytes(const struct proxy_session *session)
{
	return session->mover == NULL || session->pass ? 0 : decant_memory_bytes(session->memory);
}

/* The barrier takes care that the other end has all of it before the connection goes: only then there is a goodbye. */
static void session_settle(struct proxy_session *session, const struct decant_error *why)
{
	if (session->mover == NULL || decant_mover_check(session->mover, NULL) < 0)
		return;
	if (why == NULL || link_send_control(session->link, LINK_ERROR, why->msg, NULL) == 0)
		decant_mover_barrier(session->mover, NULL);
}

void proxy_session_close(struct proxy_session *session, const struct decant_error *why)
{
	session_settle(session, why);
	decant_mover_close(session->mover);
	link_free(session->link);
	decant_memory_free(session->memory);
	*session = (struct proxy_session){ 0 };
}

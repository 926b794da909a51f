/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_qmp.c -- what QEMU's monitor says, or what only claims to be one
 *
 * The input is all that it ever sends, whatever it is asked: then it closes. Preflight looks at it as source or as destination (first
 * byte), compares the two, and takes its events. Whatever it has said, what is found is words of one line, and no descriptor stays open.
 * The corpus was recorded from QEMU 7.2 and 10.0.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "qemu/guest_ram.h"
#include "qemu/preflight.h"
#include "qemu/qmp.h"
#include "util/clock.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void assert_words(const char *text)
{
	assert(text[0] != '\0' && strchr(text, '\n') == NULL);
}

static void look(struct qmp *qmp, const struct preflight_opts *opts)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct preflight *preflight;

	if (preflight_look(qmp, opts, &preflight, &err) < 0) {
		assert_words(err.msg);
		return;
	}
	for (uint32_t i = 0; i < preflight_count(preflight); i++)
		assert_words(preflight_refusal(preflight, i)->text);
	preflight_compare(preflight, preflight_facts(preflight), &err);
	if (preflight_change(preflight, qmp, &err) == 0)
		preflight_restore(preflight, qmp, &err);
	preflight_free(preflight);
}

static void find(struct qmp *qmp)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct guest_ram *ram;

	if (guest_ram_find(getpid(), qmp, NULL, &ram, &err) == 0)
		guest_ram_free(ram);
	else
		assert_words(err.msg);
}

static void talk(struct qmp *qmp, uint8_t choice)
{
	const struct preflight_opts opts = { .end = choice & 1 ? PREFLIGHT_DEST : PREFLIGHT_SOURCE,
					     .mend = choice & 2,
					     .pinned = true };
	struct json_object *event;

	if (choice & 4)
		find(qmp);
	else
		look(qmp, &opts);
	while (qmp_event(qmp, 0, &event, NULL) == 1)
		json_object_put(event);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct qmp *qmp;
	int before, after, pair[2];

	if (size < 1 || size > 60000)
		return 0;
	before = dup(0);
	close(before);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0 ||
	    send(pair[0], data + 1, size - 1, MSG_DONTWAIT) != (ssize_t)(size - 1))
		abort();
	shutdown(pair[0], SHUT_WR);
	if (qmp_open_fd(pair[1], clock_deadline_ns(10 * NSEC_PER_SEC), -1, &qmp, &err) == 0) {
		talk(qmp, data[0]);
		qmp_close(qmp);
	} else {
		assert_words(err.msg);
	}
	close(pair[0]);
	after = dup(0);
	close(after);
	assert(before == after);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * settle.c -- what became of a migration whose GO was sent: QUERY over a connection of its own
 *
 * RUNNING proves that the guest runs there: it must be freed here. NEVER proves that it did not and will not: it may be
 * resumed here. Everything else proves nothing: PENDING is asked again, UNKNOWN may be another process on the same port.
 */
#include "migration/source.h"

#include "migration/handshake.h"
#include "util/address.h"
#include "util/clock.h"
#include "util/log.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ASK_AGAIN_NS (200 * NSEC_PER_MSEC)

/* With a key the answer is proved to be from an end that has it: nobody else can free a guest, or resume one. */
static int ask(const struct decant_migration *m, int fd, uint64_t deadline_ns, struct decant_error *err)
{
	struct handshake handshake = { .fd = fd, .wake_fd = -1, .deadline_ns = deadline_ns, .auth.key = m->key };
	struct wire_hello hello = {
		.version_min = WIRE_VERSION_MIN,
		.version_max = WIRE_VERSION_MAX,
		.purpose = WIRE_PURPOSE_QUERY,
		.pid = (uint32_t)getpid(),
	};
	struct wire_welcome welcome;
	struct wire_status status;
	int rc;

	memcpy(hello.id, m->id, sizeof(hello.id));
	snprintf(hello.name, sizeof(hello.name), "%s", m->name);
	rc = handshake_ask(&handshake, &hello, &welcome, &status, err);
	auth_wipe(&handshake.auth);
	return rc < 0 ? rc : (int)status.fate;
}

int settle_query(struct decant_migration *m, uint64_t deadline_ns, struct decant_error *err)
{
	struct address address;
	int rc = address_parse(m->peer, &address, err);
	int fd;

	if (rc < 0)
		return rc;
	fd = address_connect(&address, deadline_ns, -1, err);
	if (fd < 0)
		return fd;
	rc = ask(m, fd, deadline_ns, err);
	close(fd);
	return rc;
}

enum handover_source_event settle_doubt(struct decant_migration *m, uint64_t deadline_ns, int *answer,
					struct decant_error *err)
{
	const struct timespec pause = { .tv_nsec = (long)ASK_AGAIN_NS };

	do {
		*answer = settle_query(m, clock_deadline_ns(m->opts.peer_timeout_ns), err);
		log_info(&m->opts.log, "QUERY: %s",
			 *answer == WIRE_FATE_RUNNING ? "the guest runs at the destination"
			 : *answer == WIRE_FATE_NEVER ? "the guest never ran at the destination and never will"
			 : *answer < 0                ? err->msg
						      : settle_explain(*answer));
		if (*answer == WIRE_FATE_RUNNING)
			return SOURCE_RUNNING;
		if (*answer == WIRE_FATE_NEVER)
			return SOURCE_NEVER;
		nanosleep(&pause, NULL);
	} while (clock_now_ns() < deadline_ns);
	return SOURCE_SILENCE;
}

const char *settle_explain(int answer)
{
	switch (answer) {
	case WIRE_FATE_PENDING:
		return "it is there and may be starting the guest; ask again";
	case WIRE_FATE_UNKNOWN:
		return "it knows nothing of this migration: it was started anew, or is another one; look whether the guest "
		       "runs there";
	default:
		return "it does not answer; mend the network and ask again, or look whether the guest runs there";
	}
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_control.c -- what a local client sends to the control socket of a VM's process
 *
 * The input: a byte that says in how many pieces it comes, and with how many descriptors; the bytes. They are answered by the real
 * verbs, of an owner that has no machine yet, and every answer must be one JSON object on a line. "migrate" is read once more by what
 * reads its options, and options that were taken must be taken again. No descriptor stays open.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "qemu/json.h"
#include "vmm/control.h"
#include "vmm/owner_internal.h"

#define FDS_MAX 3
#define NAME "fuzz"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char runtime[] = "/tmp/decant-fuzz.XXXXXX";
static struct owner owner;

static void tidy_up(void)
{
	char path[sizeof(runtime) + 8];

	control_free(owner.control);
	snprintf(path, sizeof(path), "%s/decant", runtime);
	rmdir(path);
	rmdir(runtime);
}

static void read_options(struct json_object *request)
{
	struct departure_opts opts, again;
	struct decant_error err = DECANT_ERROR_INIT;
	struct json_object *copy;
	int rc;

	memset(&opts, 0, sizeof(opts));
	memset(&again, 0, sizeof(again));
	if (departure_from_json(request, &opts, &err) < 0) {
		assert(err.msg[0] != '\0');
		return;
	}
	copy = json_object_new_object();
	departure_to_json(&opts, copy);
	rc = departure_from_json(copy, &again, &err);
	assert(rc == 0 && strcmp(opts.peer, again.peer) == 0 && strcmp(opts.rails, again.rails) == 0);
	assert(opts.bandwidth_Bps == again.bandwidth_Bps && opts.channels == again.channels);
	json_object_put(copy);
}

static void request(void *opaque, struct control_client *client, struct json_object *json)
{
	if (strcmp(json_get_text(json, "verb", ""), "migrate") == 0)
		read_options(json);
	owner_request(opaque, client, json);
}

static void begin(void)
{
	struct control_claim claim = CONTROL_CLAIM_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	int rc;

	if (owner.control != NULL)
		return;
	if (mkdtemp(runtime) == NULL || setenv("XDG_RUNTIME_DIR", runtime, 1) < 0)
		abort();
	snprintf(owner.name, sizeof(owner.name), NAME);
	rc = control_new(request, &owner, &owner.control, &err);
	rc = rc < 0 ? rc : control_claim(NAME, &claim, &err);
	rc = rc < 0 ? rc : control_serve(owner.control, &claim, &err);
	if (rc < 0) {
		fprintf(stderr, "%s\n", err.msg);
		abort();
	}
	atexit(tidy_up);
}

static int connect_client(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/decant/%s.sock", runtime, NAME);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		abort();
	return fd;
}

/* As much as fits; with descriptors beside it. */
static size_t send_some(int fd, const uint8_t *bytes, size_t length, unsigned int fds)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} beside;
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (fds > 0) {
		memset(&beside, 0, sizeof(beside));
		message.msg_control = &beside;
		message.msg_controllen = CMSG_SPACE(fds * sizeof(int));
		beside.head = (struct cmsghdr){ .cmsg_level = SOL_SOCKET,
						.cmsg_type = SCM_RIGHTS,
						.cmsg_len = CMSG_LEN(fds * sizeof(int)) };
		for (unsigned int i = 0; i < fds; i++)
			memcpy(CMSG_DATA(&beside.head) + i * sizeof(int), &fd, sizeof(int));
	}
	sent = sendmsg(fd, &message, MSG_NOSIGNAL);
	return sent > 0 ? (size_t)sent : 0;
}

/* false: the other end has closed */
static bool take_answers(int fd, char *line, size_t *have, size_t room)
{
	ssize_t got = recv(fd, line + *have, room - *have, 0);
	char *newline;

	if (got <= 0)
		return got < 0 && errno == EAGAIN;
	*have += (size_t)got;
	while ((newline = memchr(line, '\n', *have)) != NULL) {
		const size_t length = (size_t)(newline - line);
		struct json_object *answer = json_parse_object(line, length);

		assert(answer != NULL);
		json_object_put(answer);
		*have -= length + 1;
		memmove(line, newline + 1, *have);
	}
	assert(*have < room);
	return true;
}

static void talk(int fd, const uint8_t *bytes, size_t length, size_t piece, unsigned int fds)
{
	static char line[1 << 16];
	size_t have = 0, done = 0;
	bool open = true;

	while (open && done < length) {
		const size_t n = length - done < piece ? length - done : piece;

		done += send_some(fd, bytes + done, n, done == 0 ? fds : 0);
		control_process(owner.control);
		open = take_answers(fd, line, &have, sizeof(line));
	}
	shutdown(fd, SHUT_WR);
	for (int i = 0; open && i < 4; i++) {
		control_process(owner.control);
		open = take_answers(fd, line, &have, sizeof(line));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int before, after, fd;

	begin();
	if (size < 1)
		return 0;
	before = dup(0);
	close(before);
	fd = connect_client();
	control_process(owner.control);
	talk(fd, data + 1, size - 1, 1 + (size_t)(data[0] & 0x3f) * 64, data[0] >> 6);
	close(fd);
	for (int i = 0; i < 3; i++)
		control_process(owner.control);
	owner.done = owner.stop_asked = false;
	after = dup(0);
	close(after);
	assert(before == after);
	return 0;
}

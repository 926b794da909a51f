/* SPDX-License-Identifier: BSD-2-Clause */
/* scenario_refuse.c -- destinations that say no, and peers that are none */
#include "integration/scenarios.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "migration/limit.h"
#include "support/hugepages.h"
#include "wire/wire.h"

static void refuse(struct rig *rig, int code, const char *text)
{
	rig_migrate(rig);
	rig_expect_stayed(rig, code);
	if (strstr(rig->err.msg, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", rig->err.msg, text);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 0);
}

void scenario_create_fails(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_fault(rig->destination, SYNTHETIC_CREATE, -EEXIST);
	rig_listen(rig);
	refuse(rig, -EEXIST, "told to fail");

	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);
	synthetic_set_fault(rig->destination, SYNTHETIC_CREATE, 0);
	rig_expect_usable(rig);
}

void scenario_create_makes_wrong_memory(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_wrong_memory(rig->destination, true);
	rig_listen(rig);
	refuse(rig, 0, "ram0");

	synthetic_set_wrong_memory(rig->destination, false);
	rig_expect_usable(rig);
}

/* While it only looks what loading takes: the guest never notices. */
void scenario_load_fails_in_setup(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_fault(rig->destination, SYNTHETIC_LOAD, -EPROTO);
	rig_listen(rig);
	refuse(rig, -EPROTO, "told to fail");

	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);
	synthetic_set_fault(rig->destination, SYNTHETIC_LOAD, 0);
	rig_expect_usable(rig);
}

static void fail_second_load(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (event == SYNTHETIC_LOAD)
		synthetic_set_fault(vmm, SYNTHETIC_LOAD, nth == 2 ? -EOPNOTSUPP : 0);
}

void scenario_load_fails_in_the_pause(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_hook(rig->destination, fail_second_load, NULL);
	rig_listen(rig);
	refuse(rig, -EOPNOTSUPP, "told to fail");

	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 1);
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_RESUME), 1);
	rig_expect_usable(rig);
}

static void fail_second_load_oddly(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	(void)opaque;
	if (event == SYNTHETIC_LOAD)
		synthetic_set_fault(vmm, SYNTHETIC_LOAD, nth == 2 ? -EINPROGRESS : 0);
}

/* The peer's errno is the one that means IN_DOUBT here; but GO was never sent, so the guest goes on. */
void scenario_load_fails_as_if_in_doubt(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_hook(rig->destination, fail_second_load_oddly, NULL);
	rig_listen(rig);
	refuse(rig, -EIO, "told to fail");

	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_RESUME), 1);
	rig_expect_usable(rig);
}

/* After GO; but no vCPU ever ran there, which the destination can prove, so the source goes on by itself. */
void scenario_start_fails(struct rig *rig)
{
	rig_boot(rig);
	synthetic_set_fault(rig->destination, SYNTHETIC_START, -EIO);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_stayed(rig, 0);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_START), 1);
	synthetic_set_fault(rig->destination, SYNTHETIC_START, 0);
	rig_expect_usable(rig);
}

void scenario_too_little_memory(struct rig *rig)
{
	rig->receiver_opts.max_memory = RAM - PAGE;
	rig_boot(rig);
	rig_listen(rig);
	refuse(rig, -ENOSPC, "MiB");

	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_CREATE), 0);
}

void scenario_name_not_wanted(struct rig *rig)
{
	rig->receiver_opts.name = "other";
	rig_boot(rig);
	rig_listen(rig);
	refuse(rig, 0, "other");

	rig->opts.name = "other";
	rig_expect_usable(rig);
}

/* Three quarters of the huge pages there are: enough for the source alone. */
void scenario_page_size_missing(struct rig *rig)
{
	struct limit limit;
	int ret = hugepages_reserve(8);

	if (ret < 0) {
		print_message("SKIP: 2 MiB pages: %s\n", strerror(-ret));
		skip();
	}
	limit_huge_available(2 * MIB, &limit);
	rig_add_region(rig, "huge", 1 * GIB, limit.available / (8 * MIB) * 3 * (2 * MIB), 2 * MIB);
	rig_boot(rig);
	rig_listen(rig);
	refuse(rig, -ENOMEM, "nr_hugepages");
}

/* Longer than the peer may be silent: the heartbeat tells that it lives. */
void scenario_slow_create(struct rig *rig)
{
	rig->opts.peer_timeout_ns = 1000 * MS;
	rig->receiver_opts.peer_timeout_ns = 1000 * MS;
	rig_boot(rig);
	synthetic_set_delay(rig->destination, SYNTHETIC_CREATE, 2500);
	rig_listen(rig);
	rig_migrate(rig);

	rig_expect_moved(rig);
}

static void await_precopy(const struct rig *rig)
{
	struct decant_stats stats = { .size = sizeof(stats) };

	for (int i = 0; i < 20000; i++) {
		decant_migration_get_stats(rig->migration, &stats);
		if (stats.state == DECANT_STATE_PRECOPY && stats.sent_bytes > 0)
			return;
		usleep(1000);
	}
	fail_msg("pre-copy does not begin");
}

void scenario_two_sources(struct rig *rig)
{
	struct rig second;

	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE / 2;
	rig_boot(rig);
	rig_listen(rig);
	rig_migrate_begin(rig);
	await_precopy(rig);

	rig_init(&second, rig->fabric);
	rig_boot(&second);
	rig_aim(&second, decant_receiver_port(rig->receiver));
	rig_migrate(&second);
	rig_migrate_end(rig);
	rig_expect_stayed(&second, -EBUSY);
	rig_destroy(&second);
	rig_expect_moved(rig);
}

void scenario_receiver_stopped_idle(struct rig *rig)
{
	rig_boot(rig);
	rig_listen(rig);
	usleep(20000);
	decant_receiver_stop(rig->receiver);
	pthread_join(rig->receiver_thread, NULL);
	rig->receiving = false;

	assert_int_equal(rig->receive_ret, -ECANCELED);
	assert_null(rig->received);
}

static unsigned int count_threads(const char *name)
{
	char path[128], comm[32];
	unsigned int count = 0;
	struct dirent *entry;
	DIR *tasks = opendir("/proc/self/task");
	FILE *file;

	assert_non_null(tasks);
	while ((entry = readdir(tasks)) != NULL) {
		snprintf(path, sizeof(path), "/proc/self/task/%.32s/comm", entry->d_name);
		file = fopen(path, "r");
		if (file == NULL)
			continue;
		if (fgets(comm, sizeof(comm), file) != NULL)
			count += strncmp(comm, name, strlen(name)) == 0;
		fclose(file);
	}
	closedir(tasks);
	return count;
}

/* Where discard() unmaps memory another mapping may come to lie, which nobody may populate by mistake. */
static void look_who_populates(void *opaque, struct synthetic *vmm, enum synthetic_event event, unsigned nth)
{
	atomic_uint *threads = opaque;

	(void)vmm;
	(void)nth;
	if (event == SYNTHETIC_DISCARD)
		atomic_store(threads, count_threads("decant-populate"));
}

void scenario_receiver_stopped_in_precopy(struct rig *rig)
{
	atomic_uint populating = UINT_MAX;

	rig->opts.bandwidth_Bps = HOLE_FIRST * PAGE / 4;
	rig_boot(rig);
	synthetic_set_hook(rig->destination, look_who_populates, &populating);
	rig_listen(rig);
	rig_migrate_begin(rig);
	await_precopy(rig);
	decant_receiver_stop(rig->receiver);
	rig_migrate_end(rig);
	pthread_join(rig->receiver_thread, NULL);
	rig->receiving = false;

	assert_int_equal(rig->receive_ret, -ECANCELED);
	/* the source of a fabric with rails has such threads, too */
	if (!rig_has_rails(rig))
		assert_int_equal(atomic_load(&populating), 0);
	rig_expect_stayed(rig, 0);
}

void scenario_port_taken(struct rig *rig)
{
	struct decant_receiver_opts opts = rig->receiver_opts;
	struct decant_receiver *second = NULL;

	rig_boot(rig);
	rig_listen(rig);
	opts.listen = rig->peer;

	assert_int_equal(decant_receiver_new(&opts, synthetic_ops(), rig->destination, &second, &rig->err),
			 -EADDRINUSE);
	assert_non_null(strstr(rig->err.msg, rig->peer));
	assert_null(second);
}

/* ---- peers that are none ---- */

static int listen_somewhere(uint16_t *port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
	assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
	*port = ntohs(address.sin_port);
	return fd;
}

/* Nothing was there that could have made or discarded a VM. */
static void expect_stayed_alone(struct rig *rig, int code)
{
	rig_expect_stayed(rig, code);
	assert_int_equal(synthetic_count(rig->destination, SYNTHETIC_CREATE), 0);
	assert_int_equal(synthetic_count(rig->source, SYNTHETIC_PAUSE), 0);
}

void scenario_closed_port(struct rig *rig)
{
	uint16_t port;

	rig_boot(rig);
	close(listen_somewhere(&port));
	rig_aim(rig, port);
	rig_migrate(rig);

	expect_stayed_alone(rig, -ECONNREFUSED);
	assert_non_null(strstr(rig->err.msg, rig->peer));
}

void scenario_silent_peer(struct rig *rig)
{
	uint16_t port;
	int fd = listen_somewhere(&port);

	rig->opts.peer_timeout_ns = 300 * MS;
	rig_boot(rig);
	rig_aim(rig, port);
	rig_migrate(rig);
	close(fd);

	expect_stayed_alone(rig, -ETIMEDOUT);
}

struct stranger {
	int listener;
	const void *bytes;
	size_t length;
};

/* Reads what comes and answers with something else. */
static void *stranger_thread(void *opaque)
{
	const struct stranger *stranger = opaque;
	int fd = accept4(stranger->listener, NULL, NULL, SOCK_CLOEXEC);
	char heard[1024];

	if (fd < 0)
		return NULL;
	if (recv(fd, heard, sizeof(heard), 0) > 0)
		send(fd, stranger->bytes, stranger->length, MSG_NOSIGNAL);
	while (recv(fd, heard, sizeof(heard), 0) > 0)
		;
	close(fd);
	return NULL;
}

static void meet_stranger(struct rig *rig, const void *bytes, size_t length)
{
	struct stranger stranger = { .bytes = bytes, .length = length };
	pthread_t thread;
	uint16_t port;

	stranger.listener = listen_somewhere(&port);
	assert_int_equal(pthread_create(&thread, NULL, stranger_thread, &stranger), 0);
	rig_boot(rig);
	rig_aim(rig, port);
	rig_migrate(rig);
	shutdown(stranger.listener, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(stranger.listener);
}

void scenario_http_peer(struct rig *rig)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

	meet_stranger(rig, answer, sizeof(answer) - 1);

	expect_stayed_alone(rig, -EPROTO);
	assert_non_null(strstr(rig->err.msg, "HTTP"));
}

void scenario_peer_of_another_version(struct rig *rig)
{
	const struct wire_welcome welcome = { .version = WIRE_VERSION_MAX, .lease_ms = 5000 };
	struct wire_header header = { .type = WIRE_WELCOME };
	uint8_t bytes[256];
	int length = wire_welcome_encode(&welcome, bytes + WIRE_HEADER_SIZE, sizeof(bytes) - WIRE_HEADER_SIZE);

	assert_true(length > 0);
	bytes[WIRE_HEADER_SIZE] = WIRE_VERSION_MAX + 1; /* the encoder would not */
	header.length = (uint32_t)length;
	assert_true(wire_header_encode(&header, bytes, WIRE_HEADER_SIZE) > 0);
	meet_stranger(rig, bytes, WIRE_HEADER_SIZE + (size_t)length);

	expect_stayed_alone(rig, -EPROTO);
	assert_non_null(strstr(rig->err.msg, "version"));
}

static int connect_to(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* Some say nothing, some say the wrong thing, some go away; the right one gets through all the same. */
void scenario_strangers_at_the_receiver(struct rig *rig)
{
	static const char request[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
	uint8_t noise[4096];
	int silent[4];
	int fd;

	rig_boot(rig);
	rig_listen(rig);
	for (int i = 0; i < 4; i++)
		silent[i] = connect_to(decant_receiver_port(rig->receiver));
	fd = connect_to(decant_receiver_port(rig->receiver));
	send(fd, request, sizeof(request) - 1, MSG_NOSIGNAL);
	close(fd);
	memset(noise, 0xa5, sizeof(noise));
	fd = connect_to(decant_receiver_port(rig->receiver));
	send(fd, noise, sizeof(noise), MSG_NOSIGNAL);
	close(fd);
	close(connect_to(decant_receiver_port(rig->receiver)));

	rig_expect_usable(rig);
	for (int i = 0; i < 4; i++)
		close(silent[i]);
}

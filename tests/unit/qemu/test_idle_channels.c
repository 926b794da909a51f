/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_idle_channels.c -- a destination QEMU that reads nothing before it has the channels of multifd, and one that wants none
 *
 * The test is QEMU: it listens, and reads when it likes.
 */
#include "qemu/idle_channels.h"

#include "qemu/big_endian.h"
#include "qemu/unix_socket.h"
#include "util/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PACKET 1344u
#define INIT 64u

static char folder[] = "/tmp/decant-channels.XXXXXX";
static char path[64];
static const uint8_t uuid[IDLE_CHANNELS_UUID] = "0123456789abcde";
static struct unix_listener qemu;
static struct idle_channels *channels;
static int main_here, main_there;
static struct decant_error err;

static int set_up(void **state)
{
	(void)state;
	decant_error_clear(&err);
	snprintf(path, sizeof(path), "%s/incoming", folder);
	assert_int_equal(unix_listen(&qemu, path, &err), 0);
	main_here = unix_connect(path, 0, -1, &err);
	main_there = unix_accept(&qemu, &err);
	assert_true(main_here >= 0 && main_there >= 0);
	assert_int_equal(idle_channels_new(path, uuid, 0, &channels, &err), 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	idle_channels_free(channels);
	close(main_here);
	close(main_there);
	unix_unlisten(&qemu);
	return 0;
}

static int make_folder(void **state)
{
	(void)state;
	return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
	(void)state;
	return rmdir(folder);
}

static void say(uint64_t *sent)
{
	assert_int_equal(send(main_here, "QEVM", 4, 0), 4);
	*sent += 4;
}

/* Turns until there are @count, however long each takes. */
static void turn_until(uint64_t sent, uint32_t count)
{
	while (idle_channels_count(channels) < count) {
		const uint64_t again_ns = idle_channels_turn(channels, main_here, sent);

		assert_true(again_ns != CLOCK_NEVER);
		poll(NULL, 0, clock_poll_ms(again_ns));
	}
}

static void receive(int fd, uint8_t *bytes, size_t length)
{
	assert_int_equal(recv(fd, bytes, length, MSG_WAITALL | MSG_DONTWAIT), length);
}

static void test_turn__makes_none_before_something_was_sent(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++)
		assert_true(idle_channels_turn(channels, main_here, 0) == CLOCK_NEVER);

	assert_int_equal(idle_channels_count(channels), 0);
	assert_int_equal(unix_accept(&qemu, &err), -EAGAIN);
}

static void test_turn__makes_none_for_a_qemu_that_reads(void **state)
{
	uint64_t sent = 0;
	uint8_t bytes[4];

	(void)state;
	say(&sent);
	receive(main_there, bytes, 4);

	assert_true(idle_channels_turn(channels, main_here, sent) == CLOCK_NEVER);
	say(&sent);
	assert_true(idle_channels_turn(channels, main_here, sent) == CLOCK_NEVER);
	assert_int_equal(idle_channels_count(channels), 0);
}

static void test_turn__has_patience(void **state)
{
	struct idle_channels *patient;
	const uint64_t before_ns = clock_now_ns();
	uint64_t sent = 0;

	(void)state;
	say(&sent);
	assert_int_equal(idle_channels_new(path, uuid, 60 * NSEC_PER_SEC, &patient, &err), 0);

	assert_true(idle_channels_turn(patient, main_here, sent) >= before_ns + 60 * NSEC_PER_SEC);
	assert_int_equal(idle_channels_count(patient), 0);
	idle_channels_free(patient);
}

static void test_turn__makes_as_many_as_qemu_waits_for(void **state)
{
	uint8_t bytes[INIT];
	uint64_t sent = 0;
	int channel[3];

	(void)state;
	say(&sent);
	say(&sent);
	turn_until(sent, 3);
	for (uint32_t i = 0; i < 3; i++) {
		channel[i] = unix_accept(&qemu, &err);
		receive(channel[i], bytes, INIT);
		assert_int_equal(big_get32(bytes), 0x11223344);
		assert_int_equal(big_get32(bytes + 4), 1);
		assert_memory_equal(bytes + 8, uuid, sizeof(uuid));
		assert_int_equal(bytes[24], i);
	}
	receive(main_there, bytes, 4);

	for (int i = 0; i < 3; i++)
		assert_true(idle_channels_turn(channels, main_here, sent) == CLOCK_NEVER);
	assert_int_equal(idle_channels_count(channels), 3);
	for (uint32_t i = 0; i < 3; i++)
		close(channel[i]);
}

/* More than fits into a socket: it is fed again when something was taken. */
static void test_turn__never_runs_out_of_synchronisations(void **state)
{
	uint8_t bytes[PACKET];
	uint64_t sent = 0;
	int channel;

	(void)state;
	say(&sent);
	turn_until(sent, 1);
	channel = unix_accept(&qemu, &err);
	receive(channel, bytes, INIT);
	receive(main_there, bytes, 4);
	for (unsigned int i = 0; i < 2000; i++) {
		struct pollfd fd = { 0 };

		if (idle_channels_poll(channels, &fd, 1) == 1 && poll(&fd, 1, 0) == 1)
			idle_channels_turn(channels, main_here, sent);
		receive(channel, bytes, PACKET);
		assert_int_equal(big_get32(bytes), 0x11223344);
		assert_int_equal(big_get32(bytes + 8), 1); /* SYNC */
		for (size_t at = 12; at < PACKET; at++)
			assert_int_equal(bytes[at], 0);
	}
	close(channel);
	idle_channels_turn(channels, main_here, sent);
	assert_int_equal(idle_channels_poll(channels, &(struct pollfd){ 0 }, 1), 0);
}

static void test_turn__is_refused_by_a_qemu_that_wants_no_more(void **state)
{
	uint64_t sent = 0;

	(void)state;
	unix_unlisten(&qemu);
	say(&sent);

	for (int i = 0; i < 3; i++)
		assert_true(idle_channels_turn(channels, main_here, sent) != CLOCK_NEVER);
	assert_int_equal(idle_channels_count(channels), 0);
}

static void test_poll__has_no_more_room_than_told(void **state)
{
	struct pollfd fds[2];
	uint64_t sent = 0;

	(void)state;
	say(&sent);
	turn_until(sent, 3);

	assert_int_equal(idle_channels_poll(channels, fds, 2), 2);
	assert_int_equal(idle_channels_poll(channels, fds, 0), 0);
}

/* A process 7 with this command line. */
static int uuid_of(const char *words, size_t length, uint8_t found[IDLE_CHANNELS_UUID])
{
	static const char *const names[] = { "7/cmdline", "7/maps" };
	char name[128];
	int ret;

	snprintf(name, sizeof(name), "%s/7", folder);
	assert_int_equal(mkdir(name, 0700), 0);
	snprintf(name, sizeof(name), "%s/7/fd", folder);
	assert_int_equal(mkdir(name, 0700), 0);
	for (int i = 0; i < 2; i++) {
		int fd;

		snprintf(name, sizeof(name), "%s/%s", folder, names[i]);
		fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
		assert_true(fd >= 0);
		assert_int_equal(write(fd, words, i == 0 ? length : 0), i == 0 ? length : 0);
		close(fd);
	}
	ret = idle_channels_uuid(7, folder, found, &err);
	for (int i = 0; i < 2; i++) {
		snprintf(name, sizeof(name), "%s/%s", folder, names[i]);
		unlink(name);
	}
	snprintf(name, sizeof(name), "%s/7/fd", folder);
	rmdir(name);
	snprintf(name, sizeof(name), "%s/7", folder);
	rmdir(name);
	return ret;
}

static void test_uuid__is_that_of_the_command_line(void **state)
{
	static const char given[] = "qemu\0-S\0-uuid\0"
				    "0123ABcd-0000-4000-8000-0000000000ff";
	static const char none[] = "qemu\0-S";
	static const char bad[] = "qemu\0-uuid\0"
				  "0123";
	static const char worse[] = "qemu\0-uuid\0"
				    "0123abcd-0000-4000-8000-0000000000ff0";
	static const uint8_t want[] = { 0x01, 0x23, 0xab, 0xcd, 0, 0, 0x40, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xff };
	uint8_t found[IDLE_CHANNELS_UUID];

	(void)state;
	assert_int_equal(uuid_of(given, sizeof(given), found), 0);
	assert_memory_equal(found, want, sizeof(found));
	assert_int_equal(uuid_of(none, sizeof(none), found), 0);
	assert_memory_equal(found, (uint8_t[IDLE_CHANNELS_UUID]){ 0 }, sizeof(found));
	assert_int_equal(uuid_of(bad, sizeof(bad), found), -EPROTO);
	assert_int_equal(uuid_of(worse, sizeof(worse), found), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_uuid__is_that_of_the_command_line),
		cmocka_unit_test_setup_teardown(test_turn__makes_none_before_something_was_sent, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_turn__makes_none_for_a_qemu_that_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turn__has_patience, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turn__makes_as_many_as_qemu_waits_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turn__never_runs_out_of_synchronisations, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_turn__is_refused_by_a_qemu_that_wants_no_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(test_poll__has_no_more_room_than_told, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

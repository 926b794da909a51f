/* SPDX-License-Identifier: BSD-2-Clause */
/* test_unix_socket.c -- sockets with a path: whose they are, who is at the other end, and who has written */
#include "qemu/unix_socket.h"

#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/decant-sockets.XXXXXX";
static char path[64];
static struct decant_error err;

static int set_up(void **state)
{
	(void)state;
	decant_error_clear(&err);
	snprintf(path, sizeof(path), "%s/socket", folder);
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

static int connected(struct unix_listener *listener, int *theirs)
{
	int ours;

	assert_int_equal(unix_listen(listener, path, &err), 0);
	*theirs = unix_connect(path, 0, -1, &err);
	assert_true(*theirs >= 0);
	ours = unix_accept(listener, &err);
	assert_true(ours >= 0);
	return ours;
}

static void test_listen__leaves_nothing_and_lets_only_the_owner_in(void **state)
{
	struct unix_listener listener = UNIX_LISTENER_INIT;
	struct stat info;

	(void)state;
	assert_int_equal(unix_listen(&listener, path, &err), 0);

	assert_int_equal(lstat(path, &info), 0);
	assert_int_equal(info.st_mode, S_IFSOCK | 0600);
	assert_int_equal(unix_accept(&listener, &err), -EAGAIN);
	unix_unlisten(&listener);
	assert_int_equal(lstat(path, &info), -1);
	unix_unlisten(&listener);
}

static void test_listen__replaces_what_nobody_listens_on(void **state)
{
	struct unix_listener left = UNIX_LISTENER_INIT, listener = UNIX_LISTENER_INIT, third = UNIX_LISTENER_INIT;

	(void)state;
	assert_int_equal(unix_listen(&left, path, &err), 0);
	close(left.fd);

	assert_int_equal(unix_listen(&listener, path, &err), 0);
	assert_int_equal(unix_listen(&third, path, &err), -EADDRINUSE);
	unix_unlisten(&listener);
}

static void test_listen__refuses_what_is_no_socket(void **state)
{
	struct unix_listener listener = UNIX_LISTENER_INIT;
	char many[200];
	int fd;

	(void)state;
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);

	assert_int_equal(unix_listen(&listener, path, &err), -EEXIST);
	assert_int_equal(unlink(path), 0);
	memset(many, 'x', sizeof(many) - 1);
	many[sizeof(many) - 1] = '\0';
	assert_int_equal(unix_listen(&listener, many, &err), -ENAMETOOLONG);
	assert_int_equal(unix_listen(&listener, "", &err), -ENAMETOOLONG);
}

static void test_unlisten__leaves_the_socket_of_another(void **state)
{
	struct unix_listener listener = UNIX_LISTENER_INIT, other = UNIX_LISTENER_INIT;
	struct stat info;

	(void)state;
	assert_int_equal(unix_listen(&listener, path, &err), 0);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(unix_listen(&other, path, &err), 0);

	unix_unlisten(&listener);

	assert_int_equal(lstat(path, &info), 0);
	unix_unlisten(&other);
}

static void test_connect__waits_no_longer_than_told(void **state)
{
	const uint64_t deadline_ns = clock_deadline_ns(50 * NSEC_PER_MSEC);
	const int wake = io_wake_new();

	(void)state;
	assert_int_equal(unix_connect(path, deadline_ns, wake, &err), -ENOENT);
	assert_true(clock_now_ns() >= deadline_ns);

	io_wake_set(wake);
	assert_int_equal(unix_connect(path, UINT64_MAX, wake, &err), -ECANCELED);
	close(wake);
}

/* As libvirtd does: it connects, and hands the connection on. */
static void test_peek__says_who_has_written_and_not_who_has_connected(void **state)
{
	struct unix_listener listener = UNIX_LISTENER_INIT;
	char text[8] = "";
	pid_t child, writer = -1;
	int theirs, ours;

	(void)state;
	ours = connected(&listener, &theirs);
	assert_int_equal(unix_peek(ours, text, 4, &writer), -EAGAIN);
	assert_int_equal(writer, 0);
	child = fork();
	if (child == 0)
		_exit(write(theirs, "QEVM123", 7) == 7 ? 0 : 1);
	assert_int_equal(waitpid(child, NULL, 0), child);

	assert_int_equal(unix_peek(ours, text, 4, &writer), 4);
	assert_string_equal(text, "QEVM");
	assert_int_equal(writer, child);
	assert_int_equal(unix_peer(ours), getpid());
	assert_int_equal(unix_peer(theirs), getpid());
	assert_int_equal(read(ours, text, sizeof(text)), 7);
	close(theirs);
	assert_int_equal(unix_peek(ours, text, 4, &writer), 0);
	close(ours);
	unix_unlisten(&listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_listen__leaves_nothing_and_lets_only_the_owner_in, set_up),
		cmocka_unit_test_setup(test_listen__replaces_what_nobody_listens_on, set_up),
		cmocka_unit_test_setup(test_listen__refuses_what_is_no_socket, set_up),
		cmocka_unit_test_setup(test_unlisten__leaves_the_socket_of_another, set_up),
		cmocka_unit_test_setup(test_connect__waits_no_longer_than_told, set_up),
		cmocka_unit_test_setup(test_peek__says_who_has_written_and_not_who_has_connected, set_up),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}

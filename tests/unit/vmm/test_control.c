/* SPDX-License-Identifier: BSD-2-Clause */
/* test_control.c -- the control socket: names, requests, clients that misbehave */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "util/clock.h"
#include "vmm/client.h"
#include "vmm/control.h"

#define LONG_NS (30 * NSEC_PER_SEC)

/* A control that echoes "say" and publishes on "publish", served in a thread. */
struct server {
	struct control *control;
	pthread_t thread;
	int stop[2];
};

static char runtime[] = "/tmp/decant-control.XXXXXX";

/* What is in the file that came with the request. */
static void read_passed(struct control_client *client, struct json_object *reply)
{
	const int fd = control_take_fd(client);
	char text[64] = "";

	if (fd >= 0 && pread(fd, text, sizeof(text) - 1, 0) > 0)
		json_add_text(reply, "read", text);
	if (fd >= 0)
		close(fd);
	/* it is the caller's once */
	json_add_bool(reply, "again", control_take_fd(client) >= 0);
}

static void answer(void *opaque, struct control_client *client, struct json_object *request)
{
	struct server *server = opaque;
	const char *verb = json_get_text(request, "verb", "");
	struct json_object *reply;

	if (strcmp(verb, "refuse") == 0) {
		control_refuse(client, "no: %s", json_get_text(request, "say", ""));
		return;
	}
	reply = json_object_new_object();
	if (strcmp(verb, "read") == 0)
		read_passed(client, reply);
	json_add_bool(reply, "ok", true);
	json_add_text(reply, "said", json_get_text(request, "say", ""));
	control_reply(client, reply);
	if (strcmp(verb, "watch") == 0)
		control_watch(client);
	for (uint64_t i = 0; strcmp(verb, "publish") == 0 && i < json_get_number(request, "count", 1); i++) {
		struct json_object *event = json_object_new_object();

		json_add_text(event, "event", "tick");
		json_add_text(event, "padding", json_get_text(request, "say", ""));
		control_publish(server->control, event, json_get_bool(request, "last", false));
	}
}

static void *serve(void *opaque)
{
	struct server *server = opaque;

	for (;;) {
		struct pollfd fds[] = {
			{ .fd = server->stop[0], .events = POLLIN },
			{ .fd = control_fd(server->control), .events = POLLIN },
		};

		poll(fds, 2, -1);
		if (fds[0].revents != 0)
			return NULL;
		control_process(server->control);
	}
}

static int start(void **state)
{
	struct control_claim claim = CONTROL_CLAIM_INIT;
	struct server *server = calloc(1, sizeof(*server));

	assert_non_null(server);
	assert_int_equal(pipe(server->stop), 0);
	assert_int_equal(control_new(answer, server, &server->control, NULL), 0);
	assert_int_equal(control_claim("vm", &claim, NULL), 0);
	assert_int_equal(control_serve(server->control, &claim, NULL), 0);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
	*state = server;
	return 0;
}

static int stop(void **state)
{
	struct server *server = *state;

	assert_int_equal(write(server->stop[1], "", 1), 1);
	pthread_join(server->thread, NULL);
	control_free(server->control);
	close(server->stop[0]);
	close(server->stop[1]);
	free(server);
	return 0;
}

static struct json_object *make_request(const char *verb, const char *say)
{
	struct json_object *request = json_object_new_object();

	json_add_text(request, "verb", verb);
	json_add_text(request, "say", say);
	return request;
}

static void assert_serves(void)
{
	struct json_object *reply = NULL;

	assert_int_equal(client_call_name("vm", make_request("echo", "hello"), &reply, NULL), 0);
	assert_string_equal(json_get_text(reply, "said", ""), "hello");
	json_object_put(reply);
}

static int raw_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(fd >= 0);
	assert_int_equal(control_path("vm", address.sun_path, NULL), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* sends it, says that no more comes, and reads all that comes back until the server closes */
static size_t raw_exchange(const char *bytes, size_t length, char *back, size_t room)
{
	int fd = raw_connect();
	size_t used = 0;
	ssize_t got;

	for (size_t done = 0; done < length;) {
		ssize_t sent = send(fd, bytes + done, length - done, MSG_NOSIGNAL);

		if (sent <= 0)
			break;
		done += (size_t)sent;
	}
	shutdown(fd, SHUT_WR);
	while (used < room - 1 && (got = recv(fd, back + used, room - 1 - used, 0)) > 0)
		used += (size_t)got;
	back[used] = '\0';
	close(fd);
	return used;
}

static void test_request__answered(void **state)
{
	(void)state;
	assert_serves();
}

static int make_file(const char *text)
{
	const int fd = memfd_create("passed", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return fd;
}

static unsigned count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(folder);
	while (readdir(folder) != NULL)
		count++;
	closedir(folder);
	return count;
}

static void expect_read(struct client *client, const char *verb, int fd, const char *expected)
{
	struct json_object *reply = NULL;

	assert_int_equal(client_call_fd(client, make_request(verb, ""), fd, &reply, NULL), 0);
	assert_string_equal(json_get_text(reply, "read", "nothing"), expected);
	assert_false(json_get_bool(reply, "again", false));
	json_object_put(reply);
}

static void test_request__with_a_descriptor(void **state)
{
	struct client *client;
	unsigned before;
	int fd[2];

	(void)state;
	fd[0] = make_file("one");
	fd[1] = make_file("two");
	assert_int_equal(client_open("vm", &client, NULL), 0);
	expect_read(client, "read", -1, "nothing");
	before = count_descriptors();
	for (unsigned i = 0; i < 20; i++) {
		expect_read(client, "read", fd[i % 2], i % 2 == 0 ? "one" : "two");
		/* one that nobody takes is closed, and does not stay for the next request */
		expect_read(client, "echo", fd[0], "nothing");
		expect_read(client, "read", -1, "nothing");
	}
	assert_int_equal(count_descriptors(), before);
	client_close(client);
	close(fd[0]);
	close(fd[1]);
	assert_serves();
}

static void test_request__refused_with_the_reason(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	(void)state;

	assert_int_equal(client_call_name("vm", make_request("refuse", "\"never\""), NULL, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "no: \"never\"");
}

static void test_request__many_in_one_write(void **state)
{
	static const char text[] = "{\"verb\":\"a\",\"say\":\"1\"}\n \n{\"verb\":\"b\",\"say\":\"2\"}\n";
	char back[1024];
	(void)state;

	raw_exchange(text, sizeof(text) - 1, back, sizeof(back));
	assert_non_null(strstr(back, "\"said\":\"1\""));
	assert_serves();
}

static void test_request__in_single_bytes(void **state)
{
	static const char text[] = "{\"verb\":\"a\",\"say\":\"slow\"}\n";
	int fd = raw_connect();
	char back[256];
	ssize_t got;
	(void)state;

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		assert_int_equal(send(fd, text + i, 1, 0), 1);
	got = recv(fd, back, sizeof(back) - 1, 0);
	assert_true(got > 0);
	back[got] = '\0';

	assert_non_null(strstr(back, "slow"));
	close(fd);
}

static void test_request__that_is_none(void **state)
{
	static const char *const garbage[] = { "garbage\n",  "[1]\n",   "\"x\"\n", "17\n",
					       "{\"a\":}\n", "{} {}\n", "\n",      "[[[[[[[[[[[[[[[[[[[[\n" };
	char back[1024];
	(void)state;

	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++) {
		raw_exchange(garbage[i], strlen(garbage[i]), back, sizeof(back));
		assert_non_null(strstr(back, "\"ok\":false"));
	}
	assert_serves();
}

static void test_request__too_long(void **state)
{
	char *text = malloc(CONTROL_LINE_MAX * 4);
	char back[1024];
	(void)state;

	assert_non_null(text);
	memset(text, 'x', CONTROL_LINE_MAX * 4);
	raw_exchange(text, CONTROL_LINE_MAX * 4, back, sizeof(back));
	free(text);
	assert_serves();
}

static void test_request__cut_short(void **state)
{
	char back[256];
	(void)state;

	assert_int_equal(raw_exchange("{\"verb\":", 8, back, sizeof(back)), 0);
	assert_int_equal(raw_exchange("", 0, back, sizeof(back)), 0);
	assert_serves();
}

static void test_clients__more_than_there_are_places_for(void **state)
{
	uint64_t deadline = clock_deadline_ns(LONG_NS);
	int fds[CONTROL_CLIENTS_MAX + 1];
	char back[256];
	ssize_t got;
	(void)state;

	for (size_t i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		fds[i] = raw_connect();
	got = recv(fds[CONTROL_CLIENTS_MAX], back, sizeof(back) - 1, 0);
	assert_true(got > 0);
	back[got] = '\0';
	assert_non_null(strstr(back, "too many clients"));
	for (size_t i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fds[i]);
	while (client_call_name("vm", make_request("echo", ""), NULL, NULL) == -EREMOTEIO &&
	       clock_now_ns() < deadline)
		usleep(1000);
	assert_serves();
}

static void test_publish__reaches_who_watches_until_the_last(void **state)
{
	struct json_object *request = make_request("publish", "");
	struct json_object *line = NULL;
	struct client *client;
	(void)state;

	assert_int_equal(client_open("vm", &client, NULL), 0);
	assert_int_equal(client_call(client, make_request("watch", ""), NULL, NULL), 0);
	json_add_bool(request, "last", true);
	assert_int_equal(client_call_name("vm", request, NULL, NULL), 0);
	assert_int_equal(client_next(client, clock_deadline_ns(LONG_NS), &line, NULL), 1);
	assert_string_equal(json_get_text(line, "event", ""), "tick");
	json_object_put(line);
	assert_int_equal(client_call_name("vm", make_request("publish", ""), NULL, NULL), 0);

	assert_int_equal(client_call(client, make_request("echo", "after"), &line, NULL), 0);
	assert_string_equal(json_get_text(line, "said", ""), "after");
	json_object_put(line);
	client_close(client);
}

static void test_publish__client_that_does_not_read_is_cut_off(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct json_object *request;
	struct json_object *line;
	struct client *client;
	char padding[8192];
	int ret;
	(void)state;

	memset(padding, 'p', sizeof(padding) - 1);
	padding[sizeof(padding) - 1] = '\0';
	request = make_request("publish", padding);
	json_add_number(request, "count", 4 * CONTROL_OUTPUT_MAX / sizeof(padding));
	assert_int_equal(client_open("vm", &client, NULL), 0);
	assert_int_equal(client_call(client, make_request("watch", ""), NULL, NULL), 0);
	assert_int_equal(client_call_name("vm", request, NULL, NULL), 0);
	assert_serves();
	while ((ret = client_next(client, clock_deadline_ns(LONG_NS), &line, &err)) == 1)
		json_object_put(line);

	assert_int_equal(ret, -ECONNRESET);
	client_close(client);
}

static void test_claim__taken_and_free_again(void **state)
{
	struct control_claim first = CONTROL_CLAIM_INIT, second = CONTROL_CLAIM_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	(void)state;

	assert_int_equal(control_claim("other", &first, NULL), 0);
	assert_int_equal(control_claim("other", &second, &err), -EADDRINUSE);
	assert_non_null(strstr(err.msg, "\"other\""));
	control_unclaim(&first);
	assert_int_equal(control_claim("other", &second, NULL), 0);
	control_unclaim(&second);
	control_unclaim(&second);
}

static void test_listen__over_the_socket_of_the_dead(void **state)
{
	struct control_claim claim = CONTROL_CLAIM_INIT;
	struct stat st;
	(void)state;

	assert_int_equal(control_claim("dead", &claim, NULL), 0);
	assert_int_equal(control_listen(&claim, NULL), 0);
	close(claim.listen_fd);
	close(claim.lock_fd);
	assert_int_equal(stat(claim.path, &st), 0);
	assert_int_equal(control_claim("dead", &claim, NULL), 0);
	assert_int_equal(control_listen(&claim, NULL), 0);

	assert_int_equal(stat(claim.path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	control_unclaim(&claim);
	assert_int_equal(stat(claim.path, &st), -1);
}

static void test_client_open__no_such_vm_lists_those_there_are(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct client *client;
	(void)state;

	assert_int_equal(client_open("nobody", &client, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "there is: vm"));
}

static int make_runtime(void **state)
{
	(void)state;
	if (mkdtemp(runtime) == NULL)
		return -1;
	return setenv("XDG_RUNTIME_DIR", runtime, 1);
}

static int remove_runtime(void **state)
{
	char path[CONTROL_PATH_MAX];
	(void)state;

	if (control_directory(path, NULL) < 0 || rmdir(path) < 0)
		return -1;
	return rmdir(runtime);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_request__answered, start, stop),
		cmocka_unit_test_setup_teardown(test_request__with_a_descriptor, start, stop),
		cmocka_unit_test_setup_teardown(test_request__refused_with_the_reason, start, stop),
		cmocka_unit_test_setup_teardown(test_request__many_in_one_write, start, stop),
		cmocka_unit_test_setup_teardown(test_request__in_single_bytes, start, stop),
		cmocka_unit_test_setup_teardown(test_request__that_is_none, start, stop),
		cmocka_unit_test_setup_teardown(test_request__too_long, start, stop),
		cmocka_unit_test_setup_teardown(test_request__cut_short, start, stop),
		cmocka_unit_test_setup_teardown(test_clients__more_than_there_are_places_for, start, stop),
		cmocka_unit_test_setup_teardown(test_publish__reaches_who_watches_until_the_last, start, stop),
		cmocka_unit_test_setup_teardown(test_publish__client_that_does_not_read_is_cut_off, start, stop),
		cmocka_unit_test(test_claim__taken_and_free_again),
		cmocka_unit_test(test_listen__over_the_socket_of_the_dead),
		cmocka_unit_test_setup_teardown(test_client_open__no_such_vm_lists_those_there_are, start, stop),
	};

	return cmocka_run_group_tests_name("control", tests, make_runtime, remove_runtime);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* test_qmp.c -- QEMU's monitor: what it says, and what it should not */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "qemu/qmp.h"
#include "support/fake_qmp.h"
#include "util/clock.h"
#include "util/io.h"

#define LONG_NS (30 * NSEC_PER_SEC)
#define SHORT_NS (50 * NSEC_PER_MSEC)
#define ANSWER(value) "{\"return\": " value ", \"id\": $}\n"

static struct decant_error err;

static uint64_t in(uint64_t ns)
{
	return clock_deadline_ns(ns);
}

static struct qmp *open_monitor(struct fake_qmp *fake)
{
	struct qmp *qmp = NULL;
	int ret = qmp_open_fd(fake_qmp_connect(fake), in(LONG_NS), -1, &qmp, &err);

	if (ret < 0)
		fail_msg("%s", err.msg);
	return qmp;
}

/* Opening it ends with @code, and words that have @words. */
static void assert_no_monitor(const char *greeting, uint64_t timeout_ns, int code, const char *words)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct qmp *qmp = NULL;

	fake_qmp_greeting(fake, greeting);
	assert_int_equal(qmp_open_fd(fake_qmp_connect(fake), in(timeout_ns), -1, &qmp, &err), code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.msg, words));
	assert_null(qmp);
	fake_qmp_free(fake);
}

/* "ask" ends with @code when it is answered with @text. */
static void assert_answer(const char *text, bool close_it, int code, const char *words)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *answer = NULL;
	struct qmp *qmp;

	fake_qmp_raw(fake, "ask", text, close_it);
	qmp = open_monitor(fake);
	decant_error_clear(&err);
	assert_int_equal(qmp_call_until(qmp, "ask", NULL, in(LONG_NS), &answer, &err), code);
	assert_non_null(strstr(err.msg, words));
	assert_true(code < 0 || answer != NULL);
	assert_null(strchr(err.msg, '\n'));
	json_object_put(answer);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

static void test_open__greeted(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct qmp *qmp = open_monitor(fake);
	const char *text;
	(void)state;

	assert_int_equal(qmp_version(qmp, &text), 100002);
	assert_string_equal(text, "10.0.2 (Fake 1:10)");
	assert_int_equal(qmp_pid(qmp), getpid());
	assert_int_equal(fake_qmp_calls(fake, "qmp_capabilities"), 1);
	qmp_close(qmp);
	qmp_close(NULL);
	fake_qmp_free(fake);
}

static void test_open__not_greeted(void **state)
{
	(void)state;
	assert_no_monitor("", SHORT_NS, -ETIMEDOUT, "if another program uses this monitor");
	assert_no_monitor("SSH-2.0-OpenSSH\r\n", LONG_NS, -EPROTO, "no JSON object");
	assert_no_monitor("{}\n", LONG_NS, -EPROTO, "without a version");
	assert_no_monitor("[]\n", LONG_NS, -EPROTO, "no JSON object");
	assert_no_monitor("{\"QMP\": 7}\n", LONG_NS, -EPROTO, "without a version");
	assert_no_monitor("{\"QMP\": {\"version\": []}}\n", LONG_NS, -EPROTO, "without a version");
	assert_no_monitor("{\"QMP\": {\"version\": {\"qemu\": {\"major\": \"7\"}}}}\n", LONG_NS, -EPROTO,
			  "version");
	assert_no_monitor("{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 4000000000}}}}\n", LONG_NS,
			  -EPROTO, "version");
	assert_no_monitor("{\"QMP\": {\"version\": {\"qemu\": {\"major\": -7}}}}\n", LONG_NS, -EPROTO, "version");
}

static void test_open__capabilities_refused(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct qmp *qmp = NULL;
	(void)state;

	fake_qmp_answer(fake, "qmp_capabilities", "!no such luck");
	assert_int_equal(qmp_open_fd(fake_qmp_connect(fake), in(LONG_NS), -1, &qmp, &err), -EREMOTEIO);
	assert_non_null(strstr(err.msg, "no such luck"));
	fake_qmp_free(fake);
}

static void test_open__closes(void **state)
{
	struct qmp *qmp = NULL;
	int pair[2];
	(void)state;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		assert_int_equal(write(pair[0], "{\"QMP\": ", i == 0 ? 0 : 8), i == 0 ? 0 : 8);
		close(pair[0]);
		assert_int_equal(qmp_open_fd(pair[1], in(LONG_NS), -1, &qmp, &err), -ECONNRESET);
	}
}

static void test_open__path(void **state)
{
	char path[160], longest[200];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct qmp *qmp = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	(void)state;

	snprintf(path, sizeof(path), "/tmp/decant-qmp-%d", getpid());
	assert_int_equal(qmp_open(path, in(LONG_NS), -1, &qmp, &err), -ENOENT);
	assert_non_null(strstr(err.msg, path));
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(qmp_open(longest, in(LONG_NS), -1, &qmp, &err), -ENAMETOOLONG);
	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(qmp_open(path, in(LONG_NS), -1, &qmp, &err), -ECONNREFUSED);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(qmp_open(path, in(SHORT_NS), -1, &qmp, &err), -ETIMEDOUT);
	unlink(path);
	close(fd);
}

/* The backlog is full: as with a monitor that has a client, and two who wait. */
static void test_open__busy(void **state)
{
	char path[64];
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct qmp *qmp = NULL;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0), clients[8], count = 0;
	(void)state;

	snprintf(path, sizeof(path), "/tmp/decant-qmp-%d", getpid());
	memcpy(address.sun_path, path, strlen(path));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(fd, 0), 0);
	do {
		clients[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	} while (connect(clients[count++], (struct sockaddr *)&address, sizeof(address)) == 0 && count < 8);
	assert_int_equal(qmp_open(path, in(LONG_NS), -1, &qmp, &err), -EBUSY);
	while (count > 0)
		close(clients[--count]);
	unlink(path);
	close(fd);
}

static void test_call__answers(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *answer = NULL, *arguments = json_object_new_object();
	struct qmp *qmp = open_monitor(fake);
	(void)state;

	assert_int_equal(qmp_call(qmp, "query-status", NULL, &answer, &err), 0);
	assert_string_equal(json_get_text(answer, "status", ""), "running");
	json_object_put(answer);
	json_add_number(arguments, "max-bandwidth", 77);
	assert_int_equal(qmp_call(qmp, "migrate-set-parameters", arguments, NULL, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 77);
	assert_int_equal(qmp_get_property(qmp, "/machine", "type", &answer, &err), 0);
	assert_string_equal(json_object_get_string(answer), "pc-i440fx-10.0-machine");
	json_object_put(answer);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

static void test_call__says_no(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *answer = NULL;
	struct qmp *qmp;
	(void)state;

	fake_qmp_answer(fake, "ask", "!The\nwords of\tQEMU");
	qmp = open_monitor(fake);
	assert_int_equal(qmp_call(qmp, "ask", json_object_new_object(), &answer, &err), -EREMOTEIO);
	assert_string_equal(err.msg, "QEMU: ask: The words of QEMU");
	assert_int_equal(qmp_call(qmp, "query-status", NULL, NULL, &err), 0);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

static void test_call__odd_answers(void **state)
{
	(void)state;
	assert_answer(ANSWER("[]"), false, 0, "");
	assert_answer("  " ANSWER("\"text\""), false, 0, "");
	assert_answer("{\"return\": {}}\n", false, -EPROTO, "neither an event nor an answer");
	assert_answer("{\"return\": {}, \"id\": 99}\n", false, -EPROTO, "neither an event nor an answer");
	assert_answer("{\"return\": {}, \"id\": -1}\n", false, -EPROTO, "neither an event nor an answer");
	assert_answer("{\"return\": {}, \"id\": \"2\"}\n", false, -EPROTO, "neither an event nor an answer");
	assert_answer("{\"id\": $}\n", false, -EPROTO, "neither a result nor an error");
	assert_answer("{\"error\": 5, \"id\": $}\n", false, -EREMOTEIO, "without a reason");
	assert_answer("{\"error\": {\"desc\": 5}, \"id\": $}\n", false, -EREMOTEIO, "without a reason");
	assert_answer("{\"event\": 5, \"id\": 0}\n", false, -EPROTO, "neither an event nor an answer");
	assert_answer("nonsense\n", false, -EPROTO, "no JSON object");
	assert_answer("{\"return\": {}, \"id\": $} {}\n", false, -EPROTO, "no JSON object");
	assert_answer("\n", false, -EPROTO, "no JSON object");
	assert_answer("", true, -ECONNRESET, "closed");
	assert_answer("{\"return\": {}, \"id\": $", true, -ECONNRESET, "closed");
}

static void test_call__too_deep(void **state)
{
	char deep[1001], text[4096];
	(void)state;

	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	snprintf(text, sizeof(text), "{\"return\": %s, \"id\": $}\n", deep);
	assert_answer(text, false, -EPROTO, "no JSON object");
}

static void test_call__long_line(void **state)
{
	const size_t room = QMP_LINE_MAX + 200;
	char *filler = calloc(1, room), *text = calloc(1, room);
	(void)state;

	memset(filler, 'x', QMP_LINE_MAX - 100);
	snprintf(text, room, "{\"return\": \"%s\", \"id\": $}\n", filler);
	assert_answer(text, false, 0, "");
	memset(text, 'x', QMP_LINE_MAX + 100);
	assert_answer(text, false, -EPROTO, "longer than 4 MiB");
	free(filler);
	free(text);
}

/* It may go on with the next command; the late answer is none to that. */
static void test_call__not_in_time(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *answer = NULL;
	struct qmp *qmp;
	(void)state;

	fake_qmp_raw(fake, "ask", "", false);
	qmp = open_monitor(fake);
	assert_int_equal(qmp_call_until(qmp, "ask", NULL, in(SHORT_NS), &answer, &err), -ETIMEDOUT);
	assert_null(answer);
	fake_qmp_send(fake, "{\"return\": \"late\", \"id\": 2}\n");
	assert_int_equal(qmp_call(qmp, "query-status", NULL, &answer, &err), 0);
	assert_string_equal(json_get_text(answer, "status", ""), "running");
	json_object_put(answer);
	fake_qmp_send(fake, "{\"return\": \"later still\", \"id\": 2}\n");
	assert_int_equal(qmp_call(qmp, "query-status", NULL, NULL, &err), -EPROTO);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

static void test_call__cancelled(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	int wake = io_wake_new();
	struct qmp *qmp = NULL;
	(void)state;

	fake_qmp_raw(fake, "ask", "", false);
	assert_int_equal(qmp_open_fd(fake_qmp_connect(fake), in(LONG_NS), wake, &qmp, &err), 0);
	io_wake_set(wake);
	assert_int_equal(qmp_call(qmp, "ask", NULL, NULL, &err), -ECANCELED);
	qmp_close(qmp);
	fake_qmp_free(fake);
	close(wake);
}

static void test_event__kept_in_order(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *event = NULL;
	struct qmp *qmp;
	(void)state;

	fake_qmp_raw(fake, "ask", "{\"event\": \"ONE\"}\n{\"event\": \"TWO\", \"id\": $}\n" ANSWER("{}"), false);
	qmp = open_monitor(fake);
	assert_int_equal(qmp_event(qmp, 0, &event, &err), 0);
	assert_int_equal(qmp_call(qmp, "ask", NULL, NULL, &err), 0);
	fake_qmp_send(fake, "{\"event\": \"THREE\", \"data\": {\"status\": \"completed\"}}\n");
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = { "ONE", "TWO", "THREE" };

		assert_int_equal(qmp_event(qmp, in(LONG_NS), &event, &err), 1);
		assert_string_equal(json_get_text(event, "event", ""), names[i]);
		json_object_put(event);
	}
	assert_int_equal(qmp_event(qmp, in(SHORT_NS), &event, &err), 0);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

/* What nobody takes does not grow; the newest stay. */
static void test_event__flood(void **state)
{
	const unsigned int many = QMP_EVENTS_MAX + 50;
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *event = NULL;
	const size_t room = (many + 1) * 64;
	char *text = calloc(1, room);
	size_t used = 0;
	struct qmp *qmp;
	(void)state;

	for (unsigned int i = 0; i < many; i++)
		used += (size_t)snprintf(text + used, room - used, "{\"event\": \"E\", \"number\": %u}\n", i);
	snprintf(text + used, room - used, ANSWER("{}"));
	fake_qmp_raw(fake, "ask", text, false);
	qmp = open_monitor(fake);
	assert_int_equal(qmp_call(qmp, "ask", NULL, NULL, &err), 0);
	for (unsigned int i = many - QMP_EVENTS_MAX; i < many; i++) {
		assert_int_equal(qmp_event(qmp, 0, &event, &err), 1);
		assert_int_equal(json_get_number(event, "number", 0), i);
		json_object_put(event);
	}
	assert_int_equal(qmp_event(qmp, 0, &event, &err), 0);
	qmp_close(qmp);
	fake_qmp_free(fake);
	free(text);
}

static void test_event__gone(void **state)
{
	struct fake_qmp *fake = fake_qmp_new();
	struct json_object *event = NULL;
	struct qmp *qmp;
	(void)state;

	fake_qmp_raw(fake, "ask", "{\"event\": \"SHUTDOWN\"}\n", true);
	qmp = open_monitor(fake);
	assert_int_equal(qmp_call(qmp, "ask", NULL, NULL, &err), -ECONNRESET);
	assert_int_equal(qmp_event(qmp, in(LONG_NS), &event, &err), 1);
	json_object_put(event);
	assert_int_equal(qmp_event(qmp, in(LONG_NS), &event, &err), -ECONNRESET);
	qmp_close(qmp);
	fake_qmp_free(fake);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open__greeted),
		cmocka_unit_test(test_open__not_greeted),
		cmocka_unit_test(test_open__capabilities_refused),
		cmocka_unit_test(test_open__closes),
		cmocka_unit_test(test_open__path),
		cmocka_unit_test(test_open__busy),
		cmocka_unit_test(test_call__answers),
		cmocka_unit_test(test_call__says_no),
		cmocka_unit_test(test_call__odd_answers),
		cmocka_unit_test(test_call__too_deep),
		cmocka_unit_test(test_call__long_line),
		cmocka_unit_test(test_call__not_in_time),
		cmocka_unit_test(test_call__cancelled),
		cmocka_unit_test(test_event__kept_in_order),
		cmocka_unit_test(test_event__flood),
		cmocka_unit_test(test_event__gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

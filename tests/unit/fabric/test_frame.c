/* SPDX-License-Identifier: BSD-2-Clause */
/* test_frame.c -- the frames of a TCP data channel, right and wrong ones */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/tcp/frame.h"

#include <errno.h>
#include <string.h>
#include <cmocka.h>

#define PAGE 4096u

static void test_head_encode__is_little_endian(void **state)
{
	const struct frame_head head = { .type = FRAME_WRITES, .count = 0x0102, .value = 0x0807060504030201 };
	const uint8_t expected[FRAME_HEAD_SIZE] = { 'D', 'C', 'F', '1', 4, 0, 2, 1, 1, 2, 3, 4, 5, 6, 7, 8 };
	uint8_t bytes[FRAME_HEAD_SIZE];

	(void)state;
	frame_head_encode(&head, bytes);

	assert_memory_equal(bytes, expected, sizeof(bytes));
}

static void test_head_decode__takes_what_encode_made(void **state)
{
	static const struct frame_head heads[] = {
		{ FRAME_HELLO, 0, FRAME_HELLO_SIZE },
		{ FRAME_OK, 0, 16 },
		{ FRAME_REFUSED, 0, FRAME_REFUSED_TOKEN },
		{ FRAME_WRITES, FRAME_RUNS_MAX, FRAME_BYTES_MAX },
		{ FRAME_WRITES, 1, PAGE },
		{ FRAME_BARRIER, 0, UINT64_MAX },
		{ FRAME_MESSAGE, 0, 0 },
		{ FRAME_MESSAGE, 0, FABRIC_MESSAGE_MAX },
		{ FRAME_CREDIT, 0, 1 },
		{ FRAME_BYE, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		uint8_t bytes[FRAME_HEAD_SIZE];
		struct frame_head head;

		frame_head_encode(&heads[i], bytes);
		assert_int_equal(frame_head_decode(&head, bytes, NULL), 0);
		assert_int_equal(head.type, heads[i].type);
		assert_int_equal(head.count, heads[i].count);
		assert_int_equal(head.value, heads[i].value);
	}
}

static void test_head_decode__refuses_what_is_beyond_its_limits(void **state)
{
	static const struct frame_head heads[] = {
		{ 0, 0, 0 },
		{ FRAME_TYPE_MAX + 1, 0, 0 },
		{ 0xffff, 0, 0 },
		{ FRAME_HELLO, 0, 0 },
		{ FRAME_HELLO, 0, FRAME_HELLO_SIZE + 1 },
		{ FRAME_HELLO, 1, FRAME_HELLO_SIZE },
		{ FRAME_OK, 0, FRAME_CREDITS_MAX + 1 },
		{ FRAME_REFUSED, 0, 0 },
		{ FRAME_REFUSED, 0, FRAME_REFUSED_MAX + 1 },
		{ FRAME_WRITES, 0, PAGE },
		{ FRAME_WRITES, FRAME_RUNS_MAX + 1, FRAME_BYTES_MAX },
		{ FRAME_WRITES, 1, 0 },
		{ FRAME_WRITES, 1, FRAME_BYTES_MAX + 1 },
		{ FRAME_WRITES, 1, UINT64_MAX },
		{ FRAME_BARRIER, 1, 0 },
		{ FRAME_MESSAGE, 0, FABRIC_MESSAGE_MAX + 1 },
		{ FRAME_MESSAGE, 0, UINT64_MAX },
		{ FRAME_MESSAGE, 1, 1 },
		{ FRAME_CREDIT, 0, 0 },
		{ FRAME_CREDIT, 0, FRAME_CREDITS_MAX + 1 },
		{ FRAME_BYE, 0, 1 },
		{ FRAME_BYE, 1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		uint8_t bytes[FRAME_HEAD_SIZE];
		struct frame_head head;

		frame_head_encode(&heads[i], bytes);
		assert_int_equal(frame_head_decode(&head, bytes, &err), -EPROTO);
		assert_int_equal(err.code, -EPROTO);
		assert_string_not_equal(err.msg, "");
	}
}

static void test_head_decode__refuses_another_magic(void **state)
{
	uint8_t bytes[FRAME_HEAD_SIZE] = "GET / HTTP/1.1\r";
	struct decant_error err = DECANT_ERROR_INIT;
	struct frame_head head;

	(void)state;

	assert_int_equal(frame_head_decode(&head, bytes, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "magic"));
}

static void encode_runs(const struct frame_run *runs, size_t count, uint8_t *bytes)
{
	for (size_t i = 0; i < count; i++)
		frame_run_encode(&runs[i], bytes + i * FRAME_RUN_SIZE);
}

static void test_runs_decode__takes_what_encode_made(void **state)
{
	const struct frame_run runs[] = { { 3, PAGE, 0 }, { 0xffffffff, 2 * PAGE, 0xfffffffffffff000 } };
	const struct frame_head head = { .type = FRAME_WRITES, .count = 2, .value = 3 * PAGE };
	uint8_t bytes[2 * FRAME_RUN_SIZE];
	struct frame_run out[2];

	(void)state;
	encode_runs(runs, 2, bytes);

	assert_int_equal(frame_runs_decode(&head, out, bytes, NULL), 0);
	assert_memory_equal(out, runs, sizeof(runs));
}

static void test_runs_decode__refuses_parts_of_pages_and_wrong_sums(void **state)
{
	static const struct {
		struct frame_run run[2];
		uint64_t sum;
	} cases[] = {
		{ { { 0, PAGE, 0 }, { 0, 0, 0 } }, PAGE },
		{ { { 0, PAGE, 0 }, { 0, 1, 0 } }, PAGE + 1 },
		{ { { 0, PAGE, 512 }, { 0, PAGE, 0 } }, 2 * PAGE },
		{ { { 0, PAGE, 0 }, { 0, PAGE, 0 } }, PAGE },
		{ { { 0, PAGE, 0 }, { 0, PAGE, 0 } }, 3 * PAGE },
		/* a sum that is right only in 32 bits */
		{ { { 0, 0xfffff000, 0 }, { 0, 2 * PAGE, 0 } }, PAGE },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct frame_head head = { .type = FRAME_WRITES, .count = 2, .value = cases[i].sum };
		uint8_t bytes[2 * FRAME_RUN_SIZE];
		struct frame_run out[2];

		encode_runs(cases[i].run, 2, bytes);
		assert_int_equal(frame_runs_decode(&head, out, bytes, NULL), -EPROTO);
	}
}

static void test_hello_decode__takes_what_encode_made(void **state)
{
	const struct frame_hello hello = {
		.version = 9, .channel = 0x0201, .epoch = 0x1122334455667788, .token = "0123456789abcde"
	};
	uint8_t bytes[FRAME_HELLO_SIZE];
	struct frame_hello out;

	(void)state;
	frame_hello_encode(&hello, bytes);

	assert_int_equal(frame_hello_decode(&out, bytes, NULL), 0);
	assert_int_equal(out.version, 9);
	assert_int_equal(out.channel, 0x0201);
	assert_int_equal(out.epoch, 0x1122334455667788);
	assert_memory_equal(out.token, hello.token, FABRIC_TOKEN_SIZE);
}

static void test_hello_decode__refuses_reserved_bytes(void **state)
{
	const struct frame_hello hello = { .version = FRAME_VERSION };
	uint8_t bytes[FRAME_HELLO_SIZE];
	struct frame_hello out;

	(void)state;
	for (size_t i = 4; i < 8; i++) {
		frame_hello_encode(&hello, bytes);
		bytes[i] = 1;
		assert_int_equal(frame_hello_decode(&out, bytes, NULL), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_head_encode__is_little_endian),
		cmocka_unit_test(test_head_decode__takes_what_encode_made),
		cmocka_unit_test(test_head_decode__refuses_what_is_beyond_its_limits),
		cmocka_unit_test(test_head_decode__refuses_another_magic),
		cmocka_unit_test(test_runs_decode__takes_what_encode_made),
		cmocka_unit_test(test_runs_decode__refuses_parts_of_pages_and_wrong_sums),
		cmocka_unit_test(test_hello_decode__takes_what_encode_made),
		cmocka_unit_test(test_hello_decode__refuses_reserved_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

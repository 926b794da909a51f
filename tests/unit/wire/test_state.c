/* SPDX-License-Identifier: BSD-2-Clause */
/* test_state.c -- state records: there and back, and every way in which a list can be wrong */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>
#include <cmocka.h>

#include <decant/state.h>

#define FRAME 56u

static struct decant_state_writer *writer;
static struct decant_state_reader *reader;
static struct decant_error err;

static int make_writer(void **state)
{
	(void)state;
	reader = NULL;
	return decant_state_writer_new(&writer, NULL);
}

static int free_both(void **state)
{
	(void)state;
	decant_state_writer_free(writer);
	decant_state_reader_free(reader);
	return 0;
}

static void put(const char *name, uint32_t instance, uint32_t version, const void *data, size_t length)
{
	if (decant_state_put(writer, name, instance, version, data, length, &err) < 0)
		fail_msg("put: %s", err.msg);
}

/* the writer's list in memory of exactly its size */
static uint8_t *list_copy(size_t *length)
{
	const void *bytes = decant_state_writer_bytes(writer, length);
	uint8_t *copy = malloc(*length > 0 ? *length : 1);

	assert_non_null(copy);
	if (*length > 0)
		memcpy(copy, bytes, *length);
	return copy;
}

static int open_copy(const uint8_t *bytes, size_t length)
{
	decant_error_clear(&err);
	decant_state_reader_free(reader);
	reader = NULL;
	return decant_state_reader_new(bytes, length, &reader, &err);
}

static int reopen(void)
{
	size_t length;
	uint8_t *copy = list_copy(&length);
	const int rc = open_copy(copy, length);

	free(copy);
	return rc;
}

static void check_next(const char *name, uint32_t instance, uint32_t version, const void *data, size_t length)
{
	struct decant_state_record record;

	assert_int_equal(decant_state_next(reader, &record), 1);
	assert_string_equal(record.name, name);
	assert_int_equal(record.instance, instance);
	assert_int_equal(record.version, version);
	assert_int_equal(record.length, length);
	assert_int_equal((uintptr_t)record.data % 8, 0);
	assert_memory_equal(record.data, data, length);
}

static void put_three(void)
{
	put("kvm.vcpu.regs", 1, 3, "registers", 9);
	put("serial", 0, 1, "", 0);
	put("kvm.vcpu.regs", 0, 3, "0123456789abcdef", 16);
}

static void test_state__there_and_back(void **state)
{
	struct decant_state_record record;

	(void)state;
	put_three();
	assert_int_equal(reopen(), 0);
	check_next("kvm.vcpu.regs", 1, 3, "registers", 9);
	check_next("serial", 0, 1, "", 0);
	check_next("kvm.vcpu.regs", 0, 3, "0123456789abcdef", 16);
	assert_int_equal(decant_state_next(reader, &record), 0);
	assert_int_equal(decant_state_next(reader, &record), 0);
}

static void test_state__empty_list(void **state)
{
	struct decant_state_record record;

	(void)state;
	assert_int_equal(reopen(), 0);
	assert_int_equal(decant_state_next(reader, &record), 0);
	assert_int_equal(decant_state_unused(reader, &record), 0);
	assert_int_equal(open_copy(NULL, 0), 0);
}

static void test_state__limits_of_a_record(void **state)
{
	static uint8_t largest[DECANT_STATE_RECORD_MAX];
	char name[DECANT_STATE_NAME_MAX];

	(void)state;
	memset(name, 'n', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	memset(largest, 0xa5, sizeof(largest));
	put(name, UINT32_MAX, UINT32_MAX, largest, sizeof(largest));
	assert_int_equal(reopen(), 0);
	check_next(name, UINT32_MAX, UINT32_MAX, largest, sizeof(largest));
}

/* A writer that refuses stays as it was. */
static void test_state_put__refused(void **state)
{
	static uint8_t largest[DECANT_STATE_RECORD_MAX + 1];
	size_t before, after;

	(void)state;
	put_three();
	decant_state_writer_bytes(writer, &before);
	assert_int_equal(decant_state_put(writer, "", 0, 1, "x", 1, &err), -EINVAL);
	assert_int_equal(decant_state_put(writer, "a name with spaces", 0, 1, "x", 1, &err), -EINVAL);
	assert_int_equal(decant_state_put(writer, "n\xc3\xa4me", 0, 1, "x", 1, &err), -EINVAL);
	assert_int_equal(decant_state_put(writer, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 0, 1, "x", 1, &err),
			 -EINVAL);
	assert_int_equal(decant_state_put(writer, "regs", 0, 0, "x", 1, &err), -EINVAL);
	assert_int_equal(decant_state_put(writer, "serial", 0, 2, "x", 1, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "there already"));
	assert_int_equal(decant_state_put(writer, "regs", 0, 1, largest, sizeof(largest), &err), -EMSGSIZE);
	assert_int_equal(decant_state_put(writer, "serial", 0, 1, "x", 1, NULL), -EINVAL);
	decant_state_writer_bytes(writer, &after);
	assert_int_equal(after, before);
	put("serial", 1, 1, "x", 1);
	assert_int_equal(reopen(), 0);
}

static void test_state_put__total_is_limited(void **state)
{
	static uint8_t largest[DECANT_STATE_RECORD_MAX];
	uint32_t instance = 0;
	size_t length;

	(void)state;
	while (instance < 63)
		put("big", instance++, 1, largest, sizeof(largest));
	assert_int_equal(decant_state_put(writer, "big", instance, 1, largest, sizeof(largest), &err), -EMSGSIZE);
	put("rest", 0, 1, largest, sizeof(largest) - 64 * FRAME);
	decant_state_writer_bytes(writer, &length);
	assert_int_equal(length, DECANT_STATE_TOTAL_MAX);
	assert_int_equal(decant_state_put(writer, "one more", 0, 1, NULL, 0, &err), -EINVAL);
	assert_int_equal(decant_state_put(writer, "one_more", 0, 1, NULL, 0, &err), -EMSGSIZE);
	assert_int_equal(reopen(), 0);
}

static void test_state_put__count_is_limited(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 65536; i++)
		put("r", (i * 40503u) % 65536, 1, &i, sizeof(i));
	assert_int_equal(decant_state_put(writer, "r", 65536, 1, "", 0, &err), -EMSGSIZE);
	assert_int_equal(reopen(), 0);
	for (uint32_t i = 0; i < 65536; i += 97) {
		struct decant_state_record record;

		assert_int_equal(decant_state_get(reader, "r", (i * 40503u) % 65536, 1, &record, &err), 0);
		assert_memory_equal(record.data, &i, sizeof(i));
	}
}

static void test_state_writer_reset__empty_and_allocates_nothing(void **state)
{
	uint8_t data[300];
	const void *bytes;
	size_t length;

	(void)state;
	memset(data, 7, sizeof(data));
	for (uint32_t i = 0; i < 1000; i++)
		put("first", i, 1, data, sizeof(data));
	bytes = decant_state_writer_bytes(writer, &length);
	decant_state_writer_reset(writer);
	assert_ptr_equal(decant_state_writer_bytes(writer, &length), bytes);
	assert_int_equal(length, 0);
	for (uint32_t i = 0; i < 1000; i++)
		put("first", i, 1, data, sizeof(data));
	assert_ptr_equal(decant_state_writer_bytes(writer, &length), bytes);
	assert_int_equal(reopen(), 0);
}

static void test_state_writer_reserve__nothing_is_allocated_later(void **state)
{
	uint8_t data[300] = { 7 };
	const void *bytes;
	size_t length;

	(void)state;
	assert_int_equal(decant_state_writer_reserve(writer, 1u << 20, 1000, &err), 0);
	bytes = decant_state_writer_bytes(writer, &length);
	for (uint32_t i = 0; i < 1000; i++)
		put("first", i, 1, data, sizeof(data));
	assert_ptr_equal(decant_state_writer_bytes(writer, &length), bytes);
	assert_int_equal(reopen(), 0);
}

/* A list of the same length, and one that is half as long again, find room; what was used or wrong before is forgotten. */
static void test_state_reader_reset__another_list_in_the_same_place(void **state)
{
	struct decant_state_record first, record;
	uint8_t data[3000] = { 1 };
	uint8_t *copy;
	size_t length;

	(void)state;
	assert_int_equal(open_copy(NULL, 0), 0);
	put("a", 0, 1, data, 2000);
	copy = list_copy(&length);
	assert_int_equal(decant_state_reader_reset(reader, copy, length, &err), 0);
	assert_int_equal(decant_state_get(reader, "a", 0, 1, &first, &err), 0);
	copy[length / 2] ^= 1;
	assert_int_equal(decant_state_reader_reset(reader, copy, length, &err), -EPROTO);
	assert_int_equal(decant_state_next(reader, &record), 0);
	free(copy);
	decant_state_writer_reset(writer);
	put("b", 0, 1, data, sizeof(data));
	copy = list_copy(&length);
	assert_int_equal(decant_state_reader_reset(reader, copy, length, &err), 0);
	assert_int_equal(decant_state_unused(reader, &record), 1);
	assert_int_equal(decant_state_get(reader, "b", 0, 1, &record, &err), 0);
	assert_ptr_equal(record.data, first.data);
	assert_memory_equal(record.data, data, sizeof(data));
	assert_int_equal(decant_state_get(reader, "a", 0, 1, &record, &err), -ENOENT);
	free(copy);
}

static void test_state_get__finds_marks_and_refuses(void **state)
{
	struct decant_state_record record = { .instance = 4711 };

	(void)state;
	put_three();
	assert_int_equal(reopen(), 0);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 2, 9, &record, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "kvm.vcpu.regs 2"));
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.reg", 0, 9, &record, &err), -ENOENT);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 0, 2, &record, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "version 3"));
	assert_int_equal(record.instance, 4711);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 0, 3, &record, &err), 0);
	assert_memory_equal(record.data, "0123456789abcdef", 16);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 0, 4, &record, NULL), 0);
}

static void test_state_unused__tells_what_nobody_read(void **state)
{
	struct decant_state_record record;

	(void)state;
	put_three();
	assert_int_equal(reopen(), 0);
	while (decant_state_next(reader, &record))
		;
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 1, 3, &record, NULL), 0);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 0, 2, &record, NULL), -EPROTO);
	assert_int_equal(decant_state_unused(reader, &record), 1);
	assert_string_equal(record.name, "serial");
	assert_int_equal(decant_state_get(reader, "serial", 0, 1, &record, NULL), 0);
	assert_int_equal(decant_state_unused(reader, &record), 1);
	assert_int_equal(record.instance, 0);
	assert_int_equal(decant_state_get(reader, "kvm.vcpu.regs", 0, 3, &record, NULL), 0);
	assert_int_equal(decant_state_unused(reader, &record), 0);
}

static void test_state_reader__every_byte_changed(void **state)
{
	size_t length;
	uint8_t *copy;

	(void)state;
	put_three();
	copy = list_copy(&length);
	assert_int_equal(length, 3 * FRAME + 16 + 16);
	for (size_t i = 0; i < length; i++) {
		for (int bit = 0; bit < 8; bit++) {
			copy[i] ^= (uint8_t)(1 << bit);
			if (open_copy(copy, length) != -EPROTO)
				fail_msg("bit %d of byte %zu: accepted", bit, i);
			assert_int_equal(err.code, -EPROTO);
			assert_non_null(strstr(err.msg, "state record"));
			copy[i] ^= (uint8_t)(1 << bit);
		}
	}
	assert_int_equal(open_copy(copy, length), 0);
	free(copy);
}

static void test_state_reader__cut_short_everywhere(void **state)
{
	static const size_t ends[] = { 0, FRAME + 16, 2 * FRAME + 16, 3 * FRAME + 32 };
	size_t length;
	uint8_t *copy;

	(void)state;
	put_three();
	copy = list_copy(&length);
	for (size_t n = 0; n <= length; n++) {
		uint8_t *part = malloc(n > 0 ? n : 1);
		bool whole = false;

		assert_non_null(part);
		memcpy(part, copy, n);
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
			whole = whole || n == ends[i];
		assert_int_equal(open_copy(part, n), whole ? 0 : -EPROTO);
		free(part);
	}
	free(copy);
}

/* a record with the right checksum, whatever else it says */
static size_t forge(uint8_t *bytes, uint32_t magic, uint32_t length, uint32_t version, const char name[32],
		    size_t data)
{
	const uint32_t words[4] = { magic, length, 0, version };
	uint64_t checksum;

	memset(bytes, 0, FRAME + data);
	memcpy(bytes + 8, words, sizeof(words));
	memcpy(bytes + 24, name, 32);
	checksum = XXH3_64bits(bytes + 8, FRAME - 8 + data);
	memcpy(bytes, &checksum, sizeof(checksum));
	return FRAME + data;
}

#define MAGIC 0x54534344u

static void test_state_reader__forged_frames(void **state)
{
	static const struct {
		uint32_t magic, length, version;
		char name[32];
		size_t data;
		const char *says; /* NULL: fine */
	} cases[] = {
		{ MAGIC, 5, 1, "fine", 8, NULL },
		{ MAGIC, 0, UINT32_MAX, "fine", 0, NULL },
		{ 0x54534345, 5, 1, "magic", 8, "magic" },
		{ MAGIC, 5, 0, "version", 8, "version" },
		{ MAGIC, 5, 1, "", 8, "name" },
		{ MAGIC, 5, 1, "bell\a", 8, "name" },
		{ MAGIC, 5, 1, "two words", 8, "name" },
		{ MAGIC, 5, 1, "more\0behind", 8, "name" },
		{ MAGIC, 5, 1, "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn", 8, "name" },
		{ MAGIC, 9, 1, "short", 8, "9 bytes" },
		{ MAGIC, UINT32_MAX, 1, "long", 8, "length" },
		{ MAGIC, DECANT_STATE_RECORD_MAX + 1, 1, "long", 8, "length" },
		{ MAGIC, DECANT_STATE_RECORD_MAX, 1, "long", 8, "bytes" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		uint8_t *bytes = malloc(FRAME + cases[i].data);
		size_t length;

		assert_non_null(bytes);
		length = forge(bytes, cases[i].magic, cases[i].length, cases[i].version, cases[i].name,
			       cases[i].data);
		if (open_copy(bytes, length) != (cases[i].says == NULL ? 0 : -EPROTO) ||
		    (cases[i].says != NULL && strstr(err.msg, cases[i].says) == NULL))
			fail_msg("case %zu: \"%s\"", i, err.msg);
		free(bytes);
	}
}

static void test_state_reader__padding_that_is_not_0(void **state)
{
	uint8_t bytes[FRAME + 8];
	uint64_t checksum;

	(void)state;
	forge(bytes, MAGIC, 5, 1, (const char[32]){ "padded" }, 8);
	bytes[FRAME + 7] = 1;
	checksum = XXH3_64bits(bytes + 8, sizeof(bytes) - 8);
	memcpy(bytes, &checksum, sizeof(checksum));
	assert_int_equal(open_copy(bytes, sizeof(bytes)), -EPROTO);
	assert_non_null(strstr(err.msg, "padding"));
}

static void test_state_reader__the_same_record_twice(void **state)
{
	size_t length;
	uint8_t *copy, *twice;

	(void)state;
	put_three();
	copy = list_copy(&length);
	twice = malloc(length + FRAME);
	assert_non_null(twice);
	memcpy(twice, copy, length);
	memcpy(twice + length, copy + FRAME + 16, FRAME);
	assert_int_equal(open_copy(twice, length + FRAME), -EPROTO);
	assert_non_null(strstr(err.msg, "serial 0"));
	assert_non_null(strstr(err.msg, "twice"));
	free(copy);
	free(twice);
}

static void test_state_reader__more_than_the_limits(void **state)
{
	const size_t records = 65537;
	uint8_t *bytes = malloc(records * FRAME);

	(void)state;
	assert_non_null(bytes);
	for (size_t i = 0; i < records; i++) {
		char name[32] = { 0 };

		snprintf(name, sizeof(name), "r%zu", i);
		forge(bytes + i * FRAME, MAGIC, 0, 1, name, 0);
	}
	assert_int_equal(open_copy(bytes, records * FRAME), -EPROTO);
	assert_int_equal(open_copy(bytes, (records - 1) * FRAME), 0);
	free(bytes);
	assert_int_equal(open_copy(NULL, DECANT_STATE_TOTAL_MAX + 1u), -EPROTO);
}

static void test_state_free__null_is_fine(void **state)
{
	(void)state;
	decant_state_writer_free(NULL);
	decant_state_reader_free(NULL);
}

#define state_test(name) cmocka_unit_test_setup_teardown(name, make_writer, free_both)

int main(void)
{
	const struct CMUnitTest tests[] = {
		state_test(test_state__there_and_back),
		state_test(test_state__empty_list),
		state_test(test_state__limits_of_a_record),
		state_test(test_state_put__refused),
		state_test(test_state_put__total_is_limited),
		state_test(test_state_put__count_is_limited),
		state_test(test_state_writer_reset__empty_and_allocates_nothing),
		state_test(test_state_writer_reserve__nothing_is_allocated_later),
		state_test(test_state_reader_reset__another_list_in_the_same_place),
		state_test(test_state_get__finds_marks_and_refuses),
		state_test(test_state_unused__tells_what_nobody_read),
		state_test(test_state_reader__every_byte_changed),
		state_test(test_state_reader__cut_short_everywhere),
		state_test(test_state_reader__forged_frames),
		state_test(test_state_reader__padding_that_is_not_0),
		state_test(test_state_reader__the_same_record_twice),
		state_test(test_state_reader__more_than_the_limits),
		cmocka_unit_test(test_state_free__null_is_fine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

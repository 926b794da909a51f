/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * state.c -- device and CPU state as a list of framed, versioned, checked records
 *
 * Theory of operation
 * -------------------
 * A list is one byte string: frame, data, zeros up to a multiple of 8, frame, data, ... A frame's size is a multiple of 8,
 * too, so that data is aligned wherever the list is. The checksum stands first and covers all bytes of the record behind
 * it, padding included: no byte of a list can change unnoticed.
 *
 * Writer and reader keep the same picture of a list: where each record starts, in order, and the records' numbers sorted by
 * name and instance. The writer inserts into the sorted numbers as it goes; it is trusted and its lists are short. The
 * reader's bytes are a stranger's, so it sorts once, whose cost does not depend on what they are.
 */
#include "wire/cursor.h"

#include <assert.h>
#include <decant/state.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define STATE_MAGIC 0x54534344u /* "DCST" */
#define STATE_FRAME_SIZE 56u
#define STATE_CHECKED_FROM 8u /* the checksum covers the record from here on */
#define STATE_ALIGN 8u
#define STATE_RECORDS_MAX 65536u
#define STATE_FIRST_CAPACITY (64u << 10)
#define STATE_FIRST_RECORDS 256u

static_assert(STATE_FRAME_SIZE == 8 + 4 + 4 + 4 + 4 + DECANT_STATE_NAME_MAX, "the frame");
static_assert(STATE_FRAME_SIZE % STATE_ALIGN == 0, "data is aligned");
static_assert(DECANT_STATE_TOTAL_MAX <= UINT32_MAX, "offsets are 32 bits");

struct state_frame {
	uint64_t checksum;
	uint32_t length; /* of the data */
	uint32_t instance;
	uint32_t version;
	char name[DECANT_STATE_NAME_MAX];
};

struct state_entry {
	uint32_t offset; /* of the frame in the list */
	uint32_t used;   /* reader: taken by decant_state_get() */
};

struct state_list {
	uint8_t *bytes;
	size_t length, capacity;
	struct state_entry *entries; /* in order */
	uint32_t *sorted;            /* entry numbers by name and instance */
	uint32_t count, entries_capacity;
};

struct decant_state_writer {
	struct state_list list;
};

struct decant_state_reader {
	struct state_list list;
	uint32_t next;
};

static size_t state_padded(size_t length)
{
	return (length + STATE_ALIGN - 1) & ~(size_t)(STATE_ALIGN - 1);
}

static void frame_fields(struct cursor *cursor, struct state_frame *frame)
{
	uint32_t magic = STATE_MAGIC;

	cursor_u64(cursor, "checksum", &frame->checksum);
	cursor_u32(cursor, "magic", &magic);
	cursor_check(cursor, magic == STATE_MAGIC, "magic", "not that of a record");
	cursor_u32(cursor, "length", &frame->length);
	cursor_check(cursor, frame->length <= DECANT_STATE_RECORD_MAX, "length", "beyond the limit");
	cursor_u32(cursor, "instance", &frame->instance);
	cursor_u32(cursor, "version", &frame->version);
	cursor_check(cursor, frame->version >= 1, "version", "0 is none");
	cursor_name(cursor, "name", frame->name, sizeof(frame->name));
	cursor_check(cursor, frame->name[0] != '\0', "name", "empty");
}

static uint64_t state_checksum(const uint8_t *record, size_t length)
{
	return XXH3_64bits(record + STATE_CHECKED_FROM,
			   STATE_FRAME_SIZE - STATE_CHECKED_FROM + state_padded(length));
}

/* a record of the list, which has been checked or written here */
static void state_record_at(const struct state_list *list, uint32_t number, struct decant_state_record *record)
{
	const uint8_t *bytes = list->bytes + list->entries[number].offset;
	struct cursor cursor = cursor_reader("frame", bytes, STATE_FRAME_SIZE, NULL);
	struct state_frame frame;

	frame_fields(&cursor, &frame);
	assert(cursor.rc == 0);
	record->name = (const char *)bytes + STATE_FRAME_SIZE - DECANT_STATE_NAME_MAX;
	record->instance = frame.instance;
	record->version = frame.version;
	record->data = bytes + STATE_FRAME_SIZE;
	record->length = frame.length;
}

static int state_compare(const struct state_list *list, uint32_t number, const char *name, uint32_t instance)
{
	struct decant_state_record record;
	int order;

	state_record_at(list, number, &record);
	order = strcmp(record.name, name);
	if (order != 0)
		return order;
	return record.instance < instance ? -1 : record.instance > instance;
}

/* the place in list->sorted of the first record that is not before (@name, @instance); *@found: it is that record */
static uint32_t state_search(const struct state_list *list, const char *name, uint32_t instance, bool *found)
{
	uint32_t low = 0, high = list->count;

	*found = false;
	while (low < high) {
		const uint32_t middle = low + (high - low) / 2;
		const int order = state_compare(list, list->sorted[middle], name, instance);

		if (order == 0) {
			*found = true;
			return middle;
		}
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static int state_reserve_bytes(struct state_list *list, size_t length)
{
	size_t capacity = list->capacity > 0 ? list->capacity : STATE_FIRST_CAPACITY;
	uint8_t *bytes;

	while (capacity < length)
		capacity *= 2;
	if (capacity == list->capacity)
		return 0;
	bytes = realloc(list->bytes, capacity);
	if (bytes == NULL)
		return -ENOMEM;
	list->bytes = bytes;
	list->capacity = capacity;
	return 0;
}

static int state_reserve_entries(struct state_list *list, uint32_t count)
{
	uint32_t capacity = list->entries_capacity > 0 ? list->entries_capacity : STATE_FIRST_RECORDS;
	struct state_entry *entries;
	uint32_t *sorted;

	while (capacity < count)
		capacity *= 2;
	if (capacity == list->entries_capacity)
		return 0;
	entries = realloc(list->entries, capacity * sizeof(*entries));
	if (entries == NULL)
		return -ENOMEM;
	list->entries = entries;
	sorted = realloc(list->sorted, capacity * sizeof(*sorted));
	if (sorted == NULL)
		return -ENOMEM;
	list->sorted = sorted;
	list->entries_capacity = capacity;
	return 0;
}

static void state_list_free(struct state_list *list)
{
	free(list->bytes);
	free(list->entries);
	free(list->sorted);
}

int decant_state_writer_new(struct decant_state_writer **writer, struct decant_error *err)
{
	struct decant_state_writer *made = calloc(1, sizeof(*made));

	if (made == NULL)
		goto err_none;
	if (state_reserve_bytes(&made->list, 0) < 0 || state_reserve_entries(&made->list, 0) < 0)
		goto err_free;
	*writer = made;
	return 0;

err_free:
	decant_state_writer_free(made);
err_none:
	return decant_error_set(err, -ENOMEM, "state writer: out of memory");
}

static bool state_name_valid(const char *name, size_t length)
{
	for (size_t i = 0; i < length; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return length > 0 && length < DECANT_STATE_NAME_MAX;
}

/* what speaks against a record of that name and length in the list */
static int state_put_check(const struct state_list *list, const char *name, uint32_t version, size_t length,
			   struct decant_error *err)
{
	if (!state_name_valid(name, strnlen(name, DECANT_STATE_NAME_MAX)))
		return decant_error_set(err, -EINVAL,
					"state record \"%.40s\": a name has 1 to %d visible characters", name,
					DECANT_STATE_NAME_MAX - 1);
	if (version == 0)
		return decant_error_set(err, -EINVAL, "state record %s: versions count from 1", name);
	if (length > DECANT_STATE_RECORD_MAX)
		return decant_error_set(err, -EMSGSIZE, "state record %s: %zu bytes; one may have %u", name,
					length, DECANT_STATE_RECORD_MAX);
	if (list->length + STATE_FRAME_SIZE + state_padded(length) > DECANT_STATE_TOTAL_MAX)
		return decant_error_set(err, -EMSGSIZE, "state record %s: all records together may have %u bytes",
					name, DECANT_STATE_TOTAL_MAX);
	if (list->count >= STATE_RECORDS_MAX)
		return decant_error_set(err, -EMSGSIZE, "state record %s: there may be %u records", name,
					STATE_RECORDS_MAX);
	return 0;
}

/* writes frame, data and padding at the list's end; there is room */
static void state_append(struct state_list *list, struct state_frame *frame, const void *data)
{
	uint8_t *record = list->bytes + list->length;
	const size_t padded = state_padded(frame->length);
	struct cursor cursor = cursor_writer("frame", record, STATE_FRAME_SIZE);

	frame_fields(&cursor, frame);
	assert(cursor_write_end(&cursor) == STATE_FRAME_SIZE);
	if (frame->length > 0)
		memcpy(record + STATE_FRAME_SIZE, data, frame->length);
	memset(record + STATE_FRAME_SIZE + frame->length, 0, padded - frame->length);
	frame->checksum = state_checksum(record, frame->length);
	cursor = cursor_writer("frame", record, STATE_FRAME_SIZE);
	frame_fields(&cursor, frame);
	list->length += STATE_FRAME_SIZE + padded;
}

int decant_state_put(struct decant_state_writer *writer, const char *name, uint32_t instance, uint32_t version,
		     const void *data, size_t length, struct decant_error *err)
{
	struct state_list *list = &writer->list;
	struct state_frame frame = { .length = (uint32_t)length, .instance = instance, .version = version };
	uint32_t place;
	bool found;
	int rc;

	rc = state_put_check(list, name, version, length, err);
	if (rc < 0)
		return rc;
	place = state_search(list, name, instance, &found);
	if (found)
		return decant_error_set(err, -EINVAL, "state record %s %u: it is there already", name, instance);
	if (state_reserve_bytes(list, list->length + STATE_FRAME_SIZE + state_padded(length)) < 0 ||
	    state_reserve_entries(list, list->count + 1) < 0)
		return decant_error_set(err, -ENOMEM, "state record %s %u: out of memory", name, instance);
	list->entries[list->count] = (struct state_entry){ .offset = (uint32_t)list->length };
	memmove(&list->sorted[place + 1], &list->sorted[place], (list->count - place) * sizeof(*list->sorted));
	list->sorted[place] = list->count;
	list->count++;
	memcpy(frame.name, name, strlen(name));
	state_append(list, &frame, data);
	return 0;
}

const void *decant_state_writer_bytes(const struct decant_state_writer *writer, size_t *length)
{
	*length = writer->list.length;
	return writer->list.bytes;
}

int decant_state_writer_reserve(struct decant_state_writer *writer, size_t length, uint32_t records,
				struct decant_error *err)
{
	struct state_list *list = &writer->list;

	if (state_reserve_bytes(list, length) < 0 || state_reserve_entries(list, records) < 0)
		return decant_error_set(err, -ENOMEM, "state writer: no memory for %zu bytes", length);
	memset(list->bytes + list->length, 0, list->capacity - list->length);
	return 0;
}

void decant_state_writer_reset(struct decant_state_writer *writer)
{
	writer->list.length = 0;
	writer->list.count = 0;
}

void decant_state_writer_free(struct decant_state_writer *writer)
{
	if (writer == NULL)
		return;
	state_list_free(&writer->list);
	free(writer);
}

/* checks the record at *@offset and moves on behind it */
static int state_check_record(const struct state_list *list, size_t *offset, struct decant_error *err)
{
	const uint8_t *record = list->bytes + *offset;
	const size_t left = list->length - *offset;
	struct cursor cursor = cursor_reader("frame", record, left, err);
	struct state_frame frame;
	size_t size;

	frame_fields(&cursor, &frame);
	if (cursor.rc < 0)
		return cursor.rc;
	size = STATE_FRAME_SIZE + state_padded(frame.length);
	if (size > left)
		return decant_error_set(err, -EPROTO, "%s %u: %u bytes, of which %zu are there", frame.name,
					frame.instance, frame.length, left - STATE_FRAME_SIZE);
	if (!state_name_valid(frame.name, strlen(frame.name)))
		return decant_error_set(err, -EPROTO, "%s %u: no name for a record", frame.name, frame.instance);
	for (size_t i = STATE_FRAME_SIZE + frame.length; i < size; i++)
		if (record[i] != 0)
			return decant_error_set(err, -EPROTO, "%s %u: padding is not 0", frame.name,
						frame.instance);
	if (state_checksum(record, frame.length) != frame.checksum)
		return decant_error_set(err, -EPROTO, "%s %u: wrong checksum", frame.name, frame.instance);
	*offset += size;
	return 0;
}

static int state_compare_sorted(const void *a, const void *b, void *opaque)
{
	const struct state_list *list = opaque;
	struct decant_state_record record;

	state_record_at(list, *(const uint32_t *)b, &record);
	return state_compare(list, *(const uint32_t *)a, record.name, record.instance);
}

static int state_check_duplicates(const struct state_list *list, struct decant_error *err)
{
	struct decant_state_record record;

	for (uint32_t i = 1; i < list->count; i++) {
		state_record_at(list, list->sorted[i], &record);
		if (state_compare(list, list->sorted[i - 1], record.name, record.instance) == 0)
			return decant_error_set(err, -EPROTO, "state record %s %u: it is there twice", record.name,
						record.instance);
	}
	return 0;
}

static int state_scan(struct state_list *list, struct decant_error *err)
{
	size_t offset = 0;
	int rc;

	while (offset < list->length) {
		const uint32_t start = (uint32_t)offset;

		if (list->count >= STATE_RECORDS_MAX)
			return decant_error_set(err, -EPROTO, "state: more than %u records", STATE_RECORDS_MAX);
		rc = state_check_record(list, &offset, err);
		if (rc < 0) {
			decant_error_prefix(err, "state record %u", list->count);
			return rc;
		}
		if (state_reserve_entries(list, list->count + 1) < 0)
			return decant_error_set(err, -ENOMEM, "state: out of memory");
		list->entries[list->count] = (struct state_entry){ .offset = start };
		list->sorted[list->count] = list->count;
		list->count++;
	}
	if (list->count > 0)
		qsort_r(list->sorted, list->count, sizeof(*list->sorted), state_compare_sorted, list);
	return state_check_duplicates(list, err);
}

int decant_state_reader_new(const void *bytes, size_t length, struct decant_state_reader **reader,
			    struct decant_error *err)
{
	struct decant_state_reader *made = calloc(1, sizeof(*made));
	int rc;

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "state: out of memory");
	rc = decant_state_reader_reset(made, bytes, length, err);
	if (rc < 0) {
		decant_state_reader_free(made);
		return rc;
	}
	*reader = made;
	return 0;
}

/*
 * The first time exactly as long as the list, so that a tool which watches bounds sees its true end. One that is used again gets room
 * to spare: the next list will be of the same VM, and hardly longer.
 */
static int state_take_bytes(struct state_list *list, const void *bytes, size_t length, struct decant_error *err)
{
	if (list->bytes == NULL || list->capacity < length) {
		list->capacity = list->bytes == NULL ? length : length + length / 2;
		free(list->bytes);
		list->bytes = malloc(list->capacity > 0 ? list->capacity : 1);
		if (list->bytes == NULL) {
			list->capacity = 0;
			return decant_error_set(err, -ENOMEM, "state: out of memory for %zu bytes", length);
		}
	}
	if (length > 0)
		memcpy(list->bytes, bytes, length);
	list->length = length;
	return 0;
}

int decant_state_reader_reset(struct decant_state_reader *reader, const void *bytes, size_t length,
			      struct decant_error *err)
{
	int rc;

	reader->list.length = 0;
	reader->list.count = 0;
	reader->next = 0;
	if (length > DECANT_STATE_TOTAL_MAX)
		return decant_error_set(err, -EPROTO, "state: %zu bytes; all records together may have %u", length,
					DECANT_STATE_TOTAL_MAX);
	rc = state_take_bytes(&reader->list, bytes, length, err);
	if (rc == 0)
		rc = state_scan(&reader->list, err);
	if (rc < 0)
		reader->list.count = 0;
	return rc;
}

int decant_state_next(struct decant_state_reader *reader, struct decant_state_record *record)
{
	if (reader->next >= reader->list.count)
		return 0;
	state_record_at(&reader->list, reader->next++, record);
	return 1;
}

int decant_state_get(struct decant_state_reader *reader, const char *name, uint32_t instance, uint32_t max_version,
		     struct decant_state_record *record, struct decant_error *err)
{
	struct decant_state_record found_record;
	uint32_t place, number;
	bool found;

	place = state_search(&reader->list, name, instance, &found);
	if (!found)
		return decant_error_set(err, -ENOENT, "state record %s %u: it is missing", name, instance);
	number = reader->list.sorted[place];
	state_record_at(&reader->list, number, &found_record);
	if (found_record.version > max_version)
		return decant_error_set(
			err, -EPROTO,
			"state record %s %u: version %u; this build knows up to %u: update the destination", name,
			instance, found_record.version, max_version);
	reader->list.entries[number].used = 1;
	*record = found_record;
	return 0;
}

int decant_state_unused(struct decant_state_reader *reader, struct decant_state_record *record)
{
	for (uint32_t i = 0; i < reader->list.count; i++) {
		if (reader->list.entries[i].used)
			continue;
		state_record_at(&reader->list, i, record);
		return 1;
	}
	return 0;
}

void decant_state_reader_free(struct decant_state_reader *reader)
{
	if (reader == NULL)
		return;
	state_list_free(&reader->list);
	free(reader);
}

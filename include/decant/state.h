/* SPDX-License-Identifier: BSD-2-Clause */
/* decant/state.h -- device and CPU state as a list of framed, versioned, checked records */
#ifndef DECANT_STATE_H
#define DECANT_STATE_H

#include <decant/error.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define DECANT_STATE_NAME_MAX 32           /* with its terminator */
#define DECANT_STATE_RECORD_MAX (1u << 20) /* bytes of one record's data */
#define DECANT_STATE_TOTAL_MAX (64u << 20) /* bytes of all records of one VM */

/*
 * One record. @name says what it is ("kvm.vcpu.regs"), @instance of which ("vCPU 1"), @version how @data is laid out.
 * On the wire each record carries its length and a checksum over its header and data (docs/protocol.md).
 */
struct decant_state_record {
	const char *name;
	uint32_t instance;
	uint32_t version;
	const void *data; /* 8-byte aligned */
	size_t length;
};

struct decant_state_writer;
struct decant_state_reader;

/* decant_state_writer_new() -- an empty list. Returns 0 or -ENOMEM. */
int decant_state_writer_new(struct decant_state_writer **writer, struct decant_error *err);

/*
 * decant_state_put() -- append a record; copies the data
 *
 * Returns 0, -EINVAL (name too long or empty, name and instance there already), -EMSGSIZE (limits above), -ENOMEM.
 */
int decant_state_put(struct decant_state_writer *writer, const char *name, uint32_t instance, uint32_t version,
		     const void *data, size_t length, struct decant_error *err);

/* decant_state_writer_bytes() -- the encoded list, owned by the writer, valid until the next call on it */
const void *decant_state_writer_bytes(const struct decant_state_writer *writer, size_t *length);

/* decant_state_writer_reset() -- empty again, buffers kept, so that a save inside the pause allocates nothing */
void decant_state_writer_reset(struct decant_state_writer *writer);

/* decant_state_writer_reserve() -- room for @length encoded bytes in @records records is made, and touched, now. 0 or -ENOMEM. */
int decant_state_writer_reserve(struct decant_state_writer *writer, size_t length, uint32_t records,
				struct decant_error *err);

void decant_state_writer_free(struct decant_state_writer *writer);

/*
 * decant_state_reader_new() -- check an encoded list, whole, and open it for reading
 *
 * @bytes are the peer's, so anything may be wrong with them; they are copied. Every frame, length, name, duplicate and
 * checksum is checked here.
 * Returns 0, -EPROTO (with the record and what is wrong with it), -ENOMEM.
 */
int decant_state_reader_new(const void *bytes, size_t length, struct decant_state_reader **reader,
			    struct decant_error *err);

/*
 * decant_state_reader_reset() -- another list instead, in the buffers that are there if they are large enough
 *
 * So that a load inside the pause allocates nothing. Returns as decant_state_reader_new(); after an error the list is empty.
 */
int decant_state_reader_reset(struct decant_state_reader *reader, const void *bytes, size_t length,
			      struct decant_error *err);

/* decant_state_next() -- the next record in order into *@record, owned by the reader; 1, or 0 at the end */
int decant_state_next(struct decant_state_reader *reader, struct decant_state_record *record);

/*
 * decant_state_get() -- the record @name of @instance, which must have version 1 to @max_version
 *
 * Marks it as used, so that decant_state_unused() can tell what nobody read.
 * Returns 0, -ENOENT (not there), -EPROTO (a version this build does not know).
 */
int decant_state_get(struct decant_state_reader *reader, const char *name, uint32_t instance, uint32_t max_version,
		     struct decant_state_record *record, struct decant_error *err);

/*
 * decant_state_unused() -- the first record that no decant_state_get() has taken, into *@record; 1, or 0 if none
 *
 * A destination that ignores a record would lose state, so it refuses.
 */
int decant_state_unused(struct decant_state_reader *reader, struct decant_state_record *record);

void decant_state_reader_free(struct decant_state_reader *reader);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_state.c -- a list of state records from a stranger
 *
 * No mutation of a list gets by the checksums, so the target reads its input twice: as it is, and with the checksum of
 * each record put right. What the reader takes is written again and must give the very same bytes.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <decant/state.h>

#include "fuzz/state_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_rewrite(struct decant_state_reader *reader, const uint8_t *bytes, size_t length)
{
	struct decant_state_record record, found;
	struct decant_state_writer *writer;
	const void *written;
	size_t written_length;

	if (decant_state_writer_new(&writer, NULL) < 0)
		return;
	while (decant_state_next(reader, &record)) {
		assert((uintptr_t)record.data % 8 == 0);
		assert(decant_state_get(reader, record.name, record.instance, UINT32_MAX, &found, NULL) == 0);
		assert(found.data == record.data && found.length == record.length);
		assert(decant_state_put(writer, record.name, record.instance, record.version, record.data,
					record.length, NULL) == 0);
	}
	assert(decant_state_unused(reader, &record) == 0);
	written = decant_state_writer_bytes(writer, &written_length);
	assert(written_length == length && (length == 0 || memcmp(written, bytes, length) == 0));
	decant_state_writer_free(writer);
}

static void fuzz_read(const uint8_t *bytes, size_t length)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct decant_state_reader *reader;

	if (decant_state_reader_new(bytes, length, &reader, &err) < 0) {
		assert(err.code < 0 && err.msg[0] != '\0');
		return;
	}
	fuzz_rewrite(reader, bytes, length);
	decant_state_reader_free(reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size > 0 ? size : 1);

	if (bytes == NULL)
		return 0;
	if (size > 0)
		memcpy(bytes, data, size);
	fuzz_read(bytes, size);
	state_list_mend(bytes, size);
	fuzz_read(bytes, size);
	free(bytes);
	return 0;
}

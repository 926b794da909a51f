/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seed.c -- writes the seeds of the fuzz targets: seed WIRE_FOLDER STATE_FOLDER
 *
 * Run `make fuzz-seeds` after a change of the protocol, and commit what it has changed in tests/fuzz/corpus.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <decant/state.h>

#include "support/wire_any.h"

/* larger ones teach the fuzzer nothing and slow it down */
#define SEED_MAX 8192

static int seed_write(const char *folder, const char *name, const void *bytes, size_t length)
{
	char path[512];
	FILE *file;
	int rc = -1;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "wb");
	if (file == NULL) {
		perror(path);
		return -1;
	}
	if (fwrite(bytes, 1, length, file) == length)
		rc = 0;
	if (fclose(file) != 0 || rc < 0) {
		perror(path);
		return -1;
	}
	return 0;
}

static int seed_message(const char *folder, uint16_t type, enum wire_sample sample)
{
	static uint8_t bytes[WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX];
	static union wire_any message;
	struct wire_header header = { .type = type, .sequence = sample };
	char name[64];
	int length;

	wire_any_sample(type, sample, &message);
	length = wire_any_payload(type, &message, bytes + WIRE_HEADER_SIZE, WIRE_PAYLOAD_MAX);
	if (length < 0)
		return -1;
	if (length > SEED_MAX)
		return 0;
	header.length = (uint32_t)length;
	if (wire_header_encode(&header, bytes, WIRE_HEADER_SIZE) < 0)
		return -1;
	snprintf(name, sizeof(name), "%s-%d", wire_strtype(type), sample);
	return seed_write(folder, name, bytes, WIRE_HEADER_SIZE + (size_t)length);
}

static int seed_messages(const char *folder)
{
	for (unsigned int type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++)
		for (enum wire_sample sample = WIRE_SAMPLE_LEAST; sample < WIRE_SAMPLES; sample++)
			if (seed_message(folder, type, sample) < 0)
				return -1;
	return 0;
}

/* lists of @records records, whose lengths grow from 0 */
static int seed_state(const char *folder, uint32_t records)
{
	static const char *const names[] = { "kvm.vcpu.regs", "kvm.vcpu.sregs", "serial" };
	struct decant_state_writer *writer;
	uint8_t data[64];
	const void *bytes;
	char name[32];
	size_t length;
	int rc = 0;

	memset(data, 0x5a, sizeof(data));
	if (decant_state_writer_new(&writer, NULL) < 0)
		return -1;
	for (uint32_t i = 0; rc == 0 && i < records; i++)
		rc = decant_state_put(writer, names[i % 3], i / 3, 1 + i % 2, data, i * 5 % sizeof(data), NULL);
	bytes = decant_state_writer_bytes(writer, &length);
	snprintf(name, sizeof(name), "records-%u", records);
	if (rc == 0)
		rc = seed_write(folder, name, bytes, length);
	decant_state_writer_free(writer);
	return rc;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: seed WIRE_FOLDER STATE_FOLDER\n");
		return 2;
	}
	if (seed_messages(argv[1]) < 0)
		return 1;
	for (uint32_t records = 0; records < 12; records += 1 + records / 2)
		if (seed_state(argv[2], records) < 0)
			return 1;
	return 0;
}

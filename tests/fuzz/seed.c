/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * seed.c -- writes the seeds of the fuzz targets: seed CORPUS_FOLDER, which has a folder for each
 *
 * Run `make fuzz-seeds` after a change of the protocol, and commit what it has changed in tests/fuzz/corpus.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <decant/state.h>

#include "fabric/rdma/hello.h"
#include "fuzz/seed.h"
#include "support/wire_any.h"

/* larger ones teach the fuzzer nothing and slow it down */
#define SEED_MAX 8192

static const char *corpus;

int seed_write(const char *target, const char *name, const void *bytes, size_t length)
{
	char path[512];
	FILE *file;
	int rc = -1;

	snprintf(path, sizeof(path), "%s/%s/%s", corpus, target, name);
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

static int seed_message(uint16_t type, enum wire_sample sample)
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
	return seed_write("fuzz_wire", name, bytes, WIRE_HEADER_SIZE + (size_t)length);
}

static int seed_messages(void)
{
	for (unsigned int type = WIRE_HELLO; type <= WIRE_TYPE_MAX; type++)
		for (enum wire_sample sample = WIRE_SAMPLE_LEAST; sample < WIRE_SAMPLES; sample++)
			if (seed_message(type, sample) < 0)
				return -1;
	return 0;
}

/* lists of @records records, whose lengths grow from 0 */
static int seed_state(uint32_t records)
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
		rc = seed_write("fuzz_state", name, bytes, length);
	decant_state_writer_free(writer);
	return rc;
}

static int seed_states(void)
{
	for (uint32_t records = 0; records < 12; records += 1 + records / 2)
		if (seed_state(records) < 0)
			return -1;
	return 0;
}

/* Those of TCP's frames were made by hand. */
static int seed_private_data(void)
{
	const struct hello hello = { .channel = 3, .epoch = 2, .token = "0123456789abcde" };
	const struct welcome welcome = { .credits = 16, .answer = "edcba9876543210" };
	const struct refused refused = { .why = REFUSAL_FAILED, .code = 12, .text = "queue pair: no memory" };
	uint8_t bytes[REFUSAL_SIZE];
	int rc;

	hello_encode(&hello, bytes);
	rc = seed_write("fuzz_frame", "rdma_hello", bytes, HELLO_SIZE);
	welcome_encode(&welcome, bytes);
	rc = rc < 0 ? rc : seed_write("fuzz_frame", "rdma_welcome", bytes, WELCOME_SIZE);
	refusal_encode(&refused, bytes);
	return rc < 0 ? rc : seed_write("fuzz_frame", "rdma_refusal", bytes, REFUSAL_SIZE);
}

/* The first byte says how many pieces, and how many descriptors go with the first. */
static int seed_requests(void)
{
	static const struct {
		const char *name, *text;
	} seeds[] = {
		{ "status", "\x3f{\"verb\":\"status\"}\n" },
		{ "pause", "\x3f{\"verb\":\"pause\"}\n{\"verb\":\"resume\",\"force\":true}\n" },
		{ "cancel", "\x01{\"verb\":\"cancel\"}\n{\"verb\":\"stop\"}\n" },
		{ "migrate",
		  "\x7f{\"verb\":\"migrate\",\"peer\":\"127.0.0.1:7000\",\"fabric\":\"tcp\",\"channels\":4}\n" },
		{ "migrate_all",
		  "\xbf{\"verb\":\"migrate\",\"peer\":\"h:1\",\"fabric\":\"rdma\",\"rails\":\"mlx5_0\",\"channels\":16,"
		  "\"max_downtime_ns\":300000000,\"timeout_ns\":1,\"switchover_timeout_ns\":2,\"bandwidth_Bps\":3,"
		  "\"verify\":true}\n" },
		{ "none", "\x3f\n" },
		{ "array", "\x3f[[[[[[[[[]]]]]]]]]\n" },
		{ "types", "\x3f{\"verb\":1,\"force\":\"x\",\"channels\":-1e999}\n" },
		{ "cut", "\x02{\"verb\":\"sta" },
	};

	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		if (seed_write("fuzz_control", seeds[i].name, seeds[i].text, strlen(seeds[i].text)) < 0)
			return -1;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: seed CORPUS_FOLDER\n");
		return 2;
	}
	corpus = argv[1];
	if (seed_messages() < 0 || seed_states() < 0 || seed_private_data() < 0 || seed_requests() < 0 ||
	    seed_kvm() < 0 || seed_sessions() < 0 || seed_qemu() < 0)
		return 1;
	return 0;
}

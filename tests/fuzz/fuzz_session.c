/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * fuzz_session.c -- all that a source says in one session, to a whole receiver with a VM behind it
 *
 * The input is a list of steps: a byte that says what, two bytes of length, the bytes. A step below STEP_RAW is a control message of that
 * type, whose header is made here, with the right sequence number; the checksums of records are put right. Others go to the data
 * channels, by the port and the tokens that OPENED has brought. Where an answer is due it is waited for, a little. Whatever is said: a VM
 * runs only if GO was, one that does not run is thrown away, and no descriptor stays open.
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <decant/migration.h>

#include "fabric/tcp/frame.h"
#include "fuzz/state_list.h"
#include "util/address.h"
#include "util/clock.h"
#include "util/io.h"
#include "wire/wire.h"

#define STEP_RAW 0x40     /* to the control connection, as it is */
#define STEP_CHANNEL 0x41 /* a data channel with the right hello; the first byte says which */
#define STEP_DATA 0x42    /* to the last data channel */
#define STEP_KNOCK 0x43   /* a connection to the data channels' port that says these bytes */
#define CHANNELS_MAX 8u
#define MAX_MEMORY (8u << 20)
#define ANSWER_NS (30 * NSEC_PER_MSEC)
#define LATE_NS (20 * NSEC_PER_SEC)
#define CHUNK_HEAD 16u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A VM of memory and two records, of which the loader cares for the length of one. */
struct vm {
	bool exists, running;
};

struct session {
	struct vm vm;
	struct decant_receiver *receiver;
	pthread_t thread;
	struct decant_memory *memory;
	int rc; /* of decant_receiver_run() */

	int control;
	uint32_t sent;
	bool over;
	bool said_go;
	struct wire_opened opened;
	int channel[CHANNELS_MAX];
	uint32_t channels;
};

static int vm_create(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		     uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct decant_state_record record;
	struct vm *vm = opaque;
	int rc = decant_state_get(shape, "fuzz.shape", 0, 1, &record, err);

	assert(!vm->exists && !vm->running);
	for (uint32_t i = 0; rc >= 0 && i < count; i++)
		rc = decant_memory_allocate(memory, &regions[i], err);
	vm->exists = rc >= 0;
	return rc < 0 ? rc : 0;
}

static int vm_state_save(void *opaque, struct decant_state_writer *state, struct decant_error *err)
{
	(void)opaque;
	return decant_state_put(state, "fuzz.state", 0, 1, "as it is", 8, err);
}

static int vm_state_load(void *opaque, struct decant_state_reader *state, struct decant_error *err)
{
	const struct vm *vm = opaque;
	struct decant_state_record record;
	int rc = decant_state_get(state, "fuzz.state", 0, 1, &record, err);

	assert(vm->exists && !vm->running);
	return rc < 0 || record.length == 8 ? rc : decant_error_set(err, -EPROTO, "%zu bytes", record.length);
}

static int vm_start(void *opaque, const struct decant_handover *handover, uint64_t *entered_ns,
		    struct decant_error *err)
{
	struct vm *vm = opaque;

	(void)handover;
	(void)err;
	assert(vm->exists && !vm->running);
	vm->running = true;
	*entered_ns = clock_now_ns();
	return 0;
}

static void vm_discard(void *opaque)
{
	struct vm *vm = opaque;

	assert(vm->exists && !vm->running);
	vm->exists = false;
}

static int vm_verdict(void *opaque, struct decant_verdict *verdict, struct decant_error *err)
{
	const struct vm *vm = opaque;

	(void)err;
	assert(vm->running);
	verdict->status = DECANT_VERDICT_OK;
	return 0;
}

static const struct decant_vmm_ops vm_ops = {
	.size = sizeof(vm_ops),
	.create = vm_create,
	.state_save = vm_state_save,
	.state_load = vm_state_load,
	.start = vm_start,
	.discard = vm_discard,
	.verdict = vm_verdict,
};

static void *run_main(void *opaque)
{
	struct session *session = opaque;

	session->rc = decant_receiver_run(session->receiver, &session->memory, NULL);
	return NULL;
}

static int connect_to(uint16_t port)
{
	struct address address = { .host = "127.0.0.1", .port = port };

	return address_connect(&address, clock_deadline_ns(LATE_NS), -1, NULL);
}

static void begin(struct session *session)
{
	struct decant_receiver_opts opts = DECANT_RECEIVER_OPTS_INIT;
	int rc;

	memset(session, 0, sizeof(*session));
	opts.listen = "127.0.0.1:0";
	opts.max_memory = MAX_MEMORY;
	opts.lease_ns = opts.peer_timeout_ns = 200 * NSEC_PER_MSEC;
	opts.populate_threads = 1;
	rc = decant_receiver_new(&opts, &vm_ops, &session->vm, &session->receiver, NULL);
	assert(rc == 0);
	rc = pthread_create(&session->thread, NULL, run_main, session);
	assert(rc == 0);
	session->control = connect_to(decant_receiver_port(session->receiver));
	assert(session->control >= 0);
}

static void say(struct session *session, int fd, const void *bytes, size_t length)
{
	struct iovec iov = { .iov_base = (void *)bytes, .iov_len = length };

	if (io_send_full(fd, &iov, 1, clock_deadline_ns(LATE_NS), -1) < 0 && fd == session->control)
		session->over = true;
}

/* The answer that is due, or whatever ends the session, or enough of waiting. */
static void await(struct session *session, uint16_t type)
{
	static uint8_t payload[WIRE_PAYLOAD_MAX];
	const uint64_t enough = clock_deadline_ns(ANSWER_NS);
	uint8_t head[WIRE_HEADER_SIZE];
	struct wire_header header;
	int rc;

	while (!session->over && io_wait(session->control, POLLIN, enough, -1) == 0) {
		rc = io_recv_full(session->control, head, sizeof(head), clock_deadline_ns(LATE_NS), -1);
		if (rc == 0)
			rc = wire_header_decode(&header, head, NULL);
		if (rc == 0)
			rc = io_recv_full(session->control, payload, header.length, clock_deadline_ns(LATE_NS),
					  -1);
		session->over = rc < 0 || header.type == WIRE_ERROR;
		if (rc == 0 && header.type == WIRE_OPENED)
			rc = wire_opened_decode(&session->opened, payload, header.length, NULL);
		assert(rc == 0 || session->over);
		if (rc == 0 && header.type == type)
			return;
	}
}

static uint16_t answer_of(uint16_t type)
{
	switch (type) {
	case WIRE_HELLO:
		return WIRE_WELCOME;
	case WIRE_SHAPE:
		return WIRE_PREPARED;
	case WIRE_OPEN:
		return WIRE_OPENED;
	case WIRE_REGISTER:
		return WIRE_GRANT;
	case WIRE_FENCE:
		return WIRE_FENCED;
	case WIRE_VERIFY:
		return WIRE_VERIFIED;
	case WIRE_HANDOVER:
		return WIRE_READY;
	case WIRE_GO:
		return WIRE_RUNNING;
	case WIRE_VERDICT_ASK:
		return WIRE_VERDICT;
	default:
		return 0;
	}
}

static void say_message(struct session *session, uint16_t type, uint8_t *payload, uint32_t length)
{
	const struct wire_header header = { .type = type, .length = length, .sequence = session->sent++ };
	uint8_t bytes[WIRE_HEADER_SIZE];

	if ((type == WIRE_SHAPE || type == WIRE_STATE) && length > CHUNK_HEAD)
		state_list_mend(payload + CHUNK_HEAD, length - CHUNK_HEAD);
	if (wire_header_encode(&header, bytes, sizeof(bytes)) < 0)
		return;
	session->said_go |= type == WIRE_GO;
	say(session, session->control, bytes, sizeof(bytes));
	say(session, session->control, payload, length);
	if (answer_of(type) != 0)
		await(session, answer_of(type));
}

static void open_channel(struct session *session, const uint8_t *hello, size_t length)
{
	uint16_t port;
	int fd;

	if (session->opened.address_length != 4 || session->channels == CHANNELS_MAX)
		return;
	port = (uint16_t)(session->opened.address[2] | session->opened.address[3] << 8);
	fd = connect_to(port);
	if (fd < 0)
		return; /* they all stand, and the door is shut */
	session->channel[session->channels++] = fd;
	say(session, fd, hello, length);
}

static void open_right_channel(struct session *session, uint8_t which)
{
	const struct frame_head head = { .type = FRAME_HELLO, .value = FRAME_HELLO_SIZE };
	struct frame_hello hello = { .version = FRAME_VERSION, .epoch = session->opened.epoch };
	uint8_t bytes[FRAME_HEAD_SIZE + FRAME_HELLO_SIZE];

	if (session->opened.channels == 0)
		return;
	hello.channel = (uint16_t)(which % session->opened.channels);
	memcpy(hello.token, session->opened.tokens[hello.channel], sizeof(hello.token));
	frame_head_encode(&head, bytes);
	frame_hello_encode(&hello, bytes + FRAME_HEAD_SIZE);
	open_channel(session, bytes, sizeof(bytes));
}

static void step(struct session *session, uint8_t what, uint8_t *bytes, uint16_t length)
{
	if (what == STEP_CHANNEL)
		open_right_channel(session, length > 0 ? bytes[0] : 0);
	else if (what == STEP_KNOCK)
		open_channel(session, bytes, length);
	else if (what == STEP_DATA && session->channels > 0)
		say(session, session->channel[session->channels - 1], bytes, length);
	else if (what == STEP_RAW)
		say(session, session->control, bytes, length);
	else if (what < STEP_RAW)
		say_message(session, what, bytes, length);
}

static void end(struct session *session)
{
	for (uint32_t i = 0; i < session->channels; i++)
		close(session->channel[i]);
	close(session->control);
	decant_receiver_stop(session->receiver);
	pthread_join(session->thread, NULL);
	assert(session->rc != 0 || session->said_go);
	assert(session->vm.exists == (session->rc == 0) && session->vm.running == (session->rc == 0));
	decant_receiver_free(session->receiver);
	decant_memory_free(session->memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct session session;
	uint8_t bytes[UINT16_MAX];
	int before, after;

	signal(SIGPIPE, SIG_IGN);
	before = dup(0);
	close(before);
	begin(&session);
	while (size >= 3 && !session.over) {
		const uint16_t wanted = (uint16_t)(data[1] | data[2] << 8);
		const uint16_t length = wanted <= size - 3 ? wanted : (uint16_t)(size - 3);

		memcpy(bytes, data + 3, length);
		step(&session, data[0], bytes, length);
		data += 3 + length;
		size -= 3 + (size_t)length;
	}
	end(&session);
	after = dup(0);
	close(after);
	assert(before == after);
	return 0;
}

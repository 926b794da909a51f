/* SPDX-License-Identifier: BSD-2-Clause */
/* relay.c -- the network between a source and a destination, for tests that break it */
#include "support/relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fabric/tcp/frame.h"
#include "fabric/tcp/tcp.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "util/io.h"
#include "wire/wire.h"

#define WIRES_MAX 128
#define MESSAGE_MAX (WIRE_HEADER_SIZE + WIRE_PAYLOAD_MAX)
#define FRAME_MAX (FRAME_HEAD_SIZE + FRAME_RUNS_MAX * FRAME_RUN_SIZE + FRAME_BYTES_MAX)
#define RECORD_MAX (8u << 20)
#define ANSWER_NS (30 * NSEC_PER_SEC)

/* One direction of one connection. */
struct wire {
	struct relay *relay;
	pthread_t thread;
	int from, to;
	enum relay_way way;
	bool data;
	bool first; /* what the source says on its first connection: recorded */
};

/* A message, or a piece of a stream whose messages nobody asks for. */
struct parcel {
	uint16_t type; /* 0: a piece */
	uint8_t *bytes;
	size_t length;
};

struct relay {
	/* set at creation, read-only after */
	uint16_t target;
	int listener[2]; /* control, data */
	uint16_t port[2];
	int quit_fd;
	pthread_t acceptor;
	bool carry_data;

	pthread_mutex_t lock;
	pthread_cond_t changed;

	/* protected by lock */
	uint16_t data_target;
	struct relay_rule rule;
	unsigned rules; /* set so far: a rule's number */
	bool armed, acted;
	bool held[RELAY_WAYS], held_data;
	bool quit;
	unsigned count[RELAY_WAYS][RELAY_TYPES];
	uint8_t *record;
	size_t recorded, first_message;
	struct wire wire[WIRES_MAX];
	unsigned wires;
};

static struct sockaddr_in loopback(uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};

	return address;
}

/* ---- taking in ---- */

static int take(const struct wire *wire, void *bytes, size_t length)
{
	return length == 0 ? 0 : io_recv_full(wire->from, bytes, length, CLOCK_NEVER, wire->relay->quit_fd);
}

static int take_message(const struct wire *wire, struct parcel *parcel)
{
	struct wire_header header;
	int rc = take(wire, parcel->bytes, WIRE_HEADER_SIZE);

	if (rc == 0)
		rc = wire_header_decode(&header, parcel->bytes, NULL);
	if (rc == 0)
		rc = take(wire, parcel->bytes + WIRE_HEADER_SIZE, header.length);
	if (rc < 0)
		return rc;
	parcel->type = header.type;
	parcel->length = WIRE_HEADER_SIZE + header.length;
	return 0;
}

static size_t frame_body(const struct frame_head *head)
{
	switch (head->type) {
	case FRAME_WRITES:
		return head->count * (size_t)FRAME_RUN_SIZE + head->value;
	case FRAME_HELLO:
	case FRAME_MESSAGE:
		return head->value;
	default:
		return 0;
	}
}

static int take_frame(const struct wire *wire, struct parcel *parcel)
{
	struct frame_head head;
	int rc = take(wire, parcel->bytes, FRAME_HEAD_SIZE);

	if (rc == 0)
		rc = frame_head_decode(&head, parcel->bytes, NULL);
	if (rc < 0)
		return rc;
	parcel->type = head.type == FRAME_WRITES ? RELAY_DATA : head.type == FRAME_BARRIER ? RELAY_MARKER : 0;
	parcel->length = FRAME_HEAD_SIZE + frame_body(&head);
	return take(wire, parcel->bytes + FRAME_HEAD_SIZE, frame_body(&head));
}

static int take_piece(const struct wire *wire, struct parcel *parcel)
{
	ssize_t n;
	int rc = io_wait(wire->from, POLLIN, CLOCK_NEVER, wire->relay->quit_fd);

	if (rc < 0)
		return rc;
	n = recv(wire->from, parcel->bytes, 4096, MSG_DONTWAIT);
	if (n <= 0)
		return -ECONNRESET;
	parcel->type = 0;
	parcel->length = (size_t)n;
	return 0;
}

static int take_parcel(const struct wire *wire, struct parcel *parcel)
{
	if (!wire->data)
		return take_message(wire, parcel);
	return wire->way == RELAY_FORTH ? take_frame(wire, parcel) : take_piece(wire, parcel);
}

/* The data channels are to come here: what OPENED says is changed. */
static void redirect(struct relay *relay, struct parcel *parcel)
{
	const uint8_t *payload = parcel->bytes + WIRE_HEADER_SIZE;
	struct fabric_address address;
	struct wire_opened opened;

	if (wire_opened_decode(&opened, payload, (uint32_t)(parcel->length - WIRE_HEADER_SIZE), NULL) < 0)
		return;
	memset(&address, 0, sizeof(address));
	address.length = opened.address_length;
	memcpy(address.bytes, opened.address, opened.address_length);
	DECANT_AUTO_UNLOCK(&relay->lock);
	if (tcp_address_decode(&address, &relay->data_target, NULL) < 0)
		return;
	tcp_address_encode(&address, relay->port[1]);
	memcpy(opened.address, address.bytes, opened.address_length);
	wire_opened_encode(&opened, parcel->bytes + WIRE_HEADER_SIZE, WIRE_PAYLOAD_MAX);
}

static void record(struct wire *wire, const struct parcel *parcel)
{
	struct relay *relay = wire->relay;

	DECANT_AUTO_UNLOCK(&relay->lock);
	if (!wire->first || relay->recorded + parcel->length > RECORD_MAX)
		return;
	memcpy(relay->record + relay->recorded, parcel->bytes, parcel->length);
	relay->recorded += parcel->length;
	if (relay->first_message == 0)
		relay->first_message = relay->recorded;
}

/* ---- what becomes of it ---- */

static void await_way(struct wire *wire, enum relay_way way)
{
	struct relay *relay = wire->relay;

	DECANT_AUTO_UNLOCK(&relay->lock);
	while ((relay->held[way] || (wire->data && relay->held_data)) && !relay->quit)
		pthread_cond_wait(&relay->changed, &relay->lock);
}

/* Is the rule for this one? Then it is used up. */
static bool match(struct wire *wire, const struct parcel *parcel, struct relay_rule *rule, unsigned *number)
{
	struct relay *relay = wire->relay;

	DECANT_AUTO_UNLOCK(&relay->lock);
	if (parcel->type == 0)
		return false;
	relay->count[wire->way][parcel->type]++;
	if (!relay->armed || relay->rule.type != parcel->type || relay->rule.way != wire->way)
		return false;
	if (relay->rule.skip > 0) {
		relay->rule.skip--;
		return false;
	}
	relay->armed = false;
	*rule = relay->rule;
	*number = relay->rules;
	return true;
}

/* Unless there is a new rule by now, which the old one's callback may have set. */
static void note_acted(struct relay *relay, unsigned number)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	relay->acted = relay->acted || relay->rules == number;
	pthread_cond_broadcast(&relay->changed);
}

static bool pass_on(struct wire *wire, const struct parcel *parcel, size_t length)
{
	struct iovec iov = { .iov_base = parcel->bytes, .iov_len = length };

	await_way(wire, wire->way);
	return io_send_full(wire->to, &iov, 1, CLOCK_NEVER, wire->relay->quit_fd) == 0;
}

static void reset(int fd)
{
	const struct linger discard = { .l_onoff = 1, .l_linger = 0 };
	const struct sockaddr nowhere = { .sa_family = AF_UNSPEC };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &discard, sizeof(discard));
	/* a connection that ends: TSan takes every connect() for the beginning of one, and whoever uses it meanwhile for a race */
	if (syscall(SYS_connect, fd, &nowhere, sizeof(nowhere)) < 0)
		shutdown(fd, SHUT_RDWR);
}

/* Carries @act out; false: this way is over. */
static bool carry_out(struct wire *wire, const struct parcel *parcel, enum relay_act act)
{
	switch (act) {
	case RELAY_PASS:
		return pass_on(wire, parcel, parcel->length);
	case RELAY_CUT_AFTER:
		pass_on(wire, parcel, parcel->length);
		/* fall through */
	case RELAY_CUT:
		shutdown(wire->from, SHUT_RDWR);
		shutdown(wire->to, SHUT_RDWR);
		return false;
	case RELAY_HALF:
		pass_on(wire, parcel, parcel->length / 2);
		/* fall through */
	case RELAY_RESET:
		reset(wire->from);
		reset(wire->to);
		return false;
	case RELAY_END_WAY:
		shutdown(wire->to, SHUT_WR);
		return false;
	case RELAY_END_OTHER:
		shutdown(wire->from, SHUT_WR);
		return pass_on(wire, parcel, parcel->length);
	}
	return false;
}

/* One parcel; false: this way is over, and the ends know. */
static bool pump(struct wire *wire, struct parcel *parcel)
{
	struct relay_rule rule;
	unsigned number;
	bool more;
	int rc = take_parcel(wire, parcel);

	if (rc < 0) {
		char byte;

		await_way(wire, wire->way);
		if (recv(wire->from, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0)
			shutdown(wire->to, SHUT_WR);
		else
			reset(wire->to);
		return false;
	}
	record(wire, parcel);
	if (wire->relay->carry_data && parcel->type == WIRE_OPENED)
		redirect(wire->relay, parcel);
	if (match(wire, parcel, &rule, &number)) {
		more = carry_out(wire, parcel, rule.act(rule.opaque));
		note_acted(wire->relay, number);
		return more;
	}
	more = pass_on(wire, parcel, parcel->length);
	if (!more) {
		await_way(wire, wire->way == RELAY_FORTH ? RELAY_BACK : RELAY_FORTH);
		reset(wire->from);
	}
	return more;
}

static void *wire_thread(void *opaque)
{
	struct wire *wire = opaque;
	struct parcel parcel = { .bytes = malloc(wire->data ? FRAME_MAX : MESSAGE_MAX) };

	while (parcel.bytes != NULL && pump(wire, &parcel))
		;
	free(parcel.bytes);
	return NULL;
}

/* ---- connections ---- */

static int connect_loopback(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	const int on = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		return fd;
	}
	if (fd >= 0)
		close(fd);
	return -1;
}

static void start_wire(struct relay *relay, const struct wire *wire)
{
	struct wire *slot = &relay->wire[relay->wires++];

	*slot = *wire;
	if (pthread_create(&slot->thread, NULL, wire_thread, slot) != 0)
		abort();
}

static void serve(struct relay *relay, int client, bool data)
{
	struct wire wire = { .relay = relay, .from = client, .data = data };
	const int on = 1;

	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	DECANT_AUTO_UNLOCK(&relay->lock);
	wire.to = connect_loopback(data ? relay->data_target : relay->target);
	if (wire.to < 0 || relay->wires + 2 > WIRES_MAX) {
		if (wire.to >= 0)
			close(wire.to);
		close(client);
		return;
	}
	wire.first = relay->wires == 0;
	start_wire(relay, &wire);
	wire = (struct wire){ .relay = relay, .from = wire.to, .to = client, .way = RELAY_BACK, .data = data };
	start_wire(relay, &wire);
}

static void *acceptor_thread(void *opaque)
{
	struct relay *relay = opaque;
	struct pollfd set[3] = {
		{ .fd = relay->listener[0], .events = POLLIN },
		{ .fd = relay->listener[1], .events = POLLIN },
		{ .fd = relay->quit_fd, .events = POLLIN },
	};

	for (;;) {
		if (poll(set, 3, -1) < 0 || set[2].revents != 0)
			return NULL;
		for (int i = 0; i < 2; i++) {
			const int client = set[i].revents == 0
						   ? -1
						   : accept4(relay->listener[i], NULL, NULL, SOCK_CLOEXEC);

			if (client >= 0)
				serve(relay, client, i == 1);
		}
	}
}

static int listen_loopback(uint16_t *port)
{
	struct sockaddr_in address = loopback(0);
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, 64) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &length) < 0)
		abort();
	*port = ntohs(address.sin_port);
	return fd;
}

struct relay *relay_new(uint16_t port, bool carry_data)
{
	struct relay *relay = calloc(1, sizeof(*relay));

	if (relay == NULL)
		return NULL;
	relay->target = port;
	relay->carry_data = carry_data;
	relay->record = malloc(RECORD_MAX);
	relay->quit_fd = io_wake_new();
	pthread_mutex_init(&relay->lock, NULL);
	pthread_cond_init(&relay->changed, NULL);
	for (int i = 0; i < 2; i++)
		relay->listener[i] = listen_loopback(&relay->port[i]);
	if (relay->record == NULL || relay->quit_fd < 0 ||
	    pthread_create(&relay->acceptor, NULL, acceptor_thread, relay) != 0)
		abort();
	return relay;
}

uint16_t relay_port(const struct relay *relay)
{
	return relay->port[0];
}

/* ---- what a test says and asks ---- */

void relay_set_rule(struct relay *relay, const struct relay_rule *rule)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	relay->rule = *rule;
	relay->rules++;
	relay->armed = true;
	relay->acted = false;
}

bool relay_drop_rule(struct relay *relay)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	if (!relay->armed)
		return false;
	relay->armed = false;
	return true;
}

bool relay_has_acted(struct relay *relay)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	return relay->acted;
}

unsigned relay_count(struct relay *relay, uint16_t type, enum relay_way way)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	return relay->count[way][type];
}

void relay_hold(struct relay *relay, enum relay_way way, bool hold)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	relay->held[way] = hold;
	pthread_cond_broadcast(&relay->changed);
}

void relay_hold_data(struct relay *relay, bool hold)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	relay->held_data = hold;
	pthread_cond_broadcast(&relay->changed);
}

void relay_break_data(struct relay *relay)
{
	DECANT_AUTO_UNLOCK(&relay->lock);
	for (unsigned i = 0; i < relay->wires; i++)
		if (relay->wire[i].data)
			reset(relay->wire[i].from);
}

static uint8_t *copy_record(struct relay *relay, bool all, size_t *length)
{
	uint8_t *bytes;

	DECANT_AUTO_UNLOCK(&relay->lock);
	*length = all ? relay->recorded : relay->first_message;
	bytes = malloc(*length + 1);
	if (bytes != NULL)
		memcpy(bytes, relay->record, *length);
	return bytes;
}

/* The type of the next message on @fd, which is read to its end; 0: there is none. */
static uint16_t next_type(const struct relay *relay, int fd, uint64_t deadline)
{
	DECANT_AUTO_FREE uint8_t *bytes = malloc(MESSAGE_MAX);
	struct wire_header header;

	if (bytes == NULL || io_recv_full(fd, bytes, WIRE_HEADER_SIZE, deadline, relay->quit_fd) < 0 ||
	    wire_header_decode(&header, bytes, NULL) < 0 ||
	    io_recv_full(fd, bytes, header.length, deadline, relay->quit_fd) < 0)
		return 0;
	return header.type;
}

uint16_t relay_repeat(struct relay *relay, bool all)
{
	struct iovec iov;
	DECANT_AUTO_FREE uint8_t *bytes = copy_record(relay, all, &iov.iov_len);
	const uint64_t deadline = clock_deadline_ns(ANSWER_NS);
	DECANT_AUTO_CLOSE int fd = connect_loopback(relay->target);
	uint16_t type;

	if (fd < 0 || bytes == NULL)
		return 0;
	iov.iov_base = bytes;
	/* who is refused at the first message may find the rest unwanted */
	io_send_full(fd, &iov, 1, deadline, relay->quit_fd);
	type = next_type(relay, fd, deadline);
	/* an old proof is the answer to another challenge */
	if (type == WIRE_CHALLENGE && all)
		type = next_type(relay, fd, deadline);
	return type;
}

static void tell_to_quit(struct relay *relay)
{
	io_wake_set(relay->quit_fd);
	DECANT_AUTO_UNLOCK(&relay->lock);
	relay->quit = true;
	pthread_cond_broadcast(&relay->changed);
}

void relay_free(struct relay *relay)
{
	if (relay == NULL)
		return;
	tell_to_quit(relay);
	pthread_join(relay->acceptor, NULL);
	for (unsigned i = 0; i < relay->wires; i++)
		pthread_join(relay->wire[i].thread, NULL);
	for (unsigned i = 0; i < relay->wires; i++)
		if (relay->wire[i].way == RELAY_FORTH) {
			close(relay->wire[i].from);
			close(relay->wire[i].to);
		}
	for (int i = 0; i < 2; i++)
		close(relay->listener[i]);
	close(relay->quit_fd);
	pthread_cond_destroy(&relay->changed);
	pthread_mutex_destroy(&relay->lock);
	free(relay->record);
	free(relay);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* hello.c -- the private data of a connection request, of its acceptance and of its refusal */
#include "fabric/rdma/hello.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define HELLO_VERSION 1

/* What all three begin with. */
struct head {
	uint8_t magic[4];
	uint8_t version;
	uint8_t length; /* of the whole */
	uint16_t value; /* channel or refusal, le16 */
};

struct hello_wire {
	struct head head;
	uint64_t epoch;
	uint8_t token[FABRIC_TOKEN_SIZE];
	uint32_t zero;
} __attribute__((packed));

struct welcome_wire {
	struct head head;
	uint32_t credits;
	uint8_t answer[FABRIC_TOKEN_SIZE];
};

struct refusal_wire {
	struct head head;
	uint32_t code;
	char text[REFUSAL_TEXT_MAX];
};

_Static_assert(sizeof(struct hello_wire) == HELLO_SIZE, "HELLO_SIZE");
_Static_assert(sizeof(struct welcome_wire) == WELCOME_SIZE, "WELCOME_SIZE");
_Static_assert(sizeof(struct refusal_wire) == REFUSAL_SIZE, "REFUSAL_SIZE");

static const uint8_t magic_hello[4] = { 'd', 'c', 'r', 'H' };
static const uint8_t magic_welcome[4] = { 'd', 'c', 'r', 'W' };
static const uint8_t magic_refusal[4] = { 'd', 'c', 'r', 'R' };

static struct head make_head(const uint8_t magic[4], uint8_t length, uint16_t value)
{
	struct head head = { .version = HELLO_VERSION, .length = length, .value = htole16(value) };

	memcpy(head.magic, magic, sizeof(head.magic));
	return head;
}

static bool is_head(const void *bytes, size_t length, const uint8_t magic[4], size_t expected)
{
	struct head head;

	if (bytes == NULL || length < expected)
		return false;
	memcpy(&head, bytes, sizeof(head));
	return memcmp(head.magic, magic, sizeof(head.magic)) == 0 && head.version == HELLO_VERSION &&
	       head.length == expected;
}

void hello_encode(const struct hello *hello, uint8_t bytes[HELLO_SIZE])
{
	struct hello_wire wire = {
		.head = make_head(magic_hello, HELLO_SIZE, hello->channel),
		.epoch = htole64(hello->epoch),
	};

	memcpy(wire.token, hello->token, sizeof(wire.token));
	memcpy(bytes, &wire, sizeof(wire));
}

int hello_decode(struct hello *hello, const void *bytes, size_t length)
{
	struct hello_wire wire;

	if (!is_head(bytes, length, magic_hello, HELLO_SIZE))
		return -EPROTO;
	memcpy(&wire, bytes, sizeof(wire));
	if (wire.zero != 0)
		return -EPROTO;
	hello->channel = le16toh(wire.head.value);
	hello->epoch = le64toh(wire.epoch);
	memcpy(hello->token, wire.token, sizeof(hello->token));
	return 0;
}

void welcome_encode(const struct welcome *welcome, uint8_t bytes[WELCOME_SIZE])
{
	struct welcome_wire wire = {
		.head = make_head(magic_welcome, WELCOME_SIZE, 0),
		.credits = htole32(welcome->credits),
	};

	memcpy(wire.answer, welcome->answer, sizeof(wire.answer));
	memcpy(bytes, &wire, sizeof(wire));
}

int welcome_decode(struct welcome *welcome, const void *bytes, size_t length)
{
	struct welcome_wire wire;

	if (!is_head(bytes, length, magic_welcome, WELCOME_SIZE))
		return -EPROTO;
	memcpy(&wire, bytes, sizeof(wire));
	if (wire.head.value != 0)
		return -EPROTO;
	welcome->credits = le32toh(wire.credits);
	memcpy(welcome->answer, wire.answer, sizeof(welcome->answer));
	return 0;
}

static bool is_printable(char c)
{
	return c >= 0x20 && c <= 0x7e;
}

void refusal_encode(const struct refused *refused, uint8_t bytes[REFUSAL_SIZE])
{
	struct refusal_wire wire = {
		.head = make_head(magic_refusal, REFUSAL_SIZE, (uint16_t)refused->why),
		.code = htole32(refused->code),
	};

	for (size_t i = 0; i < REFUSAL_TEXT_MAX && refused->text[i] != '\0'; i++)
		wire.text[i] = is_printable(refused->text[i]) ? refused->text[i] : '?';
	memcpy(bytes, &wire, sizeof(wire));
}

/* A text, then zeros to the end. */
static bool take_text(struct refused *refused, const char *text)
{
	size_t i = 0;

	for (; i < REFUSAL_TEXT_MAX && text[i] != '\0'; i++) {
		if (!is_printable(text[i]))
			return false;
		refused->text[i] = text[i];
	}
	refused->text[i] = '\0';
	for (; i < REFUSAL_TEXT_MAX; i++)
		if (text[i] != '\0')
			return false;
	return true;
}

enum refusal refusal_decode(struct refused *refused, const void *bytes, size_t length)
{
	struct refusal_wire wire;

	*refused = (struct refused){ .why = REFUSAL_NONE };
	if (!is_head(bytes, length, magic_refusal, REFUSAL_SIZE))
		return REFUSAL_NONE;
	memcpy(&wire, bytes, sizeof(wire));
	if (le16toh(wire.head.value) > REFUSAL_EXPIRED || !take_text(refused, wire.text))
		return REFUSAL_NONE;
	refused->code = le32toh(wire.code);
	if (le16toh(wire.head.value) != REFUSAL_FAILED && (refused->code != 0 || refused->text[0] != '\0'))
		return REFUSAL_NONE;
	refused->why = (enum refusal)le16toh(wire.head.value);
	return refused->why;
}

const char *refusal_str(enum refusal why)
{
	switch (why) {
	case REFUSAL_HELLO:
		return "it does not speak this version";
	case REFUSAL_TOKEN:
		return "the token is not of this migration";
	case REFUSAL_TWICE:
		return "the channel stands already";
	case REFUSAL_FAILED:
		return "it could not make its end of the channel";
	case REFUSAL_EXPIRED:
		return "it comes too late: the tokens have expired";
	case REFUSAL_NONE:
		break;
	}
	return "no reason given";
}

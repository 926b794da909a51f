/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * wire.h -- the control protocol's messages: host structs, and pure functions that encode and decode them
 *
 * docs/protocol.md is normative. Everything on the wire is little-endian and of fixed width. A message is a header of
 * WIRE_HEADER_SIZE bytes and a payload of header.length bytes. Encoders return the number of bytes written, or -EMSGSIZE
 * if @capacity is too small or a field beyond its limit. Decoders take exactly one payload and return 0 or -EPROTO with
 * @err saying which field of which message is wrong; they never read beyond @length, never allocate, and leave pointers
 * into @bytes in the result (valid as long as @bytes). A payload longer than its message is -EPROTO, reserved
 * fields must be 0, strings are terminated within their fields and printable ASCII.
 */
#ifndef WIRE_WIRE_H
#define WIRE_WIRE_H

#include <decant/error.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC 0x544e4344u /* "DCNT" */
#define WIRE_VERSION_MIN 1u
#define WIRE_VERSION_MAX 1u
#define WIRE_HEADER_SIZE 16u
#define WIRE_PAYLOAD_MAX ((1u << 20) + 4096u)
#define WIRE_CHUNK_MAX (1u << 20) /* data bytes in STATE, SHAPE, PAGES */
#define WIRE_NAME_MAX 64          /* with terminator */
#define WIRE_FABRIC_MAX 16
#define WIRE_REGION_NAME_MAX 32
#define WIRE_REGIONS_MAX 64
#define WIRE_CHANNELS_MAX 16
#define WIRE_TOKEN_SIZE 16
#define WIRE_NONCE_SIZE 32
#define WIRE_MAC_SIZE 32
#define WIRE_ADDRESS_MAX 256
#define WIRE_TEXT_MAX 480
#define WIRE_RANGES_MAX 4096                        /* ranges in REGISTER */
#define WIRE_KEYS_MAX 65536                         /* keys in GRANT */
#define WIRE_HASHES_MAX 65536                       /* hashes in HASHES */
#define WIRE_MESSAGE_MAX (64u << 10)                /* data bytes in MESSAGE */
#define WIRE_LEASE_MS_MAX 600000u                   /* in WELCOME and READY: a source in doubt waits for it */
#define WIRE_RAILS_MAX 8                            /* rails in WELCOME */
#define WIRE_PAIRS_MAX 2                            /* rails in OPEN */
#define WIRE_DEVICE_MAX 32                          /* with terminator */
#define WIRE_WHY_MAX 240                            /* why there are no rails; with terminator */
#define WIRE_WELCOME_MAX 1024                       /* bytes of an encoded WELCOME */
#define WIRE_HEAD_MAX (16u + 16u * WIRE_RANGES_MAX) /* no encoder below writes more bytes */

/*
 * Guest physical addresses end at 2^52 on x86-64. Held to it, sums of lengths, and products of a granule or page number with
 * its size, cannot overflow 64 bits.
 */
#define WIRE_ADDRESS_END (1ull << 52)
#define WIRE_GRANULE_END (WIRE_ADDRESS_END >> 21)
#define WIRE_PAGE_END (WIRE_ADDRESS_END >> 12)

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_WELCOME = 2,
	WIRE_ERROR = 3,
	WIRE_REGIONS = 4,
	WIRE_SHAPE = 5,
	WIRE_PREPARED = 6,
	WIRE_OPEN = 7,
	WIRE_OPENED = 8,
	WIRE_REGISTER = 9,
	WIRE_GRANT = 10,
	WIRE_BARRIER_ACK = 11,
	WIRE_FENCE = 12,
	WIRE_FENCED = 13,
	WIRE_PAGES = 14,
	WIRE_STATE = 15,
	WIRE_HASHES = 16,
	WIRE_VERIFY = 17,
	WIRE_VERIFIED = 18,
	WIRE_HANDOVER = 19,
	WIRE_READY = 20,
	WIRE_GO = 21,
	WIRE_RUNNING = 22,
	WIRE_STATUS = 23,
	WIRE_PING = 24,
	WIRE_PONG = 25,
	WIRE_ABORT = 26,
	WIRE_VERDICT_ASK = 27,
	WIRE_VERDICT = 28,
	WIRE_BYE = 29,
	WIRE_LOST = 30,
	WIRE_CHALLENGE = 31,
	WIRE_PROOF = 32,
	WIRE_PROVED = 33,
	WIRE_MESSAGE = 34,
	WIRE_TYPE_MAX = WIRE_MESSAGE,
};

/* wire_strtype() -- "HELLO"; "?" for what is none */
const char *wire_strtype(uint16_t type);

struct wire_header {
	uint16_t type;     /* enum wire_type */
	uint16_t flags;    /* 0 in version 1 */
	uint32_t length;   /* of the payload */
	uint32_t sequence; /* counts this direction's messages from 0: a gap or a repeat is -EPROTO */
};

int wire_header_encode(const struct wire_header *header, uint8_t *bytes, size_t capacity);
/* -EPROTO also for a wrong magic (the message shows the first bytes, and says what speaks so if it is known: HTTP, SSH, TLS) */
int wire_header_decode(struct wire_header *header, const uint8_t *bytes, struct decant_error *err);

/* what a HELLO comes for */
enum wire_purpose {
	WIRE_PURPOSE_MIGRATE = 1, /* a controller: ends with GO */
	WIRE_PURPOSE_PUSH = 2,    /* a push feeder: ends with BYE */
	WIRE_PURPOSE_QUERY = 3,   /* asks for the fate of @id; answered by STATUS */
};

/* source -> destination, first. Layout up to and including the versions never changes. */
struct wire_hello {
	uint16_t version_min, version_max;
	uint16_t purpose;
	uint64_t features; /* bits that the source would like */
	uint8_t id[16];    /* of the migration */
	uint8_t boot_id[16];
	uint32_t pid;
	char name[WIRE_NAME_MAX];
};

/* The bit of HELLO and WELCOME that changes what they carry: WELCOME has rails behind it, OPEN may name them, LOST may come. */
#define WIRE_FEATURE_RDMA 4ull

/* The bit by which a source says that it has a key: CHALLENGE, PROOF and PROVED come, and OPENED has no tokens. */
#define WIRE_FEATURE_AUTH 8ull

/* The bits of a push feeder: MESSAGE may come; the destination makes its memory zero. */
#define WIRE_FEATURE_MESSAGES 16ull
#define WIRE_FEATURE_ZEROS 32ull

/* one port of one device of the destination, by its address */
struct wire_rail {
	char device[WIRE_DEVICE_MAX];
	uint16_t family; /* 4 or 6: IPv4 or IPv6 */
	uint16_t port;   /* of the device, 1..255 */
	uint16_t flags;  /* WIRE_RAIL_SOFTWARE */
	uint16_t numa_node;
	uint32_t speed_mbps; /* 0: not known */
	uint8_t address[16]; /* network order, IPv4 in the first four, then zeros */
};

#define WIRE_RAIL_SOFTWARE 1u
#define WIRE_NUMA_UNKNOWN 0xffffu

/* destination -> source; what follows max_memory only with WIRE_FEATURE_RDMA */
struct wire_welcome {
	uint16_t version;
	uint64_t features; /* the common ones */
	uint8_t boot_id[16];
	uint32_t pid;
	uint32_t lease_ms;
	uint64_t max_memory; /* bytes that it would take */
	uint32_t rails;      /* 0..WIRE_RAILS_MAX */
	struct wire_rail rail[WIRE_RAILS_MAX];
	char why[WIRE_WHY_MAX]; /* there are none; length-prefixed on the wire */
};

/* both: ends the session; refusals too. @code is a positive errno of Linux. */
struct wire_error {
	uint32_t code;
	char text[WIRE_TEXT_MAX]; /* length-prefixed on the wire */
};

struct wire_region {
	char name[WIRE_REGION_NAME_MAX];
	uint64_t length;
	uint64_t page_size;
	uint64_t guest_address;
};

struct wire_regions {
	uint32_t count; /* 1..WIRE_REGIONS_MAX */
	struct wire_region region[WIRE_REGIONS_MAX];
};

/* a part of a longer byte string: SHAPE and STATE */
struct wire_chunk {
	uint32_t total;  /* bytes of the whole */
	uint32_t offset; /* of this part; parts come in order */
	uint32_t length; /* of this part, <= WIRE_CHUNK_MAX; offset + length <= total */
	const uint8_t *data;
};

/* The VM is created. What saving and loading an empty VM of this shape took: fixed costs for the forecast. */
struct wire_prepared {
	uint64_t save_ns, load_ns;
};

struct wire_open {
	uint64_t epoch; /* 1, 2, ... */
	uint32_t channels;
	char fabric[WIRE_FABRIC_MAX];
	uint32_t rails;                /* of WELCOME's that are used, 0..WIRE_PAIRS_MAX; 0 for a fabric without */
	uint32_t rail[WIRE_PAIRS_MAX]; /* which, each once: channel c uses rail[c % rails] */
};

struct wire_opened {
	uint64_t epoch;
	uint32_t channels;
	uint16_t token_count; /* @channels, or 0 with WIRE_FEATURE_AUTH */
	uint8_t tokens[WIRE_CHANNELS_MAX]
		      [WIRE_TOKEN_SIZE]; /* that the source shows; @token_count of them on the wire */
	uint8_t answers[WIRE_CHANNELS_MAX][WIRE_TOKEN_SIZE]; /* that the destination shows */
	uint16_t address_length;
	uint8_t address[WIRE_ADDRESS_MAX];
};

struct wire_range {
	uint64_t first; /* granule */
	uint32_t count; /* granules, >= 1 */
};

/* "register these granules": populate, expose, answer GRANT */
struct wire_register {
	uint64_t epoch;
	uint32_t region;
	uint32_t count; /* ranges, 1..WIRE_RANGES_MAX */
	struct wire_range range[WIRE_RANGES_MAX];
};

struct wire_grant {
	uint64_t epoch;
	uint32_t region;
	uint64_t first;      /* granule */
	uint32_t count;      /* keys, 1..WIRE_KEYS_MAX */
	const uint8_t *keys; /* count x le64, see wire_grant_key() */
};

struct wire_barrier_ack {
	uint64_t epoch;
	uint64_t round;
};

struct wire_fence {
	uint64_t epoch;
}; /* FENCE and FENCED */

/* destination -> source, with WIRE_FEATURE_RDMA: that epoch can carry nothing more. FENCE answers it. */
struct wire_lost {
	uint64_t epoch;
	uint32_t code;            /* a positive errno of Linux */
	char text[WIRE_TEXT_MAX]; /* length-prefixed on the wire */
};

/* destination -> source, with WIRE_FEATURE_MESSAGES: an ordered message to a push feeder */
struct wire_message {
	uint32_t length; /* 1..WIRE_MESSAGE_MAX */
	const uint8_t *data;
};

/* the proof of a key (docs/protocol.md section 4): destination, source, destination */
struct wire_challenge {
	uint8_t nonce[WIRE_NONCE_SIZE];
};

struct wire_proof {
	uint8_t nonce[WIRE_NONCE_SIZE];
	uint8_t mac[WIRE_MAC_SIZE];
};

struct wire_proved {
	uint8_t mac[WIRE_MAC_SIZE];
};

/* guest memory inline: only into granules that were never requested. Multiples of 4 KiB. */
struct wire_pages {
	uint32_t region;
	uint64_t offset;
	uint32_t length; /* bytes, <= WIRE_CHUNK_MAX */
	const uint8_t *data;
};

/* XXH3 of each page of [first, first + count); a page in no HASHES of the session is a hole and must be zero */
struct wire_hashes {
	uint32_t region;
	uint64_t first;        /* page of 4 KiB */
	uint32_t count;        /* 1..WIRE_HASHES_MAX */
	const uint8_t *hashes; /* count x le64, see wire_hash() */
};

/* VERIFY has no payload: "all hashes sent". */
struct wire_verified {
	uint64_t mismatches; /* pages */
	uint32_t region;     /* of the first */
	uint64_t page;       /* of the first */
};

/* "all is sent; load, check, get ready". After the last BARRIER_ACK and the last STATE. */
struct wire_handover {
	uint64_t left_ns;        /* source's CLOCK_MONOTONIC at the pause */
	int64_t clock_offset_ns; /* add to the source's clock to get the destination's */
	uint64_t clock_error_ns;
};

struct wire_ready {
	uint32_t lease_ms;
	uint64_t load_ns;
	uint64_t allocated; /* bytes of guest memory backed by pages */
};

/* GO has no payload. */

struct wire_running {
	uint64_t entered_ns; /* destination's CLOCK_MONOTONIC just before the first KVM_RUN */
	uint64_t cpu_ns;     /* of decant's threads at the destination */
};

enum wire_fate {
	WIRE_FATE_UNKNOWN = 0, /* never heard of this migration */
	WIRE_FATE_PENDING = 1, /* under way, GO not seen, lease not over */
	WIRE_FATE_RUNNING = 2, /* it was started here */
	WIRE_FATE_NEVER = 3,   /* tombstone: it never ran here and never will */
};

struct wire_status {
	uint32_t fate;
};

/* heartbeat and clock matching; stamps are the sender's CLOCK_MONOTONIC in ns */
struct wire_ping {
	uint64_t sent_ns;
};

struct wire_pong {
	uint64_t ping_sent_ns; /* echoed */
	uint64_t received_ns;
	uint64_t sent_ns;
};

/* ABORT (source -> destination): uses struct wire_error; "throw the VM away" */

/* VERDICT_ASK and BYE have no payload. */

struct wire_verdict {
	uint32_t status; /* enum decant_verdict_status */
	uint64_t pause_ns;
	uint64_t work_rate;
	char text[160];
};

/*
 * One encoder and one decoder per message. Those with data behind them (chunk, grant, message, pages, hashes) encode the fixed head
 * only, return its size, and leave the data to be sent after it from where it lies; header.length counts both.
 */
#define WIRE_DECLARE(name)                                                                            \
	int wire_##name##_encode(const struct wire_##name *message, uint8_t *bytes, size_t capacity); \
	int wire_##name##_decode(struct wire_##name *message, const uint8_t *bytes, size_t length,    \
				 struct decant_error *err);

WIRE_DECLARE(hello)
WIRE_DECLARE(welcome)
WIRE_DECLARE(error)
WIRE_DECLARE(regions)
WIRE_DECLARE(chunk)
WIRE_DECLARE(prepared)
WIRE_DECLARE(open)
WIRE_DECLARE(opened)
WIRE_DECLARE(register)
WIRE_DECLARE(grant)
WIRE_DECLARE(barrier_ack)
WIRE_DECLARE(fence)
WIRE_DECLARE(lost)
WIRE_DECLARE(message)
WIRE_DECLARE(challenge)
WIRE_DECLARE(proof)
WIRE_DECLARE(proved)
WIRE_DECLARE(pages)
WIRE_DECLARE(hashes)
WIRE_DECLARE(verified)
WIRE_DECLARE(handover)
WIRE_DECLARE(ready)
WIRE_DECLARE(running)
WIRE_DECLARE(status)
WIRE_DECLARE(ping)
WIRE_DECLARE(pong)
WIRE_DECLARE(verdict)
#undef WIRE_DECLARE

/* wire_empty_decode() -- for messages without payload */
int wire_empty_decode(uint16_t type, size_t length, struct decant_error *err);

/* wire_grant_key(), wire_hash() -- element @i of what the decoder left a pointer to */
uint64_t wire_grant_key(const struct wire_grant *grant, uint32_t i);
uint64_t wire_hash(const struct wire_hashes *hashes, uint32_t i);

#endif

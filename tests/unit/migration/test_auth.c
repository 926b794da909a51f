/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_auth.c -- the proof of a key: its numbers, and a handshake with each way of not having the key
 *
 * The numbers were computed with Python's hmac module from what docs/protocol.md says, not with the code under test.
 */
#include "migration/handshake.h"
#include "util/clock.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_NS (30 * NSEC_PER_SEC)

static const char key_text[] = "0123456789abcdef0123456789abcdef";

static struct auth_key *make_key(const char *text)
{
	struct auth_key *key = NULL;

	assert_int_equal(auth_key_new(text, strlen(text), &key, NULL), 0);
	return key;
}

static void expect_hex(const uint8_t *bytes, size_t length, const char *hex)
{
	char text[2 * WIRE_MAC_SIZE + 1];

	for (size_t i = 0; i < length; i++)
		snprintf(text + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(text, hex);
}

/* ---- numbers ---- */

static void fill_transcript(struct auth *auth)
{
	for (unsigned int i = 0; i < 200; i++) {
		const uint8_t byte = (uint8_t)(i * 7 + 3);

		auth_add(auth, &byte, 1);
	}
}

static void test_auth__proves_as_the_protocol_says(void **state)
{
	struct auth_key *key = make_key(key_text);
	struct auth auth = { .key = key };
	uint8_t mac[WIRE_MAC_SIZE];

	(void)state;
	fill_transcript(&auth);
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, mac, NULL), 0);
	expect_hex(mac, sizeof(mac), "6b126f5f10b01c95cff21458fe326bc85a01421a23b90fab5a42f4aabee5f70e");
	assert_int_equal(auth_prove(&auth, AUTH_DESTINATION, mac, NULL), 0);
	expect_hex(mac, sizeof(mac), "5094559834e2a1da6de8a725ab860e32ea04caba1c496de295a1533f3386ea0a");
	assert_int_equal(auth_finish(&auth, NULL), 0);
	assert_true(auth.proved);
	expect_hex(auth.session, sizeof(auth.session),
		   "b4b9505ed4962bc6c9856f2693ff77d5925345902e0be23dbb6d0ae2f7518358");
	auth_key_free(key);
}

static void test_auth__takes_a_key_of_its_limits_and_no_other(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct auth_key *key = NULL;
	uint8_t bytes[DECANT_KEY_MAX + 1];
	uint8_t mac[WIRE_MAC_SIZE];
	struct auth auth = { 0 };

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	assert_int_equal(auth_key_new(bytes, DECANT_KEY_MIN - 1, &key, &err), -EINVAL);
	assert_int_equal(auth_key_new(bytes, 0, &key, &err), -EINVAL);
	assert_int_equal(auth_key_new(bytes, DECANT_KEY_MAX + 1, &key, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "4097 bytes"));
	assert_null(key);
	assert_int_equal(auth_key_new(bytes, DECANT_KEY_MIN, &key, &err), 0);
	auth_key_free(key);
	assert_int_equal(auth_key_new(bytes, DECANT_KEY_MAX, &key, &err), 0);
	auth.key = key;
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, mac, NULL), 0);
	expect_hex(mac, sizeof(mac), "e3f3a5c28a7738d26afcc3aa5fc89d4ae5bee9a01ef7ae4e552d7f8cdd42825a");
	auth_key_free(key);
	auth_key_free(NULL);
}

static void test_auth__tokens_are_of_their_channel_epoch_and_direction(void **state)
{
	uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE], answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE];
	struct auth_key *key = make_key(key_text);
	struct auth auth = { .key = key };

	(void)state;
	fill_transcript(&auth);
	assert_int_equal(auth_finish(&auth, NULL), 0);
	assert_int_equal(auth_tokens(&auth, 1, 2, tokens, answers, NULL), 0);
	expect_hex(tokens[0], FABRIC_TOKEN_SIZE, "70ba109bc68bab80c16e40b8c64f6bb4");
	expect_hex(answers[0], FABRIC_TOKEN_SIZE, "7d51a0eca7e4c6d48159a023f2c996e3");
	expect_hex(tokens[1], FABRIC_TOKEN_SIZE, "556e9182a471f8821164e94b5c5c8a02");
	expect_hex(answers[1], FABRIC_TOKEN_SIZE, "7a1afe4af3abeae39cfd458c74255b9f");
	assert_int_equal(auth_tokens(&auth, 258, FABRIC_CHANNELS_MAX, tokens, answers, NULL), 0);
	expect_hex(tokens[15], FABRIC_TOKEN_SIZE, "735061b4dfbaab473c9ece13f31377e0");
	expect_hex(answers[15], FABRIC_TOKEN_SIZE, "c27ba512e4de8953a5ce4b1faacff13b");
	auth_key_free(key);
}

static void test_auth__verifies_nothing_else(void **state)
{
	struct auth_key *key = make_key(key_text), *other = make_key("fedcba9876543210fedcba9876543210");
	struct auth auth = { .key = key }, changed;
	uint8_t mac[WIRE_MAC_SIZE];

	(void)state;
	fill_transcript(&auth);
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, mac, NULL), 0);
	assert_int_equal(auth_verify(&auth, AUTH_SOURCE, mac, NULL), 0);
	assert_int_equal(auth_verify(&auth, AUTH_DESTINATION, mac, NULL), -EACCES);
	for (size_t bit = 0; bit < 8 * sizeof(mac); bit++) {
		mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(auth_verify(&auth, AUTH_SOURCE, mac, NULL), -EACCES);
		mac[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t i = 0; i < auth.length; i++) {
		changed = auth;
		changed.transcript[i] ^= 1;
		assert_int_equal(auth_verify(&changed, AUTH_SOURCE, mac, NULL), -EACCES);
	}
	changed = auth;
	auth_drop(&changed, 1);
	assert_int_equal(auth_verify(&changed, AUTH_SOURCE, mac, NULL), -EACCES);
	changed = auth;
	changed.key = other;
	assert_int_equal(auth_verify(&changed, AUTH_SOURCE, mac, NULL), -EACCES);
	auth_key_free(key);
	auth_key_free(other);
}

static void test_auth__proves_nothing_that_it_has_no_room_for(void **state)
{
	static const uint8_t bytes[AUTH_TRANSCRIPT_MAX];
	struct auth_key *key = make_key(key_text);
	struct auth auth = { .key = key };
	uint8_t mac[WIRE_MAC_SIZE];

	(void)state;
	auth_add(&auth, bytes, sizeof(bytes));
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, mac, NULL), 0);
	auth_add(&auth, bytes, 1);
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, mac, NULL), -EPROTO);
	assert_int_equal(auth_verify(&auth, AUTH_SOURCE, mac, NULL), -EPROTO);
	auth_key_free(key);
}

static void test_auth__leaves_nothing_behind(void **state)
{
	struct auth_key *key = make_key(key_text);
	struct auth auth = { .key = key };
	const struct auth nothing = { 0 };

	(void)state;
	fill_transcript(&auth);
	assert_int_equal(auth_finish(&auth, NULL), 0);
	auth_wipe(&auth);
	assert_memory_equal(&auth, &nothing, sizeof(auth));
	auth_key_free(key);
}

/* ---- the handshake ---- */

struct ends {
	struct handshake source, destination;
	uint16_t purpose;
	struct wire_hello heard;
	struct wire_welcome welcome;
	struct wire_status status;
	int heard_ret, answer_ret; /* of the destination; 1: not come so far */
	struct decant_error destination_err;
	pthread_t thread;
};

static void open_ends(struct ends *ends, const struct auth_key *source_key, const struct auth_key *destination_key)
{
	int fd[2];

	memset(ends, 0, sizeof(*ends));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	ends->source = (struct handshake){
		.fd = fd[0],
		.wake_fd = -1,
		.deadline_ns = clock_deadline_ns(PATIENCE_NS),
		.auth.key = source_key,
	};
	ends->destination = ends->source;
	ends->destination.fd = fd[1];
	ends->destination.auth.key = destination_key;
	ends->purpose = WIRE_PURPOSE_MIGRATE;
	ends->answer_ret = 1;
}

static void close_ends(struct ends *ends)
{
	close(ends->source.fd);
	close(ends->destination.fd);
}

static void *destination_main(void *opaque)
{
	const struct wire_status status = { .fate = WIRE_FATE_NEVER };
	struct wire_welcome welcome = { .version = 1, .lease_ms = 5000, .max_memory = 1 << 30 };
	struct ends *ends = opaque;
	struct decant_error *err = &ends->destination_err;

	ends->heard_ret = handshake_hear(&ends->destination, &ends->heard, err);
	if (ends->heard_ret < 0)
		handshake_refuse(&ends->destination, err);
	else
		ends->answer_ret = handshake_answer(&ends->destination, &welcome,
						    ends->heard.purpose == WIRE_PURPOSE_QUERY ? &status : NULL,
						    err);
	/* the source is told that nothing follows */
	shutdown(ends->destination.fd, SHUT_WR);
	return NULL;
}

static void start_destination(struct ends *ends)
{
	assert_int_equal(pthread_create(&ends->thread, NULL, destination_main, ends), 0);
}

static int ask(struct ends *ends, struct decant_error *err)
{
	struct wire_hello hello = { .version_min = 1, .version_max = 1, .purpose = ends->purpose, .name = "vm" };

	return handshake_ask(&ends->source, &hello, &ends->welcome,
			     ends->purpose == WIRE_PURPOSE_QUERY ? &ends->status : NULL, err);
}

static int meet(struct ends *ends, struct decant_error *err)
{
	int rc;

	start_destination(ends);
	rc = ask(ends, err);
	/* a source that fails hangs up, or the destination would wait */
	if (rc < 0)
		shutdown(ends->source.fd, SHUT_RDWR);
	pthread_join(ends->thread, NULL);
	return rc;
}

static void test_handshake__with_one_key_both_have_the_same_session(void **state)
{
	struct auth_key *key = make_key(key_text), *same = make_key(key_text);
	uint8_t first[32];
	struct ends ends;

	(void)state;
	for (unsigned int i = 0; i < 2; i++) {
		open_ends(&ends, key, same);
		assert_int_equal(meet(&ends, NULL), 0);
		assert_int_equal(ends.answer_ret, 0);
		assert_true(ends.source.auth.proved && ends.destination.auth.proved);
		assert_memory_equal(ends.source.auth.session, ends.destination.auth.session, 32);
		assert_true(ends.welcome.features & WIRE_FEATURE_AUTH);
		assert_int_equal(ends.source.sent, 2);
		assert_int_equal(ends.source.received, 3);
		assert_int_equal(ends.destination.sent, 3);
		assert_int_equal(ends.destination.received, 2);
		/* a session of its own each time */
		if (i > 0)
			assert_memory_not_equal(ends.source.auth.session, first, 32);
		memcpy(first, ends.source.auth.session, 32);
		close_ends(&ends);
	}
	auth_key_free(key);
	auth_key_free(same);
}

static void test_handshake__without_keys_is_as_ever(void **state)
{
	struct ends ends;

	(void)state;
	open_ends(&ends, NULL, NULL);
	assert_int_equal(meet(&ends, NULL), 0);
	assert_false(ends.source.auth.proved || ends.destination.auth.proved);
	assert_int_equal(ends.welcome.features & WIRE_FEATURE_AUTH, 0);
	assert_int_equal(ends.source.sent, 1);
	assert_int_equal(ends.source.received, 1);
	close_ends(&ends);
}

static void test_handshake__of_a_query_proves_the_fate(void **state)
{
	struct auth_key *key = make_key(key_text);
	struct ends ends;

	(void)state;
	open_ends(&ends, key, key);
	ends.purpose = WIRE_PURPOSE_QUERY;
	assert_int_equal(meet(&ends, NULL), 0);
	assert_int_equal(ends.status.fate, WIRE_FATE_NEVER);
	assert_true(ends.source.auth.proved);
	close_ends(&ends);
	auth_key_free(key);
}

static void expect_refused(const struct auth_key *source_key, const struct auth_key *destination_key,
			   unsigned purpose, const char *text)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct ends ends;

	open_ends(&ends, source_key, destination_key);
	ends.purpose = (uint16_t)purpose;
	assert_int_equal(meet(&ends, &err), -EACCES);
	if (strstr(err.msg, text) == NULL)
		fail_msg("\"%s\" does not say \"%s\"", err.msg, text);
	assert_int_equal(ends.heard_ret, -EACCES);
	assert_int_equal(ends.destination_err.code, -EACCES);
	assert_false(ends.source.auth.proved || ends.destination.auth.proved);
	close_ends(&ends);
}

static void test_handshake__with_a_wrong_key_or_one_alone_is_refused(void **state)
{
	struct auth_key *key = make_key(key_text), *other = make_key("another secret that is long enough");

	(void)state;
	for (unsigned purpose = WIRE_PURPOSE_MIGRATE; purpose <= WIRE_PURPOSE_QUERY; purpose++) {
		expect_refused(key, other, purpose, "key is another one");
		expect_refused(NULL, key, purpose, "--key-file");
		expect_refused(key, NULL, purpose, "--key-file");
	}
	auth_key_free(key);
	auth_key_free(other);
}

/* ---- a destination that has no key, whatever it tries ---- */

struct impostor {
	struct handshake handshake;
	enum {
		IMPOSTOR_WELCOMES,   /* at once, as if no key were asked for */
		IMPOSTOR_GUESSES,    /* a mac */
		IMPOSTOR_REFLECTS,   /* the source's mac, and its nonce */
		IMPOSTOR_STOPS,      /* where the mac should be */
		IMPOSTOR_CUTS,       /* PROVED short */
		IMPOSTOR_WITHOUT_IT, /* WELCOME without the feature */
	} how;
	pthread_t thread;
};

static void say_welcome(struct handshake *handshake, bool with)
{
	const struct wire_welcome welcome = { .version = 1, .features = with ? WIRE_FEATURE_AUTH : 0 };
	uint8_t bytes[WIRE_WELCOME_MAX];
	const int length = wire_welcome_encode(&welcome, bytes, sizeof(bytes));

	handshake_send(handshake, WIRE_WELCOME, bytes, (size_t)length, NULL);
}

static void *impostor_main(void *opaque)
{
	struct impostor *impostor = opaque;
	struct handshake *handshake = &impostor->handshake;
	uint8_t bytes[512], nonce[WIRE_NONCE_SIZE] = { 7 }, mac[WIRE_MAC_SIZE] = { 0 };
	uint32_t length;

	handshake_receive(handshake, WIRE_HELLO, bytes, sizeof(bytes), &length, NULL);
	if (impostor->how == IMPOSTOR_WELCOMES) {
		say_welcome(handshake, true);
	} else {
		handshake_send(handshake, WIRE_CHALLENGE, nonce, sizeof(nonce), NULL);
		handshake_receive(handshake, WIRE_PROOF, bytes, sizeof(bytes), &length, NULL);
		say_welcome(handshake, impostor->how != IMPOSTOR_WITHOUT_IT);
		if (impostor->how == IMPOSTOR_REFLECTS)
			memcpy(mac, bytes + WIRE_NONCE_SIZE, sizeof(mac));
		if (impostor->how != IMPOSTOR_STOPS)
			handshake_send(handshake, WIRE_PROVED, mac,
				       impostor->how == IMPOSTOR_CUTS ? sizeof(mac) - 1 : sizeof(mac), NULL);
	}
	shutdown(handshake->fd, SHUT_WR);
	return NULL;
}

static void expect_seen_through(const struct auth_key *key, int how, int code)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct impostor impostor = { .how = how };
	struct ends ends;

	open_ends(&ends, key, NULL);
	impostor.handshake = ends.destination;
	assert_int_equal(pthread_create(&impostor.thread, NULL, impostor_main, &impostor), 0);
	assert_int_equal(ask(&ends, &err), code);
	assert_false(ends.source.auth.proved);
	shutdown(ends.source.fd, SHUT_RDWR);
	pthread_join(impostor.thread, NULL);
	close_ends(&ends);
}

static void test_handshake__a_destination_without_the_key_is_seen_through(void **state)
{
	struct auth_key *key = make_key(key_text);

	(void)state;
	expect_seen_through(key, IMPOSTOR_WELCOMES, -EACCES);
	expect_seen_through(key, IMPOSTOR_GUESSES, -EACCES);
	expect_seen_through(key, IMPOSTOR_REFLECTS, -EACCES);
	expect_seen_through(key, IMPOSTOR_STOPS, -ECONNRESET);
	expect_seen_through(key, IMPOSTOR_CUTS, -EPROTO);
	expect_seen_through(key, IMPOSTOR_WITHOUT_IT, -EPROTO);
	auth_key_free(key);
}

/* ---- a source that has no key, but has heard one that has ---- */

static void send_hello(struct handshake *handshake)
{
	const struct wire_hello hello = { .version_min = 1,
					  .version_max = 1,
					  .purpose = WIRE_PURPOSE_MIGRATE,
					  .features = WIRE_FEATURE_AUTH,
					  .name = "vm" };
	uint8_t bytes[512];
	const int length = wire_hello_encode(&hello, bytes, sizeof(bytes));

	assert_int_equal(handshake_send(handshake, WIRE_HELLO, bytes, (size_t)length, NULL), 0);
}

/* What a source with the key answers to the challenge @nonce. */
static void overhear(const struct auth_key *key, const uint8_t nonce[WIRE_NONCE_SIZE], uint8_t proof[64])
{
	struct auth auth = { .key = key };
	struct handshake handshake = { .wake_fd = -1, .deadline_ns = clock_deadline_ns(PATIENCE_NS) };
	int fd[2];
	uint8_t header[WIRE_HEADER_SIZE];
	const struct wire_header head = { .type = WIRE_PROOF, .length = 64, .sequence = 1 };

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	handshake.fd = fd[0];
	send_hello(&handshake);
	handshake_send(&handshake, WIRE_CHALLENGE, nonce, WIRE_NONCE_SIZE, NULL);
	auth.length = handshake.auth.length;
	memcpy(auth.transcript, handshake.auth.transcript, auth.length);
	/* CHALLENGE is the destination's first message, not the second of one direction */
	memset(auth.transcript + auth.length - WIRE_NONCE_SIZE - 4, 0, 4);
	wire_header_encode(&head, header, sizeof(header));
	memset(proof, 9, WIRE_NONCE_SIZE);
	auth_add(&auth, header, sizeof(header));
	auth_add(&auth, proof, WIRE_NONCE_SIZE);
	assert_int_equal(auth_prove(&auth, AUTH_SOURCE, proof + WIRE_NONCE_SIZE, NULL), 0);
	close(fd[0]);
	close(fd[1]);
}

/* Says PROOF with what @replay makes of the challenge, and expects @code at the destination. */
static void expect_proof(const struct auth_key *key, bool replay, size_t length, int code)
{
	static const uint8_t old_nonce[WIRE_NONCE_SIZE] = { 1, 2, 3 };
	uint8_t nonce[512], proof[64];
	struct ends ends;
	uint32_t got;

	open_ends(&ends, NULL, key);
	start_destination(&ends);
	send_hello(&ends.source);
	assert_int_equal(handshake_receive(&ends.source, WIRE_CHALLENGE, nonce, sizeof(nonce), &got, NULL), 0);
	overhear(key, replay ? old_nonce : nonce, proof);
	assert_int_equal(handshake_send(&ends.source, WIRE_PROOF, proof, length, NULL), 0);
	shutdown(ends.source.fd, SHUT_WR);
	pthread_join(ends.thread, NULL);
	assert_int_equal(ends.heard_ret, code);
	close_ends(&ends);
}

static void test_handshake__a_proof_is_good_for_its_challenge_only(void **state)
{
	struct auth_key *key = make_key(key_text);

	(void)state;
	expect_proof(key, false, 64, 0);
	expect_proof(key, true, 64, -EACCES);
	expect_proof(key, false, 63, -EPROTO);
	expect_proof(key, false, 0, -EPROTO);
	auth_key_free(key);
}

/* Two destinations with the key: the challenge of one handed to the other gives a mac of the wrong role. */
static void test_handshake__a_reflected_challenge_is_refused(void **state)
{
	struct auth_key *key = make_key(key_text);
	uint8_t nonce[512], proof[64] = { 0 };
	struct auth auth = { .key = key };
	struct ends ends;
	uint32_t got;

	(void)state;
	open_ends(&ends, NULL, key);
	start_destination(&ends);
	send_hello(&ends.source);
	assert_int_equal(handshake_receive(&ends.source, WIRE_CHALLENGE, nonce, sizeof(nonce), &got, NULL), 0);
	memcpy(proof, nonce, WIRE_NONCE_SIZE);
	auth_add(&auth, ends.source.auth.transcript, ends.source.auth.length);
	assert_int_equal(auth_prove(&auth, AUTH_DESTINATION, proof + WIRE_NONCE_SIZE, NULL), 0);
	assert_int_equal(handshake_send(&ends.source, WIRE_PROOF, proof, sizeof(proof), NULL), 0);
	pthread_join(ends.thread, NULL);
	assert_int_equal(ends.heard_ret, -EACCES);
	close_ends(&ends);
	auth_key_free(key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_auth__proves_as_the_protocol_says),
		cmocka_unit_test(test_auth__takes_a_key_of_its_limits_and_no_other),
		cmocka_unit_test(test_auth__tokens_are_of_their_channel_epoch_and_direction),
		cmocka_unit_test(test_auth__verifies_nothing_else),
		cmocka_unit_test(test_auth__proves_nothing_that_it_has_no_room_for),
		cmocka_unit_test(test_auth__leaves_nothing_behind),
		cmocka_unit_test(test_handshake__with_one_key_both_have_the_same_session),
		cmocka_unit_test(test_handshake__without_keys_is_as_ever),
		cmocka_unit_test(test_handshake__of_a_query_proves_the_fate),
		cmocka_unit_test(test_handshake__with_a_wrong_key_or_one_alone_is_refused),
		cmocka_unit_test(test_handshake__a_destination_without_the_key_is_seen_through),
		cmocka_unit_test(test_handshake__a_proof_is_good_for_its_challenge_only),
		cmocka_unit_test(test_handshake__a_reflected_challenge_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

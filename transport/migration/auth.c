/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * auth.c -- the proof of a key
 *
 * Theory of operation
 * -------------------
 * Both ends keep the bytes of the handshake as they go over the wire. A proof is an HMAC over them, keyed by what HKDF makes of
 * the key. The transcript holds a fresh nonce of each end, so no proof is good a second time; the label tells whose it is, so none is
 * good for the other end. Keys of different use are made with different labels, so that none gives another away.
 */
#include "migration/auth.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define LABEL_PROOF "decant 1 proof"
#define LABEL_SESSION "decant 1 session"
#define LABEL_CHANNEL "decant 1 channel"

enum token_direction {
	TOKEN_SHOWN = 1,    /* by the source */
	TOKEN_ANSWERED = 2, /* by the destination */
};

static_assert(AUTH_TRANSCRIPT_MAX >= WIRE_WELCOME_MAX + 512, "every handshake fits");

struct auth_key {
	size_t length;
	uint8_t proof[WIRE_MAC_SIZE]; /* keys the proofs */
	uint8_t bytes[];
};

static int fail(const char *what, struct decant_error *err)
{
	return decant_error_set(err, -EIO, "authentication: %s: libcrypto cannot; is it a build without SHA-256?",
				what);
}

/* 32 bytes of HKDF with SHA-256; @salt NULL: none */
static int derive(const void *key, size_t key_length, const void *salt, size_t salt_length, const char *label,
		  uint8_t out[32], struct decant_error *err)
{
	OSSL_PARAM params[5], *param = params;
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
	EVP_KDF_CTX *context = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
	bool done;

	*param++ = OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)OSSL_DIGEST_NAME_SHA2_256, 0);
	*param++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_length);
	*param++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)label, strlen(label));
	if (salt != NULL)
		*param++ = OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_length);
	*param = OSSL_PARAM_construct_end();
	done = context != NULL && EVP_KDF_derive(context, out, 32, params) == 1;
	EVP_KDF_CTX_free(context);
	EVP_KDF_free(kdf);
	return done ? 0 : fail("HKDF", err);
}

static int hmac(const uint8_t key[32], const void *bytes, size_t length, uint8_t mac[WIRE_MAC_SIZE],
		struct decant_error *err)
{
	unsigned int written = 0;

	if (HMAC(EVP_sha256(), key, 32, bytes, length, mac, &written) == NULL || written != WIRE_MAC_SIZE)
		return fail("HMAC", err);
	return 0;
}

int auth_key_new(const void *bytes, size_t length, struct auth_key **out, struct decant_error *err)
{
	struct auth_key *key;
	int rc;

	if (length < DECANT_KEY_MIN || length > DECANT_KEY_MAX)
		return decant_error_set(
			err, -EINVAL,
			"the key has %zu bytes: it takes %u to %u; `openssl rand -hex 32` makes a good one",
			length, DECANT_KEY_MIN, DECANT_KEY_MAX);
	key = malloc(sizeof(*key) + length);
	if (key == NULL)
		return decant_error_set(err, -ENOMEM, "the key: out of memory");
	key->length = length;
	memcpy(key->bytes, bytes, length);
	rc = derive(key->bytes, length, NULL, 0, LABEL_PROOF, key->proof, err);
	if (rc < 0) {
		auth_key_free(key);
		return rc;
	}
	*out = key;
	return 0;
}

void auth_key_free(struct auth_key *key)
{
	if (key == NULL)
		return;
	OPENSSL_cleanse(key, sizeof(*key) + key->length);
	free(key);
}

void auth_add(struct auth *auth, const void *bytes, size_t length)
{
	auth->full = auth->full || length > sizeof(auth->transcript) - auth->length;
	if (auth->full || length == 0)
		return;
	memcpy(auth->transcript + auth->length, bytes, length);
	auth->length += length;
}

void auth_drop(struct auth *auth, size_t length)
{
	auth->length -= length < auth->length ? length : auth->length;
}

int auth_nonce(uint8_t nonce[WIRE_NONCE_SIZE], struct decant_error *err)
{
	if (getrandom(nonce, WIRE_NONCE_SIZE, 0) == (ssize_t)WIRE_NONCE_SIZE)
		return 0;
	return decant_error_set(err, -errno, "getrandom: %s", strerror(errno));
}

int auth_prove(const struct auth *auth, enum auth_role role, uint8_t mac[WIRE_MAC_SIZE], struct decant_error *err)
{
	static const char *const labels[] = {
		[AUTH_SOURCE] = "decant 1 source",
		[AUTH_DESTINATION] = "decant 1 destination",
	};
	uint8_t bytes[32 + AUTH_TRANSCRIPT_MAX];
	const size_t label = strlen(labels[role]) + 1;

	if (auth->full)
		return decant_error_set(err, -EPROTO, "authentication: the handshake is too long");
	memcpy(bytes, labels[role], label);
	memcpy(bytes + label, auth->transcript, auth->length);
	return hmac(auth->key->proof, bytes, label + auth->length, mac, err);
}

int auth_verify(const struct auth *auth, enum auth_role role, const uint8_t mac[WIRE_MAC_SIZE],
		struct decant_error *err)
{
	uint8_t right[WIRE_MAC_SIZE];
	int rc = auth_prove(auth, role, right, err);

	if (rc < 0)
		return rc;
	if (CRYPTO_memcmp(right, mac, sizeof(right)) != 0)
		rc = decant_error_set(err, -EACCES,
				      "the %s's key is another one; give both ends the same --key-file",
				      role == AUTH_SOURCE ? "source" : "destination");
	OPENSSL_cleanse(right, sizeof(right));
	return rc;
}

int auth_finish(struct auth *auth, struct decant_error *err)
{
	const int rc = derive(auth->key->bytes, auth->key->length, auth->transcript, auth->length, LABEL_SESSION,
			      auth->session, err);

	auth->proved = rc == 0;
	return rc;
}

static void put_le(uint8_t *bytes, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
}

static int token(const struct auth *auth, enum token_direction direction, uint64_t epoch, uint32_t channel,
		 uint8_t out[FABRIC_TOKEN_SIZE], struct decant_error *err)
{
	uint8_t bytes[sizeof(LABEL_CHANNEL) + 4 + 8 + 4] = LABEL_CHANNEL;
	uint8_t mac[WIRE_MAC_SIZE];
	int rc;

	put_le(bytes + sizeof(LABEL_CHANNEL), direction, 4);
	put_le(bytes + sizeof(LABEL_CHANNEL) + 4, epoch, 8);
	put_le(bytes + sizeof(LABEL_CHANNEL) + 12, channel, 4);
	rc = hmac(auth->session, bytes, sizeof(bytes), mac, err);
	if (rc == 0)
		memcpy(out, mac, FABRIC_TOKEN_SIZE);
	OPENSSL_cleanse(mac, sizeof(mac));
	return rc;
}

int auth_tokens(const struct auth *auth, uint64_t epoch, uint32_t channels,
		uint8_t tokens[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE],
		uint8_t answers[FABRIC_CHANNELS_MAX][FABRIC_TOKEN_SIZE], struct decant_error *err)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < channels; i++) {
		rc = token(auth, TOKEN_SHOWN, epoch, i, tokens[i], err);
		if (rc == 0)
			rc = token(auth, TOKEN_ANSWERED, epoch, i, answers[i], err);
	}
	return rc;
}

void auth_wipe(struct auth *auth)
{
	OPENSSL_cleanse(auth, sizeof(*auth));
}

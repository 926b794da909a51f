/* SPDX-License-Identifier: BSD-2-Clause */
/* key_file.c -- the key of --key-file */
#include "vmm/key_file.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_RANDOM_LENGTH 32

static int key_file_check(int fd, const char *name, struct decant_error *err)
{
	struct stat info;

	if (fstat(fd, &info) < 0)
		return decant_error_set(err, -errno, "--key-file %s: %s", name, strerror(errno));
	if (!S_ISREG(info.st_mode))
		return decant_error_set(err, -EINVAL, "--key-file %s: not a regular file", name);
	if ((info.st_mode & 077) != 0)
		return decant_error_set(err, -EACCES,
					"--key-file %s: others than its owner may read or change it (mode %04o); "
					"make a new key if they may have, then chmod 600 it",
					name, (unsigned int)info.st_mode & 07777);
	return 0;
}

int key_file_open(const char *path, struct decant_error *err)
{
	/* a FIFO must not keep us waiting for who writes to it */
	const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int ret;

	if (fd < 0)
		return decant_error_set(err, -errno, "--key-file %s: %s", path, strerror(errno));
	ret = key_file_check(fd, path, err);
	if (ret < 0) {
		close(fd);
		return ret;
	}
	return fd;
}

/* one byte more than a key with its newline may have, to see that it is too long */
static ssize_t key_file_fill(int fd, uint8_t bytes[DECANT_KEY_MAX + 2])
{
	size_t have = 0;

	while (have < DECANT_KEY_MAX + 2) {
		/* at an offset: the descriptor is shared with whoever passed it on */
		const ssize_t got = pread(fd, bytes + have, DECANT_KEY_MAX + 2 - have, (off_t)have);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		have += (size_t)got;
	}
	return (ssize_t)have;
}

static int key_file_take(const uint8_t *bytes, size_t length, const char *name, struct key *key,
			 struct decant_error *err)
{
	if (length > 0 && bytes[length - 1] == '\n')
		length--;
	if (length < DECANT_KEY_MIN)
		return decant_error_set(err, -EINVAL,
					"--key-file %s: %zu bytes are too short for a key: %u to %u; "
					"openssl rand -hex 32 makes a good one",
					name, length, DECANT_KEY_MIN, DECANT_KEY_MAX);
	if (length > DECANT_KEY_MAX)
		return decant_error_set(err, -EINVAL, "--key-file %s: too long for a key: %u to %u bytes", name,
					DECANT_KEY_MIN, DECANT_KEY_MAX);
	key->length = length;
	memcpy(key->bytes, bytes, length);
	return 0;
}

int key_file_read(int fd, const char *name, struct key *key, struct decant_error *err)
{
	uint8_t bytes[DECANT_KEY_MAX + 2];
	ssize_t length;
	int ret = key_file_check(fd, name, err);

	key->length = 0;
	if (ret < 0)
		return ret;
	length = key_file_fill(fd, bytes);
	if (length < 0)
		ret = decant_error_set(err, (int)length, "--key-file %s: %s", name, strerror((int)-length));
	else
		ret = key_file_take(bytes, (size_t)length, name, key, err);
	explicit_bzero(bytes, sizeof(bytes));
	return ret;
}

int key_file_load(const char *path, struct key *key, struct decant_error *err)
{
	DECANT_AUTO_CLOSE const int fd = key_file_open(path, err);

	return fd < 0 ? fd : key_file_read(fd, path, key, err);
}

int key_random(struct key *key, struct decant_error *err)
{
	if (getrandom(key->bytes, KEY_RANDOM_LENGTH, 0) != KEY_RANDOM_LENGTH)
		return decant_error_set(err, -errno, "getrandom: %s", strerror(errno));
	key->length = KEY_RANDOM_LENGTH;
	return 0;
}

void key_wipe(struct key *key)
{
	explicit_bzero(key, sizeof(*key));
}

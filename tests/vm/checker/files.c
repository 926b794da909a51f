/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * files.c -- files on the virtio disk: each round writes the next one and adds its number to a log, both brought to the disk, and reads an
 * older one from the disk
 *
 * A file is replaced by rename(), so it is whole at any time. At the end the disk is mounted anew: the log must hold every number once and
 * in order, and the last files what their numbers say.
 */
#include "checker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define MOUNTED "/disk"
#define LOG MOUNTED "/log"
#define FRESH MOUNTED "/fresh"
#define FILES 16
#define FILE_WORDS 4096
#define FILE_BYTES (FILE_WORDS * sizeof(uint64_t))
#define NAP_MS 100

struct record {
	uint64_t number, proof;
};

static uint64_t buffer[FILE_WORDS];

static void name_of(uint64_t number, char name[32])
{
	snprintf(name, 32, MOUNTED "/file%02u", (unsigned int)(number % FILES));
}

static bool failed(struct checker *checker, const char *what)
{
	checker_bad(checker, CHECKER_FILES, "%s: %s", what, strerror(errno));
	return false;
}

static bool write_synced(struct checker *checker, const char *name, int flags, const void *data, size_t length)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0600);
	bool written = fd >= 0 && write(fd, data, length) == (ssize_t)length && fsync(fd) == 0;

	if (!written)
		failed(checker, name);
	if (fd >= 0)
		close(fd);
	return written;
}

static bool sync_folder(struct checker *checker)
{
	int fd = open(MOUNTED, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool synced = fd >= 0 && fsync(fd) == 0;

	if (!synced)
		failed(checker, MOUNTED);
	if (fd >= 0)
		close(fd);
	return synced;
}

static bool write_next(struct checker *checker, uint64_t number)
{
	struct record record = { number, checker_mix(number, FILES) };
	char name[32];

	name_of(number, name);
	for (size_t i = 0; i < FILE_WORDS; i++)
		buffer[i] = checker_mix(number, i);
	if (!write_synced(checker, FRESH, O_TRUNC, buffer, FILE_BYTES))
		return false;
	if (rename(FRESH, name) < 0)
		return failed(checker, name);
	return sync_folder(checker) && write_synced(checker, LOG, O_APPEND, &record, sizeof(record));
}

/* From the disk: what the guest still had in memory is dropped before. */
static bool check_file(struct checker *checker, uint64_t number)
{
	char name[32];
	ssize_t length;
	int fd;

	name_of(number, name);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return failed(checker, name);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	length = read(fd, buffer, FILE_BYTES);
	close(fd);
	for (size_t i = 0; i < FILE_WORDS; i++) {
		if (length != (ssize_t)FILE_BYTES || buffer[i] != checker_mix(number, i)) {
			checker_bad(checker, CHECKER_FILES, "%s is not number %llu at byte %zu of %zd", name,
				    (unsigned long long)number, i * sizeof(*buffer), length);
			return false;
		}
	}
	return true;
}

static void check_log(struct checker *checker, uint64_t last)
{
	FILE *log = fopen(LOG, "re");
	struct record record;
	uint64_t number = 0;

	if (!log) {
		failed(checker, LOG);
		return;
	}
	while (fread(&record, sizeof(record), 1, log) == 1) {
		number++;
		if (record.number != number || record.proof != checker_mix(number, FILES)) {
			checker_bad(checker, CHECKER_FILES, "the log holds %llu where %llu belongs",
				    (unsigned long long)record.number, (unsigned long long)number);
			break;
		}
	}
	if (number < last || !feof(log))
		checker_bad(checker, CHECKER_FILES, "the log ends at %llu, not at %llu",
			    (unsigned long long)number, (unsigned long long)last);
	fclose(log);
}

static void judge(struct checker *checker, uint64_t last)
{
	if (umount(MOUNTED) < 0 || mount(DISK, MOUNTED, "ext4", 0, NULL) < 0) {
		failed(checker, "mounting the disk anew");
		return;
	}
	check_log(checker, last);
	for (uint64_t number = last < FILES ? 1 : last - FILES + 1; number <= last && check_file(checker, number);
	     number++)
		;
	if (umount(MOUNTED) < 0)
		failed(checker, "umount");
}

void *checker_files(void *opaque)
{
	struct checker *checker = opaque;
	uint64_t number = 0;

	if (mkdir(MOUNTED, 0700) < 0 || mount(DISK, MOUNTED, "ext4", 0, NULL) < 0) {
		failed(checker, "mounting the disk");
		return NULL;
	}
	while (!checker->judging) {
		if (!write_next(checker, ++number) ||
		    !check_file(checker, number > FILES / 2 ? number - FILES / 2 : 1))
			return NULL;
		checker->rounds[CHECKER_FILES]++;
		checker_nap(NAP_MS);
	}
	judge(checker, number);
	return NULL;
}

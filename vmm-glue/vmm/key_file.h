/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * key_file.h -- the key of --key-file, read once and wiped
 *
 * A regular file that only its owner may read, 16 to 4096 bytes beside one newline at its end. `decant migrate` opens it, as
 * whoever called it, and hands the descriptor to the VM's process over the control socket (control.h): so nobody makes that process
 * open a file that he could not, and the key is in no request, reply or buffer of either.
 */
#ifndef VMM_KEY_FILE_H
#define VMM_KEY_FILE_H

#include <decant/error.h>
#include <decant/migration.h>
#include <stddef.h>
#include <stdint.h>

struct key {
	size_t length;
	uint8_t bytes[DECANT_KEY_MAX];
};

/* key_file_open() -- a descriptor, close-on-exec; or what keeps it from being opened, or used, and what to do */
int key_file_open(const char *path, struct decant_error *err);

/* key_file_read() -- the key in @fd, which stays the caller's; @name is for messages. Wiped unless 0 is returned. */
int key_file_read(int fd, const char *name, struct key *key, struct decant_error *err);

/* key_file_load() -- both */
int key_file_load(const char *path, struct key *key, struct decant_error *err);

/* key_random() -- one that nobody else has */
int key_random(struct key *key, struct decant_error *err);

void key_wipe(struct key *key);

#endif

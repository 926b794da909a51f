/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * control_name.c -- who has a VM's name on this host: directory, lock, socket
 *
 * The lock file may be removed only by who holds its lock; who has locked a file that is no longer the one at the path has
 * locked a ghost, and tries again.
 */
#include "vmm/control.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_BACKLOG 16

static int control_format(char path[CONTROL_PATH_MAX], struct decant_error *err, const char *name,
			  const char *suffix)
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	const char *base = runtime != NULL && runtime[0] == '/' ? runtime : "/run";
	int length = name == NULL ? snprintf(path, CONTROL_PATH_MAX, "%s/decant", base)
				  : snprintf(path, CONTROL_PATH_MAX, "%s/decant/%s%s", base, name, suffix);

	if (length >= CONTROL_PATH_MAX)
		return decant_error_set(err, -ENAMETOOLONG,
					"%s/decant: too long for a socket's path (%d bytes); set "
					"XDG_RUNTIME_DIR to a shorter directory",
					base, CONTROL_PATH_MAX - 1);
	return 0;
}

int control_directory(char path[CONTROL_PATH_MAX], struct decant_error *err)
{
	return control_format(path, err, NULL, "");
}

int control_path(const char *name, char path[CONTROL_PATH_MAX], struct decant_error *err)
{
	return control_format(path, err, name, ".sock");
}

int control_make_directory(struct decant_error *err)
{
	char path[CONTROL_PATH_MAX];
	struct stat st;
	int ret = control_directory(path, err);

	if (ret < 0)
		return ret;
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return decant_error_set(err, -errno, "%s: %s; set XDG_RUNTIME_DIR to a directory of your own",
					path, strerror(errno));
	if (lstat(path, &st) < 0)
		return decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0)
		return decant_error_set(err, -EPERM,
					"%s: must be a directory that only you can enter; chmod it to "
					"700, or set XDG_RUNTIME_DIR",
					path);
	return 0;
}

static bool control_lock_is_current(int fd, const char *path)
{
	struct stat opened, found;

	return fstat(fd, &opened) == 0 && stat(path, &found) == 0 && opened.st_dev == found.st_dev &&
	       opened.st_ino == found.st_ino;
}

static int control_lock(const char *name, const char *path, struct decant_error *err)
{
	for (;;) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		int code;

		if (fd < 0)
			return decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			if (control_lock_is_current(fd, path))
				return fd;
			close(fd);
			continue;
		}
		code = errno;
		close(fd);
		if (code != EWOULDBLOCK)
			return decant_error_set(err, -code, "%s: %s", path, strerror(code));
		return decant_error_set(err, -EADDRINUSE,
					"a VM named \"%s\" is on this host already; choose another "
					"--name",
					name);
	}
}

/* Nobody can connect before it listens. */
static int control_bind(struct control_claim *claim, struct decant_error *err)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int code;

	memcpy(address.sun_path, claim->path, sizeof(address.sun_path));
	unlink(claim->path); /* of a process that died: we hold the lock */
	claim->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (claim->listen_fd >= 0 && bind(claim->listen_fd, (struct sockaddr *)&address, sizeof(address)) == 0 &&
	    chmod(claim->path, 0600) == 0)
		return 0;
	code = errno;
	return decant_error_set(err, -code, "%s: %s", claim->path, strerror(code));
}

int control_listen(struct control_claim *claim, struct decant_error *err)
{
	if (listen(claim->listen_fd, CONTROL_BACKLOG) == 0)
		return 0;
	return decant_error_set(err, -errno, "%s: %s", claim->path, strerror(errno));
}

int control_claim(const char *name, struct control_claim *claim, struct decant_error *err)
{
	struct control_claim made = CONTROL_CLAIM_INIT;
	int ret = control_make_directory(err);

	if (ret == 0)
		ret = control_path(name, made.path, err);
	if (ret == 0)
		ret = control_format(made.lock_path, err, name, ".lock");
	if (ret < 0)
		return ret;
	made.lock_fd = control_lock(name, made.lock_path, err);
	if (made.lock_fd < 0)
		return made.lock_fd;
	ret = control_bind(&made, err);
	if (ret < 0)
		control_unclaim(&made);
	else
		*claim = made;
	return ret;
}

void control_unclaim(struct control_claim *claim)
{
	if (claim->listen_fd >= 0) {
		unlink(claim->path);
		close(claim->listen_fd);
	}
	if (claim->lock_fd >= 0) {
		unlink(claim->lock_path);
		close(claim->lock_fd);
	}
	*claim = (struct control_claim)CONTROL_CLAIM_INIT;
}

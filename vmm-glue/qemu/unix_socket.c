/* SPDX-License-Identifier: BSD-2-Clause */
/* unix_socket.c -- UNIX stream sockets with a path */
#include "qemu/unix_socket.h"

#include "util/clock.h"
#include "util/io.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 64 /* multifd opens up to 255 at once, and waits where there is no room */
#define RETRY_NS (20 * NSEC_PER_MSEC)

static int unix_address(const char *path, struct sockaddr_un *address, struct decant_error *err)
{
	const size_t length = strlen(path);

	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (length == 0 || length >= sizeof(address->sun_path))
		return decant_error_set(err, -ENAMETOOLONG, "%s: a socket's path has 1 to %zu characters", path,
					sizeof(address->sun_path) - 1);
	memcpy(address->sun_path, path, length + 1);
	return 0;
}

static int unix_socket(struct decant_error *err)
{
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 ? fd : decant_error_set(err, -errno, "socket: %s", strerror(errno));
}

/* Is the way free, or can it be made so? Only a socket that refuses is one that nobody will miss. */
static int unix_clear(const struct sockaddr_un *address, struct decant_error *err)
{
	const char *path = address->sun_path;
	struct stat info;
	int fd, code;

	if (lstat(path, &info) < 0)
		return errno == ENOENT ? 0 : decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISSOCK(info.st_mode))
		return decant_error_set(err, -EEXIST, "%s: is there already, and is no socket", path);
	fd = unix_socket(err);
	if (fd < 0)
		return fd;
	code = connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 ? 0 : errno;
	close(fd);
	if (code != ECONNREFUSED)
		return decant_error_set(err, -EADDRINUSE,
					"%s: somebody listens there already; end that, or choose another path",
					path);
	if (unlink(path) < 0 && errno != ENOENT)
		return decant_error_set(err, -errno, "%s: nobody listens there, but it cannot be removed: %s",
					path, strerror(errno));
	return 0;
}

/* Nobody can connect before it listens, so nobody can before it has its mode. */
static int unix_bind(struct unix_listener *listener, const struct sockaddr_un *address, struct decant_error *err)
{
	struct stat info;

	if (bind(listener->fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return decant_error_set(err, -errno, "%s: %s", listener->path, strerror(errno));
	if (lstat(listener->path, &info) == 0) {
		listener->device = info.st_dev;
		listener->inode = info.st_ino;
	}
	/* connections inherit it: what is written says by whom */
	if (setsockopt(listener->fd, SOL_SOCKET, SO_PASSCRED, &(int){ 1 }, sizeof(int)) < 0 ||
	    chmod(listener->path, 0600) < 0 || listen(listener->fd, BACKLOG) < 0)
		return decant_error_set(err, -errno, "%s: %s", listener->path, strerror(errno));
	return 0;
}

int unix_listen(struct unix_listener *listener, const char *path, struct decant_error *err)
{
	struct sockaddr_un address;
	int ret = unix_address(path, &address, err);

	*listener = (struct unix_listener){ .fd = -1, .path = path };
	if (ret == 0)
		ret = unix_clear(&address, err);
	if (ret < 0)
		return ret;
	listener->fd = unix_socket(err);
	if (listener->fd < 0)
		return listener->fd;
	ret = unix_bind(listener, &address, err);
	if (ret < 0)
		unix_unlisten(listener);
	return ret;
}

int unix_accept(const struct unix_listener *listener, struct decant_error *err)
{
	const int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		return fd;
	if (errno == EAGAIN || errno == ECONNABORTED || errno == EINTR)
		return -EAGAIN;
	return decant_error_set(err, -errno, "%s: accept: %s", listener->path, strerror(errno));
}

ssize_t unix_peek(int fd, void *data, size_t length, pid_t *writer)
{
	union {
		struct cmsghdr head; /* for its alignment */
		char bytes[CMSG_SPACE(sizeof(struct ucred))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = length };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	const ssize_t got = recvmsg(fd, &message, MSG_PEEK | MSG_DONTWAIT);
	const struct cmsghdr *head = got < 0 ? NULL : CMSG_FIRSTHDR(&message);
	struct ucred credentials = { 0 };

	if (head != NULL && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_CREDENTIALS &&
	    head->cmsg_len == CMSG_LEN(sizeof(credentials)))
		memcpy(&credentials, CMSG_DATA(head), sizeof(credentials));
	*writer = credentials.pid;
	return got < 0 ? -errno : got;
}

void unix_unlisten(struct unix_listener *listener)
{
	struct stat info;

	if (listener->fd < 0)
		return;
	if (listener->inode != 0 && lstat(listener->path, &info) == 0 && info.st_dev == listener->device &&
	    info.st_ino == listener->inode)
		unlink(listener->path);
	close(listener->fd);
	listener->fd = -1;
}

/* 0, or why not now */
static int unix_try(const struct sockaddr_un *address, int *fd, struct decant_error *err)
{
	int code;

	*fd = unix_socket(err);
	if (*fd < 0)
		return *fd;
	if (connect(*fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	code = errno;
	close(*fd);
	*fd = -1;
	return decant_error_set(err, -code, "%s: %s", address->sun_path,
				code == ENOENT || code == ECONNREFUSED ? "nobody listens there" : strerror(code));
}

int unix_connect(const char *path, uint64_t deadline_ns, int wake_fd, struct decant_error *err)
{
	struct sockaddr_un address;
	int fd = -1;
	int ret = unix_address(path, &address, err);

	while (ret == 0) {
		struct pollfd wake = { .fd = wake_fd, .events = POLLIN };

		ret = unix_try(&address, &fd, err);
		if (ret == 0)
			return fd;
		/* EAGAIN: its backlog is full */
		if ((ret != -ENOENT && ret != -ECONNREFUSED && ret != -EAGAIN) || clock_now_ns() >= deadline_ns)
			return ret;
		if (poll(&wake, 1, clock_poll_ms(clock_deadline_ns(RETRY_NS))) > 0)
			return decant_error_set(err, -ECANCELED, "%s: cancelled", path);
		ret = 0;
	}
	return ret;
}

pid_t unix_peer(int fd)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : -errno;
}

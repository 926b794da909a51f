/* SPDX-License-Identifier: BSD-2-Clause */
/* unix_socket.h -- UNIX stream sockets with a path: made, taken away, connected to; all descriptors non-blocking and close-on-exec */
#ifndef QEMU_UNIX_SOCKET_H
#define QEMU_UNIX_SOCKET_H

#include <decant/error.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A socket that was made here, and so goes with us. */
struct unix_listener {
	int fd;           /* -1: none */
	const char *path; /* the caller's */
	dev_t device;     /* of the file, to know it again */
	ino_t inode;
};

#define UNIX_LISTENER_INIT \
	{                  \
		.fd = -1   \
	}

/*
 * unix_listen() -- make the socket, which only its owner may connect to, and listen
 *
 * A socket that nobody listens on is what another process has left, and is replaced. Returns 0; -EADDRINUSE: somebody
 * listens there; -EEXIST: it is something else than a socket; -ENAMETOOLONG; or what bind(2) says.
 */
int unix_listen(struct unix_listener *listener, const char *path, struct decant_error *err);

/* unix_accept() -- a descriptor; -EAGAIN: nobody is there */
int unix_accept(const struct unix_listener *listener, struct decant_error *err);

/*
 * unix_peek() -- what has come on a connection of unix_accept(), which stays to be read, and which process has written it
 *
 * That may be another than the one that has connected: libvirtd connects, and hands the connection to QEMU. *@writer: 0 if it is in no PID
 * namespace of ours. Returns the number of bytes, 0 at the end, or -errno, then without a writer.
 */
ssize_t unix_peek(int fd, void *data, size_t length, pid_t *writer);

/* unix_unlisten() -- close it, and remove the file if it is still ours; fine on one that does not listen */
void unix_unlisten(struct unix_listener *listener);

/*
 * unix_connect() -- a descriptor
 *
 * Waits until @deadline_ns for somebody to listen there. Returns -ENOENT or -ECONNREFUSED (nobody does), -ECANCELED (@wake_fd became
 * readable), -EACCES, ...
 */
int unix_connect(const char *path, uint64_t deadline_ns, int wake_fd, struct decant_error *err);

/* unix_peer() -- the process that connected to us, or that listens where we have connected; or -errno */
pid_t unix_peer(int fd);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * idle_channels.h -- multifd's connections for a destination QEMU that waits for them, though no page comes over any
 *
 * What the source's channels carry is moved, or goes on in the main stream. But libvirt turns multifd on at both ends, and a QEMU that
 * has it reads nothing of the main stream before all its channels are there, and later waits on each for a packet that says SYNC whenever the
 * main stream says so. Here each channel is given such packets without end: QEMU's thread for it takes one, and no other
 * before the main stream has come as far.
 *
 * How many QEMU wants is not asked for: as long as it reads nothing, there is one more. One without multifd has begun to read long
 * before, and if not, it refuses them.
 */
#ifndef QEMU_IDLE_CHANNELS_H
#define QEMU_IDLE_CHANNELS_H

#include <decant/error.h>
#include <stdint.h>
#include <sys/types.h>

#define IDLE_CHANNELS_MAX 255u /* QEMU's bound */
#define IDLE_CHANNELS_UUID 16u

struct pollfd;
struct idle_channels;

/*
 * idle_channels_uuid() -- the VM's, as the command line of process @pid has it; each channel must bring it. All 0: it has none
 *
 * @proc: where proc(5) is, NULL: "/proc". Returns 0, -ESRCH, -EACCES, -EPROTO (it is none), -ENOMEM.
 */
int idle_channels_uuid(pid_t pid, const char *proc, uint8_t uuid[IDLE_CHANNELS_UUID], struct decant_error *err);

/* idle_channels_new() -- none yet. @path: where QEMU listens, the caller's. @patience_ns: how long it may read nothing. 0, -ENOMEM */
int idle_channels_new(const char *path, const uint8_t uuid[IDLE_CHANNELS_UUID], uint64_t patience_ns,
		      struct idle_channels **channels, struct decant_error *err);

/*
 * idle_channels_turn() -- feed those that there are, and make one more if it is time; never blocks
 *
 * @main: the main connection to QEMU, over which @sent bytes were sent so far. Returns when to call again, whatever else happens.
 */
uint64_t idle_channels_turn(struct idle_channels *channels, int main, uint64_t sent);

/* idle_channels_poll() -- what to wait for: at most @room entries; how many */
uint32_t idle_channels_poll(const struct idle_channels *channels, struct pollfd *fds, uint32_t room);

/* idle_channels_count() -- connections made so far */
uint32_t idle_channels_count(const struct idle_channels *channels);

/* idle_channels_free() -- close them; NULL is fine */
void idle_channels_free(struct idle_channels *channels);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* idle_channels.c -- multifd's connections for a destination QEMU that waits for them, though no page comes over any */
#include "qemu/idle_channels.h"

#include "qemu/big_endian.h"
#include "qemu/process.h"
#include "qemu/unix_socket.h"

#include "util/clock.h"

#include <ctype.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* as in multifd.c: all channels begin with INIT_BYTES, and then there are packets */
#define MULTIFD_MAGIC 0x11223344u
#define MULTIFD_VERSION 1u
#define INIT_BYTES 64u
#define INIT_UUID 8u
#define INIT_ID 24u
#define PACKET_BYTES 1344u /* with room for the offsets of 128 pages, of which there are none */
#define PACKET_FLAGS 8u
#define PACKET_SYNC 1u
#define NEXT_NS (20 * NSEC_PER_MSEC) /* between two new ones: QEMU takes a moment for each */

struct idle_channel {
	int fd;
	uint32_t left; /* bytes of what is being sent: the beginning first, then packets */
	bool begun;    /* the beginning is sent */
};

struct idle_channels {
	const char *path;
	uint8_t uuid[IDLE_CHANNELS_UUID];
	uint64_t patience_ns;

	bool reading;     /* QEMU reads the main connection: it has all that it waits for */
	uint64_t next_ns; /* for one more; 0: nothing was sent yet */
	int unread;       /* the most that lay there unread */
	struct idle_channel channel[IDLE_CHANNELS_MAX];
	uint32_t count;
};

static int uuid_parse(const char *text, uint8_t uuid[IDLE_CHANNELS_UUID])
{
	unsigned int digits = 0;

	memset(uuid, 0, IDLE_CHANNELS_UUID);
	for (; *text != '\0'; text++) {
		const char digit = (char)tolower((unsigned char)*text);

		if (digit == '-')
			continue;
		if (!isxdigit((unsigned char)digit) || digits == 2 * IDLE_CHANNELS_UUID)
			return -EPROTO;
		uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 |
					     (digit <= '9' ? digit - '0' : digit - 'a' + 10));
		digits++;
	}
	return digits == 2 * IDLE_CHANNELS_UUID ? 0 : -EPROTO;
}

int idle_channels_uuid(pid_t pid, const char *proc, uint8_t uuid[IDLE_CHANNELS_UUID], struct decant_error *err)
{
	const struct process_option *options;
	struct process *process;
	uint32_t count;
	int ret = process_open(pid, proc, &process, err);

	if (ret < 0)
		return ret;
	memset(uuid, 0, IDLE_CHANNELS_UUID);
	options = process_options(process, &count);
	for (uint32_t i = 0; ret == 0 && i < count; i++) {
		if (strcmp(options[i].name, "uuid") == 0 && options[i].value != NULL &&
		    uuid_parse(options[i].value, uuid) < 0)
			ret = decant_error_set(err, -EPROTO, "process %d: -uuid %.60s: that is none", pid,
					       options[i].value);
	}
	process_free(process);
	return ret;
}

int idle_channels_new(const char *path, const uint8_t uuid[IDLE_CHANNELS_UUID], uint64_t patience_ns,
		      struct idle_channels **channels, struct decant_error *err)
{
	struct idle_channels *made = calloc(1, sizeof(*made));

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "channels for QEMU: no memory");
	made->path = path;
	memcpy(made->uuid, uuid, IDLE_CHANNELS_UUID);
	made->patience_ns = patience_ns;
	*channels = made;
	return 0;
}

/* What is unread weighs more than its bytes, so less of it than was sent means that something was read. */
static bool idle_channels_look(struct idle_channels *channels, int main, uint64_t sent)
{
	int unread = 0;

	if (channels->reading || sent == 0 || ioctl(main, SIOCOUTQ, &unread) < 0)
		return channels->reading;
	channels->reading = unread < channels->unread || (uint64_t)unread < sent;
	channels->unread = unread;
	return channels->reading;
}

/* A QEMU that wants no more has closed its socket, or will refuse: then there is none. */
static void idle_channels_add(struct idle_channels *channels)
{
	struct idle_channel *channel = &channels->channel[channels->count];
	const int fd = unix_connect(channels->path, 0, -1, NULL);

	if (fd < 0)
		return;
	*channel = (struct idle_channel){ .fd = fd, .left = INIT_BYTES };
	channels->count++;
}

static void idle_channel_fill(const struct idle_channels *channels, uint32_t number, uint8_t *bytes)
{
	memset(bytes, 0, PACKET_BYTES);
	big_put32(bytes, MULTIFD_MAGIC);
	big_put32(bytes + 4, MULTIFD_VERSION);
	if (channels->channel[number].begun) {
		big_put32(bytes + PACKET_FLAGS, PACKET_SYNC);
		return;
	}
	memcpy(bytes + INIT_UUID, channels->uuid, IDLE_CHANNELS_UUID);
	bytes[INIT_ID] = (uint8_t)number;
}

static void idle_channel_feed(struct idle_channels *channels, uint32_t number)
{
	struct idle_channel *channel = &channels->channel[number];
	uint8_t bytes[PACKET_BYTES];
	ssize_t sent = 1;

	idle_channel_fill(channels, number, bytes);
	while (channel->fd >= 0 && sent > 0) {
		const uint32_t whole = channel->begun ? PACKET_BYTES : INIT_BYTES;

		sent = send(channel->fd, bytes + whole - channel->left, channel->left,
			    MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR) {
			close(channel->fd); /* QEMU has closed it: it has loaded the VM, or wants no such channel */
			channel->fd = -1;
		}
		channel->left -= sent > 0 ? (uint32_t)sent : 0;
		if (channel->left > 0)
			continue;
		channel->begun = true;
		channel->left = PACKET_BYTES;
		idle_channel_fill(channels, number, bytes);
	}
}

uint64_t idle_channels_turn(struct idle_channels *channels, int main, uint64_t sent)
{
	const bool reading = idle_channels_look(channels, main, sent);
	const uint64_t now_ns = clock_now_ns();

	if (!reading && sent > 0 && channels->next_ns == 0)
		channels->next_ns = clock_deadline_ns(channels->patience_ns);
	if (!reading && channels->next_ns != 0 && now_ns >= channels->next_ns &&
	    channels->count < IDLE_CHANNELS_MAX) {
		idle_channels_add(channels);
		channels->next_ns = clock_deadline_ns(NEXT_NS);
	}
	for (uint32_t i = 0; i < channels->count; i++)
		idle_channel_feed(channels, i);
	if (reading || channels->next_ns == 0 || channels->count == IDLE_CHANNELS_MAX)
		return CLOCK_NEVER;
	return channels->next_ns;
}

uint32_t idle_channels_poll(const struct idle_channels *channels, struct pollfd *fds, uint32_t room)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < channels->count && count < room; i++) {
		if (channels->channel[i].fd >= 0)
			fds[count++] = (struct pollfd){ .fd = channels->channel[i].fd, .events = POLLOUT };
	}
	return count;
}

uint32_t idle_channels_count(const struct idle_channels *channels)
{
	return channels->count;
}

void idle_channels_free(struct idle_channels *channels)
{
	if (channels == NULL)
		return;
	for (uint32_t i = 0; i < channels->count; i++) {
		if (channels->channel[i].fd >= 0)
			close(channels->channel[i].fd);
	}
	free(channels);
}

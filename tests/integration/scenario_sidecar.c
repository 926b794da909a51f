/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * scenario_sidecar.c -- the mover as two sidecars use it: memory that is somebody else's and holds something, and talk both ways
 *
 * The memory at the destination is a file of the test's, of which the landing sees a part through a mapping of the caller's. The test has
 * a mapping of its own, as the QEMU has whose memory it is, and looks through that one.
 */
#include "integration/breaker.h"
#include "integration/scenarios.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <linux/userfaultfd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fabric/loop/loop.h"
#include "support/hugepages.h"

#define SIDE_PAGES SCALE(4096u, 2048u)
#define SIDE_BYTES (SIDE_PAGES * PAGE)
#define FILE_OFFSET (4 * MIB)
#define BALLAST_BYTES SCALE(96 * MIB, 48 * MIB)
#define TALKS SCALE(300u, 100u)

struct sides {
	struct decant_memory *memory; /* the source's */
	uint8_t *base;
	struct decant_mover *mover;
	struct decant_error err;

	struct decant_landing *landing;
	pthread_t thread;
	int landed;
	struct decant_error landed_err;
	struct decant_memory *received;
	int fd;
	uint8_t *lent;  /* what the landing sees */
	uint8_t *owned; /* the same pages, as their owner sees them */
	bool refuse, greets;
	uint64_t page_size; /* of both ends */
	blkcnt_t blocks;    /* of the file, when it was lent */
	uint32_t index;     /* of the region; 1: before it comes one that takes long to be made zero */
	uint8_t *ballast;
	uint64_t timeout_ns; /* of the source for the peer; 0: the default */

	/* of the callbacks */
	_Atomic unsigned forth, back, wrong, losses;
	_Atomic bool greeted, watched;
	unsigned fail_at; /* of those that come back; 0: none */
};

static uint64_t page_of(unsigned number)
{
	return number * 7919u % SIDE_PAGES * PAGE;
}

/* ---- the destination ---- */

static int lend_memory(void *opaque, struct decant_state_reader *shape, const struct decant_region *regions,
		       uint32_t count, struct decant_memory *memory, struct decant_error *err)
{
	struct sides *sides = opaque;
	struct decant_region region = regions[sides->index], ballast = regions[0];

	(void)shape;
	if (sides->refuse || count != sides->index + 1)
		return decant_error_set(err, -EPERM, "not this one");
	ballast.address = sides->ballast;
	if (sides->index > 0 && decant_memory_add(memory, &ballast, err) < 0)
		return err->code;
	if (sides->greets && decant_landing_message(sides->landing, "hello", 5, err) < 0)
		return err->code;
	region.address = sides->lent;
	region.fd = sides->fd;
	region.fd_offset = FILE_OFFSET;
	return decant_memory_add(memory, &region, err) < 0 ? err->code : 0;
}

/* Says each message back, and one more, so that the two directions are not in step. */
static int say_back(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct sides *sides = opaque;
	int rc = decant_landing_message(sides->landing, data, length, err);

	atomic_fetch_add(&sides->forth, 1);
	return rc == 0 ? decant_landing_message(sides->landing, data, length, err) : rc;
}

static void *landing_main(void *opaque)
{
	struct sides *sides = opaque;

	sides->landed = decant_landing_run(sides->landing, &sides->received, &sides->landed_err);
	return NULL;
}

static blkcnt_t file_blocks(const struct sides *sides)
{
	struct stat status;

	assert_int_equal(fstat(sides->fd, &status), 0);
	return status.st_blocks;
}

/* All of the file holds something, but a part of the region that is a hole. */
static void dirty_memory(struct sides *sides)
{
	const uint64_t length = FILE_OFFSET + SIDE_BYTES + 2 * MIB;
	uint8_t *file;

	sides->fd = memfd_create("owned",
				 MFD_CLOEXEC | (sides->page_size > PAGE ? MFD_HUGETLB | MFD_HUGE_2MB : 0u));
	assert_true(sides->fd >= 0);
	assert_int_equal(ftruncate(sides->fd, (off_t)length), 0);
	file = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, sides->fd, 0);
	assert_ptr_not_equal(file, MAP_FAILED);
	memset(file, 0xa5, FILE_OFFSET + SIDE_BYTES / 2);
	memset(file + FILE_OFFSET + SIDE_BYTES - PAGE, 0x5a, PAGE + 2 * MIB);
	sides->owned = file + FILE_OFFSET;
	sides->lent = mmap(NULL, SIDE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, sides->fd, FILE_OFFSET);
	assert_ptr_not_equal(sides->lent, MAP_FAILED);
	sides->blocks = file_blocks(sides);
	if (sides->index == 0)
		return;
	sides->ballast = mmap(NULL, BALLAST_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(sides->ballast, MAP_FAILED);
	memset(sides->ballast, 0x77, BALLAST_BYTES);
}

static void land(struct sides *sides, const struct rig *rig, bool zero_memory)
{
	static const struct decant_landing_ops ops = {
		.size = sizeof(ops),
		.create = lend_memory,
		.message = say_back,
	};
	struct decant_landing_opts opts = DECANT_LANDING_OPTS_INIT;

	dirty_memory(sides);
	opts.listen = "127.0.0.1:0";
	opts.log = rig->receiver_opts.log;
	opts.zero_memory = zero_memory;
	assert_int_equal(decant_landing_new(&opts, &ops, sides, &sides->landing, &sides->err), 0);
	assert_int_equal(decant_landing_message(sides->landing, "x", 1, NULL), -ENOTCONN);
	assert_int_equal(pthread_create(&sides->thread, NULL, landing_main, sides), 0);
}

/* ---- the source ---- */

static int hear(void *opaque, const void *data, size_t length, struct decant_error *err)
{
	struct sides *sides = opaque;
	unsigned number = ~0u, due;

	if (sides->greets && atomic_exchange(&sides->greeted, true) == false)
		return length == 5 && memcmp(data, "hello", 5) == 0 ? 0 : decant_error_set(err, -EPROTO, "no");
	due = atomic_fetch_add(&sides->back, 1);
	if (length >= sizeof(number))
		memcpy(&number, data, sizeof(number));
	if (number != due / 2 || length != sizeof(number) + number * 41 % 60000)
		atomic_fetch_add(&sides->wrong, 1);
	if (sides->fail_at != 0 && due == sides->fail_at)
		return decant_error_set(err, -ENOSPC, "no more of this");
	return 0;
}

static void count_loss(void *opaque, const struct decant_error *why)
{
	struct sides *sides = opaque;

	if (why->code < 0 && why->msg[0] != '\0')
		atomic_fetch_add(&sides->losses, 1);
}

static int connect_sides(struct sides *sides, const struct rig *rig, bool takes)
{
	struct decant_mover_opts opts = DECANT_MOVER_OPTS_INIT;
	struct decant_region region = DECANT_REGION_INIT, ballast = DECANT_REGION_INIT;
	char peer[64];

	snprintf(region.name, sizeof(region.name), "pc.ram");
	snprintf(ballast.name, sizeof(ballast.name), "ballast");
	ballast.length = BALLAST_BYTES;
	ballast.guest_address = GIB;
	region.length = SIDE_BYTES;
	region.page_size = sides->page_size > 0 ? sides->page_size : PAGE;
	assert_int_equal(decant_memory_new(&sides->memory, NULL), 0);
	if (sides->index > 0)
		assert_int_equal(decant_memory_allocate(sides->memory, &ballast, NULL), 0);
	assert_int_equal(decant_memory_allocate(sides->memory, &region, NULL), (int)sides->index);
	sides->base = decant_memory_region(sides->memory, sides->index)->address;
	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_landing_port(sides->landing));
	opts.peer = peer;
	if (sides->timeout_ns > 0)
		opts.peer_timeout_ns = sides->timeout_ns;
	opts.fabric = rig->fabric;
	opts.channels = 2;
	opts.log = rig->opts.log;
	opts.message = takes ? hear : NULL;
	opts.lost = count_loss;
	opts.opaque = sides;
	return decant_mover_connect(&opts, sides->memory, NULL, &sides->mover, &sides->err);
}

static void begin(struct sides *sides, const struct rig *rig, bool zero_memory)
{
	land(sides, rig, zero_memory);
	if (connect_sides(sides, rig, true) < 0)
		fail_msg("decant_mover_connect: %s", sides->err.msg);
}

static void push(struct sides *sides, uint64_t page, uint64_t pages)
{
	if (decant_mover_push(sides->mover, sides->index, page * PAGE, pages * PAGE, &sides->err) < 0)
		fail_msg("decant_mover_push: %s", sides->err.msg);
}

static void push_zeros(struct sides *sides, uint64_t page, uint64_t pages)
{
	if (decant_mover_push_zeros(sides->mover, sides->index, page * PAGE, pages * PAGE, &sides->err) < 0)
		fail_msg("decant_mover_push_zeros: %s", sides->err.msg);
}

static void settle(struct sides *sides)
{
	if (decant_mover_barrier(sides->mover, &sides->err) < 0)
		fail_msg("decant_mover_barrier: %s", sides->err.msg);
}

/* The orderly end. */
static void part(struct sides *sides)
{
	decant_mover_close(sides->mover);
	sides->mover = NULL;
	pthread_join(sides->thread, NULL);
	if (sides->landed != 0)
		fail_msg("decant_landing_run: %d: %s", sides->landed, sides->landed_err.msg);
	assert_int_equal(atomic_load(&sides->losses), 0);
	assert_true(decant_landing_cpu_ns(sides->landing) > 0);
	assert_int_equal(decant_landing_message(sides->landing, "x", 1, NULL), -ENOTCONN);
}

/* Both mappings are the test's, and still there. */
static void release(struct sides *sides)
{
	decant_landing_free(sides->landing);
	decant_memory_free(sides->received);
	decant_memory_free(sides->memory);
	assert_int_equal(memcmp(sides->lent, sides->owned, SIDE_BYTES), 0);
	assert_int_equal(munmap(sides->lent, SIDE_BYTES), 0);
	assert_true(sides->ballast == NULL || munmap(sides->ballast, BALLAST_BYTES) == 0);
	assert_int_equal(munmap(sides->owned - FILE_OFFSET, FILE_OFFSET + SIDE_BYTES + 2 * MIB), 0);
	assert_int_equal(close(sides->fd), 0);
}

static void expect_around_untouched(const struct sides *sides)
{
	assert_int_equal(sides->owned[-1], 0xa5);
	assert_int_equal(sides->owned[SIDE_BYTES], 0x5a);
}

static void expect_same(const struct sides *sides)
{
	for (uint32_t page = 0; page < SIDE_PAGES; page++)
		if (memcmp(sides->owned + page * PAGE, sides->base + page * PAGE, PAGE) != 0)
			fail_msg("page %u differs", page);
	expect_around_untouched(sides);
}

/* As QEMU does: every page once, in order, told whether it is zero; then some of them again. */
static void push_guest(struct sides *sides)
{
	for (uint32_t page = 0; page < SIDE_PAGES; page += 16)
		if (page % 64 == 0)
			memset(sides->base + page * PAGE, 1 + (int)(page & 0x7f), 16 * PAGE);
	for (uint32_t page = 0; page < SIDE_PAGES; page += 16) {
		if (page % 64 == 0)
			push(sides, page, 16);
		else
			push_zeros(sides, page, 16);
	}
	settle(sides);
	/* data that becomes zeros, zeros that become data, and that become zeros again */
	memset(sides->base, 0, 4 * PAGE);
	push_zeros(sides, 0, 4);
	memset(sides->base + 20 * PAGE, 9, 3 * PAGE);
	push(sides, 20, 3);
	memset(sides->base + 21 * PAGE, 0, PAGE);
	push_zeros(sides, 16, 16);
	settle(sides);
}

/* Through a mapping that fills no hole of the file: who reads one of shmem makes it a page. */
static void expect_zeros(const struct sides *sides)
{
	static uint8_t bytes[2 * MIB];

	for (uint64_t at = 0; at < SIDE_BYTES; at += sizeof(bytes)) {
		assert_int_equal(pread(sides->fd, bytes, sizeof(bytes), (off_t)(FILE_OFFSET + at)), sizeof(bytes));
		for (size_t i = 0; i < sizeof(bytes); i++)
			if (bytes[i] != 0)
				fail_msg("not zero at %llu", (unsigned long long)(at + i));
	}
}

static void move_guest(struct sides *sides, const struct rig *rig, struct decant_mover_stats *stats)
{
	begin(sides, rig, true);
	settle(sides);
	/* it was made zero by then, without filling a hole, or making one */
	assert_int_equal(file_blocks(sides), sides->blocks);
	expect_zeros(sides);
	push_guest(sides);
	decant_mover_get_stats(sides->mover, stats);
	part(sides);
	expect_same(sides);
}

void scenario_memory_that_holds_something(struct rig *rig)
{
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { 0 };

	move_guest(&sides, rig, &stats);
	/* three of four runs of 16 pages, and 13 of the run that was pushed last */
	assert_int_equal(stats.pages_zero, SIDE_PAGES / 4 * 3 + 13);
	assert_true(stats.pages_sent >= SIDE_PAGES / 4 + 4 + 3 + 3 && stats.pages_sent < SIDE_PAGES / 2);
	assert_int_equal(stats.sent_bytes, stats.pages_sent * PAGE);
	assert_int_equal(stats.ram_bytes, SIDE_BYTES);
	assert_int_equal(stats.pushes, SIDE_PAGES / 16 + 3);
	assert_true(stats.barriers >= 2 && stats.channels == 2 && stats.first_byte_ns != 0 && stats.cpu_ns > 0);
	assert_true(stats.fabric[0] != '\0');
	release(&sides);
}

/* What is pushed before its turn has come is not lost to it; and the first barrier waits until all are done. */
void scenario_memory_made_zero_meanwhile(struct rig *rig)
{
	struct sides sides = { .index = 1 };

	begin(&sides, rig, true);
	memset(sides.base + 100 * PAGE, 0x42, 300 * PAGE);
	push(&sides, 100, 300);
	settle(&sides);
	expect_same(&sides);
	part(&sides);
	expect_same(&sides);
	release(&sides);
}

/* Whoever touches the ballast waits until the descriptor is closed. -1: this kernel has no such thing. */
static int hold_ballast(const struct sides *sides)
{
	struct uffdio_api api = { .api = UFFD_API, .features = UFFD_FEATURE_MINOR_SHMEM };
	struct uffdio_register held = {
		.range = { .start = (uintptr_t)sides->ballast, .len = BALLAST_BYTES },
		.mode = UFFDIO_REGISTER_MODE_MINOR,
	};
	const int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api) == 0 && ioctl(fd, UFFDIO_REGISTER, &held) == 0 &&
	    madvise(sides->ballast, BALLAST_BYTES, MADV_DONTNEED) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void *let_ballast_go(void *opaque)
{
	const int *fd = opaque;

	usleep(2500 * 1000);
	close(*fd);
	return NULL;
}

/* A barrier that waits for zeros longer than a peer may be silent is no channel that is lost. */
void scenario_memory_slow_to_be_zero(struct rig *rig)
{
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { .index = 1, .timeout_ns = 1000 * MS };
	pthread_t thread;
	int held;

	land(&sides, rig, true);
	held = hold_ballast(&sides);
	if (held >= 0)
		assert_int_equal(pthread_create(&thread, NULL, let_ballast_go, &held), 0);
	if (connect_sides(&sides, rig, true) < 0)
		fail_msg("decant_mover_connect: %s", sides.err.msg);
	push(&sides, 100, 300);
	settle(&sides);
	decant_mover_get_stats(sides.mover, &stats);
	assert_int_equal(stats.failovers, 0);
	if (held >= 0)
		pthread_join(thread, NULL);
	part(&sides);
	expect_same(&sides);
	release(&sides);
}

/* A source that has nothing to say gets what it was promised, too. */
void scenario_memory_made_zero_alone(struct rig *rig)
{
	struct sides sides = { .index = 1 };

	begin(&sides, rig, true);
	part(&sides);
	expect_zeros(&sides);
	expect_around_untouched(&sides);
	release(&sides);
}

/* hugetlbfs, at both ends: what is a hole is told otherwise there. */
void scenario_memory_of_huge_pages(struct rig *rig)
{
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { .page_size = 2 * MIB };
	int ret = hugepages_reserve((unsigned)((FILE_OFFSET + 2 * SIDE_BYTES + 2 * MIB) / (2 * MIB)));

	if (ret < 0) {
		print_message("SKIP: 2 MiB pages: %s\n", strerror(-ret));
		skip();
	}
	move_guest(&sides, rig, &stats);
	assert_int_equal(stats.pages_zero, SIDE_PAGES / 4 * 3 + 13);
	release(&sides);
}

/* Without, every page that is pushed is sent; what is not pushed stays as it was. */
void scenario_memory_that_is_not_made_zero(struct rig *rig)
{
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { 0 };

	begin(&sides, rig, false);
	assert_int_equal(sides.owned[0], 0xa5);
	push_guest(&sides);
	decant_mover_get_stats(sides.mover, &stats);
	part(&sides);

	expect_same(&sides);
	assert_int_equal(stats.pages_zero, 0);
	assert_true(stats.pages_sent >= SIDE_PAGES);
	release(&sides);
}

/* However a session ends, the memory is its owner's, and what lies beside it in the file is untouched. */
void scenario_memory_of_others_survives(struct rig *rig)
{
	struct sides refused = { .refuse = true }, cut = { 0 };

	land(&refused, rig, true);
	assert_int_equal(connect_sides(&refused, rig, true), -EPERM);
	pthread_join(refused.thread, NULL);
	assert_true(refused.landed < 0);
	assert_int_equal(refused.owned[0], 0xa5);
	expect_around_untouched(&refused);
	release(&refused);

	begin(&cut, rig, true);
	push(&cut, 0, 64);
	decant_mover_cancel(cut.mover);
	decant_mover_close(cut.mover);
	pthread_join(cut.thread, NULL);
	assert_true(cut.landed < 0);
	assert_null(cut.received);
	expect_around_untouched(&cut);
	release(&cut);
}

/* ---- talk ---- */

static void say(struct sides *sides, unsigned number)
{
	static uint8_t text[DECANT_MESSAGE_MAX];

	memcpy(text, &number, sizeof(number));
	if (decant_mover_message(sides->mover, text, sizeof(number) + number * 41 % 60000, &sides->err) < 0)
		fail_msg("decant_mover_message: %s", sides->err.msg);
}

static void expect_all_said(struct sides *sides)
{
	assert_int_equal(atomic_load(&sides->forth), TALKS);
	assert_int_equal(atomic_load(&sides->back), 2 * TALKS);
	assert_int_equal(atomic_load(&sides->wrong), 0);
}

static void talk_and_push(struct sides *sides, unsigned first, unsigned count)
{
	for (unsigned number = first; number < first + count; number++) {
		say(sides, number);
		memset(sides->base + page_of(number), (int)(number & 0xff), PAGE);
		push(sides, page_of(number) / PAGE, 1);
	}
}

void scenario_messages_back(struct rig *rig)
{
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { .greets = true }; /* before there is any memory */

	begin(&sides, rig, true);
	assert_true(atomic_load(&sides.greeted));
	talk_and_push(&sides, 0, TALKS);
	settle(&sides);
	/* by now all have been said back, and the close waits for the last of them */
	assert_int_equal(decant_mover_check(sides.mover, NULL), 0);
	decant_mover_get_stats(sides.mover, &stats);
	assert_int_equal(stats.messages, TALKS);
	part(&sides);

	expect_all_said(&sides);
	expect_same(&sides);
	release(&sides);
}

static enum loop_action kill_each_fiftieth(void *opaque, uint64_t epoch, const struct fabric_write *write)
{
	_Atomic unsigned *asked = opaque;

	(void)write;
	return epoch <= 3 && atomic_fetch_add(asked, 1) % 50 == 49 ? LOOP_KILL : LOOP_DELIVER;
}

/* Somebody who shows how it goes on, from a thread of his own. */
static void *watch(void *opaque)
{
	struct sides *sides = opaque;
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	uint64_t sent = 0;

	while (!atomic_load(&sides->watched)) {
		decant_mover_get_stats(sides->mover, &stats);
		if (stats.sent_bytes < sent || stats.channels != 2 || stats.fabric[0] == '\0' ||
		    decant_mover_check(sides->mover, NULL) < 0 || decant_landing_cpu_ns(sides->landing) == 0)
			atomic_fetch_add(&sides->wrong, 1);
		sent = stats.sent_bytes;
		nanosleep(&(struct timespec){ .tv_nsec = MS / 4 }, NULL);
	}
	return NULL;
}

/* Data channels that die in the middle lose none of either direction, and double none. */
void scenario_messages_back_over_failover(struct rig *rig)
{
	_Atomic unsigned asked = 0;
	const struct loop_plan plan = { .decide = kill_each_fiftieth, .opaque = &asked };
	struct decant_mover_stats stats = DECANT_MOVER_STATS_INIT;
	struct sides sides = { 0 };
	pthread_t watcher;

	begin(&sides, rig, true);
	assert_int_equal(pthread_create(&watcher, NULL, watch, &sides), 0);
	loop_plan_set(&plan);
	for (unsigned round = 0; round < 4; round++) {
		talk_and_push(&sides, round * TALKS / 4, TALKS / 8);
		if (rig_has_rails(rig) && round == 0)
			breaker_arm(BREAKER_WRITE, 0);
		else if (strcmp(rig->fabric, "loop") != 0 && round < 3)
			assert_true(rig_kill_data_but(decant_landing_port(sides.landing)));
		talk_and_push(&sides, round * TALKS / 4 + TALKS / 8, TALKS / 4 - TALKS / 8);
	}
	settle(&sides);
	decant_mover_get_stats(sides.mover, &stats);
	atomic_store(&sides.watched, true);
	pthread_join(watcher, NULL);
	part(&sides);

	assert_true(stats.failovers > 0);
	expect_all_said(&sides);
	expect_same(&sides);
	release(&sides);
	loop_plan_set(NULL);
}

void scenario_messages_that_nobody_takes(struct rig *rig)
{
	struct sides sides = { 0 };
	static uint8_t text[DECANT_MESSAGE_MAX + 1];

	land(&sides, rig, true);
	assert_int_equal(connect_sides(&sides, rig, false), 0);
	assert_int_equal(decant_landing_message(sides.landing, text, 1, &sides.err), -EOPNOTSUPP);
	assert_int_equal(decant_landing_message(sides.landing, text, 0, &sides.err), -EMSGSIZE);
	assert_int_equal(decant_landing_message(sides.landing, text, sizeof(text), &sides.err), -EMSGSIZE);
	part(&sides);
	release(&sides);
}

/* Who takes them may end the session: every call says why, and the feeder that waits for something else is told. */
void scenario_message_back_that_fails(struct rig *rig)
{
	struct sides sides = { .fail_at = 5 };
	int ret = 0;

	begin(&sides, rig, true);
	for (unsigned number = 0; ret == 0 && number < 100000; number++) {
		const unsigned what = number % 64;

		ret = decant_mover_message(sides.mover, &what, sizeof(what), &sides.err);
	}
	assert_int_equal(ret, -ENOSPC);
	assert_non_null(strstr(sides.err.msg, "no more of this"));
	assert_int_equal(decant_mover_check(sides.mover, NULL), -ENOSPC);
	for (int i = 0; i < 3000 && atomic_load(&sides.losses) == 0; i++)
		nanosleep(&(struct timespec){ .tv_nsec = MS }, NULL);
	assert_int_equal(atomic_load(&sides.losses), 1);
	decant_mover_close(sides.mover);
	pthread_join(sides.thread, NULL);
	assert_true(sides.landed < 0);
	release(&sides);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * there_and_back.c -- a VM moves back and forth between two processes, and neither of them grows
 *
 * there_and_back [MIGRATIONS [FABRIC [HOST]]]: this process has the guest first, its child takes it in, sends it back, and so on. When
 * a process has let the guest go it looks at itself: descriptors, threads, memory that is allocated, memory that is its own, and
 * the RDMA resources of the machine. All these must come back to what they were after the first time round. Memory is compared
 * over the second half of the rounds: before, caches fill.
 */
#include <decant/migration.h>
#include <dirent.h>
#include <malloc.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/io.h"
#include "vmm/arrival.h"
#include "vmm/departure.h"

#define MIGRATIONS 10
#define ROUNDS_MAX 500u
#define PATIENCE_MS (300 * 1000)
#define SETTLE_NS (60 * NSEC_PER_SEC)
#define ALLOCATED_MORE_MAX (8u << 10)
#define OWN_MORE_MAX (256u << 10)
#define RESOURCES_MAX 256

/* What a process has of all that could grow. */
struct growth {
	unsigned descriptors;
	unsigned threads;
	uint64_t allocated; /* bytes that malloc() has given out */
	uint64_t own;       /* bytes of memory that are not the guest's */
	char resources[RESOURCES_MAX];
};

struct end {
	const char *name, *fabric, *host;
	int other; /* a socket to the other process */
	int wake_fd;
	struct machine *machine;
	struct arrival *arrival; /* that brought the machine; NULL if it began here */
	struct growth growth[ROUNDS_MAX];
	unsigned rounds;
};

static void fail(const struct end *end, const char *what, const char *why)
{
	printf("# %s, round %u: %s: %s\nnot ok 1 - there and back\n", end->name, end->rounds, what, why);
	fflush(stdout);
	_exit(1);
}

/* ---- what a process has ---- */

static unsigned count_entries(const char *path)
{
	DIR *folder = opendir(path);
	unsigned count = 0;

	while (folder != NULL && readdir(folder) != NULL)
		count++;
	if (folder != NULL)
		closedir(folder);
	return count;
}

static uint64_t own_bytes(void)
{
	FILE *status = fopen("/proc/self/status", "re");
	unsigned long long kib = 0;
	char line[256];

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (sscanf(line, "RssAnon: %llu", &kib) == 1)
			break;
	if (status != NULL)
		fclose(status);
	return kib << 10;
}

/* One line for each device, as in "rxe0: pd 1 cq 2 qp 2 cm_id 2 mr 4". */
static void read_resources(char text[RESOURCES_MAX])
{
	FILE *shown;
	size_t length;

	text[0] = '\0';
	if (access("/sys/class/infiniband", F_OK) != 0)
		return;
	/* without the open devices: librdmacm keeps those as long as the process lives */
	shown = popen("rdma resource show | sed 's/ ctx [0-9]*//; s/^[0-9]*: //'", "re");
	if (shown == NULL)
		return;
	length = fread(text, 1, RESOURCES_MAX - 1, shown);
	text[length] = '\0';
	pclose(shown);
}

static void look(struct growth *growth)
{
	growth->allocated = mallinfo2().uordblks;
	growth->own = own_bytes();
	growth->descriptors = count_entries("/proc/self/fd");
	growth->threads = count_entries("/proc/self/task");
	read_resources(growth->resources);
}

static bool is_back(const struct growth *now, const struct growth *first)
{
	return now->descriptors <= first->descriptors && now->threads <= first->threads &&
	       strcmp(now->resources, first->resources) == 0;
}

/* The kernel's own threads of a VM, and what the other process lets go of off the pause, take a moment to go. */
static void look_when_quiet(struct growth *growth)
{
	struct growth before;

	look(growth);
	do {
		before = *growth;
		usleep(growth->resources[0] != '\0' ? 3000000 : 300000);
		look(growth);
	} while (!is_back(&before, growth));
}

static void account(struct end *end)
{
	const uint64_t deadline = clock_deadline_ns(SETTLE_NS);
	struct growth *now = &end->growth[end->rounds];
	const struct growth *first = &end->growth[1];
	char text[2 * RESOURCES_MAX + 128];

	if (end->rounds == 1)
		look_when_quiet(now);
	else
		look(now);
	while (end->rounds > 1 && !is_back(now, first) && clock_now_ns() < deadline) {
		usleep(20000);
		look(now);
	}
	snprintf(text, sizeof(text), "%u descriptors, %u threads, RDMA %s; after the first time round %u, %u, %s",
		 now->descriptors, now->threads, now->resources, first->descriptors, first->threads,
		 first->resources);
	if (end->rounds > 1 && !is_back(now, first))
		fail(end, "it has grown", text);
	end->rounds++;
}

static uint64_t least(const struct end *end, unsigned from, unsigned to, bool own)
{
	uint64_t least = UINT64_MAX;

	for (unsigned i = from; i < to; i++) {
		const uint64_t one = own ? end->growth[i].own : end->growth[i].allocated;

		least = one < least ? one : least;
	}
	return least;
}

static void check_memory(const struct end *end)
{
	const unsigned half = end->rounds / 2, rest = half + (end->rounds - half) / 2;
	const int64_t allocated = (int64_t)(least(end, rest, end->rounds, false) - least(end, half, rest, false));
	const int64_t own = (int64_t)(least(end, rest, end->rounds, true) - least(end, half, rest, true));
	const struct growth *last = &end->growth[end->rounds - 1];
	char text[128];

	printf("# %s: %u descriptors, %u threads, %llu KiB of its own, %llu bytes allocated; over the second half %+lld, %+lld bytes\n",
	       end->name, last->descriptors, last->threads, (unsigned long long)last->own >> 10,
	       (unsigned long long)last->allocated, (long long)own, (long long)allocated);
	fflush(stdout);
	snprintf(text, sizeof(text), "%lld bytes allocated, %lld bytes of its own", (long long)allocated,
		 (long long)own);
	if (allocated > (int64_t)ALLOCATED_MORE_MAX || own > (int64_t)OWN_MORE_MAX)
		fail(end, "its memory has grown", text);
}

/* ---- the guest comes and goes ---- */

static void await(const struct end *end, const char *what)
{
	struct pollfd wake = { .fd = end->wake_fd, .events = POLLIN };

	if (poll(&wake, 1, PATIENCE_MS) != 1)
		fail(end, what, "it takes too long");
	io_wake_reset(end->wake_fd);
}

static void begin(struct end *end)
{
	const struct machine_config config = {
		.name = "traveller",
		.memory_bytes = 32u << 20,
		.page_size = DECANT_PAGE_SIZE,
		.vcpus = 1,
		.guest = MACHINE_GUEST_STRESS,
	};
	const struct machine_host host = MACHINE_HOST_INIT;
	const struct machine_boot boot = { .stress = "wss=2M,data=4M,zero=1M" };
	const uint64_t deadline = clock_deadline_ns(SETTLE_NS);
	struct decant_error err = DECANT_ERROR_INIT;

	if (machine_new(&config, &host, NULL, &end->machine, &err) < 0 ||
	    machine_boot(end->machine, &boot, &err) < 0 || machine_run(end->machine, NULL, &err) < 0)
		fail(end, "making the VM", err.msg);
	while (!machine_ready(end->machine)) {
		if (clock_now_ns() > deadline)
			fail(end, "the guest", "does not begin its work");
		usleep(1000);
	}
}

static void take_in(struct end *end)
{
	struct arrival_opts opts = { .name = "traveller", .host = MACHINE_HOST_INIT, .wake_fd = end->wake_fd };
	struct decant_error err = DECANT_ERROR_INIT;
	char listen[64];
	uint16_t port;

	snprintf(listen, sizeof(listen), "%s:0", end->host);
	opts.listen = listen;
	if (arrival_start(&opts, &end->arrival, &err) < 0)
		fail(end, "listening", err.msg);
	port = arrival_port(end->arrival);
	if (write(end->other, &port, sizeof(port)) != (ssize_t)sizeof(port))
		fail(end, "telling the port", "the other process is gone");
	await(end, "arrival");
	end->machine = arrival_take(end->arrival, NULL, &err);
	if (end->machine == NULL)
		fail(end, "arrival", err.msg);
}

static void check_departed(const struct end *end, struct departure *departure)
{
	struct decant_stats stats = { .size = sizeof(stats) };

	if (departure_conclude(departure) != DECANT_STATE_COMPLETED)
		fail(end, "departure", departure_error(departure));
	departure_get_stats(departure, &stats);
	if (stats.verdict.status != DECANT_VERDICT_OK)
		fail(end, "the guest's verdict", stats.verdict.text);
	if (strcmp(stats.fabric, end->fabric) != 0)
		fail(end, "the fabric", stats.fabric);
}

static void send_on(struct end *end)
{
	struct departure_opts opts = { .max_downtime_ns = 20 * NSEC_PER_SEC };
	const struct departure_host host = { .machine = MACHINE_HOST_INIT, .wake_fd = end->wake_fd };
	struct decant_error err = DECANT_ERROR_INIT;
	struct departure *departure;
	uint16_t port;

	if (read(end->other, &port, sizeof(port)) != (ssize_t)sizeof(port))
		fail(end, "hearing the port", "the other process is gone");
	snprintf(opts.peer, sizeof(opts.peer), "%s:%u", end->host, port);
	snprintf(opts.fabric, sizeof(opts.fabric), "%s", end->fabric);
	if (departure_start(&opts, &host, end->machine, &departure, &err) < 0)
		fail(end, "departure", err.msg);
	await(end, "departure");
	check_departed(end, departure);
	departure_free(departure);
	arrival_free(end->arrival);
	end->arrival = NULL;
	machine_free(end->machine);
	end->machine = NULL;
}

/* The guest leaves this process @times, and is in the first one before and after. */
static void travel(struct end *end, unsigned times, bool first)
{
	char byte;

	/* what one thread has freed another one shall use: else each new thread may begin an arena */
	mallopt(M_ARENA_MAX, 1);
	end->wake_fd = io_wake_new();
	if (first)
		begin(end);
	for (unsigned i = 0; i < times; i++) {
		if (!first)
			take_in(end);
		send_on(end);
		account(end);
		if (first)
			take_in(end);
	}
	check_memory(end);
	/* the last verdict is asked for by the other process: it closes when it has that */
	if (first && read(end->other, &byte, 1) != 0)
		fail(end, "the other process", "says more than there is to say");
	arrival_free(end->arrival);
	machine_free(end->machine);
	close(end->wake_fd);
}

int main(int argc, char **argv)
{
	const unsigned migrations = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : MIGRATIONS;
	static struct end end;
	int ends[2], status;
	pid_t child;

	if (access("/dev/kvm", R_OK | W_OK) != 0) {
		puts("SKIP: no /dev/kvm");
		return 77;
	}
	end.fabric = argc > 2 ? argv[2] : "tcp";
	end.host = argc > 3 ? argv[3] : "127.0.0.1";
	if (migrations < 4 || migrations / 2 > ROUNDS_MAX ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return 2;
	puts("1..1");
	fflush(stdout);
	child = fork();
	end.name = child == 0 ? "the second process" : "the first process";
	end.other = ends[child == 0];
	close(ends[child != 0]);
	travel(&end, migrations / 2, child != 0);
	if (child == 0)
		_exit(0);
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	puts("ok 1 - there and back");
	return 0;
}

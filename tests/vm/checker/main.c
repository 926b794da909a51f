/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * main.c -- the guest's init: modules, network, workers, and the console, on which it is asked "counts" and told "judge"
 *
 * Settings are words of the kernel's command line, which come as its environment: CHECKER_MEMORY (MiB), CHECKER_ADDRESS (its own, of a /24),
 * CHECKER_PEER, CHECKER_PORT. It answers "counts" with the rounds of each worker, and "judge" with "verdict ok" or "verdict bad", after
 * which the guest powers off.
 */
#include "checker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define CONSOLE "/dev/ttyS0"
#define NETWORK "eth0"

static const char *const job_names[CHECKER_JOBS] = { "memory", "files", "stream" };
static void *(*const job_threads[CHECKER_JOBS])(void *) = { checker_memory, checker_files, checker_stream };
static pthread_mutex_t console_lock = PTHREAD_MUTEX_INITIALIZER;

static void say(const char *prefix, const char *format, va_list arguments)
{
	pthread_mutex_lock(&console_lock);
	fputs(prefix, stdout);
	vprintf(format, arguments);
	putchar('\n');
	fflush(stdout);
	pthread_mutex_unlock(&console_lock);
}

void checker_say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say("", format, arguments);
	va_end(arguments);
}

void checker_bad(struct checker *checker, enum checker_job job, const char *format, ...)
{
	va_list arguments;
	char prefix[32];

	checker->bad = true;
	snprintf(prefix, sizeof(prefix), "BAD %s: ", job_names[job]);
	va_start(arguments, format);
	say(prefix, format, arguments);
	va_end(arguments);
}

uint64_t checker_mix(uint64_t a, uint64_t b)
{
	uint64_t x = a * 0xd6e8feb86659fd93ull + b * 0xa0761d6478bd642full + 1;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return x ^ x >> 29;
}

void checker_nap(unsigned int milliseconds)
{
	struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000l };

	nanosleep(&time, NULL);
}

_Noreturn static void give_up(const char *what)
{
	checker_say("BAD guest: %s: %s", what, strerror(errno));
	reboot(RB_POWER_OFF);
	_exit(1);
}

static void open_console(void)
{
	struct termios settings;
	int fd;

	if (mount("dev", "/dev", "devtmpfs", 0, NULL) < 0)
		give_up("devtmpfs");
	fd = open(CONSOLE, O_RDWR | O_NOCTTY);
	if (fd < 0 || tcgetattr(fd, &settings) < 0)
		give_up(CONSOLE);
	settings.c_lflag &= ~(tcflag_t)(ECHO | ISIG);
	settings.c_oflag &= ~(tcflag_t)OPOST;
	tcsetattr(fd, TCSANOW, &settings);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
}

/* In the order of the list, so that each finds what it needs. */
static void load_modules(void)
{
	FILE *list = fopen("/modules/order", "re");
	char name[128], path[160];

	if (!list)
		give_up("/modules/order");
	while (fscanf(list, "%127s", name) == 1) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s", name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || (syscall(SYS_finit_module, fd, "", 0) < 0 && errno != EEXIST && errno != ENODEV))
			give_up(path);
		close(fd);
	}
	fclose(list);
}

static void set_address(int fd, unsigned long request, const char *address)
{
	struct ifreq network = { .ifr_name = NETWORK };
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		give_up(address);
	memcpy(&network.ifr_addr, &in, sizeof(in));
	if (ioctl(fd, request, &network) < 0)
		give_up(NETWORK);
}

static void join_network(const char *address)
{
	struct ifreq network = { .ifr_name = NETWORK, .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		give_up("socket");
	set_address(fd, SIOCSIFADDR, address);
	set_address(fd, SIOCSIFNETMASK, "255.255.255.0");
	if (ioctl(fd, SIOCSIFFLAGS, &network) < 0)
		give_up(NETWORK);
	close(fd);
}

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	errno = EINVAL;
	if (!value)
		give_up(name);
	return value;
}

static void answer(struct checker *checker)
{
	char line[32];

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (strcmp(line, "judge") == 0)
			return;
		if (strcmp(line, "counts") == 0)
			checker_say("counts memory=%llu files=%llu stream=%llu",
				    (unsigned long long)checker->rounds[CHECKER_MEMORY],
				    (unsigned long long)checker->rounds[CHECKER_FILES],
				    (unsigned long long)checker->rounds[CHECKER_STREAM]);
	}
	give_up("the console has ended");
}

int main(void)
{
	static struct checker checker;
	pthread_t threads[CHECKER_JOBS];

	open_console();
	load_modules();
	join_network(setting("CHECKER_ADDRESS"));
	checker.memory_bytes = strtoul(setting("CHECKER_MEMORY"), NULL, 10) << 20;
	checker.peer_address = setting("CHECKER_PEER");
	checker.peer_port = (uint16_t)strtoul(setting("CHECKER_PORT"), NULL, 10);
	for (int job = 0; job < CHECKER_JOBS; job++) {
		errno = pthread_create(&threads[job], NULL, job_threads[job], &checker);
		if (errno != 0)
			give_up("pthread_create");
	}
	checker_say("checker works");
	answer(&checker);
	checker.judging = true;
	for (int job = 0; job < CHECKER_JOBS; job++)
		pthread_join(threads[job], NULL);
	checker_say("verdict %s", checker.bad ? "bad" : "ok");
	tcdrain(STDOUT_FILENO);
	reboot(RB_POWER_OFF);
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * observe_cpu.c -- CPU time of another process, by threads, and of the host
 *
 * A thread's time is the first number of its schedstat, in nanoseconds. Threads come and go, and a process that ends takes
 * all with it, so each sample keeps what it has seen. Over loopback a sender does the receiver's network work, in what /proc/stat
 * calls softirq; whether it counts as the thread's too is the kernel's affair (CONFIG_IRQ_TIME_ACCOUNTING).
 */
#include "observe.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 256
#define NAME_MAX_BYTES 32 /* the kernel keeps 15 */

struct thread {
	int tid;
	int fd; /* its schedstat; -1: it has ended */
	char name[NAME_MAX_BYTES];
	uint64_t first_ns, last_ns;
};

struct observe_cpu {
	int pid;
	bool sampled; /* what a thread that comes later has used, it has used since */
	size_t count;
	struct thread thread[THREADS_MAX];
};

int observe_cpu_new(int pid, struct observe_cpu **cpu_ptr)
{
	struct observe_cpu *cpu = calloc(1, sizeof(*cpu));

	if (cpu == NULL)
		return -ENOMEM;
	cpu->pid = pid;
	observe_cpu_sample(cpu);
	*cpu_ptr = cpu;
	return 0;
}

/* Bytes of a small file of /proc as a text; 0 if it cannot be read. */
static size_t read_text(int fd, char *text, size_t room)
{
	const ssize_t length = fd < 0 ? -1 : pread(fd, text, room - 1, 0);

	if (length <= 0)
		return 0;
	text[length] = '\0';
	return (size_t)length;
}

static bool read_time(const struct thread *thread, uint64_t *ns)
{
	char text[96];

	if (read_text(thread->fd, text, sizeof(text)) == 0)
		return false;
	*ns = strtoull(text, NULL, 10);
	return true;
}

static void read_name(int folder, const char *tid, char name[NAME_MAX_BYTES])
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "%.16s/comm", tid);
	fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (read_text(fd, name, NAME_MAX_BYTES) == 0)
		snprintf(name, NAME_MAX_BYTES, "?");
	name[strcspn(name, "\n")] = '\0';
	for (char *c = name; *c != '\0'; c++)
		if (*c == '"' || *c == '\\' || !isprint((unsigned char)*c))
			*c = '?';
	if (fd >= 0)
		close(fd);
}

static bool is_known(const struct observe_cpu *cpu, int tid)
{
	for (size_t i = 0; i < cpu->count; i++)
		if (cpu->thread[i].tid == tid && cpu->thread[i].fd >= 0)
			return true;
	return false;
}

static void meet(struct observe_cpu *cpu, int folder, const char *tid)
{
	struct thread *thread = &cpu->thread[cpu->count];
	char path[64];

	if (cpu->count == THREADS_MAX || is_known(cpu, atoi(tid)))
		return;
	snprintf(path, sizeof(path), "%.16s/schedstat", tid);
	thread->fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (thread->fd < 0)
		return;
	thread->tid = atoi(tid);
	thread->first_ns = 0;
	if (!cpu->sampled)
		read_time(thread, &thread->first_ns);
	thread->last_ns = thread->first_ns;
	read_name(folder, tid, thread->name);
	cpu->count++;
}

static void meet_all(struct observe_cpu *cpu)
{
	struct dirent *entry;
	char path[32];
	DIR *folder;

	snprintf(path, sizeof(path), "/proc/%d/task", cpu->pid);
	folder = opendir(path);
	if (folder == NULL)
		return;
	while ((entry = readdir(folder)) != NULL)
		if (entry->d_name[0] != '.')
			meet(cpu, dirfd(folder), entry->d_name);
	closedir(folder);
	cpu->sampled = true;
}

void observe_cpu_sample(struct observe_cpu *cpu)
{
	for (size_t i = 0; i < cpu->count; i++) {
		struct thread *thread = &cpu->thread[i];

		if (thread->fd < 0 || read_time(thread, &thread->last_ns))
			continue;
		close(thread->fd);
		thread->fd = -1;
	}
	meet_all(cpu);
}

static bool is_first_of_name(const struct observe_cpu *cpu, size_t index)
{
	for (size_t i = 0; i < index; i++)
		if (strcmp(cpu->thread[i].name, cpu->thread[index].name) == 0)
			return false;
	return true;
}

void observe_cpu_print(FILE *out, const struct observe_cpu *cpu)
{
	const char *comma = "";

	fputc('{', out);
	for (size_t i = 0; i < cpu->count; i++) {
		uint64_t ns = 0;

		if (!is_first_of_name(cpu, i))
			continue;
		for (size_t j = i; j < cpu->count; j++)
			if (strcmp(cpu->thread[i].name, cpu->thread[j].name) == 0)
				ns += cpu->thread[j].last_ns - cpu->thread[j].first_ns;
		fprintf(out, "%s\"%s\": %.6f", comma, cpu->thread[i].name, (double)ns / 1e9);
		comma = ", ";
	}
	fputc('}', out);
}

void observe_cpu_free(struct observe_cpu *cpu)
{
	if (cpu == NULL)
		return;
	for (size_t i = 0; i < cpu->count; i++)
		if (cpu->thread[i].fd >= 0)
			close(cpu->thread[i].fd);
	free(cpu);
}

struct observe_host_cpu observe_host_cpu(void)
{
	const double tick = (double)sysconf(_SC_CLK_TCK);
	uint64_t user, nice, system, idle, iowait, irq, softirq;
	struct observe_host_cpu host = { 0 };
	char text[256];
	const int fd = open("/proc/stat", O_RDONLY | O_CLOEXEC);

	if (read_text(fd, text, sizeof(text)) > 0 &&
	    sscanf(text, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
		   &user, &nice, &system, &idle, &iowait, &irq, &softirq) == 7)
		host = (struct observe_host_cpu){
			.user = (double)(user + nice) / tick,
			.system = (double)system / tick,
			.softirq = (double)(irq + softirq) / tick,
		};
	if (fd >= 0)
		close(fd);
	return host;
}

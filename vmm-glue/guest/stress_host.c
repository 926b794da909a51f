/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress_host.c -- commands to the stress guest, and what it answers, through its memory
 *
 * The guest has no interrupts: a command is a number counted up in the boot page, which the guest looks at once per turn,
 * and the answer is the same number in the status page. The guest writes 64-bit counters as two 32-bit halves, so they
 * are read until two readings agree.
 */
#include "guest/stress_host.h"

#include "guest/stress_layout.h"
#include "util/clock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define POLL_NS (500 * NSEC_PER_USEC)
#define BOOT_OFFSET(field) (STRESS_BOOT_ADDRESS + offsetof(struct stress_boot, field))

_Static_assert(sizeof(struct stress_boot) <= DECANT_PAGE_SIZE, "one page");
_Static_assert(sizeof(struct stress_status) <= 4 * DECANT_PAGE_SIZE, "four pages");

static uint64_t read_counter(const volatile uint64_t *counter)
{
	uint64_t before, now = *counter;

	do {
		before = now;
		now = *counter;
	} while (now != before);
	return now;
}

static uint32_t vcpus_of(const struct stress_host *host)
{
	uint32_t vcpus = host->boot->vcpus;

	return vcpus > STRESS_VCPUS_MAX ? STRESS_VCPUS_MAX : vcpus;
}

static void write_command(struct stress_host *host, volatile uint32_t *field, uint64_t guest_address,
			  uint32_t value)
{
	*field = value;
	if (host->mark != NULL)
		host->mark(host->opaque, guest_address, sizeof(value));
}

int stress_host_attach(struct stress_host *host, const struct decant_memory *memory,
		       void (*mark)(void *opaque, uint64_t guest_address, uint64_t length), void *opaque,
		       struct decant_error *err)
{
	for (uint32_t i = 0; i < decant_memory_count(memory); i++) {
		const struct decant_region *region = decant_memory_region(memory, i);

		if (region->guest_address != 0 || region->length < STRESS_STATUS_ADDRESS + 4 * DECANT_PAGE_SIZE)
			continue;
		*host = (struct stress_host){
			.boot = (void *)((uint8_t *)region->address + STRESS_BOOT_ADDRESS),
			.status = (void *)((uint8_t *)region->address + STRESS_STATUS_ADDRESS),
			.mark = mark,
			.opaque = opaque,
		};
		return 0;
	}
	return decant_error_set(err, -EINVAL, "stress guest: no memory at guest address 0x%x",
				STRESS_BOOT_ADDRESS);
}

void stress_host_boot(struct stress_host *host, const struct stress_boot *boot)
{
	*host->boot = *boot;
	if (host->mark != NULL)
		host->mark(host->opaque, STRESS_BOOT_ADDRESS, sizeof(*boot));
}

bool stress_host_present(const struct stress_host *host)
{
	return host->boot->magic == STRESS_BOOT_MAGIC && host->status->magic == STRESS_BOOT_MAGIC;
}

uint32_t stress_host_phase(const struct stress_host *host)
{
	return stress_host_present(host) ? host->status->phase : STRESS_PHASE_BOOT;
}

void stress_host_started(struct stress_host *host)
{
	for (uint32_t i = 0; i < vcpus_of(host); i++)
		host->start_heartbeat[i] = read_counter(&host->status->vcpu[i].heartbeat);
	host->start_work = stress_host_work(host);
	host->start_ns = clock_now_ns();
}

void stress_host_gap_reset(struct stress_host *host)
{
	write_command(host, &host->boot->gap_reset, BOOT_OFFSET(gap_reset), host->boot->gap_reset + 1);
}

uint64_t stress_host_gap_max_ns(const struct stress_host *host)
{
	uint32_t khz = host->boot->tsc_khz;
	uint64_t max = 0;

	for (uint32_t i = 0; i < vcpus_of(host); i++) {
		uint64_t gap = read_counter(&host->status->vcpu[i].gap_max_tsc);

		max = gap > max ? gap : max;
	}
	return khz == 0 ? 0 : max / khz * NSEC_PER_MSEC + max % khz * NSEC_PER_MSEC / khz;
}

uint64_t stress_host_work(const struct stress_host *host)
{
	uint64_t work = 0;

	for (uint32_t i = 0; i < vcpus_of(host); i++)
		work += read_counter(&host->status->vcpu[i].work);
	return work;
}

static bool all_turned(const struct stress_host *host)
{
	if (stress_host_phase(host) < STRESS_PHASE_RUN)
		return false;
	for (uint32_t i = 0; i < vcpus_of(host); i++)
		if (read_counter(&host->status->vcpu[i].heartbeat) == host->start_heartbeat[i])
			return false;
	return true;
}

static bool has_answered(const struct stress_host *host)
{
	return host->status->verdict_done == host->boot->verdict_ask;
}

static int wait_for(const struct stress_host *host, bool (*done)(const struct stress_host *host),
		    uint64_t deadline)
{
	const struct timespec pause = { .tv_nsec = POLL_NS };

	while (!done(host)) {
		if (host->abandoned)
			return -ECANCELED;
		if (clock_now_ns() >= deadline)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static const char *kind_of(const struct stress_host *host, uint32_t page)
{
	const struct stress_boot boot = *host->boot;
	struct stress_layout layout;
	uint32_t end;

	if (page < STRESS_SWEEP_FIRST || !stress_layout_plan(&layout, &boot))
		return "its own image";
	switch (stress_layout_kind(&layout, page, &end)) {
	case STRESS_KIND_WSS:
		return "working set";
	case STRESS_KIND_DATA:
		return "cold data";
	case STRESS_KIND_ZERO:
		return "zeroed";
	case STRESS_KIND_HOLE:
		break;
	}
	return "never written";
}

static void describe_bad(const struct stress_host *host, char *text, size_t length)
{
	const struct stress_status status = *host->status;

	if (status.bad_page == STRESS_BAD_CLOCK)
		snprintf(text, length, "%u wrong; first: a vCPU's TSC ran backwards", status.bad_pages);
	else
		snprintf(text, length, "%u wrong; first: page 0x%x (%s) offset 0x%x: 0x%08x should be 0x%08x",
			 status.bad_pages, status.bad_page, kind_of(host, status.bad_page), status.bad_offset,
			 status.bad_found, status.bad_expected);
}

static void read_verdict(const struct stress_host *host, struct decant_verdict *verdict)
{
	const struct stress_boot boot = *host->boot;

	if (host->status->verdict == STRESS_VERDICT_BAD) {
		verdict->status = DECANT_VERDICT_BAD;
		describe_bad(host, verdict->text, sizeof(verdict->text));
		return;
	}
	verdict->status = DECANT_VERDICT_OK;
	snprintf(verdict->text, sizeof(verdict->text),
		 "all %u MiB as they should be: %u MiB working set, %u MiB cold data", boot.memory_pages / 256,
		 boot.wss_pages / 256, boot.data_pages / 256);
}

int stress_host_verdict(struct stress_host *host, uint64_t timeout_ns, struct decant_verdict *verdict,
			struct decant_error *err)
{
	uint64_t deadline = clock_deadline_ns(timeout_ns);
	struct decant_verdict answer = { 0 };
	uint64_t elapsed;
	int ret = wait_for(host, all_turned, deadline);

	if (ret < 0)
		return decant_error_set(err, ret,
					"stress guest: does not run (phase %u): it was not asked for its verdict",
					stress_host_phase(host));
	answer.pause_ns = stress_host_gap_max_ns(host);
	elapsed = clock_now_ns() - host->start_ns;
	if (elapsed != 0)
		answer.work_rate =
			(uint64_t)((double)(stress_host_work(host) - host->start_work) * 1e9 / (double)elapsed);
	write_command(host, &host->boot->verdict_ask, BOOT_OFFSET(verdict_ask), host->boot->verdict_ask + 1);
	ret = wait_for(host, has_answered, deadline);
	if (ret < 0)
		return decant_error_set(err, ret, "stress guest: gave no verdict %s (phase %u)",
					ret == -ECANCELED ? "before it left" : "in time", stress_host_phase(host));
	read_verdict(host, &answer);
	*verdict = answer;
	return 0;
}

void stress_host_abandon(struct stress_host *host)
{
	host->abandoned = true;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stress_guest.c -- the stress guest under KVM: says "ok" of a memory that nobody touched, and "bad" of any that somebody did
 *
 * Each way in which a migration may go wrong is done to the guest's memory by hand while it is paused; the guest must name the
 * very page. The other way about, pauses, rates and commands must not make it cry wolf. Output is TAP.
 */
#include "guest/stress_layout.h"
#include "support/guest_vm.h"
#include "util/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define MEMORY (96 * MIB)
#define OPTIONS "wss=6M,data=20M,zero=2M"
#define PATIENCE (60 * NSEC_PER_SEC)
#define HOT_PAGE (STRESS_WSS_FIRST + 777)
#define SWEEP_PAGE (STRESS_STATUS_ADDRESS / DECANT_PAGE_SIZE)

static int tests, failed, failures; /* failures: of the test under way */

static bool check(bool good, const char *name, const char *what)
{
	if (!good) {
		printf("# %s: %s\n", name, what);
		failures++;
	}
	return good;
}

static void done(const char *name)
{
	printf("%s %d - %s\n", failures == 0 ? "ok" : "not ok", ++tests, name);
	failed += failures != 0;
	failures = 0;
}

static struct guest_vm *start(const char *name, uint32_t vcpus, const char *options)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct guest_vm *vm;

	if (!check(guest_vm_new(MEMORY, vcpus, options, &vm, &err) == 0, name, err.msg))
		return NULL;
	if (!check(guest_vm_wait_run(vm, PATIENCE), name, "does not reach its work")) {
		printf("# %s, phase %u\n", guest_vm_why(vm), stress_host_phase(guest_vm_host(vm)));
		guest_vm_free(vm);
		return NULL;
	}
	stress_host_started(guest_vm_host(vm));
	return vm;
}

static bool ask(struct guest_vm *vm, const char *name, struct decant_verdict *verdict)
{
	struct decant_error err = DECANT_ERROR_INIT;

	return check(stress_host_verdict(guest_vm_host(vm), PATIENCE, verdict, &err) == 0, name, err.msg);
}

static struct stress_layout layout_of(struct guest_vm *vm)
{
	const struct stress_boot boot = *guest_vm_host(vm)->boot;
	struct stress_layout layout;

	stress_layout_plan(&layout, &boot);
	return layout;
}

static uint32_t find_page(struct guest_vm *vm, enum stress_kind kind)
{
	struct stress_layout layout = layout_of(vm);
	uint32_t end;

	for (uint32_t page = STRESS_SWEEP_FIRST; page < layout.memory_pages; page++)
		if (stress_layout_kind(&layout, page, &end) == kind)
			return page + 5;
	return 0;
}

/* Whole sweeps that every vCPU has done: whoever owns a page has written it so often. */
static uint64_t sweeps_done(struct guest_vm *vm)
{
	const volatile struct stress_vcpu *vcpu = guest_vm_host(vm)->status->vcpu;

	return vcpu[0].sweeps < vcpu[1].sweeps ? vcpu[0].sweeps : vcpu[1].sweeps;
}

/* The page as it was two sweeps ago or more, and the guest paused again. */
static void old_copy(struct guest_vm *vm, uint8_t *copy)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE);
	const volatile struct stress_vcpu *vcpu = guest_vm_host(vm)->status->vcpu;
	uint64_t sweeps;

	guest_vm_resume(vm);
	usleep(50000);
	guest_vm_pause(vm);
	memcpy(copy, guest_vm_page(vm, HOT_PAGE), DECANT_PAGE_SIZE);
	sweeps = vcpu[0].sweeps > vcpu[1].sweeps ? vcpu[0].sweeps : vcpu[1].sweeps;
	guest_vm_resume(vm);
	while (sweeps_done(vm) < sweeps + 3 && clock_now_ns() < deadline)
		usleep(1000);
	guest_vm_pause(vm);
}

static uint32_t stale_page(struct guest_vm *vm)
{
	uint8_t copy[DECANT_PAGE_SIZE];

	old_copy(vm, copy);
	memcpy(guest_vm_page(vm, HOT_PAGE), copy, DECANT_PAGE_SIZE);
	return HOT_PAGE;
}

static uint32_t stale_first_half(struct guest_vm *vm)
{
	uint8_t copy[DECANT_PAGE_SIZE];

	old_copy(vm, copy);
	memcpy(guest_vm_page(vm, HOT_PAGE), copy, DECANT_PAGE_SIZE / 2);
	return HOT_PAGE;
}

static uint32_t stale_second_half(struct guest_vm *vm)
{
	uint8_t copy[DECANT_PAGE_SIZE];

	old_copy(vm, copy);
	memcpy((uint8_t *)guest_vm_page(vm, HOT_PAGE) + DECANT_PAGE_SIZE / 2, copy + DECANT_PAGE_SIZE / 2,
	       DECANT_PAGE_SIZE / 2);
	return HOT_PAGE;
}

/* The middle of a page of the working set, without its first word and its last: only the inside words tell. */
static uint32_t stale_middle(struct guest_vm *vm)
{
	uint8_t copy[DECANT_PAGE_SIZE];

	old_copy(vm, copy);
	memcpy((uint8_t *)guest_vm_page(vm, HOT_PAGE) + 4, copy + 4, DECANT_PAGE_SIZE - 8);
	return HOT_PAGE;
}

static uint32_t lost_hot_page(struct guest_vm *vm)
{
	memset(guest_vm_page(vm, HOT_PAGE), 0, DECANT_PAGE_SIZE);
	return HOT_PAGE;
}

static uint32_t shifted_hot_page(struct guest_vm *vm)
{
	memcpy(guest_vm_page(vm, HOT_PAGE), guest_vm_page(vm, HOT_PAGE - 1), DECANT_PAGE_SIZE);
	return HOT_PAGE;
}

static uint32_t lost_cold_page(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_DATA);

	memset(guest_vm_page(vm, page), 0, DECANT_PAGE_SIZE);
	return page;
}

static uint32_t half_a_cold_page(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_DATA);

	memset((uint8_t *)guest_vm_page(vm, page) + DECANT_PAGE_SIZE / 2, 0, DECANT_PAGE_SIZE / 2);
	return page;
}

static uint32_t a_kilobyte_of_a_cold_page(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_DATA);

	memset((uint8_t *)guest_vm_page(vm, page) + 1024, 0, 1024);
	return page;
}

static uint32_t shifted_cold_page(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_DATA);

	memcpy(guest_vm_page(vm, page), guest_vm_page(vm, page + 1), DECANT_PAGE_SIZE);
	return page;
}

static uint32_t garbage_in_a_hole(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_HOLE);

	memset(guest_vm_page(vm, page), 0xa5, DECANT_PAGE_SIZE);
	return page;
}

static uint32_t garbage_in_half_a_hole(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_HOLE);

	memset(guest_vm_page(vm, page), 0xa5, DECANT_PAGE_SIZE / 2);
	return page;
}

static uint32_t garbage_in_the_last_page(struct guest_vm *vm)
{
	uint32_t page = MEMORY / DECANT_PAGE_SIZE - 1;

	memset(guest_vm_page(vm, page), 0xa5, DECANT_PAGE_SIZE);
	return page;
}

static uint32_t dirty_zero_page(struct guest_vm *vm)
{
	uint32_t page = find_page(vm, STRESS_KIND_ZERO);

	memset(guest_vm_page(vm, page), 0xff, DECANT_PAGE_SIZE);
	return page;
}

/* Its greeting is a constant beside its code, and never printed again. */
static uint32_t changed_image(struct guest_vm *vm)
{
	char *at = memmem(guest_vm_page(vm, 0x106), 64 << 10, " MiB working set", 16);

	if (at != NULL)
		at[1] ^= 1;
	return STRESS_LOAD_ADDRESS / DECANT_PAGE_SIZE;
}

static uint32_t stale_status_page(struct guest_vm *vm)
{
	uint8_t copy[DECANT_PAGE_SIZE];

	memcpy(copy, guest_vm_page(vm, SWEEP_PAGE), DECANT_PAGE_SIZE);
	guest_vm_resume(vm);
	usleep(100000);
	guest_vm_pause(vm);
	memcpy(guest_vm_page(vm, SWEEP_PAGE), copy, DECANT_PAGE_SIZE);
	return SWEEP_PAGE;
}

struct spoil_case {
	const char *name;
	uint32_t (*spoil)(struct guest_vm *vm); /* guest is paused, and stays so; returns the page to be named */
};

static const struct spoil_case spoils[] = {
	{ "a stale hot page", stale_page },
	{ "a hot page with a stale first half", stale_first_half },
	{ "a hot page with a stale second half", stale_second_half },
	{ "a hot page stale but for its ends", stale_middle },
	{ "a lost hot page", lost_hot_page },
	{ "a hot page in another's place", shifted_hot_page },
	{ "a lost cold page", lost_cold_page },
	{ "half a cold page", half_a_cold_page },
	{ "a cold page without one of its kilobytes", a_kilobyte_of_a_cold_page },
	{ "a cold page in another's place", shifted_cold_page },
	{ "garbage in a hole", garbage_in_a_hole },
	{ "garbage in half a hole", garbage_in_half_a_hole },
	{ "garbage in the last page", garbage_in_the_last_page },
	{ "a zero page with something in it", dirty_zero_page },
	{ "a changed image", changed_image },
	{ "a stale status page", stale_status_page },
};

static void run_spoil(const struct spoil_case *c)
{
	struct guest_vm *vm = start(c->name, 2, OPTIONS);
	struct decant_verdict verdict;
	char serial[512];
	uint32_t page;

	if (vm == NULL)
		return;
	guest_vm_pause(vm);
	page = c->spoil(vm);
	guest_vm_resume(vm);
	if (ask(vm, c->name, &verdict)) {
		check(verdict.status == DECANT_VERDICT_BAD, c->name, "the guest did not notice");
		check(guest_vm_host(vm)->status->bad_page == page, c->name, "the guest names another page");
		guest_vm_serial(vm, serial, sizeof(serial));
		check(strstr(serial, "BAD memory") != NULL, c->name,
		      "the guest does not say so on its serial port");
		printf("# %s: %s\n", c->name, verdict.text);
	}
	guest_vm_free(vm);
}

struct sound_case {
	uint32_t vcpus;
	const char *options;
};

static const struct sound_case sounds[] = {
	{ 1, OPTIONS },
	{ 2, OPTIONS ",pattern=random" },
	{ 3, OPTIONS ",scatter=1,seed=99" },
	{ 4, OPTIONS ",pattern=random,scatter=1,rate=8M" },
	{ 1, "wss=0,data=0,zero=0" },
	{ 2, "wss=4K,data=4K,zero=4K,pattern=random" },
};

static bool wait_work(struct guest_vm *vm)
{
	uint64_t deadline = clock_deadline_ns(PATIENCE);
	uint64_t work = stress_host_work(guest_vm_host(vm));

	while (stress_host_work(guest_vm_host(vm)) == work) {
		if (clock_now_ns() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}

/* Two verdicts, and work after each. */
static void run_sound(const struct sound_case *c)
{
	struct guest_vm *vm = start(c->options, c->vcpus, c->options);
	struct decant_verdict verdict;

	if (vm == NULL)
		return;
	for (int i = 0; i < 2 && ask(vm, c->options, &verdict); i++) {
		check(verdict.status == DECANT_VERDICT_OK, c->options, verdict.text);
		if (guest_vm_host(vm)->boot->wss_pages != 0)
			check(wait_work(vm), c->options, "does no work after its verdict");
	}
	guest_vm_free(vm);
}

static bool wait_gap_reset(struct guest_vm *vm)
{
	const struct stress_host *host = guest_vm_host(vm);
	uint64_t deadline = clock_deadline_ns(PATIENCE);

	while (host->status->vcpu[0].gap_reset_done != host->boot->gap_reset ||
	       host->status->vcpu[1].gap_reset_done != host->boot->gap_reset) {
		if (clock_now_ns() > deadline)
			return false;
		usleep(1000);
	}
	return true;
}

static void run_pause(void)
{
	const char *name = "a pause of 1 s";
	struct guest_vm *vm = start(name, 2, OPTIONS);
	struct decant_verdict verdict;
	uint64_t from, length;

	if (vm == NULL)
		return;
	stress_host_gap_reset(guest_vm_host(vm));
	check(wait_gap_reset(vm), name, "gap_reset is not answered");
	guest_vm_pause(vm);
	from = clock_now_ns();
	stress_host_started(guest_vm_host(vm));
	sleep(1);
	length = clock_now_ns() - from;
	guest_vm_resume(vm);
	if (ask(vm, name, &verdict)) {
		check(verdict.status == DECANT_VERDICT_OK, name, verdict.text);
		check(verdict.pause_ns >= length, name, "the guest saw less of it than there was");
		check(verdict.pause_ns < 30 * length, name, "the guest saw a pause that never was");
		printf("# %s: the guest saw %.3f s\n", name, (double)verdict.pause_ns / 1e9);
	}
	stress_host_gap_reset(guest_vm_host(vm));
	check(wait_gap_reset(vm), name, "gap_reset is not answered");
	check(stress_host_gap_max_ns(guest_vm_host(vm)) < verdict.pause_ns, name, "gap_reset forgets nothing");
	guest_vm_free(vm);
}

static void run_rate(void)
{
	const char *name = "a rate of 4 MiB/s";
	struct guest_vm *vm = start(name, 2, OPTIONS ",rate=4M");
	uint64_t from, work;
	double rate;

	if (vm == NULL)
		return;
	from = clock_now_ns();
	work = stress_host_work(guest_vm_host(vm));
	sleep(2);
	rate = (double)(stress_host_work(guest_vm_host(vm)) - work) * 1e9 / (double)(clock_now_ns() - from);
	check(rate < 1024 * 1.2, name, "exceeded");
	check(rate > 1024 * 0.2, name, "by far not reached");
	printf("# %s: %.0f pages/s of 1024\n", name, rate);
	guest_vm_free(vm);
}

int main(void)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!guest_vm_usable()) {
		printf("SKIP: no usable /dev/kvm\n");
		return 77;
	}
	printf("1..%zu\n", sizeof(sounds) / sizeof(sounds[0]) + sizeof(spoils) / sizeof(spoils[0]) + 2);
	for (size_t i = 0; i < sizeof(sounds) / sizeof(sounds[0]); i++) {
		run_sound(&sounds[i]);
		done(sounds[i].options);
	}
	for (size_t i = 0; i < sizeof(spoils) / sizeof(spoils[0]); i++) {
		run_spoil(&spoils[i]);
		done(spoils[i].name);
	}
	run_pause();
	done("a pause is seen, whole");
	run_rate();
	done("a rate is kept");
	return failed == 0 ? 0 : 1;
}

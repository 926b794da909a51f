/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * oracle.c -- the oracles are shown to work: a migration that is broken on purpose is found out, each way, by each of the two
 *
 * A stress guest under KVM is migrated within this process over a loop fabric with a fault in it (broken_fabric.c). With --verify
 * the migration must be refused and the guest go on at the source, unharmed. Without, it goes through, and the guest itself must say
 * that its memory is bad. And with the same fabric, whole, all must be well. Output is TAP.
 */
#include "broken_fabric.h"

#include "guest/stress_layout.h"
#include "util/clock.h"
#include "vmm/machine.h"

#include <decant/decant.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MIB (1ull << 20)
#define MEMORY (48 * MIB)
#define OPTIONS "wss=7M,data=8M,zero=3M" /* sizes that leave holes within granules that are registered */
#define WSS_END (STRESS_WSS_FIRST + 7 * 256)
#define DATA_FIRST ((4 + 8 + 4) * 256u)
#define PATIENCE (60 * NSEC_PER_SEC)
#define TRIES 5 /* to find a page in the last pass that matters */
#define LINGER_US 50000

struct oracle {
	struct machine_slot source, dest;
	struct decant_receiver *receiver;
	pthread_t thread;
	bool receiving;
	struct decant_memory *received;
	struct decant_stats stats;
	struct decant_error err;
	int ret;
};

static int tests, failed, failures; /* failures: of the test under way */

static bool check(bool good, const char *what, const char *why)
{
	if (!good) {
		printf("# %s: %s\n", what, why);
		failures++;
	}
	return good;
}

/* The last pass is what comes after the pause: only the VMM can tell. It gives the guest time to dirty something for it. */
static int tell_pause(void *vmm, uint64_t *left_ns, struct decant_error *err)
{
	int ret;

	usleep(LINGER_US);
	ret = machine_vmm_ops()->pause(vmm, left_ns, err);
	broken_fabric_paused(ret == 0);
	return ret;
}

static int tell_resume(void *vmm, struct decant_error *err)
{
	broken_fabric_paused(false);
	return machine_vmm_ops()->resume(vmm, err);
}

static bool start_guest(struct oracle *oracle)
{
	const struct machine_config config = {
		.name = "oracle",
		.memory_bytes = MEMORY,
		.page_size = DECANT_PAGE_SIZE,
		.vcpus = 2,
		.guest = MACHINE_GUEST_STRESS,
	};
	const struct machine_host host = MACHINE_HOST_INIT;
	const struct machine_boot boot = { .stress = OPTIONS };
	uint64_t deadline = clock_deadline_ns(PATIENCE);
	struct machine **machine = &oracle->source.machine;

	if (!check(machine_new(&config, &host, NULL, machine, &oracle->err) == 0, "machine_new",
		   oracle->err.msg) ||
	    !check(machine_boot(*machine, &boot, &oracle->err) == 0, "machine_boot", oracle->err.msg) ||
	    !check(machine_run(*machine, NULL, &oracle->err) == 0, "machine_run", oracle->err.msg))
		return false;
	while (!machine_ready(*machine) && clock_now_ns() < deadline)
		usleep(1000);
	return check(machine_ready(*machine), "the guest", "does not begin its work");
}

static void *receive(void *opaque)
{
	struct oracle *oracle = opaque;

	if (decant_receiver_run(oracle->receiver, &oracle->received, NULL) == 0)
		machine_adopt_memory(oracle->dest.machine);
	return NULL;
}

static bool start_receiver(struct oracle *oracle)
{
	struct decant_receiver_opts opts = DECANT_RECEIVER_OPTS_INIT;

	opts.listen = "127.0.0.1:0";
	opts.peer_timeout_ns = PATIENCE;
	opts.lease_ns = PATIENCE;
	oracle->dest.host = (struct machine_host)MACHINE_HOST_INIT;
	snprintf(oracle->dest.name, sizeof(oracle->dest.name), "oracle");
	if (!check(decant_receiver_new(&opts, machine_vmm_ops(), &oracle->dest, &oracle->receiver, &oracle->err) ==
			   0,
		   "decant_receiver_new", oracle->err.msg))
		return false;
	oracle->receiving = pthread_create(&oracle->thread, NULL, receive, oracle) == 0;
	return check(oracle->receiving, "pthread_create", "failed");
}

static bool migrate(struct oracle *oracle, bool verify)
{
	struct decant_migration_opts opts = DECANT_MIGRATION_OPTS_INIT;
	struct decant_vmm_ops ops = *machine_vmm_ops();
	struct decant_migration *migration;
	char peer[32];

	snprintf(peer, sizeof(peer), "127.0.0.1:%u", decant_receiver_port(oracle->receiver));
	ops.pause = tell_pause;
	ops.resume = tell_resume;
	opts.peer = peer;
	opts.name = "oracle";
	opts.fabric = "loop";
	opts.max_downtime_ns = 2 * NSEC_PER_SEC;
	opts.switchover_timeout_ns = PATIENCE;
	opts.peer_timeout_ns = PATIENCE;
	opts.verify = verify;
	opts.ask_verdict = true;
	if (!check(decant_migration_new(&opts, &ops, &oracle->source, machine_memory(oracle->source.machine),
					&migration, &oracle->err) == 0,
		   "decant_migration_new", oracle->err.msg))
		return false;
	oracle->ret = decant_migration_run(migration, &oracle->err);
	oracle->stats.size = sizeof(oracle->stats);
	decant_migration_get_stats(migration, &oracle->stats);
	decant_migration_free(migration);
	return true;
}

static void end(struct oracle *oracle)
{
	if (oracle->receiving) {
		decant_receiver_stop(oracle->receiver);
		pthread_join(oracle->thread, NULL);
	}
	decant_receiver_free(oracle->receiver);
	machine_free(oracle->source.machine);
	machine_free(oracle->dest.machine);
}

static void judge_whole(struct oracle *oracle, bool verify)
{
	check(oracle->ret == 0, "the migration", oracle->err.msg);
	check(oracle->stats.verdict.status == DECANT_VERDICT_OK, "verdict", oracle->stats.verdict.text);
	check(!verify || oracle->stats.verified == 1, "verify", "not verified");
}

static void judge_broken(struct oracle *oracle)
{
	check(oracle->ret == 0, "the migration", oracle->err.msg);
	check(oracle->stats.verdict.status == DECANT_VERDICT_BAD, "the guest has not noticed",
	      oracle->stats.verdict.text);
	printf("# the guest: %s\n", oracle->stats.verdict.text);
}

/* A refused migration leaves the guest running where it was, and its memory as it was. */
static void judge_refused(struct oracle *oracle)
{
	struct decant_verdict verdict = { 0 };

	check(oracle->ret < 0 && oracle->stats.state == DECANT_STATE_FAILED, "verify", "has not noticed");
	check(strstr(oracle->err.msg, "verify") != NULL, "another failure", oracle->err.msg);
	printf("# %s\n", oracle->err.msg);
	if (oracle->ret < 0 && check(machine_verdict(oracle->source.machine, &verdict, &oracle->err) == 0,
				     "the guest at the source", oracle->err.msg))
		check(verdict.status == DECANT_VERDICT_OK, "the guest at the source", verdict.text);
}

/* Returns false if the fabric found nothing to break. */
static bool run_once(const struct broken_plan *plan, bool verify)
{
	struct oracle oracle = { .err = DECANT_ERROR_INIT };
	bool found = true;

	broken_fabric_plan(plan);
	if (start_guest(&oracle) && start_receiver(&oracle) && migrate(&oracle, verify)) {
		found = plan->kind == BROKEN_NOT || broken_fabric_count() > 0;
		if (!found)
			printf("# nothing to break: %d %s\n", oracle.ret, oracle.err.msg);
		if (plan->kind == BROKEN_NOT)
			judge_whole(&oracle, verify);
		else if (found && verify)
			judge_refused(&oracle);
		else if (found)
			judge_broken(&oracle);
	}
	end(&oracle);
	return found;
}

struct oracle_case {
	const char *name;
	struct broken_plan plan;
};

#define HOT STRESS_WSS_FIRST, WSS_END
#define COLD DATA_FIRST + 5, DATA_FIRST + 6
#define ALL_COLD DATA_FIRST + 1, DATA_FIRST + 2048

static const struct oracle_case cases[] = {
	{ "nothing broken", { BROKEN_NOT, false, 0, 0 } },
	{ "a hot page skipped in the last pass", { BROKEN_SKIP, true, HOT } },
	{ "a cold page skipped", { BROKEN_SKIP, false, COLD } },
	{ "half a hot page sent in the last pass", { BROKEN_HALF, true, HOT } },
	{ "half a cold page sent", { BROKEN_HALF, false, COLD } },
	{ "a run of hot pages shifted by one in the last pass", { BROKEN_SHIFT, true, HOT } },
	{ "a run of cold pages shifted by one", { BROKEN_SHIFT, false, ALL_COLD } },
	{ "garbage in a hole", { BROKEN_GARBAGE, false, WSS_END - 256, WSS_END } },
	{ "the barrier reported before the hot pages have landed", { BROKEN_BARRIER, true, HOT } },
};

static void run_case(const struct oracle_case *c, bool verify)
{
	bool found = false;

	failures = 0;
	for (int try = 0; try < TRIES && !found && failures == 0; try++)
		found = run_once(&c->plan, verify);
	check(found, c->name, "never came to pass");
	printf("%s %d - %s, %s\n", failures == 0 ? "ok" : "not ok", ++tests, c->name,
	       verify ? "with verify" : "judged by the guest");
	failed += failures != 0;
}

int main(void)
{
	const size_t count = sizeof(cases) / sizeof(cases[0]);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (access("/dev/kvm", R_OK | W_OK) != 0) {
		printf("SKIP: no usable /dev/kvm\n");
		return 77;
	}
	printf("1..%zu\n", 2 * count);
	for (size_t i = 0; i < count; i++) {
		run_case(&cases[i], false);
		run_case(&cases[i], true);
	}
	return failed == 0 ? 0 : 1;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* placement.c -- on which CPUs the library's own threads run */
#include "util/placement.h"

#include "util/thread.h"
#include "util/topology.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* ---- what there is ---- */

/*
 * The kernel is asked, not the cgroup's files, which a container may not see: with all CPUs wished for it gives what it allows. In a
 * thread of its own, since a wish stays with a thread and would widen it when the cpuset does.
 */
static void *look_at_cpuset(void *opaque)
{
	struct cpus *cpuset = opaque;
	struct cpus all;

	memset(&all, 0xff, sizeof(all));
	if (cpus_bind_thread(&all) < 0 || cpus_of_thread(cpuset) < 0)
		*cpuset = (struct cpus){ 0 };
	return NULL;
}

/* "(null)" is what some kernels write where there is none. */
static void add_list(const char *root, const char *path, struct cpus *cpus)
{
	char name[PATH_MAX], text[4096];
	struct cpus found = { 0 };
	FILE *file;

	snprintf(name, sizeof(name), "%s%s", root, path);
	file = fopen(name, "re");
	if (file == NULL)
		return;
	if (fgets(text, sizeof(text), file) != NULL) {
		text[strcspn(text, "\n")] = '\0';
		if (cpus_parse(text, &found, NULL) == 0)
			for (uint32_t i = 0; i < CPUS_WORDS; i++)
				cpus->word[i] |= found.word[i];
	}
	fclose(file);
}

void placement_look(const char *root, struct placement_host *host)
{
	pthread_t thread;

	memset(host, 0, sizeof(*host));
	(void)cpus_of_thread(&host->affinity);
	if (thread_start(&thread, "decant-cpus", look_at_cpuset, &host->cpuset) == 0)
		pthread_join(thread, NULL);
	if (cpus_count(&host->cpuset) == 0)
		host->cpuset = host->affinity;
	add_list(root, "/sys/devices/system/cpu/isolated", &host->isolated);
	add_list(root, "/sys/devices/system/cpu/nohz_full", &host->isolated);
	add_list(root, "/sys/fs/cgroup/cpuset.cpus.isolated", &host->isolated);
}

/* ---- the choice ---- */

static int choose_asked(const struct placement_host *host, const char *asked, struct placement *placement,
			struct decant_error *err)
{
	char one[CPUS_TEXT_MAX], other[CPUS_TEXT_MAX];
	struct cpus wanted, odd;

	if (cpus_parse(asked, &wanted, err) < 0)
		return -EINVAL;
	cpus_without(&odd, &wanted, &host->cpuset);
	if (cpus_count(&odd) > 0)
		return decant_error_set(err, -EINVAL,
					"CPU %s: not there, or not in this process's cpuset, which has %s",
					cpus_format(&odd, one), cpus_format(&host->cpuset, other));
	cpus_and(&odd, &wanted, &host->isolated);
	if (cpus_count(&odd) > 0)
		return decant_error_set(
			err, -EINVAL,
			"CPU %s: isolated (isolcpus=, nohz_full= or a cpuset's partition), which decant keeps off; "
			"take others",
			cpus_format(&odd, one));
	placement->cpus = wanted;
	snprintf(placement->why, sizeof(placement->why), "as asked for");
	return 0;
}

static void choose_default(const struct placement_host *host, struct placement *placement)
{
	char one[CPUS_TEXT_MAX], other[CPUS_TEXT_MAX];
	struct cpus isolated;

	cpus_and(&isolated, &host->affinity, &host->isolated);
	cpus_without(&placement->cpus, &host->affinity, &host->isolated);
	if (cpus_count(&isolated) == 0) {
		snprintf(placement->why, sizeof(placement->why), "all that this process may use");
		return;
	}
	if (cpus_count(&placement->cpus) > 0) {
		snprintf(placement->why, sizeof(placement->why),
			 "of %s, which this process may use, %s are isolated", cpus_format(&host->affinity, one),
			 cpus_format(&isolated, other));
		return;
	}
	cpus_without(&placement->cpus, &host->cpuset, &host->isolated);
	if (cpus_count(&placement->cpus) > 0) {
		snprintf(placement->why, sizeof(placement->why),
			 "this process is bound to %s, which are isolated; its cpuset has these besides",
			 cpus_format(&host->affinity, one));
		return;
	}
	placement->cpus = host->affinity;
	snprintf(placement->why, sizeof(placement->why),
		 "they are isolated, and this process's cpuset, %s, has no others",
		 cpus_format(&host->cpuset, one));
}

int placement_choose(const struct placement_host *host, const char *asked, struct placement *placement,
		     struct decant_error *err)
{
	memset(placement, 0, sizeof(*placement));
	if (asked != NULL)
		return choose_asked(host, asked, placement, err);
	choose_default(host, placement);
	return 0;
}

int placement_new(const char *asked, struct placement *placement, struct decant_error *err)
{
	struct placement_host host;

	(void)topology_get();
	placement_look("", &host);
	if (placement_choose(&host, asked, placement, err) == 0)
		return 0;
	decant_error_prefix(err, "cpus");
	return -EINVAL;
}

/* ---- threads ---- */

static void scope_bind(struct placement_scope *scope, const struct cpus *cpus)
{
	if (!cpus_equal(cpus, &scope->now) && cpus_bind_thread(cpus) == 0 && cpus_of_thread(&scope->now) < 0)
		scope->now = *cpus;
}

void placement_here(struct placement_scope *scope)
{
	if (cpus_of_thread(&scope->before) < 0)
		memset(&scope->before, 0, sizeof(scope->before));
	scope->base = scope->now = scope->before;
}

void placement_enter(const struct placement *placement, struct placement_scope *scope)
{
	placement_here(scope);
	if (placement != NULL)
		scope_bind(scope, &placement->cpus);
	scope->base = scope->now;
}

void placement_near(struct placement_scope *scope, int node)
{
	const struct cpus *near = topology_cpus(topology_get(), node);
	struct cpus cpus = scope->base;

	if (near != NULL)
		cpus_and(&cpus, &scope->base, near);
	scope_bind(scope, cpus_count(&cpus) > 0 ? &cpus : &scope->base);
}

void placement_near_node(int node)
{
	struct placement_scope scope;

	if (topology_cpus(topology_get(), node) == NULL)
		return;
	placement_here(&scope);
	placement_near(&scope, node);
}

void placement_near_socket(int fd)
{
	placement_near_node(topology_socket_node(topology_get(), fd));
}

void placement_leave(const struct placement_scope *scope)
{
	struct cpus found;

	if (cpus_equal(&scope->now, &scope->before))
		return;
	if (cpus_of_thread(&found) == 0 && cpus_equal(&found, &scope->now))
		(void)cpus_bind_thread(&scope->before);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * placement.h -- on which CPUs the library's own threads run
 *
 * Theory of operation
 * -------------------
 * The library takes time from CPUs that a VMM has its guests on. Which ones it may take is settled once per migration, from what
 * the process was given and what the administrator asks for: never CPUs that the kernel keeps isolated, since whoever did that
 * wants nobody there.
 *
 * A thread inherits its CPUs from the thread that makes it, and that is the VMM's. So whoever is about to make threads enters
 * the placement, and leaves it again: the VMM's thread is bound for so long, and has its own CPUs back before a callback could
 * make a thread of the VMM's. From there on inheritance does the rest.
 *
 * Where there are several NUMA nodes a thread that moves memory then narrows its CPUs down to those near its network or its memory, if
 * there are any among them; that is for speed, so what cannot be had is done without.
 */
#ifndef UTIL_PLACEMENT_H
#define UTIL_PLACEMENT_H

#include "util/cpus.h"

#define PLACEMENT_WHY_MAX 768

/* What the CPUs are chosen from. */
struct placement_host {
	struct cpus affinity; /* of the calling thread */
	struct cpus cpuset;   /* what the kernel would let it have: cpuset(7), and what is online */
	struct cpus isolated; /* isolcpus=, nohz_full=, an isolated partition of a cpuset */
};

struct placement {
	struct cpus cpus;
	char why[PLACEMENT_WHY_MAX]; /* these, one line */
};

/* placement_look() -- at this host and the calling thread; @root as in topology.h, for what is isolated */
void placement_look(const char *root, struct placement_host *host);

/*
 * placement_choose() -- @asked: a list of CPUs, or NULL for what is right by default
 *
 * Returns 0, or -EINVAL, saying why @asked cannot be had.
 */
int placement_choose(const struct placement_host *host, const char *asked, struct placement *placement,
		     struct decant_error *err);

/* placement_new() -- both, for this host, whose topology is looked at, too: some milliseconds, so never while a guest is paused */
int placement_new(const char *asked, struct placement *placement, struct decant_error *err);

/* Of a thread that is bound for a while. */
struct placement_scope {
	struct cpus before; /* to go back to */
	struct cpus base;   /* the widest within */
	struct cpus now;    /* what was asked for last */
};

/* placement_enter() -- bind the calling thread, and so the threads that it makes; @placement NULL: it stays as it is */
void placement_enter(const struct placement *placement, struct placement_scope *scope);

/* placement_leave() -- as it was before, unless somebody else has bound the thread meanwhile */
void placement_leave(const struct placement_scope *scope);

/* placement_here() -- the scope of a thread that stays within what it has inherited */
void placement_here(struct placement_scope *scope);

/* placement_near() -- of the scope's CPUs those of @node; all of them where there are none, or @node is -1 */
void placement_near(struct placement_scope *scope, int node);

/* placement_near_socket(), placement_near_node() -- for a thread that has one thing to do, before it begins */
void placement_near_socket(int fd);
void placement_near_node(int node);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * options.h -- the words of each verb, checked as far as that can be done without looking at the host
 *
 * Every parser takes the words after the verb, argv[0] being the verb itself. Returns 0; 1 when --help was asked for;
 * -EINVAL with a message, which is a usage error. Texts stay owned by argv.
 */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H

#include "vmm/confine.h"
#include "vmm/departure.h"
#include "vmm/machine.h"

#include <decant/error.h>
#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_HELP 1

enum options_serial {
	OPTIONS_SERIAL_NONE,
	OPTIONS_SERIAL_STDIO,
	OPTIONS_SERIAL_FILE,
};

struct options_run {
	struct machine_config config;
	struct machine_boot boot;
	bool prealloc;
	enum options_serial serial;
	const char *serial_file;
	const char *cpus; /* NULL: the library's choice */
	int numa_node;    /* -1: anywhere */
	enum confine_mode confine;
	bool json;
	bool verbose;
};

struct options_receive {
	const char *listen;
	const char *name; /* NULL: the source's */
	uint64_t max_memory;
	uint64_t prealloc;  /* 0: nothing */
	uint64_t page_size; /* of that */
	enum options_serial serial;
	const char *serial_file;
	const char *cpus; /* NULL: the library's choice */
	int numa_node;    /* -1: anywhere */
	enum confine_mode confine;
	bool insecure;
	const char *key_file; /* NULL: none */
	bool json;
	bool verbose;
};

struct options_migrate {
	const char *name; /* NULL with @qmp */
	struct departure_opts departure;
	const char *report;   /* file or NULL */
	const char *key_file; /* NULL: none */
	bool json;
	const char *qmp;  /* the monitor of a QEMU, whose guest is to be moved; NULL: a VM of decant's own */
	uint32_t multifd; /* with @qmp: QEMU's channels, 0: none; QEMU_MOVE_MULTIFD_AS_IT_IS */
	bool fallback;    /* with @qmp */
	enum confine_mode confine; /* with @qmp */
	bool policy;               /* --if-not-converging was given */
	bool confined;             /* --confine was */
};

/* proxy source, proxy dest */
struct options_proxy {
	bool source;
	const char *peer;   /* of the source's */
	const char *listen; /* of the destination's */
	const char *qemu_socket;
	const char *disks; /* NULL: none */
	const char *qmp;   /* NULL: none */
	bool fallback;
	char fabric[DEPARTURE_FABRIC_MAX];
	char rails[DEPARTURE_RAILS_MAX];
	uint32_t channels;
	uint64_t bandwidth_Bps;
	const char *cpus;     /* NULL: the library's choice */
	const char *key_file; /* NULL: none */
	bool insecure;
	const char *report; /* file or NULL */
	enum confine_mode confine;
	bool json;
	bool verbose;
};

/* list, status, pause, resume, cancel, stop, probe */
struct options_simple {
	const char *name; /* NULL where the verb takes none */
	bool force;
	bool json;
};

int options_run(int argc, char **argv, struct options_run *options, struct decant_error *err);
int options_receive(int argc, char **argv, struct options_receive *options, struct decant_error *err);
int options_migrate(int argc, char **argv, struct options_migrate *options, struct decant_error *err);

/* options_proxy() -- argv[1] is the end: source or dest */
int options_proxy(int argc, char **argv, struct options_proxy *options, struct decant_error *err);

/* options_simple() -- @takes_name: exactly one word beside the options; @takes_force: --force is one of them */
int options_simple(int argc, char **argv, bool takes_name, bool takes_force, struct options_simple *options,
		   struct decant_error *err);

#endif

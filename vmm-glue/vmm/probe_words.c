/* SPDX-License-Identifier: BSD-2-Clause */
/* probe_words.c -- what this host has, for people */
#include "qemu/json.h"
#include "vmm/probe.h"
#include "vmm/words.h"

static struct json_object *probe_member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	json_object_object_get_ex(object, key, &value);
	return value;
}

static const char *probe_yes(struct json_object *object, const char *key)
{
	return json_get_bool(object, key, false) ? "yes" : "no";
}

static void probe_print_kvm(FILE *out, struct json_object *kvm)
{
	if (!json_get_bool(kvm, "usable", false)) {
		fprintf(out, "KVM            not usable: %s\n", json_get_text(kvm, "error", "?"));
		return;
	}
	fprintf(out, "KVM            usable, up to %llu vCPUs; 64-bit guests: %s\n",
		(unsigned long long)json_get_number(kvm, "vcpus_max", 0), probe_yes(kvm, "guests_64bit"));
	fprintf(out, "  dirty log    manual protect: %s, initially all set: %s (decant uses what there is)\n",
		probe_yes(kvm, "dirty_log_manual_protect"), probe_yes(kvm, "dirty_log_initially_all_set"));
	if (json_get_number(kvm, "dirty_ring_entries", 0) == 0)
		fprintf(out, "  dirty ring   no\n");
	else
		fprintf(out, "  dirty ring   up to %llu entries per vCPU, by --dirty ring\n",
			(unsigned long long)json_get_number(kvm, "dirty_ring_entries", 0));
	fprintf(out, "  clocks       tied to real time: %s, TSC scaling: %s, TSC offset: %s\n",
		probe_yes(kvm, "clock_realtime"), probe_yes(kvm, "tsc_control"), probe_yes(kvm, "tsc_offset"));
	fprintf(out, "  state        XSAVE2: %s, nested: %s (a guest that uses it is refused)\n",
		probe_yes(kvm, "xsave2"), probe_yes(kvm, "nested_state"));
}

static void probe_print_memlock(FILE *out, struct json_object *memory)
{
	char limit[WORDS_MAX], pinned[WORDS_MAX];

	if (json_get_text(memory, "memlock_bytes", NULL) != NULL)
		fprintf(out, "memlock        unlimited");
	else
		fprintf(out, "memlock        %s", words_bytes(limit, json_get_number(memory, "memlock_bytes", 0)));
	fprintf(out, "%s, %s pinned\n",
		json_get_bool(memory, "memlock_lifted", false) ? ", lifted by CAP_IPC_LOCK" : "",
		words_bytes(pinned, json_get_number(memory, "pinned_bytes", 0)));
}

static void probe_print_memory(FILE *out, struct json_object *memory)
{
	struct json_object *nodes = probe_member(memory, "numa_nodes");
	struct json_object *sizes = probe_member(memory, "huge_pages");
	char size[WORDS_MAX], free_bytes[WORDS_MAX];

	for (size_t i = 0; i < json_object_array_length(nodes); i++) {
		struct json_object *node = json_object_array_get_idx(nodes, i);

		fprintf(out, "NUMA node %-4llu %s, %s free\n",
			(unsigned long long)json_get_number(node, "node", 0),
			words_bytes(size, json_get_number(node, "bytes", 0)),
			words_bytes(free_bytes, json_get_number(node, "free_bytes", 0)));
	}
	for (size_t i = 0; i < json_object_array_length(sizes); i++) {
		struct json_object *huge = json_object_array_get_idx(sizes, i);

		fprintf(out, "huge pages     of %s: %llu, %llu of them free\n",
			words_bytes(size, json_get_number(huge, "bytes", 0)),
			(unsigned long long)json_get_number(huge, "total", 0),
			(unsigned long long)json_get_number(huge, "free", 0));
	}
	probe_print_memlock(out, memory);
	fprintf(out, "userfaultfd    %s, minor faults: %s (nothing uses it yet)\n",
		probe_yes(memory, "userfaultfd"), probe_yes(memory, "userfaultfd_minor"));
}

static void probe_print_node(FILE *out, struct json_object *node)
{
	struct json_object *devices = probe_member(node, "devices");

	fprintf(out, "  node %-8llu CPUs %s; decant: %s", (unsigned long long)json_get_number(node, "node", 0),
		json_get_text(node, "cpus", "?"), json_get_text(node, "used", "?"));
	for (size_t i = 0; i < json_object_array_length(devices); i++)
		fprintf(out, "%s%s", i == 0 ? "; near " : ", ",
			json_object_get_string(json_object_array_get_idx(devices, i)));
	fprintf(out, "\n");
}

static void probe_print_placement(FILE *out, struct json_object *placement)
{
	struct json_object *nodes = probe_member(placement, "nodes");

	fprintf(out, "CPUs           decant's threads run on %s: %s\n", json_get_text(placement, "cpus", "?"),
		json_get_text(placement, "why", "?"));
	fprintf(out, "  isolated     %s\n", json_get_text(placement, "isolated", "?"));
	for (size_t i = 0; i < json_object_array_length(nodes); i++)
		probe_print_node(out, json_object_array_get_idx(nodes, i));
}

static void probe_print_port(FILE *out, struct json_object *port)
{
	struct json_object *addresses = probe_member(port, "addresses");
	const double gigabits = (double)json_get_number(port, "speed_mbps", 0) / 1000;
	const char *interface = json_get_text(port, "interface", "");
	const int node = json_object_get_int(probe_member(port, "numa_node"));

	fprintf(out, "RDMA device    %s port %llu", json_get_text(port, "name", "?"),
		(unsigned long long)json_get_number(port, "port", 0));
	if (interface[0] != '\0')
		fprintf(out, " (%s)", interface);
	fprintf(out, ": %s, %s", json_get_text(port, "port_state", "?"),
		json_get_bool(port, "software", false) ? "software" : "hardware");
	if (gigabits > 0)
		fprintf(out, ", %g Gbit/s", gigabits);
	if (node >= 0)
		fprintf(out, ", NUMA node %d", node);
	fprintf(out, "\n  addresses   ");
	for (size_t i = 0; i < json_object_array_length(addresses); i++)
		fprintf(out, " %s", json_object_get_string(json_object_array_get_idx(addresses, i)));
	fprintf(out, "%s\n", json_get_bool(port, "usable", false) ? "" : " none usable");
}

static void probe_print_network(FILE *out, struct json_object *network)
{
	struct json_object *devices = probe_member(network, "rdma_devices");

	for (size_t i = 0; i < json_object_array_length(devices); i++)
		probe_print_port(out, json_object_array_get_idx(devices, i));
	if (json_object_array_length(devices) == 0)
		fprintf(out, "RDMA           no devices\n");
	fprintf(out, "fabric         %s\n", json_get_text(network, "fabric", "?"));
}

void probe_print(FILE *out, struct json_object *probe)
{
	struct json_object *advice = probe_member(probe, "advice");

	probe_print_kvm(out, probe_member(probe, "kvm"));
	probe_print_memory(out, probe_member(probe, "memory"));
	probe_print_placement(out, probe_member(probe, "placement"));
	probe_print_network(out, probe_member(probe, "network"));
	fprintf(out, "confinement    filter of system calls: %s\n",
		probe_yes(probe_member(probe, "process"), "seccomp"));
	for (size_t i = 0; i < json_object_array_length(advice); i++)
		fprintf(out, "%s%s\n", i == 0 ? "\nWhat could be better:\n- " : "- ",
			json_object_get_string(json_object_array_get_idx(advice, i)));
}

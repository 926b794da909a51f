/* SPDX-License-Identifier: BSD-2-Clause */
/* probe.c -- what this host has that decant can use */
#include "vmm/probe.h"
#include "qemu/json.h"
#include "vmm/confine.h"
#include "vmm/probe_internal.h"

#include "util/cleanup.h"

#include <decant/error.h>
#include <decant/kvm.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <numa.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

void probe_advise(struct json_object *advice, const char *fmt, ...)
{
	char text[DECANT_ERROR_MAX + 128];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	/* two devices can lack the same thing */
	for (size_t i = 0; i < json_object_array_length(advice); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(advice, i)), text) == 0)
			return;
	json_object_array_add(advice, json_object_new_string(text));
}

/* the first line of a small file, without its end; "" where there is none */
static void probe_read_line(const char *path, char *text, size_t length)
{
	FILE *file = fopen(path, "re");

	text[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(text, (int)length, file) == NULL)
		text[0] = '\0';
	text[strcspn(text, "\n")] = '\0';
	fclose(file);
}

static uint64_t probe_read_number(const char *path)
{
	char text[64];

	probe_read_line(path, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

static void probe_kvm_caps(struct json_object *kvm, const struct decant_kvm_caps *caps)
{
	json_add_bool(kvm, "usable", caps->usable);
	json_add_bool(kvm, "guests_64bit", caps->long_mode);
	json_add_number(kvm, "vcpus_max", caps->vcpus_max);
	json_add_bool(kvm, "dirty_log_manual_protect", caps->manual_protect);
	json_add_bool(kvm, "dirty_log_initially_all_set", caps->initially_all_set);
	json_add_number(kvm, "dirty_ring_entries", caps->ring_max);
	json_add_bool(kvm, "xsave2", caps->xsave2);
	json_add_bool(kvm, "clock_realtime", caps->clock_realtime);
	json_add_bool(kvm, "tsc_control", caps->tsc_control);
	json_add_bool(kvm, "tsc_offset", caps->tsc_offset);
	json_add_bool(kvm, "nested_state", caps->nested_state);
}

static void probe_kvm(struct json_object *probe, struct json_object *advice)
{
	struct decant_kvm_caps caps = { .size = sizeof(caps) };
	struct decant_error err = DECANT_ERROR_INIT;
	struct json_object *kvm = json_object_new_object();
	DECANT_AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	json_object_object_add(probe, "kvm", kvm);
	if (fd < 0)
		decant_error_set(&err, -errno, "/dev/kvm: %s", strerror(errno));
	if (fd < 0 || decant_kvm_probe(fd, &caps, &err) < 0) {
		json_add_bool(kvm, "usable", false);
		json_add_text(kvm, "error", err.msg);
		probe_advise(advice,
			     "KVM: %s; no VM can run: load kvm_intel or kvm_amd (VT-x or AMD-V must be on in the "
			     "firmware), and be in the group kvm",
			     err.msg);
		return;
	}
	probe_kvm_caps(kvm, &caps);
	if (!caps.long_mode)
		probe_advise(advice, "KVM: it cannot run 64-bit guests, such as Linux; 32-bit guests, such as the "
				     "stress guest, do run; use a host with VT-x or AMD-V for the others");
	if (caps.ring_max == 0)
		probe_advise(advice, "KVM: no dirty ring, so --dirty ring will be refused; the log is used");
}

static bool probe_userfaultfd(uint64_t *features)
{
	struct uffdio_api api = { .api = UFFD_API };
	DECANT_AUTO_CLOSE int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0)
		return false;
	*features = api.features;
	return true;
}

static void probe_uffd(struct json_object *memory, struct json_object *advice)
{
	uint64_t features = 0;
	bool there = probe_userfaultfd(&features);
	bool minor = there && (features & UFFD_FEATURE_MINOR_SHMEM) != 0;

	json_add_bool(memory, "userfaultfd", there);
	json_add_bool(memory, "userfaultfd_minor", minor);
	if (!minor)
		probe_advise(advice, "userfaultfd: %s; nothing needs it yet",
			     there ? "no minor faults on shared memory (Linux 5.14 has them)"
				   : "not allowed; root may, or set vm.unprivileged_userfaultfd=1");
}

static void probe_huge_size(struct json_object *sizes, const char *directory)
{
	struct json_object *size = json_object_new_object();
	char path[320];

	json_add_number(size, "bytes", strtoull(directory + strlen("hugepages-"), NULL, 10) * 1024);
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/nr_hugepages", directory);
	json_add_number(size, "total", probe_read_number(path));
	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/%s/free_hugepages", directory);
	json_add_number(size, "free", probe_read_number(path));
	json_object_array_add(sizes, size);
}

static void probe_huge_pages(struct json_object *memory, struct json_object *advice)
{
	struct json_object *sizes = json_object_new_array();
	DIR *directory = opendir("/sys/kernel/mm/hugepages");
	struct dirent *entry;
	uint64_t total = 0;

	while (directory != NULL && (entry = readdir(directory)) != NULL)
		if (strncmp(entry->d_name, "hugepages-", strlen("hugepages-")) == 0)
			probe_huge_size(sizes, entry->d_name);
	if (directory != NULL)
		closedir(directory);
	for (size_t i = 0; i < json_object_array_length(sizes); i++)
		total += json_get_number(json_object_array_get_idx(sizes, i), "free", 0);
	json_object_object_add(memory, "huge_pages", sizes);
	if (total == 0)
		probe_advise(advice,
			     "huge pages: none free; for --page-size 2M set vm.nr_hugepages to the guest's "
			     "memory / 2 MiB");
}

static void probe_memory(struct json_object *probe, struct json_object *advice)
{
	struct json_object *memory = json_object_new_object();
	struct json_object *nodes = json_object_new_array();

	json_object_object_add(probe, "memory", memory);
	if (numa_available() >= 0) {
		for (int node = 0; node <= numa_max_node(); node++) {
			long long free_bytes = 0;
			long long bytes = numa_node_size64(node, &free_bytes);
			struct json_object *one = json_object_new_object();

			json_add_number(one, "node", (uint64_t)node);
			json_add_number(one, "bytes", bytes > 0 ? (uint64_t)bytes : 0);
			json_add_number(one, "free_bytes", free_bytes > 0 ? (uint64_t)free_bytes : 0);
			json_object_array_add(nodes, one);
		}
	}
	json_object_object_add(memory, "numa_nodes", nodes);
	probe_huge_pages(memory, advice);
	probe_memlock(memory, advice);
	probe_uffd(memory, advice);
}

static void probe_process(struct json_object *probe, struct json_object *advice)
{
	struct json_object *process = json_object_new_object();
	const bool supported = confine_supported();

	json_object_object_add(probe, "process", process);
	json_add_bool(process, "seccomp", supported);
	if (!supported)
		probe_advise(advice,
			     "confinement: this kernel has no filters of system calls (CONFIG_SECCOMP_FILTER), "
			     "so run and receive need --confine off");
}

struct json_object *probe_json(void)
{
	struct json_object *probe = json_object_new_object();
	struct json_object *advice = json_object_new_array();

	probe_kvm(probe, advice);
	probe_memory(probe, advice);
	probe_placement(probe, advice);
	probe_network(probe, advice);
	probe_process(probe, advice);
	json_object_object_add(probe, "advice", advice);
	return probe;
}

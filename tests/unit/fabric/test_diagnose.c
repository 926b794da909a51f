/* SPDX-License-Identifier: BSD-2-Clause */
/* test_diagnose.c -- what a host shows in /sys, /proc and /dev, and what is said of it; over the fake, whose devices are fake0, fake1 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "fabric/rdma/diagnose.h"
#include "fabric/rdma/limits.h"
#include "support/fake_verbs.h"
#include "support/false_root.h"

#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#define VIRTUAL "virtual"
#define PCI "pci0000:3a/0000:3b:00.0"
#define CAPABLE "CapEff:\t0000000000004000\n"
#define INCAPABLE "CapEff:\t0000000000000000\n"
#define ALL_IDS "         0          0 4294967295\n"

static struct false_root root;

static int set_up(void **state)
{
	const struct fake_config config = fake_config_default();

	(void)state;
	fake_reset(&config);
	false_root_new(&root);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	false_root_free(&root);
	return 0;
}

static void file(const char *path, const char *text)
{
	false_root_file(&root, path, text);
}

/* a RoCE port that lacks nothing but an address */
static void ready_device(const char *device, const char *bus)
{
	char path[256];

	false_root_device(&root, device, bus, "4: ACTIVE\n");
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/link_layer", device);
	file(path, "Ethernet\n");
	snprintf(path, sizeof(path), "/sys/class/infiniband/%s/ports/1/gid_attrs/ndevs/0", device);
	file(path, "eth9\n");
	snprintf(path, sizeof(path), "/sys/class/infiniband_verbs/uverbs%c/ibdev", device[strlen(device) - 1]);
	file(path, device);
	snprintf(path, sizeof(path), "/dev/infiniband/uverbs%c", device[strlen(device) - 1]);
	file(path, "");
	file("/dev/infiniband/rdma_cm", "");
}

static void assert_told(const struct decant_error *err, const char *words)
{
	if (strstr(err->msg, words) == NULL)
		fail_msg("'%s' is not in: %s", words, err->msg);
}

static void assert_no_rail(int code, const char *words, const char *remedy)
{
	struct decant_error err = DECANT_ERROR_INIT;

	assert_int_equal(diagnose_no_rail_at(root.path, &err), code);
	assert_int_equal(err.code, code);
	assert_told(&err, words);
	assert_told(&err, remedy);
}

/* ---- sysfs ---- */

static void test_sysfs_ports__what_the_kernel_tells(void **state)
{
	struct sysfs_port ports[4];

	(void)state;
	ready_device("mlx5_10", PCI);
	file("/sys/class/infiniband/mlx5_10/ports/1/rate", "100 Gb/sec (4X EDR)\n");
	file("/sys/class/infiniband/mlx5_10/device/numa_node", "1\n");
	file("/sys/class/infiniband/mlx5_10/ports/2/state", "1: DOWN\n");
	file("/sys/class/infiniband/mlx5_10/ports/2/link_layer", "InfiniBand\n");
	ready_device("rxe2", VIRTUAL);
	file("/sys/class/infiniband/rxe2/ports/1/rate", "2.5 Gb/sec (1X SDR)\n");
	assert_int_equal(sysfs_ports(root.path, ports, 4), 3);
	assert_string_equal(ports[0].device, "mlx5_10");
	assert_int_equal(ports[0].port, 1);
	assert_true(ports[0].active && ports[0].ethernet && !ports[0].software);
	assert_string_equal(ports[0].state, "ACTIVE");
	assert_int_equal(ports[0].speed_mbps, 100000);
	assert_int_equal(ports[0].numa_node, 1);
	assert_string_equal(ports[0].interface, "eth9");
	assert_string_equal(ports[0].verbs, "uverbs0");
	assert_int_equal(ports[1].port, 2);
	assert_true(!ports[1].active && !ports[1].ethernet);
	assert_string_equal(ports[1].state, "DOWN");
	assert_string_equal(ports[1].interface, "");
	assert_string_equal(ports[2].device, "rxe2");
	assert_true(ports[2].software);
	assert_int_equal(ports[2].speed_mbps, 2500);
	assert_int_equal(ports[2].numa_node, -1);
	assert_int_equal(sysfs_ports(root.path, ports, 2), 2);
}

static void test_sysfs_ports__what_makes_no_sense_is_left_out(void **state)
{
	struct sysfs_port ports[4];

	(void)state;
	assert_int_equal(sysfs_ports(root.path, ports, 4), 0);
	file("/sys/class/infiniband/mlx5_0/ports/0/state", "4: ACTIVE\n");
	file("/sys/class/infiniband/mlx5_0/ports/256/state", "4: ACTIVE\n");
	file("/sys/class/infiniband/mlx5_0/ports/one/state", "4: ACTIVE\n");
	file("/sys/class/infiniband/mlx5_0/ports/3/rate", "1\n");
	file("/sys/class/infiniband/a_device_with_a_name_of_32_or_more/ports/1/state", "4: ACTIVE\n");
	assert_int_equal(sysfs_ports(root.path, ports, 4), 0);
	file("/sys/class/infiniband/mlx5_0/ports/1/state", "");
	assert_int_equal(sysfs_ports(root.path, ports, 4), 0);
	file("/sys/class/infiniband/mlx5_0/ports/1/state",
	     "4: ACTIVE and much more than anyone would have thought of");
	file("/sys/class/infiniband/mlx5_0/ports/1/rate", "-7 Gb/sec");
	file("/sys/class/infiniband/mlx5_0/parent", "an_interface_name_too_long");
	assert_int_equal(sysfs_ports(root.path, ports, 4), 1);
	assert_int_equal(strlen(ports[0].state), SYSFS_STATE_MAX - 1);
	assert_int_equal(ports[0].speed_mbps, 0);
	assert_string_equal(ports[0].interface, "");
}

static void test_sysfs_port__the_interface_by_other_ways(void **state)
{
	struct sysfs_port port;

	(void)state;
	false_root_device(&root, "siw0", VIRTUAL, "4: ACTIVE\n");
	assert_true(sysfs_port(root.path, "siw0", 1, &port));
	assert_string_equal(port.interface, "");
	file("/sys/class/infiniband/siw0/device/net/ib0/mtu", "4092\n");
	assert_true(sysfs_port(root.path, "siw0", 1, &port));
	assert_string_equal(port.interface, "ib0");
	file("/sys/class/infiniband/siw0/device/net/ib1/mtu", "4092\n"); /* which of the two? */
	assert_true(sysfs_port(root.path, "siw0", 1, &port));
	assert_string_equal(port.interface, "");
	file("/sys/class/infiniband/siw0/parent", "eth3\n");
	assert_true(sysfs_port(root.path, "siw0", 1, &port));
	assert_string_equal(port.interface, "eth3");
	assert_false(sysfs_port(root.path, "siw0", 2, &port));
}

/* ---- limits ---- */

static void memlock_of(const char *status, const char *ids, struct limits_memlock *limits)
{
	file("/proc/self/status", status);
	file("/proc/self/uid_map", ids);
	limits_memlock(root.path, limits);
}

static void test_limits_memlock__who_is_above_it(void **state)
{
	struct limits_memlock limits;

	(void)state;
	memlock_of("Name:\tdecant\n" INCAPABLE "VmPin:\t    2048 kB\n", ALL_IDS, &limits);
	assert_true(!limits.lifted && !limits.namespaced);
	assert_int_equal(limits.pinned, 2048 * 1024);
	memlock_of(CAPABLE, ALL_IDS, &limits);
	assert_true(limits.lifted && !limits.namespaced);
	assert_int_equal(limits.pinned, 0);
	memlock_of(CAPABLE, "         0     100000      65536\n", &limits);
	assert_true(!limits.lifted && limits.namespaced);
	memlock_of("CapEff:\tffffffffffffbfff\n", ALL_IDS, &limits);
	assert_false(limits.lifted);
}

static void test_limits_memory_room__the_tightest_group_counts(void **state)
{
	char folder[256];

	(void)state;
	assert_true(limits_memory_room(root.path, folder, sizeof(folder)) == LIMITS_NONE);
	file("/proc/self/cgroup", "0::/batch/job7/step\n");
	file("/sys/fs/cgroup/batch/job7/step/memory.max", "max\n");
	file("/sys/fs/cgroup/batch/job7/step/memory.current", "4096\n");
	assert_true(limits_memory_room(root.path, folder, sizeof(folder)) == LIMITS_NONE);
	file("/sys/fs/cgroup/batch/memory.max", "1000000\n");
	file("/sys/fs/cgroup/batch/memory.current", "300000\n");
	assert_int_equal(limits_memory_room(root.path, folder, sizeof(folder)), 700000);
	file("/sys/fs/cgroup/batch/job7/memory.max", "8192\n");
	file("/sys/fs/cgroup/batch/job7/memory.current", "12288\n");
	assert_int_equal(limits_memory_room(root.path, folder, sizeof(folder)), 0);
	assert_string_equal(folder, "/sys/fs/cgroup/batch/job7");
}

static void test_limits_rdma__of_the_device(void **state)
{
	char text[128];

	(void)state;
	file("/proc/self/cgroup", "0::/job\n");
	file("/sys/fs/cgroup/job/rdma.max",
	     "mlx5_01 hca_handle=1 hca_object=1\nmlx5_0 hca_handle=2 hca_object=20\n"
	     "mlx5_1 hca_handle=max hca_object=max\n");
	assert_true(limits_rdma(root.path, "mlx5_0", text, sizeof(text)));
	assert_string_equal(text, "mlx5_0 hca_handle=2 hca_object=20");
	assert_false(limits_rdma(root.path, "mlx5_1", text, sizeof(text)));
	assert_false(limits_rdma(root.path, "mlx5", text, sizeof(text)));
}

/* ---- no rail ---- */

static void test_diagnose_no_rail__no_device(void **state)
{
	(void)state;
	assert_no_rail(-ENODEV, "no RDMA device", "load the driver");
}

static void test_diagnose_no_rail__no_module(void **state)
{
	(void)state;
	false_root_device(&root, "fake0", PCI, "4: ACTIVE\n");
	assert_no_rail(-ENOENT, "ib_uverbs is not loaded", "modprobe ib_uverbs");
}

static void test_diagnose_no_rail__no_file(void **state)
{
	char path[PATH_MAX];

	(void)state;
	ready_device("fake0", PCI);
	snprintf(path, sizeof(path), "%s/dev/infiniband/rdma_cm", root.path);
	assert_int_equal(remove(path), 0);
	assert_no_rail(-ENOENT, "/dev/infiniband/rdma_cm is not there", "modprobe rdma_ucm");
	snprintf(path, sizeof(path), "%s/dev/infiniband/uverbs0", root.path);
	assert_int_equal(remove(path), 0);
	assert_no_rail(-ENOENT, "/dev/infiniband/uverbs0 is not there", "--device=/dev/infiniband");
}

/* Root may write to any file, but for this capability. (Another user could not even look into the folder of the test.) */
static void set_override(bool on)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	assert_int_equal(syscall(SYS_capget, &head, data), 0);
	if (on)
		data[0].effective |= 1u << CAP_DAC_OVERRIDE;
	else
		data[0].effective &= ~(1u << CAP_DAC_OVERRIDE);
	assert_int_equal(syscall(SYS_capset, &head, data), 0);
}

static void test_diagnose_no_rail__no_permission(void **state)
{
	char path[PATH_MAX];
	const bool privileged = geteuid() == 0;

	(void)state;
	ready_device("fake0", PCI);
	snprintf(path, sizeof(path), "%s/dev/infiniband/uverbs0", root.path);
	assert_int_equal(chmod(path, 0400), 0);
	if (privileged)
		set_override(false);
	assert_no_rail(-EACCES, "no permission to read and write /dev/infiniband/uverbs0", "chmod 666");
	if (privileged)
		set_override(true);
}

static void test_diagnose_no_rail__port_down(void **state)
{
	(void)state;
	ready_device("fake0", PCI);
	file("/sys/class/infiniband/fake0/ports/1/state", "1: DOWN\n");
	assert_no_rail(-ENETDOWN, "port 1 of the RDMA device fake0 is DOWN", "ip link set eth9 up");
}

static void test_diagnose_no_rail__infiniband_port_down(void **state)
{
	char path[PATH_MAX];

	(void)state;
	ready_device("fake0", PCI);
	file("/sys/class/infiniband/fake0/ports/1/state", "2: INIT\n");
	file("/sys/class/infiniband/fake0/ports/1/link_layer", "InfiniBand\n");
	snprintf(path, sizeof(path), "%s/sys/class/infiniband/fake0/ports/1/gid_attrs/ndevs/0", root.path);
	assert_int_equal(remove(path), 0);
	assert_no_rail(-ENETDOWN, "fake0 is INIT", "subnet manager");
	file("/sys/class/infiniband/fake0/ports/1/state", "4: ACTIVE\n");
	assert_no_rail(-EADDRNOTAVAIL, "no address leads to port 1", "modprobe ib_ipoib");
}

static void test_diagnose_no_rail__no_provider(void **state)
{
	(void)state;
	ready_device("mlx5_0", PCI); /* which libibverbs does not know, though it knows others */
	assert_no_rail(-ENOENT, "libibverbs cannot drive it", "ibverbs-providers");
}

static void test_diagnose_no_rail__no_address(void **state)
{
	(void)state;
	ready_device("fake0", PCI);
	assert_no_rail(-EADDRNOTAVAIL, "port 1 of the RDMA device fake0 has no IP address",
		       "ip address add ADDRESS/BITS dev eth9");
}

static void test_diagnose_no_rail__no_gid(void **state)
{
	(void)state;
	ready_device("fake0", PCI);
	file("/sys/class/infiniband/fake0/ports/1/gid_attrs/ndevs/0", "fakenet0\n");
	assert_no_rail(-EADDRNOTAVAIL, "does not take 10.77.0.1, the address of fakenet0", "no GID for it");
}

static void test_diagnose_no_rail__the_port_nearest_to_use(void **state)
{
	(void)state;
	ready_device("fake0", PCI);
	file("/sys/class/infiniband/fake0/ports/1/state", "1: DOWN\n");
	ready_device("fake1", VIRTUAL);
	assert_no_rail(-EADDRNOTAVAIL, "fake1 has no IP address", "dev eth9");
}

/* ---- registration ---- */

/* with RLIMIT_MEMLOCK lowered to @soft */
static void assert_register(rlim_t soft, uint64_t length, uint64_t needed, const char *words, const char *remedy)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct rlimit before, low;

	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &before), 0);
	low = before;
	low.rlim_cur = soft;
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	assert_int_equal(diagnose_register_at(root.path, -ENOMEM, "mlx5_0", length, needed, &err), -ENOMEM);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &before), 0);
	assert_told(&err, words);
	assert_told(&err, remedy);
}

static void test_diagnose_register__memlock(void **state)
{
	(void)state;
	file("/proc/self/uid_map", ALL_IDS);
	file("/proc/self/status", INCAPABLE "VmPin:\t      32 kB\n");
	assert_register(65536, 2 << 20, 0,
			"RLIMIT_MEMLOCK is 64 KiB, 32 KiB of it in use, and 3 MiB are needed now",
			"`ulimit -l 3072`");
	assert_register(65536, 2 << 20, 512 << 20, "and 512 MiB are needed:", "`ulimit -l 524288`");
	file("/proc/self/uid_map", "0 1000 1\n");
	file("/proc/self/status", CAPABLE);
	assert_register(65536, 2 << 20, 0, "registering 2048 KiB of memory with mlx5_0",
			"does not count inside a user");
}

static void test_diagnose_register__memory_cgroup(void **state)
{
	(void)state;
	file("/proc/self/uid_map", ALL_IDS);
	file("/proc/self/status", CAPABLE);
	file("/proc/self/cgroup", "0::/job\n");
	file("/sys/fs/cgroup/job/memory.max", "1048576\n");
	file("/sys/fs/cgroup/job/memory.current", "524288\n");
	assert_register(65536, 2 << 20, 0, "the memory cgroup has room for 512 KiB, and 2048 KiB are needed",
			"raise memory.max in /sys/fs/cgroup/job");
	file("/sys/fs/cgroup/job/memory.max", "max\n");
	assert_register(65536, 2 << 20, 0, "out of memory", "max_mr");
}

static void test_diagnose_device__rdma_cgroup(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	file("/proc/self/cgroup", "0::/job\n");
	file("/sys/fs/cgroup/job/rdma.max", "mlx5_0 hca_handle=2 hca_object=20\n");
	assert_int_equal(diagnose_device_at(root.path, -EAGAIN, "ibv_create_cq", "mlx5_0", &err), -EAGAIN);
	assert_told(&err, "ibv_create_cq on mlx5_0");
	assert_told(&err, "hca_object=20");
	assert_told(&err, "rdma.max");
	assert_int_equal(diagnose_device_at(root.path, -EINVAL, "ibv_create_cq", "", &err), -EINVAL);
	assert_told(&err, "Invalid argument");
}

/* ---- the way to the peer ---- */

static void test_diagnose_path__what_to_try(void **state)
{
	const struct fabric_rail local = { .device = "mlx5_0", .family = AF_INET, .address = { 10, 9, 0, 1 } };
	const struct fabric_rail remote = { .device = "mlx5_1", .family = AF_INET, .address = { 10, 8, 0, 2 } };
	struct decant_error err = DECANT_ERROR_INIT;

	(void)state;
	assert_int_equal(diagnose_path(-ETIMEDOUT, &local, &remote, &err), -ENETUNREACH);
	assert_told(&err, "mlx5_0 (10.9.0.1)");
	assert_told(&err, "does not answer");
	assert_told(&err, "ping -I 10.9.0.1 10.8.0.2");
	assert_told(&err, "--rail");
	assert_int_equal(diagnose_path(-ECANCELED, &local, &remote, &err), -ECANCELED);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		CASE(test_sysfs_ports__what_the_kernel_tells),
		CASE(test_sysfs_ports__what_makes_no_sense_is_left_out),
		CASE(test_sysfs_port__the_interface_by_other_ways),
		CASE(test_limits_memlock__who_is_above_it),
		CASE(test_limits_memory_room__the_tightest_group_counts),
		CASE(test_limits_rdma__of_the_device),
		CASE(test_diagnose_no_rail__no_device),
		CASE(test_diagnose_no_rail__no_module),
		CASE(test_diagnose_no_rail__no_file),
		CASE(test_diagnose_no_rail__no_permission),
		CASE(test_diagnose_no_rail__port_down),
		CASE(test_diagnose_no_rail__infiniband_port_down),
		CASE(test_diagnose_no_rail__no_provider),
		CASE(test_diagnose_no_rail__no_address),
		CASE(test_diagnose_no_rail__no_gid),
		CASE(test_diagnose_no_rail__the_port_nearest_to_use),
		CASE(test_diagnose_register__memlock),
		CASE(test_diagnose_register__memory_cgroup),
		CASE(test_diagnose_device__rdma_cgroup),
		CASE(test_diagnose_path__what_to_try),
	};
#undef CASE

	return cmocka_run_group_tests_name("diagnose", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/* test_placement.c -- sets of CPUs, the nodes of hosts that are made up, and where threads run */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "support/false_root.h"
#include "support/two_nodes.h"
#include "util/placement.h"
#include "util/thread.h"
#include "util/topology.h"

/* two packages of two cores with a node each; one package with one node */
#define TWO_NODES "pack:2 [numa] core:2 pu:1"
#define ONE_NODE "pack:1 [numa] core:4 pu:1"

static struct cpus set_of(const char *text)
{
	struct cpus cpus = { 0 };

	if (text[0] != '\0')
		assert_int_equal(cpus_parse(text, &cpus, NULL), 0);
	return cpus;
}

static void assert_cpus(const struct cpus *cpus, const char *wanted)
{
	char text[CPUS_TEXT_MAX];

	assert_string_equal(cpus_format(cpus, text), wanted);
}

/* ---- cpus ---- */

static void test_cpus_parse__lists(void **state)
{
	static const struct {
		const char *text, *again;
		uint32_t count;
	} cases[] = {
		{ "0", "0", 1 },         { "0-3", "0-3", 4 },        { "3,1,2", "1-3", 3 },
		{ "0-3,8", "0-3,8", 5 }, { "64-127", "64-127", 64 }, { "8191", "8191", 1 },
		{ "5,5-5", "5", 1 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct cpus cpus = set_of(cases[i].text);

		assert_int_equal(cpus_count(&cpus), cases[i].count);
		assert_cpus(&cpus, cases[i].again);
	}
}

static void test_cpus_parse__no_lists(void **state)
{
	static const char *const texts[] = {
		"",     ",",   "0,",   "a",   "3-1",  "-1",     "1-",
		"8192", "0 1", "0-3;", "0x1", "1,,2", "(null)", "99999999999999999999"
	};
	struct decant_error err = DECANT_ERROR_INIT;
	(void)state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct cpus cpus = set_of("7");

		assert_int_equal(cpus_parse(texts[i], &cpus, &err), -EINVAL);
		assert_cpus(&cpus, "7");
		assert_non_null(strstr(err.msg, "0-3,8"));
	}
}

static void test_cpus_format__more_than_fit(void **state)
{
	struct cpus cpus = { 0 };
	char text[CPUS_TEXT_MAX];
	(void)state;

	assert_cpus(&cpus, "none");
	for (uint32_t cpu = 0; cpu < CPUS_MAX; cpu += 2)
		cpus_add(&cpus, cpu);
	cpus_format(&cpus, text);
	assert_true(strlen(text) < sizeof(text));
	assert_string_equal(text + strlen(text) - 4, ",...");
	assert_int_equal(strncmp(text, "0,2,4,", 6), 0);
}

static void test_cpus__set_operations(void **state)
{
	const struct cpus a = set_of("0-3,100"), b = set_of("2-5");
	struct cpus result;
	(void)state;

	cpus_and(&result, &a, &b);
	assert_cpus(&result, "2-3");
	cpus_without(&result, &a, &b);
	assert_cpus(&result, "0-1,100");
	assert_true(cpus_has(&a, 100) && !cpus_has(&a, 99) && !cpus_has(&a, CPUS_MAX));
}

/* ---- topology ---- */

static void make_topology(struct topology *topology, const char *synthetic)
{
	char *before = getenv("HWLOC_SYNTHETIC");

	before = before != NULL ? strdup(before) : NULL;
	setenv("HWLOC_SYNTHETIC", synthetic, 1);
	topology_load(topology);
	if (before != NULL)
		setenv("HWLOC_SYNTHETIC", before, 1);
	free(before);
}

static void test_topology__nodes_and_their_cpus(void **state)
{
	static struct topology two, one;
	(void)state;

	make_topology(&two, TWO_NODES);
	assert_int_equal(two.count, 2);
	assert_cpus(topology_cpus(&two, 0), "0-1");
	assert_cpus(topology_cpus(&two, 1), "2-3");
	assert_null(topology_cpus(&two, 2));
	assert_null(topology_cpus(&two, -1));

	make_topology(&one, ONE_NODE);
	assert_int_equal(one.count, 1);
	assert_null(topology_cpus(&one, 0)); /* nothing is nearer than the rest */
}

/* what the kernel has below /sys/class/CLASS/NAME, NAME lying on @on */
static void add_link(const struct false_root *root, const char *path, const char *target)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", root->path, path);
	assert_int_equal(symlink(target, name), 0);
}

static void fill_root(const struct false_root *root)
{
	/* eth0 and the RDMA device are PCI functions near node 1, eth1 near node 0 */
	false_root_file(root, "/sys/class/net/eth0/device/local_cpus", "0000000c\n");
	false_root_file(root, "/sys/class/infiniband/mlx5_0/device/local_cpus", "00000000,0000000c\n");
	false_root_file(root, "/sys/class/net/eth1/device/local_cpus", "00000003\n");
	/* the firmware does not tell where eth2 is */
	false_root_file(root, "/sys/class/net/eth2/device/local_cpus", "0000000f\n");
	/* eth3 is of virtio, on a PCI function near node 1 */
	false_root_file(root, "/sys/devices/pci0/virtio0/features", "");
	false_root_file(root, "/sys/devices/pci0/local_cpus", "8\n");
	false_root_file(root, "/sys/class/net/eth3/mtu", "1500\n");
	add_link(root, "/sys/class/net/eth3/device", "../../../devices/pci0/virtio0");
	/* a VLAN on a bond of two that are near each other, and a bond of two that are not */
	false_root_file(root, "/sys/class/net/near/mtu", "1500\n");
	add_link(root, "/sys/class/net/near/lower_eth0", "../eth0");
	add_link(root, "/sys/class/net/near/lower_eth3", "../eth3");
	false_root_file(root, "/sys/class/net/near.7/mtu", "1500\n");
	add_link(root, "/sys/class/net/near.7/lower_near", "../near");
	false_root_file(root, "/sys/class/net/far/mtu", "1500\n");
	add_link(root, "/sys/class/net/far/lower_eth0", "../eth0");
	add_link(root, "/sys/class/net/far/lower_eth1", "../eth1");
	/* one that lies on itself, which a broken driver might say */
	false_root_file(root, "/sys/class/net/round/mtu", "1500\n");
	add_link(root, "/sys/class/net/round/lower_round", "../round");
	false_root_file(root, "/sys/class/net/lo/mtu", "65536\n");
}

static void test_topology_device_node__of_each_kind(void **state)
{
	static const struct {
		const char *class, *name;
		int node;
	} cases[] = {
		{ "net", "eth0", 1 },   { "infiniband", "mlx5_0", 1 }, { "net", "eth1", 0 },
		{ "net", "eth2", -1 },  { "net", "eth3", 1 },          { "net", "near", 1 },
		{ "net", "near.7", 1 }, { "net", "far", -1 },          { "net", "round", -1 },
		{ "net", "lo", -1 },    { "net", "absent", -1 },
	};
	static struct topology two;
	struct false_root root;
	(void)state;

	make_topology(&two, TWO_NODES);
	false_root_new(&root);
	fill_root(&root);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(topology_device_node(&two, root.path, cases[i].class, cases[i].name),
				 cases[i].node);
	false_root_free(&root);
}

static void test_topology_socket_node__of_loopback(void **state)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	static struct topology two;
	const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)state;

	make_topology(&two, TWO_NODES);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(topology_socket_node(&two, fd), -1);
	assert_int_equal(topology_socket_node(&two, -1), -1);
	close(fd);
}

/* ---- the choice ---- */

static void test_placement_choose__default(void **state)
{
	static const struct {
		const char *affinity, *cpuset, *isolated, *cpus, *why;
	} cases[] = {
		{ "0-7", "0-7", "", "0-7", "all that this process may use" },
		{ "2-3", "0-7", "", "2-3", "all that this process may use" },
		{ "2-3", "0-7", "6-7", "2-3", "all that this process may use" },
		{ "0-7", "0-7", "2-7", "0-1", "of 0-7, which this process may use, 2-7 are isolated" },
		{ "2-3", "0-7", "2-7", "0-1", "bound to 2-3, which are isolated" },
		{ "2-3", "2-3", "2-7", "2-3", "cpuset, 2-3, has no others" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct placement_host found_host = {
			.affinity = set_of(cases[i].affinity),
			.cpuset = set_of(cases[i].cpuset),
			.isolated = set_of(cases[i].isolated),
		};
		struct placement placement;

		assert_int_equal(placement_choose(&found_host, NULL, &placement, NULL), 0);
		assert_cpus(&placement.cpus, cases[i].cpus);
		assert_non_null(strstr(placement.why, cases[i].why));
	}
}

static void test_placement_choose__asked(void **state)
{
	const struct placement_host found_host = {
		.affinity = set_of("2-3"),
		.cpuset = set_of("0-7"),
		.isolated = set_of("6-7"),
	};
	struct decant_error err = DECANT_ERROR_INIT;
	struct placement placement;
	(void)state;

	assert_int_equal(placement_choose(&found_host, "0,4-5", &placement, NULL),
			 0); /* beyond the affinity, within the cpuset */
	assert_cpus(&placement.cpus, "0,4-5");
	assert_int_equal(placement_choose(&found_host, "5-9", &placement, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "CPU 8-9: not there"));
	assert_non_null(strstr(err.msg, "0-7"));
	assert_int_equal(placement_choose(&found_host, "5-6", &placement, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "CPU 6: isolated"));
	assert_int_equal(placement_choose(&found_host, "x", &placement, &err), -EINVAL);
	assert_int_equal(placement_choose(&found_host, "", &placement, &err), -EINVAL);
}

static void test_placement_look__what_is_isolated(void **state)
{
	struct placement_host found_host;
	struct false_root root;
	struct cpus own;
	(void)state;

	false_root_new(&root);
	false_root_file(&root, "/sys/devices/system/cpu/isolated", "4-5,8\n");
	false_root_file(&root, "/sys/devices/system/cpu/nohz_full", "(null)\n");
	false_root_file(&root, "/sys/fs/cgroup/cpuset.cpus.isolated", "\n");
	placement_look(root.path, &found_host);
	assert_cpus(&found_host.isolated, "4-5,8");
	false_root_file(&root, "/sys/devices/system/cpu/nohz_full", "5-6\n");
	false_root_file(&root, "/sys/fs/cgroup/cpuset.cpus.isolated", "9\n");
	placement_look(root.path, &found_host);
	assert_cpus(&found_host.isolated, "4-6,8-9");
	false_root_free(&root);

	assert_int_equal(cpus_of_thread(&own), 0);
	assert_true(cpus_equal(&own, &found_host.affinity));
	cpus_without(&own, &own, &found_host.cpuset);
	assert_int_equal(cpus_count(&own), 0);
	placement_look("", &found_host);
	assert_true(cpus_count(&found_host.affinity) > 0);
}

/* ---- threads: what follows needs two CPUs on a node each, as main() makes them ---- */

static struct two_nodes host;

static void need_two_cpus(void)
{
	if (cpus_count(&host.both) == 0)
		skip();
}

static void *note_cpus(void *opaque)
{
	cpus_of_thread(opaque);
	return NULL;
}

static struct cpus cpus_of_new_thread(void)
{
	struct cpus cpus = { 0 };
	pthread_t thread;

	assert_int_equal(thread_start(&thread, "test", note_cpus, &cpus), 0);
	pthread_join(thread, NULL);
	return cpus;
}

static void test_placement_enter__new_threads_inherit(void **state)
{
	struct placement placement = { 0 };
	struct placement_scope scope, inner;
	struct cpus found;
	(void)state;

	need_two_cpus();
	placement.cpus = host.node[1];
	placement_enter(&placement, &scope);
	found = cpus_of_new_thread();
	placement_enter(&placement, &inner);
	placement_leave(&inner);
	assert_true(cpus_equal(&found, &host.node[1]));
	placement_leave(&scope);

	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.both));
	placement_enter(NULL, &scope);
	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.both));
	placement_leave(&scope);
}

static void test_placement_leave__what_somebody_else_bound_stays(void **state)
{
	struct placement placement = { 0 };
	struct placement_scope scope;
	struct cpus found;
	(void)state;

	need_two_cpus();
	placement.cpus = host.node[1];
	placement_enter(&placement, &scope);
	assert_int_equal(cpus_bind_thread(&host.node[0]), 0);
	placement_leave(&scope);
	assert_int_equal(cpus_of_thread(&found), 0);
	assert_true(cpus_equal(&found, &host.node[0]));
	assert_int_equal(cpus_bind_thread(&host.both), 0);
}

static void test_placement_near__within_the_scope(void **state)
{
	struct placement placement = { 0 };
	struct placement_scope scope;
	struct cpus found;
	(void)state;

	need_two_cpus();
	placement.cpus = host.both;
	placement_enter(&placement, &scope);
	placement_near(&scope, 1);
	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.node[1]));
	placement_near(&scope, 0);
	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.node[0]));
	placement_near(&scope, -1);
	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.both));
	placement_leave(&scope);

	/* none of node 0 is among those asked for: there it stays within them */
	placement.cpus = host.node[1];
	placement_enter(&placement, &scope);
	placement_near(&scope, 0);
	found = cpus_of_new_thread();
	assert_true(cpus_equal(&found, &host.node[1]));
	placement_leave(&scope);
	assert_int_equal(cpus_of_thread(&found), 0);
	assert_true(cpus_equal(&found, &host.both));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cpus_parse__lists),
		cmocka_unit_test(test_cpus_parse__no_lists),
		cmocka_unit_test(test_cpus_format__more_than_fit),
		cmocka_unit_test(test_cpus__set_operations),
		cmocka_unit_test(test_topology__nodes_and_their_cpus),
		cmocka_unit_test(test_topology_device_node__of_each_kind),
		cmocka_unit_test(test_topology_socket_node__of_loopback),
		cmocka_unit_test(test_placement_choose__default),
		cmocka_unit_test(test_placement_choose__asked),
		cmocka_unit_test(test_placement_look__what_is_isolated),
		cmocka_unit_test(test_placement_enter__new_threads_inherit),
		cmocka_unit_test(test_placement_leave__what_somebody_else_bound_stays),
		cmocka_unit_test(test_placement_near__within_the_scope),
	};

	(void)two_nodes_make(&host); /* without them some tests skip */
	return cmocka_run_group_tests(tests, NULL, NULL);
}

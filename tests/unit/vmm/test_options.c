/* SPDX-License-Identifier: BSD-2-Clause */
/* test_options.c -- the words of the verbs */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "qemu/qemu_move.h"
#include "support/words.h"
#include "vmm/options.h"

static void test_options_run__defaults(void **state)
{
	struct options_run options;
	struct words words;
	(void)state;

	words_split(&words, "run --guest stress");
	assert_int_equal(options_run(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.config.name, "vm");
	assert_int_equal(options.config.memory_bytes, 512u << 20);
	assert_int_equal(options.config.page_size, 4096);
	assert_int_equal(options.config.vcpus, 1);
	assert_int_equal(options.config.guest, MACHINE_GUEST_STRESS);
	assert_string_equal(options.boot.stress, "");
	assert_null(options.boot.kernel);
	assert_int_equal(options.serial, OPTIONS_SERIAL_STDIO);
	assert_int_equal(options.confine, CONFINE_ON);
	assert_false(options.json);
}

static void test_options_run__all(void **state)
{
	struct options_run options;
	struct words words;
	(void)state;

	words_split(&words, "run --name a.b-c --memory=1G --vcpus 4 --page-size 2M --dirty ring --serial f --json "
			    "--kernel k --initrd i --append x=1 --confine strict --cpus 0-1,8 --numa-node 3");
	assert_int_equal(options_run(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.config.name, "a.b-c");
	assert_int_equal(options.config.memory_bytes, 1u << 30);
	assert_int_equal(options.config.vcpus, 4);
	assert_int_equal(options.config.page_size, 2u << 20);
	assert_int_equal(options.config.dirty, DECANT_KVM_DIRTY_RING);
	assert_int_equal(options.config.guest, MACHINE_GUEST_KERNEL);
	assert_int_equal(options.serial, OPTIONS_SERIAL_FILE);
	assert_string_equal(options.serial_file, "f");
	assert_true(options.json);
	assert_string_equal(options.boot.kernel, "k");
	assert_string_equal(options.boot.initrd, "i");
	assert_string_equal(options.boot.command, "x=1");
	assert_int_equal(options.confine, CONFINE_STRICT);
	assert_string_equal(options.cpus, "0-1,8");
	assert_int_equal(options.numa_node, 3);
}

static void test_options_run__json_has_no_serial_on_stdout(void **state)
{
	struct options_run options;
	struct words words;
	(void)state;

	words_split(&words, "run --guest stress --json");
	assert_int_equal(options_run(words.argc, words.argv, &options, NULL), 0);
	assert_int_equal(options.serial, OPTIONS_SERIAL_NONE);

	words_split(&words, "run --guest stress --json --serial stdio");
	assert_int_equal(options_run(words.argc, words.argv, &options, NULL), -EINVAL);
}

static void test_options_receive__all(void **state)
{
	struct options_receive options;
	struct words words;
	(void)state;

	words_split(
		&words,
		"receive --listen [::1]:0 --name n --max-memory 2G --insecure --confine off --prealloc 1G --page-size 2M");
	assert_int_equal(options_receive(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.listen, "[::1]:0");
	assert_string_equal(options.name, "n");
	assert_int_equal(options.max_memory, 2ull << 30);
	assert_int_equal(options.prealloc, 1ull << 30);
	assert_int_equal(options.page_size, 2ull << 20);
	assert_true(options.insecure);
	assert_int_equal(options.confine, CONFINE_OFF);
}

static void test_options__key_file(void **state)
{
	struct options_receive receive;
	struct options_migrate migrate;
	struct decant_error err = DECANT_ERROR_INIT;
	struct words words;
	(void)state;

	words_split(&words, "receive --listen 0.0.0.0:1 --key-file /k");
	assert_int_equal(options_receive(words.argc, words.argv, &receive, NULL), 0);
	assert_string_equal(receive.key_file, "/k");
	assert_false(receive.insecure);
	words_split(&words, "receive --listen 0.0.0.0:1 --key-file /k --insecure");
	assert_int_equal(options_receive(words.argc, words.argv, &receive, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--insecure"));

	words_split(&words, "migrate demo host:7000 --key-file /k");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, NULL), 0);
	assert_string_equal(migrate.key_file, "/k");
	assert_null(migrate.departure.key);
	words_split(&words, "migrate demo --fabric loop --key-file /k");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--key-file"));
}

static void test_options__cpus_and_node(void **state)
{
	struct options_receive receive;
	struct options_migrate migrate;
	struct decant_error err = DECANT_ERROR_INIT;
	struct words words;
	(void)state;

	words_split(&words, "receive --listen 127.0.0.1:1");
	assert_int_equal(options_receive(words.argc, words.argv, &receive, NULL), 0);
	assert_null(receive.cpus);
	assert_int_equal(receive.numa_node, -1);
	words_split(&words, "receive --listen 127.0.0.1:1 --cpus 4 --numa-node 0");
	assert_int_equal(options_receive(words.argc, words.argv, &receive, NULL), 0);
	assert_string_equal(receive.cpus, "4");
	assert_int_equal(receive.numa_node, 0);
	words_split(&words, "receive --listen 127.0.0.1:1 --numa-node -1");
	assert_int_equal(options_receive(words.argc, words.argv, &receive, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--numa-node"));

	words_split(&words, "migrate demo host:7000");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, NULL), 0);
	assert_string_equal(migrate.departure.cpus, "");
	words_split(&words, "migrate demo host:7000 --cpus 2-3");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, NULL), 0);
	assert_string_equal(migrate.departure.cpus, "2-3");
	words_split(&words, "migrate demo host:7000 --cpus 3-2");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "--cpus"));
}

static void test_options_migrate__defaults(void **state)
{
	struct options_migrate options;
	struct words words;
	(void)state;

	words_split(&words, "migrate demo host:7000");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.name, "demo");
	assert_string_equal(options.departure.peer, "host:7000");
	assert_string_equal(options.departure.fabric, "auto");
	assert_int_equal(options.departure.max_downtime_ns, 300000000);
	assert_int_equal(options.departure.timeout_ns, 0);
	assert_false(options.departure.verify);
	assert_int_equal(options.departure.if_not_converging, DECANT_NOT_CONVERGING_ABORT);
	assert_null(options.report);
}

static void test_options_migrate__options_and_words_in_any_order(void **state)
{
	struct options_migrate options;
	struct words words;
	(void)state;

	words_split(
		&words,
		"migrate --verify demo --channels 4 --max-downtime 20ms [fd00::2]:7 --bandwidth 8Mbit --timeout 1.5s "
		"--if-not-converging throttle --report r --zero-scan off --zero-copy on");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.departure.peer, "[fd00::2]:7");
	assert_true(options.departure.verify);
	assert_int_equal(options.departure.if_not_converging, DECANT_NOT_CONVERGING_THROTTLE);
	assert_int_equal(options.departure.channels, 4);
	assert_int_equal(options.departure.max_downtime_ns, 20000000);
	assert_int_equal(options.departure.bandwidth_Bps, 1000000);
	assert_int_equal(options.departure.timeout_ns, 1500000000);
	assert_int_equal(options.departure.zero_scan, DECANT_ZERO_SCAN_OFF);
	assert_int_equal(options.departure.zero_copy, DECANT_ZERO_COPY_ON);
	assert_string_equal(options.report, "r");
}

static void test_options_migrate__of_a_qemu(void **state)
{
	struct options_migrate options;
	struct words words;
	(void)state;

	words_split(&words, "migrate --qmp /run/a.qmp [::1]:7000");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);
	assert_string_equal(options.qmp, "/run/a.qmp");
	assert_null(options.name);
	assert_string_equal(options.departure.peer, "[::1]:7000");
	assert_string_equal(options.departure.fabric, "auto");
	assert_int_equal(options.departure.max_downtime_ns, 300000000);
	assert_int_equal(options.multifd, QEMU_MOVE_MULTIFD_AS_IT_IS);
	assert_false(options.fallback);

	words_split(&words,
		    "migrate host:7 --qmp /q --multifd 0 --fallback --if-not-converging throttle --timeout 9s "
		    "--bandwidth 1M --max-downtime 50ms --channels 3 --cpus 0 --key-file k --report r --json "
		    "--fabric rdma --rail mlx5_0 --confine strict");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);
	assert_int_equal(options.multifd, 0);
	assert_true(options.fallback);
	assert_int_equal(options.departure.if_not_converging, DECANT_NOT_CONVERGING_THROTTLE);
	assert_int_equal(options.departure.timeout_ns, 9000000000);
	assert_int_equal(options.departure.bandwidth_Bps, 1u << 20);
	assert_string_equal(options.departure.rails, "mlx5_0");
	assert_string_equal(options.key_file, "k");
	assert_string_equal(options.report, "r");
	assert_int_equal(options.confine, CONFINE_STRICT);
	assert_true(options.json);
}

static void test_options_migrate__of_a_qemu_by_a_long_path(void **state)
{
	struct decant_error err = DECANT_ERROR_INIT;
	struct options_migrate options;
	struct words words;
	char text[256];
	(void)state;

	snprintf(text, sizeof(text), "migrate host:7 --qmp /%0107d", 0);
	words_split(&words, text);
	assert_int_equal(options_migrate(words.argc, words.argv, &options, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "108"));
	text[strlen(text) - 1] = '\0';
	words_split(&words, text);
	assert_int_equal(options_migrate(words.argc, words.argv, &options, &err), 0);
}

static void test_options_migrate__rails(void **state)
{
	struct options_migrate options;
	struct words words;
	(void)state;

	words_split(&words,
		    "migrate demo host:7 --fabric rdma --rail mlx5_0=10.9.0.2 --rail fe80::1,mlx5_1=mlx5_3");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.departure.fabric, "rdma");
	assert_string_equal(options.departure.rails, "mlx5_0=10.9.0.2,fe80::1,mlx5_1=mlx5_3");
}

static void test_options_migrate__loop_needs_no_address(void **state)
{
	struct options_migrate options;
	struct words words;
	(void)state;

	words_split(&words, "migrate demo --fabric loop");
	assert_int_equal(options_migrate(words.argc, words.argv, &options, NULL), 0);

	assert_string_equal(options.departure.fabric, "loop");
	assert_string_equal(options.departure.peer, "");
}

static void test_options_simple__force_only_where_it_belongs(void **state)
{
	struct options_simple options;
	struct words words;
	(void)state;

	words_split(&words, "resume demo --force --json");
	assert_int_equal(options_simple(words.argc, words.argv, true, true, &options, NULL), 0);
	assert_true(options.force);
	assert_true(options.json);
	assert_string_equal(options.name, "demo");

	words_split(&words, "pause demo --force");
	assert_int_equal(options_simple(words.argc, words.argv, true, false, &options, NULL), -EINVAL);
}

static void test_options__help(void **state)
{
	struct options_migrate migrate;
	struct options_run run;
	struct words words;
	(void)state;

	words_split(&words, "migrate --help");
	assert_int_equal(options_migrate(words.argc, words.argv, &migrate, NULL), OPTIONS_HELP);
	words_split(&words, "run -h");
	assert_int_equal(options_run(words.argc, words.argv, &run, NULL), OPTIONS_HELP);
}

struct refusal {
	const char *words;
	const char *says;
};

static const struct refusal run_refusals[] = {
	{ "run", "--guest" },
	{ "run stress", "too many" },
	{ "run --guest stressful", "--guest" },
	{ "run --guest stress:wss", "wss" },
	{ "run --guest stress --kernel k", "either" },
	{ "run --guest stress --append x", "--append" },
	{ "run --guest stress --memory -1", "--memory" },
	{ "run --guest stress --memory 3M", "--memory" },
	{ "run --guest stress --memory 17T", "--memory" },
	{ "run --guest stress --memory 4097K", "--page-size" },
	{ "run --guest stress --vcpus 65", "--vcpus" },
	{ "run --guest stress --vcpus 1x", "--vcpus" },
	{ "run --guest stress --vcpus -1", "--vcpus" },
	{ "run --guest stress --page-size 4M", "--page-size" },
	{ "run --guest stress --name .x", "name" },
	{ "run --guest stress --name", "--name" },
	{ "run --guest stress --net tap=t0", "--net" },
	{ "run --guest stress --ne", "--ne" },
	{ "run --guest stress -x", "-x" },
	{ "run --guest stress -- x", "too many" },
};

static void test_options_run__refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(run_refusals) / sizeof(run_refusals[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct options_run options;
		struct words words;

		words_split(&words, run_refusals[i].words);
		assert_int_equal(options_run(words.argc, words.argv, &options, &err), -EINVAL);
		if (strstr(err.msg, run_refusals[i].says) == NULL)
			fail_msg("%s: \"%s\"", run_refusals[i].words, err.msg);
	}
}

static const struct refusal migrate_refusals[] = {
	{ "migrate", "which VM" },
	{ "migrate demo", "HOST:PORT" },
	{ "migrate demo host", "port" },
	{ "migrate demo host:0", "port" },
	{ "migrate demo host:7 more", "too many" },
	{ "migrate demo/x host:7", "name" },
	{ "migrate demo host:7 --fabric ib", "auto" },
	{ "migrate demo host:7 --fabric loop", "address" },
	{ "migrate demo host:7 --mode hybrid", "not in this version" },
	{ "migrate demo host:7 --mode fast", "precopy" },
	{ "migrate demo host:7 --zero-scan never", "auto, on or off" },
	{ "migrate demo host:7 --zero-copy 1", "auto, on or off" },
	{ "migrate demo host:7 --if-not-converging postcopy", "not in this version" },
	{ "migrate demo host:7 --if-not-converging wait", "throttle or abort" },
	{ "migrate demo host:7 --if-not-converging", "if-not-converging" },
	{ "migrate demo host:7 --fabric tcp --rail mlx5_0", "no rails" },
	{ "migrate demo --fabric loop --rail mlx5_0", "no rails" },
	{ "migrate demo host:7 --rail =mlx5_0", "LOCAL" },
	{ "migrate demo host:7 --rail mlx5_0=", "LOCAL" },
	{ "migrate demo host:7 --rail a=b=c", "LOCAL" },
	{ "migrate demo host:7 --rail a,", "LOCAL" },
	{ "migrate demo host:7 --rail ,a", "LOCAL" },
	{ "migrate demo host:7 --channels 0", "--channels" },
	{ "migrate demo host:7 --max-downtime 0", "--max-downtime" },
	{ "migrate demo host:7 --max-downtime 5", "--max-downtime" },
	{ "migrate demo host:7 --bandwidth fast", "--bandwidth" },
	{ "migrate demo host:7 --timeout 1", "--timeout" },
	{ "migrate demo host:7 --report", "--report" },
	{ "migrate demo host:7 --multifd 4", "--qmp" },
	{ "migrate demo host:7 --fallback", "--qmp" },
	{ "migrate demo host:7 --confine on", "--qmp" },
	{ "migrate --qmp /q host:7 --confine no", "strict" },
	{ "migrate --qmp", "--qmp" },
	{ "migrate --qmp /q", "decant proxy dest" },
	{ "migrate --qmp /q demo host:7", "too many" },
	{ "migrate --qmp /q demo", "port" },
	{ "migrate --qmp /q host:0", "port 0" },
	{ "migrate --qmp= host:7", "path" },
	{ "migrate --qmp /q host:7 --multifd 256", "--multifd" },
	{ "migrate --qmp /q host:7 --multifd -1", "--multifd" },
	{ "migrate --qmp /q host:7 --fabric loop", "another QEMU" },
	{ "migrate --qmp /q --fabric loop", "another QEMU" },
	{ "migrate --qmp /q host:7 --verify", "--verify" },
	{ "migrate --qmp /q host:7 --switchover-timeout 1s", "--max-downtime" },
	{ "migrate --qmp /q host:7 --zero-scan off", "--zero-scan" },
	{ "migrate --qmp /q host:7 --zero-copy on", "--zero-copy" },
	{ "migrate --qmp /q host:7 --if-not-converging abort", "--timeout" },
	{ "migrate --qmp /q host:7 --mode postcopy", "not in this version" },
	{ "migrate --qmp /q host:7 --fabric tcp --rail mlx5_0", "no rails" },
};

static void test_options_migrate__refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(migrate_refusals) / sizeof(migrate_refusals[0]); i++) {
		struct decant_error err = DECANT_ERROR_INIT;
		struct options_migrate options;
		struct words words;

		words_split(&words, migrate_refusals[i].words);
		assert_int_equal(options_migrate(words.argc, words.argv, &options, &err), -EINVAL);
		if (strstr(err.msg, migrate_refusals[i].says) == NULL)
			fail_msg("%s: \"%s\"", migrate_refusals[i].words, err.msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options_run__defaults),
		cmocka_unit_test(test_options_run__all),
		cmocka_unit_test(test_options_run__json_has_no_serial_on_stdout),
		cmocka_unit_test(test_options_receive__all),
		cmocka_unit_test(test_options__key_file),
		cmocka_unit_test(test_options__cpus_and_node),
		cmocka_unit_test(test_options_migrate__defaults),
		cmocka_unit_test(test_options_migrate__options_and_words_in_any_order),
		cmocka_unit_test(test_options_migrate__of_a_qemu),
		cmocka_unit_test(test_options_migrate__of_a_qemu_by_a_long_path),
		cmocka_unit_test(test_options_migrate__rails),
		cmocka_unit_test(test_options_migrate__loop_needs_no_address),
		cmocka_unit_test(test_options_simple__force_only_where_it_belongs),
		cmocka_unit_test(test_options__help),
		cmocka_unit_test(test_options_run__refusals),
		cmocka_unit_test(test_options_migrate__refusals),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}

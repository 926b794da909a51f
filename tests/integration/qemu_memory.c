/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qemu_memory.c -- the memory of real QEMUs is found, and is the guest's: with a monitor and without one
 *
 * Each test point starts a QEMU that stands still (-S), maps its memory, writes there, and has QEMU itself say what the guest would read.
 * QEMU is the installed one, and the one that DECANT_QEMU names. `qemu_memory PATTERN` runs the points that are named like that, -PATTERN all others.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/guest_ram.h"
#include "qemu/json.h"
#include "qemu/preflight.h"
#include "qemu/qmp.h"
#include "support/hugepages.h"
#include "util/clock.h"

#define LONG_NS (100 * NSEC_PER_SEC)
#define MIB (UINT64_C(1) << 20)
#define WORDS_MAX 64
#define INSTALLED "qemu-system-x86_64"

/* A QEMU that runs. */
struct subject {
	pid_t pid;
	struct qmp *qmp;
};

static const char *program; /* under test */
static char folder[128];
static struct decant_error err;

static void run_program(const char *monitor, const char *more)
{
	char *words[WORDS_MAX] = { (char *)program,  (char *)"-nodefaults", (char *)"-display", (char *)"none",
				   (char *)"-accel", (char *)"tcg",         (char *)"-qmp",     (char *)monitor };
	char *rest = strdup(more);
	int count = 8;

	prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */

	while ((words[count] = strsep(&rest, " ")) != NULL)
		count++;
	execvp(program, words);
	perror(program);
	_exit(127);
}

static void start(struct subject *subject, const char *more)
{
	char monitor[192], path[160];
	uint64_t deadline = clock_deadline_ns(LONG_NS);
	int ret;

	snprintf(path, sizeof(path), "%s/monitor", folder);
	snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", path);
	unlink(path);
	subject->pid = fork();
	if (subject->pid == 0)
		run_program(monitor, more);
	do {
		usleep(20000);
		assert_int_equal(waitpid(subject->pid, NULL, WNOHANG), 0);
		ret = qmp_open(path, deadline, -1, &subject->qmp, &err);
	} while ((ret == -ENOENT || ret == -ECONNREFUSED) && clock_now_ns() < deadline);
	if (ret < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(qmp_pid(subject->qmp), subject->pid);
}

static void stop(struct subject *subject)
{
	qmp_close(subject->qmp);
	kill(subject->pid, SIGKILL);
	waitpid(subject->pid, NULL, 0);
}

/* The word that the guest would read at @address. */
static unsigned long guest_word(struct subject *subject, uint64_t address)
{
	struct json_object *arguments = json_object_new_object(), *answer = NULL;
	char command[64];
	const char *text;
	unsigned long word;

	snprintf(command, sizeof(command), "xp /1wx 0x%llx", (unsigned long long)address);
	json_add_text(arguments, "command-line", command);
	assert_int_equal(qmp_call(subject->qmp, "human-monitor-command", arguments, &answer, &err), 0);
	text = strchr(json_object_get_string(answer), ':');
	assert_non_null(text);
	word = strtoul(text + 1, NULL, 16);
	json_object_put(answer);
	return word;
}

/* Block @name is what the guest has at @address. */
static void assert_guest(struct subject *subject, struct guest_ram *ram, const char *name, uint64_t address)
{
	static uint32_t word = 0x1badb000;
	const struct guest_ram_block *block = NULL;

	for (uint32_t i = 0; i < guest_ram_count(ram); i++) {
		if (strcmp(guest_ram_block(ram, i)->name, name) == 0)
			block = guest_ram_block(ram, i);
	}
	assert_non_null(block);
	*(volatile uint32_t *)((char *)block->address + 2 * MIB) = ++word;
	assert_int_equal(guest_word(subject, address + 2 * MIB), word);
}

/* Found with the monitor, and again without; @second is at 64 MiB, NULL: there is none. */
static void find_twice(const char *command, const char *first, const char *second, uint64_t page_size)
{
	struct subject subject;

	start(&subject, command);
	for (int i = 0; i < 2; i++) {
		struct guest_ram *ram = NULL;

		if (guest_ram_find(subject.pid, i == 0 ? subject.qmp : NULL, NULL, &ram, &err) < 0) {
			stop(&subject);
			fail_msg("%s the monitor: %s", i == 0 ? "with" : "without", err.msg);
		}
		assert_int_equal(guest_ram_count(ram), second != NULL ? 2 : 1);
		assert_int_equal(guest_ram_block(ram, 0)->page_size, page_size);
		assert_guest(&subject, ram, first, 0);
		if (second != NULL)
			assert_guest(&subject, ram, second, 64 * MIB);
		guest_ram_free(ram);
	}
	stop(&subject);
}

static void refused_twice(const char *command, int code, const char *words)
{
	struct subject subject;

	start(&subject, command);
	for (int i = 0; i < 2; i++) {
		struct guest_ram *ram = NULL;

		assert_int_equal(guest_ram_find(subject.pid, i == 0 ? subject.qmp : NULL, NULL, &ram, &err), code);
		assert_non_null(strstr(err.msg, words));
	}
	stop(&subject);
}

static void test_memfd(void **state)
{
	(void)state;
	find_twice("-S -m 64M -object memory-backend-memfd,id=mem,size=64M,share=on -machine pc,memory-backend=mem",
		   "mem", NULL, 4096);
}

static void test_memfd_as_json(void **state)
{
	(void)state;
	find_twice(
		"-S -m 64M -object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"pc.ram\",\"size\":67108864,\"share\":true} "
		"-machine q35,memory-backend=pc.ram",
		"pc.ram", NULL, 4096);
}

static void test_file_by_path(void **state)
{
	char command[512];
	(void)state;

	snprintf(command, sizeof(command),
		 "-S -m 64M -object memory-backend-file,id=mem,size=64M,share=on,mem-path=/dev/shm/decant-%d "
		 "-machine pc,memory-backend=mem",
		 getpid());
	find_twice(command, "mem", NULL, 4096);
	snprintf(command, sizeof(command), "/dev/shm/decant-%d", getpid());
	unlink(command);
}

static void test_file_by_directory(void **state)
{
	(void)state;
	find_twice("-S -m 64M -object memory-backend-file,id=mem,size=64M,share=on,mem-path=/dev/shm "
		   "-machine pc,memory-backend=mem",
		   "mem", NULL, 4096);
}

/* Of equal length: 7.2 does not tell which is which, and a new one does. */
static void test_two_nodes(void **state)
{
	(void)state;
	find_twice(
		"-S -m 128M -object memory-backend-memfd,id=n0,size=64M -object memory-backend-memfd,id=n1,size=64M "
		"-numa node,memdev=n0 -numa node,memdev=n1",
		"n0", "n1", 4096);
}

static void test_two_nodes_the_other_way(void **state)
{
	(void)state;
	find_twice(
		"-S -m 128M -object memory-backend-memfd,id=n0,size=64M -object memory-backend-memfd,id=n1,size=64M "
		"-numa node,memdev=n1 -numa node,memdev=n0",
		"n1", "n0", 4096);
}

static void test_two_files(void **state)
{
	(void)state;
	find_twice("-S -m 128M -object memory-backend-file,id=n0,size=64M,share=on,mem-path=/dev/shm "
		   "-object memory-backend-file,id=n1,size=64M,share=on,mem-path=/dev/shm "
		   "-numa node,memdev=n1 -numa node,memdev=n0",
		   "n1", "n0", 4096);
}

static void test_anonymous_shared(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	find_twice("-S -m 64M -object memory-backend-ram,id=mem,size=64M,share=on -machine pc,memory-backend=mem",
		   "mem", NULL, 4096);
}

static void test_huge_pages(void **state)
{
	char path[160], command[512];
	(void)state;

	if (hugepages_reserve(64) < 0) {
		print_message("SKIP: no 64 huge pages\n");
		skip();
	}
	find_twice("-S -m 64M -object memory-backend-memfd,id=mem,size=64M,hugetlb=on,hugetlbsize=2M "
		   "-machine pc,memory-backend=mem",
		   "mem", NULL, 2 * MIB);
	snprintf(path, sizeof(path), "%s/huge", folder);
	assert_int_equal(mkdir(path, 0700), 0);
	if (mount("none", path, "hugetlbfs", 0, "pagesize=2M") == 0) {
		snprintf(command, sizeof(command),
			 "-S -m 62M -object memory-backend-file,id=mem,size=62M,share=on,mem-path=%s "
			 "-machine pc,memory-backend=mem",
			 path);
		find_twice(command, "mem", NULL, 2 * MIB);
	}
}

static int unmount_huge_pages(void **state)
{
	char path[160];
	(void)state;

	snprintf(path, sizeof(path), "%s/huge", folder);
	umount2(path, MNT_DETACH);
	rmdir(path);
	return 0;
}

static void test_private(void **state)
{
	(void)state;
	refused_twice("-S -m 64M", -ENOTSUP, "-object memory-backend-memfd,id=mem,size=SIZE,share=on");
	refused_twice("-S -m 64M -object memory-backend-file,id=mem,size=64M,mem-path=/dev/shm "
		      "-machine pc,memory-backend=mem",
		      -ENOTSUP, "add share=on");
}

static void assert_unfit(const char *command, struct preflight_opts opts, const char *name)
{
	struct preflight *preflight;
	struct subject subject;
	const char *unfit;

	start(&subject, command);
	assert_int_equal(preflight_look(subject.qmp, &opts, &preflight, &err), 0);
	unfit = preflight_unfit(preflight);
	if (name == NULL && unfit != NULL)
		fail_msg("%s", unfit);
	if (name != NULL) {
		assert_int_equal(preflight_count(preflight), 1);
		assert_string_equal(preflight_refusal(preflight, 0)->name, name);
	}
	preflight_free(preflight);
	stop(&subject);
}

#define SHARED "-m 64M -object memory-backend-memfd,id=mem,size=64M -machine pc,memory-backend=mem"

static void test_preflight(void **state)
{
	const struct preflight_opts source = { .end = PREFLIGHT_SOURCE, .pinned = true, .mend = true };
	const struct preflight_opts strict = { .end = PREFLIGHT_SOURCE, .pinned = true };
	const struct preflight_opts dest = { .end = PREFLIGHT_DEST, .pinned = true };
	char listening[256];
	(void)state;

	assert_unfit("-S " SHARED, source, NULL);
	assert_unfit("-S " SHARED, strict, "capability return-path");
	assert_unfit("-S -device virtio-balloon-pci " SHARED, source, "virtio-balloon");
	assert_unfit("-S -m 64M", source, "memory");
	assert_unfit("-S -incoming defer " SHARED, dest, NULL);
	snprintf(listening, sizeof(listening), "-S -incoming unix:%s/in " SHARED, folder);
	assert_unfit(listening, dest, NULL);
	assert_unfit("-incoming defer " SHARED, dest, "not started with -S");
	assert_unfit("-S -incoming tcp:127.0.0.1:0 " SHARED, dest, "not on a UNIX socket");
}

static bool is_accepted(const char *capability)
{
	static const char *const accepted[] = {
		"auto-converge",
		"dirty-bitmaps",
		"dirty-limit",
		"events",
		"late-block-activate",
		"multifd",
		"pause-before-switchover",
		"postcopy-blocktime",
		"rdma-pin-all",
		"return-path",
		"switchover-ack",
		"validate-uuid",
		"zero-blocks",
	};

	for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
		if (strcmp(accepted[i], capability) == 0)
			return true;
	}
	return false;
}

static int set_capability(struct subject *subject, const char *name, bool state)
{
	struct json_object *arguments = json_tokener_parse("{\"capabilities\": [{}]}"), *list = NULL;

	json_object_object_get_ex(arguments, "capabilities", &list);
	json_add_text(json_object_array_get_idx(list, 0), "capability", name);
	json_add_bool(json_object_array_get_idx(list, 0), "state", state);
	return qmp_call(subject->qmp, "migrate-set-capabilities", arguments, NULL, &err);
}

/* With @name on, the verdict is on that; what QEMU itself refuses to turn on cannot be looked at. */
static void judge_capability(struct subject *subject, const char *name)
{
	const struct preflight_opts opts = { .end = PREFLIGHT_SOURCE, .mend = true };
	struct preflight *preflight;
	const char *unfit;

	if (set_capability(subject, name, true) < 0)
		return;
	assert_int_equal(preflight_look(subject->qmp, &opts, &preflight, &err), 0);
	unfit = preflight_unfit(preflight);
	if ((unfit == NULL) != is_accepted(name))
		fail_msg("%s: %s", name, unfit != NULL ? unfit : "accepted");
	if (unfit != NULL) {
		assert_int_equal(preflight_count(preflight), 1);
		assert_non_null(strstr(unfit, name));
		assert_null(strstr(unfit, "does not know what it does"));
	}
	preflight_free(preflight);
	assert_int_equal(set_capability(subject, name, false), 0);
}

/* All that this QEMU can be told to do is known, and judged. */
static void test_capabilities(void **state)
{
	struct json_object *list = NULL;
	struct subject subject;
	(void)state;

	start(&subject, "-S " SHARED);
	assert_int_equal(qmp_call(subject.qmp, "query-migrate-capabilities", NULL, &list, &err), 0);
	assert_true(json_object_array_length(list) > 20);
	for (size_t i = 0; i < json_object_array_length(list); i++)
		judge_capability(&subject, json_get_text(json_object_array_get_idx(list, i), "capability", ""));
	json_object_put(list);
	stop(&subject);
}

static void test_parameters_put_back(void **state)
{
	const struct preflight_opts opts = { .end = PREFLIGHT_SOURCE, .mend = true };
	struct json_object *before = NULL, *changed = NULL, *after = NULL;
	struct preflight *preflight;
	struct subject subject;
	(void)state;

	start(&subject, "-S " SHARED);
	assert_int_equal(preflight_look(subject.qmp, &opts, &preflight, &err), 0);
	assert_int_equal(qmp_call(subject.qmp, "query-migrate-parameters", NULL, &before, &err), 0);
	assert_int_equal(preflight_change(preflight, subject.qmp, &err), 0);
	assert_int_equal(qmp_call(subject.qmp, "query-migrate-parameters", NULL, &changed, &err), 0);
	assert_int_equal(preflight_restore(preflight, subject.qmp, &err), 0);
	assert_int_equal(qmp_call(subject.qmp, "query-migrate-parameters", NULL, &after, &err), 0);
	assert_true(json_get_number(changed, "max-bandwidth", 0) > json_get_number(before, "max-bandwidth", 0));
	assert_true(json_object_equal(before, after));
	json_object_put(before);
	json_object_put(changed);
	json_object_put(after);
	preflight_free(preflight);
	stop(&subject);
}

static bool runs(const char *name)
{
	char command[512];

	return snprintf(command, sizeof(command), "exec >/dev/null 2>&1; '%s' --version", name) <
		       (int)sizeof(command) &&
	       system(command) == 0;
}

static int all_of(const char *name)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_memfd),
		cmocka_unit_test(test_memfd_as_json),
		cmocka_unit_test(test_file_by_path),
		cmocka_unit_test(test_file_by_directory),
		cmocka_unit_test(test_two_nodes),
		cmocka_unit_test(test_two_nodes_the_other_way),
		cmocka_unit_test(test_two_files),
		cmocka_unit_test(test_anonymous_shared),
		cmocka_unit_test_teardown(test_huge_pages, unmount_huge_pages),
		cmocka_unit_test(test_private),
		cmocka_unit_test(test_preflight),
		cmocka_unit_test(test_capabilities),
		cmocka_unit_test(test_parameters_put_back),
	};

	program = name;
	return cmocka_run_group_tests_name(name, tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	const char *other = getenv("DECANT_QEMU"), *temporary = getenv("TMPDIR");
	int failed = 0;

	if (argc > 1 && argv[1][0] == '-')
		cmocka_set_skip_filter(argv[1] + 1);
	else if (argc > 1)
		cmocka_set_test_filter(argv[1]);
	if (!runs(INSTALLED)) {
		puts("SKIP: " INSTALLED " is not installed");
		return 77;
	}
	snprintf(folder, sizeof(folder), "%s/qemu-memory-XXXXXX", temporary != NULL ? temporary : "/tmp");
	if (mkdtemp(folder) == NULL)
		return 1;
	failed += all_of(INSTALLED);
	if (other != NULL && runs(other))
		failed += all_of(other);
	for (const char *const *name = (const char *const[]){ "monitor", "in", NULL }; *name != NULL; name++) {
		char path[160];

		snprintf(path, sizeof(path), "%s/%s", folder, *name);
		unlink(path);
	}
	rmdir(folder);
	return failed;
}

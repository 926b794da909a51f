/* SPDX-License-Identifier: BSD-2-Clause */
/* test_preflight.c -- preflight: every thing that is accepted, every thing that is refused and what its words say to do, settings put back */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

#include "qemu/json.h"
#include "qemu/preflight.h"
#include "qemu/qmp.h"
#include "support/fake_proc.h"
#include "support/fake_qmp.h"
#include "util/clock.h"

#define LONG_NS (30 * NSEC_PER_SEC)
#define MEMORY " -object memory-backend-memfd,id=mem,size=64M -machine pc,memory-backend=mem"
#define TURN_OFF                                                                                                   \
	"{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": [{\"capability\": \"%s\", " \
	"\"state\": false}]}}"
#define SET(name, value) "{\"execute\": \"migrate-set-parameters\", \"arguments\": {\"" name "\": \"" value "\"}}"

static struct decant_error err;
static struct fake_proc proc;
static struct fake_qmp *fake;
static struct qmp *qmp;
static struct preflight *preflight;
static struct preflight_opts opts;
static int memory;

static void begin(enum preflight_end end)
{
	fake_proc_new(&proc, getpid());
	fake_proc_map(&proc, UINT64_C(0x7f0040000000), FAKE_QMP_MEMORY, true, memory, 0,
		      "/memfd:memory-backend-memfd (deleted)", 7);
	fake = fake_qmp_new();
	opts = (struct preflight_opts){ .end = end, .pinned = true, .proc = proc.root.path };
	if (end == PREFLIGHT_SOURCE) {
		fake_proc_command(&proc, "qemu" MEMORY);
		return;
	}
	fake_proc_command(&proc, "qemu -S -incoming defer" MEMORY);
	fake_qmp_answer(fake, "query-status", "{\"status\": \"inmigrate\", \"running\": false}");
}

static void end(void)
{
	preflight_free(preflight);
	preflight = NULL;
	qmp_close(qmp);
	qmp = NULL;
	fake_qmp_free(fake);
	fake_proc_free(&proc);
	decant_error_clear(&err);
}

static int look(void)
{
	assert_int_equal(qmp_open_fd(fake_qmp_connect(fake), clock_deadline_ns(LONG_NS), -1, &qmp, &err), 0);
	return preflight_look(qmp, &opts, &preflight, &err);
}

static void look_and_end_fit(const char *what)
{
	if (look() < 0)
		fail_msg("%s: %s", what, err.msg);
	if (preflight_count(preflight) != 0)
		fail_msg("%s: %s", what, preflight_unfit(preflight));
	assert_null(preflight_unfit(preflight));
	assert_null(preflight_refusal(preflight, 0));
	end();
}

/* One reason, @name; its words have @words, what to do. */
static void assert_one(const char *name, const char *words)
{
	const struct preflight_refusal *refusal = preflight_refusal(preflight, 0);

	if (preflight_count(preflight) != 1)
		fail_msg("%s: %u reasons: %s", name, preflight_count(preflight), preflight_unfit(preflight));
	assert_string_equal(refusal->name, name);
	if (strstr(refusal->text, words) == NULL)
		fail_msg("%s: \"%s\" is not in \"%s\"", name, words, refusal->text);
	assert_null(strchr(refusal->text, '\n'));
	assert_string_equal(preflight_unfit(preflight), refusal->text);
	assert_string_equal(json_get_text(preflight_facts(preflight), "unfit", ""), refusal->text);
}

static void look_and_end_unfit(const char *name, const char *words)
{
	if (look() < 0)
		fail_msg("%s: %s", name, err.msg);
	assert_one(name, words);
	end();
}

static int make_memory(void **state)
{
	(void)state;
	memory = memfd_create("memory-backend-memfd", 0);
	return memory < 0 || ftruncate(memory, FAKE_QMP_MEMORY) < 0 ? -1 : 0;
}

static int close_memory(void **state)
{
	(void)state;
	return close(memory);
}

static void test_look__fit(void **state)
{
	struct json_object *facts, *blocks = NULL;
	(void)state;

	begin(PREFLIGHT_SOURCE);
	assert_int_equal(look(), 0);
	assert_null(preflight_unfit(preflight));
	facts = preflight_facts(preflight);
	assert_true(json_get_bool(facts, "qmp", false));
	assert_int_equal(json_get_number(facts, "version", 0), 100002);
	assert_string_equal(json_get_text(facts, "machine", ""), "pc-i440fx-10.0");
	assert_int_equal(json_get_number(facts, "memory", 0), FAKE_QMP_MEMORY);
	assert_int_equal(json_get_number(facts, "multifd_channels", 99), 0);
	json_object_object_get_ex(facts, "blocks", &blocks);
	assert_int_equal(json_object_array_length(blocks), 1);
	assert_string_equal(json_get_text(json_object_array_get_idx(blocks, 0), "name", ""), "mem");
	assert_int_equal(json_get_number(json_object_array_get_idx(blocks, 0), "length", 0), FAKE_QMP_MEMORY);
	assert_int_equal(json_get_number(json_object_array_get_idx(blocks, 0), "page_size", 0), 4096);
	end();

	begin(PREFLIGHT_DEST);
	assert_int_equal(look(), 0);
	assert_null(preflight_unfit(preflight));
	facts = preflight_facts(preflight);
	assert_true(json_get_bool(facts, "waits", false));
	assert_string_equal(json_get_text(facts, "incoming", ""), "deferred");
	end();
}

static void test_look__listening(void **state)
{
	(void)state;
	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-migrate",
			"{\"status\": \"setup\", \"socket-address\": [{\"type\": \"unix\", \"path\": \"/x\"}]}");
	assert_int_equal(look(), 0);
	assert_null(preflight_unfit(preflight));
	assert_string_equal(json_get_text(preflight_facts(preflight), "incoming", ""), "listening");
	end();
}

static void test_look__capabilities_accepted(void **state)
{
	static const char *const accepted[] = {
		"auto-converge",       "dirty-bitmaps",           "dirty-limit",        "events",
		"late-block-activate", "pause-before-switchover", "postcopy-blocktime", "rdma-pin-all",
		"return-path",         "switchover-ack",          "validate-uuid",      "zero-blocks",
	};
	(void)state;

	for (int which = PREFLIGHT_SOURCE; which <= PREFLIGHT_DEST; which++) {
		for (size_t i = 0; i < sizeof(accepted) / sizeof(accepted[0]); i++) {
			begin((enum preflight_end)which);
			fake_qmp_capability(fake, accepted[i], true);
			look_and_end_fit(accepted[i]);
		}
	}
}

static void test_look__capabilities_refused(void **state)
{
	static const char *const refused[] = {
		"background-snapshot", "block",        "compress",       "mapped-ram",
		"postcopy-preempt",    "postcopy-ram", "release-ram",    "x-colo",
		"x-ignore-shared",     "xbzrle",       "zero-copy-send", "x-next-big-thing",
	};
	(void)state;

	for (int which = PREFLIGHT_SOURCE; which <= PREFLIGHT_DEST; which++) {
		for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
			char name[64], command[256];

			snprintf(name, sizeof(name), "capability %s", refused[i]);
			snprintf(command, sizeof(command), TURN_OFF, refused[i]);
			begin((enum preflight_end)which);
			fake_qmp_capability(fake, refused[i], true);
			assert_int_equal(look(), 0);
			assert_one(name, command);
			assert_int_equal(strstr(preflight_unfit(preflight), "does not know") != NULL,
					 strcmp(refused[i], "x-next-big-thing") == 0);
			end();
			/* off, it is nothing */
			begin((enum preflight_end)which);
			fake_qmp_capability(fake, refused[i], false);
			look_and_end_fit(refused[i]);
		}
	}
}

static void test_look__absurd_capability(void **state)
{
	char name[200];
	(void)state;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, name, true);
	look_and_end_unfit("capability", "absurd");
}

static void test_look__multifd(void **state)
{
	(void)state;

	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "multifd", true);
	fake_qmp_parameter(fake, "multifd-channels", "6");
	assert_int_equal(look(), 0);
	assert_null(preflight_unfit(preflight));
	assert_int_equal(json_get_number(preflight_facts(preflight), "multifd_channels", 0), 6);
	end();

	begin(PREFLIGHT_DEST);
	fake_qmp_capability(fake, "multifd", true);
	look_and_end_fit("multifd at the destination");

	for (int which = PREFLIGHT_SOURCE; which <= PREFLIGHT_DEST; which++) {
		begin((enum preflight_end)which);
		fake_qmp_capability(fake, "multifd", true);
		fake_qmp_parameter(fake, "multifd-compression", "\"zstd\"");
		look_and_end_unfit("multifd-compression", SET("multifd-compression", "none"));
	}

	begin(PREFLIGHT_SOURCE);
	fake_qmp_parameter(fake, "multifd-compression", "\"zstd\"");
	look_and_end_fit("compression without multifd");
}

static void test_look__return_path(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "return-path", false);
	look_and_end_unfit("capability return-path",
			   "{\"execute\": \"migrate-set-capabilities\", \"arguments\": {\"capabilities\": "
			   "[{\"capability\": \"return-path\", \"state\": true}]}}");

	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "return-path", false);
	opts.mend = true;
	look_and_end_fit("return-path that is to be turned on");

	begin(PREFLIGHT_DEST);
	fake_qmp_capability(fake, "return-path", false);
	look_and_end_fit("return-path at the destination");
}

static void test_look__parameters_refused(void **state)
{
	(void)state;
	for (int which = PREFLIGHT_SOURCE; which <= PREFLIGHT_DEST; which++) {
		begin((enum preflight_end)which);
		fake_qmp_parameter(fake, "tls-creds", "\"tls0\"");
		look_and_end_unfit("tls-creds", SET("tls-creds", ""));
		begin((enum preflight_end)which);
		fake_qmp_parameter(fake, "mode", "\"cpr-reboot\"");
		look_and_end_unfit("mode", SET("mode", "normal"));
	}
}

static void test_look__source_status(void **state)
{
	static const char *const over[] = { "none", "completed", "failed", "cancelled" };
	static const char *const on[] = { "setup",           "active",         "device",
					  "postcopy-active", "pre-switchover", "cancelling" };
	char answer[64];
	(void)state;

	for (size_t i = 0; i < sizeof(over) / sizeof(over[0]); i++) {
		begin(PREFLIGHT_SOURCE);
		snprintf(answer, sizeof(answer), "{\"status\": \"%s\"}", over[i]);
		fake_qmp_answer(fake, "query-migrate", answer);
		look_and_end_fit(over[i]);
	}
	for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
		begin(PREFLIGHT_SOURCE);
		snprintf(answer, sizeof(answer), "{\"status\": \"%s\"}", on[i]);
		fake_qmp_answer(fake, "query-migrate", answer);
		look_and_end_unfit("migrating", "{\"execute\": \"migrate_cancel\"}");
		begin(PREFLIGHT_SOURCE);
		fake_qmp_answer(fake, "query-migrate", answer);
		opts.under_way = true;
		look_and_end_fit(on[i]);
	}
	begin(PREFLIGHT_SOURCE);
	fake_qmp_answer(fake, "query-status", "{\"status\": \"postmigrate\"}");
	look_and_end_unfit("status", "Settling by hand");
	begin(PREFLIGHT_SOURCE);
	fake_qmp_answer(fake, "query-status", "{\"status\": \"inmigrate\"}");
	look_and_end_unfit("status", "is this the right monitor?");
}

static void test_look__dest_status(void **state)
{
	(void)state;
	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-status", "{\"status\": \"running\"}");
	look_and_end_unfit("not incoming", "start a new one with -S and -incoming defer");

	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-migrate", "{\"status\": \"active\"}");
	look_and_end_unfit("migrating", "start a new one");

	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-migrate", "{\"status\": \"active\"}");
	opts.under_way = true;
	look_and_end_fit("under way");

	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-migrate", "{\"status\": \"failed\"}");
	look_and_end_unfit("migrating", "start a new one");

	begin(PREFLIGHT_DEST);
	fake_qmp_answer(fake, "query-migrate", "{\"socket-address\": [{\"type\": \"inet\", \"port\": \"4444\"}]}");
	look_and_end_unfit("not on a UNIX socket", "-incoming unix:PATH");
}

/* Never two: what would run by itself is refused, however -S is hidden. */
static void test_look__waits(void **state)
{
	static const char *const runs[] = {
		"qemu -incoming defer" MEMORY,
		"qemu -name -S -incoming defer" MEMORY,
		"qemu -incoming defer -append -S" MEMORY,
		"qemu -incoming defer -s -SS -device S" MEMORY,
	};
	static const char *const waits[] = {
		"qemu -incoming defer --S" MEMORY,
		"qemu -nographic -S -incoming defer" MEMORY,
		"qemu disk.img -snapshot -S -incoming defer" MEMORY,
		"qemu -incoming defer" MEMORY " -S",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		begin(PREFLIGHT_DEST);
		fake_proc_command(&proc, runs[i]);
		look_and_end_unfit("not started with -S", "start it with -S");
	}
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		begin(PREFLIGHT_DEST);
		fake_proc_command(&proc, waits[i]);
		look_and_end_fit(waits[i]);
	}
	begin(PREFLIGHT_DEST);
	fake_proc_command(&proc, "qemu -S" MEMORY);
	look_and_end_unfit("not incoming", "-incoming defer");
}

static void test_look__machine(void **state)
{
	static const char *const old[] = { "\"pc-i440fx-2.3-machine\"", "\"pc-q35-1.4-machine\"" };
	static const char *const good[] = { "\"pc-i440fx-2.4-machine\"", "\"pc-q35-2.10-machine\"",
					    "\"microvm-machine\"", "\"machine\"", "\"pc-q35-10.1\"" };
	(void)state;

	for (size_t i = 0; i < sizeof(old) / sizeof(old[0]); i++) {
		begin(PREFLIGHT_SOURCE);
		fake_qmp_answer(fake, "qom-get /machine type", old[i]);
		look_and_end_unfit("machine type", "with a newer -machine");
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		begin(PREFLIGHT_SOURCE);
		fake_qmp_answer(fake, "qom-get /machine type", good[i]);
		look_and_end_fit(good[i]);
	}
}

static void test_look__version(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_greeting(fake,
			  "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 1, \"micro\": 99}}}}\n");
	look_and_end_unfit("version", "7.2 and newer");
	begin(PREFLIGHT_SOURCE);
	fake_qmp_greeting(fake,
			  "{\"QMP\": {\"version\": {\"qemu\": {\"major\": 7, \"minor\": 2, \"micro\": 0}}}}\n");
	look_and_end_fit("7.2.0");
}

static void test_look__devices(void **state)
{
	static const char *const balloons[] = { "virtio-balloon-pci", "virtio-balloon-device",
						"virtio-balloon-pci-non-transitional" };
	static const char *const folders[] = { "qom-list /machine/peripheral",
					       "qom-list /machine/peripheral-anon" };
	char list[128];
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		snprintf(list, sizeof(list), "[{\"name\": \"b0\", \"type\": \"child<%s>\"}]", balloons[i]);
		begin(PREFLIGHT_SOURCE);
		fake_qmp_answer(fake, folders[i % 2], list);
		look_and_end_unfit("virtio-balloon",
				   "{\"execute\": \"device_del\", \"arguments\": {\"id\": \"b0\"}}");
		begin(PREFLIGHT_SOURCE);
		fake_qmp_answer(fake, folders[i % 2], list);
		opts.pinned = false;
		look_and_end_fit("a balloon over TCP");
		begin(PREFLIGHT_DEST);
		fake_qmp_answer(fake, folders[i % 2], list);
		look_and_end_fit("a balloon at the destination");
	}
	for (int which = PREFLIGHT_SOURCE; which <= PREFLIGHT_DEST; which++) {
		begin((enum preflight_end)which);
		opts.pinned = false;
		fake_qmp_answer(fake, folders[which], "[{\"name\": \"m0\", \"type\": \"child<virtio-mem-pci>\"}]");
		look_and_end_unfit("virtio-mem", "without -device virtio-mem-pci");
		begin((enum preflight_end)which);
		fake_qmp_answer(fake, folders[which], "[{\"name\": \"s0\", \"type\": \"child<ivshmem-plain>\"}]");
		look_and_end_unfit("ivshmem", "without -device ivshmem-plain");
		begin((enum preflight_end)which);
		fake_qmp_answer(fake, folders[which],
				"[{\"name\": \"d0\", \"type\": \"child<pc-dimm>\"}, "
				"{\"name\": \"n0\", \"type\": \"child<virtio-net-pci>\"}]");
		look_and_end_fit("other devices");
	}
}

static void test_look__memory(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_answer(fake, "query-memdev", "[{\"id\": \"mem\", \"size\": 67108864, \"share\": false}]");
	look_and_end_unfit("memory", "add share=on to its -object");

	begin(PREFLIGHT_SOURCE);
	fake_qmp_answer(fake, "query-memory-size-summary",
			"{\"base-memory\": 67108864, \"plugged-memory\": 4096}");
	look_and_end_unfit("memory", "only 67108864 of the VM's 67112960 bytes");

	begin(PREFLIGHT_SOURCE);
	opts.proc = "/nowhere";
	look_and_end_unfit("process", "there is none");
}

static void test_look__odd_huge_pages(void **state)
{
	int huge = memfd_create("memory-backend-memfd", MFD_HUGETLB | MFD_HUGE_2MB);
	(void)state;

	assert_int_equal(ftruncate(huge, 32 << 20), 0);
	begin(PREFLIGHT_SOURCE);
	fake_proc_map(&proc, UINT64_C(0x7f0020000000), 32 << 20, true, huge, 0,
		      "/memfd:memory-backend-memfd (deleted)", 8);
	fake_qmp_answer(fake, "query-memory-size-summary", "{\"base-memory\": 4096, \"plugged-memory\": 0}");
	fake_qmp_answer(fake, "query-memdev", "[{\"id\": \"mem\", \"size\": 32505856, \"share\": true}]");
	look_and_end_unfit("memory", "no multiple of its pages of 2097152; give it a size= that is");
	close(huge);
}

/* Whatever an answer is: preflight says something of it, or that it cannot look. Nobody is told that it fits by silence. */
static void test_look__odd_answers(void **state)
{
	static const char *const commands[] = {
		"query-status",
		"query-migrate",
		"query-migrate-capabilities",
		"query-migrate-parameters",
		"qom-get /machine type",
		"query-memory-size-summary",
		"qom-list /machine/peripheral",
		"query-memdev",
		"qom-get /objects/mem type",
		"x-query-ramblock",
	};
	static const char *const answers[] = { "5",  "[]", "[5]", "[[]]", "{}", "\"x\"", "true", "{\"status\": 5}",
					       "!no" };
	(void)state;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		for (size_t k = 0; k < sizeof(answers) / sizeof(answers[0]); k++) {
			int ret;

			begin(PREFLIGHT_DEST);
			fake_qmp_answer(fake, commands[i], answers[k]);
			ret = look();
			assert_true(ret == 0 || ret == -EPROTO || ret == -EREMOTEIO);
			if (strcmp(commands[i], "query-status") == 0 || strcmp(commands[i], "query-memdev") == 0)
				assert_true(ret < 0 || preflight_count(preflight) > 0);
			end();
		}
	}
}

static void test_look__monitor_gone(void **state)
{
	static const char *const commands[] = {
		"query-status",
		"query-migrate",
		"query-migrate-capabilities",
		"query-migrate-parameters",
		"qom-get /machine type",
		"query-memory-size-summary",
		"qom-list /machine/peripheral",
		"query-memdev",
		"qom-get /objects/mem type",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		begin(PREFLIGHT_SOURCE);
		fake_qmp_raw(fake, commands[i], "{\"ret", true);
		assert_int_equal(look(), -ECONNRESET);
		assert_null(preflight);
		end();
	}
}

static void test_look__all_at_once(void **state)
{
	const char *unfit;
	(void)state;

	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "xbzrle", true);
	fake_qmp_capability(fake, "postcopy-ram", true);
	fake_qmp_parameter(fake, "tls-creds", "\"tls0\"");
	fake_qmp_answer(fake, "query-memdev", "[]");
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_count(preflight), 4);
	unfit = preflight_unfit(preflight);
	assert_non_null(strstr(unfit, "xbzrle"));
	assert_non_null(strstr(unfit, "postcopy-ram"));
	assert_non_null(strstr(unfit, "tls-creds"));
	assert_non_null(strstr(unfit, "memory-backend-memfd"));
	end();
}

static void test_look__very_many(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	for (int i = 0; i < 100; i++) {
		char name[32];

		snprintf(name, sizeof(name), "x-%d", i);
		fake_qmp_capability(fake, name, true);
	}
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_count(preflight), 32);
	assert_null(preflight_refusal(preflight, 32));
	end();
}

static int look_process(void)
{
	return preflight_look_process(getpid(), &opts, &preflight, &err);
}

static void test_look_process__judged(void **state)
{
	static const struct {
		enum preflight_end end;
		const char *command;
		const char *name; /* NULL: it fits */
	} cases[] = {
		{ PREFLIGHT_SOURCE, "qemu" MEMORY, NULL },
		{ PREFLIGHT_SOURCE, "qemu -m 64M", "memory" },
		{ PREFLIGHT_SOURCE, "qemu -device virtio-balloon-pci,id=b" MEMORY, "virtio-balloon" },
		{ PREFLIGHT_SOURCE, "qemu -device {\"driver\":\"virtio-balloon-pci\",\"id\":\"b\"}" MEMORY,
		  "virtio-balloon" },
		{ PREFLIGHT_SOURCE,
		  "qemu -device virtio-net-pci,id=virtio-mem -device {\"driver\":5} -device {" MEMORY, NULL },
		{ PREFLIGHT_SOURCE, "qemu --device virtio-mem-pci,id=vm0,memdev=mem" MEMORY, "virtio-mem" },
		{ PREFLIGHT_SOURCE, "qemu -device ivshmem-doorbell,chardev=c" MEMORY, "ivshmem" },
		{ PREFLIGHT_DEST, "qemu -S -incoming unix:/x" MEMORY, NULL },
		{ PREFLIGHT_DEST, "qemu -S -incoming unix:/x -device virtio-mem-pci" MEMORY, "virtio-mem" },
		{ PREFLIGHT_DEST, "qemu -S -incoming unix:/x -device virtio-balloon-pci" MEMORY, NULL },
		{ PREFLIGHT_DEST, "qemu -incoming unix:/x" MEMORY, "not started with -S" },
		{ PREFLIGHT_DEST, "qemu -S" MEMORY, "not incoming" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		begin(cases[i].end);
		fake_proc_command(&proc, cases[i].command);
		assert_int_equal(look_process(), 0);
		assert_false(json_get_bool(preflight_facts(preflight), "qmp", true));
		if (cases[i].name != NULL)
			assert_one(cases[i].name, "");
		else if (preflight_count(preflight) > 0)
			fail_msg("%s: %s", cases[i].command, preflight_unfit(preflight));
		end();
	}
	begin(PREFLIGHT_SOURCE);
	assert_int_equal(preflight_look_process(getpid() + 1, &opts, &preflight, &err), -ESRCH);
	end();
}

static void test_change__put_back(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "return-path", false);
	opts.mend = true;
	assert_int_equal(look(), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 134217728);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	assert_true(fake_qmp_number(fake, "max-bandwidth") >= UINT64_C(1) << 40);
	assert_int_equal(fake_qmp_number(fake, "return-path"), 1);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	assert_int_equal(preflight_restore(preflight, qmp, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 134217728);
	assert_int_equal(fake_qmp_number(fake, "return-path"), 0);
	fake_qmp_parameter(fake, "max-bandwidth", "5");
	assert_int_equal(preflight_restore(preflight, qmp, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 5);
	end();
}

static void test_change__nothing_to_do(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_parameter(fake, "max-bandwidth", "9223372036854775807");
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	assert_int_equal(preflight_restore(preflight, qmp, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), INT64_MAX);
	end();

	begin(PREFLIGHT_DEST);
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 134217728);
	end();
}

/* Who has set it to something else since wants that. */
static void test_restore__changed_since(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	fake_qmp_parameter(fake, "max-bandwidth", "1000000");
	assert_int_equal(preflight_restore(preflight, qmp, &err), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 1000000);
	end();
}

static void test_change__refused(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	fake_qmp_capability(fake, "return-path", false);
	opts.mend = true;
	fake_qmp_answer(fake, "migrate-set-parameters", "!not now");
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_change(preflight, qmp, &err), -EREMOTEIO);
	assert_non_null(strstr(err.msg, "not now"));
	assert_int_equal(fake_qmp_number(fake, "return-path"), 0);
	assert_int_equal(fake_qmp_number(fake, "max-bandwidth"), 134217728);
	end();
}

static void test_restore__monitor_gone(void **state)
{
	(void)state;
	begin(PREFLIGHT_SOURCE);
	assert_int_equal(look(), 0);
	assert_int_equal(preflight_change(preflight, qmp, &err), 0);
	fake_qmp_raw(fake, "query-migrate-parameters", "", true);
	assert_int_equal(preflight_restore(preflight, qmp, &err), -ECONNRESET);
	assert_int_equal(preflight_restore(preflight, qmp, &err), 0);
	end();
}

/* The source's facts are those of begin(); @theirs as JSON. */
static int compare(enum preflight_end which, const char *theirs)
{
	struct json_object *facts = json_tokener_parse(theirs);
	int ret;

	begin(which);
	assert_int_equal(look(), 0);
	ret = preflight_compare(preflight, facts, &err);
	json_object_put(facts);
	return ret;
}

static void test_compare__fit(void **state)
{
	static const char *const fit[] = {
		"{}",
		"{\"machine\": \"pc-i440fx-10.0\", \"memory\": 67108864, \"blocks\": [{\"name\": \"mem\", \"length\": 67108864, \"page_size\": 4096}]}",
		"{\"machine\": null, \"unfit\": null, \"blocks\": null}",
		"{\"machine\": 5, \"memory\": \"x\", \"blocks\": {}, \"unfit\": []}",
		"{\"version\": 70200, \"qmp\": true}",
	};
	(void)state;

	for (size_t i = 0; i < sizeof(fit) / sizeof(fit[0]); i++) {
		assert_int_equal(compare(PREFLIGHT_SOURCE, fit[i]), 0);
		assert_null(preflight_unfit(preflight));
		end();
	}
}

static void test_compare__unfit(void **state)
{
	static const struct {
		enum preflight_end end;
		const char *theirs, *name, *words;
	} cases[] = {
		{ PREFLIGHT_SOURCE, "{\"machine\": \"pc-q35-7.2\"}", "machine type",
		  "start the destination's QEMU with -machine pc-i440fx-10.0" },
		{ PREFLIGHT_DEST, "{\"machine\": \"pc-q35-7.2\"}", "machine type",
		  "start the destination's QEMU with -machine pc-q35-7.2" },
		{ PREFLIGHT_SOURCE, "{\"memory\": 134217728}", "memory size", "with -m 64M" },
		{ PREFLIGHT_DEST, "{\"memory\": 134217728}", "memory size", "with -m 128M" },
		{ PREFLIGHT_SOURCE, "{\"blocks\": []}", "memory backends", "the same -object as the source's" },
		{ PREFLIGHT_SOURCE, "{\"blocks\": [5, [], {\"name\": 7}]}", "memory backends",
		  "the same -object" },
		{ PREFLIGHT_SOURCE,
		  "{\"blocks\": [{\"name\": \"mem\", \"length\": 67108864, \"page_size\": 2097152}]}",
		  "memory backends", "in pages of 2097152 at the other end" },
		{ PREFLIGHT_SOURCE, "{\"blocks\": [{\"name\": \"mem\", \"length\": 4096, \"page_size\": 4096}]}",
		  "memory backends", "4096 in pages of 4096 at the other end" },
		{ PREFLIGHT_SOURCE, "{\"unfit\": \"not\\nstarted with -S\"}", "the other end",
		  "at the other end: not started with -S" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(compare(cases[i].end, cases[i].theirs), 1);
		assert_one(cases[i].name, cases[i].words);
		end();
	}
}

static void test_compare__no_object(void **state)
{
	static const char *const odd[] = { "[]", "5", "\"x\"", "null" };
	(void)state;

	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		assert_int_equal(compare(PREFLIGHT_SOURCE, odd[i]), -EPROTO);
		end();
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_look__fit),
		cmocka_unit_test(test_look__listening),
		cmocka_unit_test(test_look__capabilities_accepted),
		cmocka_unit_test(test_look__capabilities_refused),
		cmocka_unit_test(test_look__absurd_capability),
		cmocka_unit_test(test_look__multifd),
		cmocka_unit_test(test_look__return_path),
		cmocka_unit_test(test_look__parameters_refused),
		cmocka_unit_test(test_look__source_status),
		cmocka_unit_test(test_look__dest_status),
		cmocka_unit_test(test_look__waits),
		cmocka_unit_test(test_look__machine),
		cmocka_unit_test(test_look__version),
		cmocka_unit_test(test_look__devices),
		cmocka_unit_test(test_look__memory),
		cmocka_unit_test(test_look__odd_huge_pages),
		cmocka_unit_test(test_look__odd_answers),
		cmocka_unit_test(test_look__monitor_gone),
		cmocka_unit_test(test_look__all_at_once),
		cmocka_unit_test(test_look__very_many),
		cmocka_unit_test(test_look_process__judged),
		cmocka_unit_test(test_change__put_back),
		cmocka_unit_test(test_change__nothing_to_do),
		cmocka_unit_test(test_restore__changed_since),
		cmocka_unit_test(test_change__refused),
		cmocka_unit_test(test_restore__monitor_gone),
		cmocka_unit_test(test_compare__fit),
		cmocka_unit_test(test_compare__unfit),
		cmocka_unit_test(test_compare__no_object),
	};

	return cmocka_run_group_tests(tests, make_memory, close_memory);
}

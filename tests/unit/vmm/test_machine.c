/* SPDX-License-Identifier: BSD-2-Clause */
/* test_machine.c -- a machine on this host's KVM: run and hold, shape, state, serial port, bus */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "guest/stress_host.h"
#include "util/clock.h"
#include "vmm/bus.h"
#include "vmm/machine.h"
#include "vmm/machine_shape.h"
#include "vmm/serial.h"

#define LONG_NS (60 * NSEC_PER_SEC)
#define WORK_PAGES 2000u

static struct machine_config small_config(void)
{
	return (struct machine_config){ .name = "small",
					.memory_bytes = 16 << 20,
					.page_size = 4096,
					.vcpus = 2,
					.guest = MACHINE_GUEST_STRESS };
}

static struct machine *small_machine(void)
{
	const struct machine_boot boot = { .stress = "wss=1M,data=1M,zero=0" };
	const struct machine_config config = small_config();
	const struct machine_host host = MACHINE_HOST_INIT;
	struct decant_error err = DECANT_ERROR_INIT;
	struct machine *machine = NULL;

	if (machine_new(&config, &host, NULL, &machine, &err) < 0 || machine_boot(machine, &boot, &err) < 0)
		fail_msg("%s", err.msg);
	return machine;
}

static void await_ready(struct machine *machine)
{
	uint64_t deadline = clock_deadline_ns(LONG_NS);

	while (!machine_ready(machine) && clock_now_ns() < deadline)
		usleep(1000);
	assert_true(machine_ready(machine));
}

static void test_machine_run__guest_works_and_judges(void **state)
{
	struct machine *machine = small_machine();
	struct decant_verdict verdict;
	(void)state;

	assert_int_equal(machine_get_state(machine), MACHINE_HELD);
	assert_false(machine_ready(machine));
	assert_int_equal(machine_run(machine, NULL, NULL), 0);
	await_ready(machine);
	assert_int_equal(machine_get_state(machine), MACHINE_RUNNING);
	assert_int_equal(machine_verdict(machine, &verdict, NULL), 0);

	assert_int_equal(verdict.status, DECANT_VERDICT_OK);
	machine_free(machine);
}

static void test_machine_hold__stamps_and_stillness(void **state)
{
	struct machine *machine = small_machine();
	uint64_t entered = 0, left = 0, before, after;
	(void)state;

	before = clock_now_ns();
	assert_int_equal(machine_run(machine, &entered, NULL), 0);
	assert_true(entered >= before && entered <= clock_now_ns());
	await_ready(machine);
	for (int i = 0; i < 50; i++) {
		before = clock_now_ns();
		assert_int_equal(machine_hold(machine, &left, NULL), 0);
		after = clock_now_ns();
		assert_true(left >= before && left <= after);
		assert_int_equal(machine_get_state(machine), MACHINE_HELD);
		assert_int_equal(machine_run(machine, &entered, NULL), 0);
		assert_true(entered >= after && entered <= clock_now_ns());
	}
	machine_free(machine);
}

static void test_machine_new__takes_the_reserve_that_fits(void **state)
{
	struct machine_config config = small_config();
	struct machine_host host = MACHINE_HOST_INIT;
	struct machine *fitting, *late;
	(void)state;

	assert_int_equal(machine_memory_new(config.memory_bytes, config.page_size, -1, &host.reserve, NULL), 0);
	assert_int_equal(decant_memory_allocated(host.reserve), config.memory_bytes);
	assert_int_equal(machine_new(&config, &host, NULL, &fitting, NULL), 0);
	assert_int_equal(decant_memory_count(host.reserve), 0);
	assert_int_equal(machine_new(&config, &host, NULL, &late, NULL), 0);

	assert_int_equal(decant_memory_allocated(machine_memory(fitting)), config.memory_bytes);
	assert_true(decant_memory_allocated(machine_memory(late)) < config.memory_bytes);
	decant_memory_free(host.reserve);
	machine_free(fitting);
	machine_free(late);
}

static void count_line(void *opaque, enum decant_log_level level, const char *message)
{
	(void)message;
	if (level == DECANT_LOG_WARNING)
		++*(unsigned *)opaque;
}

static void test_machine_new__frees_the_reserve_that_does_not_fit(void **state)
{
	struct machine_config config = small_config();
	struct machine_host host = MACHINE_HOST_INIT;
	struct machine *large, *small;
	unsigned warnings = 0;
	(void)state;

	host.log = (struct decant_log){ .fn = count_line, .level = DECANT_LOG_WARNING, .opaque = &warnings };
	assert_int_equal(machine_memory_new(config.memory_bytes, config.page_size, -1, &host.reserve, NULL), 0);
	config.memory_bytes *= 2;
	assert_int_equal(machine_new(&config, &host, NULL, &large, NULL), 0);
	assert_int_equal(decant_memory_count(host.reserve), 0);
	assert_int_equal(warnings, 1);
	config = small_config();
	assert_int_equal(machine_new(&config, &host, NULL, &small, NULL), 0);
	assert_true(decant_memory_allocated(machine_memory(small)) < config.memory_bytes);
	assert_int_equal(warnings, 1);

	decant_memory_free(host.reserve);
	machine_free(large);
	machine_free(small);
}

/*
 * Does vCPU 0 do at most, or at least, so many thousandths of the work of vCPU 1? Over many slices, and until the latter has come
 * somewhere; a busy machine may take time from either, so it is tried again.
 */
static void await_work_ratio(const struct stress_host *guest, uint64_t least, uint64_t most)
{
	const volatile struct stress_vcpu *vcpu = guest->status->vcpu;
	const uint64_t deadline = clock_deadline_ns(LONG_NS);
	uint64_t ratio;

	do {
		const uint64_t begin[2] = { vcpu[0].work, vcpu[1].work };
		uint64_t work;

		do {
			usleep(300000);
			work = vcpu[1].work - begin[1];
		} while (work < WORK_PAGES && clock_now_ns() < deadline);
		ratio = (vcpu[0].work - begin[0]) * 1000 / (work + 1);
	} while ((ratio < least || ratio > most) && clock_now_ns() < deadline);
	assert_in_range(ratio, least, most);
}

static void test_machine_throttle__slows_one_vcpu_until_it_is_undone(void **state)
{
	const struct decant_vmm_ops *ops = machine_vmm_ops();
	struct machine_slot slot = { .machine = small_machine() };
	struct stress_host guest = { 0 };
	uint64_t pages;
	(void)state;

	assert_int_equal(stress_host_attach(&guest, machine_memory(slot.machine), NULL, NULL, NULL), 0);
	assert_int_equal(machine_run(slot.machine, NULL, NULL), 0);
	await_ready(slot.machine);
	assert_int_equal(ops->throttle(&slot, 0, 950, NULL), 0);
	await_work_ratio(&guest, 1, 500);
	assert_int_equal(ops->throttle(&slot, 0, 0, NULL), 0);
	await_work_ratio(&guest, 250, UINT32_MAX);
	assert_int_equal(ops->throttle(&slot, 2, 500, NULL), -EINVAL);
	assert_int_equal(ops->throttle(&slot, 0, 1000, NULL), -EINVAL);
	assert_int_equal(ops->vcpu_dirtied(&slot, 1, &pages, NULL), -EOPNOTSUPP);
	assert_int_equal(ops->vcpu_dirtied(&slot, 2, &pages, NULL), -ENOENT);
	machine_free(slot.machine);
}

/* Nearly all the time such a vCPU stands, for 49 ms each time: a hold must not wait for that. */
static void test_machine_hold__does_not_wait_for_a_slowed_vcpu(void **state)
{
	const struct decant_vmm_ops *ops = machine_vmm_ops();
	struct machine_slot slot = { .machine = small_machine() };
	uint64_t left = 0, shortest = UINT64_MAX;
	(void)state;

	assert_int_equal(machine_run(slot.machine, NULL, NULL), 0);
	await_ready(slot.machine);
	for (uint32_t vcpu = 0; vcpu < 2; vcpu++)
		assert_int_equal(ops->throttle(&slot, vcpu, DECANT_THROTTLE_MAX_PERMILLE, NULL), 0);
	for (int i = 0; i < 8; i++) {
		uint64_t before;

		usleep(60000);
		before = clock_now_ns();
		assert_int_equal(machine_hold(slot.machine, &left, NULL), 0);
		if (clock_now_ns() - before < shortest)
			shortest = clock_now_ns() - before;
		assert_true(left >= before && left <= clock_now_ns());
		assert_int_equal(machine_run(slot.machine, NULL, NULL), 0);
	}
	assert_true(shortest < 20 * NSEC_PER_MSEC);
	/* slowed as it is */
	machine_free(slot.machine);
}

static void test_machine_free__in_every_state(void **state)
{
	struct machine *machine;
	(void)state;

	machine_free(NULL);
	machine_free(small_machine());
	machine = small_machine();
	assert_int_equal(machine_run(machine, NULL, NULL), 0);
	machine_free(machine);
	machine = small_machine();
	assert_int_equal(machine_run(machine, NULL, NULL), 0);
	assert_int_equal(machine_hold(machine, NULL, NULL), 0);
	machine_free(machine);
}

static void test_machine_verdict__of_one_that_is_held(void **state)
{
	struct machine *machine = small_machine();
	struct decant_verdict verdict;
	(void)state;

	assert_int_equal(machine_verdict(machine, &verdict, NULL), 0);
	assert_int_equal(verdict.status, DECANT_VERDICT_NONE);
	machine_free(machine);
}

static const struct {
	const char *name;
	uint64_t memory, page_size;
	uint32_t vcpus;
} bad_configs[] = {
	{ "", 16 << 20, 4096, 1 },
	{ "a/b", 16 << 20, 4096, 1 },
	{ "-a", 16 << 20, 4096, 1 },
	{ "a", 0, 4096, 1 },
	{ "a", 1 << 20, 4096, 1 },
	{ "a", 32ull << 40, 4096, 1 },
	{ "a", 16 << 20, 8192, 1 },
	{ "a", 16 << 20, 0, 1 },
	{ "a", 17 << 20, 2 << 20, 1 },
	{ "a", 16 << 20, 4096, 0 },
	{ "a", 16 << 20, 4096, MACHINE_VCPUS_MAX + 1 },
};

static void test_machine_new__bad_values(void **state)
{
	const struct machine_host host = MACHINE_HOST_INIT;
	(void)state;

	for (size_t i = 0; i < sizeof(bad_configs) / sizeof(bad_configs[0]); i++) {
		struct machine_config config = {
			.memory_bytes = bad_configs[i].memory,
			.page_size = bad_configs[i].page_size,
			.vcpus = bad_configs[i].vcpus,
		};
		struct machine *machine;

		snprintf(config.name, sizeof(config.name), "%s", bad_configs[i].name);
		assert_int_equal(machine_new(&config, &host, NULL, &machine, NULL), -EINVAL);
	}
}

static void shape_of(const struct machine_config *config, struct decant_state_reader **reader)
{
	struct decant_state_writer *writer;
	size_t length;
	const void *bytes;

	assert_int_equal(decant_state_writer_new(&writer, NULL), 0);
	assert_int_equal(machine_shape_save(config, writer, NULL), 0);
	bytes = decant_state_writer_bytes(writer, &length);
	assert_int_equal(decant_state_reader_new(bytes, length, reader, NULL), 0);
	decant_state_writer_free(writer);
}

static void test_machine_shape__there_and_back(void **state)
{
	struct machine_config config = small_config();
	struct decant_state_reader *reader;
	struct machine_config back;
	(void)state;

	config.dirty = DECANT_KVM_DIRTY_RING;
	config.memory_bytes = 5ull << 30;
	config.page_size = 2 << 20;
	shape_of(&config, &reader);
	assert_int_equal(machine_shape_load(&back, reader, NULL), 0);

	assert_string_equal(back.name, "small");
	assert_int_equal(back.memory_bytes, config.memory_bytes);
	assert_int_equal(back.page_size, config.page_size);
	assert_int_equal(back.vcpus, 2);
	assert_int_equal(back.dirty, DECANT_KVM_DIRTY_RING);
	assert_int_equal(back.guest, MACHINE_GUEST_STRESS);
	decant_state_reader_free(reader);
}

static const char *const bad_shapes[] = {
	"",
	"[]",
	"{}",
	"{\"name\":\"a\"",
	"{\"name\":\"../a\",\"memory\":16777216,\"page_size\":4096,\"vcpus\":1,\"dirty\":\"log\",\"guest\":\"stress\"}",
	"{\"name\":\"a\",\"memory\":-1,\"page_size\":4096,\"vcpus\":1,\"dirty\":\"log\",\"guest\":\"stress\"}",
	"{\"name\":\"a\",\"memory\":\"much\",\"page_size\":4096,\"vcpus\":1,\"dirty\":\"log\",\"guest\":\"stress\"}",
	"{\"name\":\"a\",\"memory\":16777216,\"page_size\":4096,\"vcpus\":1000,\"dirty\":\"log\",\"guest\":\"stress\"}",
	"{\"name\":\"a\",\"memory\":16777216,\"page_size\":4096,\"vcpus\":1,\"dirty\":\"harry\",\"guest\":\"stress\"}",
	"{\"name\":\"a\",\"memory\":16777216,\"page_size\":4096,\"vcpus\":1,\"dirty\":\"log\",\"guest\":7}",
	"{\"name\":{\"a\":{\"b\":{\"c\":{\"d\":1}}}}}",
};

static void test_machine_shape_load__bad_shapes(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(bad_shapes) / sizeof(bad_shapes[0]); i++) {
		struct decant_state_writer *writer;
		struct decant_state_reader *reader;
		struct machine_config config;
		const void *bytes;
		size_t length;

		assert_int_equal(decant_state_writer_new(&writer, NULL), 0);
		assert_int_equal(decant_state_put(writer, "vmm.shape", 0, 1, bad_shapes[i], strlen(bad_shapes[i]),
						  NULL),
				 0);
		bytes = decant_state_writer_bytes(writer, &length);
		assert_int_equal(decant_state_reader_new(bytes, length, &reader, NULL), 0);
		assert_int_equal(machine_shape_load(&config, reader, NULL), -EPROTO);
		decant_state_reader_free(reader);
		decant_state_writer_free(writer);
	}
}

static void count_irq(void *opaque, bool level)
{
	*(int *)opaque += level ? 1 : 0;
}

static void outb(struct serial *serial, uint64_t reg, uint8_t value)
{
	serial_write(serial, reg, &value, 1);
}

static uint8_t inb(struct serial *serial, uint64_t reg)
{
	uint8_t value = 0;

	serial_read(serial, reg, &value, 1);
	return value;
}

static void test_serial__output_input_and_interrupts(void **state)
{
	struct serial serial;
	int interrupts = 0;
	int ends[2];
	char out[4];
	(void)state;

	assert_int_equal(pipe(ends), 0);
	serial_init(&serial, ends[1], count_irq, &interrupts);
	outb(&serial, 0, 'h');
	outb(&serial, 0, 'i');
	assert_int_equal(read(ends[0], out, sizeof(out)), 2);
	assert_memory_equal(out, "hi", 2);
	assert_int_equal(interrupts, 0);
	outb(&serial, 4, 0x08);
	outb(&serial, 1, 0x01);
	assert_int_equal(serial_input(&serial, "ab", 2), 2);
	assert_int_equal(interrupts, 1);
	assert_int_equal(inb(&serial, 5) & 1, 1);
	assert_int_equal(inb(&serial, 0), 'a');
	assert_int_equal(inb(&serial, 0), 'b');

	assert_int_equal(inb(&serial, 5) & 1, 0);
	assert_int_equal(inb(&serial, 2) & 1, 1);
	serial_destroy(&serial);
	close(ends[0]);
	close(ends[1]);
}

static void test_serial_input__more_than_fits(void **state)
{
	struct serial serial;
	char many[SERIAL_FIFO + 10] = { 0 };
	int interrupts = 0;
	(void)state;

	serial_init(&serial, -1, count_irq, &interrupts);
	assert_int_equal(serial_input(&serial, many, sizeof(many)), SERIAL_FIFO);
	assert_int_equal(serial_input(&serial, many, 1), 0);
	serial_destroy(&serial);
}

static void save_serial(struct serial *serial, void *bytes, size_t *length)
{
	struct decant_state_writer *writer;
	const void *encoded;

	assert_int_equal(decant_state_writer_new(&writer, NULL), 0);
	assert_int_equal(serial_state_save(serial, writer, NULL), 0);
	encoded = decant_state_writer_bytes(writer, length);
	assert_true(*length <= 512);
	memcpy(bytes, encoded, *length);
	decant_state_writer_free(writer);
}

static void test_serial_state__save_load_save_is_identical(void **state)
{
	struct decant_state_reader *reader;
	struct serial from, into;
	uint8_t first[512], second[512];
	size_t first_length, second_length;
	int interrupts = 0;
	(void)state;

	serial_init(&from, -1, count_irq, &interrupts);
	serial_init(&into, -1, count_irq, &interrupts);
	outb(&from, 3, 0x80);
	outb(&from, 0, 1);
	outb(&from, 3, 0x03);
	outb(&from, 7, 0x5a);
	outb(&from, 4, 0x0b);
	outb(&from, 1, 0x01);
	serial_input(&from, "pending", 7);
	inb(&from, 0);
	save_serial(&from, first, &first_length);
	assert_int_equal(decant_state_reader_new(first, first_length, &reader, NULL), 0);
	assert_int_equal(serial_state_load(&into, reader, NULL), 0);
	save_serial(&into, second, &second_length);

	assert_int_equal(first_length, second_length);
	assert_memory_equal(first, second, first_length);
	assert_int_equal(inb(&into, 7), 0x5a);
	assert_int_equal(inb(&into, 0), 'e');
	decant_state_reader_free(reader);
	serial_destroy(&from);
	serial_destroy(&into);
}

static void note_write(void *opaque, uint64_t offset, const void *data, uint32_t length)
{
	(void)data;
	*(uint64_t *)opaque = offset * 100 + length;
}

static void test_bus_access__device_or_nobody(void **state)
{
	uint64_t noted = 0;
	struct bus_device device = { BUS_PIO, 0x100, 8, NULL, note_write, &noted };
	struct bus bus = { 0 };
	uint32_t data = 0;
	(void)state;

	assert_int_equal(bus_add(&bus, &device, NULL), 0);
	device.address = 0x107;
	assert_int_equal(bus_add(&bus, &device, NULL), -EEXIST);
	device.space = BUS_MMIO;
	assert_int_equal(bus_add(&bus, &device, NULL), 0);
	bus_access(&bus, BUS_PIO, 0x103, &data, 2, true);
	assert_int_equal(noted, 302);
	bus_access(&bus, BUS_PIO, 0x107, &data, 2, true);
	assert_int_equal(noted, 302);

	bus_access(&bus, BUS_PIO, 0x200, &data, 4, false);
	assert_int_equal(data, UINT32_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_machine_run__guest_works_and_judges),
		cmocka_unit_test(test_machine_hold__stamps_and_stillness),
		cmocka_unit_test(test_machine_new__takes_the_reserve_that_fits),
		cmocka_unit_test(test_machine_new__frees_the_reserve_that_does_not_fit),
		cmocka_unit_test(test_machine_throttle__slows_one_vcpu_until_it_is_undone),
		cmocka_unit_test(test_machine_hold__does_not_wait_for_a_slowed_vcpu),
		cmocka_unit_test(test_machine_free__in_every_state),
		cmocka_unit_test(test_machine_verdict__of_one_that_is_held),
		cmocka_unit_test(test_machine_new__bad_values),
		cmocka_unit_test(test_machine_shape__there_and_back),
		cmocka_unit_test(test_machine_shape_load__bad_shapes),
		cmocka_unit_test(test_serial__output_input_and_interrupts),
		cmocka_unit_test(test_serial_input__more_than_fits),
		cmocka_unit_test(test_serial_state__save_load_save_is_identical),
		cmocka_unit_test(test_bus_access__device_or_nobody),
	};

	if (access("/dev/kvm", R_OK | W_OK) < 0) {
		puts("SKIP: no /dev/kvm");
		return 77;
	}
	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * machine.c -- builds a virtual machine, runs, holds and frees it
 *
 * Order of building: the VM, the interrupt controllers and the timer (before the first vCPU, as KVM wants it), the glue
 * (before the first vCPU, for the dirty ring), memory and its slots, vCPUs, devices, threads. The freeing is its reverse.
 */
#include "vmm/machine_internal.h"

#include "util/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* three pages below 4 GiB, in the hole, that KVM wants for itself on some CPUs */
#define MACHINE_TSS_ADDRESS 0xfffbd000ul

#define CPUID_ENTRIES_MAX 1024
#define CPUID_FEATURES 0x1u
#define CPUID_TOPOLOGY 0xbu
#define CPUID_TOPOLOGY_V2 0x1fu

#define PORT_KEYBOARD_COMMAND 0x64u
#define KEYBOARD_RESET 0xfeu
#define PORT_RESET_CONTROL 0xcf9u
#define RESET_CONTROL_CPU 0x04u

int machine_name_check(const char *name, struct decant_error *err)
{
	size_t length = strlen(name);
	bool good = length > 0 && length < MACHINE_NAME_MAX && isalnum((unsigned char)name[0]);

	for (size_t i = 0; good && i < length; i++)
		good = isalnum((unsigned char)name[i]) || strchr("._-", name[i]) != NULL;
	if (good)
		return 0;
	return decant_error_set(err, -EINVAL,
				"\"%.70s\" is no name for a VM; use 1 to %d letters, digits, '.', '_' "
				"and '-', the first a letter or digit",
				name, MACHINE_NAME_MAX - 1);
}

static int machine_config_check(const struct machine_config *config, struct decant_error *err)
{
	int ret = machine_name_check(config->name, err);

	if (ret < 0)
		return ret;
	if (config->page_size != 4ull << 10 && config->page_size != 2ull << 20 && config->page_size != 1ull << 30)
		return decant_error_set(err, -EINVAL, "page size %llu: must be 4K, 2M or 1G",
					(unsigned long long)config->page_size);
	if (config->memory_bytes < MACHINE_MEMORY_MIN || config->memory_bytes > MACHINE_MEMORY_MAX)
		return decant_error_set(err, -EINVAL, "memory of %llu bytes: must be 4M to 16T",
					(unsigned long long)config->memory_bytes);
	if (config->memory_bytes % config->page_size != 0)
		return decant_error_set(err, -EINVAL, "memory of %llu bytes is no multiple of the page size, %llu",
					(unsigned long long)config->memory_bytes,
					(unsigned long long)config->page_size);
	if (config->vcpus < 1 || config->vcpus > MACHINE_VCPUS_MAX)
		return decant_error_set(err, -EINVAL, "%u vCPUs: must be 1 to %d", config->vcpus,
					MACHINE_VCPUS_MAX);
	return 0;
}

static int machine_open_kvm(struct machine *machine, struct decant_error *err)
{
	machine->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (machine->kvm_fd < 0)
		return decant_error_set(err, -errno, "/dev/kvm: %s; decant probe says more", strerror(errno));
	machine->vm_fd = ioctl(machine->kvm_fd, KVM_CREATE_VM, 0);
	if (machine->vm_fd < 0)
		return decant_error_set(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));
	fcntl(machine->vm_fd, F_SETFD, FD_CLOEXEC);
	return 0;
}

static int machine_make_chips(struct machine *machine, struct decant_error *err)
{
	struct kvm_pit_config pit = { 0 };

	/* only VT-x without unrestricted guest needs it; others may lack it */
	ioctl(machine->vm_fd, KVM_SET_TSS_ADDR, MACHINE_TSS_ADDRESS);
	if (ioctl(machine->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
		return decant_error_set(err, -errno, "KVM_CREATE_IRQCHIP: %s", strerror(errno));
	if (ioctl(machine->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return decant_error_set(err, -errno, "KVM_CREATE_PIT2: %s", strerror(errno));
	return 0;
}

static int machine_make_glue(struct machine *machine, struct decant_error *err)
{
	struct decant_kvm_opts opts = DECANT_KVM_OPTS_INIT;

	opts.kvm_fd = machine->kvm_fd;
	opts.vm_fd = machine->vm_fd;
	opts.dirty = machine->config.dirty;
	opts.log = machine->host.log;
	return decant_kvm_new(&opts, &machine->kvm, err);
}

static int machine_host_cpuid(struct machine *machine, struct kvm_cpuid2 **cpuid_ptr, struct decant_error *err)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_ENTRIES_MAX * sizeof(cpuid->entries[0]));
	int ret;

	if (cpuid == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for the CPUID table");
	cpuid->nent = CPUID_ENTRIES_MAX;
	if (ioctl(machine->kvm_fd, KVM_GET_SUPPORTED_CPUID, cpuid) == 0) {
		*cpuid_ptr = cpuid;
		return 0;
	}
	ret = decant_error_set(err, -errno, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	free(cpuid);
	return ret;
}

/* each vCPU sees its own APIC id where the table has one */
static void machine_cpuid_number(struct kvm_cpuid2 *cpuid, uint32_t apic_id, uint32_t vcpus)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function == CPUID_FEATURES)
			entry->ebx = (entry->ebx & 0xffff) | (apic_id << 24) | (vcpus << 16);
		else if (entry->function == CPUID_TOPOLOGY || entry->function == CPUID_TOPOLOGY_V2)
			entry->edx = apic_id;
	}
}

static int machine_set_cpuid(struct machine *machine, struct decant_error *err)
{
	DECANT_AUTO_FREE struct kvm_cpuid2 *cpuid = NULL;
	int ret = machine_host_cpuid(machine, &cpuid, err);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < machine->vcpus.count; i++) {
		machine_cpuid_number(cpuid, i, machine->vcpus.count);
		if (ioctl(machine->vcpus.vcpu[i].fd, KVM_SET_CPUID2, cpuid) < 0)
			return decant_error_set(err, -errno, "vCPU %u: KVM_SET_CPUID2: %s", i, strerror(errno));
	}
	return 0;
}

static void machine_hold_vcpu(void *opaque, uint32_t vcpu, uint64_t ns)
{
	struct machine *machine = opaque;

	vcpu_group_slice(&machine->vcpus, vcpu, ns);
}

static int machine_make_slices(struct machine *machine, struct decant_error *err)
{
	struct decant_kvm_slices_opts opts = DECANT_KVM_SLICES_OPTS_INIT;

	opts.vcpus = machine->config.vcpus;
	opts.hold = machine_hold_vcpu;
	opts.opaque = machine;
	return decant_kvm_slices_new(&opts, &machine->slices, err);
}

/* the glue notes each vCPU's CPUID when it is told of it */
static int machine_make_vcpus(struct machine *machine, struct decant_error *err)
{
	int ret = vcpu_group_init(&machine->vcpus, machine->kvm_fd, machine->vm_fd, machine->config.vcpus,
				  machine_exit, machine, err);

	if (ret == 0)
		ret = machine_set_cpuid(machine, err);
	for (uint32_t i = 0; ret == 0 && i < machine->vcpus.count; i++)
		ret = decant_kvm_add_vcpu(machine->kvm, i, machine->vcpus.vcpu[i].fd, err);
	return ret;
}

static void machine_serial_irq(void *opaque, bool level)
{
	struct machine *machine = opaque;
	struct kvm_irq_level line = { .irq = SERIAL_COM1_IRQ, .level = level };

	ioctl(machine->vm_fd, KVM_IRQ_LINE, &line);
}

static void machine_no_read(void *opaque, uint64_t offset, void *data, uint32_t length)
{
	(void)opaque;
	(void)offset;
	memset(data, 0, length);
}

static void machine_keyboard_write(void *opaque, uint64_t offset, const void *data, uint32_t length)
{
	(void)offset;
	(void)length;
	if (*(const uint8_t *)data == KEYBOARD_RESET)
		machine_end(opaque, false, "the guest has asked for a reset");
}

static void machine_reset_write(void *opaque, uint64_t offset, const void *data, uint32_t length)
{
	(void)offset;
	(void)length;
	if (*(const uint8_t *)data & RESET_CONTROL_CPU)
		machine_end(opaque, false, "the guest has asked for a reset");
}

static int machine_make_devices(struct machine *machine, struct decant_error *err)
{
	const struct bus_device devices[] = {
		{ BUS_PIO, SERIAL_COM1, SERIAL_PORTS, serial_read, serial_write, &machine->serial },
		{ BUS_PIO, PORT_KEYBOARD_COMMAND, 1, machine_no_read, machine_keyboard_write, machine },
		{ BUS_PIO, PORT_RESET_CONTROL, 1, machine_no_read, machine_reset_write, machine },
	};
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < sizeof(devices) / sizeof(devices[0]); i++)
		ret = bus_add(&machine->bus, &devices[i], err);
	return ret;
}

static int machine_build(struct machine *machine, struct decant_error *err)
{
	int ret = machine_open_kvm(machine, err);

	if (ret == 0)
		ret = machine_make_chips(machine, err);
	if (ret == 0)
		ret = machine_make_glue(machine, err);
	if (ret == 0)
		ret = machine_make_memory(machine, err);
	if (ret == 0)
		ret = machine_attach_stress(machine, err);
	if (ret == 0)
		ret = machine_make_vcpus(machine, err);
	if (ret == 0)
		ret = machine_make_devices(machine, err);
	if (ret == 0)
		ret = machine_make_slices(machine, err);
	if (ret == 0)
		ret = vcpu_group_start_threads(&machine->vcpus, err);
	return ret;
}

int machine_new(const struct machine_config *config, const struct machine_host *host, struct decant_memory *memory,
		struct machine **machine_ptr, struct decant_error *err)
{
	struct machine *machine;
	int ret = machine_config_check(config, err);

	if (ret < 0)
		return ret;
	machine = calloc(1, sizeof(*machine));
	if (machine == NULL)
		return decant_error_set(err, -ENOMEM, "no memory for a VM");
	machine->config = *config;
	machine->host = *host;
	machine->kvm_fd = -1;
	machine->vm_fd = -1;
	machine->memory = memory;
	machine->state = MACHINE_HELD;
	pthread_mutex_init(&machine->lock, NULL);
	serial_init(&machine->serial, host->serial_sink, machine_serial_irq, machine);
	ret = machine_build(machine, err);
	if (ret < 0) {
		machine_free(machine);
		return ret;
	}
	*machine_ptr = machine;
	return 0;
}

static void machine_set_state(struct machine *machine, enum machine_state state)
{
	DECANT_AUTO_UNLOCK(&machine->lock);

	if (machine->state != MACHINE_ENDED)
		machine->state = state;
}

int machine_run(struct machine *machine, uint64_t *entered_ns, struct decant_error *err)
{
	int ret = vcpu_group_run(&machine->vcpus, entered_ns, err);

	if (ret == 0)
		machine_set_state(machine, MACHINE_RUNNING);
	return ret;
}

int machine_hold(struct machine *machine, uint64_t *left_ns, struct decant_error *err)
{
	int ret = vcpu_group_hold(&machine->vcpus, left_ns, err);

	if (ret == 0)
		machine_set_state(machine, MACHINE_HELD);
	return ret;
}

enum machine_state machine_get_state(struct machine *machine)
{
	DECANT_AUTO_UNLOCK(&machine->lock);

	return machine->state;
}

void machine_why(struct machine *machine, char *text, size_t length, bool *failed)
{
	DECANT_AUTO_UNLOCK(&machine->lock);

	snprintf(text, length, "%s", machine->why);
	*failed = machine->failed;
}

size_t machine_serial_input(struct machine *machine, const void *bytes, size_t length)
{
	return serial_input(&machine->serial, bytes, length);
}

const struct machine_config *machine_config(const struct machine *machine)
{
	return &machine->config;
}

struct decant_memory *machine_memory(struct machine *machine)
{
	return machine->memory;
}

struct decant_kvm *machine_kvm(struct machine *machine)
{
	return machine->kvm;
}

void machine_adopt_memory(struct machine *machine)
{
	machine->owns_memory = true;
}

void machine_free(struct machine *machine)
{
	if (machine == NULL)
		return;
	decant_kvm_slices_free(machine->slices);
	vcpu_group_free(&machine->vcpus);
	decant_kvm_free(machine->kvm);
	if (machine->vm_fd >= 0)
		close(machine->vm_fd);
	if (machine->kvm_fd >= 0)
		close(machine->kvm_fd);
	if (machine->owns_memory)
		decant_memory_free(machine->memory);
	serial_destroy(&machine->serial);
	pthread_mutex_destroy(&machine->lock);
	free(machine);
}

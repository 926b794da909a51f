/* SPDX-License-Identifier: BSD-2-Clause */
/* machine_boot.c -- puts a guest's image into memory, vCPU 0 at its entry, and talks to the stress guest */
#include "vmm/machine_internal.h"

#include "guest/stress_host.h"
#include "util/cleanup.h"
#include "util/clock.h"
#include "vmm/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define CR0_PE_ET 0x11ull
#define SEGMENT_LIMIT 0xffffffffu
#define SEGMENT_CODE 0xb
#define SEGMENT_DATA 0x3
#define SEGMENT_CODE_SELECTOR 0x08
#define SEGMENT_DATA_SELECTOR 0x10
#define RFLAGS_RESERVED 0x2ull

#define FILE_BYTES_MAX (2ull << 30)
#define VERDICT_TIMEOUT_NS (120 * NSEC_PER_SEC)

struct boot_file {
	uint8_t *bytes;
	size_t length;
};

static int boot_file_fill(int fd, const char *path, struct boot_file *file, struct decant_error *err)
{
	size_t done = 0;

	while (done < file->length) {
		ssize_t got = read(fd, file->bytes + done, file->length - done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
		if (got == 0)
			return decant_error_set(err, -EINVAL, "%s: it shrank while it was read", path);
		done += (size_t)got;
	}
	return 0;
}

static int boot_file_read(const char *path, struct boot_file *file, struct decant_error *err)
{
	DECANT_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st) < 0)
		return decant_error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return decant_error_set(err, -EINVAL, "%s: not a regular file", path);
	if ((uint64_t)st.st_size > FILE_BYTES_MAX)
		return decant_error_set(err, -EFBIG, "%s: larger than 2 GiB", path);
	file->length = (size_t)st.st_size;
	file->bytes = malloc(file->length + 1);
	if (file->bytes == NULL)
		return decant_error_set(err, -ENOMEM, "%s: no memory for %zu bytes", path, file->length);
	ret = boot_file_fill(fd, path, file, err);
	if (ret < 0) {
		free(file->bytes);
		file->bytes = NULL;
	}
	return ret;
}

static struct kvm_segment boot_segment(uint16_t selector, uint8_t type)
{
	return (struct kvm_segment){
		.limit = SEGMENT_LIMIT,
		.selector = selector,
		.type = type,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
}

/* 32-bit protected mode, no paging, as boot.h describes it */
static int boot_enter(struct machine *machine, const struct boot_entry *entry, struct decant_error *err)
{
	int fd = machine->vcpus.vcpu[0].fd;
	struct kvm_segment data = boot_segment(SEGMENT_DATA_SELECTOR, SEGMENT_DATA);
	struct kvm_regs regs = {
		.rip = entry->eip,
		.rax = entry->eax,
		.rbx = entry->ebx,
		.rflags = RFLAGS_RESERVED,
	};
	struct kvm_sregs sregs;

	if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0)
		return decant_error_set(err, -errno, "KVM_GET_SREGS: %s", strerror(errno));
	sregs.cs = boot_segment(SEGMENT_CODE_SELECTOR, SEGMENT_CODE);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 = CR0_PE_ET;
	if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0)
		return decant_error_set(err, -errno, "KVM_SET_SREGS: %s", strerror(errno));
	if (ioctl(fd, KVM_SET_REGS, &regs) < 0)
		return decant_error_set(err, -errno, "KVM_SET_REGS: %s", strerror(errno));
	return 0;
}

static int boot_image(struct machine *machine, const struct boot_kernel *kernel, struct decant_error *err)
{
	struct boot_entry entry;
	int ret = boot_multiboot(machine->memory, kernel, &entry, err);

	return ret < 0 ? ret : boot_enter(machine, &entry, err);
}

static int boot_kernel(struct machine *machine, const struct machine_boot *boot, struct decant_error *err)
{
	struct boot_file image = { 0 };
	struct boot_file initrd = { 0 };
	struct boot_kernel kernel = { .name = boot->kernel, .cmdline = boot->command };
	int ret = boot_file_read(boot->kernel, &image, err);

	if (ret == 0 && boot->initrd != NULL)
		ret = boot_file_read(boot->initrd, &initrd, err);
	if (ret == 0) {
		kernel.image = image.bytes;
		kernel.size = image.length;
		kernel.initrd = initrd.bytes;
		kernel.initrd_size = initrd.length;
		kernel.initrd_name = boot->initrd;
		ret = boot_image(machine, &kernel, err);
	}
	free(image.bytes);
	free(initrd.bytes);
	return ret;
}

static void boot_mark(void *opaque, uint64_t guest_address, uint64_t length)
{
	struct machine *machine = opaque;

	decant_kvm_mark(machine->kvm, guest_address, length);
}

int machine_attach_stress(struct machine *machine, struct decant_error *err)
{
	return stress_host_attach(&machine->stress, machine->memory, boot_mark, machine, err);
}

static int boot_stress(struct machine *machine, const char *text, struct decant_error *err)
{
	const struct boot_kernel kernel = {
		.name = "stress",
		.image = stress_image,
		.size = (size_t)(stress_image_end - stress_image),
	};
	uint64_t low = decant_memory_region(machine->memory, 0)->length;
	struct stress_options options;
	struct stress_boot page;
	int khz = ioctl(machine->vcpus.vcpu[0].fd, KVM_GET_TSC_KHZ, 0);
	int ret;

	if (khz <= 0)
		return decant_error_set(err, khz < 0 ? -errno : -EIO, "KVM_GET_TSC_KHZ: no answer");
	ret = stress_options_parse(text, &options, err);
	if (ret == 0)
		ret = stress_options_fill(&options, low, machine->config.vcpus, (uint32_t)khz, &page, err);
	if (ret == 0)
		ret = boot_image(machine, &kernel, err);
	if (ret == 0)
		stress_host_boot(&machine->stress, &page);
	return ret;
}

int machine_boot(struct machine *machine, const struct machine_boot *boot, struct decant_error *err)
{
	int ret = boot->stress != NULL ? boot_stress(machine, boot->stress, err) : boot_kernel(machine, boot, err);

	if (ret == 0)
		stress_host_started(&machine->stress);
	return ret;
}

bool machine_judges(const struct machine *machine)
{
	return stress_host_present(&machine->stress);
}

bool machine_ready(const struct machine *machine)
{
	if (machine->config.guest != MACHINE_GUEST_STRESS && !machine_judges(machine))
		return true;
	return stress_host_phase(&machine->stress) >= STRESS_PHASE_RUN;
}

void machine_gap_reset(struct machine *machine)
{
	if (machine_judges(machine))
		stress_host_gap_reset(&machine->stress);
}

int machine_verdict(struct machine *machine, struct decant_verdict *verdict, struct decant_error *err)
{
	*verdict = (struct decant_verdict){ .status = DECANT_VERDICT_NONE };
	if (!machine_judges(machine) || machine_get_state(machine) != MACHINE_RUNNING)
		return 0;
	return stress_host_verdict(&machine->stress, VERDICT_TIMEOUT_NS, verdict, err);
}

void machine_abandon_verdict(struct machine *machine)
{
	stress_host_abandon(&machine->stress);
}

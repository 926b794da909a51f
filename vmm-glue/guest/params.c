/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * params.c -- where the stress guest's parameters come from
 *
 * A VMM that knows this guest has filled struct stress_boot. Any other loads it as a Multiboot kernel, and then the command
 * line tells: wss=40M data=128M zero=4M rate=100M pattern=seq|random seed=1 vcpus=2 scatter=0|1. Sizes without K, M or G are
 * bytes, rate is a size per second; words that are not of this form (the file name that QEMU puts first) are passed over.
 */
#include "guest/multiboot.h"
#include "guest/stress.h"
#include "guest/stress_guest.h"

#include <stdint.h>

#define KIB_PER_PAGE 4
#define FIRMWARE_PAGES 6144u /* at the end of memory, where firmware leaves remains of its work: wiped */

static const char *after_prefix(const char *word, const char *prefix)
{
	while (*prefix != '\0')
		if (*word++ != *prefix++)
			return 0;
	return word;
}

static uint32_t parse_number(const char **text)
{
	uint32_t number = 0;

	for (; **text >= '0' && **text <= '9'; (*text)++)
		number = number * 10 + (uint32_t)(**text - '0');
	return number;
}

static uint32_t parse_pages(const char *text)
{
	uint32_t number = parse_number(&text);

	switch (*text) {
	case 'G':
	case 'g':
		return number << 18;
	case 'M':
	case 'm':
		return number << 8;
	case 'K':
	case 'k':
		return number >> 2;
	default:
		return number >> 12;
	}
}

static void parse_word(struct stress_boot *boot, const char *word)
{
	const char *value;

	if ((value = after_prefix(word, "wss=")))
		boot->wss_pages = parse_pages(value);
	else if ((value = after_prefix(word, "data=")))
		boot->data_pages = parse_pages(value);
	else if ((value = after_prefix(word, "zero=")))
		boot->zero_pages = parse_pages(value);
	else if ((value = after_prefix(word, "rate=")))
		boot->rate_pages = parse_pages(value);
	else if ((value = after_prefix(word, "seed=")))
		boot->seed = parse_number(&value);
	else if ((value = after_prefix(word, "vcpus=")))
		boot->vcpus = parse_number(&value);
	else if ((value = after_prefix(word, "scatter=")))
		boot->scatter = parse_number(&value);
	else if ((value = after_prefix(word, "pattern=")))
		boot->pattern = *value == 'r' ? STRESS_PATTERN_RANDOM : STRESS_PATTERN_SEQUENTIAL;
}

static void parse_cmdline(struct stress_boot *boot, const char *text)
{
	while (*text != '\0') {
		parse_word(boot, text);
		while (*text != '\0' && *text != ' ')
			text++;
		while (*text == ' ')
			text++;
	}
}

static void wipe_firmware(uint32_t memory_pages)
{
	uint32_t first = STRESS_SWEEP_FIRST + FIRMWARE_PAGES < memory_pages ? memory_pages - FIRMWARE_PAGES
									    : STRESS_SWEEP_FIRST;
	uint32_t *at = (uint32_t *)(first << 12);
	uint32_t words = (memory_pages - first) << 10;

	__asm__ volatile("rep stosl" : "+D"(at), "+c"(words) : "a"(0) : "memory");
}

static void from_multiboot(struct stress_boot *boot, const struct multiboot_info *info)
{
	if (!(info->flags & MULTIBOOT_INFO_MEMORY))
		guest_halt("the loader does not say how much memory there is");
	boot->magic = STRESS_BOOT_MAGIC;
	boot->vcpus = 1;
	boot->memory_pages = (info->mem_upper + 1024) / KIB_PER_PAGE;
	boot->seed = 1;
	stress_layout_defaults(boot);
	if (info->flags & MULTIBOOT_INFO_CMDLINE)
		parse_cmdline(boot, (const char *)info->cmdline);
	if (boot->vcpus == 0 || boot->vcpus > STRESS_VCPUS_MAX)
		guest_halt("vcpus= takes 1 to 16");
	if (boot->memory_pages < STRESS_MEMORY_MIN)
		guest_halt("needs at least 16 MiB of memory");
	boot->tsc_khz = guest_clock_khz();
	if (boot->rate_pages != 0 && boot->tsc_khz == 0)
		guest_halt("rate= needs an interval timer to know the clock by");
	wipe_firmware(boot->memory_pages);
}

void guest_params(uint32_t magic, uint32_t info)
{
	struct stress_boot *boot = (struct stress_boot *)STRESS_BOOT_ADDRESS;

	if (boot->magic == STRESS_BOOT_MAGIC)
		return;
	if (magic != MULTIBOOT_ENTRY_MAGIC)
		guest_halt("neither parameters nor a Multiboot loader");
	from_multiboot(boot, (const struct multiboot_info *)info);
}

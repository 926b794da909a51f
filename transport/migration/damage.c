/* SPDX-License-Identifier: BSD-2-Clause */
/* damage.c -- what to say of a page of guest memory that cannot be read any more */
#include "migration/damage.h"

#include <errno.h>
#include <inttypes.h>

int damage_explain(const struct decant_region *region, const struct fault *fault, struct decant_error *err)
{
	const uint64_t offset = fault->address - (uintptr_t)region->address;
	const char *why =
		fault->code == -EHWPOISON
			? "the host's memory has failed there (hardware poison), and what it held is lost; the guest "
			  "runs until it uses that page: shut it down, or have it give the page up, and see the "
			  "kernel's log"
			: "nothing is there: the file behind it was cut, or no page could be had for it";

	return decant_error_set(err, fault->code,
				"memory: region %s + 0x%" PRIx64 " (guest address 0x%" PRIx64 "): %s",
				region->name, offset, region->guest_address + offset, why);
}

int damage_find(const struct decant_region *region, uint64_t offset, uint64_t length, bool write,
		struct decant_error *err)
{
	struct fault fault;
	const int rc = fault_find((const uint8_t *)region->address + offset, length, write, &fault);

	return rc < 0 ? damage_explain(region, &fault, err) : 0;
}

bool damage_is(int code)
{
	return code == -EFAULT || code == -EHWPOISON;
}

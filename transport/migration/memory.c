/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memory.c -- guest memory: regions of shared, possibly sparse memory
 *
 * Which pages exist
 * -----------------
 * shmem tells by SEEK_DATA, whoever touched the page and through whatever mapping. hugetlbfs has no SEEK_DATA (all is data
 * to it); there mincore() answers, but only for pages that this mapping has in its page table: a page that a device
 * process touched through its own mapping is missing. Declaring that a hole would lose it. So for hugetlb the file's
 * allocated blocks are compared with what is mapped; only if there are more, pages that are not mapped are
 * read with pread(), which on a hole gives zeros and allocates nothing. One that reads as zeros is as good as a hole.
 *
 * Where an extent of shmem ends SEEK_HOLE tells, but it visits every page to the very end, however far that is. mincore() takes a tenth of
 * the time per page, and stops where it is told to. What it says is in memory is data, through whatever mapping it came; of the
 * rest, which may be swapped out, it knows nothing, and there the file is asked. It answers only who may write to the file,
 * and to anybody else says that all is in memory.
 */
#include <decant/memory.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/memfd.h>
#include <numa.h>
#include <numaif.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "migration/limit.h"
#include "migration/memory_data.h"

/* Pages of 4 KiB that one mincore() call looks at. */
#define MINCORE_PAGES 16384u
#define MINCORE_PAGES_FIRST 64u /* at first, since an extent may be short */
#define NO_BLOCKS UINT64_MAX
#define HIDDEN_CALLS 256 /* without counting again */

struct slot {
	struct decant_region region;
	bool owned;
	bool populated;      /* all of it was touched through this mapping */
	bool tells_resident; /* mincore() says the truth of it */
	/*
	 * hugetlb: the file's allocated bytes when all of them were last seen to be mapped here, or NO_BLOCKS. A hint that
	 * saves counting again, so relaxed: a stale value only leads to another count.
	 */
	_Atomic uint64_t all_mapped_at;
	/* hugetlb: the same when some were not, and how often that will do: "there may be some" is always right, and to count goes over it all */
	_Atomic uint64_t hidden_at;
	_Atomic int hidden_calls;
};

struct decant_memory {
	uint32_t count;
	struct slot slots[DECANT_REGIONS_MAX];
};

static bool page_size_is_valid(uint64_t page_size)
{
	return page_size == DECANT_PAGE_SIZE || page_size == (2ull << 20) || page_size == (1ull << 30);
}

static int check_shape(const struct decant_region *region, struct decant_error *err)
{
	if (memchr(region->name, '\0', sizeof(region->name)) == NULL || region->name[0] == '\0')
		return decant_error_set(err, -EINVAL,
					"memory: region name: empty or not terminated within %d bytes",
					DECANT_REGION_NAME_MAX);
	if (!page_size_is_valid(region->page_size))
		return decant_error_set(err, -EINVAL,
					"memory: region %s: page size %" PRIu64 " is none; use 4K, 2M or 1G",
					region->name, region->page_size);
	if (region->length == 0 || region->length % region->page_size != 0)
		return decant_error_set(err, -EINVAL,
					"memory: region %s: length %" PRIu64
					" is no positive multiple of its page size %" PRIu64,
					region->name, region->length, region->page_size);
	if (region->guest_address % region->page_size != 0)
		return decant_error_set(err, -EINVAL,
					"memory: region %s: guest address 0x%" PRIx64
					" is not aligned to its page size %" PRIu64,
					region->name, region->guest_address, region->page_size);
	if (region->guest_address + region->length < region->guest_address)
		return decant_error_set(err, -EINVAL,
					"memory: region %s: guest address 0x%" PRIx64 " plus length 0x%" PRIx64
					" runs over the end of the address space",
					region->name, region->guest_address, region->length);
	return 0;
}

static int check_against(const struct decant_region *other, const struct decant_region *region,
			 struct decant_error *err)
{
	if (strcmp(other->name, region->name) == 0)
		return decant_error_set(err, -EEXIST, "memory: region %s: the name is taken already",
					region->name);
	if (region->guest_address < other->guest_address + other->length &&
	    other->guest_address < region->guest_address + region->length)
		return decant_error_set(err, -EEXIST,
					"memory: region %s at 0x%" PRIx64 "+0x%" PRIx64
					" overlaps region %s at 0x%" PRIx64 "+0x%" PRIx64,
					region->name, region->guest_address, region->length, other->name,
					other->guest_address, other->length);
	return 0;
}

/* The caller may have been built against a later header: what this build does not know of is ignored. */
static int take_region(const struct decant_memory *memory, const struct decant_region *from,
		       struct decant_region *region, struct decant_error *err)
{
	int ret;

	if (from->size < sizeof(*region))
		return decant_error_set(err, -EINVAL,
					"memory: region size %zu is less than %zu; use DECANT_REGION_INIT",
					from->size, sizeof(*region));
	*region = *from;
	region->size = sizeof(*region);
	ret = check_shape(region, err);
	if (ret < 0)
		return ret;
	for (uint32_t i = 0; i < memory->count; i++) {
		ret = check_against(&memory->slots[i].region, region, err);
		if (ret < 0)
			return ret;
	}
	if (memory->count == DECANT_REGIONS_MAX)
		return decant_error_set(err, -ENOSPC, "memory: region %s: there are %d regions already, the most",
					region->name, DECANT_REGIONS_MAX);
	return 0;
}

static bool file_is_writable(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return fd >= 0 && faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0;
}

static int append(struct decant_memory *memory, const struct decant_region *region, bool owned)
{
	struct slot *slot = &memory->slots[memory->count];

	slot->region = *region;
	slot->owned = owned;
	slot->populated = false;
	slot->tells_resident = owned || file_is_writable(region->fd);
	atomic_init(&slot->all_mapped_at, NO_BLOCKS);
	atomic_init(&slot->hidden_at, NO_BLOCKS);
	atomic_init(&slot->hidden_calls, 0);
	return (int)memory->count++;
}

/* MFD_HUGE_2MB and MFD_HUGE_1GB are nothing but the shifted logarithm. */
static unsigned memfd_flags(uint64_t page_size)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (page_size > DECANT_PAGE_SIZE)
		flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page_size) << MFD_HUGE_SHIFT;
	return flags;
}

static int make_file(struct decant_region *region, struct decant_error *err)
{
	int ret;

	region->fd = memfd_create(region->name, memfd_flags(region->page_size));
	if (region->fd < 0) {
		ret = -errno;
		if (region->page_size > DECANT_PAGE_SIZE && (ret == -ENODEV || ret == -EINVAL || ret == -ENOENT))
			return decant_error_set(err, -EOPNOTSUPP,
						"memory: region %s: this host has no pages of %" PRIu64
						" MiB; see /sys/kernel/mm/hugepages, or use 4K pages",
						region->name, region->page_size >> 20);
		return decant_error_set(err, ret, "memory: region %s: memfd_create: %s", region->name,
					strerror(-ret));
	}
	if (ftruncate(region->fd, (off_t)region->length) < 0 ||
	    fcntl(region->fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0) {
		ret = decant_error_set(err, -errno, "memory: region %s: memfd of %" PRIu64 " MiB: %s",
				       region->name, region->length >> 20, strerror(errno));
		close(region->fd);
		return ret;
	}
	return 0;
}

/* A preference, not an order: with an order, a node without pages left would turn into SIGBUS. */
static int set_node(const struct decant_region *region, struct decant_error *err)
{
	unsigned long nodes[16] = { 0 };
	const unsigned bits = 8 * sizeof(nodes[0]);
	unsigned node = (unsigned)region->numa_node;

	if (region->numa_node < 0)
		return 0;
	if (numa_available() < 0 && node == 0)
		return 0;
	if (numa_available() < 0 || region->numa_node > numa_max_node() || node >= 16 * bits)
		return decant_error_set(err, -EINVAL,
					"memory: region %s: this host has no NUMA node %d; see numactl --hardware",
					region->name, region->numa_node);
	nodes[node / bits] = 1ul << node % bits;
	if (mbind(region->address, region->length, MPOL_PREFERRED, nodes, 16 * bits, 0) < 0)
		return decant_error_set(err, -errno, "memory: region %s: mbind to NUMA node %d: %s", region->name,
					region->numa_node, strerror(errno));
	return 0;
}

static int map_file(struct decant_region *region, struct decant_error *err)
{
	int ret;

	region->address = mmap(NULL, region->length, PROT_READ | PROT_WRITE, MAP_SHARED, region->fd, 0);
	if (region->address == MAP_FAILED) {
		char what[64];

		ret = -errno;
		snprintf(what, sizeof(what), "memory: region %s", region->name);
		return limit_explain(err, ret, what, region->length, region->page_size);
	}
	ret = set_node(region, err);
	if (ret == 0 && madvise(region->address, region->length, MADV_DONTFORK) < 0)
		ret = decant_error_set(err, -errno, "memory: region %s: madvise(MADV_DONTFORK): %s", region->name,
				       strerror(errno));
	if (ret == 0 && madvise(region->address, region->length, MADV_DONTDUMP) < 0)
		ret = decant_error_set(err, -errno, "memory: region %s: madvise(MADV_DONTDUMP): %s", region->name,
				       strerror(errno));
	if (ret < 0)
		munmap(region->address, region->length);
	return ret;
}

static const struct slot *find_slot(const struct decant_memory *memory, uint32_t index)
{
	return index < memory->count ? &memory->slots[index] : NULL;
}

static uint64_t file_bytes(int fd)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return NO_BLOCKS;
	return (uint64_t)status.st_blocks * 512;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* All pages of a huge page answer alike, so its first one speaks for it. */
static bool huge_is_mapped(const struct decant_region *region, uint64_t offset)
{
	unsigned char present = 0;

	return mincore((char *)region->address + offset, DECANT_PAGE_SIZE, &present) < 0 || (present & 1);
}

static uint64_t huge_mapped_bytes(const struct decant_region *region)
{
	const uint64_t step = (uint64_t)MINCORE_PAGES * DECANT_PAGE_SIZE;
	unsigned char present[MINCORE_PAGES];
	uint64_t bytes = 0;

	for (uint64_t at = 0; at < region->length; at += step) {
		uint64_t length = min_u64(step, region->length - at);

		if (mincore((char *)region->address + at, length, present) < 0)
			continue;
		for (uint64_t i = 0; i < length / DECANT_PAGE_SIZE; i++)
			bytes += (present[i] & 1) * (uint64_t)DECANT_PAGE_SIZE;
	}
	return bytes;
}

/* Can the file have pages that this mapping does not show? */
static bool huge_may_hide(const struct slot *slot)
{
	struct slot *hint = (struct slot *)slot; /* the set is read-only for all but this hint */
	uint64_t before = file_bytes(slot->region.fd);

	if (before != NO_BLOCKS && before == atomic_load_explicit(&hint->all_mapped_at, memory_order_relaxed))
		return false;
	if (before != NO_BLOCKS && before == atomic_load_explicit(&hint->hidden_at, memory_order_relaxed) &&
	    atomic_fetch_sub_explicit(&hint->hidden_calls, 1, memory_order_relaxed) > 0)
		return true;
	/* a page that is mapped while they are counted could make up for one that is hidden, so ask again afterwards */
	if (huge_mapped_bytes(&slot->region) < before || file_bytes(slot->region.fd) != before) {
		atomic_store_explicit(&hint->hidden_calls, HIDDEN_CALLS, memory_order_relaxed);
		atomic_store_explicit(&hint->hidden_at, before, memory_order_relaxed);
		return true;
	}
	atomic_store_explicit(&hint->all_mapped_at, before, memory_order_relaxed);
	return false;
}

static bool huge_reads_as_zero(const struct decant_region *region, uint64_t offset)
{
	static const char zeros[DECANT_PAGE_SIZE];
	char page[16 * DECANT_PAGE_SIZE];

	for (uint64_t at = 0; at < region->page_size; at += sizeof(page)) {
		if (pread(region->fd, page, sizeof(page), (off_t)(region->fd_offset + offset + at)) !=
		    (ssize_t)sizeof(page))
			return false;
		for (size_t i = 0; i < sizeof(page); i += sizeof(zeros))
			if (memcmp(page + i, zeros, sizeof(zeros)) != 0)
				return false;
	}
	return true;
}

static bool huge_has_data(const struct slot *slot, uint64_t offset, bool may_hide)
{
	if (huge_is_mapped(&slot->region, offset))
		return true;
	return may_hide && !huge_reads_as_zero(&slot->region, offset);
}

static int huge_next_data(const struct slot *slot, uint64_t *offset, uint64_t end, uint64_t most, uint64_t *length)
{
	const uint64_t step = slot->region.page_size;
	const bool may_hide = huge_may_hide(slot);
	uint64_t at = *offset - *offset % step;
	uint64_t start;

	while (at < end && !huge_has_data(slot, at, may_hide))
		at += step;
	if (at >= end)
		return 0;
	start = at > *offset ? at : *offset;
	end = min_u64(end, most < end - start ? start + most : end);
	while (at < end && huge_has_data(slot, at, may_hide))
		at += step;
	*offset = start;
	*length = min_u64(at, end) - start;
	return 1;
}

/* How many bytes from @offset on, to @end at most, are in memory without a gap. */
static uint64_t resident_run(const struct slot *slot, uint64_t offset, uint64_t end)
{
	const char *base = slot->region.address;
	uint64_t count = MINCORE_PAGES_FIRST, at = offset;
	unsigned char present[MINCORE_PAGES];

	while (slot->tells_resident && at < end) {
		count = min_u64(count, (end - at) / DECANT_PAGE_SIZE);
		if (mincore((char *)base + at, count * DECANT_PAGE_SIZE, present) < 0)
			break;
		for (uint64_t i = 0; i < count; i++, at += DECANT_PAGE_SIZE)
			if (!(present[i] & 1))
				return at - offset;
		count = min_u64(count * 4, MINCORE_PAGES);
	}
	return at - offset;
}

/* Where the extent that has data at @data ends, or @end if that comes first. */
static int shmem_extent_end(const struct slot *slot, uint64_t data, uint64_t end, uint64_t *found,
			    struct decant_error *err)
{
	const struct decant_region *region = &slot->region;
	const uint64_t known = data + resident_run(slot, data, end);
	off_t hole;

	*found = known;
	if (known >= end)
		return 0;
	hole = lseek(region->fd, (off_t)(region->fd_offset + known), SEEK_HOLE);
	if (hole < 0 && errno != ENXIO)
		return decant_error_set(err, -errno, "memory: region %s: lseek(SEEK_HOLE) at 0x%" PRIx64 ": %s",
					region->name, known, strerror(errno));
	if (hole >= 0)
		*found = min_u64((uint64_t)hole - region->fd_offset, end);
	/* punched between the calls: the page was there a moment ago, so it is data */
	if (*found <= data)
		*found = data + DECANT_PAGE_SIZE;
	return 0;
}

static int shmem_next_data(const struct slot *slot, uint64_t *offset, uint64_t end, uint64_t most,
			   uint64_t *length, struct decant_error *err)
{
	const struct decant_region *region = &slot->region;
	off_t data = lseek(region->fd, (off_t)(region->fd_offset + *offset), SEEK_DATA);
	uint64_t start, found;
	int ret;

	if (data < 0 && errno == ENXIO)
		return 0;
	if (data < 0)
		return decant_error_set(err, -errno, "memory: region %s: lseek(SEEK_DATA) at 0x%" PRIx64 ": %s",
					region->name, *offset, strerror(errno));
	start = (uint64_t)data - region->fd_offset;
	if (start >= end)
		return 0;
	ret = shmem_extent_end(slot, start, min_u64(end, most < end - start ? start + most : end), &found, err);
	if (ret < 0)
		return ret;
	*offset = start;
	*length = found - start;
	return 1;
}

static bool is_whole_file(const struct decant_region *region)
{
	struct stat status;

	return region->fd_offset == 0 && fstat(region->fd, &status) == 0 &&
	       (uint64_t)status.st_size == region->length;
}

static uint64_t slot_allocated(const struct decant_memory *memory, uint32_t index)
{
	const struct slot *slot = &memory->slots[index];
	uint64_t offset = 0, length, bytes = 0;

	if (slot->region.fd < 0)
		return slot->region.length;
	if (slot->owned || is_whole_file(&slot->region))
		return min_u64(file_bytes(slot->region.fd), slot->region.length);
	while (decant_memory_next_data(memory, index, &offset, slot->region.length, &length, NULL) > 0) {
		bytes += length;
		offset += length;
	}
	return bytes;
}

int decant_memory_new(struct decant_memory **memory, struct decant_error *err)
{
	struct decant_memory *made = calloc(1, sizeof(*made));

	if (made == NULL)
		return decant_error_set(err, -ENOMEM, "memory: no memory for a set of regions");
	*memory = made;
	return 0;
}

int decant_memory_add(struct decant_memory *memory, const struct decant_region *region, struct decant_error *err)
{
	struct decant_region taken;
	int ret;

	ret = take_region(memory, region, &taken, err);
	if (ret < 0)
		return ret;
	if (taken.address == NULL || (uintptr_t)taken.address % DECANT_PAGE_SIZE != 0)
		return decant_error_set(err, -EINVAL, "memory: region %s: address %p is no mapping", taken.name,
					taken.address);
	if (taken.fd >= 0 && taken.fd_offset % taken.page_size != 0)
		return decant_error_set(err, -EINVAL,
					"memory: region %s: file offset 0x%" PRIx64
					" is not aligned to its page size %" PRIu64,
					taken.name, taken.fd_offset, taken.page_size);
	return append(memory, &taken, false);
}

int decant_memory_allocate(struct decant_memory *memory, const struct decant_region *region,
			   struct decant_error *err)
{
	struct decant_region taken;
	int ret;

	ret = take_region(memory, region, &taken, err);
	if (ret < 0)
		return ret;
	taken.fd_offset = 0;
	ret = make_file(&taken, err);
	if (ret < 0)
		return ret;
	ret = map_file(&taken, err);
	if (ret < 0) {
		close(taken.fd);
		return ret;
	}
	return append(memory, &taken, true);
}

int decant_memory_move(struct decant_memory *to, struct decant_memory *from, struct decant_error *err)
{
	const uint32_t before = to->count;
	struct decant_region taken;
	int ret = 0;

	for (uint32_t i = 0; ret == 0 && i < from->count; i++) {
		ret = take_region(to, &from->slots[i].region, &taken, err);
		if (ret == 0)
			to->slots[append(to, &taken, from->slots[i].owned)].populated = from->slots[i].populated;
	}
	if (ret < 0)
		to->count = before;
	else
		from->count = 0;
	return ret;
}

void memory_set_populated(struct decant_memory *memory)
{
	for (uint32_t i = 0; i < memory->count; i++)
		memory->slots[i].populated = true;
}

bool memory_is_populated(const struct decant_memory *memory, uint32_t index)
{
	return memory->slots[index].populated;
}

uint32_t decant_memory_count(const struct decant_memory *memory)
{
	return memory->count;
}

const struct decant_region *decant_memory_region(const struct decant_memory *memory, uint32_t index)
{
	const struct slot *slot = find_slot(memory, index);

	return slot == NULL ? NULL : &slot->region;
}

uint64_t decant_memory_bytes(const struct decant_memory *memory)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < memory->count; i++)
		bytes += memory->slots[i].region.length;
	return bytes;
}

uint64_t decant_memory_allocated(const struct decant_memory *memory)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < memory->count; i++)
		bytes += slot_allocated(memory, i);
	return bytes;
}

int memory_next_data(const struct decant_memory *memory, uint32_t index, uint64_t *offset, uint64_t end,
		     uint64_t most, uint64_t *length, struct decant_error *err)
{
	const struct slot *slot = find_slot(memory, index);

	if (slot == NULL)
		return decant_error_set(err, -EINVAL, "memory: there is no region %" PRIu32, index);
	end = min_u64(end, slot->region.length);
	if (*offset >= end)
		return 0;
	if (slot->region.fd < 0) {
		*length = min_u64(end - *offset, most);
		return 1;
	}
	if (slot->region.page_size > DECANT_PAGE_SIZE)
		return huge_next_data(slot, offset, end, most, length);
	return shmem_next_data(slot, offset, end, most, length, err);
}

int decant_memory_next_data(const struct decant_memory *memory, uint32_t index, uint64_t *offset, uint64_t end,
			    uint64_t *length, struct decant_error *err)
{
	return memory_next_data(memory, index, offset, end, UINT64_MAX, length, err);
}

void decant_memory_free(struct decant_memory *memory)
{
	if (memory == NULL)
		return;
	for (uint32_t i = 0; i < memory->count; i++) {
		const struct slot *slot = &memory->slots[i];

		if (!slot->owned)
			continue;
		munmap(slot->region.address, slot->region.length);
		close(slot->region.fd);
	}
	free(memory);
}

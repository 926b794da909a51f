/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_ram.c -- the shared memory of a running QEMU: found, mapped here too, and matched with the blocks of its migration stream
 *
 * Which of QEMU's mappings is which backend? In this order, and what one way has found is out of the question for the next:
 * 1. by the address, where the monitor tells it (QEMU 10.0 does, 7.2 does not);
 * 2. by the file: its path, or for a path that is a directory the name that QEMU gives the file there;
 * 3. by the length, where only one has it;
 * 4. by the order. Backends are made in the order of the command line, one after the other: each takes the next descriptor, and the next
 *    place downwards in the address space. Where these two agree they are believed, else nothing is: to mistake one node's memory for
 *    another's would be to migrate a wrong guest.
 */
#include "qemu/guest_ram.h"
#include "qemu/backends.h"
#include "qemu/process.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

struct guest_ram {
	uint32_t count;
	struct guest_ram_block block[DECANT_REGIONS_MAX];
};

/* While it is being found; by index of the backend. */
struct search {
	const struct process *process;
	const struct backends *backends;
	const struct process_mapping *mappings;
	uint32_t mapping_count;
	const struct process_mapping *found[DECANT_REGIONS_MAX];
};

static bool search_taken(const struct search *search, const struct process_mapping *mapping)
{
	for (uint32_t i = 0; i < search->backends->count; i++) {
		if (search->found[i] == mapping)
			return true;
	}
	return false;
}

static uint64_t guest_ram_round_up(uint64_t size, uint64_t page)
{
	return (size + page - 1) / page * page;
}

/* A mapping is as long as whole pages are; of which size they are shows when it is opened. */
static bool search_fits(const struct search *search, const struct backend *backend,
			const struct process_mapping *mapping)
{
	static const uint64_t pages[] = { DECANT_PAGE_SIZE, UINT64_C(2) << 20, UINT64_C(1) << 30 };

	if (!mapping->shared || search_taken(search, mapping))
		return false;
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (mapping->length == guest_ram_round_up(backend->size, pages[i]))
			return true;
	}
	return false;
}

/* The file that QEMU makes for @backend in a directory: "DIRECTORY/qemu_back_mem.ID.XXXXXX (deleted)", or as a memfd with its id. */
static bool search_has_name(const struct backend *backend, const char *path)
{
	char id[GUEST_RAM_NAME_MAX], name[GUEST_RAM_NAME_MAX + 32];
	const char *file = strrchr(path, '/');

	for (size_t i = 0; i < sizeof(id); i++)
		id[i] = (char)(backend->id[i] == '/' ? '_' : backend->id[i]);
	snprintf(name, sizeof(name), "/memfd:%s (deleted)", backend->id);
	if (strcmp(path, name) == 0)
		return strcmp(backend->type, "memory-backend-ram") == 0;
	snprintf(name, sizeof(name), "/qemu_back_mem.%s.", id);
	return backend->path[0] != '\0' && file != NULL && strncmp(file, name, strlen(name)) == 0 &&
	       strlen(file) <= strlen(name) + strlen("XXXXXX (deleted)");
}

static bool search_is_file(const struct search *search, const struct backend *backend,
			   const struct process_mapping *mapping)
{
	return search_has_name(backend, mapping->path) ||
	       (backend->path[0] != '\0' && process_maps_file(search->process, mapping, backend->path));
}

/* By address or by file; two mappings of one file, or of one name, are none. */
static void search_exactly(struct search *search, uint32_t index)
{
	const struct backend *backend = &search->backends->backend[index];
	const struct process_mapping *only = NULL;
	uint32_t count = 0;

	for (uint32_t i = 0; i < search->mapping_count; i++) {
		const struct process_mapping *mapping = &search->mappings[i];
		bool same = backend->there != 0 ? mapping->start == backend->there
						: search_is_file(search, backend, mapping);

		if (same && search_fits(search, backend, mapping)) {
			only = mapping;
			count++;
		}
	}
	if (count == 1)
		search->found[index] = only;
}

/* Is only its order left to tell where it is? */
static bool search_unnamed(const struct search *search, uint32_t index)
{
	const struct backend *backend = &search->backends->backend[index];

	return search->found[index] == NULL && backend->there == 0 && backend->path[0] == '\0';
}

/* Where @backend, of which only type and length are known, may lie. */
static bool search_is_nameless(const struct backend *backend, const struct process_mapping *mapping)
{
	bool memfd = strcmp(mapping->path, "/memfd:memory-backend-memfd (deleted)") == 0;
	bool anonymous = strcmp(mapping->path, "/dev/zero (deleted)") == 0;

	if (strcmp(backend->type, "memory-backend-memfd") == 0)
		return memfd;
	if (strcmp(backend->type, "memory-backend-ram") == 0)
		return anonymous;
	return memfd || anonymous || strncmp(mapping->path, "/dev/shm/", 9) == 0;
}

static int search_unlike(const struct backend *backend, uint32_t mappings, struct decant_error *err)
{
	if (mappings == 0)
		return decant_error_set(err, -EPROTO,
					"QEMU's memory: backend %s of %" PRIu64
					" bytes: QEMU has no such shared memory mapped",
					backend->id, backend->size);
	return decant_error_set(
		err, -ENOTUNIQ,
		"QEMU's memory: backend %s: nothing tells which of QEMU's mappings of %" PRIu64
		" bytes it is; give each backend a file of its own (memory-backend-file,mem-path=PATH), "
		"or use the monitor of a QEMU that tells it (--qmp; 10.0 does)",
		backend->id, backend->size);
}

/* The backends like @index, in the order in which they were made: their number, 0 if it is not known. */
static uint32_t search_alike(const struct search *search, uint32_t index, uint32_t alike[DECANT_REGIONS_MAX])
{
	const struct backend *like = &search->backends->backend[index];
	uint32_t count = 0;

	for (uint32_t i = 0; i < search->backends->count; i++) {
		const struct backend *backend = &search->backends->backend[i];
		uint32_t at = count;

		if (backend->size != like->size || strcmp(backend->type, like->type) != 0 ||
		    !search_unnamed(search, i))
			continue;
		for (; at > 0 && search->backends->backend[alike[at - 1]].order > backend->order; at--)
			alike[at] = alike[at - 1];
		alike[at] = i;
		count++;
	}
	return count;
}

/* The mappings that @backend could be, by descriptor; more than there is room for are counted. */
static uint32_t search_candidates(const struct search *search, const struct backend *backend,
				  const struct process_mapping *candidates[DECANT_REGIONS_MAX])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < search->mapping_count; i++) {
		const struct process_mapping *mapping = &search->mappings[i];
		uint32_t at = count < DECANT_REGIONS_MAX ? count : 0;

		if (!search_is_nameless(backend, mapping) || !search_fits(search, backend, mapping))
			continue;
		for (; at > 0 && candidates[at - 1]->descriptor > mapping->descriptor; at--)
			candidates[at] = candidates[at - 1];
		if (count < DECANT_REGIONS_MAX)
			candidates[at] = mapping;
		count++;
	}
	return count;
}

/* Are these in an order: each with a known place in it, and the memories one below the other? */
static bool search_in_order(const struct search *search, const uint32_t *alike,
			    const struct process_mapping *const *candidates, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		if (search->backends->backend[alike[i]].order < 0 || candidates[i]->descriptor < 0)
			return false;
		if (i > 0 &&
		    (search->backends->backend[alike[i]].order == search->backends->backend[alike[i - 1]].order ||
		     candidates[i]->descriptor == candidates[i - 1]->descriptor ||
		     candidates[i]->start > candidates[i - 1]->start))
			return false;
	}
	return true;
}

/* All that are like @index, at once. */
static int search_by_order(struct search *search, uint32_t index, struct decant_error *err)
{
	const struct backend *backend = &search->backends->backend[index];
	const struct process_mapping *candidates[DECANT_REGIONS_MAX];
	uint32_t alike[DECANT_REGIONS_MAX];
	uint32_t mappings = search_candidates(search, backend, candidates);
	uint32_t backends = search_alike(search, index, alike);

	if (backends == 0 || backends != mappings ||
	    (backends > 1 && !search_in_order(search, alike, candidates, backends)))
		return search_unlike(backend, mappings, err);
	for (uint32_t i = 0; i < backends; i++)
		search->found[alike[i]] = candidates[i];
	return 0;
}

static int search_private(const struct backend *backend, struct decant_error *err)
{
	if (strcmp(backend->type, "memory-backend-memfd") == 0 ||
	    strcmp(backend->type, "memory-backend-file") == 0)
		return decant_error_set(
			err, -ENOTSUP,
			"QEMU's memory: backend %s is private, not shared; add share=on to its -object "
			"(libvirt: <access mode='shared'/> in <memoryBacking>)",
			backend->id);
	return decant_error_set(err, -ENOTSUP, "QEMU's memory: %s is private, not shared; " BACKENDS_ADVICE,
				backend->id);
}

static int search_all(struct search *search, struct decant_error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < search->backends->count; i++) {
		if (!search->backends->backend[i].shared)
			return search_private(&search->backends->backend[i], err);
		search_exactly(search, i);
	}
	for (uint32_t i = 0; ret == 0 && i < search->backends->count; i++) {
		if (search->found[i] == NULL)
			ret = search_by_order(search, i, err);
	}
	return ret;
}

static int guest_ram_page_size(int fd, uint64_t *page_size)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return -errno;
	*page_size = fs.f_type == HUGETLBFS_MAGIC ? (uint64_t)fs.f_bsize : DECANT_PAGE_SIZE;
	return 0;
}

/*
 * Not reserved: QEMU's mapping has done so where huge pages need it. In no core dump, and no child has it.
 */
static int guest_ram_map(struct guest_ram_block *block, struct decant_error *err)
{
	void *address = mmap(NULL, block->length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, block->fd,
			     (off_t)block->fd_offset);

	if (address == MAP_FAILED)
		return decant_error_set(err, -errno, "QEMU's memory: backend %s: mmap of %" PRIu64 " bytes: %s",
					block->name, block->length, strerror(errno));
	block->address = address;
	madvise(address, block->length, MADV_DONTDUMP);
	madvise(address, block->length, MADV_DONTFORK);
	return 0;
}

/* @ram has the block in any case: what was opened of it is closed with it. */
static int guest_ram_add(struct guest_ram *ram, const struct process *process, const struct backend *backend,
			 const struct process_mapping *mapping, struct decant_error *err)
{
	struct guest_ram_block *block = &ram->block[ram->count];
	int fd = process_open_memory(process, mapping, err);
	int ret;

	if (fd < 0)
		return fd;
	*block = (struct guest_ram_block){
		.length = guest_ram_round_up(backend->size, DECANT_PAGE_SIZE),
		.fd = fd,
		.fd_offset = mapping->offset,
		.there = mapping->start,
	};
	memcpy(block->name, backend->id, sizeof(block->name));
	ram->count++;
	ret = guest_ram_page_size(fd, &block->page_size);
	if (ret < 0)
		return decant_error_set(err, ret, "QEMU's memory: backend %s: statfs: %s", block->name,
					strerror(-ret));
	if (mapping->length != guest_ram_round_up(backend->size, block->page_size))
		return search_unlike(backend, 0, err);
	return guest_ram_map(block, err);
}

static int guest_ram_search(struct guest_ram *ram, const struct process *process, const struct backends *backends,
			    struct decant_error *err)
{
	struct search search = { .process = process, .backends = backends };
	int ret;

	search.mappings = process_mappings(process, &search.mapping_count);
	if (backends->count == 0)
		return decant_error_set(err, -ENOTSUP,
					"QEMU's memory: it has no memory backend; " BACKENDS_ADVICE);
	ret = search_all(&search, err);
	for (uint32_t i = 0; ret == 0 && i < backends->count; i++)
		ret = guest_ram_add(ram, process, &backends->backend[i], search.found[i], err);
	return ret;
}

int guest_ram_find(pid_t pid, struct qmp *qmp, const char *proc, struct guest_ram **ram_ptr,
		   struct decant_error *err)
{
	struct guest_ram *ram = calloc(1, sizeof(*ram));
	struct backends *backends = calloc(1, sizeof(*backends));
	struct process *process = NULL;
	int ret = ram != NULL && backends != NULL
			  ? process_open(pid, proc, &process, err)
			  : decant_error_set(err, -ENOMEM, "QEMU's memory: no memory to look");

	if (ret == 0)
		ret = qmp != NULL ? backends_of_qmp(qmp, process, backends, err)
				  : backends_of_process(process, backends, err);
	if (ret == 0)
		ret = guest_ram_search(ram, process, backends, err);
	process_free(process);
	free(backends);
	if (ret < 0)
		guest_ram_free(ram);
	else
		*ram_ptr = ram;
	return ret;
}

uint32_t guest_ram_count(const struct guest_ram *ram)
{
	return ram->count;
}

const struct guest_ram_block *guest_ram_block(const struct guest_ram *ram, uint32_t index)
{
	return index < ram->count ? &ram->block[index] : NULL;
}

uint64_t guest_ram_bytes(const struct guest_ram *ram)
{
	uint64_t bytes = 0;

	for (uint32_t i = 0; i < ram->count; i++)
		bytes += ram->block[i].length;
	return bytes;
}

/* The stream has the id, behind the path of its object or of the device that it is plugged into. */
static bool guest_ram_is_block(const struct guest_ram_block *block, const char *idstr)
{
	size_t whole = strlen(idstr), own = strlen(block->name);

	return whole >= own && strcmp(idstr + (whole - own), block->name) == 0 &&
	       (whole == own || idstr[whole - own - 1] == '/');
}

/* Index of the memory of @wanted, -1: none. Of "a" and "x/a" the longer name is meant. */
static int guest_ram_index(const struct guest_ram *ram, const struct guest_ram_wanted *wanted)
{
	int index = -1;

	for (uint32_t i = 0; i < ram->count; i++) {
		if (guest_ram_is_block(&ram->block[i], wanted->idstr) &&
		    (index < 0 || strlen(ram->block[i].name) > strlen(ram->block[index].name)))
			index = (int)i;
	}
	return index;
}

/* A name that fits: of a long one the end, which is what differs. */
static void guest_ram_region(const struct guest_ram_block *block, uint32_t index, uint64_t guest_address,
			     struct decant_region *region)
{
	size_t length = strlen(block->name);
	uint64_t page = block->page_size;

	*region = (struct decant_region)DECANT_REGION_INIT;
	if (length < sizeof(region->name))
		memcpy(region->name, block->name, length);
	else
		snprintf(region->name, sizeof(region->name), "%u:%s", index, block->name + length - 26);
	region->address = block->address;
	region->length = block->length;
	region->page_size = page;
	region->guest_address = (guest_address + page - 1) / page * page;
	region->fd = block->fd;
	region->fd_offset = block->fd_offset;
}

static int guest_ram_match_one(const struct guest_ram *ram, struct guest_ram_wanted *wanted, bool *used,
			       struct decant_memory *memory, uint64_t *guest_address, struct decant_error *err)
{
	int index = guest_ram_index(ram, wanted);
	const struct guest_ram_block *block = &ram->block[index >= 0 ? index : 0];
	struct decant_region region;

	wanted->region = -1;
	if (index < 0)
		return 0;
	if (block->length != wanted->length)
		return decant_error_set(err, -EPROTO,
					"block %s of the migration has %" PRIu64
					" bytes, but QEMU's memory backend %s "
					"has %" PRIu64,
					wanted->idstr, wanted->length, block->name, block->length);
	if (used[index])
		return decant_error_set(err, -EPROTO,
					"block %s of the migration: another one is backend %s already",
					wanted->idstr, block->name);
	used[index] = true;
	guest_ram_region(block, decant_memory_count(memory), *guest_address, &region);
	*guest_address = region.guest_address + region.length;
	wanted->region = decant_memory_add(memory, &region, err);
	return wanted->region < 0 ? wanted->region : 0;
}

int guest_ram_match(const struct guest_ram *ram, struct guest_ram_wanted *list, uint32_t count,
		    struct decant_memory **memory_ptr, struct decant_error *err)
{
	bool used[DECANT_REGIONS_MAX] = { false };
	struct decant_memory *memory;
	uint64_t guest_address = 0;
	int ret = decant_memory_new(&memory, err);

	if (ret < 0)
		return ret;
	for (uint32_t i = 0; ret == 0 && i < count; i++)
		ret = guest_ram_match_one(ram, &list[i], used, memory, &guest_address, err);
	if (ret == 0 && decant_memory_count(memory) == 0)
		ret = decant_error_set(err, -ENOENT,
				       "no block of the migration lies in shared memory of QEMU; " BACKENDS_ADVICE);
	if (ret < 0)
		decant_memory_free(memory);
	else
		*memory_ptr = memory;
	return ret;
}

void guest_ram_free(struct guest_ram *ram)
{
	if (ram == NULL)
		return;
	for (uint32_t i = 0; i < ram->count; i++) {
		if (ram->block[i].address != NULL)
			munmap(ram->block[i].address, ram->block[i].length);
		close(ram->block[i].fd);
	}
	free(ram);
}

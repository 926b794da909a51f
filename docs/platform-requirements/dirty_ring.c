/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty_ring.c -- one entry per page until KVM_RESET_DIRTY_RINGS
 *
 * Relied upon: a write after KVM_RESET_DIRTY_RINGS makes a new entry, so the reset must come before the page is
 * read; entries come in order, DIRTY when they can be read and 0 after the reset; without the reset the page may
 * be written without an entry.
 *
 * It prints whether this KVM makes an entry for every write: one that emulates its guests does, and it may then
 * run past the entries that are kept in reserve before it looks at the ring again.
 */
#include "machine.h"

#define ENTRIES 4096u
#define TIMES 16u

static struct kvm_dirty_gfn *ring;
static uint32_t next;

/* Takes all entries; how many of them are of @page. */
static uint32_t take(uint32_t page, uint32_t *all)
{
	uint32_t found = 0;

	*all = 0;
	while (__atomic_load_n(&ring[next].flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY) {
		found += ring[next].slot == 0 && ring[next].offset == page;
		__atomic_store_n(&ring[next].flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
		next = (next + 1) % ENTRIES;
		(*all)++;
	}
	return found;
}

int main(void)
{
	struct kvm_enable_cap enable = { .cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL,
					 .args[0] = ENTRIES * sizeof(*ring) };
	const uint32_t page = 100, other = 200;
	uint32_t all, first;
	struct machine m;

	machine_new(&m);
	if (ioctl(m.vm_fd, KVM_CHECK_EXTENSION, enable.cap) < (int)enable.args[0])
		skip("no KVM_CAP_DIRTY_LOG_RING_ACQ_REL");
	must(ioctl(m.vm_fd, KVM_ENABLE_CAP, &enable) == 0);
	machine_slot(&m, KVM_MEM_LOG_DIRTY_PAGES);
	machine_vcpu(&m);
	ring = mmap(NULL, enable.args[0], PROT_READ | PROT_WRITE, MAP_SHARED, m.vcpu_fd,
		    (off_t)KVM_DIRTY_LOG_PAGE_OFFSET * PAGE);
	must(ring != MAP_FAILED);

	for (uint32_t i = 0; i < TIMES; i++)
		machine_write(&m, page, other);
	first = take(page, &all);
	must(first >= 1 && all >= 2);
	must(ioctl(m.vm_fd, KVM_RESET_DIRTY_RINGS, 0ul) == (int)all);
	must(ring[next == 0 ? ENTRIES - 1 : next - 1].flags == 0);
	must(take(page, &all) == 0 && all == 0);

	machine_write(&m, page, page);
	must(take(page, &all) >= 1);
	must(ioctl(m.vm_fd, KVM_RESET_DIRTY_RINGS, 0ul) == (int)all);
	printf("dirty ring: a write after the reset makes an entry; this KVM makes one %s\n",
	       first == 1 ? "per page" : "per write, so the ring may be run over");
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * dirty_log.c -- KVM_GET_DIRTY_LOG and KVM_CLEAR_DIRTY_LOG with manual protection and initially-all-set
 *
 * Relied upon: all pages are reported until cleared; KVM_GET_DIRTY_LOG alone clears nothing; after
 * KVM_CLEAR_DIRTY_LOG of a page, one that has no memory behind it (a hole) included, the next write sets its
 * bit; and SEEK_DATA finds what a guest has written into a hole. So "clear, then look whether it is a hole"
 * misses nothing.
 */
#include "machine.h"

static uint64_t map[PAGES / 64];

static void get(struct machine *m)
{
	struct kvm_dirty_log log = { .dirty_bitmap = map };

	must(ioctl(m->vm_fd, KVM_GET_DIRTY_LOG, &log) == 0);
}

static void clear_all(struct machine *m)
{
	static uint64_t all[PAGES / 64];
	struct kvm_clear_dirty_log clear = { .num_pages = PAGES, .dirty_bitmap = all };

	memset(all, 0xff, sizeof(all));
	must(ioctl(m->vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) == 0);
}

static bool is_hole(const struct machine *m, uint32_t page)
{
	return lseek(m->memory_fd, (off_t)page * PAGE, SEEK_DATA) != (off_t)page * PAGE;
}

int main(void)
{
	struct kvm_enable_cap enable = { .cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 };
	const uint64_t wanted = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET;
	const uint32_t hole = 100, other = 101, untouched = 300;
	struct machine m;

	machine_new(&m);
	enable.args[0] = (uint64_t)ioctl(m.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);
	if ((enable.args[0] & wanted) != wanted)
		skip("no KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2 with initially-all-set");
	must(ioctl(m.vm_fd, KVM_ENABLE_CAP, &enable) == 0);
	machine_slot(&m, 0);
	machine_vcpu(&m);
	machine_slot(&m, KVM_MEM_LOG_DIRTY_PAGES);

	get(&m);
	must(bit(map, hole) && bit(map, untouched));
	clear_all(&m);
	get(&m);
	must(!bit(map, hole) && !bit(map, untouched));

	must(is_hole(&m, hole));
	machine_write(&m, hole, other);
	must(!is_hole(&m, hole) && !is_hole(&m, other) && is_hole(&m, untouched));
	for (int i = 0; i < 2; i++) {
		get(&m);
		must(bit(map, hole) && bit(map, other) && !bit(map, untouched));
	}

	clear_all(&m);
	get(&m);
	must(!bit(map, hole) && !bit(map, other));
	machine_write(&m, other, other);
	get(&m);
	must(!bit(map, hole) && bit(map, other));
	printf("dirty log: all set at first, set again by a write after a clear, holes too\n");
	return 0;
}

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * guest_ram.h -- the shared memory of a running QEMU: found, mapped here too, and matched with the blocks of its migration stream
 *
 *   guest_ram_find()     which memory backends QEMU has, and which of its mappings is which
 *   guest_ram_match()    the stream's block list: which blocks lie in that memory, as a struct decant_memory
 *
 * With a monitor QEMU itself says what it has; without one (libvirt keeps it) its command line does. Both ways /proc/PID has the mappings,
 * and their files. That needs what ptrace(2) needs: root, or the same user and CAP_SYS_PTRACE.
 */
#ifndef QEMU_GUEST_RAM_H
#define QEMU_GUEST_RAM_H

#include <decant/error.h>
#include <decant/memory.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct qmp;
struct guest_ram;

#define GUEST_RAM_NAME_MAX 256 /* with terminator: the stream has one byte for the length */

/* One memory backend that QEMU and this process share. */
struct guest_ram_block {
	char name[GUEST_RAM_NAME_MAX]; /* its id; in the stream also "/objects/ID" or "DEVICE/ID" */
	uint64_t length;               /* bytes */
	uint64_t page_size;            /* 4 KiB, or that of its huge pages */
	void *address;                 /* here, readable and writable */
	int fd;                        /* of the memory */
	uint64_t fd_offset;            /* where it begins in @fd */
	uint64_t there;                /* where QEMU has mapped it */
};

/*
 * guest_ram_find() -- find and map the memory of process @pid; nothing of it is touched
 *
 * @qmp: its monitor, NULL: go by its command line. @proc: where proc(5) is, NULL: "/proc".
 *
 * Returns 0, or says what to change:
 * -ENOTSUP: QEMU has memory that is not shared, or it has none that is; -ENOTUNIQ: several backends cannot be told apart;
 * -ESRCH: no such process, or it is no QEMU; -EACCES: may not look into it; -EPROTO: what it says makes no sense; -ENOMEM; QMP's.
 */
int guest_ram_find(pid_t pid, struct qmp *qmp, const char *proc, struct guest_ram **ram, struct decant_error *err);

uint32_t guest_ram_count(const struct guest_ram *ram);
const struct guest_ram_block *guest_ram_block(const struct guest_ram *ram, uint32_t index);

/* guest_ram_bytes() -- the sum of all lengths */
uint64_t guest_ram_bytes(const struct guest_ram *ram);

/* One block of the stream's list. */
struct guest_ram_wanted {
	const char *idstr;
	uint64_t length;
	int region; /* set by guest_ram_match(): its index in the memory; -1: not shared, its pages pass in the stream */
};

/*
 * guest_ram_match() -- which blocks of the stream lie in this memory
 *
 * *@memory has one region for each that does, in the order of the list, so both ends make the same one from the same list; mapping and
 * descriptor stay @ram's. Guest addresses are made up: one region after the other. Memory that is in no block is left out.
 *
 * Returns 0; -ENOENT: none lies in it; -EPROTO: a block has another length than its memory, or two have the same memory; -ENOSPC.
 */
int guest_ram_match(const struct guest_ram *ram, struct guest_ram_wanted *list, uint32_t count,
		    struct decant_memory **memory, struct decant_error *err);

/* guest_ram_free() -- unmap and close; no struct decant_memory made of it may be in use; NULL is fine */
void guest_ram_free(struct guest_ram *ram);

#endif

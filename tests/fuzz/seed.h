/* SPDX-License-Identifier: BSD-2-Clause */
/* seed.h -- the parts of the program that writes the fuzz targets' seeds */
#ifndef FUZZ_SEED_H
#define FUZZ_SEED_H

#include <stddef.h>

/* seed_write() -- one file of a target's corpus, below the folder that main() was told */
int seed_write(const char *target, const char *name, const void *bytes, size_t length);

/* seed_vm.c: fuzz_kvm, with the fake KVM's shape and state */
int seed_kvm(void);
/* seed_session.c: fuzz_session, with whole sessions and parts of them */
int seed_sessions(void);
/* seed_qemu.c: fuzz_qemu_stream and fuzz_qemu_multifd */
int seed_qemu(void);

#endif

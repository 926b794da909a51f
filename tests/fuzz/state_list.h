/* SPDX-License-Identifier: BSD-2-Clause */
/* state_list.h -- lists of state records whose checksums a mutation has made wrong */
#ifndef FUZZ_STATE_LIST_H
#define FUZZ_STATE_LIST_H

#include <stddef.h>
#include <stdint.h>

/* state_list_mend() -- put the checksums right, as far as the frames lead through the list */
void state_list_mend(uint8_t *bytes, size_t length);

#endif

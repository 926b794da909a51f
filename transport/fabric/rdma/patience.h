/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * patience.h -- how long to look at completion queues before sleeping on them
 *
 * To arm the queues, to sleep and to be woken takes some tens of microseconds of a core. Where completions come sooner than that
 * (scattered pages, short lists) it is cheaper to go on looking, and the device is given its next work in time; where they take
 * longer (long lists, a slow network), to look is to take a core from the guests. The last waits tell which it is.
 *
 * A device that is software does its work on these very cores: there nobody looks.
 */
#ifndef FABRIC_RDMA_PATIENCE_H
#define FABRIC_RDMA_PATIENCE_H

#include <stdbool.h>
#include <stdint.h>

struct patience {
	bool never;
	uint64_t usual_ns; /* of the last waits, the latest for a quarter */
};

/* patience_look_ns() -- so long the next wait looks before it sleeps; 0: not at all */
uint64_t patience_look_ns(const struct patience *patience);

/* patience_waited() -- a wait has taken @ns, whatever ended it */
void patience_waited(struct patience *patience, uint64_t ns);

#endif

/* SPDX-License-Identifier: BSD-2-Clause */
/* machine_shape.h -- what two equal machines have in common, as the record "vmm.shape" (JSON) */
#ifndef VMM_MACHINE_SHAPE_H
#define VMM_MACHINE_SHAPE_H

#include "vmm/machine.h"

#include <decant/state.h>

int machine_shape_save(const struct machine_config *config, struct decant_state_writer *shape,
		       struct decant_error *err);

/* machine_shape_load() -- from the peer: -EPROTO with the field that is wrong, or -ENOENT */
int machine_shape_load(struct machine_config *config, struct decant_state_reader *shape, struct decant_error *err);

#endif

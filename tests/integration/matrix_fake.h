/* SPDX-License-Identifier: BSD-2-Clause */
/* matrix_fake.h -- what a cell does to the RDMA device in the process, where there is one: matrix_fake.c, or matrix_real.c */
#ifndef INTEGRATION_MATRIX_FAKE_H
#define INTEGRATION_MATRIX_FAKE_H

#include <stdbool.h>

/* matrix_fake_prepare() -- before anything is counted: what the device starts is for as long as the process lives */
void matrix_fake_prepare(void);

/* matrix_fake_begin() -- new devices; @deaf: nobody can listen on them */
void matrix_fake_begin(bool deaf);

/* matrix_fake_cut() -- nothing passes between them, or does again */
void matrix_fake_cut(bool cut);

/* matrix_fake_break() -- the connections that there are break at their next use */
void matrix_fake_break(void);

#endif

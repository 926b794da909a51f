# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/migration/limit.c \
	transport/migration/memory.c \
	transport/migration/pagehash.c \
	transport/migration/populate.c \
	transport/migration/zero.c

# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/api/decant.c \
	transport/api/rdma.c

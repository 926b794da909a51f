# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/fabric/loop/copy.c \
	transport/fabric/loop/link.c \
	transport/fabric/loop/loop.c \
	transport/fabric/loop/loop_sink.c \
	transport/fabric/loop/loop_source.c \
	transport/fabric/loop/plan.c

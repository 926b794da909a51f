# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/fabric/exposure.c \
	transport/fabric/registry.c \
	transport/fabric/window.c

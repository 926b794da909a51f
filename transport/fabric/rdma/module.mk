# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/fabric/rdma/channel.c \
	transport/fabric/rdma/choice.c \
	transport/fabric/rdma/cm.c \
	transport/fabric/rdma/diagnose.c \
	transport/fabric/rdma/hello.c \
	transport/fabric/rdma/keys.c \
	transport/fabric/rdma/limits.c \
	transport/fabric/rdma/pair.c \
	transport/fabric/rdma/patience.c \
	transport/fabric/rdma/rail.c \
	transport/fabric/rdma/rdma.c \
	transport/fabric/rdma/rdma_sink.c \
	transport/fabric/rdma/rdma_source.c \
	transport/fabric/rdma/sysfs.c \
	transport/fabric/rdma/verbs.c

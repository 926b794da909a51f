# SPDX-License-Identifier: BSD-2-Clause
libdecant_srcs += \
	transport/fabric/tcp/acceptor.c \
	transport/fabric/tcp/frame.c \
	transport/fabric/tcp/receiver.c \
	transport/fabric/tcp/sender.c \
	transport/fabric/tcp/tcp.c \
	transport/fabric/tcp/tcp_sink.c \
	transport/fabric/tcp/tcp_source.c \
	transport/fabric/tcp/zerocopy.c

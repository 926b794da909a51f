libdecant_srcs += \
	transport/util/address.c \
	transport/util/bitmap.c \
	transport/util/clock.c \
	transport/util/cpus.c \
	transport/util/error.c \
	transport/util/fault.c \
	transport/util/io.c \
	transport/util/log.c \
	transport/util/placement.c \
	transport/util/resolve.c \
	transport/util/seldom.c \
	transport/util/size.c \
	transport/util/thread.c \
	transport/util/topology.c

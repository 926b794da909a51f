# SPDX-License-Identifier: BSD-2-Clause
# The harness: one small driver; bench.py has the table of scenarios, and the reporter is in report.py.
bench_srcs += \
	perf/driver.c \
	perf/point_bitmap.c \
	perf/point_fabric.c \
	perf/point_memcpy.c \
	perf/point_socket.c \
	perf/quiet.c

# The observer, which times a migration from outside.
observe_srcs += \
	perf/observe.c \
	perf/observe_cpu.c \
	perf/observe_memory.c \
	perf/observe_peer.c

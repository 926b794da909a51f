# SPDX-License-Identifier: BSD-2-Clause
# The harness: one small driver; bench.py has the table of scenarios, and the reporter is in report.py.
bench_srcs += \
	perf/driver.c \
	perf/idle.c \
	perf/point.c \
	perf/point_begin.c \
	perf/point_bitmap.c \
	perf/point_fabric.c \
	perf/point_footprint.c \
	perf/point_memcpy.c \
	perf/point_socket.c \
	perf/quiet.c

# The observer, which times a migration from outside.
observe_srcs += \
	perf/observe.c \
	perf/observe_cpu.c \
	perf/observe_memory.c \
	perf/observe_peer.c

bench_programs := $(O)/perf/decant-point $(O)/perf/decant-observe
# what decant-perf needs where it is installed
perf_modules := \
	perf/figures.py \
	perf/guests.py \
	perf/machine.py \
	perf/measures.py \
	perf/moves.py \
	perf/observer.py \
	perf/page.py \
	perf/places.py \
	perf/plots.py \
	perf/qemu.py \
	perf/report.py \
	perf/sweep.py \
	perf/sweeps.py \
	perf/vms.py

# One migration over the tests' own RDMA device, which counts what it is given.
counted_srcs := \
	$(fake_verbs_srcs) \
	perf/counted.c \
	perf/idle.c \
	perf/point.c \
	perf/point_fabric.c \
	perf/quiet.c

# SPDX-License-Identifier: BSD-2-Clause
script_tests += \
	tests/perf/perf_moves.py \
	tests/perf/perf_observer.py \
	tests/perf/perf_report.py \
	tests/perf/perf_sweep.py
perf_sweep_timeout := 300

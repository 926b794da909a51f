# SPDX-License-Identifier: BSD-2-Clause
# rules.mk -- the driver of the harness, and the benches themselves
bench_driver := $(O)/perf/decant-point
bench_observer := $(O)/perf/decant-observe
bench_counted := $(O)/perf/decant-counted

$(bench_counted): PKG_LIBS = $(call ask_pkg,--libs $(filter-out $(fake_verbs_packages),$(packages)))
$(bench_counted): $(call obj,$(counted_srcs))
$(bench_driver): $(call obj,$(bench_srcs))
$(bench_driver) $(bench_counted): $(static_libs)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link)
$(bench_observer): $(call obj,$(observe_srcs)) $(O)/libdecant.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link)

run_bench = $(PYTHON) perf/bench.py --build $(O)
.PHONY: bench-driver bench bench-quick
bench-driver: $(bench_driver) $(bench_observer) $(bench_counted)
bench: ## measure what decant reaches against what carries it: BENCH='--only NAME --runs N --memory SIZE'
	@tools/deps.sh build bench vm
	+@$(MAKE) --no-print-directory O=$(O) all bench-driver
	@$(run_bench) $(BENCH)
bench-quick: ## the lines of it that need no VM, three rounds; under five minutes
	@tools/deps.sh build bench
	+@$(MAKE) --no-print-directory O=$(O) all bench-driver
	@$(run_bench) --native --runs 3 $(BENCH)

# SPDX-License-Identifier: BSD-2-Clause
# rules.mk -- test programs, the suites that run them, and the checks of the source itself
#
# Lists which the module.mk files below tests/ extend (docs/testing.md explains each):
#   unit_tests, integration_tests   program names; <name>_srcs names the sources
#   rdma_tests                      the same for suite rdma: programs that need an RDMA rail, which make integration leaves to the VM
#   script_tests                    paths of executable scripts
#   test_tools                      program names, in $(O)/tests/tools: what scripts use
#   asan_scripts                    paths of those that group asan of make check runs
#   rdma_kvm_scripts, hosts_scripts  the same for VMs: with RDMA and a KVM for its guests, or two of them on one network
#   fuzz_targets                    program names with LLVMFuzzerTestOneInput; corpus in tests/fuzz/corpus/<name>
#   heavy_tests                     names that must run alone
#   no_sanitize_tests, no_tsan_tests  names left out under all sanitizers, or under TSan
#   vm_tests                        names that make check runs once more in the VM of tests/vm/run, whose KVM can do more or less
#   <name>_timeout                  seconds, 120 unless told
#   <name>_without                  packages of the Makefile that it is not linked with
#   <name>_objs                     objects made by a rule: $(lib_calls_obj) is the library with its calls of libc renamed
#   <name>_args                     arguments

test_libs := $(static_libs)

define test_program # 1: name, 2: unit or integration
test_objs += $(call obj,$($(1)_srcs))
$(O)/tests/$(2)/$(1): $(call obj,$($(1)_srcs)) $($(1)_objs) $(test_libs)
$(if $($(1)_without),$(O)/tests/$(2)/$(1): PKG_LIBS = $$(call ask_pkg,--libs $(filter-out $($(1)_without),$(packages))))
endef
$(foreach t,$(unit_tests),$(eval $(call test_program,$(t),unit)))
$(foreach t,$(integration_tests),$(eval $(call test_program,$(t),integration)))
$(foreach t,$(rdma_tests),$(eval $(call test_program,$(t),rdma)))
$(foreach t,$(test_tools),$(eval $(call test_program,$(t),tools)))
$(foreach t,$(fuzz_targets),$(eval $(call test_program,$(t),fuzz)))

# The library as one object that calls lib_socket() and not socket(), and so on for all that support/lib_calls_private.h declares.
OBJCOPY ?= objcopy
lib_calls_header := tests/support/lib_calls_private.h
$(lib_calls_obj): $(call obj,$(libdecant_srcs)) $(lib_calls_header)
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -r -nostdlib -o $@.whole $(filter %.o,$^) && \
		sed -n 's/^[a-zA-Z].*[ *]lib_\([a-z0-9_]*\)(.*/\1 lib_\1/p' $(lib_calls_header) > $@.names && \
		$(OBJCOPY) --redefine-syms=$@.names $@.whole $@

unit_programs := $(addprefix $(O)/tests/unit/,$(unit_tests))
integration_programs := $(addprefix $(O)/tests/integration/,$(integration_tests))
rdma_programs := $(addprefix $(O)/tests/rdma/,$(rdma_tests))
fuzz_programs := $(addprefix $(O)/tests/fuzz/,$(fuzz_targets))
tool_programs := $(addprefix $(O)/tests/tools/,$(test_tools))

$(unit_programs) $(integration_programs) $(rdma_programs) $(tool_programs):
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) $(TEST_LIBS)
$(fuzz_programs):
	@mkdir -p $(@D)
	$(call say,LD,$@)$(link) -fsanitize=fuzzer

# What run-tests.py needs to know of each test: name|suite|timeout|flags|command
list_line = $(1)|$(2)|$(or $($(1)_timeout),120)|$(if $(filter $(1),$(heavy_tests)),heavy) $(if $(filter \
	$(1),$(no_sanitize_tests)),no-sanitize) $(if $(filter $(1),$(no_tsan_tests)),no-tsan) $(if $(filter $(1),$(vm_tests)),vm)|$(3) $($(1)_args)
list_text = $(foreach t,$(unit_tests),$(call list_line,$(t),unit,$(O)/tests/unit/$(t))\n)$(foreach \
	t,$(integration_tests),$(call list_line,$(t),integration,$(O)/tests/integration/$(t))\n)$(foreach \
	t,$(rdma_tests),$(call list_line,$(t),rdma,$(O)/tests/rdma/$(t))\n)$(foreach \
	s,$(rdma_kvm_scripts),$(call list_line,$(basename $(notdir $(s))),rdma-kvm,$(s))\n)$(foreach \
	s,$(hosts_scripts),$(call list_line,$(basename $(notdir $(s))),hosts,$(s))\n)$(foreach \
	s,$(script_tests),$(call list_line,$(basename $(notdir $(s))),script,$(s))\n)$(foreach \
	s,$(libvirt_tests),$(call list_line,$(basename $(notdir $(s))),libvirt,$(s))\n)$(foreach \
	s,$(qemu_hosts_scripts),$(call list_line,$(basename $(notdir $(s))),qemu-hosts,$(s))\n)$(foreach \
	s,$(asan_scripts),$(call list_line,$(basename $(notdir $(s))),asan-script,$(s))\n)
$(O)/tests/list: FORCE
	@mkdir -p $(@D)
	@printf '$(subst \n ,\n,$(list_text))' > $@

.PHONY: tests
tests: $(unit_programs) $(integration_programs) $(rdma_programs) $(tool_programs) $(O)/tests/list ## build the test programs

run_tests = $(PYTHON) tests/run-tests.py --list $(O)/tests/list --build $(O) --san '$(SAN)' $(TEST_FLAGS)
.PHONY: unit integration scripts asan-scripts rdma
unit: $(unit_programs) $(O)/tests/list ## run the unit tests
	$(run_tests) --suite unit
integration: all $(integration_programs) $(O)/tests/list ## run the integration tests
	$(run_tests) --suite integration
rdma: all $(rdma_programs) $(O)/tests/list ## run the tests over RDMA, on a machine with a rail (else tests/vm/run --rdma -- make rdma)
	$(run_tests) --suite rdma
scripts: all $(tool_programs) $(O)/tests/list ## run the tests that are scripts: the command line, the libraries as installed
	$(run_tests) --suite script
asan-scripts: all $(O)/tests/list
	$(run_tests) --suite asan-script

# ---- the source itself ----
.PHONY: lint check-layers check-format check-cppcheck check-tidy check-model reformat
lint: check-layers check-format check-cppcheck check-tidy ## all checks of the source that run nothing
check-layers: ## every #include against the order of the layers
	tools/lint.sh layers
check-format check-cppcheck check-tidy:
	tools/lint.sh $(@:check-%=%)
check-model: ## every order of events of the hand-over, and that each rule of it is needed
	$(PYTHON) tools/check-model.py --build $(O)
reformat: ## lay the source out as .clang-format says
	tools/lint.sh reformat

# ---- suites of suites: they call make again, each with a build folder and flags of its own ----
.PHONY: deps check check-hosts check-long fuzz fuzz-long demo demo-rdma demo-qemu
deps:
	@tools/deps.sh build
fuzz: $(fuzz_programs) ## build the fuzz targets (CC=clang SAN=fuzzer-no-link,address,undefined)
check: ## all that must hold before a change is taken; 20 minutes on 2 cores
	@tools/deps.sh build check vm
	+@$(PYTHON) tests/check.py --build $(O) --make '$(MAKE)'
check-hosts: ## hosts as sites have them: libvirt with the sidecars, and a Linux guest in QEMU between two VMs over RDMA; ten minutes
	@tools/deps.sh build check vm libvirt
	+@$(MAKE) --no-print-directory O=$(O) all tests
	@$(run_tests) --suite libvirt
	@DECANT_VM_CACHE=$(abspath $(O)) tests/vm/run --build $(O) --rdma --hosts 2 --rails 2 --cpus 1 --memory 1500M --timeout 550 --share $(abspath $(O)) -- \
		$(PYTHON) tests/run-tests.py --list $(abspath $(O))/tests/list --build $(abspath $(O)) --suite qemu-hosts
fuzz-long: ## fuzz each target for FUZZ_SECONDS, or two hours; what is found stays in build/check/fuzz for the next run
	+@$(PYTHON) tests/check.py --build $(O) --make '$(MAKE)' --group fuzz --fuzz-seconds $(or $(FUZZ_SECONDS),7200)
check-long: ## the repetitions of tests/long.list; 90 minutes, goes on where it was stopped
	@tools/deps.sh build check vm libvirt
	+@$(MAKE) --no-print-directory O=$(O) all tests
	@[ -n "$$DECANT_QEMU" ] || perf/fetch-qemu $(O)/qemu
	+@$(PYTHON) tests/check-long.py --build $(O)
demo: ## migrate a running guest on this machine: FABRIC=tcp|loop MEMORY=1G WSS=40M
	@tools/deps.sh build
	+@$(MAKE) --no-print-directory O=$(O) all
	@tools/demo.sh --build $(O) --fabric '$(or $(FABRIC),tcp)' --memory '$(or $(MEMORY),1G)' --wss '$(or $(WSS),40M)'
demo-rdma: ## the same between two hosts over RDMA; in two VMs with soft-RoCE where there is no RDMA device: MEMORY=256M WSS=4M
	@tools/deps.sh build
	+@$(MAKE) --no-print-directory O=$(O) all
	@tools/demo.sh --build $(O) --fabric rdma --memory '$(or $(MEMORY),256M)' --wss '$(or $(WSS),4M)'
demo-qemu: ## migrate the guest of an unmodified QEMU to another QEMU on this machine: MEMORY=1G WSS=40M
	@tools/deps.sh build qemu
	+@$(MAKE) --no-print-directory O=$(O) all
	@$(PYTHON) tools/demo-qemu.py --build $(O) --memory '$(or $(MEMORY),1G)' --wss '$(or $(WSS),40M)'

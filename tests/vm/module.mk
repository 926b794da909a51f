# SPDX-License-Identifier: BSD-2-Clause
# Hosts differ in what their KVM can do: these are run on the VM's, too.
vm_tests += \
	test_kvm_clock \
	test_kvm_dirty \
	test_kvm_probe \
	test_kvm_shape \
	test_kvm_state

# Each page size once; `make check-long` repeats them.
hosts_scripts += tests/vm/main_job_hosts.py
main_job_hosts_timeout := 280
hosts_scripts += tests/vm/fire_hosts.py
fire_hosts_timeout := 280
# it takes the network away that the other one needs
heavy_tests += fire_hosts

# Debian's QEMU and a Linux guest: a boot in nested KVM and two moves; `make check-hosts`, since make check has no time for it
qemu_hosts_scripts += tests/vm/qemu_hosts.py
qemu_hosts_timeout := 500

# The only program of that guest, where there is no library: neither the user's CFLAGS nor a sanitizer's flags belong here.
checker_srcs := \
	tests/vm/checker/files.c \
	tests/vm/checker/main.c \
	tests/vm/checker/memory.c \
	tests/vm/checker/stream.c
checker_program := $(O)/guest/checker
$(checker_program): $(checker_srcs) tests/vm/checker/checker.h tests/vm/module.mk
	@mkdir -p $(@D)
	$(call say,CC,$@)$(CC) -std=gnu17 -D_GNU_SOURCE= -O2 $(warnings) -static -pthread -o $@ $(checker_srcs)
tests: $(checker_program)

# It sets the clock of the VM it runs in.
rdma_kvm_scripts += tests/vm/time_of_day.py
time_of_day_timeout := 280
heavy_tests += time_of_day

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

# It sets the clock of the VM it runs in.
rdma_kvm_scripts += tests/vm/time_of_day.py
time_of_day_timeout := 280
heavy_tests += time_of_day

script_tests += tests/vm/test_run.py
test_run_timeout := 400

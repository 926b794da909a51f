# SPDX-License-Identifier: BSD-2-Clause
integration_tests += stress_guest
stress_guest_srcs := \
	tests/integration/guest/stress_guest.c \
	tests/support/guest_vm.c
stress_guest_timeout := 300

integration_tests += oracle
oracle_srcs := \
	tests/integration/guest/broken_fabric.c \
	tests/integration/guest/oracle.c
oracle_timeout := 400

script_tests += tests/integration/guest/qemu_guest.py
qemu_guest_timeout := 600

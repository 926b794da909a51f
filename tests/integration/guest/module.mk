# SPDX-License-Identifier: BSD-2-Clause
integration_tests += stress_guest
stress_guest_srcs := \
	tests/integration/guest/stress_guest.c \
	tests/support/guest_vm.c
stress_guest_timeout := 300
# the guest's program and KVM, and next to nothing of ours
no_sanitize_tests += stress_guest

integration_tests += oracle
oracle_srcs := \
	tests/integration/guest/broken_fabric.c \
	tests/integration/guest/oracle.c
oracle_timeout := 400
# it asks what a guest notices; the engine's scenarios are those that look at memory and threads
no_sanitize_tests += oracle

script_tests += tests/integration/guest/qemu_guest.py
qemu_guest_timeout := 600

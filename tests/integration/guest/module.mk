# SPDX-License-Identifier: BSD-2-Clause
integration_tests += stress_guest
stress_guest_srcs := \
	tests/integration/guest/stress_guest.c \
	tests/support/guest_vm.c
script_tests += tests/integration/guest/qemu_guest.py
qemu_guest_timeout := 600

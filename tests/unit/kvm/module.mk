# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_kvm_dirty
test_kvm_dirty_srcs := tests/unit/kvm/test_kvm_dirty.c tests/support/tiny_vm.c

unit_tests += test_kvm_state
test_kvm_state_srcs := tests/unit/kvm/test_kvm_state.c tests/support/tiny_vm.c

unit_tests += test_kvm_clock
test_kvm_clock_srcs := tests/unit/kvm/test_kvm_clock.c tests/support/tiny_vm.c

unit_tests += test_kvm_shape
test_kvm_shape_srcs := tests/unit/kvm/test_kvm_shape.c tests/support/tiny_vm.c

# needs no KVM
unit_tests += test_kvm_slices
test_kvm_slices_srcs := tests/unit/kvm/test_kvm_slices.c

unit_tests += test_kvm_probe
test_kvm_probe_srcs := tests/unit/kvm/test_kvm_probe.c tests/support/tiny_vm.c

# docs/platform-requirements: what the kernel is relied upon for, without any of decant
unit_tests += \
	platform_dirty_log \
	platform_dirty_ring \
	platform_pending_io \
	platform_tsc_offset
platform_dirty_log_srcs := docs/platform-requirements/dirty_log.c
platform_dirty_ring_srcs := docs/platform-requirements/dirty_ring.c
platform_pending_io_srcs := docs/platform-requirements/pending_io.c
platform_tsc_offset_srcs := docs/platform-requirements/tsc_offset.c

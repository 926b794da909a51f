# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_kvm_dirty
test_kvm_dirty_srcs := tests/unit/kvm/test_kvm_dirty.c tests/support/tiny_vm.c

unit_tests += test_kvm_state
test_kvm_state_srcs := tests/unit/kvm/test_kvm_state.c tests/support/tiny_vm.c

unit_tests += test_kvm_clock
test_kvm_clock_srcs := tests/unit/kvm/test_kvm_clock.c tests/support/tiny_vm.c

unit_tests += test_kvm_shape
test_kvm_shape_srcs := tests/unit/kvm/test_kvm_shape.c tests/support/tiny_vm.c

unit_tests += test_kvm_probe
test_kvm_probe_srcs := tests/unit/kvm/test_kvm_probe.c tests/support/tiny_vm.c

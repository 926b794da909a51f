# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_kvm_dirty
test_kvm_dirty_srcs := tests/unit/kvm/test_kvm_dirty.c tests/support/tiny_vm.c

# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_boot
test_boot_srcs := tests/unit/vmm/test_boot.c

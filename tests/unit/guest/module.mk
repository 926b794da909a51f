# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_stress_layout
test_stress_layout_srcs := tests/unit/guest/test_stress_layout.c
unit_tests += test_stress_options
test_stress_options_srcs := tests/unit/guest/test_stress_options.c

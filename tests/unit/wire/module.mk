# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_wire
test_wire_srcs := \
	tests/support/wire_any.c \
	tests/unit/wire/test_wire.c
unit_tests += test_state
test_state_srcs := tests/unit/wire/test_state.c
# pure functions of one thread, and long ones
no_tsan_tests += test_wire test_state

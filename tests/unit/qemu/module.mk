# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_stream
test_stream_srcs := \
	tests/support/qemu_stream.c \
	tests/unit/qemu/test_stream.c

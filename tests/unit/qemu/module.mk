# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_stream
test_stream_srcs := \
	tests/support/qemu_stream.c \
	tests/unit/qemu/test_stream.c
unit_tests += test_stream_refused
test_stream_refused_srcs := \
	tests/support/qemu_stream.c \
	tests/unit/qemu/test_stream_refused.c
unit_tests += test_multifd
test_multifd_srcs := \
	tests/support/qemu_stream.c \
	tests/unit/qemu/test_multifd.c
unit_tests += test_link
test_link_srcs := tests/unit/qemu/test_link.c
unit_tests += test_unix_socket
test_unix_socket_srcs := tests/unit/qemu/test_unix_socket.c

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
# one thread
no_tsan_tests += test_stream test_stream_refused test_multifd
unit_tests += test_link
test_link_srcs := tests/unit/qemu/test_link.c
unit_tests += test_unix_socket
test_unix_socket_srcs := tests/unit/qemu/test_unix_socket.c
unit_tests += test_guest_ram
test_guest_ram_srcs := \
	tests/support/fake_proc.c \
	tests/support/fake_qmp.c \
	tests/support/false_root.c \
	tests/unit/qemu/test_guest_ram.c
unit_tests += test_qmp
test_qmp_srcs := \
	tests/support/fake_qmp.c \
	tests/unit/qemu/test_qmp.c
unit_tests += test_preflight
test_preflight_srcs := \
	tests/support/fake_proc.c \
	tests/support/fake_qmp.c \
	tests/support/false_root.c \
	tests/unit/qemu/test_preflight.c
unit_tests += test_idle_channels
test_idle_channels_srcs := tests/unit/qemu/test_idle_channels.c
unit_tests += test_return_path
test_return_path_srcs := tests/unit/qemu/test_return_path.c
unit_tests += test_proxy
test_proxy_srcs := tests/unit/qemu/test_proxy.c
unit_tests += test_qemu_move
test_qemu_move_srcs := \
	tests/unit/qemu/move_stage.c \
	tests/unit/qemu/test_qemu_move.c
unit_tests += test_move_figures
test_move_figures_srcs := tests/unit/qemu/test_move_figures.c

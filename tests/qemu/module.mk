# SPDX-License-Identifier: BSD-2-Clause
test_tools += stream_take
stream_take_srcs := tests/qemu/stream_take.c
test_tools += stream_speed
stream_speed_srcs := \
	tests/qemu/stream_speed.c \
	tests/support/qemu_stream.c
script_tests += \
	tests/qemu/golden.py \
	tests/qemu/main_qemu.py \
	tests/qemu/fire_qemu.py
golden_timeout := 300
main_qemu_timeout := 600
fire_qemu_timeout := 600
script_tests += tests/qemu/disks.py
# `make check-hosts`: make check has no time for it
libvirt_tests += tests/qemu/libvirt.py
libvirt_timeout := 600
disks_timeout := 300
script_tests += tests/qemu/move_qemu.py
move_qemu_timeout := 300

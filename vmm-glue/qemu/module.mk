# SPDX-License-Identifier: BSD-2-Clause
# Between two unmodified QEMUs. In libvmm.a, for the program and the tests.
vmm_srcs += \
	vmm-glue/qemu/backends.c \
	vmm-glue/qemu/cancel_watch.c \
	vmm-glue/qemu/feeder.c \
	vmm-glue/qemu/guest_ram.c \
	vmm-glue/qemu/idle_channels.c \
	vmm-glue/qemu/intake.c \
	vmm-glue/qemu/json.c \
	vmm-glue/qemu/link.c \
	vmm-glue/qemu/link_deliver.c \
	vmm-glue/qemu/move_figures.c \
	vmm-glue/qemu/move_settings.c \
	vmm-glue/qemu/move_sidecar.c \
	vmm-glue/qemu/multifd.c \
	vmm-glue/qemu/preflight.c \
	vmm-glue/qemu/preflight_change.c \
	vmm-glue/qemu/preflight_compare.c \
	vmm-glue/qemu/preflight_judge.c \
	vmm-glue/qemu/process.c \
	vmm-glue/qemu/proxy_dest.c \
	vmm-glue/qemu/proxy_dest_session.c \
	vmm-glue/qemu/proxy_session.c \
	vmm-glue/qemu/proxy_shape.c \
	vmm-glue/qemu/proxy_source.c \
	vmm-glue/qemu/proxy_source_connections.c \
	vmm-glue/qemu/proxy_source_peer.c \
	vmm-glue/qemu/qemu_move.c \
	vmm-glue/qemu/qmp.c \
	vmm-glue/qemu/ram_blocks.c \
	vmm-glue/qemu/relay.c \
	vmm-glue/qemu/return_path.c \
	vmm-glue/qemu/strays.c \
	vmm-glue/qemu/stream.c \
	vmm-glue/qemu/stream_config.c \
	vmm-glue/qemu/stream_other.c \
	vmm-glue/qemu/stream_ram.c \
	vmm-glue/qemu/stream_section.c \
	vmm-glue/qemu/unix_socket.c

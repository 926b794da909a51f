# SPDX-License-Identifier: BSD-2-Clause
# Between two unmodified QEMUs. In libvmm.a, for the program and the tests.
vmm_srcs += \
	vmm-glue/qemu/json.c \
	vmm-glue/qemu/link.c \
	vmm-glue/qemu/link_deliver.c \
	vmm-glue/qemu/unix_socket.c

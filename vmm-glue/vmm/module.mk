# SPDX-License-Identifier: BSD-2-Clause
# The reference VMM and the command line; everything but main.c is in libvmm.a, for the tests.
vmm_srcs += \
	vmm-glue/vmm/arrival.c \
	vmm-glue/vmm/boot.c \
	vmm-glue/vmm/bus.c \
	vmm-glue/vmm/client.c \
	vmm-glue/vmm/command.c \
	vmm-glue/vmm/command_help.c \
	vmm-glue/vmm/command_listen.c \
	vmm-glue/vmm/command_migrate.c \
	vmm-glue/vmm/command_migrate_qemu.c \
	vmm-glue/vmm/command_probe.c \
	vmm-glue/vmm/command_proxy.c \
	vmm-glue/vmm/command_receive.c \
	vmm-glue/vmm/command_run.c \
	vmm-glue/vmm/command_vm.c \
	vmm-glue/vmm/confine.c \
	vmm-glue/vmm/confine_calls.c \
	vmm-glue/vmm/control.c \
	vmm-glue/vmm/control_name.c \
	vmm-glue/vmm/departure.c \
	vmm-glue/vmm/departure_json.c \
	vmm-glue/vmm/key_file.c \
	vmm-glue/vmm/machine.c \
	vmm-glue/vmm/machine_boot.c \
	vmm-glue/vmm/machine_exit.c \
	vmm-glue/vmm/machine_memory.c \
	vmm-glue/vmm/machine_migrate.c \
	vmm-glue/vmm/machine_shape.c \
	vmm-glue/vmm/options.c \
	vmm-glue/vmm/options_migrate.c \
	vmm-glue/vmm/options_migrate_qemu.c \
	vmm-glue/vmm/options_network.c \
	vmm-glue/vmm/options_proxy.c \
	vmm-glue/vmm/owner.c \
	vmm-glue/vmm/owner_verbs.c \
	vmm-glue/vmm/probe.c \
	vmm-glue/vmm/probe_network.c \
	vmm-glue/vmm/probe_placement.c \
	vmm-glue/vmm/probe_words.c \
	vmm-glue/vmm/progress.c \
	vmm-glue/vmm/proxy_report.c \
	vmm-glue/vmm/report.c \
	vmm-glue/vmm/report_file.c \
	vmm-glue/vmm/report_qemu.c \
	vmm-glue/vmm/report_qemu_words.c \
	vmm-glue/vmm/report_words.c \
	vmm-glue/vmm/serial.c \
	vmm-glue/vmm/serial_state.c \
	vmm-glue/vmm/sigbus.c \
	vmm-glue/vmm/vcpu.c \
	vmm-glue/vmm/words.c
decant_srcs += vmm-glue/vmm/main.c

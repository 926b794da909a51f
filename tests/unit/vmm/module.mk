# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_boot
test_boot_srcs := tests/unit/vmm/test_boot.c
unit_tests += test_confine
test_confine_srcs := tests/unit/vmm/test_confine.c
# sanitizers have their own need of what is forbidden
no_sanitize_tests += test_confine
unit_tests += test_control
test_control_srcs := tests/unit/vmm/test_control.c
unit_tests += test_machine
test_machine_srcs := tests/unit/vmm/test_machine.c
unit_tests += test_options
test_options_srcs := tests/support/words.c tests/unit/vmm/test_options.c
unit_tests += test_report
test_report_srcs := tests/unit/vmm/test_report.c
unit_tests += test_options_proxy
test_options_proxy_srcs := tests/support/words.c tests/unit/vmm/test_options_proxy.c
unit_tests += test_report_qemu
test_report_qemu_srcs := tests/unit/vmm/test_report_qemu.c

# SPDX-License-Identifier: BSD-2-Clause
unit_tests += test_frame
test_frame_srcs := tests/unit/fabric/test_frame.c
unit_tests += test_fabric
test_fabric_srcs := \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_fabric.c
unit_tests += test_loop
test_loop_srcs := \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_loop.c
unit_tests += test_zerocopy
test_zerocopy_srcs := tests/unit/fabric/test_zerocopy.c
unit_tests += test_tcp_hostile
test_tcp_hostile_srcs := \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_tcp_hostile.c
unit_tests += test_fake_cm
test_fake_cm_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fake_couple.c \
	tests/unit/fabric/test_fake_cm.c
test_fake_cm_without := $(fake_verbs_packages)
unit_tests += test_fake_verbs
test_fake_verbs_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fake_couple.c \
	tests/unit/fabric/test_fake_verbs.c
test_fake_verbs_without := $(fake_verbs_packages)
unit_tests += test_fabric_rdma
test_fabric_rdma_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_fabric.c
test_fabric_rdma_args := rdma
test_fabric_rdma_without := $(fake_verbs_packages)
unit_tests += test_rdma_faults
test_rdma_faults_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/rdma_rig.c \
	tests/unit/fabric/test_rdma_faults.c
test_rdma_faults_without := $(fake_verbs_packages)
unit_tests += test_rdma_limits
test_rdma_limits_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/rdma_rig.c \
	tests/unit/fabric/test_rdma_limits.c
test_rdma_limits_without := $(fake_verbs_packages)
unit_tests += test_rdma_strangers
test_rdma_strangers_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/rdma_rig.c \
	tests/unit/fabric/test_rdma_strangers.c
test_rdma_strangers_without := $(fake_verbs_packages)
unit_tests += test_window
test_window_srcs := tests/unit/fabric/test_window.c
unit_tests += test_patience
test_patience_srcs := tests/unit/fabric/test_patience.c
unit_tests += test_choice
test_choice_srcs := tests/unit/fabric/test_choice.c
unit_tests += test_diagnose
test_diagnose_srcs := \
	$(fake_verbs_srcs) \
	tests/support/false_root.c \
	tests/unit/fabric/test_diagnose.c
test_diagnose_without := $(fake_verbs_packages)
unit_tests += test_rail
test_rail_srcs := \
	$(fake_verbs_srcs) \
	tests/unit/fabric/test_rail.c
test_rail_without := $(fake_verbs_packages)
# The same list over real verbs, on a host that has a rail.
rdma_tests += test_fabric_verbs
test_fabric_verbs_srcs := \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_fabric.c
test_fabric_verbs_args := rdma
test_fabric_verbs_timeout := 300
rdma_tests += test_rdma_device
test_rdma_device_srcs := \
	tests/support/slow.c \
	tests/unit/fabric/fabric_pair.c \
	tests/unit/fabric/test_rdma_device.c
test_rdma_device_timeout := 300

# SPDX-License-Identifier: BSD-2-Clause
# A program that lists these says <name>_without := $(fake_verbs_packages), so that nothing real is left in it.
fake_verbs_packages := libibverbs librdmacm
fake_verbs_srcs := \
	tests/support/fake_verbs_cm.c \
	tests/support/fake_verbs_cq.c \
	tests/support/fake_verbs_device.c \
	tests/support/fake_verbs_event.c \
	tests/support/fake_verbs_nic.c \
	tests/support/fake_verbs_plan.c \
	tests/support/fake_verbs_qp.c

# The library for a program that makes its calls of libc fail: <name>_objs := $(lib_calls_obj), with these among its sources.
lib_calls_obj := $(O)/tests/lib_calls.o
lib_calls_srcs := \
	tests/support/lib_calls.c \
	tests/support/lib_calls_libc.c

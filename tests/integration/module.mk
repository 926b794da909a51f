# SPDX-License-Identifier: BSD-2-Clause
scenarios_srcs := \
	tests/integration/breaker.c \
	tests/integration/rig.c \
	tests/integration/scenario_auth.c \
	tests/integration/scenario_damage.c \
	tests/integration/scenario_failover.c \
	tests/integration/scenario_feeder.c \
	tests/integration/scenario_handover.c \
	tests/integration/scenario_limit.c \
	tests/integration/scenario_link.c \
	tests/integration/scenario_move.c \
	tests/integration/scenario_rails.c \
	tests/integration/scenario_refuse.c \
	tests/integration/scenario_sidecar.c \
	tests/integration/scenario_sparse.c \
	tests/integration/scenario_throttle.c \
	tests/integration/scenarios.c \
	tests/support/hugepages.c \
	tests/support/proxy.c \
	tests/support/slow.c \
	tests/support/synthetic.c \
	tests/support/synthetic_guest.c \
	vmm-glue/qemu/link.c \
	vmm-glue/qemu/link_deliver.c

# One program per fabric, so that they run side by side.
integration_tests += scenarios_loop
scenarios_loop_srcs := $(scenarios_srcs) tests/integration/breaker_tcp.c
scenarios_loop_args := loop
scenarios_loop_timeout := 600
# the engine's threads are those of scenarios_tcp, and the loop's are test_fabric's
no_tsan_tests += scenarios_loop

integration_tests += scenarios_tcp
scenarios_tcp_srcs := $(scenarios_srcs) tests/integration/breaker_tcp.c
scenarios_tcp_args := tcp
scenarios_tcp_timeout := 600

# RDMA's choice, beginning and end, on any machine: over TCP with rails that are made up.
integration_tests += scenarios_rails
scenarios_rails_srcs := $(scenarios_srcs) tests/integration/breaker_tcp.c
scenarios_rails_args := rdma rails
scenarios_rails_timeout := 600

integration_tests += clock_steps
clock_steps_srcs := \
	tests/integration/breaker.c \
	tests/integration/breaker_tcp.c \
	tests/integration/clock_steps.c \
	tests/integration/rig.c \
	tests/support/proxy.c \
	tests/support/slow.c \
	tests/support/synthetic.c \
	tests/support/synthetic_guest.c

# Everything over RDMA itself. A machine without a rail skips it; tests/vm/run --rdma has one.
rdma_tests += scenarios_rdma
scenarios_rdma_srcs := $(scenarios_srcs) tests/integration/breaker_rdma.c
scenarios_rdma_args := rdma
scenarios_rdma_timeout := 900

# The same over a device in the process, so that all of it runs here, and under the sanitizers.
integration_tests += scenarios_fake
scenarios_fake_srcs := $(scenarios_rdma_srcs) $(fake_verbs_srcs)
scenarios_fake_args := rdma
scenarios_fake_without := $(fake_verbs_packages)
scenarios_fake_timeout := 600

# What tries a fault in a process of its own.
pair_srcs := \
	tests/integration/pair.c \
	tests/support/crew.c \
	tests/support/relay.c \
	tests/support/slow.c \
	tests/support/synthetic.c \
	tests/support/synthetic_guest.c \
	$(lib_calls_srcs)

# Every fault at every message, each in a process of its own.
matrix_srcs := \
	tests/integration/matrix.c \
	tests/integration/matrix_cell.c \
	tests/integration/matrix_table.c \
	$(pair_srcs)

integration_tests += matrix_loop
matrix_loop_srcs := $(matrix_srcs) tests/integration/matrix_real.c
matrix_loop_objs := $(lib_calls_obj)
matrix_loop_args := loop
matrix_loop_timeout := 600
no_tsan_tests += matrix_loop

integration_tests += matrix_tcp
matrix_tcp_srcs := $(matrix_srcs) tests/integration/matrix_real.c
matrix_tcp_objs := $(lib_calls_obj)
matrix_tcp_args := tcp 5
matrix_tcp_timeout := 600

integration_tests += matrix_fake
matrix_fake_srcs := $(matrix_srcs) tests/integration/matrix_fake.c $(fake_verbs_srcs)
matrix_fake_objs := $(lib_calls_obj)
matrix_fake_args := rdma 7
matrix_fake_without := $(fake_verbs_packages)
matrix_fake_timeout := 600

integration_tests += cancel_connecting
cancel_connecting_srcs := tests/integration/cancel_connecting.c $(pair_srcs)
cancel_connecting_objs := $(lib_calls_obj)

# Each call of libc, and of the verbs, fails in its turn.
calls_srcs := \
	tests/integration/calls.c \
	tests/integration/calls_trial.c \
	$(pair_srcs)

integration_tests += calls_tcp
calls_tcp_srcs := $(calls_srcs) tests/integration/calls_real.c
calls_tcp_objs := $(lib_calls_obj)
calls_tcp_args := tcp 4
calls_tcp_timeout := 600

integration_tests += calls_fake
calls_fake_srcs := $(calls_srcs) tests/integration/calls_fake.c $(fake_verbs_srcs)
calls_fake_objs := $(lib_calls_obj)
calls_fake_args := rdma 2
calls_fake_without := $(fake_verbs_packages)
calls_fake_timeout := 600

# What neither end does while the guest is paused.
pause_srcs := tests/integration/pause.c $(pair_srcs)

integration_tests += pause_loop
pause_loop_srcs := $(pause_srcs) tests/integration/calls_real.c
pause_loop_objs := $(lib_calls_obj)
pause_loop_args := loop

integration_tests += pause_tcp
pause_tcp_srcs := $(pause_srcs) tests/integration/calls_real.c
pause_tcp_objs := $(lib_calls_obj)
pause_tcp_args := tcp

integration_tests += pause_fake
pause_fake_srcs := $(pause_srcs) tests/integration/calls_fake.c $(fake_verbs_srcs)
pause_fake_objs := $(lib_calls_obj)
pause_fake_args := rdma
pause_fake_without := $(fake_verbs_packages)

# Real QEMUs, standing still: their memory is found, and preflight knows what they say.
integration_tests += qemu_memory
qemu_memory_srcs := \
	tests/integration/qemu_memory.c \
	tests/support/hugepages.c

# SPDX-License-Identifier: BSD-2-Clause
script_tests += \
	tests/cli/cli_good.py \
	tests/cli/cli_bad.py \
	tests/cli/cli_doubt.py \
	tests/cli/cli_key.py \
	tests/cli/fire.py \
	tests/cli/fire_random.py
# what a peer can do to the program is done to one that watches its memory; without that, in tests/long.list
asan_scripts += tests/cli/hostile_source.py tests/cli/hostile_destination.py
cli_good_timeout := 300
cli_bad_timeout := 300
cli_doubt_timeout := 300
hostile_source_timeout := 300
hostile_destination_timeout := 300
cli_key_timeout := 300
fire_timeout := 600
fire_random_timeout := 600
# they change how many huge pages the host has, and tests elsewhere do so too
heavy_tests += cli_good cli_bad
# it takes a device of its own away, bit by bit, and files that all devices need
rdma_kvm_scripts += \
	tests/cli/damage.py \
	tests/cli/probe_rdma.py
damage_timeout := 280
probe_rdma_timeout := 600
heavy_tests += probe_rdma

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# vm.sh -- run bench.py over soft-RoCE in a throw-away VM that talks to itself: perf/vm.sh BUILD FOLDER OPTION...
#
# FOLDER is writable inside too. `vm.sh inside ...` is the part that runs in the VM. A dummy interface stands in for the wire, so what
# is measured is the CPU's work for both ends, of decant and of ib_write_bw alike.
set -eu
cd "$(dirname "$0")/.."

address=10.97.0.1

if [ "$1" = inside ]; then
	build=$2
	shift 2
	ip link add wire0 type dummy
	ip address add "$address/24" dev wire0
	ip link set wire0 mtu 9000 up
	rdma link add rxe0 type rxe netdev wire0
	ulimit -l unlimited
	exec "${PYTHON:-python3}" perf/bench.py --build "$build" --host "$address" --device rxe0 "$@"
fi

build=$1 folder=$2
shift 2
exec tests/vm/run --build "$build" --parallel --share "$folder" \
	--module crc32_generic --module dummy --module rdma_rxe --module rdma_ucm --module ib_uverbs \
	-- perf/vm.sh inside "$build" "$@"

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# demo.sh -- the main job, to look at: a running guest that keeps writing its memory moves from one process to another
#
# Starts the stress guest with `decant run`, a receiver with `decant receive`, migrates between them and leaves the report in
# BUILD/demo/report.json. Exits 0 only if the guest itself, after it has looked at all its memory, says "ok". Without a usable
# /dev/kvm (or with DECANT_DEMO_VM=1) all of it happens in a throw-away VM that has one. `--fabric rdma` needs an RDMA device; where
# there is none two VMs with soft-RoCE are the two hosts, and the report is in BUILD/demo-rdma.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 1

build=build fabric=tcp memory=1G wss=40M
while [ $# -gt 0 ]; do
	case $1 in
	--build) build=$2 ;;
	--fabric) fabric=$2 ;;
	--memory) memory=$2 ;;
	--wss) wss=$2 ;;
	*)
		echo "demo.sh: unknown option '$1': --build, --fabric, --memory, --wss" >&2
		exit 2 ;;
	esac
	shift 2
done
decant=$build/decant
out=$build/demo
[ "$fabric" != rdma ] || out=$build/demo-rdma
mkdir -p "$out" || exit 1
report=$out/report.json
pids=()
hosts=

say() { echo "demo: $*"; }
fail() {
	echo "demo: $*" >&2
	exit 1
}

clean_up() {
	local pid
	[ ${#pids[@]} = 0 ] || kill "${pids[@]}" 2>/dev/null
	for pid in "${pids[@]}"; do
		for _ in $(seq 50); do
			kill -0 "$pid" 2>/dev/null || break
			sleep 0.1
		done
		kill -KILL "$pid" 2>/dev/null
	done
	[ -z "$hosts" ] || rm -rf "$hosts"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# Asks decant itself: a /dev/kvm that can be opened is not yet one that can run a guest.
kvm_usable() { "$decant" probe --json 2>/dev/null | grep -q '"usable": *true'; }

run_in_vm() {
	tools/deps.sh vm || exit 1
	say "$1: running in a throw-away VM that emulates one. It is slow, so the pause may last up to 5 s there;"
	say "its times mean nothing, the guest's verdict does."
	tests/vm/run --build "$build" --memory "${DECANT_DEMO_VM_MEMORY:-3G}" --share "$out" -- \
		env DECANT_DEMO_INSIDE=1 tools/demo.sh --build "$build" --fabric "$fabric" --memory "$memory" --wss "$wss"
	exit $?
}

# Also decant's own word: a device is not yet a rail.
rdma_usable() { "$decant" probe --json 2>/dev/null | grep -q '"rdma_usable": *true'; }

run_on_two_hosts() {
	tools/deps.sh vm || exit 1
	say "$1: running between two throw-away VMs, joined by a network, with soft-RoCE and nested KVM."
	say "All of it is emulated, so the pause may last up to 5 s; its times mean nothing, the guest's verdict does."
	tests/vm/run --build "$build" --rdma --hosts 2 --cpus 1 --memory 1500M --timeout 300 --share "$out" -- \
		env DECANT_DEMO_INSIDE=hosts tools/demo.sh --build "$build" --fabric rdma --memory "$memory" --wss "$wss"
	exit $?
}

# Each end has a runtime folder of its own, as two hosts would have.
on_source() { XDG_RUNTIME_DIR=$hosts/source "$decant" "$@"; }

wait_for() { # seconds, what, command...
	local deadline=$((SECONDS + $1)) what=$2
	shift 2
	until "$@" >/dev/null 2>&1; do
		kill -0 "${pids[-1]}" 2>/dev/null || fail "$what: it ended: $(tail -1 "$out/${names[-1]}.log")"
		[ $SECONDS -lt $deadline ] || fail "$what: not after $1 s, see $out"
		sleep 0.2
	done
}
guest_runs() { on_source status demo --json | grep -Eq '"state": *"running"'; }
receiver_listens() { address=$(sed -n 's/.*listening on \([0-9.]*:[0-9][0-9]*\).*/\1/p' "$out/receive.log" | head -1) && [ -n "$address" ]; }

start() { # log's name, command...
	names+=("$1")
	"${@:2}" >"$out/$1.log" 2>&1 </dev/null &
	pids+=($!)
}

value() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p" "$report" | head -1; }

case $fabric in
tcp | loop | rdma) ;;
*) fail "FABRIC=$fabric: tcp, loop or rdma" ;;
esac
if [ -z "${DECANT_DEMO_INSIDE:-}" ]; then
	[ -z "${DECANT_DEMO_VM:-}" ] || run_in_vm 'DECANT_DEMO_VM is set'
	if [ "$fabric" = rdma ]; then
		rdma_usable && kvm_usable || run_on_two_hosts 'this machine has no RDMA device that can be used, or no KVM'
	else
		kvm_usable || run_in_vm 'this machine has no usable /dev/kvm'
	fi
fi

names=()
address=
rm -f "$report" "$out"/*.log
hosts=$(mktemp -d /tmp/decant-demo.XXXXXX) || exit 1
mkdir -m 700 "$hosts/source" "$hosts/dest"

# What both hosts must have, and nobody else: whoever reaches the port can do nothing with it then.
share_key() { # file
	DECANT_DEMO_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
	export DECANT_DEMO_KEY
	# expanded at each host
	# shellcheck disable=SC2016
	local save='umask 077 && echo "$DECANT_DEMO_KEY" >"$0"'
	sh -c "$save" "$1" && on-host2 sh -c "$save" "$1" || fail 'the key cannot be given to both hosts'
}

there=(env XDG_RUNTIME_DIR="$hosts/dest") listen=(127.0.0.1:0) key=()
if [ "${DECANT_DEMO_INSIDE:-}" = hosts ]; then
	key=(--key-file /run/decant-demo.key)
	share_key "${key[1]}"
	there=(on-host2) listen=(10.9.0.2:0 "${key[@]}")
fi

say "the stress guest: $memory of memory, $wss of it written as fast as it can, 2 vCPUs"
start run env XDG_RUNTIME_DIR="$hosts/source" "$decant" run --name demo --memory "$memory" --vcpus 2 --guest "stress:wss=$wss"
wait_for 120 'decant run' guest_runs
sleep 2 # let it dirty its memory for a while

target=()
if [ "$fabric" != loop ]; then
	start receive "${there[@]}" "$decant" receive --listen "${listen[@]}"
	wait_for 30 'decant receive' receiver_listens
	target=("$address")
fi
migrate=(migrate demo "${target[@]}" "${key[@]}" --fabric "$fabric" --timeout 300s)
[ -z "${DECANT_DEMO_INSIDE:-}" ] || migrate+=(--max-downtime 5s)
say "decant ${migrate[*]}"
on_source "${migrate[@]}" --report "$report" || fail "the migration failed, see $out"

[ -s "$report" ] || fail "no report in $report"
verdict=$(value guest_verdict)
say "report in $report; the guest's verdict on its memory after the move: $verdict"
[ "$verdict" = ok ]

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# layers.sh -- check-layers finds what it is there to find: offences planted in a copy of the tree (TAP)
set -u
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir "$root/tools"
cp -r include transport vmm-glue "$root/"
cp tools/check-layers.py "$root/tools/"
n=0 bad=0

refused() { # file, line to plant in it
	local path=$root/$1 status
	local name="$1 may not have ${2#*include }"
	n=$((n + 1))
	mkdir -p "$(dirname "$path")"
	echo "$2" >"$path"
	"$root/tools/check-layers.py" >"$root/log"
	status=$?
	if [ $status = 1 ] && grep -q "^$1:1: " "$root/log" && [ "$(wc -l <"$root/log")" = 1 ]; then
		echo "ok $n - $name"
	else
		sed 's/^/# /' "$root/log"
		echo "not ok $n - $name"
		bad=1
	fi
	rm "$path"
}

echo 1..16
n=1
if "$root/tools/check-layers.py"; then
	echo 'ok 1 - the tree itself'
else
	echo 'not ok 1 - the tree itself'
	bad=1
fi
refused transport/util/planted.c '#include "wire/wire.h"'
refused transport/wire/planted.c '#include "fabric/fabric.h"'
refused transport/fabric/tcp/planted.c '#include "migration/mover.h"'
refused transport/migration/planted.c '#include "fabric/exposure.h"'
refused transport/migration/planted.c '#include <linux/kvm.h>'
refused transport/migration/planted.c '#include <decant/kvm.h>'
refused transport/fabric/tcp/planted.c '#include <infiniband/verbs.h>'
refused include/decant/planted.h '#include "util/clock.h"'
refused vmm-glue/kvm/planted.c '#include "vmm/machine.h"'
refused vmm-glue/kvm/planted.c '#include "qemu/stream.h"'
refused vmm-glue/qemu/planted.c '#include "vmm/options.h"'
refused vmm-glue/qemu/planted.c '#include "kvm/dirty.h"'
refused vmm-glue/qemu/planted.c '#include <decant/kvm.h>'
refused vmm-glue/vmm/planted.c '#include "migration/mover.h"'
refused transport/api/planted.c '  #  include <rdma/rdma_cma.h>'
exit $bad

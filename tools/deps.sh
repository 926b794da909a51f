#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# deps.sh -- see that what decant needs is installed: tools/deps.sh build [check] [vm] [qemu] [libvirt] [bench]
#
# Looks for the things themselves, not for packages, so that it is quick and needs no network when all is there. As root on
# Debian or Ubuntu it installs what is missing; elsewhere it prints what to install and exits 1.
#   build  compile the libraries and the program
#   check  run `make check`
#   vm     run something in a throw-away VM (tests/vm/run)
#   qemu   run `make demo-qemu`
#   libvirt  run `make check-hosts`
#   bench  run `make bench`
set -u

missing=()    # what, in words
packages=()   # Debian's name for it

need() { # what, Debian package, probe...
	local what=$1 package=$2
	shift 2
	if ! "$@" >/dev/null 2>&1; then
		missing+=("$what")
		packages+=("$package")
	fi
}
command_there() { command -v "$1"; }
library() { pkg-config --exists "$1"; }
compiles() { echo "#include <$1>" | gcc -E -x c -; }
compiles_32() { echo '#include <stdint.h>' | gcc -m32 -ffreestanding -c -x c - -o /dev/null; }
rxe_provider() { ls /usr/lib/*/libibverbs/librxe-rdmav*.so; }
libvirt_qemu() { ls /usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so; }
clang_fuzzer() { [ -e "$(clang -print-resource-dir)/lib/linux/libclang_rt.fuzzer-x86_64.a" ]; }

look_build() {
	need gcc gcc command_there gcc
	need ar binutils command_there ar
	need 'the C library headers' libc6-dev compiles stdio.h
	need 'the kernel headers' linux-libc-dev compiles linux/kvm.h
	need 'gcc -m32' gcc compiles_32
	need pkg-config pkg-config command_there pkg-config
	need json-c libjson-c-dev library json-c
	need xxhash libxxhash-dev library libxxhash
	need numa libnuma-dev library numa
	need hwloc libhwloc-dev library hwloc
	need libcrypto libssl-dev library libcrypto
	need libibverbs libibverbs-dev library libibverbs
	need librdmacm librdmacm-dev library librdmacm
	need libseccomp libseccomp-dev library libseccomp
}

look_check() {
	need python3 python3 command_there python3
	need cmocka libcmocka-dev library cmocka
	need g++ g++ command_there g++
	need clang clang command_there clang
	need 'the sanitizers of clang' "$(clang_runtime_package)" clang_fuzzer
	need clang-format clang-format command_there clang-format
	need clang-tidy clang-tidy command_there clang-tidy
	need cppcheck cppcheck command_there cppcheck
	need spin spin command_there spin
	need qemu-system-x86_64 qemu-system-x86 command_there qemu-system-x86_64
	need ip iproute2 command_there ip
	need git git command_there git
	need taskset util-linux command_there taskset
	need gnuplot gnuplot-nox command_there gnuplot
}

look_vm() {
	need qemu-system-x86_64 qemu-system-x86 command_there qemu-system-x86_64
	need modprobe kmod command_there modprobe
	need cpio cpio command_there cpio
	need 'static busybox' busybox-static test -x /bin/busybox
	need xz xz-utils command_there xz
	need python3 python3 command_there python3
	need 'the rdma tool' iproute2 command_there rdma
	need mkfs.ext4 e2fsprogs test -x /sbin/mkfs.ext4
	need "the verbs provider of soft-RoCE" ibverbs-providers rxe_provider
}

look_qemu() {
	need python3 python3 command_there python3
	need qemu-system-x86_64 qemu-system-x86 command_there qemu-system-x86_64
}

look_libvirt() {
	need libvirtd libvirt-daemon command_there libvirtd
	need "libvirt's driver for QEMU" libvirt-daemon-driver-qemu libvirt_qemu
	need virsh libvirt-clients command_there virsh
}

look_bench() {
	need python3 python3 command_there python3
	need iperf3 iperf3 command_there iperf3
	need ib_write_bw perftest command_there ib_write_bw
	need qemu-system-x86_64 qemu-system-x86 command_there qemu-system-x86_64
	need taskset util-linux command_there taskset
	need gnuplot gnuplot-nox command_there gnuplot
	need valgrind valgrind command_there valgrind
}

# The package carries clang's version in its name; before clang is there, what apt would install tells it.
clang_runtime_package() {
	local version
	version=$(clang -dumpversion 2>/dev/null | cut -d. -f1)
	if [ -z "$version" ]; then
		version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\).*/\1/p' | head -1)
	fi
	echo "libclang-rt-${version:-14}-dev"
}

look() {
	missing=()
	packages=()
	local group
	for group in "$@"; do
		case $group in
		build | check | vm | qemu | libvirt | bench) "look_$group" ;;
		*)
			echo "deps.sh: unknown group '$group': build, check, vm, qemu, libvirt or bench" >&2
			exit 2 ;;
		esac
	done
}

join() {
	local IFS=,
	echo "$*" | sed 's/,/, /g'
}

install() {
	local apt=(apt-get -q -o DPkg::Lock::Timeout=300)
	echo "decant needs $(join "${missing[@]}"); installing: ${packages[*]}"
	export DEBIAN_FRONTEND=noninteractive
	"${apt[@]}" update >"$log" 2>&1
	look "$@" # a fresh package list can change a name
	"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >>"$log" 2>&1
}

[ $# -gt 0 ] || set -- build
look "$@"
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null; then
	echo "decant needs $(join "${missing[@]}"): install them with this system's package manager" \
		"(Debian calls them ${packages[*]})" >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "decant needs $(join "${missing[@]}"): run as root: apt-get install ${packages[*]}" >&2
	exit 1
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! install "$@"; then
	tail -20 "$log" >&2
	echo "decant needs $(join "${missing[@]}"), but apt-get failed (above)" >&2
	exit 1
fi
look "$@"
if [ ${#missing[@]} -gt 0 ]; then
	echo "decant needs $(join "${missing[@]}"), and installing ${packages[*]} did not bring it" >&2
	exit 1
fi

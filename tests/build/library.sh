#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# library.sh -- the libraries as their users meet them: installed, compiled against, linked, loaded (TAP)
set -u
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
n=0 bad=0

point() { # name, command...
	n=$((n + 1))
	if "${@:2}" >"$root/log" 2>&1; then
		echo "ok $n - $1"
	else
		sed 's/^/# /' "$root/log"
		echo "not ok $n - $1"
		bad=1
	fi
}

headers=(include/decant/*.h)
declared() { # functions that a header declares, of one prefix
	cat "$@" | gcc -E -P -Iinclude -x c - 2>/dev/null | grep -v '^typedef' | grep -oE '\bdecant_[a-z_]+ *\(' | tr -d ' (' | sort -u
}
exported() { nm -D --defined-only "$1" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort -u; }
public=$(declared $(ls include/decant/*.h | grep -v '/kvm\.h$'))
kvm=$(declared include/decant/kvm.h | grep '^decant_kvm_')

compiles_as_c() {
	local header
	for header in "${headers[@]}"; do
		echo "#include <decant/${header##*/}>" |
			gcc -std=c11 -pedantic-errors -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c - || return 1
	done
}
compiles_as_cxx() {
	local header
	for header in "${headers[@]}"; do
		echo "#include <decant/${header##*/}>" |
			g++ -std=c++17 -pedantic-errors -Wall -Wextra -Werror -Iinclude -fsyntax-only -x c++ - || return 1
	done
}
exports_what_is_declared() { diff <(exported "$1") <(echo "$2"); }
installs() {
	make --no-print-directory O="$DECANT_BUILD" DESTDIR="$root" prefix=/opt/decant install &&
		[ -x "$root/opt/decant/bin/decant" ] && [ -e "$root/opt/decant/include/decant/decant.h" ]
}
links() {
	cat >"$root/user.c" <<'EOF'
#include <decant/decant.h>
#include <stdio.h>
#include <string.h>
int main(void)
{
	puts(decant_version_string());
	return strcmp(decant_version_string(), DECANT_VERSION_STRING) != 0;
}
EOF
	# shellcheck disable=SC2046
	export PKG_CONFIG_SYSROOT_DIR=$root PKG_CONFIG_PATH=$root/opt/decant/lib/pkgconfig
	gcc -o "$root/user" "$root/user.c" $(pkg-config --cflags --libs "$1")
}
runs() { LD_LIBRARY_PATH=$root/opt/decant/lib "$root/user"; }
loads() {
	python3 - "$root/opt/decant/lib/libdecant.so.0" <<'EOF'
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
library.decant_version_string.restype = ctypes.c_char_p
assert library.decant_version_string().count(b".") == 2
EOF
}
measures() { "$root/opt/decant/bin/decant-perf" list | grep -q '^dirty-rate'; }
uninstalls() {
	make --no-print-directory O="$DECANT_BUILD" DESTDIR="$root" prefix=/opt/decant uninstall &&
		[ -z "$(find "$root/opt/decant" ! -type d)" ]
}

echo 1..11
point 'public headers compile alone as C11' compiles_as_c
point 'public headers compile alone as C++17' compiles_as_cxx
point 'libdecant exports what its headers declare' exports_what_is_declared "$DECANT_BUILD/libdecant.so" "$public"
point 'libdecant-kvm exports what its header declares' exports_what_is_declared "$DECANT_BUILD/libdecant-kvm.so" "$kvm"
point 'install' installs
point 'a program links by pkg-config decant-kvm' links decant-kvm
point 'a program links by pkg-config decant' links decant
point 'the program runs' runs
point 'the library can be loaded by dlopen' loads
point 'decant-perf finds its modules' measures
point 'uninstall leaves no file' uninstalls
exit $bad

#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# lint.sh -- what can be said of the source without running it: tools/lint.sh layers|format|cppcheck|tidy|tidy-deep|reformat [FILE...]
#
# Without files all of the project's. Prints the findings; exits 1 if there are any. reformat mends what format finds.
set -u -o pipefail
cd "$(dirname "$0")/.." || exit 2

what=${1:?layers, format, cppcheck, tidy, tidy-deep or reformat}
shift
files=("$@")
if [ ${#files[@]} = 0 ]; then
	mapfile -t files < <(find include transport vmm-glue tests perf -name '*.[ch]' 2>/dev/null | sort)
fi
flags=(-std=gnu17 -D_GNU_SOURCE= -Iinclude -Itransport -Ivmm-glue -Itests)
jobs=$(nproc)

only_c() { printf '%s\n' "${files[@]}" | grep '\.c$'; }

case $what in
layers)
	exec tools/check-layers.py
	;;
format)
	exec clang-format --dry-run --Werror "${files[@]}"
	;;
reformat)
	exec clang-format -i "${files[@]}"
	;;
cppcheck)
	only_c | cppcheck --quiet --error-exitcode=1 -j "$jobs" --std=c11 --language=c --inline-suppr \
		--enable=warning,performance,portability --suppressions-list=tests/suppressions/cppcheck.txt \
		-D__x86_64__=1 -D_GNU_SOURCE= -Iinclude -Itransport -Ivmm-glue -Itests --file-list=-
	;;
tidy | tidy-deep)
	# What takes clang's analyzer longest is paths through many functions at once: three quarters of the time of all checks.
	[ "$what" = tidy-deep ] || flags+=(-Xclang -analyzer-config -Xclang mode=shallow)
	# What runs in the guest is compiled as the guest is.
	tidy_one() {
		local extra=()
		! grep -q guest/stress_guest.h "$1" || extra=(-m32 -ffreestanding)
		clang-tidy --quiet "$1" -- "${@:2}" "${extra[@]}" 2>/dev/null
	}
	export -f tidy_one
	only_c | xargs -P "$jobs" -I{} bash -c 'tidy_one "$@"' tidy {} "${flags[@]}"
	;;
*)
	echo "lint.sh: '$what' is none of layers, format, cppcheck, tidy, tidy-deep, reformat" >&2
	exit 2
	;;
esac

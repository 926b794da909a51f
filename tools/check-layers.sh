#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
# check-layers.sh -- holds every #include to the order of the layers
#
#   include/decant <- util <- wire <- fabric <- migration <- api <- vmm-glue/kvm <- vmm-glue/vmm
#
# A file may include what stands left of its own layer, and its own. It also knows which system headers belong to one folder:
# verbs to fabric/rdma, KVM's to vmm-glue/kvm and vmm-glue/vmm. Prints one line per offence; exits 1 if there is one.
set -u
cd "$(dirname "$0")/.." || exit 2

order=(util wire fabric migration api kvm vmm)

rank() {
	local i
	for i in "${!order[@]}"; do
		if [ "${order[$i]}" = "$1" ]; then
			echo "$i"
			return
		fi
	done
	echo -1
}

# which layer a source file is of, by its path; guest is below vmm and sees nothing but itself
layer_of() {
	case $1 in
	include/decant/*) echo public ;;
	transport/*) cut -d/ -f2 <<<"$1" ;;
	vmm-glue/*) cut -d/ -f2 <<<"$1" ;;
	esac
}

bad=0
offence() { # file, line, what
	echo "$1:$2: $3"
	bad=1
}

check_include() { # file, line, header as written with its < or "
	local file=$1 line=$2 header=$3 layer name
	layer=$(layer_of "$file")
	name=${header:1:-1}
	case $header in
	'<infiniband/'* | '<rdma/'*)
		[[ $file == transport/fabric/rdma/* ]] || offence "$file" "$line" "$name belongs to transport/fabric/rdma alone"
		return ;;
	'<linux/kvm.h>' | '<asm/kvm'*)
		[[ $file == vmm-glue/kvm/* || $file == vmm-glue/vmm/* ]] ||
			offence "$file" "$line" "$name belongs to vmm-glue/kvm and vmm-glue/vmm alone"
		return ;;
	'<decant/kvm.h>')
		[[ $layer == kvm || $layer == vmm || $file == include/decant/kvm.h ]] ||
			offence "$file" "$line" "transport knows nothing of KVM"
		return ;;
	'<decant/'* | '<'*) return ;;
	esac
	check_layer "$file" "$line" "$name" "$layer"
}

check_layer() { # file, line, name in quotes, the file's layer
	local file=$1 line=$2 name=$3 layer=$4 wanted=${3%%/*} mine theirs
	if [ "$wanted" = "$name" ]; then
		[ -e "$(dirname "$file")/$name" ] ||
			offence "$file" "$line" "\"$name\": write the layer, as in \"util/clock.h\""
		return
	fi
	if [ "$layer" = public ]; then
		offence "$file" "$line" "a public header includes \"$name\""
		return
	fi
	if [ "$wanted" = guest ]; then
		[[ $layer == vmm || $layer == guest ]] || offence "$file" "$line" "\"$name\": only the VMM knows the guest"
		return
	fi
	mine=$(rank "$layer")
	theirs=$(rank "$wanted")
	if [ "$theirs" -lt 0 ] || [ "$mine" -lt 0 ] || [ "$theirs" -gt "$mine" ]; then
		offence "$file" "$line" "$layer must not include \"$name\""
	elif [[ $file == vmm-glue/* && $theirs -lt $(rank kvm) && $wanted != util ]]; then
		offence "$file" "$line" "vmm-glue uses the public headers and util only, not \"$name\""
	elif [[ $file == transport/migration/* && $wanted == fabric && $name != fabric/fabric.h ]]; then
		offence "$file" "$line" "migration reaches a network through fabric/fabric.h only"
	fi
}

while IFS=: read -r file line text; do
	header=$(sed -E 's/^[^<"]*([<"][^>"]*[>"]).*/\1/' <<<"$text")
	check_include "$file" "$line" "$header"
done < <(find include transport vmm-glue -name '*.[chS]' -print0 | xargs -0 grep -nHE '^[[:space:]]*#[[:space:]]*include')

exit $bad

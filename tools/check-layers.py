#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-layers.py -- holds every #include to the order of the layers

  include/decant <- util <- wire <- fabric <- migration <- api <- vmm-glue/kvm, vmm-glue/qemu <- vmm-glue/vmm

A file may include what stands left of its own layer, and its own; kvm and qemu know nothing of each other. System headers that belong to one folder are known too:
verbs to fabric/rdma, KVM's to vmm-glue/kvm and vmm-glue/vmm. Prints one line per offence; exits 1 if there is one.
"""
import os
import re
import sys

ORDER = ["util", "wire", "fabric", "migration", "api", "kvm", "qemu", "vmm"]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def layer_of(path):
    """public, one of ORDER, or guest, which sees itself and util."""
    return "public" if path.startswith("include/") else path.split("/")[1]


def system_offence(path, layer, name):
    """What is wrong with <name>, or None."""
    if name.startswith(("infiniband/", "rdma/")) and not path.startswith("transport/fabric/rdma/"):
        return f"{name} belongs to transport/fabric/rdma alone"
    if (name == "linux/kvm.h" or name.startswith("asm/kvm")) and layer not in ("kvm", "vmm"):
        return f"{name} belongs to vmm-glue/kvm and vmm-glue/vmm alone"
    if name == "decant/kvm.h" and layer not in ("kvm", "vmm") and path != "include/decant/kvm.h":
        return "transport knows nothing of KVM"
    return None


def own_offence(path, layer, name):
    """What is wrong with "name", or None."""
    if layer == "public":
        return f'a public header includes "{name}"'
    if "/" not in name:
        if os.path.exists(os.path.join(os.path.dirname(path), name)):
            return None
        return f'"{name}": write the layer, as in "util/clock.h"'
    wanted = name.split("/")[0]
    if wanted == "guest":
        return None if layer in ("vmm", "guest") else f'"{name}": only the VMM knows the guest'
    if layer == "guest" and wanted == "util":
        return None
    if wanted not in ORDER or layer not in ORDER or ORDER.index(wanted) > ORDER.index(layer):
        return f'{layer} must not include "{name}"'
    if layer == "qemu" and wanted == "kvm":
        return f'QEMU holds its own KVM: qemu must not include "{name}"'
    if path.startswith("vmm-glue/") and wanted not in ("util", "kvm", "qemu", "vmm"):
        return f'vmm-glue uses the public headers and util only, not "{name}"'
    if layer == "migration" and wanted == "fabric" and name != "fabric/fabric.h":
        return "migration reaches a network through fabric/fabric.h only"
    return None


def offences(path):
    layer = layer_of(path)
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            include = INCLUDE.match(line)
            if not include:
                continue
            check = system_offence if include.group(1) == "<" else own_offence
            what = check(path, layer, include.group(2))
            if what:
                yield f"{path}:{number}: {what}"


def main():
    os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
    found = []
    for top in ("include", "transport", "vmm-glue"):
        for folder, _, names in sorted(os.walk(top)):
            for name in sorted(names):
                if name.endswith((".c", ".h", ".S")):
                    found += offences(os.path.join(folder, name))
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: BSD-2-Clause
"""moves_rdma.py -- the same between two hosts over RDMA: by decant, by QEMU with pin-all off and on, and by QEMU with decant's sidecars

Made for two VMs with soft-RoCE, in which QEMU is the installed one. There each host has one CPU, and the stress guest, which never idles,
would have half of it. How much of it the migration wins back is the scheduler's doing. So the vCPU at the source is held to a tenth of a CPU,
for all alike: a guest that mostly idles.
"""
import os
import subprocess
import tempfile

from moves import Guest, is_vcpu, threads_of, timed
from qemu import INSTALLED, QemuPair
from sidecars import SidecarPair
from vms import DecantPair

GUEST = Guest(memory="256M", stress=("wss=4M", "data=196M", "zero=4M", "rate=1M"), max_downtime_ms=1000)
CPU_MAX = "2000 20000"  # microseconds of CPU in so many; the period is the longest that a pause is measured wrong by
SELDOM = ("--interval-us", "50000", "--series-ms", "50")  # to look costs an emulated CPU much, and a total takes seconds


def write(path, text):
    with open(path, "w", encoding="ascii") as file:
        file.write(text)


def into_group(root, pair):
    """@root: of the control groups."""
    group = os.path.join(root, "vcpu")
    os.makedirs(group, exist_ok=True)  # one for all moves
    write(os.path.join(root, "cgroup.subtree_control"), "+cpu")
    write(os.path.join(group, "cgroup.type"), "threaded")
    write(os.path.join(group, "cpu.max"), CPU_MAX)
    for tid in threads_of(pair.ends.source_pid, is_vcpu):
        write(os.path.join(group, "cgroup.threads"), str(tid))


def hold_vcpu(pair):
    with tempfile.TemporaryDirectory() as root:
        subprocess.run(["mount", "-t", "cgroup2", "none", root], check=True)
        try:
            into_group(root, pair)
        finally:
            subprocess.run(["umount", root], check=True)


def qemu_rdma(setup, *capabilities):
    # over RDMA it has a return path only for post-copy: told to have one, 7.2 fails and does not say why
    return timed(setup, QemuPair(setup, GUEST, "rdma", capabilities, program=INSTALLED, return_path=False), hold_vcpu, SELDOM)


def qemu_rdma_dynamic(setup):
    return qemu_rdma(setup)


def qemu_rdma_pinall(setup):
    return qemu_rdma(setup, "rdma-pin-all")


def decant_rdma(setup):
    return timed(setup, DecantPair(setup, GUEST, fabric="rdma"), hold_vcpu, SELDOM)


def sidecar_rdma(setup):
    return timed(setup, SidecarPair(setup, GUEST, "rdma"), hold_vcpu, SELDOM)


HOSTS = {
    "sidecar_rdma": sidecar_rdma,
    "qemu_rdma_dynamic": qemu_rdma_dynamic,
    "decant_rdma": decant_rdma,
    "qemu_rdma_pinall": qemu_rdma_pinall,
}

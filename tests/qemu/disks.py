#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""disks.py -- storage that is not shared: a disk is mirrored through decant's two sidecars, and then the VM follows it

The source's QEMU mirrors to the NBD server of the destination's, as libvirt has it do. What the guest's driver would write is written by the
monitor: before the mirror has seen the block and after, when the copy is complete, while pages move, and when the guest is paused already.
"""
import filecmp
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import qemu
import rig
from qemu import ENDED, SLOW, Guest
from qemu_rig import Pair, Sidecars, both_done, has_moved
from rig import FAILED, check, path, wait_until

DISK_BYTES = 32 << 20
BLOCK_BYTES = 64 << 10
SLOWLY = 2 << 20  # bytes per second: slow enough to write meanwhile, and that the machine stays out of it
FAST = 1 << 40


def guest_with(disk):
    return Guest(devices=("-blockdev", f"driver=file,filename={disk},node-name=disk", "-device", "ide-hd,drive=disk,id=hda"))


class Disks:
    """A VM whose disk is here and not there, and a mirror of it begun."""

    def __init__(self, name, program=qemu.INSTALLED, dest_capabilities=()):
        self.files = [path(f"{name}.{end}.img") for end in ("source", "dest")]
        self.sockets = [path(f"{name}.{end}.nbd") for end in ("source", "dest")]
        with open(self.files[0], "wb") as disk:
            disk.write(os.urandom(DISK_BYTES))
        with open(self.files[1], "wb") as disk:
            disk.truncate(DISK_BYTES)
        self.pair = Pair(program, guest_with(self.files[0]), dest_guest=guest_with(self.files[1]))
        self.pair.dest.capabilities(dest_capabilities)
        self.written = 0
        self.sidecars = Sidecars(self.pair, ["--disks", self.sockets[0]], ["--disks", self.sockets[1]]).begin()

    def mirror(self):
        dest, source = self.pair.dest.qmp, self.pair.source.qmp
        dest.call("nbd-server-start", addr={"type": "unix", "data": {"path": self.sockets[1]}})
        dest.call("block-export-add", type="nbd", id="disk", node_name="disk", name="disk", writable=True)
        source.call("blockdev-add", driver="nbd", node_name="there", server={"type": "unix", "path": self.sockets[0]}, export="disk")
        source.call("blockdev-mirror", job_id="mirror", device="disk", target="there", sync="full", speed=SLOWLY)

    def jobs(self):
        return self.pair.source.qmp.call("query-block-jobs")

    def write(self):
        """One block more, with a number of its own."""
        self.written += 1
        at = self.written * (DISK_BYTES // 64)
        command = f'qemu-io -d hda "write -q -P {self.written} {at} {BLOCK_BYTES}"'
        said = self.pair.source.qmp.call("human-monitor-command", command_line=command)
        check(said == "", f"{command}: {said}")

    def write_while_copied(self):
        """Beyond what has been copied, and before it."""
        check(not self.jobs()[0]["ready"], "the copy is over before anything was written")
        for _ in range(20):
            self.write()
        check(not self.jobs()[0]["ready"], "the copy is over before all was written")

    def finish_copy(self):
        self.pair.source.qmp.call("block-job-set-speed", device="mirror", speed=FAST)
        wait_until("the copy is complete", lambda: self.jobs()[0]["ready"], SLOW)

    def end_mirror(self):
        self.pair.source.qmp.call("block-job-cancel", device="mirror")
        wait_until("the mirror ends", lambda: not self.jobs(), SLOW)
        self.pair.source.qmp.call("blockdev-del", node_name="there")

    def is_there(self):
        with open(self.files[1], "rb") as disk:
            for number in range(1, self.written + 1):
                disk.seek(number * (DISK_BYTES // 64))
                check(disk.read(BLOCK_BYTES) == bytes([number]) * BLOCK_BYTES, f"block {number} of {self.written} is not there")
        check(filecmp.cmp(*self.files, shallow=False), "the disks differ")


def begin_migration(disks):
    """Up to where the guest is paused and QEMU waits."""
    source = disks.pair.source
    source.capabilities(["pause-before-switchover"])
    source.qmp.call("migrate", uri=f"unix:{disks.sidecars.socket}")
    disks.write()

    def paused():
        status = source.migration().get("status")
        check(status not in ENDED, f"the migration has {status}: {disks.sidecars.said()}")
        return status == "pre-switchover"
    wait_until("the guest is paused", paused, SLOW)


def follows(disks):
    """The disk, and then the VM."""
    try:
        disks.mirror()
        disks.write_while_copied()
        disks.finish_copy()
        disks.write()
        begin_migration(disks)
        disks.write()
        disks.end_mirror()
        disks.pair.source.qmp.call("migrate-continue", state="pre-switchover")
        said = disks.pair.source.await_migration()
        disks.pair.dest.qmp.call("nbd-server-stop")
        has_moved(disks.pair, said)
        both_done(disks.sidecars)
        disks.is_there()
    finally:
        disks.pair.close()


def a_disk_is_mirrored_and_the_vm_follows():
    follows(Disks("follows"))


def the_disk_comes_to_a_qemu_with_multifd():
    """Which waits, if it is a newer one, for the first bytes of the migration, while its NBD server is asked for."""
    follows(Disks("waits", qemu.newer_program() or qemu.INSTALLED, ["multifd"]))


def a_mirror_ends_when_the_sidecar_does():
    """The VM runs on at the source, with its disk, and what is written there is read there."""
    disks = Disks("loses")
    try:
        disks.mirror()
        disks.write_while_copied()
        disks.sidecars.dest.signal(9)
        wait_until("QEMU sees that the mirror is gone", lambda: not disks.jobs(), SLOW)
        done = disks.sidecars.source.wait(SLOW)
        check(done.status == FAILED and done.err.splitlines()[-1].startswith("decant proxy source: "), str(done))
        disks.write()
        check(disks.pair.source.status() == "running", f"the source is {disks.pair.source.status()}")
        verdict = disks.pair.source.verdict()
        check(verdict == "ok", verdict)
    finally:
        disks.pair.close()


rig.skip_without_kvm()
rig.main([
    a_disk_is_mirrored_and_the_vm_follows,
    the_disk_comes_to_a_qemu_with_multifd,
    a_mirror_ends_when_the_sidecar_does,
])

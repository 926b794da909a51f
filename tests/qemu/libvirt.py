#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""libvirt.py -- `virsh migrate` between two libvirtd, through decant's two sidecars

libvirt knows nothing of decant: it is told a UNIX socket to migrate to, and one for disks. The sidecars know nothing of libvirt: they are
given no monitor, and find the guest's memory by the process that writes to the socket. The guest judges its memory at the other host.
"""
import filecmp
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import libvirt_host
import rig
from libvirt_host import SHARE, SLOW, Domain, LibvirtHost, create
from rig import DONE, FAILED, Host, check, path, wait_until

MEMORY = 128  # MiB
DISK_BYTES = 24 << 20
PATTERN_BYTES = 100 << 10
BLOCKS_MAX = 20

sidecars_host = Host("sidecars")


class Sidecars:
    """One at each host, for one migration from @here to @there."""

    def __init__(self, here, there, disks=False):
        self.here, self.there, self.disks = here, there, disks
        self.dest = sidecars_host.start("proxy", "dest", "--listen", "127.0.0.1:0", *self._sockets(there))
        address = self.dest.wait_for(r"listening on (\S+:\d+)", SLOW).group(1)
        self.report_file = path(f"{self.dest.pid}.report")
        self.source = sidecars_host.start("proxy", "source", "--peer", address, *self._sockets(here), "--report", self.report_file)
        self.source.wait_for("waiting for QEMU", SLOW)

    def _sockets(self, host):
        words = ["--qemu-socket", os.path.join(host.share, "vm.sock")]
        return [*words, "--disks", os.path.join(host.share, "disks.sock")] if self.disks else words

    def words(self, name, more=()):
        """virsh's, besides which host it asks."""
        disks = ["--copy-storage-all", "--disks-uri", f"unix://{SHARE}/disks.sock"] if self.disks else []
        return ["migrate", name, "--live", "--desturi", self.there.uri, "--migrateuri", f"unix://{SHARE}/vm.sock", *disks, *more]

    def said(self):
        return f"{self.source.done()}\n{self.dest.done()}"

    def succeed(self):
        """The source's report; the memory has not gone through QEMU's stream."""
        for process in (self.source, self.dest):
            check(process.wait(SLOW).status == DONE, f"{self.said()}")
        report = rig.read_report(self.report_file)
        facts = [not report["fallback"], report["region_bytes"] == MEMORY << 20, report["sent_bytes"] > report["stream_bytes"] // 4,
                 report["forwarded_bytes"] < report["stream_bytes"] // 4]
        check(all(facts), f"what was moved, and how: {facts}: {report}")
        return report


def has_moved(name, here, there):
    """The Domain at @there, with its memory as it was."""
    check(name not in here.domains(), f"{name} is still known at {here.name}")
    domain = Domain(there, name)
    check(domain.state() == "running", f"{name} at {there.name} is {domain.state()}")
    domain.memory.is_going()
    verdict = domain.memory.verdict()
    check(verdict == "ok", verdict)
    return domain


def migrate(name, here, there, *more):
    sidecars = Sidecars(here, there)
    done = here.virsh(*sidecars.words(name, more))
    check(done.returncode == 0, f"virsh migrate: {done.stderr.strip()}\n{sidecars.said()}")
    return sidecars.succeed(), has_moved(name, here, there)


def there_and_back():
    """First as the client that speaks to both daemons, then from daemon to daemon."""
    create(one, "roamer", MEMORY, vcpus=2).memory.close()
    migrate("roamer", one, two)[1].memory.close()
    migrate("roamer", two, one, "--p2p")[1].destroy()


def several_connections():
    """multifd at both ends: the destination's QEMU, too, waits for connections."""
    create(one, "wide", MEMORY).memory.close()
    report, domain = migrate("wide", one, two, "--parallel", "--parallel-connections", "3")
    domain.destroy()
    check(report["connections"] == 4, f"the main connection, and three more: {report}")


class Writer:
    """Writes the disk of a VM whose guest has no driver: in its QEMU, by the monitor. Each block has a number of its own."""

    def __init__(self, domain):
        self.domain, self.written = domain, 0

    def may_write(self):
        """As long as the first copy of the disk goes on: so never when QEMU has given the disk up, which would end it."""
        return any(not job["ready"] for job in self.domain.call("query-block-jobs"))

    def write(self):
        self.written += 1
        command = f'qemu-io -d ide0-0-0 "write -q -P {self.written} {self.written}M {PATTERN_BYTES}"'
        said = self.domain.call("human-monitor-command", command_line=command)
        check(said == "", f"{command}: {said}")

    def is_in(self, name):
        with open(name, "rb") as disk:
            for number in range(1, self.written + 1):
                disk.seek(number << 20)
                check(disk.read(PATTERN_BYTES) == bytes([number]) * PATTERN_BYTES, f"{name}: block {number} is not there")


def make_disks(here, there):
    """Something at @here, nothing at @there."""
    files = [os.path.join(host.share, "disk.img") for host in (here, there)]
    with open(files[0], "wb") as disk:
        disk.write(os.urandom(DISK_BYTES))
    with open(files[1], "wb") as disk:
        disk.truncate(DISK_BYTES)
    return files


def a_disk_that_is_written_meanwhile():
    files = make_disks(one, two)
    domain = create(one, "owner", MEMORY, stress="wss=4M data=32M rate=4M", disk=True)
    writer = Writer(domain)
    sidecars = Sidecars(one, two, disks=True)
    with one.begin(*sidecars.words("owner", ["--p2p", "--bandwidth", str((DISK_BYTES >> 20) // 2)])) as migration:
        wait_until("the disk is copied", lambda: domain.call("query-block-jobs") or migration.poll() is not None, SLOW)
        while writer.written < BLOCKS_MAX and migration.poll() is None and writer.may_write():
            writer.write()
        said = migration.communicate(timeout=SLOW)
    domain.memory.close()
    check(migration.returncode == 0, f"virsh migrate: {said}\n{sidecars.said()}")
    check(writer.written > 0, "nothing was written while the disk was copied")
    report = sidecars.succeed()
    check(report["disk_connections"] > 0 and report["disk_bytes"] >= DISK_BYTES, f"the disk went another way: {report}")
    has_moved("owner", one, two).destroy()
    writer.is_in(files[1])
    check(filecmp.cmp(*files, shallow=False), "the disks differ")


def stays(breaks, survivors):
    """What @breaks does to a migration that is under way leaves the VM where it was, and the sidecars @survivors say why they end."""
    domain = create(one, "stayer", MEMORY)
    sidecars = Sidecars(one, two)
    with one.begin(*sidecars.words("stayer", ["--bandwidth", "4"])) as migration:
        wait_until("pages move", lambda: domain.call("query-migrate").get("ram", {}).get("transferred", 0) > 1 << 20, SLOW)
        breaks(sidecars)
        said = migration.communicate(timeout=SLOW)
    check(migration.returncode != 0, f"virsh migrate has succeeded: {said}\n{sidecars.said()}")
    for name in survivors:
        done = getattr(sidecars, name).wait(SLOW)
        check(done.status == FAILED and done.err.splitlines()[-1].startswith("decant proxy"), str(done))
    check(two.domains() == [], f"at the other host there is {two.domains()}")
    domain.memory.close()
    has_moved("stayer", two, one).destroy()


def stays_when_a_sidecar_is_killed():
    stays(lambda sidecars: sidecars.source.signal(signal.SIGKILL), ["dest"])
    stays(lambda sidecars: sidecars.dest.signal(signal.SIGKILL), ["source"])


def stays_when_it_is_cancelled():
    stays(lambda sidecars: one.ask("domjobabort", "stayer"), ["source", "dest"])


rig.skip_without_kvm()
rig.skip_without_root()
libvirt_host.skip_without_libvirt()
one, two = LibvirtHost("one"), LibvirtHost("two")
for ready in (one, two):
    ready.connect()
rig.main([
    there_and_back,
    several_connections,
    a_disk_that_is_written_meanwhile,
    stays_when_a_sidecar_is_killed,
    stays_when_it_is_cancelled,
])

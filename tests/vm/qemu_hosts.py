#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""qemu_hosts.py -- Debian's QEMU, unmodified, with a Linux guest in nested KVM, moves it there and back between two hosts

Runs on the first of the two VMs of `tests/vm/run --hosts 2 --rails 2 --rdma`. As TAP: the way there, the way back and what the guest, its
peer and its disk say in the end. A way is `sidecars` or `migrate`: over RDMA, by two sidecars and QEMU's own command or by `decant migrate
--qmp` and one. Or it is QEMU's own `tcp` or `rdma`, to see that the guest and its checks are sound.
"""
import argparse
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile

import checked_guest
import qemu
from checked_guest import HOSTS, SECONDS, Failure, Qemu, address, await_work
from main_job_hosts import KEY, ON_HOST2, resources, share_key

DECANT = os.environ.get("DECANT", "build/decant")
BANDWIDTH = 1 << 40  # without a limit
DOWNTIME_MS = 1000


def start_migration(source, uri):
    source.qmp.call("migrate-set-parameters", max_bandwidth=BANDWIDTH, downtime_limit=DOWNTIME_MS)
    source.qmp.events.clear()  # those of the move that brought the guest here
    source.qmp.call("migrate", uri=uri)


def own_way(scheme, *capabilities):
    """QEMU's own, without decant: what the guest and its checks are to be judged by."""
    def way(source, dest):
        for end in (source, dest):
            end.capabilities("events", *capabilities)
        uri = f"{scheme}:{address(dest.host)}:{qemu.MIGRATION_PORT}"
        dest.qmp.call("migrate-incoming", uri=uri)
        start_migration(source, uri)
        source.qmp.await_migration()
        dest.qmp.call("cont")
    return way


@contextlib.contextmanager
def decant(host, *words):
    """One at that host, with the key, which must end well when the block does; what it has said is told with a failure."""
    child = subprocess.Popen([*HOSTS[host], DECANT, *words, "--key-file", KEY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True)
    try:
        yield child
        said = child.communicate(timeout=SECONDS)[0]
    except (Failure, qemu.Unmeasured, subprocess.TimeoutExpired) as why:
        child.terminate()
        raise Failure(f"{why}\n# `decant {' '.join(words)}`: {(child.communicate()[0] or '').strip()}") from None
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    if child.returncode != 0:
        raise Failure(f"`decant {' '.join(words)}`: status {child.returncode}: {said.strip()}")


def first_words(child, pattern):
    """What the first line says that it has printed."""
    line = child.stdout.readline()
    found = re.search(pattern, line)
    if not found:
        raise Failure(f"{' '.join(child.args)}: \"{line.strip()}\", not /{pattern}/")
    return found


@contextlib.contextmanager
def dest_sidecar(dest):
    """Beside a QEMU that waits to be told where to listen; where to reach it."""
    with decant(dest.host, "proxy", "dest", "--listen", f"{address(dest.host)}:0", "--qemu-socket", f"/run/{dest.name}.socket",
                "--qmp", dest.monitor) as child:
        yield first_words(child, r"listening on (\S+)").group(1)


def check_report(path, **facts):
    with open(path, encoding="utf-8") as text:
        report = json.load(text)
    wrong = [name for name, value in {"outcome": "completed", "fabric": "rdma", **facts}.items() if report[name] != value]
    if wrong:
        raise Failure(f"does not hold: {', '.join(wrong)}: {json.dumps(report)}")
    return report


def leaves_nothing(way):
    """A way after which both hosts have no more RDMA resources than before, with both QEMUs still there."""
    def move(source, dest):
        before = resources(), resources(ON_HOST2)
        way(source, dest)
        if (after := (resources(), resources(ON_HOST2))) != before:
            raise Failure(f"RDMA resources before: {before}, and with the guest moved: {after}")
    return move


@leaves_nothing
def by_sidecars(source, dest):
    """The destination is started by us, as libvirt would."""
    socket, report = f"/run/{source.name}.socket", os.path.join(source.folder, "report.json")
    for end in (source, dest):
        end.capabilities("events", "return-path")
    words = ("--qemu-socket", socket, "--qmp", source.monitor, "--fabric", "rdma", "--report", report)
    with dest_sidecar(dest) as peer, decant(source.host, "proxy", "source", "--peer", peer, *words) as here:
        first_words(here, "waiting for QEMU")
        start_migration(source, f"unix:{socket}")
        source.qmp.await_migration()
        dest.qmp.call("cont")
    told = check_report(report, fallback=False)
    print(f"# {told['sent_bytes'] >> 20} MiB over {told['channels']} channels, {told['forwarded_bytes'] >> 10} KiB of the stream passed on, "
          f"{told['drain_ms']:.0f} ms to wait for the last of the memory, {told['cpu_ms']:.0f} ms of CPU", flush=True)


@leaves_nothing
def by_migrate(source, dest):
    """All in one step; decant starts the destination."""
    report = os.path.join(source.folder, "report.json")
    for end in (source, dest):
        end.capabilities("return-path")
    words = ("--fabric", "rdma", "--max-downtime", f"{DOWNTIME_MS}ms", "--report", report)
    with dest_sidecar(dest) as peer, decant(source.host, "migrate", "--qmp", source.monitor, peer, *words):
        pass
    check_report(report)


WAYS = {
    "sidecars": by_sidecars,
    "migrate": by_migrate,
    "tcp": own_way("tcp", "return-path"),
    "rdma": own_way("rdma"),
}


def move(way, source, folder, stack):
    """The guest goes on at another host: its QEMU there."""
    dest = Qemu(3 - source.host, folder, incoming=True)
    stack.callback(dest.end)
    WAYS[way](source, dest)
    told = source.qmp.call("query-migrate")
    print(f"# {way}: {told['total-time']} ms, pause {told['downtime']} ms, {told['ram']['transferred'] >> 20} MiB, as QEMU says", flush=True)
    if source.status() != "postmigrate" or dest.status() != "running":
        raise Failure(f"the source is {source.status()}, the destination {dest.status()}")
    print(f"# {await_work(dest.console)}", flush=True)
    source.end()
    return dest


def points(ways, folder):
    """Each yields the name of what has held."""
    with contextlib.ExitStack() as stack:
        share_key()
        checked_guest.prepare(folder)
        stack.enter_context(checked_guest.Network())
        peer = stack.enter_context(checked_guest.Peer())
        guest = Qemu(1, folder, incoming=False)
        stack.callback(guest.end)
        guest.console.expect("checker works")
        print(f"# {await_work(guest.console)}", flush=True)
        yield "the guest works"
        for way in ways:
            guest = move(way, guest, folder, stack)
            yield f"it goes on at host{guest.host}, by {way}"
        seen = checked_guest.judge(guest, folder, peer)
        print(f"# {seen['bytes']} bytes there and back, at most {seen['silence']:.1f} s apart", flush=True)
        yield "nothing is lost or doubled in its memory, on its disk and in its connection"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--way", action="append", choices=WAYS, help="one for each move: the first is to host2")
    ways = parser.parse_args().way or ["sidecars", "migrate"]
    if not checked_guest.SHARED:
        print("SKIP: there is no second host; run it in tests/vm/run --hosts 2 --rails 2 --rdma")
        return 77
    print(f"1..{len(ways) + 2}", flush=True)
    number = 1
    with tempfile.TemporaryDirectory(dir=checked_guest.SHARED) as folder:
        try:
            for name in points(ways, folder):
                print(f"ok {number} - {name}", flush=True)
                number += 1
        except (Failure, qemu.Unmeasured, OSError) as why:
            print(f"not ok {number} - QEMU's Linux guest between two hosts\n# {why}", flush=True)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

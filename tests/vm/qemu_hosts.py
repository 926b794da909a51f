#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""qemu_hosts.py -- Debian's QEMU, unmodified, with a Linux guest in nested KVM, moves it there and back between two hosts

Runs on the first of the two VMs of `tests/vm/run --hosts 2 --rails 2 --rdma`. As TAP: the way there, the way back and what the guest, its
peer and its disk say in the end. A way is tcp or rdma: QEMU's own.
"""
import argparse
import contextlib
import os
import sys
import tempfile
import time

import checked_guest
import qemu
from checked_guest import Failure, Qemu, address, await_work

BANDWIDTH = 1 << 40  # without a limit
DOWNTIME_MS = 1000


def start_migration(source, uri):
    source.qmp.call("migrate-set-parameters", max_bandwidth=BANDWIDTH, downtime_limit=DOWNTIME_MS)
    source.qmp.events.clear()  # those of the move that brought the guest here
    source.qmp.call("migrate", uri=uri)


def own_way(scheme, *capabilities):
    """QEMU's own, without decant: what the guest and its checks are to be judged by."""
    def move(source, dest):
        for end in (source, dest):
            end.capabilities("events", *capabilities)
        uri = f"{scheme}:{address(dest.host)}:{qemu.MIGRATION_PORT}"
        dest.qmp.call("migrate-incoming", uri=uri)
        start_migration(source, uri)
        source.qmp.await_migration()
        dest.qmp.call("cont")
    return move


WAYS = {
    "tcp": own_way("tcp", "return-path"),
    "rdma": own_way("rdma"),
}


def move(way, source, folder, stack):
    """The guest goes on at another host: its QEMU there."""
    dest = Qemu(3 - source.host, folder, incoming=True)
    stack.callback(dest.end)
    began = time.monotonic()
    WAYS[way](source, dest)
    seconds = time.monotonic() - began
    told = source.qmp.call("query-migrate")
    print(f"# {way}: {seconds:.1f} s, pause {told.get('downtime')} ms, {told['ram']['transferred'] >> 20} MiB on QEMU's socket", flush=True)
    if source.status() != "postmigrate" or dest.status() != "running":
        raise Failure(f"the source is {source.status()}, the destination {dest.status()}")
    print(f"# {await_work(dest.console)}", flush=True)
    source.end()
    return dest


def points(ways, folder):
    """Each yields the name of what has held."""
    with contextlib.ExitStack() as stack:
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
    ways = parser.parse_args().way or ["tcp", "tcp"]
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

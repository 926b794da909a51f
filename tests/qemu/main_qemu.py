#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""main_qemu.py -- a guest of an unmodified QEMU moves through decant's two sidecars, and finds its memory as it was

As TAP: every way that is accepted, once, and every one that is refused, in decant's own words, while the guest runs on; for the installed
QEMU, and for QEMU 10 where it is.
"""
import argparse
import contextlib
import dataclasses
import fcntl
import functools
import json
import os
import subprocess
import sys
import time
import typing

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import qemu
import qemu_rig
import rig
from qemu import SLOW, Guest
from qemu_rig import Pair, Sidecars, both_done, has_moved
from rig import DONE, FAILED, Skip, check, path, wait_until

SMALL = Guest()
HUGE_LOCK = "/run/decant-test-hugepages.lock"


@contextlib.contextmanager
def sidecars(program, source_words=(), dest_words=(), monitors=True, capabilities=(), parameters=None, **how):
    """A pair with two sidecars that are ready; what fails is told with what they have said."""
    pair = Pair(program, **how)
    both = None
    try:
        # decant raises it where it has the monitor; here nothing else should be slow
        pair.source.qmp.call("migrate-set-parameters", **{"max-bandwidth": qemu_rig.UNLIMITED, **(parameters or {})})
        pair.source.capabilities(capabilities)
        both = Sidecars(pair, source_words, dest_words, monitors)
        both.begin()
        yield both
    except Exception as problem:
        said = f"\n{both.said()}" if both else ""
        raise rig.Failure(f"{rig.describe(problem)}{said}\nsource: {pair.source.said()}\ndestination: {pair.dest.said()}") from problem
    finally:
        pair.close()


def moves(both, after=lambda: None):
    """One migration, all that must hold of it."""
    both.pair.source.qmp.call("migrate", uri=f"unix:{both.socket}")
    after()
    said = both.pair.source.await_migration()
    both_done(both)
    has_moved(both.pair, said)
    return said


# ---- what is accepted ----

def plain(program):
    with sidecars(program) as both:
        moves(both)


def listening(program):
    """QEMU waits at a socket already, and neither sidecar is given a monitor: so it is under libvirt."""
    with sidecars(program, monitors=False, listen="unix") as both:
        moves(both)


def multifd(program):
    with sidecars(program, capabilities=["multifd"], parameters={"multifd-channels": 2}, guest=Guest(memory=128, vcpus=2)) as both:
        moves(both)


def multifd_there(program):
    """QEMU at the destination waits for connections that the other has none of."""
    with sidecars(program) as both:
        both.pair.dest.capabilities(["multifd"])
        moves(both)


def multifd_at_both_ends(program):
    """As libvirt turns it on: the destination's QEMU waits for connections over which nothing comes, and no sidecar has a monitor."""
    channels = {"multifd-channels": 3}
    with sidecars(program, monitors=False, capabilities=["multifd"], parameters=channels, guest=Guest(memory=128, vcpus=2)) as both:
        dest = both.pair.dest
        dest.capabilities(["multifd"])
        dest.qmp.call("migrate-set-parameters", **channels)
        dest.qmp.call("migrate-incoming", uri=f"unix:{both.pair.incoming}")
        moves(both)


def fallback(program):
    """Memory that is not shared: all of it passes in the stream, as it is."""
    with sidecars(program, ["--fallback"], guest=Guest(backing="anonymous")) as both:
        moves(both)


def nodes(program):
    with sidecars(program, guest=Guest(memory=96, nodes=2, vcpus=2)) as both:
        moves(both)


def file(program):
    with sidecars(program, guest=Guest(backing="file")) as both:
        moves(both)


def file_to_memfd(program):
    with sidecars(program, guest=Guest(backing="file"), dest_guest=Guest()) as both:
        moves(both)


def huge(program):
    pages = 2 * SMALL.memory // 2
    with open(HUGE_LOCK, "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with rig.huge_pages(pages), sidecars(program, guest=Guest(backing="huge")) as both:
            moves(both)


def video_memory(program):
    """A block that is not shared, and large: its pages pass in the stream, among the others."""
    with sidecars(program, guest=Guest(devices=("-vga", "std"))) as both:
        moves(both)


def write_key(name):
    with open(name, "wb") as out:
        os.fchmod(out.fileno(), 0o600)
        out.write(os.urandom(32).hex().encode())
    return name


def key(program):
    name = write_key(path("key"))
    with sidecars(program, ["--key-file", name], ["--key-file", name]) as both:
        moves(both)


def hot(program):
    """A working set that does not fit into the pause at first: QEMU slows the guest down."""
    guest = Guest(memory=128, stress=("wss=64M", "data=16M", "zero=2M"))
    with sidecars(program, capabilities=["auto-converge"], guest=guest, parameters={
            "downtime-limit": 20, "cpu-throttle-initial": 50, "cpu-throttle-increment": 40}) as both:
        moves(both)


def throttled(program):
    with sidecars(program, guest=Guest(stress=("wss=8M", "data=16M", "zero=2M", "rate=40M"))) as both:
        moves(both)


def pause(program):
    """pause-before-switchover: somebody else decides when the guest stands still, as libvirt does."""
    with sidecars(program, capabilities=["pause-before-switchover"]) as both:
        def go_on():
            wait_until("QEMU waits", lambda: both.pair.source.migration()["status"] == "pre-switchover", SLOW)
            both.pair.source.qmp.call("migrate-continue", state="pre-switchover")
        moves(both, go_on)


def capabilities(program):
    """Those without an effect on the stream, all at once."""
    wanted = ["events", "late-block-activate", "validate-uuid", "auto-converge"]
    if qemu.version(program) >= (8, 1):
        wanted += ["return-path", "switchover-ack"]
    uuid = ("-uuid", "2f3b1c3e-8f0e-4f0a-9d1b-54b2f6f1a001")
    with sidecars(program, capabilities=wanted, source_more=uuid, dest_more=("-S", *uuid)) as both:
        both.pair.dest.capabilities(wanted)
        moves(both)


@dataclasses.dataclass(frozen=True)
class Switch:
    """A capability that is on at both ends: what it needs, and how it is seen at work where it does anything."""
    since: tuple = (7, 2)  # the first QEMU that has it
    guest: Guest = SMALL
    before: typing.Callable = lambda both: None
    after: typing.Callable = lambda both: None


BITMAP = {"node": "disk", "name": "bitmap0"}
BITMAP_BLOCK = 64 << 10  # what one bit stands for, unless it is told
BITMAP_BLOCKS = 3
# Without the ring QEMU has no dirty-limit. As many entries as a guest could fill, and a fabric that is quick: kvm_pvm has a guest that
# writes for long stand still or lose writes with it, with QEMU alone, too; so how QEMU slows a guest down is not seen here
DIRTY_RING = ("kvm,dirty-ring-size=65536",)


def give_bitmap(both):
    """To a disk that both see, and some blocks are written."""
    with open(path(f"{both.pair.source.name}.img"), "wb") as disk:
        disk.truncate(64 << 20)
    for end in (both.pair.source, both.pair.dest):
        end.qmp.call("blockdev-add", driver="file", node_name="disk", filename=disk.name)
    both.pair.source.qmp.call("block-dirty-bitmap-add", **BITMAP)
    for number in range(BITMAP_BLOCKS):
        command = f'qemu-io disk "write -q {8 * number * BITMAP_BLOCK} {BITMAP_BLOCK}"'
        said = both.pair.source.qmp.call("human-monitor-command", command_line=command)
        check(said == "", f"{command}: {said}")


def bitmap_is_there(both):
    node, = both.pair.dest.qmp.call("query-named-block-nodes")
    found = [(bitmap["name"], bitmap["count"]) for bitmap in node.get("dirty-bitmaps", [])]
    check(found == [("bitmap0", BITMAP_BLOCKS * BITMAP_BLOCK)], f"the bitmaps are {found}")


SWITCHES = {
    "dirty-bitmaps": Switch(before=give_bitmap, after=bitmap_is_there),
    "dirty-limit": Switch(since=(8, 1), guest=Guest(accel=DIRTY_RING)),  # 7.2 has none
    "postcopy-blocktime": Switch(),
    "rdma-pin-all": Switch(),
    "zero-blocks": Switch(),
}


def has_on(one, name):
    return {"capability": name, "state": True} in one.qmp.call("query-migrate-capabilities")


def switches(name):
    switch = SWITCHES[name]

    def case(program):
        with sidecars(program, capabilities=[name], guest=switch.guest) as both:
            both.pair.dest.capabilities([name])
            switch.before(both)
            moves(both)
            switch.after(both)
            check(has_on(both.pair.source, name) and has_on(both.pair.dest, name), f"{name} was turned off")
    case.__name__ = f"with_{name}"
    return case


def older_machine(program):
    """From Debian's QEMU to the newer one, and what that knows more is not told to the older."""
    for source, dest in ((qemu.INSTALLED, program), (program, qemu.INSTALLED)):
        with sidecars(source, dest_program=dest, guest=Guest(machine="pc-i440fx-7.2")) as both:
            moves(both)


def twice(program):
    """A guest that has come goes on to a third QEMU: nothing of the first journey is left at it."""
    with sidecars(program) as both:
        moves(both)
        with contextlib.closing(Pair.onward(both.pair, "dest")) as pair:
            both = Sidecars(pair).begin()
            moves(both)


def limit(pair):
    return pair.source.qmp.call("query-migrate-parameters")["max-bandwidth"]


def one_step(program):
    """`decant migrate --qmp`: it sets what is to be set and puts it back, and has the guest started there."""
    with contextlib.closing(Pair(program)) as pair:
        before = limit(pair)
        both = Sidecars(pair)
        done = both.host.decant("migrate", "--qmp", pair.source.decant_monitor, both.address, "--json", seconds=SLOW)
        report = json.loads(done.succeeded().out.splitlines()[-1])["report"]
        check(report["outcome"] == "completed" and report["guest_there"] == "running", f"{report}")
        check(both.dest.wait(SLOW).status == DONE, str(both.dest.done()))
        check(limit(pair) == before, f"max-bandwidth is {limit(pair)}, and was {before}")
        has_moved(pair, pair.source.migration(), start=False)


def refuses_in_one_step(program):
    """In one line, too, with nothing changed."""
    with contextlib.closing(Pair(program, dest_more=())) as pair:
        before = limit(pair)
        both = Sidecars(pair)
        done = both.host.decant("migrate", "--qmp", pair.source.decant_monitor, both.address, seconds=SLOW)
        done.refused(FAILED, "not started with -S")
        check(limit(pair) == before, f"max-bandwidth is {limit(pair)}, and was {before}")
        pair.source.is_going()
        is_over(both.dest)


def cancelled(program):
    """By QMP, while a push waits for the fabric: the guest goes on here, and nothing there could be started."""
    with sidecars(program, ["--bandwidth", "500K"]) as both:
        source, dest = both.pair.source, both.pair.dest
        source.qmp.call("migrate", uri=f"unix:{both.socket}")
        qemu_rig.until_held_up(source)
        source.qmp.call("migrate_cancel")
        said = source.await_migration()
        # QEMU says either, as its threads come to see it
        check(said["status"] in ("cancelled", "failed"), f"the migration has {said['status']}")
        refused_at(both.source, ["QEMU has closed it before the end of RAM: the migration was cancelled"])
        refused_at(both.dest, ["at the source: QEMU's stream.*the migration was cancelled"])
        check(source.status() == "running", f"the source is {source.status()}")
        source.is_going()
        check(source.verdict() == "ok", source.verdict())
        check(qemu_rig.stands_or_gone(dest), "the guest runs at the destination")


ACCEPTED = (plain, one_step, listening, multifd, multifd_there, multifd_at_both_ends, fallback, nodes, file, file_to_memfd, huge, video_memory,
            key, hot, throttled, pause, capabilities, older_machine, twice, cancelled)
LONG = (multifd_at_both_ends, file_to_memfd, hot, throttled, twice, cancelled)  # with --all
NEWER = (plain, multifd)  # without
NEWER_SETTINGS = ("mapped-ram", "mode")


# ---- what is refused ----

# name: capabilities that are on, those that are off, parameters, what the one clear line must say
SETTINGS = {name: ((name,), (), {}, (f"capability {name} is on", "turn it off")) for name in (
    "block", "compress", "mapped-ram", "postcopy-ram", "release-ram", "x-colo", "x-ignore-shared", "xbzrle")}
SETTINGS |= {
    "background-snapshot": (("background-snapshot",), ("return-path",), {}, ("background-snapshot is on", "turn it off")),
    "zero-copy-send": (("multifd", "zero-copy-send"), (), {}, ("zero-copy-send is on", "turn it off")),
    "postcopy-preempt": (("postcopy-ram", "postcopy-preempt"), (), {}, ("postcopy-preempt is on", "turn it off")),
    "multifd-compression": (("multifd",), (), {"multifd-compression": "zlib"}, ("multifd-compression is zlib", "set it")),
    "tls-creds": ((), (), {"tls-creds": "tls0"}, ("tls-creds is set", "set it")),
    "mode": ((), (), {"mode": "cpr-reboot"}, ("mode is cpr-reboot", "set it")),
}
USUAL = {"multifd-compression": "none", "tls-creds": "", "mode": "normal"}


@functools.cache
def shared(program):
    """A pair that is never moved, since all is refused before."""
    return Pair(program)


@contextlib.contextmanager
def settings(program, name):
    """The source of the shared pair, with what is to be refused; rig.QmpError if this QEMU has nothing of the kind."""
    on, off, parameters, _ = SETTINGS[name]
    source = shared(program).source
    try:
        source.capabilities(off, False)
        for one in on:
            source.capabilities([one])
        source.qmp.call("migrate-set-parameters", **parameters)
        yield
    finally:
        for one in reversed(on):
            with contextlib.suppress(qemu.QmpError):
                source.capabilities([one], False)
        source.capabilities(off)
        if parameters:
            with contextlib.suppress(qemu.QmpError):
                source.qmp.call("migrate-set-parameters", **{key: USUAL[key] for key in parameters})


def known_settings(program):
    """Those that this QEMU has, on this host."""
    for name in SETTINGS:
        try:
            with settings(program, name):
                yield name
        except qemu.QmpError as why:
            print(f"# nothing to refuse: {name}: {why}")


def refused_at(process, patterns):
    process.wait(SLOW).refused(FAILED, *patterns)


def is_refused(both, *patterns):
    """By the source's sidecar, at once or when QEMU comes; its guest runs on, and the other sidecar has one line or waits for the next."""
    if both.source.popen.poll() is None:
        check(both.migrate()["status"] == "failed", "the migration did not fail")
    refused_at(both.source, patterns)
    wait_until("the guest runs on", lambda: both.pair.source.status() == "running", SLOW)
    both.pair.source.is_going()
    check(both.pair.dest.stands_still(), "the guest runs at the destination")
    is_over(both.dest)


def is_over(sidecar):
    """It has one line, or it waits for another source and is told to stop."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        sidecar.popen.wait(1)
    if sidecar.popen.poll() is None:
        sidecar.popen.terminate()
        done = sidecar.wait(SLOW)
        check(done.status == FAILED and "stopped" in done.err, str(done))
    else:
        refused_at(sidecar, ())


def refuses_setting(name):
    def case(program):
        with settings(program, name):
            both = Sidecars(shared(program)).begin()
            is_refused(both, *SETTINGS[name][3])
    case.__name__ = f"refuses_{name}"
    return case


def refuses(program, *patterns, **how):
    with sidecars(program, **how) as both:
        is_refused(both, *patterns)


def refuses_private_memory(program):
    refuses(program, "share=on", guest=Guest(backing="memfd-private"))


def refuses_anonymous_memory(program):
    refuses(program, "share=on", guest=Guest(backing="anonymous"))


def refuses_private_memory_there(program):
    refuses(program, "peer says", "share=on", dest_guest=Guest(backing="memfd-private"))


def refuses_one_that_does_not_wait(program):
    refuses(program, "peer says", "not started with -S", dest_more=())


def refuses_no_return_path(program):
    with sidecars(program, monitors=False, listen="unix") as both:
        both.pair.source.capabilities(["return-path"], False)
        is_refused(both, "return-path")


def refuses_other_machine(program):
    refuses(program, "machine type", dest_guest=Guest(machine="q35"))


def refuses_other_size(program):
    refuses(program, "bytes", "-m 64M", dest_guest=Guest(memory=96))


def refuses_balloon(program):
    refuses(program, "balloon", "device_del", guest=Guest(devices=("-device", "virtio-balloon-pci,id=balloon")))


def refuses_virtio_mem(program):
    devices = ("-m", "size=64M,slots=1,maxmem=256M", "-object", "memory-backend-memfd,id=more,size=64M,share=on",
               "-device", "virtio-mem-pci,id=vmem,memdev=more,requested-size=0")
    refuses(program, "virtio-mem", "remove it", guest=Guest(devices=devices))


def refuses_another_key(program):
    names = [path("key-here"), path("key-there")]
    for name in names:
        write_key(name)
    with sidecars(program, ["--key-file", names[0]], ["--key-file", names[1]]) as both:
        is_refused(both, "key")


REFUSED = (refuses_in_one_step, refuses_private_memory, refuses_anonymous_memory, refuses_private_memory_there, refuses_one_that_does_not_wait,
           refuses_no_return_path, refuses_other_machine, refuses_other_size, refuses_balloon, refuses_virtio_mem, refuses_another_key)
CASES = {case.__name__: case for case in ACCEPTED + REFUSED}
CASES |= {f"refuses_{name}": refuses_setting(name) for name in SETTINGS}
CASES |= {f"with_{name}": switches(name) for name in SWITCHES}


def names_of(program, which, everything):
    accepted = [case for case in ACCEPTED if which == "newer" or case is not older_machine]
    refused, settings_of = list(REFUSED), list(known_settings(program))
    switched = [f"with_{name}" for name, switch in SWITCHES.items() if qemu.version(program) >= switch.since]
    if not everything:
        accepted, switched = [case for case in accepted if case not in LONG], []
    if not everything and which == "newer":
        accepted, refused = NEWER, []
        settings_of = [name for name in settings_of if name in NEWER_SETTINGS]
    return [case.__name__ for case in accepted] + switched + [f"refuses_{name}" for name in settings_of] + [case.__name__ for case in refused]


def chosen(options, which):
    """Triples: what is said of it, the program, the function."""
    program = qemu.program_named(which)
    version = ".".join(map(str, qemu.version(program)))
    names = options.case or names_of(program, which, options.all)
    return [(f"{name}, QEMU {version}", program, CASES[name]) for name in names]


def run(cases):
    """As TAP."""
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for number, (name, program, case) in enumerate(cases, 1):
        started = time.monotonic()
        try:
            case(program)
            print(f"ok {number} - {name}\n# {time.monotonic() - started:.1f} s", flush=True)
        except Exception as problem:  # pylint: disable=broad-except
            failed += 1
            print("".join(f"# {line}\n" for line in rig.describe(problem).splitlines()), end="")
            print(f"not ok {number} - {name}", flush=True)
    return 1 if failed else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", choices=("installed", "newer", "both"), default="both", help="both: QEMU 10, too, where it is")
    parser.add_argument("--all", action="store_true", help="those that `make check` leaves to `make check-long`, too")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("case", nargs="*", choices=[[], *CASES], help="all unless given")
    options = parser.parse_args()
    which = ["installed", *(["newer"] if qemu.newer_program() else [])] if options.qemu == "both" else [options.qemu]
    try:
        cases = [case for one in which for case in chosen(options, one)]
    except Skip as why:
        print(f"SKIP: {why}")
        return 77
    return run(cases * options.runs)


if __name__ == "__main__":
    sys.exit(main())

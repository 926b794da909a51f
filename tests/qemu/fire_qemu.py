#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fire_qemu.py -- decant's sidecars under fire: two real QEMUs, and something goes wrong at a stage of their migration

Between each QEMU and its sidecar stands a relay that knows QEMU's stream; where it has to break, the network between the sidecars is
one of fire_net. After each: the guest runs at one place, or can be let go on at one place, nobody has started it at the destination, and it is
well. As TAP: a chosen few, STAGE:FAULT, with :one-step for `decant migrate --qmp`; with --all all of them, of which --slice takes a part.
"""
import argparse
import concurrent.futures
import contextlib
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import fire_net as net
import qemu
import qemu_rig
import qemu_stream
import rig
from fire_cell import Beats
from qemu import SLOW, Guest
from rig import DONE, FAILED, IN_DOUBT, Failure, check, wait_until

# What the relay beside the source's QEMU sees; "loaded" is "shut" as the other one sees it, so all is loaded and nobody knows it yet.
STAGES = ("connected", "list", "half", "end", "devices", "loaded", "shut", "shut-late")
FAULTS = ("kill-source-sidecar", "kill-dest-sidecar", "stop-source-sidecar", "stop-dest-sidecar", "kill-source", "kill-dest", "cut",
          "garbage", "garbage-back", "cancel")
CHOSEN = """
connected:kill-dest-sidecar list:kill-source-sidecar half:kill-dest-sidecar half:cut half:cancel half:kill-dest half:garbage end:kill-source-sidecar
end:kill-dest devices:kill-dest-sidecar loaded:kill-dest-sidecar loaded:kill-source-sidecar shut:kill-source-sidecar half:kill-source
loaded:kill-source-sidecar:one-step loaded-late:kill-dest-sidecar:one-step
"""
STOPPED_SECONDS = 8  # longer than a peer is waited for
GARBAGE = bytes(range(255, 127, -1)) * 4
EARLY = ("connected", "list")  # the sidecars may not have met
SEEN_THERE = {"shut": "loaded", "shut-late": "loaded-late"}
MAY_DOUBT = ("devices", "loaded", "loaded-late", "shut", "shut-late")  # it may have been loaded before the fault is felt
ONE_STEP_STAGES = ("list", "end", "devices", "loaded", "loaded-late")
ONE_STEP_FAULTS = ("kill-source-sidecar", "kill-dest-sidecar", "stop-source-sidecar", "stop-dest-sidecar", "kill-source", "kill-dest", "cut")
RETURN_STAGES = ("loaded", "shut", "shut-late")


class Stage:
    """All of one cell."""

    def __init__(self, program, stage, fault):
        self.wanted, self.fault, self.acted, self.fired = stage, fault, False, threading.Event()
        self.stopped = None
        self.stack = contextlib.ExitStack()
        try:
            self._set(program)
        except BaseException:
            self.close()
            raise

    def _set(self, program):
        self.pair = qemu_rig.Pair(program, Guest(stress=("wss=2M", "data=16M", "zero=2M", "rate=8M")), listen="unix")
        self.stack.callback(self.pair.close)
        self.pair.source.qmp.call("migrate-set-parameters", **{"max-bandwidth": qemu_rig.UNLIMITED, "downtime-limit": 5})
        name = self.pair.source.name
        self.near, self.far = rig.path(f"{name}.near"), rig.path(f"{name}.far")
        self._relay_dest()
        how = self._network() if self.fault == "cut" else {}
        self.sidecars = qemu_rig.Sidecars(self.pair, dest_socket=self.far, **how)
        self.stack.callback(self._end_sidecars)
        self._begin_source()
        self.beats = Beats(Eyes(self.pair.source.memory), Eyes(self.pair.dest.memory))
        self.stack.callback(self.beats.stop)

    def _relay_dest(self):
        self.dest_relay = qemu_stream.Relay(self.far, self.pair.incoming, lambda s: self._reached("loaded") if s == "shut" else None,
                                            out=False)
        self.stack.callback(self.dest_relay.close)

    def _begin_source(self):
        self.sidecars.begin()
        self.source_relay = qemu_stream.Relay(self.near, self.sidecars.socket, self._reached)
        self.stack.callback(self.source_relay.close)

    def _network(self):
        self.network = net.Network()
        self.stack.callback(self.network.close)

        def relay(address):
            between = net.Relay(int(address.rpartition(":")[2]), self.network.relay.enter)
            self.stack.callback(between.close)
            return between.address
        return {"prefixes": (self.network.source.prefix, self.network.destination.prefix), "relay": relay,
                "listen": f"{net.DESTINATION}:0"}

    def _end_sidecars(self):
        for process in (self.sidecars.source, self.sidecars.dest):
            if process and process.popen.poll() is None:
                process.popen.kill()
            if process:
                process.popen.wait()

    def close(self):
        self.stack.close()

    def _reached(self, stage):
        if stage != self.wanted or self.acted:
            return None
        self.acted = True
        try:
            return self._act()
        finally:
            self.fired.set()

    def _act(self):
        """What is returned goes on from here, in the stream or, at the later stages, in the return path."""
        pair, sidecars = self.pair, self.sidecars
        return {
            "kill-source-sidecar": lambda: self._kill(sidecars.source), "kill-dest-sidecar": lambda: self._kill(sidecars.dest),
            "stop-source-sidecar": lambda: self._stop(sidecars.source), "stop-dest-sidecar": lambda: self._stop(sidecars.dest),
            "kill-source": pair.source.kill, "kill-dest": pair.dest.kill,
            "cut": lambda: self.network.cut(), "garbage": lambda: GARBAGE,  # pylint: disable=unnecessary-lambda
            "garbage-back": lambda: self.dest_relay.say_back(GARBAGE), "cancel": self._cancel,
        }[self.fault]()

    def _cancel(self):
        """QEMU does not answer while the guest stands still and the stream does, too: then the stream has to go on first."""
        thread = threading.Thread(target=self.pair.source.qmp.call, args=("migrate_cancel",))
        self.stack.callback(thread.join)
        thread.start()
        thread.join(1)

    @staticmethod
    def _kill(process):
        process.popen.kill()
        process.popen.wait()

    def _stop(self, process):
        process.popen.send_signal(rig.signal.SIGSTOP)
        self.stopped = threading.Timer(STOPPED_SECONDS, process.popen.send_signal, (rig.signal.SIGCONT,))
        self.stopped.start()

    def ended(self):
        """How the source's QEMU says that it ended, or None if that is dead."""
        if self.pair.source.killed:
            return None
        return self.pair.source.await_migration()["status"]


class OneStep(Stage):
    """`decant migrate --qmp` in the place of the source's sidecar; the stages are those that the other relay sees."""

    def _relay_dest(self):
        self.dest_relay = qemu_stream.Relay(self.far, self.pair.incoming, lambda s: self._reached(SEEN_THERE.get(s, s)))
        self.stack.callback(self.dest_relay.close)

    def _begin_source(self):
        """It is begun when all else is there."""

    def begin(self):
        sidecars = self.sidecars
        sidecars.source = sidecars.host.start("migrate", "--qmp", self.pair.source.decant_monitor, sidecars.peer, prefix=sidecars.prefix)


class Eyes:
    """The memory of a QEMU, as Beats looks at it."""

    def __init__(self, memory):
        self.beat = memory.beat


def may_end(stage, fault):
    """How the source's QEMU may say that the migration has ended."""
    if fault == "cancel":
        return ("cancelled", "failed") if stage in ("connected", "list", "half") else ("cancelled", "completed", "failed")
    if fault == "kill-source":
        return (None,)
    if stage == "shut-late":
        return ("completed",)
    if fault.startswith("stop-") or stage == "shut" or (stage, fault) == ("loaded", "kill-dest"):
        return ("failed", "completed")  # a little later it is out of decant's hands
    return ("failed",)


def sidecar_has_ended(process, may_wait, may_doubt):
    """It says why in one line, unless it was killed. What was loaded and never confirmed is in doubt; who has met nobody yet waits."""
    if may_wait:
        with contextlib.suppress(rig.subprocess.TimeoutExpired):
            process.popen.wait(2)
        process.popen.terminate()
    done = process.wait(SLOW)
    if done.status == -rig.signal.SIGKILL:
        return
    check(done.status in (DONE, FAILED) or done.status == IN_DOUBT and may_doubt, f"ended strangely: {done}")
    check(len(done.err.splitlines()) == int(done.status != DONE) or may_wait, f"should be one line on stderr where it failed: {done}")


def status_of(one):
    """What it says of its guest; "dead", too, when its monitor has gone because it is about to end."""
    if not one.alive() or one.killed:
        return "dead"
    try:
        return one.status()
    except Failure:
        return "dead"


def is_not_running(one):
    """Nobody has started it there. It may have given up."""
    check(status_of(one) != "running", f"{one.name} runs")
    check(one.memory.beat() is None or one.stands_still(), f"the guest runs at {one.name}")


def runs_at_source(pair):
    """As if nothing had been: it can be migrated, by QEMU alone, and finds its memory as it was."""
    wait_until("the guest goes on at the source", lambda: pair.source.status() == "running", SLOW)
    pair.source.is_going()
    with contextlib.closing(qemu_rig.Pair.onward(pair)) as other:
        qemu_rig.has_moved(other, other.plainly())


def runs_at_destination(pair):
    check(pair.dest.alive() and not pair.dest.killed, "the source gave the guest up, and the destination is dead")
    qemu_rig.has_moved(pair, {"status": "completed"})


def without_source(pair):
    """What the destination has loaded can be let go on there."""
    if status_of(pair.dest) != "paused":
        return "died with the source"
    pair.dest.qmp.call("cont")
    pair.dest.is_going()
    verdict = pair.dest.verdict()
    check(verdict == "ok", verdict)
    return "destination, since the source died"


def conclude(cell, status):
    """What holds whatever happened; returns it in words."""
    pair = cell.pair
    is_not_running(pair.dest)
    if status == "completed":
        if pair.dest.killed:
            check(cell.wanted in RETURN_STAGES, "the source gave the guest up, which was not yet there")
            return "guest died with the destination, which had it"
        runs_at_destination(pair)
        return "guest at destination"
    if status is None:
        return f"guest: {without_source(pair)}"
    runs_at_source(pair)
    is_not_running(pair.dest)
    return f"guest at source, {status}"


def run_cell(program, stage, fault):
    cell = Stage(program, stage, fault)
    try:
        cell.pair.source.qmp.call("migrate", uri=f"unix:{cell.near}")
        check(cell.fired.wait(SLOW), "it did not come so far")
        status = cell.ended()
        check(status in may_end(stage, fault), f"the migration has {status}")
        if cell.stopped:
            cell.stopped.join()
        for process in (cell.sidecars.source, cell.sidecars.dest):
            sidecar_has_ended(process, stage in EARLY and "connected" not in process.out(), stage in MAY_DOUBT)
        said = conclude(cell, status)
        cell.beats.stop()
        check(cell.beats.twice is None, f"the guest runs twice: {cell.beats.twice}")
        return said
    except Exception as problem:
        raise Failure(f"{rig.describe(problem)}\n{cell.sidecars.said()}\nsource: {cell.pair.source.said()}\n"
                      f"destination: {cell.pair.dest.said()}") from problem
    finally:
        cell.close()


def operator(pair):
    """Looks at both QEMUs, and lets the guest go on where docs/qemu.md says; in words, where it runs."""
    source = pair.source.status() if pair.source.alive() and not pair.source.killed else "dead"
    dest = status_of(pair.dest)
    check((source, dest) != ("running", "running"), "the guest runs twice")
    if source == "running":
        runs_at_source(pair)
        return "source"
    if dest == "running":
        qemu_rig.has_moved(pair, {"status": "completed"}, start=False)
        return "destination"
    if source == "postmigrate" and pair.source.migration()["status"] == "completed" and dest == "paused":
        runs_at_destination(pair)
        return "destination, let go on"
    check(source == "dead" or dest == "dead" and source == "postmigrate", f"the guest runs nowhere: {source} here, {dest} there")
    return without_source(pair) if source == "dead" else "nobody"


def run_one_step(program, stage, fault):
    """The same with `decant migrate --qmp`, which has the guest started at the destination, and that only if it runs nowhere else."""
    cell = OneStep(program, stage, fault)
    try:
        cell.begin()
        check(cell.fired.wait(SLOW), "it did not come so far")
        if cell.stopped:
            cell.stopped.join()
        for process in (cell.sidecars.source, cell.sidecars.dest):
            sidecar_has_ended(process, False, stage in MAY_DOUBT)
        status = cell.sidecars.source.popen.returncode
        if not cell.pair.source.killed:
            cell.pair.source.await_migration()
            wait_until("QEMU is at rest", lambda: cell.pair.source.status() in ("running", "postmigrate"), SLOW)
        where = operator(cell.pair)
        cell.beats.stop()
        check(cell.beats.twice is None, f"the guest runs twice: {cell.beats.twice}")
        check(status != DONE or where == "destination", f"it says that it has moved: {where}")
        check(status != FAILED or where == "source" or cell.pair.source.killed, f"it says that it has not moved: {where}")
        check(where != "nobody" or fault in ("kill-source", "kill-dest"), "the guest is lost")
        return f"exit status {status}; guest: {where}"
    except Exception as problem:
        raise Failure(f"{rig.describe(problem)}\n{cell.sidecars.said()}\nsource: {cell.pair.source.said()}\n"
                      f"destination: {cell.pair.dest.said()}") from problem
    finally:
        cell.close()


def all_cells():
    one_step = [f"{stage}:{fault}:one-step" for stage in ONE_STEP_STAGES for fault in ONE_STEP_FAULTS]
    return one_step + [f"{stage}:{fault}" for stage in STAGES for fault in FAULTS if fault != "garbage-back" or stage in ("half", "end", "devices")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--slice", default="1/1", help="I/N: every Nth of them, from the Ith on")
    parser.add_argument("--jobs", type=int, default=4, help="cells at once")
    parser.add_argument("--qemu", choices=("installed", "newer"), default="installed")
    parser.add_argument("cell", nargs="*", help="STAGE:FAULT[:one-step]")
    options = parser.parse_args()
    try:
        program = qemu.program_named(options.qemu)
    except rig.Skip as why:
        print(f"SKIP: {why}")
        return 77
    cells = options.cell or (all_cells() if options.all else CHOSEN.split())
    first, step = (int(number) for number in options.slice.split("/"))
    cells = cells[(first - 1) % step::step]

    def run(cell):
        started = time.monotonic()
        try:
            stage, fault, *one_step = cell.split(":")
            said = (run_one_step if one_step else run_cell)(program, stage, fault)
            return f"{said}, {time.monotonic() - started:.1f} s", True
        except Exception as problem:  # pylint: disable=broad-except
            return rig.describe(problem), False
    failed = 0
    print(f"1..{len(cells)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for number, (cell, (text, good)) in enumerate(zip(cells, pool.map(run, cells)), 1):
            failed += not good
            print("".join(f"# {line}\n" for line in text.splitlines()), end="")
            print(f"{'ok' if good else 'not ok'} {number} - {cell}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    rig.skip_without_root()
    net.keep_mounts_private()
    sys.exit(main())

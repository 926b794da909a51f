#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""move_qemu.py -- `decant migrate --qmp`: all in one step, with real QEMUs and a guest that judges its memory (TAP)

Whatever becomes of it, the guest runs at one end or at none, the exit status says which, and QEMU's settings are as they were.
"""
import argparse
import contextlib
import functools
import json
import os
import signal
import socket
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import fire_net
import qemu
import qemu_rig
import rig
from qemu import SLOW, Guest
from qemu_rig import Pair, Sidecars
from rig import DONE, FAILED, IN_DOUBT, Skip, check, path, wait_until

BUSY = Guest(stress=("wss=8M", "data=16M"))
# where a sanitizer is in the program, it needs what is forbidden
STRICT = [] if rig.sanitized() else ["--confine", "strict"]
TRICKLE = ["--bandwidth", "1M"]  # so slow that it does not end by itself


class Move:
    """A pair of QEMUs, the destination's sidecar, and the command."""

    def __init__(self, pair, monitors=True, relay=None):
        self.pair = pair
        self.sidecars = Sidecars(pair, monitors=monitors, relay=relay)
        self.sidecar = self.sidecars.dest
        self.settings = self._settings()
        self.command = None

    def _settings(self):
        return self.pair.source.qmp.call("query-migrate-parameters"), self.pair.source.qmp.call("query-migrate-capabilities")

    def begin(self, *words, peer=None):
        self.command = self.sidecars.host.start("migrate", "--qmp", self.pair.source.decant_monitor, peer or self.sidecars.peer,
                                                "--fabric", "tcp", *STRICT, *words)
        return self.command

    def run(self, *words, peer=None):
        return self.begin(*words, peer=peer).wait(SLOW)

    def until_moving(self):
        """The sidecars have agreed, and QEMU sends memory."""
        self.sidecar.wait_for("connected", SLOW)
        wait_until("QEMU migrates", lambda: self.pair.source.migration().get("ram", {}).get("transferred", 0) > 0, SLOW)

    def settings_are_as_before(self):
        check(self._settings() == self.settings, f"QEMU's settings were {self.settings}, and are {self._settings()}")

    def is_there(self):
        """It runs at the destination, there only, and finds its memory as it was."""
        source, dest = self.pair.source, self.pair.dest
        check(source.status() == "postmigrate", f"the source is {source.status()}")
        check(dest.status() == "running", f"the destination is {dest.status()}")
        dest.is_going()
        check(source.stands_still(), "the guest runs twice")
        check(dest.verdict() == "ok", dest.verdict())
        self.settings_are_as_before()

    def is_here(self):
        """The same for the source."""
        source, dest = self.pair.source, self.pair.dest
        check(source.status() == "running", f"the source is {source.status()}")
        source.is_going()
        check(qemu_rig.stands_or_gone(dest), "the guest runs twice")
        check(source.verdict() == "ok", source.verdict())
        self.settings_are_as_before()

    def is_nowhere(self):
        check(self.pair.source.status() == "postmigrate", f"the source is {self.pair.source.status()}")
        check(self.pair.source.stands_still() and self.pair.dest.stands_still(), "the guest runs")


@contextlib.contextmanager
def move(program, monitors=True, relay=None, **how):
    pair = Pair(program, **how)
    one = None
    try:
        one = Move(pair, monitors, relay)
        yield one
    except Exception as problem:
        said = "".join(f"\n{process.done()}" for process in (one.command, one.sidecar) if process) if one else ""
        raise rig.Failure(f"{rig.describe(problem)}{said}\nsource: {pair.source.said()}\ndestination: {pair.dest.said()}") from problem
    finally:
        pair.close()


# ---- it moves ----

def in_words(program):
    with move(program) as one:
        done = one.run()
        check(done.status == DONE and not done.err, str(done))
        check("migrated to" in done.out and "pause" in done.out, str(done))
        check(one.sidecar.wait(SLOW).status == DONE, str(one.sidecar.done()))
        one.is_there()
        left = [name for name in one.sidecars.host.left_over() if name.endswith(".qemu")]
        check(not left, f"left over: {left}")


def as_json(program):
    """Events, the report, its file; what cannot be known is not in it."""
    report_file = path("move.json")
    with move(program) as one:
        done = one.run("--json", "--report", report_file, "--multifd", "2", "--bandwidth", "10Gbit", "--if-not-converging", "throttle")
        check(done.status == DONE, str(done))
        events = [json.loads(line) for line in done.out.splitlines()]
        check([event["event"] for event in events[:-1]] == ["progress"] * (len(events) - 1), str(done))
        report = events[-1]["report"]
        check(events[-1]["event"] == "finished" and report == rig.read_report(report_file), str(done))
        check(report["outcome"] == "completed" and report["guest_there"] == "running" and report["fabric"] == "tcp", str(report))
        check(0 < report["downtime_bound_ms"] < report["total_ms"] and report["qemu"]["downtime_ms"] > 0, str(report))
        check(report["stream"]["connections"] == 3 and report["pages_sent"] > 0, str(report))
        check(report["stream"]["forwarded_bytes"] < report["stream"]["bytes"] / 4, str(report))
        check(not {"guest_verdict", "verified", "clock_error_ms", "downtime_ms"} & set(report), str(report))
        one.is_there()


def paused(program):
    """A guest that was paused arrives paused, and is whole."""
    with move(program) as one:
        one.pair.source.qmp.call("stop")
        done = one.run("--json")
        check(done.status == DONE, str(done))
        check(json.loads(done.out.splitlines()[-1])["report"]["guest_there"] == "paused", str(done))
        check(one.sidecar.wait(SLOW).status == DONE, str(one.sidecar.done()))
        one.is_nowhere()
        check(one.pair.dest.status() == "paused", one.pair.dest.status())
        one.pair.dest.qmp.call("cont")
        one.is_there()


def paused_meanwhile(program):
    """So does one that an operator pauses while it moves."""
    with move(program, guest=BUSY) as one:
        one.begin(*TRICKLE)
        one.until_moving()
        one.pair.source.qmp.call("stop")
        one.pair.source.qmp.call("migrate-set-parameters", max_bandwidth=qemu_rig.UNLIMITED)
        done = one.command.wait(SLOW)
        check(done.status == DONE and "paused as it was" in done.out, str(done))
        one.is_nowhere()
        one.pair.dest.qmp.call("cont")
        one.pair.dest.is_going()
        check(one.pair.dest.verdict() == "ok", one.pair.dest.verdict())


def waits_before_the_switchover(program):
    with move(program) as one:
        one.pair.source.capabilities(["pause-before-switchover"])
        one.settings = one._settings()  # pylint: disable=protected-access
        done = one.run()
        check(done.status == DONE, str(done))
        one.is_there()


def fallback(program):
    with move(program, guest=Guest(backing="anonymous")) as one:
        done = one.run("--fallback")
        check(done.status == DONE and "unchanged" in done.out, str(done))
        one.is_there()


# ---- it does not ----

def cancelled(program):
    with move(program, guest=BUSY) as one:
        one.begin(*TRICKLE)
        one.until_moving()
        one.command.signal(signal.SIGINT)
        done = one.command.wait(SLOW)
        check(done.status == FAILED and done.err.splitlines()[-1].endswith(": cancelled"), str(done))
        one.is_here()
        check(one.sidecar.wait(SLOW).status == FAILED, str(one.sidecar.done()))


def cancelled_in_a_push(program):
    """While the sidecar waits for a slow network, and reads nothing of QEMU's."""
    relays = []

    def slow(address):
        relay = fire_net.Relay(int(address.rpartition(":")[2]), lambda: None, side="127.0.0.2", destination="127.0.0.1")
        relay.arm(fire_net.Trap(lambda: setattr(relay, "delay", 0.1), data=1))  # 128 KiB at a time
        relays.append(relay)
        return relay.address
    with move(program, guest=Guest(memory=128, stress=("wss=8M", "data=64M")), relay=slow) as one:
        try:
            one.begin()
            qemu_rig.until_held_up(one.pair.source)
            one.command.signal(signal.SIGINT)
            done = one.command.wait(SLOW)
            check(done.status == FAILED and done.err.splitlines()[-1].endswith(": cancelled"), str(done))
            one.is_here()
            check(one.sidecar.wait(SLOW).status == FAILED, str(one.sidecar.done()))
        finally:
            relays[0].close()


def out_of_time(program):
    with move(program, guest=BUSY) as one:
        done = one.run("--timeout", "300ms", *TRICKLE)
        done.refused(FAILED, "--timeout")
        one.is_here()


def killed(program):
    """The command, while memory moves: QEMU's settings stay, but for the guest nothing has been."""
    with move(program, guest=BUSY) as one:
        one.begin(*TRICKLE)
        one.until_moving()
        one.command.signal(signal.SIGKILL)
        one.command.wait(SLOW)
        check(one.pair.source.await_migration()["status"] == "failed", str(one.pair.source.migration()))
        one.settings = one._settings()  # pylint: disable=protected-access
        one.is_here()
        check(one.sidecar.wait(SLOW).status == FAILED, str(one.sidecar.done()))


def sidecar_killed(program):
    """The destination's, while memory moves."""
    with move(program, guest=BUSY) as one:
        one.begin(*TRICKLE)
        one.until_moving()
        one.sidecar.signal(signal.SIGKILL)
        done = one.command.wait(SLOW)
        check(done.status == FAILED and "the guest is here" in done.out, str(done))
        one.is_here()


def refused(program):
    """Before QEMU is told anything, or before anything of the guest has moved."""
    with move(program, guest=Guest(backing="anonymous")) as one:
        one.run().refused(FAILED, "share=on")
        one.is_here()
    with move(program, dest_more=()) as one:
        done = one.run()
        check(done.status == FAILED and "-S" in done.err, str(done))
        one.is_here()
    with move(program, monitors=False, listen="unix") as one:
        done = one.run()
        check(done.status == FAILED and "--qmp" in done.err, str(done))
        one.is_here()


def nobody_there(program):
    with move(program) as one:
        done = one.run(peer="127.0.0.1:1")
        check(done.status == FAILED and "127.0.0.1:1" in done.err, str(done))
        one.is_here()
        one.sidecars.host.decant("migrate", "--qmp", path("none"), "127.0.0.1:1").refused(FAILED, "No such file")
        with socket.socket(socket.AF_UNIX) as taken:
            taken.connect(one.pair.source.decant_monitor)
            taken.recv(4096)
            done = one.sidecars.host.decant("migrate", "--qmp", one.pair.source.decant_monitor, "127.0.0.1:1", seconds=SLOW)
            done.refused_json(FAILED, "another program")


# ---- in doubt ----

def cannot_be_started(program):
    """The sidecar there has lost the monitor: the guest is at neither end, and it says so. Then it is settled by hand."""
    with move(program, guest=BUSY) as one:
        one.begin("--json", *TRICKLE)
        one.until_moving()
        os.rename(one.pair.dest.decant_monitor, one.pair.dest.decant_monitor + ".away")
        one.pair.source.qmp.call("migrate-set-parameters", max_bandwidth=qemu_rig.UNLIMITED)
        done = one.command.wait(SLOW)
        done.refused_json(IN_DOUBT, "could not start it")
        check(json.loads(done.out.splitlines()[-1])["report"]["outcome"] == "in-doubt", str(done))
        check(one.sidecar.wait(SLOW).status == FAILED, str(one.sidecar.done()))
        one.is_nowhere()
        again = one.run()
        again.refused(FAILED, "given its guest away")
        one.pair.dest.qmp.call("cont")
        one.pair.dest.is_going()
        check(one.pair.dest.verdict() == "ok", one.pair.dest.verdict())


def no_answer(program):
    """The sidecar there dies with START in its hands."""
    with move(program, guest=BUSY) as one:
        one.begin(*TRICKLE)
        one.until_moving()
        with socket.socket(socket.AF_UNIX) as taken:  # QEMU has one client at a time, so the sidecar waits
            taken.connect(one.pair.dest.decant_monitor)
            one.pair.source.qmp.call("migrate-set-parameters", max_bandwidth=qemu_rig.UNLIMITED)
            wait_until("the source has given it up", lambda: one.pair.source.status() == "postmigrate", SLOW)
            time.sleep(0.5)  # for START to have come; if it has not, the outcome is the same, and so are the words but for a few
            one.sidecar.signal(signal.SIGKILL)
            done = one.command.wait(SLOW)
        check(done.status == IN_DOUBT and "Settling by hand" in done.out and "in doubt" in done.err, str(done))
        one.is_nowhere()
        one.pair.dest.kill()  # first this, then
        one.pair.source.qmp.call("cont")
        one.pair.source.is_going()
        check(one.pair.source.verdict() == "ok", one.pair.source.verdict())


CASES = [in_words, as_json, cancelled, cannot_be_started]
MORE = [paused, paused_meanwhile, waits_before_the_switchover, fallback, cancelled_in_a_push, out_of_time, killed, sidecar_killed, refused,
        nobody_there, no_answer]


def bound(case, which):
    test = functools.partial(case, qemu.program_named(which))
    test.__name__ = f"{case.__name__} ({which})"
    return test


def main():
    names = [case.__name__ for case in CASES + MORE]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--qemu", choices=("installed", "newer", "both"), default="installed", help="both: QEMU 10, too, where it is")
    parser.add_argument("--all", action="store_true", help="those that `make check` leaves to `make check-long`, too")
    parser.add_argument("case", nargs="*", choices=[[], *names], help="all unless given")
    options = parser.parse_args()
    sys.argv = sys.argv[:1]
    which = ["installed", *(["newer"] if qemu.newer_program() else [])] if options.qemu == "both" else [options.qemu]
    wanted = [case for case in CASES + MORE if case.__name__ in options.case] or CASES + (MORE if options.all else [])
    try:
        tests = [bound(case, one) for one in which for case in wanted]
    except Skip as why:
        print(f"SKIP: {why}")
        sys.exit(77)
    rig.main(tests)


if __name__ == "__main__":
    main()

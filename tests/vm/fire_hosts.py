#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fire_hosts.py -- the hand-over under fire over RDMA: a fault at an arrow, between two hosts with a real guest

Runs on the first of the two VMs of `tests/vm/run --hosts 2 --rails 2 --rdma`, with the oracle of tests/cli/fire_cell.py. Memory goes over
the first network's rail, the control connection over the second network, through a relay on this host. As TAP: a chosen few, or those
given as ARROW:KIND; --all all of them, of which --slice takes a part. RDMA resources must be back to what they were after each.
"""
import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import fire_cell
import fire_net as net
import rig
from fire_cell import Eye, Stage, conclude
from rig import Failure, Host, check, wait_until

CHOSEN = "pass1-50%:cut-data ready:kill-source"
KINDS = ("kill-source", "kill-destination", "stop-source-long", "stop-destination-long", "cut-data", "cut-data-heal", "cut", "cut-heal",
         "cut-heal-long")
ARROWS = ("register", "pass1-50%", "state", "ready", "go", "running")
HERE, THERE = "10.9.1.1", "10.9.1.2"
LONG = 300  # seconds: these machines are emulated
FOLDER = os.path.join(os.environ.get("DECANT_VM_RUN", "/"), "host2")


class FarEye:
    """An Eye on the second host: questions and answers are files of the folder that both share, so that no cut stops them."""

    number = 0

    def __init__(self, pid):
        self.pid = pid

    def ask(self, *words):
        FarEye.number += 1
        question, answer = os.path.join(FOLDER, f"eye.{FarEye.number}"), os.path.join(FOLDER, f"eye.{FarEye.number}.answer")
        put(question, json.dumps([self.pid, *words]))
        wait_until("the second host answers", lambda: os.path.exists(answer), LONG)
        with open(answer, encoding="utf-8") as file:
            found = json.load(file)
        os.unlink(answer)
        return found

    def beat(self):
        return self.ask("beat")

    def descriptors(self):
        return self.ask("descriptors")


def put(path, text):
    with open(path + ".part", "w", encoding="utf-8") as out:
        out.write(text)
    os.rename(path + ".part", path)


def answer_questions():
    """On the second host: until it is killed."""
    eyes = {}
    number = 1
    while True:
        question = os.path.join(FOLDER, f"eye.{number}")
        if not os.path.exists(question):
            time.sleep(0.02)
            continue
        with open(question, encoding="utf-8") as file:
            pid, what, *words = json.load(file)
        eye = eyes.setdefault(pid, Eye(pid))
        found = None
        with contextlib.suppress(OSError):
            found = os.kill(pid, words[0]) if what == "signal" else eye.beat() if what == "beat" else eye.descriptors()
        os.unlink(question)
        put(question + ".answer", json.dumps(found))
        number += 1


class FarHost(Host):
    """The second host; decant's sockets are where they are on any host."""

    def decant(self, *words, **how):
        done = subprocess.run(["on-host2", rig.DECANT, *(str(word) for word in words)], stdin=subprocess.DEVNULL, capture_output=True,
                              timeout=how.get("seconds", LONG), check=False)
        return rig.Done(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def left_over(self):
        done = subprocess.run(["on-host2", "ls", "/run/decant"], capture_output=True, text=True, check=False)
        return done.stdout.split()


class Wires:
    """The two networks between the VMs: eth0 has the memory, eth1 the control connection."""

    def __init__(self):
        self.was_cut = set()

    def cut(self):
        self._cut("0", "1")

    def cut_data(self):
        self._cut("0")

    def _cut(self, *rails):
        for rail in rails:
            self.was_cut.add(rail)
            subprocess.run(["ip", "link", "set", f"eth{rail}", "down"], check=True)

    def heal(self):
        for rail in self.was_cut:
            subprocess.run(["ip", "link", "set", f"eth{rail}", "up"], check=True)

    def renew(self):
        """An rxe whose link was down connects to nobody any more; when nobody uses it, it can be made anew."""
        for rail in self.was_cut:
            subprocess.run(["rdma", "link", "delete", f"rxe{rail}"], check=True)
            subprocess.run(["rdma", "link", "add", f"rxe{rail}", "type", "rxe", "netdev", f"eth{rail}"], check=True)


def resources():
    """
    Of both hosts, without the open devices: librdmacm keeps those as long as the process lives. A device that was made anew has
    another number.
    """
    shown = [subprocess.run([*prefix, "rdma", "resource", "show"], capture_output=True, text=True, check=True).stdout
             for prefix in ((), ("on-host2",))]
    return [sorted(re.sub(r"^\d+: | ctx \d+", "", line) for line in host.splitlines()) for host in shown]


class HostsStage(Stage):
    """A Stage of which the destination is the second VM."""

    WORDS = ("--json", "--max-downtime", "20s", "--fabric", "rdma", "--rail", "rxe0=10.9.0.2")

    BEAT = 0.5

    def _set(self, run_words, receive_words, runtime):
        del runtime
        self.network = Wires()
        self.stack.callback(self.network.renew)
        self.stack.callback(self.network.heal)
        self.here, self.there = Host("here"), FarHost("there")
        self.idle_resources = resources()
        self.run = self._start(self.here, (), "run", "--name", "demo", "--guest", fire_cell.GUEST, "--verbose", *run_words)
        self.receive = self._start(self.there, ("on-host2",), "receive", "--listen", f"{THERE}:0", "--insecure", "--verbose",
                                   *receive_words)
        port = self._port()
        self.receive.eye = FarEye(self.there.status("demo")["pid"])
        self.relay = net.Relay(port, lambda: None, HERE, THERE)
        self.stack.callback(self.relay.close)

    def migrate(self):
        if self.network.was_cut:
            self.migrate_words = [*Stage.WORDS, "--fabric", "tcp"]
        return super().migrate()

    def is_idle(self, process):
        return resources() == self.idle_resources and (process.killed or process.eye.beat() is None or process is self.run)

    def signal(self, process, number):
        if process is self.receive and number != signal.SIGTERM:
            process.eye.ask("signal", int(number))
        else:
            process.signal(number)


def run_cell(cell):
    arrow, kind = cell.split(":")
    stage = HostsStage()
    try:
        action = {"cut-data": stage.network.cut_data,
                  "cut-data-heal": lambda: (stage.network.cut_data(), stage.later(3, stage.network.heal))}.get(kind)
        trap = fire_cell.trap_at(arrow, action or fire_cell.act(stage, kind), False)
        if trap.data:
            trap = net.Trap(trap.action, frame=net.GRANT) # the relay sees no data: soon after the first grant
        stage.relay.arm(trap)
        started = time.monotonic()
        done = stage.migrate()
        check(trap.fired.is_set(), f"it did not come so far: {done}")
        where, doubt = conclude(stage, done)
        if not kind.startswith("cut-data"):
            allowed = fire_cell.expected(arrow, kind, net.GO in stage.relay.seen)
            check(where in allowed, f"the guest is at {where}, not at {allowed}: {done}")
        check(not doubt or arrow in ("ready", *fire_cell.AFTER_GO), f"in doubt before GO: {done}")
        return f"guest at {where}{', was in doubt' if doubt else ''}, {time.monotonic() - started:.0f} s"
    except Exception as problem:
        raise Failure(f"{rig.describe(problem)}\nsource:\n{stage.run.err()}\ndestination:\n{stage.receive.err()}") from problem
    finally:
        stage.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--slice", default="1/1", help="I/N: every Nth of them, from the Ith on")
    parser.add_argument("--eye", action="store_true", help="on the second host: look at its processes")
    parser.add_argument("cell", nargs="*", help="ARROW:KIND")
    options = parser.parse_args()
    if options.eye:
        answer_questions()
    if "DECANT_VM_RUN" not in os.environ:
        print("SKIP: there is no second host; run it in tests/vm/run --hosts 2 --rails 2 --rdma")
        return 77
    cells = options.cell or ([f"{arrow}:{kind}" for arrow in ARROWS for kind in KINDS] if options.all else CHOSEN.split())
    first, step = (int(number) for number in options.slice.split("/"))
    cells = cells[(first - 1) % step::step]
    failed = 0
    print(f"1..{len(cells)}", flush=True)
    with subprocess.Popen(["on-host2", os.path.abspath(__file__), "--eye"]) as eye:
        for number, cell in enumerate(cells, 1):
            try:
                print(f"# {run_cell(cell)}")
                print(f"ok {number} - over RDMA, {cell}", flush=True)
            except Exception as problem:  # pylint: disable=broad-except
                failed += 1
                print("".join(f"# {line}\n" for line in rig.describe(problem).splitlines()), end="")
                print(f"not ok {number} - over RDMA, {cell}", flush=True)
        eye.terminate()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

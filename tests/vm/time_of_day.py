#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""time_of_day.py -- somebody sets the host's clock, again and again, by hours and by a month, while guests are migrated

For a throw-away VM alone (tests/vm/run --rdma): it sets the clock of the machine it runs on. What a guest would see of it is a gap as long
as the step: the stress guest tells the longest that it saw.
"""
import json
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import rig  # pylint: disable=wrong-import-position
from rig import Host, check  # pylint: disable=wrong-import-position

HOUR, DAY = 3600, 24 * 3600
STEPS = (HOUR, -2 * HOUR, 30 * DAY, -60 * DAY, 30 * DAY + HOUR)
EVERY = 0.05  # seconds: the stages of the hand-over are short
LONG = 250  # seconds: the guest runs in an emulated machine's KVM


class Stepper:
    """Sets the clock as long as it is open, and at the end to what it would be."""

    def __enter__(self):
        self.over, self.count = threading.Event(), 0
        self.offset = time.time() - time.monotonic()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()
        return self

    def _run(self):
        while not self.over.wait(EVERY):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + STEPS[self.count % len(STEPS)])
            self.count += 1

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        time.clock_settime(time.CLOCK_REALTIME, time.monotonic() + self.offset)


def moves(fabric):
    here, there = Host("here"), Host("there")
    run, receive = here.run("demo"), there.receive()
    started = time.monotonic()
    with Stepper() as stepper:
        done = here.decant("migrate", "demo", receive.address, "--fabric", fabric, "--json", "--max-downtime", "20s",
                           "--timeout", f"{LONG}s", seconds=LONG)
    took = (time.monotonic() - started) * 1000
    check(stepper.count >= len(STEPS), f"only {stepper.count} steps")
    report = json.loads(done.succeeded().out.splitlines()[-1])["report"]
    check(report["outcome"] == "completed" and report["guest_verdict"] == "ok", str(report))
    for name in ("guest_pause_ms", "downtime_ms", "downtime_bound_ms", "total_ms"):
        check(0 <= report[name] <= took, f"{name} is none, of {took:.0f} ms in all: {report}")
    print(f"# {fabric}: {stepper.count} steps in {took:.0f} ms, the guest saw a gap of {report['guest_pause_ms']} ms")
    check(run.wait().status == rig.DONE, str(run.done()))
    there.stop("demo", receive)


def moves_over_tcp():
    moves("tcp")


def moves_over_rdma():
    moves("rdma")


if "DECANT_VM_RUN" not in os.environ:
    print("SKIP: it sets the machine's clock: only in a throw-away VM")
    sys.exit(77)
rig.skip_without_kvm()
rig.main([moves_over_tcp, moves_over_rdma])

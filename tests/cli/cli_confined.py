#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cli_confined.py -- what a process that owns a VM has given up, before it migrates and after; docs/confinement.md"""
import os

import rig
from rig import Host, check

IPC_LOCK = 1 << 14
SETPCAP = 1 << 8


def statuses(pid):
    """Of all threads: the file status as a dictionary."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status", encoding="utf-8") as file:
                yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended


def own_capabilities(name):
    return int(next(statuses("self"))[name], 16)


def is_confined(process):
    found = list(statuses(process.pid))
    check(found, f"{process.words}: no threads")
    for status in found:
        text = f"thread {status['Name']}: {status}"
        check(status["NoNewPrivs"] == "1", f"new privileges: {text}")
        check(status["Seccomp"] == "2", f"no filter: {text}")
        for name in ("CapEff", "CapPrm"):
            check(int(status[name], 16) == own_capabilities("CapPrm") & IPC_LOCK, f"{name}: {text}")
        for name in ("CapInh", "CapAmb"):
            check(int(status[name], 16) == 0, f"{name}: {text}")
        if own_capabilities("CapEff") & SETPCAP:
            check(int(status["CapBnd"], 16) == 0, f"CapBnd: {text}")


def every_owner_of_a_vm_is_confined():
    first, second, third = Host("first"), Host("second"), Host("third")
    run = first.run("demo", "--vcpus", "2", "--dirty", "ring", "--confine", "on")
    receive = second.receive("--confine", "on")
    last = third.receive("--confine", "strict")
    is_confined(run)
    is_confined(receive)
    first.decant("migrate", "demo", receive.address, "--max-downtime", "5s").succeeded()
    receive.wait_for("demo: running")
    is_confined(receive)
    # what was a receiver is a source now: it looks up a name, connects, reports
    address = last.address.replace("127.0.0.1", "localhost")
    second.decant("migrate", "demo", address, "--max-downtime", "5s", "--report", rig.path("report.json")).succeeded()
    last.wait_for("demo: running")
    is_confined(last)
    third.is_untouched("demo")
    third.stop("demo", last)


def confinement_can_be_turned_off():
    here, there = Host("here"), Host("there")
    run = here.run("demo", "--confine", "off")
    receive = there.receive("--confine", "off")
    wanted = next(statuses("self"))
    for process in (run, receive):
        for status in statuses(process.pid):
            for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd"):
                check(status[name] == wanted[name], f"{name}: {status}")
    here.decant("migrate", "demo", receive.address, "--max-downtime", "5s").succeeded()
    receive.wait_for("demo: running")
    there.stop("demo", receive)


def probe_tells_of_the_filter():
    here = Host("here")
    check(here.decant("probe", "--json").succeeded().json()["process"]["seccomp"] is True, "no seccomp")
    check("filter of system calls: yes" in here.decant("probe").succeeded().out, "not in words")


rig.skip_without_kvm()
rig.main([
    every_owner_of_a_vm_is_confined,
    confinement_can_be_turned_off,
    probe_tells_of_the_filter,
])

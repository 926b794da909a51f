#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""bench.py -- measures decant against what carries it: ratios from interleaved runs, goals beside them

Each round takes every measure once, there in the order of their table and back in the next, so that a point and its baseline are
neighbours in time and neither always goes first. What needs RDMA runs in two VMs, where this program is started once more.
Prints the table and writes results.json and details.json below BUILD/bench. Exits 1 if a line could not be measured; a goal that is
missed is told in the table, and no failure.
"""
import argparse
import json
import os
import platform
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is

import measures
import places
import report
from report import Line

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TRIES = 2
VM_SECONDS = 1800  # before the VMs are given up

# The table of scenarios; what its measures are stands in measures.py.
LINES = [
    Line("rdma_vs_ib_write_bw", "rdma", "ib_write_bw", 0.85),
    Line("tcp_vs_socket", "tcp", "socket", 0.85),
    Line("tcp_vs_iperf3", "tcp", "iperf3", 0.75),
    Line("loop_vs_memcpy", "loop", "memcpy", 0.7),
]


def names_of(lines):
    return {name for line in lines for name in (line.point, line.baseline)}


def take_rounds(table, names, setup, count, say):
    """Returns the rounds and the failures. A measure that has failed twice is not taken again."""
    rounds, failures, tries = [], {}, dict.fromkeys(names, TRIES)
    for number in range(count):
        rates = {}
        for name in names if number % 2 == 0 else reversed(names):
            if tries[name] == 0:
                continue
            try:
                rates[name] = table[name](setup)
            except (places.Unmeasured, OSError, ValueError, KeyError) as why:
                failures[name] = str(why) or repr(why)
                tries[name] -= 1
        rounds.append(rates)
        say(f"round {number + 1}/{count}: " + ", ".join(f"{name} {report.rate_text(rates[name])}" for name in names
                                                        if name in rates))
    return rounds, failures


def measure(table, lines, setup, count):
    """Rounds, failures and details of what @lines need of @table."""
    names = [name for name in table if name in names_of(lines)]
    rounds, failures = take_rounds(table, names, setup, count, lambda text: print(text, flush=True))
    return {"rounds": rounds, "failures": failures, "details": setup.details, "machine": machine()}


# ---- in VMs ----

def vm_words(chosen, folder, found):
    """This program, in the first of two VMs; it starts the receiving ends in the second."""
    return [os.path.join(ROOT, "tests", "vm", "run"), "--build", chosen.build, "--hosts", "2", "--rdma", "--parallel",
            "--timeout", str(VM_SECONDS), "--share", folder, "--",
            sys.executable, os.path.join(ROOT, "perf", "bench.py"), "--build", chosen.build, "--found", found,
            "--host", "10.9.0.2", "--receive-by", "on-host2", "--device", "rxe0",
            "--runs", str(chosen.vm_runs), "--memory", chosen.vm_memory, "--page-size", chosen.page_size]


def in_vms(lines, chosen):
    """What measure() finds in two VMs that soft-RoCE joins."""
    folder = os.path.abspath(os.path.join(chosen.build, "bench"))
    found = os.path.join(folder, "vms.json")
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(found):
        os.unlink(found)
    status = subprocess.run(vm_words(chosen, folder, found), stdin=subprocess.DEVNULL, check=False).returncode
    brought = {"rounds": [], "failures": {}, "details": []}
    if os.path.exists(found):
        with open(found, encoding="utf-8") as text:
            brought = json.load(text)
    if status != 0 or not os.path.exists(found):
        for name in names_of(lines):
            brought["failures"].setdefault(name, f"the VMs ended with {status}: see above")
    return brought


def run_inside(chosen):
    setup = measures.Setup(driver=driver_of(chosen), memory=chosen.memory, page_size=chosen.page_size, host=chosen.host,
                           receiver=places.Place(chosen.receive_by), device=chosen.device, seconds=VM_SECONDS / 4)
    lines = [line for line in LINES if line.point in measures.RDMA]
    report.save(chosen.found, measure(measures.RDMA, lines, setup, chosen.runs))


# ---- what a figure depends on besides the program ----

def first_line(words):
    try:
        out = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not installed"
    said = (out.stdout or out.stderr).strip()
    return said.splitlines()[0] if said else "?"


def read_first(path, prefix=""):
    try:
        with open(path, encoding="utf-8") as text:
            return next((line.split(":", 1)[-1].strip() for line in text if line.startswith(prefix)), "?")
    except OSError:
        return "unknown"


def machine():
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kernel": platform.release(),
        "cpu": read_first("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "memory": read_first("/proc/meminfo", "MemTotal"),
        "governor": read_first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "shmem_huge_pages": read_first("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "tcp_congestion_control": read_first("/proc/sys/net/ipv4/tcp_congestion_control"),
        "load": os.getloadavg()[0],
        "iperf3": first_line(["iperf3", "--version"]),
        "ib_write_bw": first_line(["ib_write_bw", "--version"]),
    }


# ---- the command ----

def driver_of(chosen):
    return os.path.join(chosen.build, "perf", "decant-point")


def wanted_lines(only, native):
    known = [line.name for line in LINES]
    unknown = [name for name in only if name not in known]
    if unknown:
        sys.exit(f"bench.py: there is no line {unknown[0]}; there are {', '.join(known)}")
    return [line for line in LINES if (not only or line.name in only) and not (native and line.point in measures.RDMA)]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this line of the table; repeatable")
    parser.add_argument("--native", action="store_true", help="leave out what needs VMs")
    parser.add_argument("--runs", type=int, default=10, help="rounds (10)")
    parser.add_argument("--memory", default="1G", help="of the guest (1G)")
    parser.add_argument("--page-size", default="4K", help="behind it: 4K, 2M or 1G (4K)")
    parser.add_argument("--streams", type=int, default=2, help="connections of tcp and of its baseline (2)")
    parser.add_argument("--vm-runs", type=int, default=5, help="rounds in the VMs (5)")
    parser.add_argument("--vm-memory", default="128M", help="of the guest there (128M)")
    inside = parser.add_argument_group("where there is RDMA")
    inside.add_argument("--found", metavar="FILE", help="measure over RDMA alone, and write what was found there")
    inside.add_argument("--host", default="127.0.0.1", help="the receiving end's address")
    inside.add_argument("--receive-by", nargs="*", default=[], metavar="WORD", help="the command that runs one at the receiving end")
    inside.add_argument("--device", default="", help="the RDMA device of both ends")
    chosen = parser.parse_args()
    if chosen.runs < 1 or chosen.vm_runs < 1:
        parser.error("at least 1 run")
    return chosen


def bench(chosen):
    lines = wanted_lines(chosen.only, chosen.native)
    native = [line for line in lines if line.point in measures.NATIVE]
    over_rdma = [line for line in lines if line.point in measures.RDMA]
    print("All memory is populated beforehand, at both ends and for the bare limits too.", flush=True)
    found = {}
    if native:
        setup = measures.Setup(driver=driver_of(chosen), memory=chosen.memory, page_size=chosen.page_size,
                               streams=chosen.streams)
        print(f"Here: a quiet guest of {setup.memory} behind {setup.page_size} pages", flush=True)
        found["native"] = measure(measures.NATIVE, native, setup, chosen.runs)
    if over_rdma:
        print(f"In two VMs, over soft-RoCE: one of {chosen.vm_memory}", flush=True)
        found["vms"] = in_vms(over_rdma, chosen)
    outcomes = []
    for line in lines:
        where = found["native" if line in native else "vms"]
        outcomes.append(report.evaluate(line, where["rounds"], where["failures"]))
    folder = os.path.join(chosen.build, "bench")
    report.save(os.path.join(folder, "results.json"), report.as_results(outcomes))
    report.save(os.path.join(folder, "details.json"), found)
    print("\n" + report.table(outcomes))
    return 1 if any(outcome.reason for outcome in outcomes) else 0


def main():
    chosen = parse()
    if chosen.found:
        run_inside(chosen)
    else:
        sys.exit(bench(chosen))


if __name__ == "__main__":
    main()

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
import subprocess
import sys

sys.dont_write_bytecode = True  # the source tree stays as it is

import machine
import measures
import places
import report
from scenarios import GROUPS, LINES, group_of

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
TRIES = 2
VM_SECONDS = 1800  # before the VMs are given up
VM_MEASURE_SECONDS = 150  # before one measure in them is: now and then an emulated host stands still


def rounds_of(lines, count):
    """How many rounds each measure that @lines need takes part in."""
    wanted = {}
    for line in lines:
        for name in line.measures:
            wanted[name] = max(wanted.get(name, 0), min(line.runs or count, count))
    return wanted


def figures_of(name, taken):
    return {f"{name}.{key}": value for key, value in taken.items()} if isinstance(taken, dict) else {name: taken}


def take_rounds(table, wanted, setup, say):
    """Returns the rounds and the failures. @wanted: measure -> rounds. A measure that has failed twice is not taken again."""
    rounds, failures, tries = [], {}, dict.fromkeys(wanted, TRIES)
    count = max(wanted.values(), default=0)
    for number in range(count):
        found = {}
        for name in wanted if number % 2 == 0 else reversed(wanted):
            if tries[name] == 0 or number >= wanted[name]:
                continue
            try:
                found.update(figures_of(name, table[name](setup)))
            except (places.Unmeasured, OSError, ValueError, KeyError) as why:
                failures[name] = str(why) or repr(why)
                tries[name] -= 1
        rounds.append(found)
        say(f"round {number + 1}/{count}: " + ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
    return rounds, failures


def measure(table, lines, setup, count, besides=()):
    """Rounds, failures and details of what @lines need of @table, and once of @besides."""
    needed = dict.fromkeys(besides, 1) | rounds_of(lines, count)
    wanted = {name: needed[name] for name in table if name in needed}
    rounds, failures = take_rounds(table, wanted, setup, lambda text: print(text, flush=True))
    return {"rounds": rounds, "failures": failures, "details": setup.details, "machine": machine.machine(measures.decant_of(setup))}


# ---- in VMs ----

def vm_words(group, chosen, folder, found):
    """This program, in the first of two VMs; it starts the receiving ends in the second."""
    return [os.path.join(ROOT, "tests", "vm", "run"), "--build", chosen.build, *GROUPS[group].vms,
            "--timeout", str(VM_SECONDS), "--share", folder, "--",
            sys.executable, os.path.join(ROOT, "perf", "bench.py"), "--build", chosen.build, "--found", found, "--group", group,
            "--host", "10.9.0.2", "--receive-by", "on-host2", "--device", "rxe0",
            "--runs", str(chosen.vm_runs), "--memory", chosen.vm_memory, "--page-size", chosen.page_size,
            *(word for name in chosen.only for word in ("--only", name))]


def in_vms(group, lines, chosen):
    """What measure() finds in VMs."""
    folder = os.path.abspath(os.path.join(chosen.build, "bench"))
    found = os.path.join(folder, f"{group}.json")
    os.makedirs(folder, exist_ok=True)
    if os.path.exists(found):
        os.unlink(found)
    status = subprocess.run(vm_words(group, chosen, folder, found), stdin=subprocess.DEVNULL, check=False).returncode
    brought = {"rounds": [], "failures": {}, "details": []}
    if os.path.exists(found):
        with open(found, encoding="utf-8") as text:
            brought = json.load(text)
    if status != 0 or not os.path.exists(found):
        for name in rounds_of(lines, 1):
            brought["failures"].setdefault(name, f"the VMs ended with {status}: see above")
    return brought


def run_inside(chosen):
    setup = measures.Setup(driver=driver_of(chosen), memory=chosen.memory, page_size=chosen.page_size, host=chosen.host,
                           receiver=places.Place(chosen.receive_by), device=chosen.device, seconds=VM_MEASURE_SECONDS)
    lines = [line for line in wanted_lines(chosen.only, False) if group_of(line) == chosen.group]
    group = GROUPS[chosen.group]
    report.save(chosen.found, measure(group.measures, lines, setup, chosen.runs, group.besides))


# ---- the command ----

def driver_of(chosen):
    return os.path.join(chosen.build, "perf", "decant-point")


def wanted_lines(only, native):
    known = [line.name for line in LINES]
    unknown = [name for name in only if name not in known]
    if unknown:
        sys.exit(f"bench.py: there is no line {unknown[0]}; there are {', '.join(known)}")
    return [line for line in LINES if (not only or line.name in only) and not (native and GROUPS[group_of(line)].vms)]


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
    inside.add_argument("--group", default="vms", choices=GROUPS, help="those of this group (vms)")
    inside.add_argument("--host", default="127.0.0.1", help="the receiving end's address")
    inside.add_argument("--receive-by", nargs="*", default=[], metavar="WORD", help="the command that runs one at the receiving end")
    inside.add_argument("--device", default="", help="the RDMA device of both ends")
    chosen = parser.parse_args()
    if chosen.runs < 1 or chosen.vm_runs < 1:
        parser.error("at least 1 run")
    return chosen


def bench_group(name, lines, chosen):
    group = GROUPS[name]
    if group.vms:
        print(group.intro.format(memory=chosen.vm_memory, page_size=chosen.page_size), flush=True)
        return in_vms(name, lines, chosen)
    print(group.intro.format(memory=chosen.memory, page_size=chosen.page_size), flush=True)
    setup = measures.Setup(driver=driver_of(chosen), memory=chosen.memory, page_size=chosen.page_size, streams=chosen.streams)
    return measure(group.measures, lines, setup, chosen.runs)


def bench(chosen):
    lines = wanted_lines(chosen.only, chosen.native)
    print("Memory is populated beforehand at both ends, and for the bare limits too, but for first_byte_growth and overhead_share.", flush=True)
    found = {}
    for name in GROUPS:
        here = [line for line in lines if group_of(line) == name]
        if here:
            found[name] = bench_group(name, here, chosen)
    outcomes = [report.evaluate(line, found[group_of(line)]["rounds"], found[group_of(line)]["failures"]) for line in lines]
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

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""bench.py -- measures decant against what carries it: ratios from interleaved runs, goals beside them

Each round takes every measure once, in an order that rotates, so that a point and its baseline stand next to each other in time
and neither always goes first. Prints the table and writes results.json and details.json below BUILD/bench. Exits 1 if a
line could not be measured; a goal that is missed is told in the table, and no failure.
"""
import argparse
import os
import platform
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # the source tree stays as it is

import measures
import report
from report import Line

# The table of scenarios. What its measures are stands in measures.py; where they are taken, in PLACES below.
LINES = [
    Line("tcp_vs_socket", "tcp", "socket", 0.85),
    Line("tcp_vs_iperf3", "tcp", "iperf3", 0.75),
    Line("loop_vs_memcpy", "loop", "memcpy", 0.7),
]


def rotated(names, by):
    by %= len(names)
    return names[by:] + names[:by]


def take_rounds(table, names, setup, count, say):
    """Returns the rounds and the failures: a measure that has failed is not taken again."""
    rounds, failures = [], {}
    for number in range(count):
        rates = {}
        for name in rotated(names, number):
            if name in failures:
                continue
            try:
                rates[name] = table[name](setup)
            except (measures.Unmeasured, OSError, ValueError, KeyError) as why:
                failures[name] = str(why) or repr(why)
        rounds.append(rates)
        say(f"round {number + 1}/{count}: " + ", ".join(f"{name} {report.rate_text(rates[name])}" for name in names
                                                        if name in rates))
    return rounds, failures


def first_line(words):
    try:
        out = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not installed"
    return (out.stdout or out.stderr).strip().splitlines()[0] if (out.stdout or out.stderr).strip() else "?"


def read_first(path, prefix=""):
    try:
        with open(path, encoding="utf-8") as text:
            return next((line.split(":", 1)[-1].strip() for line in text if line.startswith(prefix)), "?")
    except OSError:
        return "unknown"


def machine():
    """What a figure depends on besides the program."""
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
    }


def wanted_lines(only):
    known = [line.name for line in LINES]
    unknown = [name for name in only if name not in known]
    if unknown:
        sys.exit(f"bench.py: there is no line {unknown[0]}; there are {', '.join(known)}")
    return [line for line in LINES if not only or line.name in only]


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="this line of the table; repeatable")
    parser.add_argument("--native", action="store_true", help="leave out what needs VMs")
    parser.add_argument("--runs", type=int, default=10, help="rounds (10)")
    parser.add_argument("--memory", default="1G", help="of the guest (1G)")
    parser.add_argument("--page-size", default="4K", help="behind it: 4K, 2M or 1G (4K)")
    parser.add_argument("--streams", type=int, default=2, help="connections of tcp and of its baseline (2)")
    chosen = parser.parse_args()
    if chosen.runs < 1:
        parser.error("--runs: at least 1")
    return chosen


def main():
    chosen = parse()
    setup = measures.Setup(driver=os.path.join(chosen.build, "perf", "decant-point"), memory=chosen.memory,
                           page_size=chosen.page_size, streams=chosen.streams)
    lines = wanted_lines(chosen.only)
    names = list(dict.fromkeys(name for line in lines for name in (line.point, line.baseline)))
    print(f"A quiet guest of {setup.memory} behind {setup.page_size} pages, populated beforehand at both ends, as is the memory of the"
          f" bare limits; {chosen.runs} rounds.", flush=True)
    rounds, failures = take_rounds(measures.NATIVE, names, setup, chosen.runs, lambda text: print(text, flush=True))
    outcomes = [report.evaluate(line, rounds, failures) for line in lines]
    folder = os.path.join(chosen.build, "bench")
    report.save(os.path.join(folder, "results.json"), report.as_results(outcomes))
    report.save(os.path.join(folder, "details.json"),
                {"machine": machine(), "rounds": rounds, "failures": failures, "measures": setup.details})
    print("\n" + report.table(outcomes))
    sys.exit(any(outcome.reason for outcome in outcomes))


if __name__ == "__main__":
    main()

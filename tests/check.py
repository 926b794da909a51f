#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check.py -- all that must hold before a change is taken, in groups, each with its time

A group is a make target with a build folder of its own. One that runs tests counts each of them, any other counts as one
test. Goes on after a failure, so that one run tells all. The last line is the count, and the only thing to look at when it
says `0 failed, 0 skipped`. A test that failed once and then passed alone is said to be FLAKY; more than FLAKY_MAX are a failure.
"""
import argparse
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import time

BUDGET_SECONDS = 20 * 60
FUZZ_SECONDS = 60
FUZZ_SECONDS_OF = {"fuzz_frame": 20, "fuzz_kvm": 20, "fuzz_qemu_multifd": 20, "fuzz_qemu_stream": 30, "fuzz_qmp": 20}  # no peer says that before it is known
FUZZ_AT_A_TIME = 3
TEST_FLAGS = "--again --jobs 3"  # most tests wait more than they work
FLAKY_MAX = 3
OUTPUT_LINES_SHOWN = 80
PROGRESS = re.compile(r"^  [A-Z]+ +\S+$")


class Group:
    """One group: its name, the build folder below build/check, the flags of the build, and make targets with their suites; or
    the options of a VM, and which tests are run in it."""

    def __init__(self, name, folder, flags, targets, suites=(), vm=None):
        self.name, self.folder, self.flags, self.targets, self.suites, self.vm = name, folder, flags, targets, suites, vm
        self.seconds = 0.0


VM_TIMEOUT_SECONDS = {"vm": 200, "rdma": 600, "rdma-kvm": 300, "hosts": 600}
VM_TRIES = 3  # QEMU's emulated SVM now and then never wakes a halted vCPU again; a test that fails is not tried again
BESIDE = {"tidy": "hosts", "tsan": "rdma", "asan": "scripts", "rdma-kvm": "fuzz"}  # the latter leaves a CPU to the former, or waits: rdma's host takes 0.8 of one
VM_FAULTY = 125  # of tests/vm/run: the kernel complained, or RDMA resources are left
GCC = ["CC=gcc", "WERROR=1"]
CLANG = ["CC=clang", "WERROR=1"]
ASAN = ["CC=gcc", "WERROR=1", "SAN=address,undefined", "CFLAGS=-O1 -g"]
TSAN = ["CC=gcc", "WERROR=1", "SAN=thread", "CFLAGS=-O1 -g"]
FUZZ = ["CC=clang", "WERROR=1", "SAN=fuzzer-no-link,address,undefined", "CFLAGS=-O1 -g"]

GROUPS = [
    Group("layers", "gcc", GCC, ["check-layers"]),
    Group("format", "gcc", GCC, ["check-format"]),
    Group("cppcheck", "gcc", GCC, ["check-cppcheck"]),
    Group("tidy", "gcc", GCC, ["check-tidy"]),
    Group("model", "gcc", GCC, ["check-model"]),
    Group("gcc", "gcc", GCC, ["all", "tests"]),
    Group("clang", "clang", CLANG, ["all", "tests"]),
    Group("unit", "gcc", GCC, ["unit"], ["unit"]),
    Group("integration", "gcc", GCC, ["integration"], ["integration"]),
    Group("scripts", "gcc", GCC, ["scripts"], ["script"]),
    Group("vm", "gcc", GCC, [], ["--flag", "vm"], vm=[]),
    Group("rdma", "gcc", GCC, [], ["--suite", "rdma", "--jobs", "2"], vm=["--rdma", "--parallel"]),
    Group("rdma-kvm", "gcc", GCC, [], ["--suite", "rdma-kvm"], vm=["--rdma", "--cpus", "1"]),
    Group("hosts", "gcc", GCC, [], ["--suite", "hosts"], vm=["--rdma", "--hosts", "2", "--rails", "2", "--cpus", "1", "--memory", "1500M"]),
    Group("asan", "asan", ASAN, ["unit", "integration", "asan-scripts"], ["unit", "integration", "asan-script"]),
    Group("tsan", "tsan", TSAN, ["unit", "integration"], ["unit", "integration"]),
    Group("fuzz", "fuzz", FUZZ, ["fuzz"], ["fuzz"]),
]


def make(options, group, targets, quiet):
    """Run make; returns whether it succeeded. Quiet: its output is shown only if it failed."""
    command = options.make.split() + ["--no-print-directory", "-k", f"-j{options.jobs}",
                                      f"O={os.path.join(options.build, 'check', group.folder)}"]
    command += group.flags + targets
    if group.name in BESIDE:
        command = ["nice", "-n", "10"] + command
    done = subprocess.run(command, stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
                          stdin=subprocess.DEVNULL, check=False)
    if quiet and done.returncode != 0:
        lines = [line for line in done.stdout.decode(errors="replace").splitlines() if not PROGRESS.match(line)]
        print("\n".join(lines[:OUTPUT_LINES_SHOWN]))
    return done.returncode == 0


def run_suites(options, group):
    """Build, then run each suite; returns the list of results."""
    rows = []
    if not make(options, group, ["all", "tests"], True):
        return [{"name": f"{group.name}: build", "result": "fail", "reason": "does not build"}]
    for target, suite in zip(group.targets, group.suites):
        path = os.path.join(options.build, "check", group.folder, "tests", f"results-{suite}.json")
        if os.path.exists(path):
            os.unlink(path)
        succeeded = make(options, group, [target, f"TEST_FLAGS={TEST_FLAGS}"], False)
        if not os.path.exists(path):
            rows.append({"name": f"{group.name}: {suite}", "result": "fail", "reason": "did not run"})
            continue
        with open(path, encoding="utf-8") as results:
            found = json.load(results)
        rows += found
        if not succeeded and not any(row["result"] == "fail" for row in found):
            rows.append({"name": f"{group.name}: {suite}", "result": "fail", "reason": "found no tests"})
    return rows


def run_in_vm(options, group):
    """Tests that depend on what the host has, where it is had: another KVM, RDMA, a second host."""
    folder = os.path.join(options.build, "check", group.folder)
    if not make(options, group, ["all", "tests"], True):
        return [{"name": f"{group.name}: build", "result": "fail", "reason": "does not build"}]
    path = os.path.join(folder, "tests", f"results-{group.name}.json")
    command = ["tests/vm/run", "--build", options.build, "--timeout", str(VM_TIMEOUT_SECONDS[group.name]), *group.vm,
               "--share", folder, "--", sys.executable, "tests/run-tests.py", "--list", os.path.join(folder, "tests", "list"),
               "--build", folder, *group.suites, "--again", "--results", path]
    if os.path.exists(path):
        os.unlink(path)
    complaint = {"name": group.name, "result": "fail", "reason": "the VM was at fault: its kernel's complaint is above", "details": []}
    faulty = 0
    for _ in range(VM_TRIES):
        status = subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode
        faulty += status == VM_FAULTY
        if os.path.exists(path) and (status != VM_FAULTY or faulty == 2):
            break
    if not os.path.exists(path):
        return [{"name": group.name, "result": "fail", "reason": f"the VM brought no results, {VM_TRIES} times"}]
    with open(path, encoding="utf-8") as results:
        rows = json.load(results)
    if status == VM_FAULTY:
        rows.append(complaint)
    elif faulty and rows:
        rows[0].setdefault("flaky", []).append(complaint)
    return rows or [{"name": group.name, "result": "fail", "reason": "found no tests"}]


def settle_skipped(rows):
    """A test that one KVM had to skip and another passed has been run: it is counted once, as passed."""
    passed = {row["name"] for row in rows if row["result"] == "pass" and row["group"] in ("unit", "integration", "vm")}
    return [row for row in rows if row["result"] != "skip" or row["name"] not in passed]


def fuzz_target(folder, name, seconds):
    """One fuzz target gets its corpus and a bounded time, and is one test."""
    corpus = os.path.join("tests", "fuzz", "corpus", name)
    found = os.path.join(folder, name + ".found")
    os.makedirs(found, exist_ok=True)
    log = os.path.join(folder, name + ".log")
    command = [os.path.join(folder, name), f"-max_total_time={seconds}", "-timeout=60", "-rss_limit_mb=2048",
               f"-artifact_prefix={folder}/{name}.crash-", found] + ([corpus] if os.path.isdir(corpus) else [])
    with open(log, "wb") as out:
        status = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False).returncode
    row = {"name": name, "result": "fail" if status else "pass", "reason": f"exit status {status}, see {log}" if status else ""}
    print(f"{row['result'].upper():4} fuzz/{name}" + (f": {row['reason']}" if status else ""), flush=True)
    return row


def fuzz_targets(options, group):
    if not make(options, group, ["fuzz"], True):
        return [{"name": "fuzz: build", "result": "fail", "reason": "does not build"}]
    folder = os.path.join(options.build, "check", group.folder, "tests", "fuzz")
    names = sorted(name for name in os.listdir(folder) if os.access(os.path.join(folder, name), os.X_OK)
                   and os.path.isfile(os.path.join(folder, name)) and "." not in name) if os.path.isdir(folder) else []
    with concurrent.futures.ThreadPoolExecutor(FUZZ_AT_A_TIME) as lanes:
        rows = list(lanes.map(lambda name: fuzz_target(folder, name, options.fuzz_seconds or FUZZ_SECONDS_OF.get(name, FUZZ_SECONDS)), names))
    return rows or [{"name": "fuzz", "result": "fail", "reason": "no targets"}]


def run_group(options, group):
    print(f"== {group.name}", flush=True)
    started = time.monotonic()
    if group.name == "fuzz":
        rows = fuzz_targets(options, group)
    elif group.vm is not None:
        rows = run_in_vm(options, group)
    elif group.suites:
        rows = run_suites(options, group)
    else:
        succeeded = make(options, group, group.targets, True)
        rows = [{"name": group.name, "result": "pass" if succeeded else "fail", "reason": ""}]
        print(("PASS " if succeeded else "FAIL ") + group.name, flush=True)
    group.seconds = time.monotonic() - started
    for row in rows:
        row["group"] = group.name
    return rows


def run_groups(options, groups):
    """One after the other, but for those of BESIDE, as far as both of a pair are to be run."""
    names = {group.name for group in groups}
    beside = [group for group in groups if BESIDE.get(group.name) in names]
    rows = []
    with concurrent.futures.ThreadPoolExecutor(1) as lane:
        for group in groups:
            if group in beside:
                continue
            others = [lane.submit(run_group, options, other) for other in beside if BESIDE[other.name] == group.name]
            rows += run_group(options, group)
            for other in others:
                rows += other.result()
    return rows


def show_flaky(rows):
    """Tests that needed a second run, with what they said in the first; so many that it is no accident are a failure."""
    flaky = [(row["group"], first) for row in rows for first in row.get("flaky", [])]
    for group, first in flaky:
        print(f"FLAKY {group}/{first['name']}: {first['reason']}")
        for line in first["details"]:
            print(f"    {line}")
    if sum("flaky" in row for row in rows) > FLAKY_MAX:
        return [{"name": "flaky", "group": "check", "result": "fail", "reason": f"{len(flaky)} tests failed before they passed"}]
    return []


def summary(groups, rows, seconds):
    print("\ngroup           passed failed skipped   seconds")
    for group in groups:
        own = [row["result"] for row in rows if row["group"] == group.name]
        print(f"{group.name:14} {own.count('pass'):7} {own.count('fail'):6} {own.count('skip'):7} {group.seconds:9.0f}")
    for result in ("fail", "skip"):
        for row in rows:
            if row["result"] == result:
                tail = f": {row['reason']}" if row["reason"] else ""
                print(f"{result.upper()} {row['group']}/{row['name']}{tail}")
                for line in row.get("details", []):
                    print(f"    {line}")
    print(f"{seconds:.0f} of {BUDGET_SECONDS} seconds used")


def have_newer_qemu(build):
    """QEMU 10 beside the installed one; where it cannot be had its tests are left to make check-long."""
    folder = os.path.abspath(os.path.join(build, "qemu"))
    if "DECANT_QEMU" not in os.environ and subprocess.run(["perf/fetch-qemu", folder], stdin=subprocess.DEVNULL, check=False).returncode == 0:
        os.environ["DECANT_QEMU"] = os.path.join(folder, "qemu")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--make", default="make")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--group", action="append", help="only this group; may be repeated")
    parser.add_argument("--fuzz-seconds", type=int, help="for each fuzz target (20 to 60)")
    options = parser.parse_args()
    groups = [group for group in GROUPS if not options.group or group.name in options.group]
    os.environ["DECANT_VM_CACHE"] = os.path.abspath(options.build)
    started = time.monotonic()
    if any(group.name == "scripts" for group in groups):
        have_newer_qemu(options.build)
    rows = run_groups(options, groups)
    rows = settle_skipped(rows)
    rows += show_flaky(rows)
    summary(groups, rows, time.monotonic() - started)
    with open(os.path.join(options.build, "check", "results.json"), "w", encoding="utf-8") as out:
        json.dump(rows, out, indent=1)
    counts = [sum(row["result"] == result for row in rows) for result in ("pass", "fail", "skip")]
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped", flush=True)
    return 1 if counts[1] else 0


if __name__ == "__main__":
    sys.exit(main())

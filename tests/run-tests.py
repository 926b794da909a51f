#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""run-tests.py -- run test programs, count what they say, and see that they leave nothing behind

Reads the list that the Makefile writes (one `name|suite|timeout|flags|command` per line). A program that speaks TAP, as
cmocka does when asked to, counts per test point, any other by its exit status: 0 passed, 77 skipped, else failed. Each
program runs in a session of its own, with a TMPDIR and an XDG_RUNTIME_DIR of its own; processes or files that are still there
when it has ended are a failure. Prints a line per test, the logs of those that failed, and the count on the last line.

With --again a program that failed is run a second time, alone, after all others: on a busy machine a test can miss its time.
What a second run could only hide is final at once: a guest that complains of its memory or runs twice, a sanitizer's finding,
a crash, something left behind. A test that passes only then is said to be FLAKY, with what it said the first time.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

TAP_POINT = re.compile(r"^(not )?ok\b\s*\d*\s*(?:-\s*)?(.*)$")
TAP_PLAN = re.compile(r"^1\.\.(\d+)")
LOG_LINES_SHOWN = 60
DETAIL_LINES = 12
SKIP_STATUS = 77
SANITIZER_STATUS = 99
AGAIN_SECONDS_MAX = 200
ORACLE = re.compile(r"BAD memory|the guest at the \w+ says|the guest runs (twice|nowhere)|pages? differ|is not that of version|"
                    r"guest_verdict\W+bad|Sanitizer|runtime error:")
print_lock = threading.Lock()


class Test:
    """One line of the list."""

    def __init__(self, line):
        self.name, self.suite, timeout, flags, command = line.split("|", 4)
        self.timeout = float(timeout)
        self.flags = flags.split()
        self.command = shlex.split(command)


def read_list(path):
    with open(path, encoding="utf-8") as lines:
        return [Test(line.strip()) for line in lines if line.strip()]


def left_out(test, san):
    """Why a test is not run under these sanitizers, or None."""
    if san and "no-sanitize" in test.flags:
        return "not run under sanitizers"
    if "thread" in san.split(",") and "no-tsan" in test.flags:
        return "not run under TSan"
    return None


def environment(options, scratch):
    env = dict(os.environ)
    here = os.path.dirname(os.path.abspath(__file__))
    env.update(
        CMOCKA_MESSAGE_OUTPUT="TAP",
        DECANT=os.path.join(os.path.abspath(options.build), "decant"),
        DECANT_BUILD=os.path.abspath(options.build),
        TMPDIR=os.path.join(scratch, "tmp"),
        XDG_RUNTIME_DIR=os.path.join(scratch, "run"),
        ASAN_OPTIONS="abort_on_error=0:exitcode=99:detect_leaks=1:strict_string_checks=1",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:exitcode=99",
        TSAN_OPTIONS="halt_on_error=0:exitcode=99:suppressions=" + os.path.join(here, "suppressions", "tsan.txt"),
        LSAN_OPTIONS="exitcode=99",
    )
    for name in ("tmp", "run"):
        os.mkdir(os.path.join(scratch, name), 0o700)
    return env


def processes_of_session(session):
    """Processes that still live in a session; zombies do not count."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
                name, rest = stat.read().rsplit(")", 1)
        except OSError:
            continue
        fields = rest.split()
        if int(fields[3]) == session and fields[0] != "Z":
            found.append((int(pid), name.split("(", 1)[1]))
    return found


def end_session(session):
    """Kill what is left of a session; returns what was there. A process that is just going gets a moment."""
    for _ in range(10):
        left = processes_of_session(session)
        if not left:
            return []
        time.sleep(0.1)
    for pid, _ in left:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return left


def run_program(test, options, scratch, log):
    """Returns (exit status, seconds, what was left behind, timed out?)."""
    started = time.monotonic()
    timeout = test.timeout * (4 if options.san else 1)
    child = subprocess.Popen(test.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                             env=environment(options, scratch), start_new_session=True)
    timed_out = False
    try:
        status = child.wait(timeout)
    except subprocess.TimeoutExpired:
        timed_out = True
        os.killpg(child.pid, signal.SIGABRT)
        try:
            status = child.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            status = child.wait()
    left = [f"process {pid} ({name})" for pid, name in end_session(child.pid)]
    left += [f"file {os.path.join('TMPDIR', name)}" for name in os.listdir(os.path.join(scratch, "tmp"))]
    return status, time.monotonic() - started, [] if timed_out else left, timed_out


def tap_points(text):
    """The TAP points in a log as (name, result, reason), and the number that was planned or None."""
    points, planned, reason = [], None, "no reason given"
    for line in text.splitlines():
        if line.startswith("SKIP:"):
            reason = line[5:].strip()
        plan = TAP_PLAN.match(line)
        if plan:
            planned = (planned or 0) + int(plan.group(1))
        point = TAP_POINT.match(line)
        if not point:
            continue
        name, _, directive = point.group(2).partition("#")
        if directive.strip().upper().startswith("SKIP"):
            rest = directive.strip()[4:].strip()
            points.append((name.strip() or rest, "skip", rest if name.strip() and rest else reason))
        else:
            points.append((name.strip(), "fail" if point.group(1) else "pass", ""))
    return points, planned


def tap_details(text):
    """What a log says of its failing TAP points: name -> lines. cmocka puts the complaint before the point, the place behind it."""
    details, before, current = {}, [], None
    for line in text.splitlines():
        point = TAP_POINT.match(line)
        if point:
            current = None
            if point.group(1):
                current = details[point.group(2).partition("#")[0].strip()] = before[-DETAIL_LINES // 2:]
            before = []
        elif current is not None and line.startswith("#"):
            current.append(line[1:].strip())
        elif line.strip():
            before.append(line)
            if not line.startswith("#"):
                current = None
    return {name: lines[:DETAIL_LINES] for name, lines in details.items()}


def how_it_ended(status):
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}" + (" (a sanitizer's)" if status == SANITIZER_STATUS else "")


def judge(test, status, timed_out, left, text):
    """The results of one program: a list of (name, result, reason)."""
    points, planned = tap_points(text)
    results = [(f"{test.name}: {name}", result, reason) for name, result, reason in points]
    if timed_out:
        return results + [(test.name, "fail", f"no end after {test.timeout:.0f} s")]
    failed = any(result == "fail" for _, result, _ in results)
    if not points and status == SKIP_STATUS:
        reasons = [line[5:].strip() for line in text.splitlines() if line.startswith("SKIP:")]
        results.append((test.name, "skip", reasons[-1] if reasons else "no reason given"))
    elif status < 0 or (status != 0 and status != SKIP_STATUS and not failed):
        results.append((test.name, "fail", how_it_ended(status)))
    elif points and planned is not None and len(points) < planned:
        results.append((test.name, "fail", f"planned {planned} tests, ran {len(points)}"))
    elif not points and planned == 0:
        results.append((test.name, "fail", "planned no tests"))
    elif not points and status == 0:
        results.append((test.name, "pass", ""))
    if left:
        results.append((test.name, "fail", "left behind: " + ", ".join(left)))
    return results


def is_final(test, results, status, left, timed_out, text):
    """Whether a failure says more than that the machine was slow."""
    details = tap_details(text)
    said = [line for name, result, _ in results if result == "fail"
            for line in details.get(name.removeprefix(test.name + ": "), [])]
    crashed = status < 0 and not timed_out
    return crashed or status == SANITIZER_STATUS or bool(left) or ORACLE.search("\n".join(said) or text) is not None


def run_test(test, options, again=False):
    """Run one program and say what came of it; returns dictionaries for the list of results."""
    reason = left_out(test, options.san)
    if reason:
        return [] # chosen when the list was written, so not a skip
    folder = os.path.join(options.build, "tests", "log", test.suite)
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, test.name + (".again.log" if again else ".log"))
    scratch = tempfile.mkdtemp(prefix="decant-")
    try:
        with open(path, "wb") as log:
            try:
                status, seconds, left, timed_out = run_program(test, options, scratch, log)
            except OSError as error:
                log.write(f"{error}\n".encode())
                status, seconds, left, timed_out = 127, 0, [], False
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    with open(path, encoding="utf-8", errors="replace") as log:
        text = log.read()
    results = judge(test, status, timed_out, left, text)
    worth_another = (options.again and not again and seconds < AGAIN_SECONDS_MAX
                     and not is_final(test, results, status, left, timed_out, text))
    return report(test, results, seconds, path, text, worth_another)


def report(test, results, seconds, log, text, worth_another):
    rows = []
    details = {f"{test.name}: {name}": lines for name, lines in tap_details(text).items()}
    last = [line for line in text.splitlines() if line.strip()][-DETAIL_LINES:]
    with print_lock:
        for name, result, reason in results:
            tail = f": {reason}" if reason else ""
            word = "AGAIN" if result == "fail" and worth_another else f"{result.upper():4}"
            print(f"{word} {test.suite}/{name}{tail}", flush=True)
            rows.append({"name": name, "suite": test.suite, "program": test.name, "result": result, "reason": reason,
                         "seconds": round(seconds, 3), "log": log})
            if result == "fail":
                rows[-1].update(details=details.get(name, last), worth_another=worth_another)
    return rows


def run_all(tests, options):
    """Light tests side by side, then the heavy ones alone. What may take long begins first, so that nothing waits for it at the end."""
    rows = []
    light = sorted((test for test in tests if "heavy" not in test.flags), key=lambda test: -test.timeout)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for result in pool.map(lambda test: run_test(test, options), light):
            rows += result
    for test in tests:
        if "heavy" in test.flags:
            rows += run_test(test, options)
    return rows


def run_failed_again(tests, rows, options):
    """Once more, alone, what may have failed for want of time; returns the rows that count."""
    for test in tests:
        first = [row for row in rows if (row["suite"], row["program"]) == (test.suite, test.name)]
        if not any(row.get("worth_another") for row in first):
            continue
        second = run_test(test, options, again=True)
        if not any(row["result"] == "fail" for row in second):
            for row in first:
                if row["result"] == "fail":
                    print(f"FLAKY {row['suite']}/{row['name']}: passed when it was run again", flush=True)
            second[0]["flaky"] = [{"name": row["name"], "reason": row["reason"], "details": row["details"]}
                                  for row in first if row["result"] == "fail"]
        rows = [row for row in rows if row not in first] + second
    return rows


def show_failed(rows):
    for log in sorted({row["log"] for row in rows if row["result"] == "fail"}):
        with open(log, encoding="utf-8", errors="replace") as text:
            lines = text.read().splitlines()
        cut = len(lines) - LOG_LINES_SHOWN
        print(f"\n---- {log}" + (f" (without its first {cut} lines)" if cut > 0 else ""))
        print("\n".join(lines[-LOG_LINES_SHOWN:]))
    print()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("--san", default="")
    parser.add_argument("--suite", action="append", help="unit, integration, script; all unless given")
    parser.add_argument("--only", default="", help="a regular expression that the program's name must match")
    parser.add_argument("--flag", default="", help="only tests that have this flag")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--again", action="store_true", help="run a program that failed a second time")
    parser.add_argument("--results", help="where to write the list of results")
    options = parser.parse_args()
    tests = [test for test in read_list(options.list)
             if (not options.suite or test.suite in options.suite) and re.search(options.only, test.name)
             and (not options.flag or options.flag in test.flags)]
    rows = run_failed_again(tests, run_all(tests, options), options)
    path = options.results or os.path.join(options.build, "tests", "results-" + "-".join(options.suite or ["all"]) + ".json")
    with open(path, "w", encoding="utf-8") as out:
        json.dump(rows, out, indent=1)
    if any(row["result"] == "fail" for row in rows):
        show_failed(rows)
    counts = [sum(row["result"] == result for row in rows) for result in ("pass", "fail", "skip")]
    print(f"{counts[0]} passed, {counts[1]} failed, {counts[2]} skipped")
    return 1 if counts[1] or not rows else 0


if __name__ == "__main__":
    sys.exit(main())

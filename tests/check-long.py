#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-long.py -- the repetitions of tests/long.list, within a time, going on where it was stopped

A line of the list is `name runs timeout command`; the command is given to sh with DECANT, DECANT_BUILD and RUN (1, 2, ...)
set, and must exit 0. Progress stands in build/check-long/progress.json and belongs to the programs that were run: when these
change, it starts anew. Writes build/check-long/results.json, a list of {"name", "runs", "failed"} with the runs really made.
"""
import argparse
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time

LINE = re.compile(r"^(\S+)\s+(\d+)\s+(\d+)\s+(.+)$")


def read_list(path):
    entries = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = LINE.match(line)
            if not match:
                sys.exit(f"{path}:{number}: want: name runs timeout command")
            entries.append({"name": match.group(1), "wanted": int(match.group(2)), "timeout": int(match.group(3)),
                            "command": match.group(4)})
    return entries


def programs_digest(build, path):
    """What progress belongs to: every program that a command can run, and the list."""
    digest = hashlib.sha256()
    files = [os.path.join(build, "decant"), path]
    for suite in ("unit", "integration"):
        folder = os.path.join(build, "tests", suite)
        if os.path.isdir(folder):
            files += sorted(os.path.join(folder, name) for name in os.listdir(folder))
    for name in files:
        if os.path.isfile(name):
            with open(name, "rb") as data:
                digest.update(data.read())
    return digest.hexdigest()


def load_progress(path, digest):
    try:
        with open(path, encoding="utf-8") as text:
            progress = json.load(text)
    except (OSError, ValueError):
        progress = {}
    if progress.get("digest") != digest:
        return {"digest": digest, "done": {}}
    return progress


def save(path, value):
    with open(path + ".part", "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
    os.replace(path + ".part", path)


def run_once(entry, number, build, folder):
    """One repetition in a session of its own; returns whether it succeeded. The log of a failure is kept."""
    log = os.path.join(folder, f"{entry['name']}-{number}.log")
    env = dict(os.environ, DECANT=os.path.abspath(os.path.join(build, "decant")), DECANT_BUILD=os.path.abspath(build),
               RUN=str(number))
    with open(log, "wb") as out:
        child = subprocess.Popen(["sh", "-c", entry["command"]], stdout=out, stderr=subprocess.STDOUT,
                                 stdin=subprocess.DEVNULL, env=env, start_new_session=True)
        try:
            status = child.wait(entry["timeout"])
        except subprocess.TimeoutExpired:
            status = "timeout"
        finally:
            try:
                os.killpg(child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            child.wait()
    if status == 0:
        os.unlink(log)
    else:
        print(f"FAIL {entry['name']} run {number} ({status}): see {log}", flush=True)
    return status == 0


def results_of(entries, done):
    rows = []
    for entry in entries:
        state = done.get(entry["name"], {"runs": 0, "failed": 0})
        rows.append({"name": entry["name"], "runs": state["runs"], "failed": state["failed"]})
    return rows


def run_entries(entries, progress, options, folder):
    """Until all is done or the time is over; progress is on disk after every run."""
    deadline = time.monotonic() + options.budget
    for entry in entries:
        state = progress["done"].setdefault(entry["name"], {"runs": 0, "failed": 0})
        while state["runs"] < entry["wanted"]:
            if time.monotonic() > deadline:
                return
            started = time.monotonic()
            succeeded = run_once(entry, state["runs"] + 1, options.build, folder)
            state["runs"] += 1
            state["failed"] += 0 if succeeded else 1
            save(os.path.join(folder, "progress.json"), progress)
            save(os.path.join(folder, "results.json"), results_of(entries, progress["done"]))
            print(f"{'PASS' if succeeded else 'FAIL'} {entry['name']} {state['runs']}/{entry['wanted']}"
                  f" ({time.monotonic() - started:.1f} s)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--list", default="tests/long.list")
    parser.add_argument("--budget", type=float, default=90 * 60, help="seconds")
    parser.add_argument("--only", default="", help="a regular expression that the name must match")
    options = parser.parse_args()
    folder = os.path.join(options.build, "check-long")
    os.makedirs(folder, exist_ok=True)
    entries = read_list(options.list)
    chosen = [entry for entry in entries if re.search(options.only, entry["name"])]
    progress = load_progress(os.path.join(folder, "progress.json"), programs_digest(options.build, options.list))
    run_entries(chosen, progress, options, folder)
    rows = results_of(entries, progress["done"])
    save(os.path.join(folder, "results.json"), rows)
    missing = sum(entry["wanted"] - row["runs"] for entry, row in zip(entries, rows) if entry in chosen)
    failed = sum(row["failed"] for row in rows)
    runs = sum(row["runs"] for row in rows)
    if missing:
        print(f"{missing} runs are left: make check-long goes on with them")
    print(f"{runs - failed} passed, {failed} failed, {missing} left of {runs + missing} runs")
    return 1 if failed or missing or not entries else 0


if __name__ == "__main__":
    sys.exit(main())

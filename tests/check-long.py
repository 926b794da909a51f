#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-long.py -- the repetitions of tests/long.list, within a time, going on where it was stopped

A line of the list is `name runs timeout cores command`; the command is given to sh with DECANT, DECANT_BUILD and RUN (1, 2, ...)
set, and must exit 0. Runs go in the order of the list, one beside the other as long as their cores together are not more
than two: most migrations under fire wait for a timer, while one whose pause is judged needs the machine to itself.
Progress stands in build/check-long/progress.json and belongs to the programs that were run: when these change, it starts
anew. Writes build/check-long/results.json, a list of {"name", "runs", "failed"} with the runs really made.
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

LINE = re.compile(r"^(\S+)\s+(\d+)\s+(\d+)\s+([12])\s+(.+)$")
CORES = 2


def read_list(path):
    entries = []
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            line = line.strip()
            if not line or line.startswith("#"):
                continue
            match = LINE.match(line)
            if not match:
                sys.exit(f"{path}:{number}: want: name runs timeout cores command")
            entries.append({"name": match.group(1), "wanted": int(match.group(2)), "timeout": int(match.group(3)),
                            "cores": int(match.group(4)), "command": match.group(5)})
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


class Run:
    """One repetition, in a session of its own. The log of a failure is kept."""

    def __init__(self, entry, number, options, folder):
        self.entry, self.number, self.started = entry, number, time.monotonic()
        self.log = os.path.join(folder, f"{entry['name']}-{number}.log")
        build = os.path.abspath(options.build)
        env = dict(os.environ, DECANT=os.path.join(build, "decant"), DECANT_BUILD=build, RUN=str(number))
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(["sh", "-c", entry["command"]], stdout=out, stderr=subprocess.STDOUT,
                                          stdin=subprocess.DEVNULL, env=env, start_new_session=True)

    def seconds(self):
        return time.monotonic() - self.started

    def ended(self):
        return self.child.poll() is not None or self.seconds() > self.entry["timeout"]

    def finish(self):
        """Ends what is left of it; returns whether it succeeded."""
        status = self.child.poll()
        try:
            os.killpg(self.child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.child.wait()
        if status == 0:
            os.unlink(self.log)
            return True
        print(f"FAIL {self.entry['name']} run {self.number} ({'timeout' if status is None else status}): see {self.log}",
              flush=True)
        return False


def results_of(entries, done):
    rows = []
    for entry in entries:
        state = done.get(entry["name"], {"runs": 0, "failed": 0})
        rows.append({"name": entry["name"], "runs": state["runs"], "failed": state["failed"]})
    return rows


def next_entry(entries, done, runs):
    """The next of the list that is to be begun, or None. Runs of one entry may overtake each other, so `numbers` says which
    have ended."""
    for entry in entries:
        begun = [run.number for run in runs if run.entry is entry]
        numbers = (n for n in range(1, entry["wanted"] + 1) if n not in begun and n not in done[entry["name"]]["numbers"])
        number = next(numbers, None)
        if number is not None:
            return entry, number
    return None


def run_entries(entries, progress, options, folder):
    """Until all is done or the time is over; progress is on disk after every run."""
    done = progress["done"]
    for entry in entries:
        done.setdefault(entry["name"], {"runs": 0, "failed": 0, "numbers": []})
    runs = []
    try:
        begin_and_end(entries, progress, runs, options, folder)
    finally:
        for run in runs:
            run.finish()


def begin_and_end(entries, progress, runs, options, folder):
    done = progress["done"]
    deadline = time.monotonic() + options.budget
    while True:
        following = next_entry(entries, done, runs) if time.monotonic() < deadline else None
        if following and sum(run.entry["cores"] for run in runs) + following[0]["cores"] <= CORES:
            runs.append(Run(*following, options, folder))
            continue
        if not runs:
            return
        time.sleep(0.05)
        for run in [run for run in runs if run.ended()]:
            runs.remove(run)
            account(run, done[run.entry["name"]])
            save(os.path.join(folder, "progress.json"), progress)
            save(os.path.join(folder, "results.json"), results_of(entries, done))


def account(run, state):
    succeeded = run.finish()
    state["runs"] += 1
    state["failed"] += 0 if succeeded else 1
    state["numbers"].append(run.number)
    print(f"{'PASS' if succeeded else 'FAIL'} {run.entry['name']} {run.number}/{run.entry['wanted']} ({run.seconds():.1f} s)",
          flush=True)


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

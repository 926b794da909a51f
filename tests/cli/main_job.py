#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""main_job.py -- the main job, as a user does it: decant run, decant receive, decant migrate, and the guest's own verdict

Without arguments: one migration of each kind at its smallest honest size, as TAP. With arguments: one migration as they say,
for `make check-long`. What must hold of every one: exit status 0, verdict ok, --verify clean, and the guest saw a pause not
shorter than decant says it was (less the error of the clocks), or time was restored wrongly.
"""
import argparse
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

DECANT = os.environ.get("DECANT", "build/decant")
HUGE = "/proc/sys/vm/nr_hugepages"
SMALL = {"memory": "256M", "wss": "16M", "vcpus": 2, "page_size": "4K", "dirty": "log", "max_downtime": "2s"}
CASES = [
    ("tcp", {}),
    ("loop", {}),
    ("tcp, 2 MiB pages", {"page_size": "2M"}),
    ("loop, 2 MiB pages", {"page_size": "2M"}),
    ("tcp, 4 vCPUs", {"vcpus": 4}),
    ("loop, 4 vCPUs", {"vcpus": 4}),
    ("tcp, dirty ring", {"dirty": "ring"}),
    ("loop, dirty ring", {"dirty": "ring"}),
    ("tcp, random writes", {"pattern": "random"}),
]


class Failure(Exception):
    """What did not hold."""


class HugePages:
    """Adds huge pages for two guests to what the host has, and takes them away again."""

    def __init__(self, pages):
        self.pages = pages

    def __enter__(self):
        self.lock = open("/run/decant-test-hugepages.lock", "w", encoding="ascii")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        with open(HUGE, encoding="ascii") as setting:
            self.before = int(setting.read())
        self.write(self.before + self.pages)
        with open(HUGE, encoding="ascii") as setting:
            if int(setting.read()) < self.before + self.pages:
                raise Failure(f"{HUGE}: the host has no {self.pages} huge pages to give")

    def __exit__(self, *unused):
        self.write(self.before)
        self.lock.close()

    @staticmethod
    def write(count):
        with open(HUGE, "w", encoding="ascii") as setting:
            setting.write(str(count))


class Program:
    """A decant in the background whose output is JSON lines."""

    def __init__(self, *arguments, prefix=()):
        self.log = tempfile.TemporaryFile()
        # strict: a system call that the filter's lists do not have would end the process
        self.process = subprocess.Popen([*prefix, DECANT, *arguments, "--confine", "strict", "--json"], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log, text=True)

    def wait_event(self, name):
        """The next event of that name."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event.get("event") == name:
                return event
        self.log.seek(0)
        raise Failure(f"no event {name}: {self.log.read().decode(errors='replace')}")

    def said(self):
        """What it has complained of, and whether it is still there."""
        time.sleep(1)
        self.log.seek(0)
        return f"{' '.join(self.process.args)}: status {self.process.poll()}: {self.log.read().decode(errors='replace').strip()}"

    def end(self):
        """Ask it to end, and make sure that it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.log.close()


def size(text):
    """Bytes of 512M, 1G."""
    return int(text[:-1]) << {"K": 10, "M": 20, "G": 30}[text[-1]]


def migrate(fabric, job, report, there=(), listen=("127.0.0.1:0",), options=(), after=lambda: None):
    """One migration, the receiver started by the command @there; @after is called when the guest has moved. Its report."""
    guest = f"stress:wss={job['wss']}" + (f",pattern={job['pattern']}" if "pattern" in job else "")
    programs = [Program("run", "--name", "job", "--memory", job["memory"], "--vcpus", str(job["vcpus"]), "--page-size",
                        job["page_size"], "--dirty", job["dirty"], "--guest", guest)]
    try:
        programs[0].wait_event("running")
        command = [DECANT, "migrate", "job"]
        if fabric != "loop":
            programs.append(Program("receive", "--name", "job-there", "--listen", *listen, prefix=there))
            command.append(programs[1].wait_event("listening")["address"])
        command += ["--fabric", fabric, "--max-downtime", job["max_downtime"], "--verify", "--report", report, *options]
        time.sleep(0.5)
        done = subprocess.run(command, capture_output=True, text=True, timeout=job.get("seconds", 240), check=False)
        if done.returncode != 0:
            raise Failure(f"decant migrate: status {done.returncode}: {done.stderr.strip()}; {programs[-1].said()}")
        after()
        with open(report, encoding="utf-8") as file:
            return json.load(file)
    finally:
        for program in programs:
            program.end()


def check(report, job):
    """What must hold of every report."""
    limit = float(job["max_downtime"].rstrip("ms")) * (1 if job["max_downtime"].endswith("ms") else 1000)
    facts = [
        ("outcome", report["outcome"] == "completed"),
        ("verdict", report["guest_verdict"] == "ok"),
        ("verified", report["verified"] is True),
        ("guest's pause not shorter than ours",
         report["guest_pause_ms"] >= report["downtime_ms"] + report["verify_ms"] - report["clock_error_ms"]),
        ("bound not below the pause", report["downtime_bound_ms"] >= report["downtime_ms"] - report["clock_error_ms"]),
        ("passes", len(report["passes"]) >= 2),
        ("memory", report["ram_bytes"] == size(job["memory"]) and report["data_bytes"] >= size(job["wss"])),
        ("limit", report["max_downtime_ms"] == limit),
    ]
    wrong = [name for name, holds in facts if not holds]
    if wrong:
        raise Failure(f"does not hold: {', '.join(wrong)}: {json.dumps(report)}")


def run(fabric, job):
    """One job from start to end; raises Failure."""
    with tempfile.TemporaryDirectory() as folder:
        report_file = os.path.join(folder, "report.json")
        if job["page_size"] == "2M":
            with HugePages(2 * size(job["memory"]) // size("2M")):
                report = migrate(fabric, job, report_file)
        else:
            report = migrate(fabric, job, report_file)
    check(report, job)
    return report


def words(report):
    """The figures of a run, in one line."""
    return (f"total {report['total_ms']:.0f} ms, pause {report['downtime_ms']:.1f} ms, guest saw "
            f"{report['guest_pause_ms']:.1f} ms, verify {report['verify_ms']:.1f} ms, {len(report['passes'])} passes")


def run_cases():
    """All the small ones, as TAP."""
    failed = 0
    print(f"1..{len(CASES)}", flush=True)
    for number, (name, changes) in enumerate(CASES, 1):
        try:
            print(f"# {words(run(name.split(',')[0], SMALL | changes))}")
            print(f"ok {number} - main job: {name}", flush=True)
        except (Failure, subprocess.TimeoutExpired, OSError) as why:
            failed += 1
            print(f"not ok {number} - main job: {name}\n# {why}", flush=True)
    return 1 if failed else 0


def main():
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fabric", choices=["tcp", "loop"])
    for name, value in SMALL.items():
        parser.add_argument("--" + name.replace("_", "-"), default=value, type=type(value))
    options = vars(parser.parse_args())
    fabric = options.pop("fabric")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP: /dev/kvm cannot be used")
        return 77
    if fabric is None:
        return run_cases()
    try:
        print(words(run(fabric, options)))
        return 0
    except (Failure, subprocess.TimeoutExpired, OSError) as why:
        print(why, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

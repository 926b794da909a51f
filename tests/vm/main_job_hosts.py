#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""main_job_hosts.py -- the main job between two hosts: a real guest in nested KVM moves over real verbs on soft-RoCE

Runs on the first of the two VMs of `tests/vm/run --hosts 2 --rails 2 --rdma`. As TAP: each page size, or those of
--page-size, so many times in a row as --runs says; with --cut one whose RDMA network is cut on the way, which goes on over TCP on
the other network. Beside what must hold of every main job: the fabric was RDMA, and when the guest has moved neither host's RDMA resources
are more than before it.
"""
import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import main_job  # pylint: disable=wrong-import-position

ON_HOST2 = ("on-host2",)
JOB = {"memory": "256M", "wss": "4M", "vcpus": 2, "page_size": "4K", "dirty": "log", "max_downtime": "5s", "seconds": 280}
KEY = "/run/main-job.key"  # on both hosts
RELEASE_SECONDS = 20  # what was registered is let go of off the pause


def resources(prefix=()):
    """All but the open devices: librdmacm keeps those as long as the process lives."""
    shown = subprocess.run([*prefix, "rdma", "resource", "show"], capture_output=True, text=True, check=True).stdout
    return re.sub(r" ctx \d+", "", shown)


def huge_pages(prefix, count):
    subprocess.run([*prefix, "sh", "-c", f"echo {count} >{main_job.HUGE}"], check=True)


def share_key():
    """The same key on both hosts: their networks are not trusted."""
    os.environ["DECANT_MAIN_JOB_KEY"] = secrets.token_hex(32)
    for prefix in ((), ON_HOST2):
        subprocess.run([*prefix, "sh", "-c", f'umask 077 && echo "$DECANT_MAIN_JOB_KEY" >{KEY}'], check=True)


def expect_released(before):
    """The VM at host2 runs on: what it had for the migration is gone all the same."""
    deadline = time.monotonic() + RELEASE_SECONDS
    while (after := (resources(), resources(ON_HOST2))) != before:
        if time.monotonic() > deadline:
            raise main_job.Failure(f"RDMA resources before: {before}, and with the guest moved: {after}")
        time.sleep(0.5)


def run(page_size):
    job = JOB | {"page_size": page_size}
    before = resources(), resources(ON_HOST2)
    pages = main_job.size(job["memory"]) // main_job.size("2M") if page_size == "2M" else 0
    for prefix in ((), ON_HOST2):
        huge_pages(prefix, pages)
    with tempfile.TemporaryDirectory() as folder:
        report = main_job.migrate("rdma", job, os.path.join(folder, "report.json"), ON_HOST2,
                                  ("10.9.0.2:0", "--key-file", KEY), ("--key-file", KEY), lambda: expect_released(before))
    main_job.check(report, job)
    if report["fabric"] != "rdma" or "reaches" not in report["fabric_reason"]:
        raise main_job.Failure(f"fabric {report['fabric']}: {report['fabric_reason']}")
    return report


def cut_on_the_way(over):
    """Takes the first network away when about a quarter of the memory has gone over it, unless all is @over before."""
    while not over.is_set():
        status = subprocess.run([main_job.DECANT, "status", "job", "--json"], capture_output=True, text=True, check=False)
        migration = json.loads(status.stdout or "{}").get("migration") or {}
        if migration.get("state") == "precopy" and migration.get("permille", 0) >= 200:
            subprocess.run(["ip", "link", "set", "eth0", "down"], check=True)
            return
        time.sleep(0.1)


def run_cut():
    """Data goes over the first network, the control connection over the second."""
    before = resources(), resources(ON_HOST2)
    over = threading.Event()
    cutter = threading.Thread(target=cut_on_the_way, args=(over,))
    cutter.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = main_job.migrate("rdma", JOB, os.path.join(folder, "report.json"), ON_HOST2,
                                      ("10.9.1.2:0", "--key-file", KEY), ("--key-file", KEY, "--rail", "rxe0=10.9.0.2"),
                                      lambda: expect_released(before))
    finally:
        over.set()
        cutter.join()
        subprocess.run(["ip", "link", "set", "eth0", "up"], check=True)
    main_job.check(report, JOB)
    if report["fabric"] != "tcp" or "RDMA was lost" not in report["fabric_reason"]:
        raise main_job.Failure(f"fabric {report['fabric']}: {report['fabric_reason']}")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--page-size", action="append")
    parser.add_argument("--cut", action="store_true")
    options = parser.parse_args()
    if "DECANT_VM_RUN" not in os.environ:
        print("SKIP: there is no second host; run it in tests/vm/run --hosts 2 --rails 2 --rdma")
        return 77
    cases = [(f"{size} pages", run, (size,)) for size in options.page_size or ["4K", "2M"]] * options.runs
    if options.cut:
        cases = [("the RDMA network cut on the way", run_cut, ())]
    share_key()
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for number, (name, case, arguments) in enumerate(cases, 1):
        try:
            print(f"# {main_job.words(case(*arguments))}")
            print(f"ok {number} - main job over RDMA between two hosts: {name} ({number})", flush=True)
        except (main_job.Failure, subprocess.SubprocessError, OSError) as why:
            failed += 1
            print(f"not ok {number} - main job over RDMA between two hosts: {name} ({number})\n# {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""main_job_hosts.py -- the main job between two hosts: a real guest in nested KVM moves over real verbs on soft-RoCE

Runs on the first of the two VMs of `tests/vm/run --hosts 2 --rdma`. Without arguments: each page size once, as TAP. With
--runs N and --page-size: so many in a row. Beside what must hold of every main job: the fabric was RDMA, and when the guest has
moved neither host's RDMA resources are more than before it.
"""
import argparse
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
import main_job  # pylint: disable=wrong-import-position

ON_HOST2 = ("on-host2",)
JOB = {"memory": "256M", "wss": "4M", "vcpus": 2, "page_size": "4K", "dirty": "log", "max_downtime": "5s", "seconds": 280}
RELEASE_SECONDS = 20  # what was registered is let go of off the pause


def resources(prefix=()):
    """All but the open devices: librdmacm keeps those as long as the process lives."""
    shown = subprocess.run([*prefix, "rdma", "resource", "show"], capture_output=True, text=True, check=True).stdout
    return re.sub(r" ctx \d+", "", shown)


def huge_pages(prefix, count):
    subprocess.run([*prefix, "sh", "-c", f"echo {count} >{main_job.HUGE}"], check=True)


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
        report = main_job.migrate("rdma", job, os.path.join(folder, "report.json"), ON_HOST2, ("10.9.0.2:0", "--insecure"),
                                  lambda: expect_released(before))
    main_job.check(report, job)
    if report["fabric"] != "rdma" or "reaches" not in report["fabric_reason"]:
        raise main_job.Failure(f"fabric {report['fabric']}: {report['fabric_reason']}")
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--page-size", action="append")
    options = parser.parse_args()
    if "DECANT_VM_RUN" not in os.environ:
        print("SKIP: there is no second host; run it in tests/vm/run --hosts 2 --rdma")
        return 77
    cases = (options.page_size or ["4K", "2M"]) * options.runs
    failed = 0
    print(f"1..{len(cases)}", flush=True)
    for number, page_size in enumerate(cases, 1):
        try:
            print(f"# {main_job.words(run(page_size))}")
            print(f"ok {number} - main job over RDMA between two hosts: {page_size} pages ({number})", flush=True)
        except (main_job.Failure, subprocess.SubprocessError, OSError) as why:
            failed += 1
            print(f"not ok {number} - main job over RDMA between two hosts: {page_size} pages ({number})\n# {why}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

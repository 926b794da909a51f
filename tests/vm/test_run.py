#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""test_run.py -- tests/vm/run itself: whatever goes wrong in a VM is noticed, and said

A runner that takes a panic for a pass would make every test in a VM worthless.
"""
import concurrent.futures
import os
import subprocess
import sys

RUN = os.path.join(os.path.dirname(os.path.abspath(__file__)), "run")
FAULTY, KILLED = 125, 124
# a command on the second host that says when it has begun, and is looked for when it should be gone
BEGUN = "mkfifo /run/said; on-host2 sh -c 'echo begun; exec sleep 1234' >/run/said & read line </run/said; "
LOOKED_FOR = "sleep 1; on-host2 pgrep -xf 'sleep 1234'; echo gone: $?; "
TERMINATED = BEGUN + "kill $!; wait $!; status=$?; " + LOOKED_FOR + "exit $status"
KILLED_CLIENT = BEGUN + "kill -KILL $!; wait $!; " + LOOKED_FOR
CASES = [
    # name, options, command, status, what must be said
    ("output and status", [], "echo so it is; exit 7", 7, "so it is"),
    ("a hang", ["--timeout", "40"], "echo here it stays; sleep 1000", KILLED, "killed after 40 s"),
    ("a panic", [], "echo c >/proc/sysrq-trigger", FAULTY, "sysrq triggered crash"),
    ("a complaint of the kernel", [], "echo 'WARNING: CPU: 0 PID: 1 at made/up.c' >/dev/kmsg", FAULTY, "made/up.c"),
    ("RDMA resources that changed", ["--rdma"], "rdma link delete rxe0", FAULTY, "RDMA resources are left on host1"),
    ("the second host", ["--hosts", "2"], "on-host2 sh -c 'hostname; exit 9'", 9, "host2"),
    ("what the second host writes, much of it", ["--hosts", "2"], "on-host2 sh -c 'head -c 3000000 /dev/zero; echo no >&2' | wc -c", 0, "3000000"),
    ("a signal for the second host", ["--hosts", "2"], TERMINATED, 143, "gone: 1"),
    ("on-host2 killed", ["--hosts", "2"], KILLED_CLIENT, 0, "gone: 1"),
    ("a command that the second host has not", ["--hosts", "2"], "on-host2 nothing-like-it", 127, "nothing-like-it"),
    ("one that goes on after its command", ["--hosts", "2"], "on-host2 sh -c 'sleep 1234 & echo so it is'; " + LOOKED_FOR, 0, "gone: 0"),
]


def run(case):
    """What is wrong, or None."""
    _, options, command, status, words = case
    done = subprocess.run([RUN, "--parallel", "--memory", "512M", "--timeout", "100", *options, "--", "sh", "-c", command],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    text = done.stdout.decode(errors="replace")
    if done.returncode != status:
        return f"status {done.returncode}, should be {status}: {text[-4000:]}"
    return None if words in text else f"does not say '{words}': {text[-4000:]}"


def main():
    failed = 0
    print(f"1..{len(CASES)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for number, (case, wrong) in enumerate(zip(CASES, pool.map(run, CASES)), 1):
            print(f"{'not ' if wrong else ''}ok {number} - tests/vm/run: {case[0]}", flush=True)
            if wrong:
                failed += 1
                print("\n".join("# " + line for line in wrong.splitlines()), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

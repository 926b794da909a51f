#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-model.py -- has spin look through every state of docs/model/handover.pml, and shows that it can find something

The model must pass, with its search complete and every line reached. Without any one rule of the protocol it must not.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

MODEL = os.path.abspath("docs/model/handover.pml")
PROPERTIES = ["no_guest_is_lost", "doubt_is_settled"]

# What is left out, and what must be violated then: an assertion, or a property
BROKEN = {
    "NO_LEASE": "assertion",
    "NO_MARGIN": "assertion",
    "NO_WAIT": "assertion",
    "NO_RST": "assertion",
    "NO_TOMBSTONE": "assertion",
    "NO_PROOF": "assertion",
    "NO_EXPIRE": "doubt_is_settled",
    "NO_TIMER": "no_guest_is_lost",
}
FINDINGS = {"assertion violated": "assertion", "acceptance cycle": "cycle"}


def run(command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def build(options, name, flags):
    """The verifier of one variant, in a folder of its own."""
    folder = os.path.join(options.build, "model", name)
    os.makedirs(folder, exist_ok=True)
    run(["spin", *flags, "-a", MODEL], folder)
    run(["cc", "-O1" if not flags else "-O0", "-w", "-DNFAIR=3", "-o", "pan", "pan.c"], folder)
    return folder


def verify(folder, claim):
    """Errors found, of which kind, whether the search was complete, and the text."""
    text = run(["./pan", "-m100000", "-w20"] + (["-a", "-f", "-N", claim] if claim else ["-noclaim"]), folder)
    errors = int(re.search(r"errors: (\d+)", text).group(1))
    kind = next((kind for words, kind in FINDINGS.items() if words in text), "other") if errors else None
    return errors, kind, "not completed" not in text and "too small" not in text, text


def unreached(text):
    """Lines of the model that no run has come to; where a process ends does not count, most have no end."""
    lines = []
    for block in re.findall(r"^unreached in proctype \w+\n((?:\t.*\n)*)", text, re.MULTILINE):
        lines += [line.strip() for line in block.splitlines() if ".pml:" in line and '"-end-"' not in line]
    return lines


def check_whole(options):
    folder = build(options, "whole", [])
    faults = []
    for claim in [None] + PROPERTIES:
        errors, kind, complete, text = verify(folder, claim)
        states = re.search(r"(\d+) states, stored", text).group(1)
        print(f"{claim or 'assertions'}: {states} states, {errors} errors")
        if errors or not complete:
            trail = run(["spin", "-p", "-k", "handover.pml.trail", MODEL], folder) if errors and not claim else text
            faults.append(f"{claim or 'assertions'}: {kind or 'the search is not complete'}\n{trail}")
        if claim is None:
            faults += [f"never reached: {line}" for line in unreached(text)]
    return faults


def check_broken(options, name, violated):
    folder = build(options, name, [f"-D{name}"])
    errors, kind, _, _ = verify(folder, None if violated == "assertion" else violated)
    found = "assertion" if violated == "assertion" else "cycle"
    print(f"{name}: {'found' if errors else 'NOT FOUND'}")
    return [] if errors and kind == found else [f"{name}: {violated} should be violated, and {kind or 'nothing'} is"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    options = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        jobs = [pool.submit(check_whole, options)] + [pool.submit(check_broken, options, *item) for item in BROKEN.items()]
        faults = [fault for job in jobs for fault in job.result()]
    for fault in faults:
        print(f"check-model: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

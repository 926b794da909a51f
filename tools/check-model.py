#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""check-model.py -- has spin look through every state of the models in docs/model, and shows that it can find something

Each model must pass, with its search complete and every line reached. Without any one rule of its protocol it must not.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

FOLDER = os.path.abspath("docs/model")


class Model:
    """@properties: its formulas. @broken: what is left out, and what must be violated then: an assertion, or one of them"""

    def __init__(self, name, properties, broken):
        self.name, self.properties, self.broken = name, properties, broken
        self.path = os.path.join(FOLDER, f"{name}.pml")


MODELS = [
    Model("handover", ["no_guest_is_lost", "doubt_is_settled"], {
        "NO_LEASE": "assertion",
        "NO_MARGIN": "assertion",
        "NO_WAIT": "assertion",
        "NO_RST": "assertion",
        "NO_TOMBSTONE": "assertion",
        "NO_PROOF": "assertion",
        "NO_EXPIRE": "doubt_is_settled",
        "NO_TIMER": "no_guest_is_lost",
    }),
    Model("qemu", ["arrives", "ends"], {
        "NO_S": "assertion",
        "NO_COMPLETED": "assertion",
        "NO_DOUBT": "assertion",
        "NO_QUIT": "assertion",
        "NO_TIMEOUT": "ends",
    }),
]
FINDINGS = {"assertion violated": "assertion", "acceptance cycle": "cycle"}


def run(command, folder):
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout


def build(options, model, name, flags):
    """The verifiers of one variant, in a folder of its own: `pan` of its formulas, `asserts` of its assertions alone."""
    folder = os.path.join(options.build, "model", model.name, name)
    os.makedirs(folder, exist_ok=True)
    run(["spin", *flags, "-a", model.path], folder)
    optimize = "-O1" if not flags else "-O0"
    run(["cc", optimize, "-w", "-DNFAIR=3", "-o", "pan", "pan.c"], folder)
    run(["cc", optimize, "-w", "-DNOCLAIM", "-o", "asserts", "pan.c"], folder)
    return folder


def verify(folder, claim):
    """Errors found, of which kind, whether the search was complete, and the text."""
    program = ["./pan", "-a", "-f", "-N", claim] if claim else ["./asserts"]
    text = run([*program, "-m100000", "-w20"], folder)
    errors = int(re.search(r"errors: (\d+)", text).group(1))
    kind = next((kind for words, kind in FINDINGS.items() if words in text), "other") if errors else None
    return errors, kind, "not completed" not in text and "too small" not in text, text


def unreached(text):
    """Lines of the model that no run has come to; where a process ends does not count, most have no end."""
    lines = []
    for block in re.findall(r"^unreached in proctype \w+\n((?:\t.*\n)*)", text, re.MULTILINE):
        lines += [line.strip() for line in block.splitlines() if ".pml:" in line and '"-end-"' not in line]
    return lines


def check_whole(options, model):
    folder = build(options, model, "whole", [])
    faults = []
    for claim in [None] + model.properties:
        errors, kind, complete, text = verify(folder, claim)
        states = re.search(r"(\d+) states, stored", text).group(1)
        what = f"{model.name}: {claim or 'assertions'}"
        print(f"{what}: {states} states, {errors} errors")
        if errors or not complete:
            trail = run(["spin", "-p", "-k", f"{model.name}.pml.trail", model.path], folder) if errors and not claim else text
            faults.append(f"{what}: {kind or 'the search is not complete'}\n{trail}")
        if claim is None:
            faults += [f"never reached: {line}" for line in unreached(text)]
    return faults


def check_broken(options, model, name, violated):
    folder = build(options, model, name, [f"-D{name}"])
    errors, kind, _, _ = verify(folder, None if violated == "assertion" else violated)
    found = "assertion" if violated == "assertion" else "cycle"
    print(f"{model.name}: {name}: {'found' if errors else 'NOT FOUND'}")
    return [] if errors and kind == found else [f"{model.name}: {name}: {violated} should be violated, and {kind or 'nothing'} is"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build")
    options = parser.parse_args()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        jobs = [pool.submit(check_whole, options, model) for model in MODELS]
        jobs += [pool.submit(check_broken, options, model, *item) for model in MODELS for item in model.broken.items()]
        faults = [fault for job in jobs for fault in job.result()]
    for fault in faults:
        print(f"check-model: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

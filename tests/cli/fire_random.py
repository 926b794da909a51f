#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fire_random.py -- migrations with a random fault each, at a random arrow or a random time; counts what became of them

As TAP, and the counts as one line of JSON. What is done in which order is the seed's and the number's: a fault at an arrow happens
again with `--seed SEED --first NUMBER --number 1`, one at a time about so.
"""
import argparse
import concurrent.futures
import json
import random
import sys
import time

import fire_cell
import rig

TYPICAL_SECONDS = 0.5  # what a migration takes on a quiet machine
NEEDS_FRAME = ("late",)  # holds a frame up


def draw(seed, number):
    """The fault of that number: words for it, its kind, and the function that does it."""
    dice = random.Random(f"{seed}/{number}")
    kind = dice.choice(fire_cell.KINDS)
    if kind in NEEDS_FRAME or dice.random() < 0.5:
        arrow, late = dice.choice(list(fire_cell.ARROWS)), kind not in NEEDS_FRAME and dice.random() < 0.5
        return f"{kind} at {arrow}{', late' if late else ''}", kind, lambda: fire_cell.run_cell(arrow, kind, late)
    seconds = dice.uniform(0, TYPICAL_SECONDS)
    return f"{kind} after {seconds:.3f} s", kind, lambda: fire_cell.run_timed(kind, seconds)


def run(seed, number):
    words, kind, body = draw(seed, number)
    try:
        where, doubt = body()
        return words, kind, f"{where}{' after doubt' if doubt else ''}", None
    except Exception as problem:  # pylint: disable=broad-except
        return words, kind, "failed", rig.describe(problem)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=10)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", default=str(time.time_ns()))
    parser.add_argument("--jobs", type=int, default=6, help="migrations at once: they wait more than they work")
    parser.add_argument("--counts", help="a file that gets the line with the counts, too")
    options = parser.parse_args()
    counts = {"seed": options.seed, "migrations": options.number, "kinds": {}}
    print(f"# seed {options.seed}\n1..{options.number}", flush=True)
    numbers = range(options.first, options.first + options.number)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for number, (words, kind, end, problem) in zip(numbers, pool.map(lambda n: run(options.seed, n), numbers)):
            ends = counts["kinds"].setdefault(kind, {})
            ends[end] = ends.get(end, 0) + 1
            print("".join(f"# {line}\n" for line in (problem or f"guest at {end}").splitlines()), end="")
            print(f"{'not ok' if problem else 'ok'} {number - options.first + 1} - {number}: {words}", flush=True)
    counts["failed"] = sum(ends.get("failed", 0) for ends in counts["kinds"].values())
    line = json.dumps(counts, sort_keys=True)
    print(f"# {line}")
    if options.counts:
        with open(options.counts, "a", encoding="utf-8") as file:
            file.write(line + "\n")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    rig.skip_without_kvm()
    rig.skip_without_root()
    sys.exit(main())

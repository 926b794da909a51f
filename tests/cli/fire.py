#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""fire.py -- the hand-over under fire: real processes, real guests, a fault at every arrow

Between two hosts stands a relay that knows the frames of the control connection. At a given one, the arrow, a process is killed or stopped,
the network is cut, held up or doubled. As TAP: a chosen few; with --all all arrows and all kinds, of which --slice takes a part.
"""
import argparse
import concurrent.futures
import os
import sys
import time

import fire_cell
import fire_more
import fire_net
import rig

CHOSEN = """
hello:kill-destination shape:kill-source pass1-50%:kill-destination pass1-50%:cut state:stop-destination
register:stop-source pass1-1%:cut-heal last-ack:kill-source handover:kill-destination grant:twice go:twice
go:cut running:cut go:cut-out ready:kill-destination go:kill-destination
ready:kill-source ready:cut go:kill-source go:late
go:stop-destination-long running:kill-destination ready:stop-source-long verdict-ask:kill-source disk:name disk:serial
disk:report timer:switchover
"""
LATE_KINDS = ("kill-source", "kill-destination", "stop-source-long", "stop-destination-long", "cut")
LATE_ARROWS = ("state", "last-ack", "handover", "ready", "go", "running", "verdict-ask", "verdict")


def all_cells():
    cells = [f"{arrow}:{kind}" for arrow in fire_cell.ARROWS for kind in fire_cell.KINDS]
    return cells + list(fire_more.CELLS) + [f"{arrow}:{kind}:late" for arrow in LATE_ARROWS for kind in LATE_KINDS]


def run(cell):
    """A cell by its name; what came of it, in words, and whether that is a failure."""
    arrow, kind, *late = cell.split(":")
    started = time.monotonic()
    try:
        special = fire_more.CELLS.get(cell)
        where, doubt = special() if special else fire_cell.run_cell(arrow, kind, bool(late))
        return f"guest at {where}{', was in doubt' if doubt else ''}, {time.monotonic() - started:.1f} s", True
    except Exception as problem:  # pylint: disable=broad-except
        return rig.describe(problem), False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--slice", default="1/1", help="I/N: every Nth of them, from the Ith on")
    parser.add_argument("--jobs", type=int, default=6, help="cells at once: they wait more than they work")
    parser.add_argument("cell", nargs="*", help="ARROW:KIND[:late]")
    options = parser.parse_args()
    cells = options.cell or (all_cells() if options.all else CHOSEN.split())
    first, step = (int(number) for number in options.slice.split("/"))
    cells = cells[(first - 1) % step::step]
    failed = 0
    print(f"1..{len(cells)}", flush=True)
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for number, (cell, (text, good)) in enumerate(zip(cells, pool.map(run, cells)), 1):
            failed += not good
            print("".join(f"# {line}\n" for line in text.splitlines()), end="")
            print(f"{'ok' if good else 'not ok'} {number} - {cell}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    rig.skip_without_kvm()
    rig.skip_without_root()
    fire_net.keep_mounts_private()
    sys.exit(main())

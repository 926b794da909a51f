# SPDX-License-Identifier: BSD-2-Clause
"""plots.py -- the plots of a sweep, drawn by gnuplot as SVG

A plot is a list of Series, each a list of rows. Bars stand on the points of the sweep, with a line from the lowest run to the highest; curves
have an axis of their own.
"""
import dataclasses
import shutil
import subprocess

import figures
from places import Unmeasured

SECONDS = 60
WIDTH, HEIGHT = 760, 340
PAGE = 4096
WORK_STEPS = 100  # of the guest's work, so that a curve is one
SHOWN_MS = 20  # of it after the pause, before it judges its memory


@dataclasses.dataclass
class Series:
    title: str
    rows: list  # of tuples of numbers


def text(words):
    """As a string of gnuplot's."""
    return '"' + "".join(c for c in words.replace("\\", "\\\\").replace('"', '\\"') if c.isprintable()) + '"'


def gnuplot(script):
    """The SVG that @script draws."""
    if shutil.which("gnuplot") is None:
        raise Unmeasured("gnuplot is not installed: run tools/deps.sh bench, or install gnuplot-nox")
    head = f"set terminal svg size {WIDTH},{HEIGHT} dynamic noenhanced background rgb 'white' font 'sans-serif,12'\n"
    done = subprocess.run(["gnuplot", "-"], input=head + script, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode != 0 or not done.stdout.startswith("<?xml"):
        raise Unmeasured(f"gnuplot: {done.stderr.strip() or 'drew nothing'}")
    return done.stdout


def block(number, series):
    rows = "\n".join(" ".join(f"{value:.9g}" for value in row) for row in series.rows)
    return f"$data{number} << END_OF_DATA\n{rows}\nEND_OF_DATA\n"


def frame(title, x, y):
    return (f"set title {text(title)}\nset xlabel {text(x)}\nset ylabel {text(y)}\nset grid ytics lc rgb '#dddddd'\n"
            "set border 3\nset tics nomirror\nset key outside right top\n")


# ---- bars: a group of them for each point ----

def bar_rows(points, name, index, count, scale):
    """x, median, lowest, highest."""
    offset = (index - (count - 1) / 2) * 0.8 / count
    rows = []
    for place, point in enumerate(points):
        told = point["summary"].get(name)
        if told:
            rows.append((place + offset, told["median"] * scale, told["lowest"] * scale, told["highest"] * scale))
    return rows


def bars(title, sweep, wanted, y, scale=1.0, more="set yrange [0:*]\n"):
    """@wanted: figure -> its name in the key. None if no point tells any."""
    points = sweep["points"]
    told = [name for name in wanted if any(name in point["summary"] for point in points)]
    if not told:
        return None
    series = [Series(wanted[name], bar_rows(points, name, index, len(told), scale)) for index, name in enumerate(told)]
    tics = ", ".join(f"{text(point['label'])} {place}" for place, point in enumerate(points))
    script = frame(title, sweep["axis"], y) + f"set xtics ({tics})\nset xrange [-0.6:{len(points) - 0.4}]\n" + more
    script += f"set boxwidth {0.75 / len(told):.4f}\nset style fill solid 0.6\n"
    script += "".join(block(number, one) for number, one in enumerate(series))
    drawn = [f"$data{number} using 1:2 with boxes lc {number + 1} title {text(one.title)}, "
             f"$data{number} using 1:2:3:4 with yerrorbars lc rgb '#333333' pt 0 notitle" for number, one in enumerate(series)]
    return gnuplot(script + "plot " + ", ".join(drawn) + "\n")


# ---- curves ----

def curves(title, series, x, y, style, more=""):
    series = [one for one in series if one.rows]
    if not series:
        return None
    script = frame(title, x, y) + more + "".join(block(number, one) for number, one in enumerate(series))
    drawn = [f"$data{number} using 1:2 with {style} lw 1.5 lc {number + 1} title {text(one.title)}" for number, one in enumerate(series)]
    return gnuplot(script + "plot " + ", ".join(drawn) + "\n")


def pass_rows(run):
    """When each pass began, in ms after the command, and the MiB that were sent in it; nothing shows as one page."""
    at, rows = run["report"]["setup_ms"], []
    for one in run["report"]["passes"]:
        rows.append((at, max(one["bytes"], PAGE) / (1 << 20)))
        at += one["ms"]
    return rows + [(at, rows[-1][1])] if rows else []


def work_looks(seen):
    """ms after the command, pages; two lists, since after the pause the guest judges its memory, and what follows is moved to where that begins."""
    moved = seen["judged_ms"] - seen["total_ms"] - SHOWN_MS
    return ([look for look in seen["work"] if look[0] <= seen["total_ms"] + SHOWN_MS],
            [(at - moved, pages) for at, pages in seen["work"] if at >= seen["judged_ms"]])


def work_rows(run):
    """The guest's work by time, as a share of what it did before the command."""
    seen = run.get("seen")
    if not seen or not seen.get("work_before"):
        return []
    rows = []
    step = max(10, (seen["total_ms"] + 1e3) / WORK_STEPS)
    for looks in work_looks(seen):
        begin = looks[0] if looks else None
        for at, pages in looks:
            if at - begin[0] >= step:
                rows.append((at, max(pages - begin[1], 0) * 1e3 / (at - begin[0]) / seen["work_before"]))
                begin = (at, pages)
    return rows


def middles(sweep, rows):
    found = [(point["label"], figures.middle_run(point["runs"])) for point in sweep["points"]]
    return [Series(label, rows(run)) for label, run in found if run is not None]


def of_sweep(sweep):
    """What there is to draw: (caption, SVG)."""
    drawn = [
        ("Throughput of the first pass, beside the bare limit in the same round",
         bars("Throughput", sweep, {"throughput": "decant", "baseline": "baseline"}, "MB/s", 1e-6)),
        ("The pause, as three clocks see it", bars("Pauses", sweep, {
            "pause_vmm": "VMM", "pause_guest": "guest's TSC", "pause_seen": "heartbeat", "pause_network": "network"}, "ms")),
        ("Phases by the stamps of both ends: until memory can travel, passes, from the guest's pause to GO, from GO to the running guest",
         bars("Phases", sweep, {"phase_setup": "set-up", "phase_passes": "passes", "phase_handover": "hand-over", "phase_start": "start",
                                "phase_dest_prepare": "dest.: prepare", "phase_dest_load": "dest.: load", "phase_dest_start": "dest.: start"},
              "ms", more="set logscale y\nset format y '%g'\nset yrange [0.01:*]\n")),
        ("CPU time for each GB that was sent", bars("CPU per GB", sweep, {
            "cpu_source_per_gb": "source", "cpu_dest_per_gb": "destination", "cpu_softirq_per_gb": "softirq"}, "s/GB")),
        ("Passes of the middle run: when each began, and how much it sent",
         curves("Passes", middles(sweep, pass_rows), "ms after the command", "MiB", "steps", "set logscale y\nset format y '%g'\n")),
        ("The guest's work in the middle run, as a share of before; without the time after the pause in which it judges all its memory",
         curves("Guest's work", middles(sweep, work_rows), "ms after the command", "share", "lines", "set yrange [0:*]\n")),
    ]
    return [(caption, svg) for caption, svg in drawn if svg]

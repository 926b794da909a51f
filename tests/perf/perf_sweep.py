#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""perf_sweep.py -- decant-perf: rounds, figures, the page, the other host; and a smallest sweep of real guests; TAP"""
import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("DECANT_BUILD", "build")
sys.path.insert(0, os.path.join(ROOT, "perf"))

import figures
import machine
import measures
import page
import places
import plots
import sweep
import sweeps
import tap
from tap import equal

SCRATCH = tempfile.mkdtemp()
MEMORY = 1 << 30


def a_run(total=100.0, converged=True, **report):
    """What sweep.take_run() would bring."""
    told = {"total_ms": total, "setup_ms": 5.0, "downtime_ms": 2.0, "guest_pause_ms": 3.0, "throughput_Bps": 2e9, "sent_bytes": 1 << 30,
            "stamps_ns": {"connecting": 1000000, "precopy": 6000000, "switchover": 90000000, "go": 91000000, "completed": 91500000},
            "source_cpu_ms": 100.0, "dest_cpu_ms": 300.0,
            "passes": [{"ms": 80.0, "bytes": 1 << 29, "dirty_pages": 9}, {"ms": 3.0, "bytes": 4096, "dirty_pages": 1}], **report}
    work = [[at, 1000 * (at + 100)] for at in range(-100, 200, 5)]
    seen = {"judged_ms": total + 50, "total_ms": total + 1, "pause_ms": 4.0, "work_before": 1e6, "work_during": 9e5, "work_after": 1e6, "vcpu_cpu_s": 0.5,
            "softirq_cpu_s": 0.1, "work": work, "doubts": ""}
    return {"converged": converged, "baseline_Bps": 2.5e9, "report": told, "seen": seen if converged else None}


def sweeper(name, take):
    """Its points are taken by @take, a function of the point; what it says is in .lines."""
    setup = measures.Setup(driver="none")
    lines = []
    made = sweep.Sweeper(name, setup, lines.append, take=lambda _, point: take(point))
    made.lines = lines
    return made


def a_page(name="channels", take=lambda point: a_run()):
    taken = sweeper(name, take)
    taken.run(MEMORY, 2, bandwidth=100 << 20)
    return {"format": page.FORMAT, "command": ["decant-perf", "run"], "here": machine.machine("true"), "there": None,
            "sweeps": {name: taken.told()}}


# ---- figures ----

def test_summary__is_median_lowest_and_highest_of_the_runs_that_tell():
    told = figures.summary([a_run(10), a_run(30), a_run(20, converged=False)])

    equal(told["total"], {"median": 20, "lowest": 11, "highest": 31, "runs": 3})
    equal(told["pause_vmm"]["runs"], 2)
    equal(told["converged"]["median"], 1)
    assert "pause_network" not in told


def test_summary__divides_by_what_the_same_run_had():
    told = figures.summary([a_run()])

    equal(told["throughput_vs_baseline"]["median"], 0.8)
    equal(told["work_kept"]["median"], 0.9)
    equal((told["phase_setup"]["median"], told["phase_start"]["median"]), (5, 0.5))
    equal(round(told["cpu_dest_per_gb"]["median"] * (1 << 30) / 1e9, 6), 0.3)


def test_middle_run__is_the_one_to_draw():
    equal(figures.middle_run([a_run(9), a_run(1), a_run(5)])["report"]["total_ms"], 5)
    equal(figures.middle_run([]), None)


def test_edge__lies_below_the_first_that_has_not_converged():
    points = [{"x": x, "runs": [a_run(converged=good)]} for x, good in ((0, True), (1, False), (0.5, True), (1.5, True))]

    for point in points:
        point["summary"] = figures.summary(point["runs"])
    equal(figures.edge(points), (0.5, 1))
    equal(figures.edge(points[:1]), (0, None))


def test_edge__knows_nothing_of_rates_that_the_guest_did_not_keep_up():
    slow = {"x": 1, "runs": [dict(a_run(), bandwidth_Bps=5000000000)]}
    slow["summary"] = figures.summary(slow["runs"])

    equal(round(slow["summary"]["dirty_ratio"]["median"], 3), 0.819)
    equal(figures.edge([slow]), (None, None))


# ---- sweeps ----

def test_points__scale_with_the_memory_and_fit_into_it():
    for name, one in sweeps.SWEEPS.items():
        for point in one.points(MEMORY):
            held = point.filled + point.zero
            assert 0 < held <= point.memory * 0.97, f"{name} {point.label}: {held} of {point.memory}"
            assert point.baseline in sweep.BASELINES, name


def test_rounds__go_there_and_back_and_leave_out_what_fails_twice():
    order = []

    def take(point):
        order.append(point.label)
        if point.label == "4":
            raise places.Unmeasured("no fourth")
        return a_run()

    taken = sweeper("channels", take)
    taken.run(MEMORY, 3)

    equal(order, ["1", "2", "4", "8", "8", "4", "2", "1", "1", "2", "8"])
    four = next(point for point in taken.told()["points"] if point["label"] == "4")
    equal((four["runs"], four["failures"]), ([], ["no fourth", "no fourth"]))


def test_dirty_rate__is_a_share_of_the_bandwidth_and_is_refined_where_it_stops_to_converge():
    rates = {}

    def take(point):
        rates[point.ratio] = point.rate
        assert point.wss / point.bandwidth * 1e3 > 5 * point.max_downtime_ms
        return a_run(converged=point.ratio <= 0.7)

    taken = sweeper("dirty-rate", take)
    taken.run(MEMORY, 1, bandwidth=200 << 20)
    told = taken.told()

    equal(rates[0.5], 100 << 20)
    equal((told["converges_to"], told["fails_from"]), (0.6875, 0.75))
    equal([point["x"] for point in told["points"]], sorted(rates))


# ---- the page ----

def test_page__has_each_sweep_its_plots_and_needs_nothing_else():
    text = page.page(a_page())

    drawn = [base64.b64decode(svg).decode() for svg in re.findall(r"data:image/svg\+xml;base64,([^']+)", text)]
    equal(len(drawn), 6)
    for svg, words in zip(drawn, (("decant", "baseline"), ("VMM", "heartbeat"), ("hand-over",), ("softirq",), ("Passes",), ("share",))):
        assert all(word in svg for word in words), words
    equal(set(re.findall(r"(?:src|href)='?(\w+)", text)), {"data"})
    assert "<td>0.80" in text and "kernel" in text


def test_page__says_what_was_not_measured_and_why():
    def take(point):
        raise places.Unmeasured("no <such> thing")

    text = page.page(a_page(take=take))
    assert "not measured: no &lt;such&gt; thing" in text and "<such>" not in text
    assert "data:image" not in text


def test_page__says_where_it_stops_to_converge():
    text = page.page(a_page("dirty-rate", lambda point: a_run(converged=point.ratio < 1)))

    assert "it converges up to a dirty rate of 0.9375 of that, and no more from 1." in text, text[:3000]


def test_page__says_what_rdma_saves_of_the_cpu():
    def take(point):
        return a_run(source_cpu_ms=25.0 if point.fabric == "rdma" else 250.0, dest_cpu_ms=0.0)

    found = a_page("fabric", lambda point: dict(take(point), seen=None))
    assert "RDMA takes 0.10 of what TCP takes" in page.page(found)
    found["sweeps"]["fabric"]["points"] = found["sweeps"]["fabric"]["points"][:4]
    assert "RDMA takes" not in page.page(found)


def test_page__of_another_file_is_refused():
    path = os.path.join(SCRATCH, "other.json")
    with open(path, "w", encoding="utf-8") as out:
        out.write("[1]")
    try:
        page.load(path)
    except places.Unmeasured as why:
        assert "not written by" in str(why), why
        return
    raise AssertionError("taken for results")


def test_plot__what_gnuplot_refuses_is_an_error():
    try:
        plots.gnuplot("plot nonsense(\n")
    except places.Unmeasured as why:
        assert str(why).startswith("gnuplot: "), why
        return
    raise AssertionError("drawn")


def test_work__is_drawn_without_the_time_of_the_verdict():
    run = {"seen": {"total_ms": 100, "judged_ms": 5100, "work_before": 2e3,
                    "work": [(at, min(at + 500, 620) * 2 if at < 5100 else 1240 + (at - 5100)) for at in range(-500, 5400, 5)]}}
    rows = plots.work_rows(run)

    equal({share for at, share in rows if at < 100}, {1.0})
    equal({share for at, share in rows if at > 121}, {0.5})
    assert 400 < rows[-1][0] < 420, rows[-1]


# ---- the other host ----

def fake_ssh():
    """Like ssh HOST LINE, and writes down what it is asked for."""
    path = os.path.join(SCRATCH, "fake-ssh")
    with open(path, "w", encoding="utf-8") as out:
        out.write(f'#!/bin/sh\necho "$1" >>{SCRATCH}/hosts\nshift\nexec sh -c "$*"\n')
    os.chmod(path, stat.S_IRWXU)
    return path


def test_remote__takes_words_as_they_are_and_brings_back_what_it_says():
    place = places.Remote([fake_ssh()], "there")
    with measures.started(["sh", "-c", "echo \"$1\"; echo last", "sh", "two  'words' $HOME"], 30, place) as process:
        equal([process.line(), process.finish()], ["two  'words' $HOME\n", "last\n"])


def test_remote__failure_is_told():
    try:
        with measures.started(["sh", "-c", "echo broken >&2; exit 3"], 30, places.Remote([fake_ssh()], "there")) as process:
            process.finish()
    except places.Unmeasured as why:
        assert "ended with 3: broken" in str(why), why
        return
    raise AssertionError("it has failed")


def test_remote__what_goes_on_ends_with_its_standard_input():
    with measures.started(["sh", "-c", "echo $$; exec sleep 600"], 30, places.Remote([fake_ssh()], "there")) as process:
        pid = int(process.line())
        os.kill(pid, 0)
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{pid}"):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.01)


def test_machine__can_be_told_by_its_text_alone():
    with open(machine.__file__, encoding="utf-8") as text:
        done = subprocess.run([sys.executable, "-c", text.read(), "true"], capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    equal(sorted(told), sorted(machine.machine("true")))
    assert told["kernel"] == os.uname().release and any(one["name"] == "lo" for one in told["interfaces"]), told


# ---- all of it ----

def decant_perf(*words):
    return subprocess.run([os.path.join(ROOT, "perf", "decant-perf"), *words], capture_output=True, text=True, check=False, timeout=110)


def test_command__measures_over_its_ssh_and_draws_a_page():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise tap.Skip("/dev/kvm cannot be used")
    folder = os.path.join(SCRATCH, "out")
    done = decant_perf("run", "--build", BUILD, "--sweep", "channels", "--point", "2", "--memory", "64M", "--runs", "1", "--out", folder,
                       "--peer", "127.0.0.1", "--ssh", fake_ssh())
    equal((done.returncode, done.stderr), (0, ""))
    with open(os.path.join(folder, "results.json"), encoding="utf-8") as text:
        found = json.load(text)
    point, = found["sweeps"]["channels"]["points"]
    told = {name: one["median"] for name, one in point["summary"].items()}
    assert told["pause_seen"] > 0 and told["work_before"] > 0 and told["work_after"] > 0, told
    assert told["phase_setup"] >= told["phase_dest_prepare"] > 0 and told["phase_start"] > 0, told
    assert told["throughput"] > 0 and told["baseline"] > 0 and told["total"] >= told["pause_vmm"], told
    equal((point["runs"][0]["report"]["guest_verdict"], found["there"]["kernel"]), ("ok", found["here"]["kernel"]))
    with open(os.path.join(SCRATCH, "hosts"), encoding="utf-8") as text:
        equal(set(text.read().split()), {"there", "127.0.0.1"})

    drawn = decant_perf("report", folder)
    equal((drawn.returncode, drawn.stderr), (0, ""))
    assert os.path.getsize(os.path.join(folder, "index.html")) > 10000


def test_command__exits_1_and_says_so_where_nothing_could_be_measured():
    folder = os.path.join(SCRATCH, "none")
    done = decant_perf("run", "--build", BUILD, "--sweep", "page-size", "--point", "1G", "--memory", "64M", "--runs", "1", "--out", folder)

    equal(done.returncode, 1)
    assert "1G: NOT MEASURED" in done.stdout, done.stdout


STATUS = tap.run(globals())
shutil.rmtree(SCRATCH)
sys.exit(STATUS)

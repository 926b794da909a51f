# SPDX-License-Identifier: BSD-2-Clause
"""figures.py -- from the runs of a point to its figures: median, lowest and highest of each

A run is what sweep.py has kept of one migration. What a run cannot tell (no network in the guest, no observer over loop) is None and in no
median.
"""
import statistics

GB = 1e9
PAGE = 4096
KEPT_UP = 0.9  # of the dirty rate that was asked for: from there on a guest has kept it


def _report(run):
    return run.get("report") or {}


def _seen(run):
    return run.get("seen") or {}


def _cpu_per_gb(run, end):
    """Of decant's own threads at one end: by the report, which knows them all."""
    sent, cpu = _report(run).get("sent_bytes"), _report(run).get("source_cpu_ms" if end == "source" else "dest_cpu_ms")
    return cpu / 1e3 / (sent / GB) if sent and cpu is not None else None


def _seen_cpu_per_gb(run, key):
    sent, cpu = _report(run).get("sent_bytes"), _seen(run).get(key)
    return cpu / (sent / GB) if sent and cpu is not None else None


def _ratio(over, under):
    return over / under if over is not None and under else None


def _phase(begin, end, stamps="stamps_ns"):
    """From one state to another, by the clock of one end."""
    def tell(run):
        at = _report(run).get(stamps) or {}
        return (at[end] - at[begin]) / 1e6 if begin in at and end in at else None
    return tell


def _dirty_ratio(run):
    """What the guest wrote before the migration, by what the fabric was held to."""
    written = _seen(run).get("work_before")
    return _ratio(written * PAGE if written is not None else None, run.get("bandwidth_Bps"))


def _work(key):
    return lambda run: _seen(run).get(key)


# name -> (unit, how a run tells it)
FIGURES = {
    "throughput": ("B/s", lambda run: _report(run).get("throughput_Bps")),
    "baseline": ("B/s", lambda run: run.get("baseline_Bps")),
    "throughput_vs_baseline": ("", lambda run: _ratio(_report(run).get("throughput_Bps"), run.get("baseline_Bps"))),
    "total": ("ms", lambda run: _seen(run).get("total_ms", _report(run).get("total_ms"))),
    "passes": ("", lambda run: len(_report(run)["passes"]) if "passes" in _report(run) else None),
    "pause_vmm": ("ms", lambda run: _report(run).get("downtime_ms") if run["converged"] else None),
    "pause_guest": ("ms", lambda run: _report(run).get("guest_pause_ms")),
    "pause_seen": ("ms", lambda run: _seen(run).get("pause_ms")),
    "pause_network": ("ms", lambda run: _seen(run).get("network_pause_ms")),
    "phase_setup": ("ms", _phase("connecting", "precopy")),
    "phase_passes": ("ms", _phase("precopy", "switchover")),
    "phase_handover": ("ms", _phase("switchover", "go")),
    "phase_start": ("ms", _phase("go", "completed")),
    "phase_dest_prepare": ("ms", _phase("connecting", "precopy", "dest_stamps_ns")),
    "phase_dest_load": ("ms", _phase("switchover", "go", "dest_stamps_ns")),
    "phase_dest_start": ("ms", _phase("go", "completed", "dest_stamps_ns")),
    "cpu_source_per_gb": ("s/GB", lambda run: _cpu_per_gb(run, "source")),
    "cpu_dest_per_gb": ("s/GB", lambda run: _cpu_per_gb(run, "dest")),
    "cpu_vcpus_per_gb": ("s/GB", lambda run: _seen_cpu_per_gb(run, "vcpu_cpu_s")),
    "cpu_softirq_per_gb": ("s/GB", lambda run: _seen_cpu_per_gb(run, "softirq_cpu_s")),
    "work_before": ("pages/s", _work("work_before")),
    "work_during": ("pages/s", _work("work_during")),
    "work_after": ("pages/s", _work("work_after")),
    "work_kept": ("", lambda run: _ratio(_seen(run).get("work_during"), _seen(run).get("work_before"))),
    "dirty_ratio": ("", _dirty_ratio),
    "converged": ("", lambda run: float(run["converged"])),
}


def summary(runs):
    """figure -> {"median", "lowest", "highest", "runs"}, of those that any run tells."""
    found = {}
    for name, (_, tell) in FIGURES.items():
        values = [value for value in map(tell, runs) if value is not None]
        if values:
            found[name] = {"median": statistics.median(values), "lowest": min(values), "highest": max(values), "runs": len(values)}
    return found


def middle_run(runs):
    """The run whose total is the median, or the next to it: the one to draw."""
    known = [run for run in runs if _report(run).get("total_ms")]
    return sorted(known, key=lambda run: _report(run)["total_ms"])[len(known) // 2] if known else None


def _verdict(point):
    """Whether it converges at that dirty rate; None where the guest was too slow to tell."""
    if not all(run["converged"] for run in point["runs"]):
        return False
    kept = point["summary"].get("dirty_ratio")
    return True if kept is None or kept["median"] >= KEPT_UP * point["x"] else None


def edge(points):
    """The highest ratio of dirty rate to bandwidth up to which all runs have converged, and the lowest at which one has not."""
    told = sorted((point["x"], _verdict(point)) for point in points if point["runs"])
    fails_from = next((x for x, good in told if good is False), None)
    good = [x for x, good in told if good and (fails_from is None or x < fails_from)]
    return (good[-1] if good else None), fails_from

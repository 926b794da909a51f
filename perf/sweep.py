# SPDX-License-Identifier: BSD-2-Clause
"""sweep.py -- takes a sweep: rounds there and back over its points, each point beside its baseline, and hands out all as it goes

A round takes each point once, its baseline right before it; the next round takes them in the opposite order. What cannot be measured here
(no RDMA, no huge pages) is a failure of its point with the reason, and the others go on.
"""
import dataclasses

import figures
import guests
import measures
import places
import sweeps

TRIES = 2  # of a point that has never been measured
CAP = 0.4  # of what the baseline reaches: leaves the guest and the senders a core each where there are few
LIMIT_SHARE = 10  # the working set of a dirty-rate sweep takes so many times the longest pause
SHORTEST_PAUSE_MS = 20
REFINE = 2  # times that the interval in which it stops converging is halved
BASELINES = {**measures.NATIVE, **measures.RDMA}


def baseline_setup(setup, point):
    """As many bytes as the guest has, in pages of the same size."""
    page = measures.size_of(point.page_size)
    whole = max(-(-point.filled // page), 1) * page
    return dataclasses.replace(setup, memory=str(whole), page_size=point.page_size, streams=point.channels or 1)


def take_run(setup, point):
    """The baseline, then the migration."""
    if point.fabric == "rdma" and not setup.device:
        raise places.Unmeasured("this host has no RDMA device")
    baseline = BASELINES[point.baseline](baseline_setup(setup, point))
    return {"baseline_Bps": baseline, "bandwidth_Bps": point.bandwidth or None, **guests.migrate_once(setup, point)}


class Sweeper:
    """One sweep. @take: of a setup and a point, a run; @say gets a line for each run."""

    def __init__(self, name, setup, say, take=take_run):
        self.sweep, self.setup, self.say, self.take = sweeps.SWEEPS[name], setup, say, take
        self.bandwidth = 0
        self.entries = []

    # ---- rounds ----

    def _run(self, entry):
        point = entry["point"]
        try:
            run = self.take(self.setup, point)
        except (places.Unmeasured, OSError, ValueError, KeyError) as why:
            entry["failures"].append(str(why) or repr(why))
            self.say(f"{point.label}: NOT MEASURED: {entry['failures'][-1]}")
            return
        entry["runs"].append(run)
        tell = {name: told["median"] for name, told in figures.summary([run]).items()}
        self.say(f"{point.label}: " + (f"total {tell.get('total', 0):.0f} ms, {tell.get('throughput', 0) / 1e6:.0f} MB/s, pause "
                                       f"{tell.get('pause_vmm', 0):.1f} ms" if run["converged"] else "does not converge"))

    def _round(self, entries, number):
        for entry in entries if number % 2 == 0 else reversed(entries):
            if entry["runs"] or len(entry["failures"]) < TRIES:
                self._run(entry)

    def _add(self, points):
        entries = [{"point": point, "runs": [], "failures": []} for point in points]
        self.entries += entries
        return entries

    # ---- dirty rates ----

    def _paced(self, point):
        """The point with its ratio made a rate, over a fabric that is held to a bandwidth which it surely has."""
        if point.ratio is None:
            return point
        limit = 1e3 * point.wss / self.bandwidth / LIMIT_SHARE
        return dataclasses.replace(point, rate=max(int(point.ratio * self.bandwidth), sweeps.PAGE), bandwidth=self.bandwidth,
                                   max_downtime_ms=max(int(limit), SHORTEST_PAUSE_MS))

    def _find_bandwidth(self, points, asked):
        paced = next((point for point in points if point.ratio is not None), None)
        if paced is not None:
            self.bandwidth = asked or int(CAP * BASELINES[paced.baseline](baseline_setup(self.setup, paced)))

    def _refine(self, memory, count, saved):
        """Halves the interval between the last ratio that converged and the first that did not."""
        for _ in range(REFINE):
            good, bad = figures.edge(self.told()["points"])
            if good is None or bad is None:
                return
            entries = self._add([self._paced(sweeps.dirty_point(memory, (good + bad) / 2))])
            for number in range(count):
                self._round(entries, number)
                saved()

    # ---- the sweep ----

    def run(self, memory, count, bandwidth=0, only=(), saved=lambda: None):
        """@only: labels of points; none: all. @saved is called whenever there is more to tell."""
        points = [point for point in self.sweep.points(memory) if not only or point.label in only]
        self._find_bandwidth(points, bandwidth)
        entries = self._add(map(self._paced, points))
        for number in range(count):
            self._round(entries, number)
            saved()
        if self.sweep is sweeps.SWEEPS["dirty-rate"] and not only:
            self._refine(memory, count, saved)

    def told(self):
        """For results.json."""
        points = [{"label": entry["point"].label, "x": entry["point"].x, "settings": dataclasses.asdict(entry["point"]),
                   "summary": figures.summary(entry["runs"]), "runs": entry["runs"], "failures": entry["failures"]}
                  for entry in sorted(self.entries, key=lambda entry: entry["point"].x)]
        found = {"title": self.sweep.title, "axis": self.sweep.axis, "about": self.sweep.about, "points": points}
        if self.bandwidth:
            found["bandwidth_Bps"] = self.bandwidth
            found["converges_to"], found["fails_from"] = figures.edge(points)
        return found

# SPDX-License-Identifier: BSD-2-Clause
"""guests.py -- one migration of a sweep: what a Point says, made a pair of decants, and what is kept of it"""
import json
import os
import subprocess
import time

import moves
import observer
import places
import vms

AFTER_SECONDS = 0.3  # of the guest's work at the destination, once it has judged its memory
STAY_MS = 600_000  # for the observer, which is told when it may go
NEVER = "the guest dirties memory"  # how decant begins to say that it does not converge


class NotConverged(Exception):
    """What a migration that does not converge ends with: its report."""

    def __init__(self, report):
        super().__init__(report["error"])
        self.report = report


class Pair(vms.DecantPair):
    """Two decants, or for loop one, set up as a Point says."""

    def __init__(self, setup, point):
        guest = moves.Guest(str(point.memory), point.vcpus, tuple(point.stress), point.max_downtime_ms, point.page_size)
        super().__init__(setup, guest, fabric=point.fabric)
        self.point = point

    def migrate(self):
        """The report. NotConverged is an outcome like others."""
        point, file = self.point, os.path.join(self.runtime, "report.json")
        words = [self.program, "migrate", "here", *([self.peer] if self.peer else []), "--fabric", point.fabric, "--max-downtime",
                 f"{point.max_downtime_ms}ms", "--report", file, *(["--channels", str(point.channels)] if point.channels else []),
                 *(["--bandwidth", str(point.bandwidth)] if point.bandwidth else []), *point.migrate]
        done = subprocess.run(words, env=dict(os.environ, XDG_RUNTIME_DIR=self.runtime), stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=self.setup.seconds, check=False)
        said = (done.stderr.strip() or "nothing").splitlines()[-1]
        if done.returncode != 0 and NEVER not in said:
            raise places.Unmeasured(f"`{places.words_text(words)}` ended with {done.returncode}: {said}")
        with open(file, encoding="utf-8") as text:
            report = json.load(text)
        if done.returncode != 0:
            raise NotConverged(report)
        if self.peer:
            report["dest_stamps_ns"] = self._dest_stamps()
        return report

    def _dest_stamps(self):
        line = self.said["listening"].line()
        event = json.loads(line) if line else {}
        if event.get("event") != "arrived":
            raise places.Unmeasured(f"the destination has said {line.strip() or 'nothing'}, and not that the VM has arrived")
        return event["stamps_ns"]


def seen_facts(seen, judged_ns):
    """What is kept of an observation: times in ms after the command, the guest's work in pages. @judged_ns: when it works again."""
    first, last = seen.source["first_ns"], seen.source["last_ns"]
    cpu = {end: seen.cpu(end) for end in ("source", "dest")}
    hosts = [told["host_cpu"] for told in (seen.source, seen.dest) if told]
    work = [[round((at - seen.command_ns) / 1e6, 3), pages] for end in ("source", "dest") for at, _, pages in seen.source["series"][end]
            if (at <= last if end == "source" else at >= first)]
    return {
        "total_ms": seen.total * 1e3,
        "pause_ms": seen.pause * 1e3,
        "judged_ms": (judged_ns - seen.command_ns) / 1e6,
        "work_before": seen.work_rate(0, seen.command_ns),
        "work_during": seen.work_rate(seen.command_ns, last),
        "work_after": seen.work_rate(judged_ns, judged_ns + AFTER_SECONDS * 1e9, "dest"),
        "cpu_s": cpu,
        "vcpu_cpu_s": sum(used for threads in cpu.values() for name, used in threads.items() if moves.is_vcpu(name)),
        "softirq_cpu_s": sum(host["softirq"] for host in hosts),
        "work": work,
        "doubts": seen.doubts(),
    }


def observed(setup, pair):
    """The report, and what was seen."""
    with observer.observing(setup, pair.ends, ("--after-ms", str(STAY_MS))) as watch:
        time.sleep(moves.BEFORE_SECONDS)
        command_ns = time.monotonic_ns()
        report = pair.migrate()
        judged_ns = time.monotonic_ns()
        time.sleep(AFTER_SECONDS)
        watch.source.end()
        return report, seen_facts(watch.finish(command_ns), judged_ns)


def migrate_once(setup, point):
    """One run: the report, what was seen from outside (over loop, where both ends are one process: nothing), and whether it converged."""
    pair = Pair(setup, point)
    try:
        with pair.running():
            if point.fabric == "loop":
                time.sleep(moves.BEFORE_SECONDS)
                return {"converged": True, "report": pair.migrate(), "seen": None}
            report, seen = observed(setup, pair)
            return {"converged": True, "report": report, "seen": seen}
    except NotConverged as outcome:
        return {"converged": False, "report": outcome.report, "seen": None}

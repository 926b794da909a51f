# SPDX-License-Identifier: BSD-2-Clause
"""moves.py -- migrations of the very same stress guest, by decant and by QEMU, timed from outside alike

Each measure starts a pair of VMs, moves the guest once, and returns seconds: "total", from the command to the first heartbeat at the
destination, and "pause", the gap in the heartbeat. Both programs are given the command over their control socket.
"""
import dataclasses
import os
import time

from measures import size_of
from observer import observing
from places import Unmeasured
from qemu import QemuPair
from vms import DecantPair

BEFORE_SECONDS = 0.5  # of the guest's work before the command, to compare with


@dataclasses.dataclass(frozen=True)
class Guest:
    """What both ends of both programs are given."""
    memory: str = "1536M"
    vcpus: int = 1
    stress: tuple = ("wss=40M", "data=984M", "zero=4M")
    max_downtime_ms: int = 300
    page_size: str = "4K"  # behind it, at both ends

    @property
    def data(self):
        """Bytes that are not zero."""
        return sum(size_of(word.split("=")[1]) for word in self.stress if word.startswith(("wss=", "data=")))


HOT = Guest()
WARM = Guest(stress=("wss=4M", "data=1020M", "zero=4M"))


# ---- one migration ----

def is_vcpu(thread):
    return thread.startswith(("vcpu", "CPU "))


def cpu_per_gb(seen, guest):
    """CPU seconds per 10^9 bytes that are not zero: each end's threads, its vCPUs, and the host's softirq."""
    share = guest.data / 1e9
    found = {"softirq": seen.source["host_cpu"]["softirq"] / share}
    for end in ("source", "dest"):
        used = seen.cpu(end)
        found[end] = sum(seconds for name, seconds in used.items() if not is_vcpu(name)) / share
        found[f"{end}_vcpus"] = sum(seconds for name, seconds in used.items() if is_vcpu(name)) / share
    return found


def move(setup, pair, prepare=lambda pair: None, look=()):
    """What was seen of one migration, and what the program itself reports. @look: options of the observers."""
    with pair.running():
        prepare(pair)
        with observing(setup, pair.ends, look) as observation:
            time.sleep(BEFORE_SECONDS)
            command_ns = time.monotonic_ns()
            report = pair.migrate()
            seen = observation.finish(command_ns)
    setup.details.append({"pair": pair.name, "guest": dataclasses.asdict(pair.guest), "total": seen.total, "pause": seen.pause,
                          "report": report, "doubts": seen.doubts(), "cpu_per_gb": cpu_per_gb(seen, pair.guest),
                          "cpu": {end: seen.cpu(end) for end in ("source", "dest")},
                          "command_ns": command_ns, "seen": seen.source})
    return seen, report


def timed(setup, pair, prepare=lambda pair: None, look=()):
    seen, report = move(setup, pair, prepare, look)
    figures = {"total": seen.total, "pause": seen.pause, "source_cpu": cpu_per_gb(seen, pair.guest)["source"],
               "dest_cpu": cpu_per_gb(seen, pair.guest)["dest"]}
    # decant's own; none without a second pass
    error = report.get("forecast_error")
    return {**figures, "forecast_error": max(error.values())} if error else figures


# ---- the measures ----

def decant_hot(setup):
    return timed(setup, DecantPair(setup, HOT, fabric="tcp"))


def qemu_tcp_hot(setup):
    return timed(setup, QemuPair(setup, HOT))


def qemu_multifd_hot(setup):
    return timed(setup, QemuPair(setup, HOT, capabilities=["multifd"], parameters={"multifd-channels": 2}))


def decant_warm(setup):
    return timed(setup, DecantPair(setup, WARM, fabric="tcp"))


def qemu_tcp_warm(setup):
    return timed(setup, QemuPair(setup, WARM))


def threads_of(pid, chosen):
    """Those whose names are @chosen."""
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="utf-8") as name:
            if chosen(name.read()):
                yield int(tid)


def guest_work(setup):
    """The guest's work in pass 1 by that before, the vCPU on a CPU that nothing else of the migration runs on."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        raise Unmeasured("one CPU alone: there is none to spare for the migration")
    others = ",".join(str(cpu) for cpu in cpus[1:])

    def part(pair):
        for tid in threads_of(pair.ends.source_pid, is_vcpu):
            os.sched_setaffinity(tid, cpus[:1])

    seen, report = move(setup, DecantPair(setup, HOT, ["taskset", "--cpu-list", others], fabric="tcp"), part)
    begun = seen.command_ns + report["setup_ms"] * 1e6
    before = seen.work_rate(seen.command_ns - BEFORE_SECONDS * 1e9, seen.command_ns)
    during = seen.work_rate(begun, begun + report["passes"][0]["ms"] * 1e6)
    if not before or during is None:
        raise Unmeasured("pass 1 was too short to see how the guest worked")
    return during / before


NATIVE = {
    "qemu_tcp_hot": qemu_tcp_hot,
    "decant_hot": decant_hot,
    "qemu_multifd_hot": qemu_multifd_hot,
    "decant_warm": decant_warm,
    "qemu_tcp_warm": qemu_tcp_warm,
    "guest_work": guest_work,
}

# SPDX-License-Identifier: BSD-2-Clause
"""sweeps.py -- the table of sweeps: each lets one thing vary and holds all others still

A Point is one migration of the stress guest. All sizes follow from the guest's memory, so that `--memory` scales a whole sweep.
"""
import dataclasses

HALF = 0.5
MIB = 1 << 20
PAGE = 4096


@dataclasses.dataclass(frozen=True)
class Point:
    """Sizes are bytes; what the guest has is written, @zero written and zeroed again, all else never touched."""
    label: str
    x: float
    memory: int
    fabric: str = "tcp"
    channels: int = 2
    data: int = 0
    zero: int = 0
    wss: int = 0
    rate: int = 0  # bytes written per second; 0: as fast as it can
    ratio: float | None = None  # the same, by @bandwidth
    bandwidth: int = 0  # the most that the migration may use, bytes per second; 0: all there is
    page_size: str = "4K"
    vcpus: int = 1
    mode: str = "precopy"
    max_downtime_ms: int = 300
    migrate: tuple = ()  # more words for `decant migrate`
    baseline: str = "socket"  # what moves as many bytes in the same round

    @property
    def stress(self):
        """The guest's parameters."""
        words = [f"wss={self.wss}", f"data={self.data}", f"zero={self.zero}"]
        return words + ([f"rate={self.rate}"] if self.rate else [])

    @property
    def filled(self):
        """Bytes that are not zero: as much as the baseline moves."""
        return self.data + self.wss


@dataclasses.dataclass(frozen=True)
class Sweep:
    title: str
    axis: str  # in words, for the plots
    points: object  # of a memory size: the list of Points
    about: str


BASELINES = {"loop": "memcpy", "tcp": "socket", "rdma": "ib_write_bw"}


def pages(size):
    return max(int(size) // PAGE, 1) * PAGE


def point(memory, label, x, **changes):
    """A guest that is half full and writes a 32nd of its memory as fast as it can, but for what @changes says."""
    settings = {"data": pages(memory * HALF), "wss": pages(memory / 32), "zero": pages(memory / 64),
                "baseline": BASELINES[changes.get("fabric", "tcp")], **changes}
    return Point(label, x, memory, **settings)


def fabric_points(memory):
    ways = [("loop", {"fabric": "loop", "channels": 1})]
    ways += [(f"tcp {n}", {"channels": n}) for n in (1, 2, 4)]
    ways += [(f"tcp {n} zero-copy", {"channels": n, "migrate": ("--zero-copy", "on")}) for n in (1, 2, 4)]
    ways += [("rdma", {"fabric": "rdma", "channels": 0})]
    return [point(memory, label, x, **changes) for x, (label, changes) in enumerate(ways)]


def memory_points(memory):
    return [point(int(memory * k), f"{int(memory * k) // MIB} MiB", memory * k / MIB) for k in (0.25, 0.5, 1, 2)]


def nonzero_points(memory):
    wss = pages(memory / 64)
    found = []
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        data = pages(memory * share) - wss
        found.append(point(memory, f"{share:.0%}", share, wss=wss, data=data, zero=pages(memory * 0.95) - data - wss))
    return found


def page_size_points(memory):
    return [point(memory, size, x, page_size=size) for x, size in enumerate(("4K", "2M", "1G"))]


def working_set_points(memory):
    return [point(memory, f"{pages(memory * share) / MIB:g} MiB", memory * share / MIB, wss=pages(memory * share))
            for share in (1 / 256, 1 / 64, 1 / 32, 1 / 8, 1 / 4)]


def channel_points(memory):
    return [point(memory, str(n), n, channels=n) for n in (1, 2, 4, 8)]


def dirty_point(memory, ratio):
    """The working set takes ten times the longest pause, so that it is the rate that decides and not its size."""
    return point(memory, f"{ratio:g}", ratio, ratio=ratio, wss=pages(memory / 4), data=pages(memory / 4))


def dirty_points(memory):
    return [dirty_point(memory, ratio) for ratio in (0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)]


def policy_points(memory):
    return [dataclasses.replace(dirty_point(memory, ratio), label=f"{policy} {ratio:g}", x=x,
                                migrate=("--if-not-converging", policy))
            for x, (policy, ratio) in enumerate((policy, ratio) for policy in ("abort", "throttle") for ratio in (0.75, 1.5))]


SWEEPS = {
    "fabric": Sweep("Fabrics", "fabric and channels", fabric_points, "one guest over each fabric, beside what carries it"),
    "channels": Sweep("Channels", "connections of tcp", channel_points, "as many connections as the bare sockets beside it"),
    "memory": Sweep("Size of the guest", "memory, MiB", memory_points, "half of it data"),
    "nonzero": Sweep("Share of memory that is not zero", "share", nonzero_points, "the rest is allocated and zero"),
    "page-size": Sweep("Pages behind the guest", "size of a page", page_size_points, "huge pages must have been reserved"),
    "working-set": Sweep("Working set", "written for ever, MiB", working_set_points, "as fast as the guest can"),
    "dirty-rate": Sweep("Dirty rate", "written per second / bandwidth", dirty_points, "where does it stop converging?"),
    "policy": Sweep("When it does not converge", "policy and dirty rate / bandwidth", policy_points,
                    "what --if-not-converging makes of it"),
}

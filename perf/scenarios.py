# SPDX-License-Identifier: BSD-2-Clause
"""scenarios.py -- the one table: which lines `make bench` ends with, and where their measures are taken

A new line is an entry of LINES and, unless it is there already, a measure: a function of a measures.Setup in some module's table, which is
named in GROUPS. It returns a figure, or several as a dictionary: what `qemu` returns as {"total": 1.2} a line calls "qemu.total".
"""
import dataclasses

import counted
import measures
import moves
import moves_rdma
from report import Line


@dataclasses.dataclass(frozen=True)
class Group:
    """Measures that are taken in one place, in the order in which a round takes them there, and the next one back."""
    measures: dict
    vms: tuple = ()  # none: on this machine; else what tests/vm/run is told besides
    intro: str = ""
    besides: tuple = ()  # measures that no line needs: once, for details.json


GROUPS = {
    "native": Group({**measures.NATIVE, **moves.NATIVE, **counted.COUNTED},
                    intro="Here: a quiet guest of {memory} behind {page_size} pages"),
    "vms": Group({**measures.RDMA}, ("--hosts", "2", "--rdma", "--parallel"), "In two VMs, over soft-RoCE: one of {memory}",
                 ("ib_read_lat",)),
    "hosts": Group({**moves_rdma.HOSTS, "ib_write_bw": measures.ib_write_bw},
                   ("--hosts", "2", "--rdma", "--cpus", "1", "--memory", "1500M"),
                   "In two VMs, over soft-RoCE: the stress guest, of 256M", ("ib_write_bw",)),
}

LINES = [
    Line("rdma_vs_ib_write_bw", "rdma", "ib_write_bw", 0.95),
    Line("rdma_vs_qemu_dynamic", "decant_rdma.total", "qemu_rdma_dynamic.total", 0.40, "lower", "s", 3),
    Line("rdma_vs_qemu_pinall", "decant_rdma.total", "qemu_rdma_pinall.total", 0.70, "lower", "s", 3),
    Line("sidecar_vs_qemu_dynamic", "sidecar_rdma.total", "qemu_rdma_dynamic.total", 0.60, "lower", "s", 3),
    Line("sidecar_pause_vs_qemu", "sidecar_rdma.pause", "qemu_rdma_dynamic.pause", 1, "lower", "s", 3),
    Line("tcp_vs_socket", "tcp", "socket", 0.95),
    Line("tcp_vs_iperf3", "tcp", "iperf3", 0.8),
    Line("loop_vs_memcpy", "loop", "memcpy", 0.85),
    Line("first_byte_growth", "first_byte_large", "first_byte_small", 1.3, "lower", "s", 5),
    Line("overhead_share", "footprint", (), 1, "lower", "", 1),
    Line("dirty_scan_vs_read", "bitmap_read", "bitmap_scan", 3, "lower"),  # rates, so this is time of scan by time of read
    Line("tcp_total_vs_qemu", "decant_hot.total", ("qemu_tcp_hot.total", "qemu_multifd_hot.total"), 0.85, "lower", "s", 5),
    Line("pause_vs_qemu", "decant_warm.pause", "qemu_tcp_warm.pause", 0.25, "lower", "s", 5),
    Line("pause_hot_vs_qemu", "decant_hot.pause", ("qemu_tcp_hot.pause", "qemu_multifd_hot.pause"), 0.6, "lower", "s", 5),
    Line("forecast_error", "decant_hot.forecast_error", (), 0.2, "lower", "", 5),
    Line("guest_work_kept", "guest_work", (), 0.95, "higher", "", 3),
    Line("rdma_instructions_per_page", "rdma_instructions", (), 60, better="lower", unit="", runs=1),
    Line("rdma_wr_per_gib", "rdma_counts.wr", (), 1100, better="lower", unit="", runs=3),
    Line("rdma_posts_per_gib", "rdma_counts.posts", (), 80, better="lower", unit="", runs=3),
    Line("rdma_cqe_per_gib", "rdma_counts.cqe", (), 80, better="lower", unit="", runs=3),
]


def group_of(line):
    """The name of the group that takes @line; both of its measures are in one, or they could not be compared."""
    wanted = set(line.measures)
    for name, group in GROUPS.items():
        if wanted <= set(group.measures):
            return name
    raise KeyError(f"{line.name}: no group measures all of {', '.join(sorted(wanted))}")

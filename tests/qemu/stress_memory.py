# SPDX-License-Identifier: BSD-2-Clause
"""stress_memory.py -- the stress guest of a QEMU, seen in the memory of its process: whether it goes on, and what it says of its memory

The question after its verdict is written there, and the answer read: so a guest is judged alike whatever its memory is made of, and
whoever has QEMU's monitor.
"""
import os
import re
import struct
import time

from rig import wait_until

SLOW = 120  # seconds: for what takes a few on a quiet machine
BOOT, STATUS = 0x00101000, 0x00102000  # struct stress_boot, struct stress_status
VERDICT_ASK, HEARTBEAT = BOOT + 48, STATUS + 48
PHASE_RUN = 2
VERDICT_OK = 1


class StressMemory:
    """@monitor: with call(), as of a monitor."""

    def __init__(self, pid, monitor):
        said = monitor.call("human-monitor-command", command_line=f"gpa2hva {BOOT:#x}")
        self.shift = int(re.search(r"is (0x[0-9a-f]+)", said).group(1), 16) - BOOT
        self.file = os.open(f"/proc/{pid}/mem", os.O_RDWR)

    def read(self, form, address):
        """None when the process has ended."""
        try:
            data = os.pread(self.file, struct.calcsize(form), self.shift + address)
        except OSError:
            return None
        return struct.unpack(form, data) if data else None

    def write(self, form, address, *values):
        os.pwrite(self.file, struct.pack(form, *values), self.shift + address)

    def beat(self):
        found = self.read("<Q", HEARTBEAT)
        return found[0] if found else None

    def phase(self):
        found = self.read("<I", STATUS + 4)
        return found[0] if found else None

    def await_work(self):
        """Until the guest does what it is for."""
        wait_until("the guest runs", lambda: self.phase() == PHASE_RUN, SLOW)

    def is_going(self):
        """Waits until the guest is seen to run."""
        first = self.beat()
        wait_until("the guest's heartbeat", lambda: self.beat() not in (first, None), SLOW)

    def stands_still(self):
        """As far as a moment can tell."""
        first = self.beat()
        time.sleep(0.1)
        return self.beat() == first

    def verdict(self):
        """"ok", or what the guest has found."""
        asked = self.read("<I", VERDICT_ASK)[0] + 1
        self.write("<I", VERDICT_ASK, asked)
        wait_until("the guest's verdict", lambda: self.read("<I", STATUS + 8)[0] == asked, SLOW)
        verdict, pages, page, offset, expected, found = self.read("<6I", STATUS + 12)
        return "ok" if verdict == VERDICT_OK else (f"BAD memory: verdict {verdict}, {pages} pages, the first {page:#x} at {offset}: "
                                                   f"{found:#x} instead of {expected:#x}")

    def close(self):
        os.close(self.file)

# SPDX-License-Identifier: BSD-2-Clause
"""qemu.py -- for tests with real QEMUs: one that runs the stress guest or waits for it, and its monitor

Two monitors: one is the test's, the other is for decant.
"""
import dataclasses
import functools
import itertools
import json
import os
import re
import signal
import socket
import subprocess
import threading

import rig
from rig import BUILD, Failure, Skip, check, path, wait_until
from stress_memory import SLOW, StressMemory

INSTALLED = "qemu-system-x86_64"
ENDED = ("completed", "failed", "cancelled")

_number = itertools.count()


def newer_program():
    """QEMU 10, as $DECANT_QEMU or as perf/fetch-qemu unpacks it, or None."""
    unpacked = os.path.join(os.path.abspath(BUILD), "qemu", "qemu")
    return os.environ.get("DECANT_QEMU") or (unpacked if os.path.exists(unpacked) else None)


def program_named(name):
    """"installed" or "newer"."""
    program = INSTALLED if name == "installed" else newer_program()
    if program is None:
        raise Skip("QEMU 10 is not here: perf/fetch-qemu BUILD/qemu unpacks it, or set DECANT_QEMU")
    return program


@functools.cache
def version(program):
    """(7, 2)"""
    said = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout
    return tuple(int(number) for number in re.search(r"version (\d+)\.(\d+)", said).groups())


@dataclasses.dataclass(frozen=True)
class Guest:
    """What both ends are given. @backing: a key of BACKINGS, of each node's memory; @accel: the first that is there."""
    memory: int = 64  # MiB
    vcpus: int = 1
    stress: tuple = ("wss=4M", "data=16M", "zero=2M")
    backing: str = "memfd"
    nodes: int = 1
    machine: str = "pc"
    devices: tuple = ()
    accel: tuple = ("kvm", "tcg")

    def backends(self, name):
        size = self.memory // self.nodes
        words = []
        for node in range(self.nodes):
            what = BACKINGS[self.backing].format(path=path(f"{name}.ram{node}"))
            words += ["-object", f"{what},id=ram{node},size={size}M"]
            if self.nodes > 1:
                words += ["-numa", f"node,nodeid={node},memdev=ram{node}"]
        return words

    def words(self, name):
        one = ",memory-backend=ram0" if self.nodes == 1 else ""
        accel = [word for each in self.accel for word in ("-accel", each)]
        # qboot: in the time that SeaBIOS takes where KVM emulates, it boots four times
        return ["-bios", "qboot.rom", "-machine", f"{self.machine}{one}", *accel, "-smp", str(self.vcpus), "-m", f"{self.memory}M",
                *self.backends(name), "-kernel", os.path.join(os.path.abspath(BUILD), "guest", "stress.elf"),
                "-append", " ".join([f"vcpus={self.vcpus}", *self.stress]), *self.devices]


BACKINGS = {
    "memfd": "memory-backend-memfd,share=on",
    "file": "memory-backend-file,share=on,mem-path={path}",
    "huge": "memory-backend-memfd,share=on,hugetlb=on,hugetlbsize=2M",
    "memfd-private": "memory-backend-memfd,share=off",
    "anonymous": "memory-backend-ram",
}


class QmpError(Failure):
    """What QEMU has answered."""


class Qmp:
    """QEMU's monitor, for any thread; events are dropped."""

    def __init__(self, name, popen):
        self.name, self.lock = name, threading.Lock()
        self.socket = wait_until(f"the monitor {name}", lambda: self._connect() or popen.poll() is not None, SLOW)
        check(self.socket is not True, f"{name}: QEMU has ended")
        self.socket.settimeout(SLOW)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self._read()  # its greeting
        self.call("qmp_capabilities")

    def _connect(self):
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(self.name)
            return connection
        except OSError:
            connection.close()
            return None

    def _read(self):
        try:
            line = self.lines.readline()
        except OSError as why:
            raise Failure(f"{self.name}: {why}") from None
        check(line, f"{self.name}: QEMU has ended")
        return json.loads(line)

    def call(self, verb, **arguments):
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        with self.lock:
            answer = self._ask(json.dumps({"execute": verb, "arguments": words}))
        if "error" in answer:
            raise QmpError(f"QEMU: {verb}: {answer['error']['desc']}")
        return answer["return"]

    def _ask(self, text):
        try:
            self.socket.sendall(text.encode())
        except OSError as why:
            raise Failure(f"{self.name}: {why}") from None
        while True:
            answer = self._read()
            if "error" in answer or "return" in answer:
                return answer

    def close(self):
        self.lines.close()
        self.socket.close()


class Qemu:
    """One process. @more: words of the command line."""

    def __init__(self, name, program, guest, more=()):
        self.name, self.program, self.guest = f"{name}{next(_number)}", program, guest
        self.monitor, self.decant_monitor = path(f"{self.name}.qmp"), path(f"{self.name}.decant-qmp")
        self.log = path(f"{self.name}.log")
        words = [program, "-nodefaults", "-no-user-config", "-display", "none", "-name", self.name, *guest.words(self.name),
                 "-qmp", f"unix:{self.monitor},server=on,wait=off", "-qmp", f"unix:{self.decant_monitor},server=on,wait=off", *more]
        with open(self.log, "wb") as log:
            self.popen = rig.own(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        self.killed = False
        try:
            self.qmp = Qmp(self.monitor, self.popen)
        except Failure as why:
            raise Failure(f"{why}: {self.said()}") from None
        self.memory = StressMemory(self.popen.pid, self.qmp)

    @property
    def pid(self):
        return self.popen.pid

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as text:
            return text.read().strip()

    def alive(self):
        return self.popen.poll() is None

    def kill(self):
        self.killed = True
        self.popen.send_signal(signal.SIGKILL)
        self.popen.wait()

    def await_work(self):
        self.memory.await_work()

    def status(self):
        return self.qmp.call("query-status")["status"]

    def migration(self):
        return self.qmp.call("query-migrate")

    def capabilities(self, names, state=True):
        self.qmp.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": state} for name in names])

    def await_migration(self, seconds=SLOW):
        """How it ended, as QEMU says it."""
        def ended():
            said = self.migration()
            return said if said.get("status") in ENDED else None
        return wait_until(f"the migration of {self.name} ends", ended, seconds)

    def is_going(self):
        self.memory.is_going()

    def stands_still(self):
        return self.memory.stands_still()

    def verdict(self):
        return self.memory.verdict()

    def end(self):
        if self.alive():
            self.popen.kill()
        self.popen.wait()
        self.memory.close()
        self.qmp.close()

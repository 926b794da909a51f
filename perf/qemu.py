# SPDX-License-Identifier: BSD-2-Clause
"""qemu.py -- QEMU as the one to compare with: a pair of them, one of which runs the stress guest and moves it to the other

Each is told all that helps it: bandwidth unlimited, a return path, both memories populated beforehand. Their memory is a memfd that the
observer can map. QEMU is $DECANT_QEMU, or the one that perf/fetch-qemu unpacks, or the installed one.
"""
import contextlib
import functools
import json
import os
import socket
import subprocess
import time

from measures import free_port, need, started
from observer import Ends
from places import Place, Unmeasured, words_text

UNLIMITED = 1 << 40  # bytes per second
ANSWER_SECONDS = 60
MONITOR_PORT, MIGRATION_PORT = 7301, 7302  # at a receiving end that is not here
INSTALLED = "qemu-system-x86_64"
MEMFD = "memory-backend-memfd"  # as QEMU calls it


@functools.cache
def qemu_program(build):
    unpacked = os.path.join(os.path.abspath(build), "qemu", "qemu")
    if "DECANT_QEMU" in os.environ:
        return os.environ["DECANT_QEMU"]
    if not os.path.exists(unpacked):
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fetch-qemu")
        subprocess.run([script, os.path.dirname(unpacked)], stdin=subprocess.DEVNULL, check=False)
    if os.path.exists(unpacked):
        return unpacked
    need(INSTALLED)
    return INSTALLED


@functools.cache
def qemu_version(program):
    out = subprocess.run([program, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False).stdout
    version = out.splitlines()[0] if out else "a QEMU of unknown version"
    print(f"To compare with: {version}", flush=True)  # once
    return version


class Qmp:
    """QEMU's monitor."""

    def __init__(self, host, port, seconds):
        self.socket = self._connect(host, port)
        self.socket.settimeout(seconds)
        self.lines = self.socket.makefile("r", encoding="utf-8")
        self.events = []
        self._read()  # its greeting
        self.call("qmp_capabilities")

    @staticmethod
    def _connect(host, port):
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return socket.create_connection((host, port), timeout=ANSWER_SECONDS)
            except OSError as why:
                if time.monotonic() > deadline:
                    raise Unmeasured(f"QEMU's monitor does not answer: {why}") from None
                time.sleep(0.02)

    def _read(self):
        try:
            line = self.lines.readline()
        except OSError as why:
            raise Unmeasured(f"QEMU's monitor: {why}") from None
        if not line:
            raise Unmeasured("QEMU has ended")
        return json.loads(line)

    def call(self, verb, **arguments):
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self.socket.sendall(json.dumps({"execute": verb, "arguments": words}).encode())
        except OSError as why:
            raise Unmeasured(f"QEMU's monitor: {why}") from None
        while True:
            answer = self._read()
            if "event" in answer:
                self.events.append(answer)
            elif "error" in answer:
                raise Unmeasured(f"QEMU: {verb}: {answer['error']['desc']}")
            elif "return" in answer:
                return answer["return"]

    def await_migration(self):
        """Its end; Unmeasured unless that is "completed"."""
        while True:
            event = self.events.pop(0) if self.events else self._read()
            status = event["data"]["status"] if event.get("event") == "MIGRATION" else ""
            if status in ("failed", "cancelled"):
                raise Unmeasured(f"QEMU: the migration has {status}: {self.call('query-migrate').get('error-desc', '?')}")
            if status == "completed":
                return

    def close(self):
        self.lines.close()
        self.socket.close()


class QemuPair:
    """@way: the URI's scheme, tcp or rdma. @capabilities, @parameters: of migration, besides what all get. @program: which QEMU."""

    def __init__(self, setup, guest, way="tcp", capabilities=(), parameters=(), program="", return_path=True):
        self.setup, self.guest, self.way = setup, guest, way
        self.build = os.path.dirname(os.path.dirname(setup.driver))
        self.program = program or qemu_program(self.build)
        self.version = qemu_version(self.program)
        self.name = " ".join([self.version, way, *capabilities])
        self.capabilities = ["events", *(["return-path"] if return_path else []), *capabilities]
        self.parameters = {"max-bandwidth": UNLIMITED, "downtime-limit": guest.max_downtime_ms, **dict(parameters)}
        self.source = self.dest = self.ends = self.uri = None

    def words(self, monitor):
        """The command line of both ends. @monitor: HOST:PORT"""
        guest = self.guest
        return [self.program, "-nodefaults", "-no-user-config", "-display", "none", "-name", "bench,debug-threads=on",
                "-machine", "pc,accel=kvm,memory-backend=ram", "-smp", str(guest.vcpus), "-m", guest.memory,
                "-object", f"memory-backend-memfd,id=ram,size={guest.memory},share=on,prealloc=on",
                "-kernel", os.path.join(os.path.abspath(self.build), "guest", "stress.elf"),
                "-append", f"vcpus={guest.vcpus} " + " ".join(guest.stress),
                "-qmp", f"tcp:{monitor},server=on,wait=off"]

    def _start(self, stack, host, place, more=()):
        """Its monitor and PID. It is started by a shell that tells the PID, since it may run elsewhere."""
        port = MONITOR_PORT if place.by else free_port(host)
        words = [*self.words(f"{host}:{port}"), *more]
        process = stack.enter_context(started(["sh", "-c", 'echo $$; exec "$@"', "sh", *words], self.setup.seconds, place))
        pid = process.line().strip()
        if not pid.isdigit():
            raise Unmeasured(f"`{words_text(words)}` did not start")
        try:
            qmp = Qmp(host, port, self.setup.seconds)
        except Unmeasured:
            process.end()
            process.finish()
            raise
        stack.callback(qmp.close)
        return qmp, int(pid)

    def _prepare(self, qmp):
        qmp.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in self.capabilities])
        qmp.call("migrate-set-parameters", **self.parameters)

    @contextlib.contextmanager
    def running(self):
        """Both ends are up; the guest may yet be at its beginning."""
        host, place = self.setup.host, self.setup.receiver
        with contextlib.ExitStack() as stack:
            self.dest, dest_pid = self._start(stack, host, place, ["-incoming", "defer"])
            self.source, source_pid = self._start(stack, "127.0.0.1", Place())
            self._prepare(self.dest)
            self._prepare(self.source)
            self.uri = f"{self.way}:{host}:{MIGRATION_PORT if place.by else free_port(host)}"
            self.dest.call("migrate-incoming", uri=self.uri)
            self.ends = Ends(f"{source_pid}:{MEMFD}", f"{dest_pid}:{MEMFD}", source_pid, dest_pid)
            yield self

    def migrate(self):
        """Gives the command, and returns when the source says that it is over: what QEMU itself says of it."""
        self.source.call("migrate", uri=self.uri)
        self.source.await_migration()
        return {"version": self.version, **self.source.call("query-migrate")}

# SPDX-License-Identifier: BSD-2-Clause
"""sidecars.py -- a pair of QEMUs that know nothing of RDMA, and decant's sidecars, which move the guest from one to the other over it"""
import contextlib
import json
import os
import re
import shutil
import tempfile

from measures import decant_of, run, started
from observer import Ends
from places import Place, Unmeasured, words_text
from qemu import INSTALLED, MEMFD, QemuPair


class SidecarPair(QemuPair):
    """The command is `decant migrate --qmp`, which is the source's sidecar, too; the other one listens already, as the other QEMU does."""

    def __init__(self, setup, guest, fabric):
        super().__init__(setup, guest, "sidecars", program=INSTALLED)
        self.decant, self.fabric = os.path.abspath(decant_of(setup)), fabric
        self.name = f"{self.version} and decant {fabric}"
        self.folder = self.peer = self.sidecar = None

    def _monitor(self, end):
        return os.path.join(self.folder, f"{end}.qmp")

    def _more(self, end):
        return ["-qmp", f"unix:{self._monitor(end)},server=on,wait=off"]

    def _at_receiver(self, *words):
        with started(words, self.setup.seconds, self.setup.receiver) as process:
            process.finish()

    def _make_folders(self, stack):
        """One on each host, by the same name, for the sockets."""
        self.folder = tempfile.mkdtemp(prefix="decant-bench.")
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        if self.setup.receiver.by:
            self._at_receiver("mkdir", "-p", self.folder)
            stack.callback(self._at_receiver, "rm", "-rf", self.folder)

    def _start_sidecar(self, stack):
        host = self.setup.host
        words = [self.decant, "proxy", "dest", "--listen", f"{host}:0", "--qmp", self._monitor("dest"), "--qemu-socket",
                 os.path.join(self.folder, "incoming"), *([] if host.startswith("127.") else ["--insecure"])]
        self.sidecar = stack.enter_context(started(words, self.setup.seconds, self.setup.receiver))
        line = self.sidecar.line()
        if not line:
            self.sidecar.finish()
        said = re.match(r"listening on (\S+)", line)
        if not said:
            raise Unmeasured(f"`{words_text(words)}` has not said where it listens")
        self.peer = said.group(1)

    @contextlib.contextmanager
    def running(self):
        """Both ends are up; the guest may yet be at its beginning."""
        with contextlib.ExitStack() as stack:
            self._make_folders(stack)
            self.dest, dest_pid = self._start(stack, self.setup.host, self.setup.receiver, ["-S", "-incoming", "defer", *self._more("dest")])
            self.source, source_pid = self._start(stack, "127.0.0.1", Place(), self._more("source"))
            self._prepare(self.dest)
            self._prepare(self.source)
            self._start_sidecar(stack)
            self.ends = Ends(f"{source_pid}:{MEMFD}", f"{dest_pid}:{MEMFD}", source_pid, dest_pid)
            yield self

    def migrate(self):
        """Gives the command, and returns its report."""
        report = os.path.join(self.folder, "report.json")
        words = [self.decant, "migrate", "--qmp", self._monitor("source"), self.peer, "--fabric", self.fabric, "--max-downtime",
                 f"{self.guest.max_downtime_ms}ms", "--report", report]
        run(words, self.setup.seconds)
        self.sidecar.finish()
        with open(report, encoding="utf-8") as text:
            return json.load(text)

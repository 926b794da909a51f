# SPDX-License-Identifier: BSD-2-Clause
"""vms.py -- a pair of decants, one of which runs the stress guest and moves it to the other; what it offers is what QemuPair offers"""
import contextlib
import json
import os
import shutil
import socket
import tempfile

from measures import decant_of, started
from observer import Ends
from places import Place, Unmeasured, words_text

MEMFD = "ram-low"  # as decant calls the memory below the hole


class DecantPair:
    """@options: of the verb migrate, as its control socket takes them."""

    def __init__(self, setup, guest, prefix=(), **options):
        self.name = "decant " + " ".join(f"{name}={value}" for name, value in options.items())
        self.setup, self.guest, self.options = setup, guest, options
        self.program = os.path.abspath(decant_of(setup))
        self.prefix = list(prefix)  # words before both commands
        self.ends = self.peer = self.runtime = None
        self.said = {}  # event -> the process that has said it

    def _start(self, stack, place, event, words):
        """What it says with its @event, and its PID."""
        words = [*self.prefix, self.program, *words, "--json"]
        wrapped = ["sh", "-c", 'echo $$; mkdir -p "$0"; export XDG_RUNTIME_DIR="$0"; exec "$@"', self.runtime, *words]
        process = stack.enter_context(started(wrapped, self.setup.seconds, place))
        pid = process.line().strip()
        said = process.line()
        if not said:
            process.finish()
        found = json.loads(said) if said else {}
        if not pid.isdigit() or found.get("event") != event:
            raise Unmeasured(f"`{words_text(words)}` has not said \"{event}\"")
        self.said[event] = process
        return found, int(pid)

    def _start_receiver(self, stack):
        """Where others can reach it, it must be told so; elsewhere the folder for its socket is another host's."""
        setup = self.setup
        words = ["receive", "--name", "there", "--listen", f"{setup.host}:0", "--prealloc", self.guest.memory, "--serial", "none"]
        if setup.receiver.by:
            stack.callback(self._forget, setup.receiver)
        if not setup.host.startswith("127."):
            words.append("--insecure")
        said, pid = self._start(stack, setup.receiver, "listening", words)
        self.peer = f"{setup.host}:{said['port']}"
        return pid

    def _forget(self, place):
        with started(["rm", "-rf", self.runtime], self.setup.seconds, place) as process:
            process.finish()

    @contextlib.contextmanager
    def running(self):
        """Both ends are up, and the guest is at work. Over loop there is one process, and no @ends."""
        guest = self.guest
        self.runtime = tempfile.mkdtemp(prefix="decant-bench.")
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.runtime, ignore_errors=True)
            loop = self.options.get("fabric") == "loop"
            dest_pid = None if loop else self._start_receiver(stack)
            run = ["run", "--name", "here", "--memory", guest.memory, "--vcpus", str(guest.vcpus), "--page-size", guest.page_size,
                   "--prealloc", "--guest", "stress:" + ",".join(guest.stress), "--serial", "none"]
            _, source_pid = self._start(stack, Place(), "running", run)
            self.ends = None if loop else Ends(f"{source_pid}:{MEMFD}", f"{dest_pid}:{MEMFD}", source_pid, dest_pid)
            yield self

    def migrate(self):
        """Gives the command, and returns the report."""
        request = {"verb": "migrate", "peer": self.peer, "max_downtime_ns": self.guest.max_downtime_ms * 1_000_000, **self.options}
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(self.setup.seconds)
            control.connect(os.path.join(self.runtime, "decant", "here.sock"))
            control.sendall(json.dumps(request).encode() + b"\n")
            for line in control.makefile("r", encoding="utf-8"):
                said = json.loads(line)
                if said.get("ok") is False:
                    raise Unmeasured(f"decant: {said.get('error', '?')}")
                if said.get("event") == "finished":
                    return self._good(said)
        raise Unmeasured("decant: the source has ended before its migration")

    @staticmethod
    def _good(finished):
        report = finished.get("report", finished)
        if report.get("outcome") != "completed":
            raise Unmeasured(f"decant: the migration: {report.get('error') or report.get('outcome')}")
        if report.get("guest_verdict") != "ok":
            raise Unmeasured(f"decant: the guest's verdict is {report.get('guest_verdict')}")
        return report

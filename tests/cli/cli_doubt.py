#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cli_doubt.py -- at the point of no return: the network dies, or somebody cancels; what the command line makes of it

Between source and receiver stands a relay that knows the frames of the control connection, and goes dead at the one it is told.
"""
import contextlib
import socket
import struct
import threading
import time

import rig
from rig import DONE, FAILED, IN_DOUBT, Host, check

HEADER = struct.Struct("<IHHII")
MAGIC = 0x544E4344
READY, GO, RUNNING = 20, 21, 22


class Relay:
    """Forwards connections to @address until it sees a message of @kind, which it forwards no more, or only after @at()."""

    def __init__(self, address, kind, at=None):
        host, port = address.split(":")
        self.target, self.kind, self.at = (host, int(port)), kind, at
        self.dead = threading.Event()
        self.sockets, self.threads = [], []
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._start(self._accept)

    def _start(self, body, *args):
        thread = threading.Thread(target=body, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.server.accept()
                far = socket.create_connection(self.target)
                self.sockets += [near, far]
                self._start(self._forward, near, far)
                self._start(self._forward, far, near)

    def _forward(self, source, sink):
        with contextlib.suppress(OSError):
            start = source.recv(4, socket.MSG_PEEK | socket.MSG_WAITALL)
            if start == struct.pack("<I", MAGIC):
                self._forward_frames(source, sink)
            else:
                while data := source.recv(1 << 16):
                    sink.sendall(data)
        self._close(source, sink)

    def _forward_frames(self, source, sink):
        while header := source.recv(HEADER.size, socket.MSG_WAITALL):
            magic, kind, _, length, _ = HEADER.unpack(header)
            check(magic == MAGIC, "not a frame of the control connection")
            payload = source.recv(length, socket.MSG_WAITALL) if length else b""
            if kind == self.kind and self.at:
                self.at()
            elif kind == self.kind:
                self.die()
                return
            sink.sendall(header + payload)

    @staticmethod
    def _close(*ends):
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def die(self):
        self.dead.set()
        with contextlib.suppress(OSError):
            self.server.shutdown(socket.SHUT_RDWR)
        self.server.close()
        self._close(*self.sockets)

    def revive(self):
        """At the same port, and nothing is held back any more."""
        self.kind = None
        self.server = socket.create_server(("127.0.0.1", self.port))
        self._start(self._accept)


def in_doubt_at(kind):
    here, there = Host("here"), Host("there")
    run = here.run("demo", "--vcpus", "2")
    receive = there.receive()
    relay = Relay(receive.address, kind)
    done = here.decant("migrate", "demo", relay.address, "--max-downtime", "5s")
    check(relay.dead.is_set(), f"it did not come so far: {done}")
    done.refused(IN_DOUBT, "demo")
    check(here.state("demo") == "in-doubt", str(here.status("demo")))
    check("IN DOUBT" in here.decant("status", "demo").succeeded().out, "status in words")
    for words in (["pause", "demo"], ["migrate", "demo", "127.0.0.1:1"]):
        here.decant(*words).refused(FAILED, "doubt", "resume")
    return here, there, run, receive, relay


def go_lost_and_no_answer_then_force():
    here, _, run, _, relay = in_doubt_at(GO)
    here.decant("resume", "demo").refused(IN_DOUBT, "doubt")
    check(here.state("demo") == "in-doubt", "it stays so")
    here.decant("resume", "demo", "--force").succeeded()
    here.is_untouched("demo")
    here.stop("demo", run)
    relay.die()


def go_lost_and_the_destination_proves_it():
    here, _, run, receive, relay = in_doubt_at(GO)
    relay.revive()
    rig.wait_until("the destination's lease is over", lambda: here.decant("resume", "demo").status == DONE)
    here.is_untouched("demo")
    here.stop("demo", run)
    check(receive.popen.poll() is None, "the receiver waits for the next")
    relay.die()


def running_lost_and_the_destination_has_it():
    here, there, run, receive, relay = in_doubt_at(RUNNING)
    receive.wait_for("demo: running")
    relay.revive()
    here.decant("resume", "demo").refused(FAILED, "runs at")
    gone = run.wait()
    check(gone.status == DONE and "demo: migrated to" in gone.out, str(gone))
    there.is_untouched("demo")
    there.stop("demo", receive)
    relay.die()


def cancelled_and_go(seconds):
    """READY is held back for so long since `decant cancel` was started, which takes about so long to be heard."""
    here, there = Host("here"), Host("there")
    run, receive = here.run("demo"), there.receive()
    cancel = threading.Thread(target=here.decant, args=("cancel", "demo"))

    def at_ready():
        cancel.start()
        time.sleep(seconds)

    relay = Relay(receive.address, READY, at_ready)
    done = here.decant("migrate", "demo", relay.address, "--max-downtime", "20s")
    cancel.join()
    check(done.status in (DONE, FAILED), str(done))
    if done.status == DONE:
        receive.wait_for("demo: running")
        check(run.wait().status == DONE, "the guest has left")
        there.is_untouched("demo")
        there.stop("demo", receive)
    else:
        check("cancel" in done.err, str(done))
        here.is_untouched("demo")
        here.stop("demo", run)
        check(receive.popen.poll() is None and "running" not in receive.out(), f"nothing runs there: {receive.out()}")
    relay.die()


def cancelled_in_the_same_instant_as_go():
    for milliseconds in (0, 10, 60):
        cancelled_and_go(milliseconds / 1000)


rig.skip_without_kvm()
rig.main([
    go_lost_and_no_answer_then_force,
    go_lost_and_the_destination_proves_it,
    running_lost_and_the_destination_has_it,
    cancelled_in_the_same_instant_as_go,
])

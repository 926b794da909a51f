#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""hostile_destination.py -- what false receivers do to `decant migrate`

A destination made of docs/protocol.md does everything right but for what a case replaces. Before GO the guest goes on at its
source whatever it is told, and judges its memory at the end; `migrate` says one clear line of printable text.
"""
import contextlib
import os
import random
import re
import socket
import struct
import threading
import time

import rig
import wire
from rig import DONE, FAILED, IN_DOUBT, Host, check
from wire import Closed, Connection, frame, message

LEASE_MS = 300
ESCAPES = b"\x1b]0;owned\x07\x1b[2J\x9b31m\r\n"

here, there = Host("here"), Host("there")
rng = random.Random(5)
demo = None


class Raw(bytes):
    """Bytes to be sent as they are."""


class Destination:
    """Listens, and serves every connection with what it has been told to say instead of the right thing.

    @lies: message type, or the letter h, d, r for the hello's answer, the data and the ordered rest of a data channel: a list of
    Raw or (type, payload) to be sent in its place, None for silence and "close" to hang up; a function is asked for any of these.
    """

    def __init__(self, lies=None, features=wire.TCP, query=None):
        self.lies, self.features, self.query = lies or {}, features, query
        self.server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.threads, self.sockets, self.heard = [], [], []
        self.ended = False
        self._start(self._accept)

    def _start(self, function, *words):
        thread = threading.Thread(target=self._guard, args=(function, *words))
        self.threads.append(thread)
        thread.start()

    @staticmethod
    def _guard(function, *words):
        with contextlib.suppress(OSError, Closed, struct.error):
            function(*words)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended = True
        self._end(self.server)
        for connected in self.sockets:
            self._end(connected)
        for thread in self.threads:
            thread.join()
        for connected in [self.server, *self.sockets]:
            connected.close()

    @staticmethod
    def _end(connected):
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)

    def _accept(self):
        while not self.ended:
            connected, _ = self.server.accept()
            self.sockets.append(connected)
            self._start(self._serve, connected)

    def _say(self, control, kind, payload):
        said = self.lies.get(kind, [(kind, payload)])
        if callable(said):
            said = said(payload)
        if said == "close":
            control.close()
            raise Closed("as told")
        for each in said or ():
            if isinstance(each, Raw):
                control.socket.sendall(each)
            else:
                control.send(*each[:2], **(each[2] if len(each) > 2 else {}))

    def _serve(self, connected):
        control = Connection(connected)
        control.pong = False
        answers = {
            wire.HANDOVER: (wire.READY, lambda _: struct.pack("<IIQQ", LEASE_MS, 0, 1, 1)),
            wire.GO: (wire.RUNNING, lambda _: struct.pack("<QQ", time.monotonic_ns(), 1)),
            wire.VERIFY: (wire.VERIFIED, lambda _: struct.pack("<QIIQ", 0, 0, 0, 0)),
            wire.VERDICT_ASK: (wire.VERDICT, lambda _: wire.verdict(1, b"")),
            wire.FENCE: (wire.FENCED, lambda payload: payload),
            wire.BYE: (wire.BYE, lambda _: b""),
            wire.PING: (wire.PONG, lambda payload: payload + struct.pack("<QQ", time.monotonic_ns(), time.monotonic_ns())),
            wire.OPEN: (wire.OPENED, lambda payload: self._open(control, payload)),
        }
        while True:
            kind, payload = self._hear(control)
            if kind == wire.HELLO:
                self._hello(control, payload)
            elif kind == wire.SHAPE and sum(struct.unpack_from("<4xII", payload)) == struct.unpack_from("<I", payload)[0]:
                self._say(control, wire.PREPARED, bytes(16))
            elif kind == wire.REGISTER:
                self._register(control, payload)
            elif kind in answers:
                answer, make = answers[kind]
                self._say(control, answer, make(payload))

    def _hear(self, control):
        deadline = time.monotonic() + rig.LONG
        _, kind, _, length, _ = struct.unpack("<IHHII", control.take(16, deadline))
        self.heard.append(kind)
        return kind, control.take(length, deadline)

    def _hello(self, control, payload):
        if struct.unpack_from("<H", payload, 4)[0] == wire.QUERY:
            if self.query is None:
                raise Closed("nothing to say")
            self._say(control, "query", None) if "query" in self.lies else control.send(wire.WELCOME, wire.welcome())
            for each in self.query:
                control.socket.sendall(each) if isinstance(each, Raw) else control.send(*each)
        else:
            self._say(control, wire.WELCOME, wire.welcome(features=self.features, lease_ms=LEASE_MS))

    def _register(self, control, payload):
        epoch, region, count = struct.unpack_from("<QII", payload)
        for i in range(count):
            first, granules = struct.unpack_from("<QI", payload, 16 + 16 * i)
            self._say(control, wire.GRANT, wire.grant(epoch, region, first, [0] * granules))

    def _open(self, control, payload):
        epoch, channels = struct.unpack_from("<QI", payload)
        server = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(server)
        answer = wire.opened(epoch, channels, server.getsockname()[1])
        self._start(self._channel, control, server, epoch)
        return answer

    def _channel(self, control, server, epoch):
        connected, _ = server.accept()
        self.sockets.append(connected)
        take = wire.take_exactly
        take(connected, 48)
        self._channel_say(connected, "h", frame(wire.F_OK, 8, tail=bytes(16)))
        while True:
            kind, count, value = struct.unpack("<4xHHQ", take(connected, 16))
            if kind == wire.F_WRITES:
                left = 16 * count + value
                while left:
                    left -= len(take(connected, min(left, 1 << 20)))
                self._channel_say(connected, "d", b"")
            elif kind == wire.F_BARRIER:
                self._say(control, wire.BARRIER_ACK, struct.pack("<QQ", epoch, value))

    def _channel_say(self, connected, which, right):
        said = self.lies.get(which, right)
        if said == "close":
            connected.close()
            raise Closed("as told")
        connected.sendall(said)
        if which in self.lies and said != right and which == "d":
            raise Closed("nothing more is taken in")


def migrate(name, destination, *words):
    return here.decant("migrate", name, destination.address, "--fabric", "tcp", "--channels", "1", *words)


def is_printable(done):
    check(re.fullmatch(r"[\n\x20-\x7e]*", done.out + done.err), f"control characters on the terminal: {done.out!r} {done.err!r}")


def start_demo():
    global demo
    if demo is None or demo.popen.poll() is not None:
        demo = here.run("demo")


def lie(lies, *patterns, words=(), features=wire.TCP):
    """The guest must not notice, and the user gets one line."""
    start_demo()
    with Destination(lies, features=features) as destination:
        done = migrate("demo", destination, "--timeout", "30s", "--max-downtime", "3s", *words)
        check(done.status == FAILED, f"exit status should be {FAILED} after {lies} {words}: {done}")
        check(here.state("demo") == "running", f"after {lies}: {here.status('demo')}")
        done.refused(FAILED, *patterns)
        is_printable(done)
        check(wire.GO not in destination.heard, f"GO was said after {lies}")


def go(name, lies, status, query=None, words=()):
    """GO is said; what comes of it. @query: what QUERY is told."""
    here.run(name)
    with Destination(lies, query=query) as destination:
        done = migrate(name, destination, "--max-downtime", "3s", *words)
        check(done.status == status, f"exit status should be {status}: {done}")
        check(wire.GO in destination.heard, f"GO should have been said: {done}")
    is_printable(done)
    return done


def a_true_one_is_believed():
    """The destination of this file is one: without a lie the migration succeeds, and then there is no guest here."""
    done = go("true", {}, DONE, words=["--verify"])
    check("true" not in here.decant("list").out, f"it has left: {done}")


# ---- before GO ----

GARBAGE = [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes.fromhex("15030100020228") + bytes(20), b"SSH-2.0-OpenSSH_9.2\r\n" + b" " * 64, bytes(64), b"\xff" * 4096,
           b"\x1b[2J" * 100]


def garbage():
    for data in [*GARBAGE, *(rng.randbytes(200) for _ in range(2))]:
        lie({wire.WELCOME: [Raw(data)]})
        lie({wire.OPENED: [Raw(data)]})
    lie({wire.WELCOME: "close"})
    lie({wire.PREPARED: "close"})
    lie({wire.OPENED: "close"})
    lie({wire.READY: "close"})


def silence_and_half_messages():
    whole = message(wire.WELCOME, wire.welcome(lease_ms=LEASE_MS))
    lie({wire.WELCOME: None}, words=["--timeout", "500ms"])
    lie({wire.WELCOME: [Raw(whole[:10])]}, words=["--timeout", "500ms"])
    lie({wire.WELCOME: [Raw(whole[:40])]}, words=["--timeout", "500ms"])
    lie({wire.PREPARED: None}, "timeout", words=["--timeout", "500ms"])
    lie({wire.OPENED: None}, "timeout", words=["--timeout", "500ms"])
    lie({wire.GRANT: None}, "timeout", words=["--timeout", "500ms"])
    lie({wire.BARRIER_ACK: None}, "timeout", words=["--timeout", "500ms"])
    lie({wire.READY: None}, "switchover", words=["--switchover-timeout", "500ms"])
    lie({"h": b""}, words=["--timeout", "500ms"])


def a_byte_now_and_then():
    """Every byte comes in time, no message does: a message, once begun, has the peer timeout."""
    def drip(_):
        for byte in message(wire.PREPARED, bytes(16)):
            yield Raw(bytes([byte]))
            time.sleep(0.5)
    lie({wire.PREPARED: drip}, "control connection|inside")


def wrong_welcomes():
    welcome, rail = wire.welcome, wire.rail
    rdma = wire.TCP | wire.RDMA
    for payload in [welcome(version=0), welcome(version=2), welcome(version=65535), welcome(reserved=b"\1\0"), welcome(rails=1),
                    welcome(max_memory=0), welcome(max_memory=PAGE), welcome(features=wire.TCP | wire.AUTH), welcome(features=0),
                    welcome(features=wire.LOOP), welcome(lease_ms=(1 << 32) - 1), welcome()[:-1], welcome(tail=b"\0"), b"",
                    welcome(features=rdma), welcome(features=rdma, rails=9, tail=rail() * 9), welcome(features=rdma, rails=1, tail=rail()),
                    *(welcome(features=rdma, rails=1, tail=rail(**fields) + bytes(4)) for fields in [
                        {"family": 5}, {"device": b""}, {"device": b"d" * 32}, {"port": 0}, {"flags": 2}, {"address": b"\x7f\0\0\1\1"}]),
                    welcome(features=rdma, tail=struct.pack("<I", 240) + b"a" * 240),
                    welcome(features=rdma, tail=struct.pack("<I", len(ESCAPES)) + ESCAPES)]:
        lie({wire.WELCOME: [(wire.WELCOME, payload)]})
    for fields in [{}, {"flags": 1}, {"device": b"x y"}, {"address": b"\xff" * 4}, {"address": bytes(4)}, {"family": 6, "address": bytes(16)}]:
        lie({wire.WELCOME: [(wire.WELCOME, welcome(features=rdma, rails=8, tail=rail(**fields) * 8 + bytes(4)))]}, "rdma",
            words=["--fabric", "rdma"])


PAGE = wire.PAGE
TOP = (1 << 64) - 1


def wrong_answers():
    opened = wire.opened
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    for lies in [
            *({wire.OPENED: [(wire.OPENED, payload)]} for payload in [
                opened(0), opened(2), opened(TOP), opened(channels=2), opened(channels=0), opened(channels=(1 << 32) - 1, tokens=[]),
                opened(tokens=[]), opened(port=0), opened(port=closed), opened(address=b""), opened(address=b"\2\0\1\1"),
                opened(address=bytes(256)), opened(address=bytes(257)), opened(address_length=9), opened()[:-1]]),
            *({wire.PREPARED: [(wire.PREPARED, payload)]} for payload in [b"", bytes(15), bytes(17)]),
            *({wire.READY: [(wire.READY, payload)]} for payload in [
                b"", bytes(24), struct.pack("<IIQQ", 1, 1, 0, 0), struct.pack("<IIQQ", (1 << 32) - 1, 0, 0, 0), bytes(23)]),
            *({wire.GRANT: [(wire.GRANT, payload)]} for payload in [
                wire.grant(region_index=1), wire.grant(first=16), wire.grant(first=TOP), wire.grant(first=1 << 31), wire.grant(count=65537),
                wire.grant(keys=()), wire.grant(keys=[0] * 17), wire.grant(count=2)]),
            *({wire.BARRIER_ACK: [(wire.BARRIER_ACK, payload)]} for payload in [b"", bytes(15), bytes(17)]),
            *({wire.PREPARED: [(kind, bytes(16))]} for kind in (wire.HELLO, wire.REGIONS, wire.GO, wire.OPENED, wire.READY, wire.RUNNING, 34)),
            {wire.PREPARED: [(wire.RUNNING, bytes(16)), (wire.PREPARED, bytes(16))]},
            {wire.PREPARED: [(wire.READY, struct.pack("<IIQQ", 1, 0, 0, 0)), (wire.PREPARED, bytes(16))]},
            {wire.READY: [(wire.RUNNING, bytes(16)), (wire.READY, struct.pack("<IIQQ", LEASE_MS, 0, 0, 0))]},
            {wire.READY: [Raw(message(wire.READY, struct.pack("<IIQQ", LEASE_MS, 0, 0, 0), 77))]},
            {wire.READY: [(wire.STATUS, bytes(8))]}, {wire.READY: [(wire.VERDICT, wire.verdict())]},
            {wire.PREPARED: [(wire.PREPARED, bytes(16), {"sequence": 77})]}, {wire.PREPARED: [(wire.PREPARED, bytes(16), {"flags": 1})]},
            {wire.PREPARED: [(wire.PREPARED, bytes(16), {"length": wire.PAYLOAD_MAX + 1})]},
            {wire.PREPARED: [(wire.PREPARED, b"", {"length": (1 << 32) - 1})]},
            {wire.PONG: [(wire.PONG, b"")]}, {wire.PONG: [(wire.PONG, struct.pack("<QQQ", TOP, 0, 0))]},
            {wire.PONG: [(wire.PONG, struct.pack("<QQQ", 0, TOP, 0))]}, {wire.PREPARED: [(wire.PING, bytes(7))]}]:
        lie(lies, words=["--timeout", "1s"])


def a_verify_that_lies():
    for payload in [struct.pack("<QIIQ", 1, 0, 0, 0), struct.pack("<QIIQ", TOP, 63, 0, 5), struct.pack("<QIIQ", 1, 64, 0, 0), b"",
                    struct.pack("<QIIQ", 0, 0, 1, 0)]:
        lie({wire.VERIFIED: [(wire.VERIFIED, payload)]}, words=["--verify"])


def ready_before_anything_is_sent():
    """It is no answer to HANDOVER, and the acknowledgement of a barrier that was never posted is none either."""
    ready = (wire.READY, struct.pack("<IIQQ", LEASE_MS, 0, 0, 0))
    lie({wire.GRANT: lambda payload: [ready, (wire.GRANT, payload)]}, "READY before HANDOVER")
    lie({wire.GRANT: lambda payload: [(wire.RUNNING, bytes(16)), (wire.GRANT, payload)]}, "RUNNING")
    lie({wire.GRANT: lambda payload: [(wire.BARRIER_ACK, struct.pack("<QQ", 1, 1)), (wire.GRANT, payload)], wire.BARRIER_ACK: None},
        words=["--timeout", "1s"])
    for epoch, round_number in [(1, TOP), (7, 1), (1, 0)]:
        lie({wire.BARRIER_ACK: [(wire.BARRIER_ACK, struct.pack("<QQ", epoch, round_number))]}, words=["--timeout", "1s"])


def channels_that_lie():
    """Each costs its epoch; the next is opened, and after so many the source gives up."""
    for lies in [{"h": frame(wire.F_OK, 0, tail=bytes(16))}, {"h": frame(wire.F_OK, TOP, tail=bytes(16))}, {"h": "close"},
                 {"h": frame(wire.F_OK, 8, tail=b"\1" * 16)}, {"h": frame(wire.F_OK, 8, magic=1, tail=bytes(16))}, {"h": bytes(4096)},
                 *({"h": frame(wire.F_REFUSED, why)} for why in (0, 1, 4, 5, TOP)), {"d": "close"},
                 {"d": frame(wire.F_CREDIT, 1)}, {"d": frame(wire.F_CREDIT, TOP)}, {"d": frame(wire.F_WRITES, PAGE)}, {"d": rng.randbytes(64)},
                 {"d": "close", wire.FENCED: [(wire.FENCED, struct.pack("<Q", 7))]}, {"d": "close", wire.FENCED: [(wire.FENCED, b"")]},
                 {"d": "close", wire.FENCED: "close"}]:
        lie(lies, words=["--timeout", "1s"])


def words_that_would_steer_the_terminal():
    for text, length in [(ESCAPES, None), (b"a" * 479, None), (b"a" * 480, None), (b"", None), (b"a", 2), (b"\xff" * 20, None)]:
        for place in (wire.WELCOME, wire.PREPARED, wire.READY):
            lie({place: [(wire.ERROR, wire.error(5, text, length))]})
    for code in (0, 4096, (1 << 32) - 1, 11, 115, 125):
        lie({wire.PREPARED: [(wire.ERROR, wire.error(code, b"as it is"))]})
    lie({wire.PREPARED: [(wire.LOST, struct.pack("<QII", 1, 5, len(ESCAPES)) + ESCAPES)]}, words=["--timeout", "1s"])


def data_without_end():
    def flood(kind, payload):
        def say(_):
            end = time.monotonic() + rig.LONG
            while time.monotonic() < end:
                yield kind, payload
        return say
    for kind, payload in [(wire.GRANT, wire.grant(keys=[0] * 65536)), (wire.BARRIER_ACK, bytes(16)), (wire.PING, bytes(8)),
                          (wire.PONG, struct.pack("<QQQ", 1, 2, 3)), (wire.STATUS, bytes(8)), (wire.PREPARED, bytes(16)),
                          (wire.LOST, struct.pack("<QII", 1, 5, 0)), (wire.FENCED, bytes(8)),
                          (wire.MESSAGE, struct.pack("<II", 1, 0) + b"m")]:
        lie({wire.PREPARED: flood(kind, payload)}, words=["--timeout", "500ms"])
    start_demo()
    with open(f"/proc/{demo.pid}/status", encoding="ascii", errors="replace") as status:
        most = int(re.search(r"VmHWM:\s+(\d+)", status.read()).group(1)) >> 10
    check(most < 400 or rig.sanitized(), f"the source has taken {most} MiB")


# ---- from GO on ----

def doubt_is_settled_by_never():
    """Whatever becomes of RUNNING: NEVER proves that the guest may go on here."""
    never = [(wire.STATUS, struct.pack("<II", wire.FATE_NEVER, 0))]
    for i, said in enumerate(["close", [(wire.RUNNING, b"")], [(wire.ERROR, wire.error(5, ESCAPES))], [(wire.READY, bytes(24))], [Raw(b"\0" * 64)]]):
        name = f"never{i}"
        go(name, {wire.RUNNING: said}, FAILED, query=never).refused(FAILED)
        check(here.state(name) == "running", str(here.status(name)))
        if i == 0:
            here.is_untouched(name)
        here.decant("stop", name).succeeded()


def doubt_stays_doubt():
    """Nothing but RUNNING and NEVER settles it: the guest is paused, and says so, until its owner decides."""
    answers = [(wire.STATUS, struct.pack("<II", fate, reserved)) for fate, reserved in [(0, 0), (1, 0), (4, 0), (TOP >> 32, 0), (3, 1), (2, 1)]]
    answers += [(wire.STATUS, b""), (wire.ERROR, wire.error(5, ESCAPES)), (wire.RUNNING, bytes(16)), (wire.FENCED, bytes(8))]
    def any_of_them(_):
        return [rng.choice([*answers, Raw(bytes(100)), Raw(b"")])]
    done = go("doubt", {wire.RUNNING: "close", "query": lambda _: [(wire.WELCOME, wire.welcome()), *any_of_them(_)]}, IN_DOUBT, query=[])
    check("resume" in done.err, f"should say what to do: {done}")
    check(here.state("doubt") == "in-doubt", str(here.status("doubt")))
    with Destination(query=[answers[0]]) as _:
        here.decant("resume", "doubt", "--force").succeeded()
    here.is_untouched("doubt")
    here.decant("stop", "doubt").succeeded()


def verdicts_that_lie():
    """The guest has left, and the report does not say that it is well."""
    for i, payload in enumerate([wire.verdict(1, b"t" * 160), wire.verdict(3), wire.verdict(2, ESCAPES), b"", wire.verdict(1, b"", 1)]):
        done = go(f"verdict{i}", {wire.VERDICT: [(wire.VERDICT, payload)]}, DONE, words=["--json"])
        check('"guest_verdict":"ok"' not in done.out.replace(" ", ""), f"a verdict that was none: {done}")
    go("bad", {wire.VERDICT: [(wire.VERDICT, wire.verdict(2, b"page 7"))]}, FAILED)
    go("clock", {wire.RUNNING: [(wire.RUNNING, struct.pack("<QQ", TOP, TOP))],
                 wire.READY: [(wire.READY, struct.pack("<IIQQ", LEASE_MS, 0, TOP, TOP))]}, DONE, words=["--json"])


def the_guest_is_well():
    start_demo()
    here.is_untouched("demo")
    here.stop("demo", demo)


rig.skip_without_kvm()
rig.main([
    a_true_one_is_believed,
    garbage,
    silence_and_half_messages,
    a_byte_now_and_then,
    wrong_welcomes,
    wrong_answers,
    a_verify_that_lies,
    ready_before_anything_is_sent,
    channels_that_lie,
    words_that_would_steer_the_terminal,
    data_without_end,
    doubt_is_settled_by_never,
    doubt_stays_doubt,
    verdicts_that_lie,
    the_guest_is_well,
], keep=lambda: demo)

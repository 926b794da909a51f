# SPDX-License-Identifier: BSD-2-Clause
"""qemu_stream.py -- how far a migration of QEMU's has come, told by its bytes; and a relay between UNIX sockets that acts there

It knows the stream by itself, so that decant's parser is not asked when to hurt decant. Stages of the stream:

    connected   a connection, no byte yet              end       the section that ends RAM has begun: the guest stands still
    list        the list of blocks is over             devices   RAM is over, its last byte forwarded
    half        half of the pages have come by once
and of the return path, before it is forwarded, or with "-late" after:
    shut        the destination has loaded it all
"""
import contextlib
import os
import socket
import struct
import threading

from rig import Failure, check

PAGE = 4096
ZERO, MEM_SIZE, DATA, EOS, CONTINUE, FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x200
CONFIGURATION, START, PART, END, COMMAND, FOOTER = 0x07, 0x01, 0x02, 0x03, 0x08, 0x7E
SHUT = 1
STAGES = ("connected", "list", "half", "end", "devices", "shut", "shut-late")


class Finder:
    """@tokens: a generator that yields how many bytes it wants, and gets them, or the name of the stage that begins here."""

    def __init__(self, tokens):
        self.tokens, self.held, self.blind = tokens, bytearray(), False
        self.wanted = next(tokens)

    def _step(self, token):
        try:
            self.wanted = self.tokens.send(token)
        except StopIteration:
            self.blind = True

    def split(self, data):
        """Pairs: bytes, and the stage that begins behind them or None."""
        before = len(self.held)
        self.held += data
        done = at = 0  # in self.held: forwarded with a stage; looked at
        while not self.blind:
            if isinstance(self.wanted, str):
                stage = self.wanted
                yield data[max(done - before, 0):at - before], stage
                done = at
                self._step(None)
                continue
            if len(self.held) - at < self.wanted:
                break
            token = bytes(self.held[at:at + self.wanted])
            at += self.wanted
            self._step(token)
        yield data[max(done - before, 0):], None
        self.held = bytearray() if self.blind else self.held[at:]


class RamStream:
    """The main stream, up to the end of RAM."""

    def __init__(self):
        self.pages = self.total = 0
        self.half = False

    def tokens(self):
        magic, version = struct.unpack(">II", (yield 8))
        check((magic, version) == (0x5145564D, 3), f"no stream of QEMU's: {magic:#x} {version}")
        kind, = yield 1
        if kind == CONFIGURATION:
            yield struct.unpack(">I", (yield 4))[0]
            kind, = yield 1
        while True:
            if kind == COMMAND:
                yield struct.unpack(">HH", (yield 4))[1]
            else:
                yield from self._section(kind)
                if kind == END:
                    yield "devices"
                    return
                if kind == START:
                    yield "list"
            kind, = yield 1

    def _section(self, kind):
        check(kind in (START, PART, END), f"an element of kind {kind} before the end of RAM")
        yield 4
        if kind == START:
            name = yield (yield 1)[0]
            check(name == b"ram", f"a section {name} before the end of RAM")
            yield 8
        if kind == END:
            yield "end"
        yield from self._records()
        footer = yield 5
        check(footer[0] == FOOTER, f"no footer: {footer!r}")

    def _records(self):
        while True:
            record, = struct.unpack(">Q", (yield 8))
            flags = record % PAGE
            if flags == EOS:
                return
            if flags == MEM_SIZE:
                yield from self._blocks(record - flags)
            elif flags & ~CONTINUE in (ZERO, DATA):
                if not flags & CONTINUE:
                    yield (yield 1)[0]
                yield PAGE if flags & DATA else 1
                yield from self._count()
            elif flags != FLUSH:
                raise Failure(f"a record of kind {flags:#x}")

    def _blocks(self, left):
        self.total = left // PAGE
        while left:
            yield (yield 1)[0]
            left -= struct.unpack(">Q", (yield 8))[0]

    def _count(self):
        self.pages += 1
        if not self.half and 2 * self.pages >= self.total:
            self.half = True
            yield "half"


def return_path():
    while True:
        kind, length = struct.unpack(">HH", (yield 4))
        if kind == SHUT:
            # its last byte is the next stage, so that nothing of it that counts has been forwarded yet
            yield length - 1
            yield "shut"
            yield 1
            yield "shut-late"
        else:
            yield length


class Relay:
    """Takes connections at @near and makes them at @far, both paths of UNIX sockets. @reached(stage) is called from its threads, and what
    it returns goes on there, too. @out: look at the stream, too, not only at the return path."""

    def __init__(self, near, far, reached, out=True):
        self.near, self.far, self.reached, self.out = near, far, reached, out
        self.server = socket.socket(socket.AF_UNIX)
        self.server.bind(near)
        self.server.listen(16)
        self.ends, self.threads, self.problems = [], [], []
        self.closed = False
        self._start(self._accept)

    def _start(self, body, *args):
        thread = threading.Thread(target=self._guarded, args=(body, *args), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _guarded(self, body, *args):
        try:
            body(*args)
        except OSError:
            pass  # one of both has gone
        except Exception as problem:  # pylint: disable=broad-except
            if not self.closed:
                self.problems.append(f"relay: {type(problem).__name__}: {problem}")

    def _accept(self):
        first = True
        while True:
            near, _ = self.server.accept()
            far = socket.socket(socket.AF_UNIX)
            self.ends += [near, far]
            more = self.reached("connected") if first else None
            try:
                far.connect(self.far)
                far.sendall(more or b"")
            except OSError:
                near.shutdown(socket.SHUT_RDWR)
                continue
            self._start(self._direction, near, far, Finder(RamStream().tokens()) if first and self.out else None)
            self._start(self._direction, far, near, Finder(return_path()) if first else None)
            first = False

    def _direction(self, source, sink, finder):
        try:
            while data := source.recv(1 << 17):
                for part, stage in finder.split(data) if finder else [(data, None)]:
                    if part:
                        sink.sendall(part)
                    if stage:
                        sink.sendall(self.reached(stage) or b"")
        finally:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                source.shutdown(socket.SHUT_RD)

    def say_back(self, data):
        """As if it came from @far, over the first connection."""
        self.ends[0].sendall(data)

    def close(self):
        self.closed = True
        for end in [self.server, *self.ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(30)
        for end in [self.server, *self.ends]:
            end.close()
        with contextlib.suppress(OSError):
            os.unlink(self.near)
        check(not any(thread.is_alive() for thread in self.threads), "a thread of the relay goes on")
        check(not self.problems, "; ".join(self.problems))

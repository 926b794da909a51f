#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""golden.py -- decant's reader of QEMU's migration stream, against streams that real QEMUs write (TAP)

Each QEMU writes the stream of a running stress guest: into a file, or with multifd into a listening socket that records each
connection. stream_take reads that as the source's sidecar would. A parser of our own, written from docs/qemu.md, says what must come of it; and
the most honest reader, a QEMU, is given what is left, beside a copy of the memory that was taken out: the guest must find nothing missing.
"""
import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
# pylint: disable=wrong-import-position
import qemu
import rig
from qemu import SLOW, Guest
from rig import BUILD, Skip, check, path

TAKE = os.path.join(BUILD, "tests", "tools", "stream_take")
PAGE = 4096
ZERO, MEM_SIZE, DATA, EOS, CONTINUE, FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x200
UNLIMITED = 1 << 40
OWNED = "ram0"
# with video memory, which is not shared; the firmware is slow where it has a screen to write on
GUEST = Guest(backing="file", devices=("-device", "VGA,romfile="))

_number = itertools.count()


# ---- what must come of a stream ----

class Parsed:
    """The main stream, by the page alone. @strays: what channels brought, one list for each sync but the first: (block, offset, content)."""

    def __init__(self, data, owned, strays=()):
        self.data, self.at, self.owned, self.strays = data, 0, owned, iter(strays)
        self.out, self.pages, self.blocks, self.flushes = bytearray(), [], {}, False
        self.block = self.out_block = None
        self.syncs = 0
        self.parse()

    def number(self, size):
        value = int.from_bytes(self.take(size), "big")
        return value

    def take(self, size):
        check(self.at + size <= len(self.data), "the stream is cut")
        self.at += size
        return self.data[self.at - size:self.at]

    def name(self):
        return self.take(self.number(1)).decode()

    def parse(self):
        check(self.take(8) == b"QEVM\0\0\0\3" and self.number(1) == 7, "no migration stream")
        self.machine = self.take(self.number(4)).decode()
        check(self.data[self.at] != 5, "a subsection of the configuration")
        self.out += self.data[:self.at]
        names = {}
        while True:
            begin, kind = self.at, self.number(1)
            if kind == 8:
                self.take(2)
                self.take(self.number(2))
                self.out += self.data[begin:self.at]
                continue
            section = self.number(4)
            if kind == 1:
                names[section] = self.name()
                self.take(8)
            self.out += self.data[begin:self.at]
            if names[section] != "ram":
                check(names[section] == "dirty-bitmap", f"section {names[section]}")
                self.bitmap()
            elif self.body(kind):
                self.before_end = len(self.out)
                self.out += self.data[self.at - 8:]
                return
            check(self.take(5) == b"\x7e" + section.to_bytes(4, "big"), "no footer")
            self.out += self.data[self.at - 5:self.at]

    def bitmap(self):
        begin = self.at
        while (flags := self.number(1)) != 1:
            for bit in (8, 4):
                if flags & bit:
                    self.name()
            if flags & 0x10:
                self.take(5)
            if flags & 0x40:
                self.take(12)
                if not flags & 2:
                    self.take(self.number(8))
        self.out += self.data[begin:self.at]

    def body(self, kind):
        while True:
            begin, word = self.at, self.number(8)
            flags, offset = word % PAGE, word - word % PAGE
            if flags == EOS:
                if not self.flushes:
                    self.sync()
                if kind == 3:
                    return True
                self.out += self.data[begin:self.at]
                return False
            if flags == FLUSH:
                self.flushes = True
                self.sync()
            elif flags == MEM_SIZE:
                while offset > 0:
                    name = self.name()
                    self.blocks[name] = self.number(8)
                    offset -= self.blocks[name]
                self.out += self.data[begin:self.at]
            else:
                self.page(flags, offset)

    def page(self, flags, offset):
        check(flags & ~CONTINUE in (DATA, ZERO), f"flags {flags:#x}")
        named = not flags & CONTINUE
        if named:
            self.block = self.name()
        content = self.take(PAGE if flags & DATA else 1)
        if self.block == self.owned:
            self.pages.append(offset)
        else:
            self.record(self.block, offset, content, named)

    def record(self, block, offset, content, named):
        named = named or block != self.out_block
        self.out += (offset | (DATA if len(content) > 1 else ZERO) | (0 if named else CONTINUE)).to_bytes(8, "big")
        if named:
            self.out += bytes([len(block)]) + block.encode()
        self.out += content
        self.out_block = block

    def sync(self):
        self.syncs += 1
        for block, offset, content in next(self.strays, []):
            self.record(block, offset, content, True)


def parse_channel(data, owned):
    """One list of strays for each sync, and the offsets in the block that was taken out."""
    check(data[:8] == bytes.fromhex("1122334400000001"), "no channel of multifd")
    at, strays, pages = 64, [[]], []
    while at < len(data):
        flags, normal, size, zero = (int.from_bytes(data[at + field:at + field + 4], "big") for field in (8, 16, 20, 32))
        block = data[at + 64:at + 320].rstrip(b"\0").decode()
        offsets = [int.from_bytes(data[at + 320 + 8 * i:at + 328 + 8 * i], "big") for i in range(normal + zero)]
        at += 1344
        size = size if normal else 0  # a number left over
        check(size == normal * PAGE, "compressed")
        for i, offset in enumerate(offsets):
            if block == owned:
                pages.append(offset)
            else:
                strays[-1].append((block, offset, data[at + i * PAGE:at + (i + 1) * PAGE] if i < normal else b"\0"))
        at += size
        if flags & 1:
            strays.append([])
    return strays, pages


# ---- what stream_take makes of it ----

class Taken:
    """stream_take's answer."""

    def __init__(self, owned, main, channels=(), piece=0):
        done = subprocess.run([TAKE, owned, str(piece), main, *channels], stdin=subprocess.DEVNULL, capture_output=True, timeout=SLOW,
                              check=False)
        *lines, last = done.stderr.decode().splitlines()
        check(done.returncode == 0, f"stream_take: {last}")
        self.out, self.report = done.stdout, json.loads(last)
        self.pages, self.runs = [], []
        for line in lines:
            _, block, offset, size, _ = line.rsplit(" ", 4)
            check(block == owned, f"pages of {block}")
            self.runs.append(int(size) // PAGE)
            self.pages += range(int(offset), int(offset) + int(size), PAGE)


def read(name):
    with open(name, "rb") as file:
        return file.read()


def same(is_bytes, wanted, what):
    """Where they differ, if they do."""
    if bytes(is_bytes) != bytes(wanted):
        at = next((i for i, (one, two) in enumerate(zip(is_bytes, wanted)) if one != two), min(len(is_bytes), len(wanted)))
        check(False, f"{what}: {len(is_bytes)} bytes instead of {len(wanted)}; the first that differs is {at}")


def agrees(taken, parsed, pages):
    same(taken.out, parsed.out, "what is forwarded")
    check(sorted(taken.pages) == sorted(pages), f"{len(taken.pages)} pages were taken out instead of {len(pages)}")
    report = taken.report
    check(report["blocks"] == parsed.blocks, f"the block list is {report['blocks']} instead of {parsed.blocks}")
    check(report["before_end"] == parsed.before_end, f"the end of RAM is seen at {report['before_end']}, not {parsed.before_end}")
    check(report["machine"] == parsed.machine and report["syncs"] == parsed.syncs, f"{report} is wrong: {parsed.syncs} syncs")
    if parsed.owned:
        check(set(taken.pages) == set(range(0, parsed.blocks[OWNED], PAGE)), "not every page of the guest's was named")


# ---- streams ----

class Recorder:
    """A listening socket that writes down what each connection brings, until all have ended."""

    def __init__(self):
        self.path = path(f"recorder{next(_number)}")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(16)
        self.files, self.threads = [], []
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.files.append(f"{self.path}.{len(self.files)}")
                thread = threading.Thread(target=self._record, args=(connection, self.files[-1]), daemon=True)
                self.threads.append(thread)
                thread.start()

    @staticmethod
    def _record(connection, name):
        with connection, open(name, "wb") as file:
            while data := connection.recv(1 << 20):
                file.write(data)

    def ended(self):
        """The main stream's file, and those of the channels."""
        for thread in self.threads:
            thread.join(SLOW)
            check(not thread.is_alive(), "a connection of QEMU's has no end")
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.acceptor.join(SLOW)
        mains = [name for name in self.files if read(name)[:4] == b"QEVM"]
        check(len(mains) == 1, f"{len(mains)} main streams")
        return mains[0], [name for name in self.files if name not in mains]


@contextlib.contextmanager
def running(program, guest, more=()):
    one = qemu.Qemu("qemu", program, guest, more)
    try:
        yield one
    finally:
        one.end()


def migrated(source, uri, capabilities=(), parameters=None):
    source.await_work()
    source.capabilities(["events", *capabilities])
    source.qmp.call("migrate-set-parameters", **{"max-bandwidth": UNLIMITED, **(parameters or {})})
    source.qmp.call("migrate", uri=uri)
    said = source.await_migration()
    check(said["status"] == "completed", f"the migration has {said}")


def memory_file(one):
    return path(f"{one.name}.ram0")


def loads(program, guest, kept, memory, more=()):
    """A QEMU is given the memory and what is left of the stream: the guest goes on and finds nothing missing."""
    name = path(f"kept{next(_number)}")
    with open(name, "wb") as file:
        file.write(kept)
    with running(program, guest, [*more, "-incoming", "defer"]) as dest:
        # into the very file that it has mapped
        with open(memory, "rb") as one, open(memory_file(dest), "r+b") as other:
            shutil.copyfileobj(one, other, 1 << 20)
        dest.qmp.call("migrate-incoming", uri=f"exec:cat {name}")
        rig.wait_until("the destination has loaded", lambda: dest.migration().get("status") in qemu.ENDED, SLOW)
        check(dest.migration()["status"] == "completed", f"the destination has {dest.migration()}: {dest.said()}")
        if dest.status() != "running":
            dest.qmp.call("cont")
        dest.is_going()
        check(dest.verdict() == "ok", dest.verdict())
    os.unlink(name)


def stays_the_same(main):
    """Nothing is taken out, however it is read."""
    data = read(main)
    parsed = Parsed(data, None)
    for piece in (0, 1000, 65537):
        taken = Taken("", main, piece=piece)
        same(taken.out, data, f"read in pieces of {piece or 'any size'}")
        agrees(taken, parsed, [])


# ---- cases ----

def plain(program, guest):
    """Into a file; nothing taken out, then the guest's memory."""
    main = path(f"plain{next(_number)}")
    with running(program, guest) as source:
        migrated(source, f"exec:cat > {main}")
        stays_the_same(main)
        parsed = Parsed(read(main), OWNED)
        taken = Taken(OWNED, main)
        agrees(taken, parsed, parsed.pages)
        check(len(taken.out) < len(parsed.data) - guest.memory * 1024, "too little was taken out")
        check(max(taken.runs) > 64, f"the longest run has {max(taken.runs)} pages")
        loads(program, guest, taken.out, memory_file(source))
    os.unlink(main)


def multifd(program, guest, channels=3):
    """Over a socket, in several connections, that become one."""
    recorder = Recorder()
    with running(program, guest) as source:
        migrated(source, f"unix:{recorder.path}", ["multifd"], {"multifd-channels": channels})
        main, others = recorder.ended()
        check(len(others) == channels, f"{len(others)} channels")
        parts = [parse_channel(read(name), OWNED) for name in others]
        rounds = [sum(lists, []) for lists in itertools.zip_longest(*(strays for strays, _ in parts), fillvalue=[])]
        parsed = Parsed(read(main), OWNED, rounds)
        taken = Taken(OWNED, main, others)
        agrees(taken, parsed, parsed.pages + sum((pages for _, pages in parts), []))
        check(sum(len(pages) for _, pages in parts) > 1000, "the channels brought no pages")
        check(any(rounds), "the channels brought nothing of memory that is not shared")
        loads(program, guest, taken.out, memory_file(source))
    for name in (main, *others):
        os.unlink(name)


def bitmaps(program, guest):
    """A disk's dirty bitmap, whose sections stand between those of RAM."""
    main, disk = path(f"bitmaps{next(_number)}"), path(f"disk{next(_number)}")
    with open(disk, "wb") as file:
        file.truncate(64 << 20)
    more = ["-blockdev", f"driver=file,node-name=disk,filename={disk}"]
    with running(program, guest, more) as source:
        source.qmp.call("block-dirty-bitmap-add", node="disk", name="bitmap0")
        migrated(source, f"exec:cat > {main}", ["dirty-bitmaps"])
        check(b"\x0cdirty-bitmap" in read(main) and b"bitmap0" in read(main), "there is no bitmap in the stream")
        stays_the_same(main)
        parsed = Parsed(read(main), OWNED)
        agrees(Taken(OWNED, main), parsed, parsed.pages)
    os.unlink(main)


CASES = {"plain": plain, "multifd": multifd, "bitmaps": bitmaps}


def machines():
    """Pairs: a QEMU and a machine type. The older one brings the older signs of multifd."""
    found = [(qemu.INSTALLED, "pc")]
    with contextlib.suppress(Skip):
        newer = qemu.program_named("newer")
        found += [(newer, "pc"), (newer, "pc-i440fx-7.2")]
    return found


def main():
    cases = [(program, machine, name) for program, machine in machines() for name in CASES
             if machine == "pc" or name == "multifd"]
    failed = 0
    print(f"1..{len(cases)}")
    for number, (program, machine, name) in enumerate(cases, 1):
        title = f"{name}, QEMU {'.'.join(map(str, qemu.version(program)))}, machine {machine}"
        try:
            guest = Guest(backing=GUEST.backing, devices=GUEST.devices, machine=machine)
            CASES[name](program, guest)
            print(f"ok {number} - {title}", flush=True)
        except Exception as problem:  # pylint: disable=broad-exception-caught
            failed += 1
            print("".join(f"# {line}\n" for line in rig.describe(problem).splitlines()), end="")
            print(f"not ok {number} - {title}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    rig.skip_without_kvm()
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""hostile_source.py -- what strangers and false sources do to `decant receive`

One receiver stands all of it. It must never crash, hang, or take more memory than the limits of docs/protocol.md, section 11, allow;
at the end an honest VM moves in, and its memory, descriptors and threads are then what a receiver has that nobody ever attacked.
"""
import contextlib
import os
import random
import resource
import socket
import struct
import threading
import time

import rig
import wire
from rig import Host, check
from wire import (FATE_UNKNOWN, GRANULE, PAGE, Closed, Record, Source, connect, frame, frame_hello, frame_writes, hello, is_closed,
                  message, record_list, records, run)

MEMORY = 32 << 20
MAX_MEMORY = 64 << 20
# one SHAPE or STATE of 64 MiB, what the reader makes of it, a queue of 64 messages of 1 MiB, tables, stacks and the heap's waste
PROTOCOL_BYTES = 256 << 20
RESTING_BYTES = 48 << 20  # what a heap may keep of what it once had
ARENA_BYTES = 4 << 30  # address space that the heaps of many threads reserve

OPTIONAL = (b"kvm.vcpu.pdptrs", b"kvm.vcpu.tsc_deadline")  # a vCPU that has none sends none

here, there = Host("here"), Host("there")
rng = random.Random(4)
victim = None
recording = None
baseline = None


class Usage:
    """What a process has: bytes, descriptors, threads."""

    def __init__(self, pid):
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            fields = dict(line.split(":", 1) for line in file if ":" in line)
        self.resident, self.most, self.mapped = (int(fields[name].split()[0]) << 10 for name in ("VmRSS", "VmHWM", "VmPeak"))
        self.threads = int(fields["Threads"])
        self.descriptors = len(os.listdir(f"/proc/{pid}/fd"))

    def __str__(self):
        return f"{self.resident >> 20} MiB, {self.most >> 20} MiB at most, {self.threads} threads, {self.descriptors} descriptors"


def rests():
    """Everybody has been shown out, and what they held is free."""
    now = Usage(victim.pid)
    return now.threads <= baseline.threads and now.descriptors <= baseline.descriptors


def goes_on():
    """The receiver lives and answers."""
    check(victim.popen.poll() is None, f"the receiver has ended: {victim.done()}")
    check(wire.ask(victim.address) == FATE_UNKNOWN, "the fate of a migration that never was")


def source(**fields):
    """A source that has been let in, as soon as the last one is forgotten."""
    deadline = time.monotonic() + rig.LONG
    while True:
        false = Source(victim.address, recording)
        try:
            false.hello(**fields)
            return false
        except rig.Failure:
            false.close()
            check(time.monotonic() < deadline, "the receiver stays busy")
            time.sleep(0.005)


@contextlib.contextmanager
def prepared():
    false = source()
    with false:
        false.prepare()
        yield false


def refused(false, *sent, code=None):
    """Sends messages, of which the last must end the session, with @code if that is given."""
    with contextlib.suppress(Closed):
        for kind, payload, *more in sent:
            false.send(kind, payload, **(more[0] if more else {}))
    try:
        found, text = false.refused()
    except rig.Failure as problem:
        raise rig.Failure(f"{problem} after {sent[-1][0]} {sent[-1][1][:120]}") from None
    check(code is None or found in (code, None), f"refused with {found} ({text}), not {code}, after {sent[-1][0]} {sent[-1][1][:80]}")
    false.close()


def settled():
    """What the receiver has, if that stays as it is for a while."""
    seen = []
    for _ in range(5):
        seen.append(Usage(victim.pid))
        time.sleep(0.1)
    return seen[0] if len({(usage.threads, usage.descriptors) for usage in seen}) == 1 else None


def begin():
    """A receiver, and what an honest source says to one."""
    global victim, recording, baseline
    demo = here.run("demo")
    honest = there.receive("--max-memory", MAX_MEMORY)
    tap = wire.Tap(honest.address)
    here.decant("migrate", "demo", tap.address, "--fabric", "tcp", "--channels", "1", "--verify").succeeded()
    recording = tap.recording()
    demo.wait()
    there.stop("demo", honest)
    check({wire.HELLO, wire.REGIONS, wire.SHAPE, wire.OPEN, wire.REGISTER, wire.STATE, wire.HASHES, wire.VERIFY, wire.HANDOVER,
           wire.GO, wire.BYE} <= set(recording.kinds), f"messages that page and code name alike: {recording.kinds}")
    victim = there.receive("--max-memory", MAX_MEMORY)
    with prepared() as false:
        false.send(wire.ABORT, wire.error(125, b"enough"))
    rig.wait_until("it waits again", lambda: FATE_UNKNOWN == wire.ask(victim.address))
    baseline = rig.wait_until("it is at rest", settled)
    print(f"# at rest: {baseline}")


# ---- who is no decant ----

GARBAGE = {
    "nothing": b"",
    "one byte": b"D",
    "zeros": b"\0" * 4096,
    "ones": b"\xff" * 4096,
    "HTTP": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c403031f") + b"\x11" * 200,
    "SSH": b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
    "QMP": b'{"execute":"qmp_capabilities"}\n',
    "the magic alone": struct.pack("<I", wire.MAGIC),
    "a data channel": frame_hello(b"t" * 16),
    "a long line": b"a" * 200000,
}


def garbage_of_many_kinds():
    connections = []
    for data in [*GARBAGE.values(), *(rng.randbytes(rng.randrange(1, 3000)) for _ in range(60))]:
        connected = connect(victim.address).socket
        connections.append(connected)
        with contextlib.suppress(OSError):
            connected.sendall(data)
            connected.shutdown(socket.SHUT_WR)
    for connected in connections:
        check(is_closed(connected), "garbage should be shown out")
        connected.close()
    goes_on()


def headers_that_are_wrong():
    good = hello()
    for data in [message(wire.HELLO, good, magic=wire.MAGIC + 1), message(wire.HELLO, good, flags=1), message(wire.HELLO, good, sequence=1),
                 message(0, good), message(34, good), message(65535, good), message(wire.HELLO, good[:-1]),
                 message(wire.HELLO, good + b"\0"), message(wire.HELLO, b""),
                 *(message(wire.HELLO, good, length=length) for length in (0, 119, 513, wire.PAYLOAD_MAX, wire.PAYLOAD_MAX + 1, 1 << 31,
                                                                          (1 << 32) - 1))]:
        with connect(victim.address) as connection:
            connection.socket.sendall(data)
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_WR)
            connection.refused()
    for kind in range(2, 34):
        with connect(victim.address) as connection:
            connection.send(kind, good)
            connection.refused()
    goes_on()


def hellos_that_are_wrong():
    for fields in [{"versions": (0, 1)}, {"versions": (0, 0)}, {"versions": (2, 1)}, {"versions": (2, 65535)}, {"purpose": 0},
                   {"purpose": 4}, {"purpose": wire.PUSH}, {"reserved": b"\1\0"}, {"reserved_2": b"\0\0\0\1"}, {"name": b"n" * 64},
                   {"name": b"a\nb"}, {"name": b"a\0b"}, {"name": b"\xc3\xa4"}, {"features": (1 << 64) - 1}, {"features": wire.AUTH}]:
        with connect(victim.address) as connection:
            connection.send(wire.HELLO, hello(**fields))
            check(connection.refused()[0], f"ERROR should come back after {fields}")
    goes_on()


def a_session_cut_at_every_byte():
    """Of HELLO and REGIONS each, of SHAPE many."""
    whole = message(wire.HELLO, hello())
    connections = []
    for length in range(len(whole)):
        connections.append(connect(victim.address).socket)
        connections[-1].sendall(whole[:length])
        connections[-1].close()
    whole = message(wire.REGIONS, recording.regions, 1) + message(wire.SHAPE, wire.chunk(recording.shape), 2)
    regions = 16 + len(recording.regions)
    for length in [*range(regions), *range(regions, len(whole), max(1, len(whole) // 40))]:
        with source() as false:
            false.socket.sendall(whole[:length])
    goes_on()


# ---- thousands, and slow ones ----

def asked():
    """One who is pushed out by the crowd tries again."""
    with contextlib.suppress(Closed, OSError):
        return wire.ask(victim.address) == FATE_UNKNOWN
    return False


def thousands_of_connections():
    """Opened and dropped; then opened and held, while an honest question is answered."""
    for _ in range(100):
        for connection in [connect(victim.address) for _ in range(20)]:
            connection.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    host, port = victim.address.rsplit(":", 1)
    held = []
    for _ in range(1000):
        held.append(socket.socket())
        held[-1].setblocking(False)
        with contextlib.suppress(BlockingIOError):
            held[-1].connect((host, int(port)))
    rig.wait_until("an honest question is answered", asked)
    check(Usage(victim.pid).threads < baseline.threads + 64, f"threads for strangers: {Usage(victim.pid)}")
    for connected in held:
        connected.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    rig.wait_until("they are forgotten", rests)


class Dripper(threading.Thread):
    """Sends a byte now and then, until the other end has had enough."""

    def __init__(self, connected, data):
        super().__init__()
        self.connected, self.data, self.ended = connected, data, False
        self.start()

    def run(self):
        with self.connected:
            for at in range(len(self.data)):
                with contextlib.suppress(socket.timeout):
                    try:
                        self.connected.sendall(self.data[at:at + 1])
                        self.connected.settimeout(0.5)
                        if not self.connected.recv(65536):
                            break
                    except OSError as gone:
                        if isinstance(gone, socket.timeout):
                            raise
                        break
            else:
                return
        self.ended = True


def a_byte_now_and_then():
    """To the door, to a data channel's, and in the middle of a session: each is given up in its time, and others are served."""
    with prepared() as false:
        false.open()
        drippers = [Dripper(connect(victim.address).socket, message(wire.HELLO, hello() + bytes(1000))) for _ in range(20)]
        drippers.append(Dripper(false.knock(b""), frame_hello(b"t" * 16) + bytes(1000)))
        false.send(wire.PING, struct.pack("<Q", 1))
        drippers.append(Dripper(false.socket.dup(), message(wire.FENCE, bytes(1000), false.sent)))
        goes_on()
        for dripper in drippers:
            dripper.join(rig.LONG)
            check(not dripper.is_alive() and dripper.ended, "one who sends a byte now and then should be given up")
    goes_on()


# ---- what a source says ----

def region_tables_that_are_wrong():
    region, regions = wire.region, wire.regions
    top = 1 << 52
    for table in [regions(), regions(region(), count=0), regions(region(), count=2), regions(region(), count=(1 << 32) - 1),
                  regions(*(region(b"r%d" % i, address=i << 30) for i in range(65))), regions(region(), reserved=1),
                  regions(region(length=0)), regions(region(length=PAGE + 1)), regions(region(length=(1 << 64) - PAGE)),
                  regions(region(length=1 << 63), region(b"b", length=1 << 63)), regions(region(length=top)),
                  regions(*(region(b"r%d" % i, length=1 << 58, address=0) for i in range(64))),
                  regions(*(region(b"r%d" % i, length=1 << 46, address=i << 46) for i in range(64))),
                  regions(region(address=(1 << 64) - PAGE)), regions(region(address=top)), regions(region(address=top - PAGE)),
                  regions(region(address=1)), regions(region(page_size=0)), regions(region(page_size=1)),
                  regions(region(page_size=8192)), regions(region(page_size=1 << 63)), regions(region(b"")),
                  regions(region(b"n" * 32)), regions(region(b"a\n")), regions(region(b"a\0b")),
                  regions(region(), region(address=1 << 40)), regions(region(), region(b"b", address=PAGE)), regions(region())[:-1],
                  regions(region()) + b"\0", b""]:
        with source() as false:
            refused(false, (wire.REGIONS, table))
    with source() as false:
        refused(false, (wire.REGIONS, regions(region(length=MAX_MEMORY + PAGE))), code=28)
    for table in [regions(region(b"other", length=MEMORY)), regions(region(length=MEMORY >> 1), region(b"b", MEMORY >> 1, address=1 << 40)),
                  regions(*(region(b"r%d" % i, PAGE, address=i << 30) for i in range(64)))]:
        with source() as false:  # a table as good as any, of a VM that is none of ours
            refused(false, (wire.REGIONS, table), (wire.SHAPE, wire.chunk(recording.shape)))
    goes_on()


def parts_that_do_not_fit():
    """Of SHAPE; STATE is taken by the same code, and once below."""
    chunk = wire.chunk
    for parts in [[chunk(total=(64 << 20) + 1)], [chunk(b"a", total=(1 << 32) - 1)], [chunk(b"a" * 8, total=4)],
                  [chunk(b"a", total=9), chunk(b"a", total=9, offset=2)], [chunk(b"a", total=9), chunk(b"a", total=9)],
                  [chunk(b"a", total=9), chunk(b"a", total=8, offset=1)], [chunk(b"a", total=9), chunk(total=9, offset=1)],
                  [chunk(total=9)], [chunk(b"a", total=9, offset=(1 << 32) - 1)], [chunk(b"a", length=2)], [chunk(b"a", length=0)],
                  [chunk(b"a", reserved=1)], [b""], [chunk()[:-1]], [chunk()]]:
        with source() as false:
            refused(false, (wire.REGIONS, recording.regions), *((wire.SHAPE, part) for part in parts))
    with source() as false:  # as much as there may be, and none of it a record
        refused(false, (wire.REGIONS, recording.regions),
                *((wire.SHAPE, chunk(bytes(wire.CHUNK), total=64 << 20, offset=at)) for at in range(0, 64 << 20, wire.CHUNK)))
    goes_on()


def wrong_frames(row):
    """The ways in which the frame of a record can be wrong."""
    return [row.but(checksum=0), row.but(magic=0), row.but(length=len(row.data) + 8), row.but(length=(1 << 32) - 1), row.but(version=0),
            row.but(name=b""), row.but(name=b"n" * 32), row.but(name=b"a b"), row.but(name=b"a\0b"),
            row.but(padding=b"\1" * (-len(row.data) % 8 or 8))]


def wrong_lists(rows, several):
    """The ways in which a list can be wrong whatever its records mean; @several: of each record more than one."""
    lists = [record_list([*rows, rows[0]]), record_list([*rows, Record(b"unknown", 0, 1, b"12345678")]), record_list(rows)[:-1],
             record_list(rows) + bytes(8), record_list(rows) + b"\1", record_list(rows[:-1]) + rows[-1].bytes()[:55],
             *(record_list([*rows[1:], wrong]) for wrong in wrong_frames(rows[0]))]
    for i, row in enumerate(rows):
        others = rows[:i] + rows[i + 1:]
        wrong = [others, [*others, row.but(version=2)], [*others, row.but(data=row.data + bytes(3))],
                 [*others, row.but(data=row.data[:-1])], [*others, row.but(instance=4000000000)]]
        if row.name in OPTIONAL:
            del wrong[0]
        lists += [record_list(each) for each in (wrong if several else [wrong[i % len(wrong)], wrong[(i + 1) % len(wrong)]])]
    return lists


def shape_is_refused(data):
    with source() as false:
        false.send(wire.REGIONS, recording.regions)
        false.send_chunks(wire.SHAPE, data)
        kind, _ = false.receive()
        check(kind == wire.ERROR, f"message {kind} where a shape should be refused: {data[:400]}")


def shapes_that_are_wrong():
    rows = records(recording.shape)
    for data in wrong_lists(rows, True):
        shape_is_refused(data)
    goes_on()


def shapes_of_another_vm():
    """A VM larger than REGIONS has announced, or of other parts."""
    rows = records(recording.shape)
    vm = next(row for row in rows if row.name == b"vmm.shape")
    others = [row for row in rows if row is not vm]
    for old, new in [(str(MEMORY), str(MEMORY << 1)), (str(MEMORY), str(16 << 40)), (str(MEMORY), "-1"), (str(MEMORY), "1e99"),
                     (str(MEMORY), str(1 << 64)), ('"vcpus":1', '"vcpus":0'), ('"vcpus":1', '"vcpus":64'), ('"vcpus":1', '"vcpus":1000000000'),
                     ('"vcpus":1', '"vcpus":-1'), ('"page_size":4096', '"page_size":2097152'), ('"page_size":4096', '"page_size":0'),
                     ('"name":"demo"', '"name":"../../etc/passwd"'), ('"name":"demo"', '"name":""'),
                     ('"name":"demo"', '"name":"%s"' % ("n" * 4000)), ('"guest":"stress"', '"guest":"none"'), ("{", "[" * 400), ("}", "")]:
        text = vm.data.decode().replace(old, new, 1)
        check(text != vm.data.decode(), f"no {old} in {vm.data}")
        shape_is_refused(record_list([vm.but(data=text.encode()), *others]))
    goes_on()


def shapes_of_absurd_values():
    """Checksum and lengths are right; numbers are 0, all ones, or anything."""
    rows = records(recording.shape)
    for i, row in enumerate(rows):
        others = rows[:i] + rows[i + 1:]
        tables = [bytes(40 * entries) for entries in (0, 1, 256, 10000)] if row.name == b"kvm.cpuid" else []
        for data in [bytes(len(row.data)), b"\xff" * len(row.data), rng.randbytes(len(row.data)), *tables,
                     *(row.data[:at] + struct.pack("<I", 1000000000) + row.data[at + 4:] for at in range(0, min(len(row.data), 64), 4))]:
            with source() as false:  # some are a VM that can be made: then it is the source that gives up
                with contextlib.suppress(rig.Failure):
                    false.prepare(record_list([*others, row.but(data=data)]))
    goes_on()


def messages_out_of_order():
    """Each at each place where it is not due."""
    fence = struct.pack("<Q", 1)
    for kind, payload in [(wire.HELLO, hello()), (wire.WELCOME, wire.welcome()), (wire.SHAPE, wire.chunk()), (wire.OPEN, wire.open_()),
                          (wire.PREPARED, bytes(16)), (wire.REGISTER, wire.register([(0, 1)])), (wire.FENCE, fence),
                          (wire.PAGES, wire.pages(bytes(PAGE))), (wire.STATE, wire.chunk()), (wire.HASHES, wire.hashes([1])),
                          (wire.VERIFY, b""), (wire.HANDOVER, bytes(24)), (wire.READY, struct.pack("<IIQQ", 1, 0, 0, 0)),
                          (wire.VERDICT_ASK, b""), (wire.BYE, b""), (wire.ABORT, wire.error()), (wire.ERROR, wire.error())]:
        with source() as false:
            refused(false, (kind, payload))
        if kind != wire.SHAPE:
            with source() as false:
                refused(false, (wire.REGIONS, recording.regions), (kind, payload))
    after = [(wire.HELLO, hello()), (wire.REGIONS, recording.regions), (wire.SHAPE, wire.chunk()), (wire.PREPARED, bytes(16)),
             (wire.OPENED, wire.opened()), (wire.GRANT, wire.grant()), (wire.BARRIER_ACK, bytes(16)), (wire.FENCED, fence),
             (wire.FENCE, fence), (wire.VERIFIED, bytes(24)), (wire.HANDOVER, bytes(24)), (wire.STATUS, bytes(8)),
             (wire.VERDICT_ASK, b""), (wire.BYE, b""), (wire.LOST, struct.pack("<QII", 1, 5, 0)), (wire.PROOF, bytes(64)),
             (wire.CHALLENGE, bytes(32)), (wire.PROVED, bytes(32)), (wire.MESSAGE, struct.pack("<II", 1, 0) + b"m")]
    for kind, payload in after:
        with prepared() as false:
            refused(false, (kind, payload))
    for ahead in [(1,), (-1,), (0, 0), (1 << 31,)]:  # of the number that is due
        with prepared() as false:
            numbers = [(false.sent + each) % (1 << 32) for each in ahead]
            refused(false, *((wire.PING, bytes(8), {"sequence": number}) for number in numbers))
    goes_on()


def requests_that_are_absurd():
    """Once the VM is made: channels, granules, pages, hashes."""
    last = MEMORY // GRANULE
    top = (1 << 64) - PAGE
    page = bytes(PAGE)
    absurd = [(wire.OPEN, wire.open_(**fields)) for fields in [
        {"channels": 0}, {"channels": 17}, {"channels": (1 << 32) - 1}, {"epoch": 0}, {"epoch": 2}, {"epoch": (1 << 64) - 1},
        {"rails": (0,)}, {"rails": (0, 0)}, {"count": 3}, {"fabric": b"rdma"}, {"fabric": b"rdma", "rails": (7,)}, {"fabric": b""},
        {"fabric": b"loop"}, {"fabric": b"t" * 16}, {"fabric": b"tcp\n"}]]
    absurd += [(wire.PAGES, payload) for payload in [
        wire.pages(page, 1), wire.pages(page, (1 << 32) - 1), wire.pages(page, offset=MEMORY), wire.pages(page, offset=top),
        wire.pages(page, offset=1), wire.pages(page * 2, offset=MEMORY - PAGE), wire.pages(page[1:]), wire.pages(b""),
        wire.pages(page, length=2 * PAGE), wire.pages(page, length=(1 << 32) - PAGE), wire.pages(bytes(wire.CHUNK + PAGE))]]
    absurd += [(wire.HASHES, payload) for payload in [
        wire.hashes([1], 1), wire.hashes([1], first=MEMORY // PAGE), wire.hashes([1], first=(1 << 64) - 1), wire.hashes([]),
        wire.hashes([1], count=65537), wire.hashes([1, 2], first=MEMORY // PAGE - 1), wire.hashes([1], count=(1 << 32) - 1)]]
    absurd += [(wire.VERIFY, b"\0"), (wire.HANDOVER, bytes(23)), (wire.STATE, wire.chunk(total=(64 << 20) + 1)),
               (wire.ABORT, wire.error(length=480)), (wire.PING, bytes(7)), (wire.PONG, bytes(24)[1:]), (wire.FENCE, bytes(8))]
    for kind, payload in absurd:
        with prepared() as false:
            refused(false, (kind, payload))
    for ranges, fields in [([(last, 1)], {}), ([(0, last + 1)], {}), ([(0, (1 << 32) - 1)], {}), ([((1 << 64) - 1, 2)], {}),
                           ([(1 << 43, 1)], {}), ([(0, 0)], {}), ([(0, 1)], {"region_index": 1}), ([(0, 1)], {"count": 4097}),
                           ([(0, 1)], {"reserved": 1}), ([(0, 2), (1, 1)], {}), ([], {}), ([(0, 1)] * 4096, {})]:
        with prepared() as false:
            false.open()
            refused(false, (wire.REGISTER, wire.register(ranges, **fields)))
    goes_on()


def what_is_ignored_or_too_early():
    """REGISTER of an epoch that is none, GO before READY, ABORT of nothing: nothing happens, and the session goes on."""
    with prepared() as false:
        false.send(wire.GO)
        false.send(wire.GO, b"payload")
        false.send(wire.REGISTER, wire.register([(0, 1)], epoch=7))
        false.send(wire.PONG, struct.pack("<QQQ", 1, 2, 3))
        false.open(2)
        false.granted([(0, 3)])
        refused(false, (wire.PAGES, wire.pages(bytes(PAGE), offset=2 * GRANULE)))
    with prepared() as false:
        false.open()
        false.granted([(3, 1)])
        refused(false, (wire.OPEN, wire.open_(2)))
    with prepared() as false:
        false.open()
        refused(false, (wire.FENCE, struct.pack("<Q", 2)))
    ident = os.urandom(16)
    source(ident=ident).close()
    rig.wait_until("the tombstone", lambda: wire.ask(victim.address, ident) == wire.FATE_NEVER)
    with Source(victim.address, recording) as false:
        false.send(wire.HELLO, hello(ident=ident))
        check(false.refused()[0] == 17, "an id that has a fate here already")
    goes_on()


# ---- the data channels ----

def strangers_at_the_channels(false):
    """None of them is let in."""
    token = false.tokens[0][:16]
    for data in [b"", b"\0", rng.randbytes(48), frame_hello(bytes(16)), frame_hello(token, epoch=false.epoch + 1), frame_hello(token, channel=1),
                 frame_hello(token, channel=65535), frame_hello(token, version=2), frame_hello(token, reserved=1),
                 frame_hello(false.tokens[0][16:]), frame_hello(token)[:47], frame(wire.F_BARRIER, 1), frame(wire.F_HELLO, 1 << 40),
                 message(wire.HELLO, hello())]:
        stranger = false.knock(data)
        stranger.settimeout(rig.LONG)
        with contextlib.suppress(OSError):
            stranger.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            answer = stranger.recv(64)
            check(answer[4:6] != struct.pack("<H", wire.F_OK), f"let in after {data}")
        stranger.close()


def channels_from_strangers():
    with prepared() as false:
        false.open()
        strangers_at_the_channels(false)
        honest = false.channel()
        with contextlib.suppress(OSError):
            second = false.knock(frame_hello(false.tokens[0][:16]))
            check(is_closed(second), "a second connection for one channel")
        false.granted()
        honest.sendall(frame_writes([run(0)], b"\x5a" * PAGE) + frame(wire.F_BARRIER, 1))
        check(false.expect(wire.BARRIER_ACK) == struct.pack("<QQ", 1, 1), "the honest channel works on")
        honest.close()
    goes_on()


def channels_that_break_the_rules():
    """Each costs its epoch and no more: the next one is opened in the same session."""
    data = b"\xa5" * PAGE
    half = frame_writes([run(0)], data)
    attacks = [rng.randbytes(4096), frame(0), frame(9), frame(wire.F_HELLO, 32), frame(wire.F_OK), frame(wire.F_CREDIT, 1),
               frame(wire.F_BARRIER, 1, count=1), frame(wire.F_BARRIER, 1, magic=1), frame(wire.F_BYE, 1),
               frame(wire.F_MESSAGE, 1 << 20),
               frame_writes([run(2 * GRANULE)], data), frame_writes([run(MEMORY)], data), frame_writes([run((1 << 64) - PAGE)], data),
               frame_writes([run(GRANULE - PAGE, 2 * PAGE)], data * 2), frame_writes([run(1)], data), frame_writes([run(0, PAGE - 1)], data),
               frame_writes([run(0, region_index=1)], data), frame_writes([run(0, region_index=(1 << 32) - 1)], data),
               frame_writes([run(0, 0)], data), frame_writes([run(0, (1 << 32) - PAGE)], data), frame_writes([run(0)], data * 2),
               frame_writes([run(0)] * 2, data), frame_writes([], data), frame_writes([run(0)], data, count=257),
               frame_writes([run(0)], value=(2 << 20) + PAGE), frame_writes([run(0)], value=(1 << 64) - 1), frame_writes([run(0)], value=0)]
    with prepared() as false:
        for attack in attacks:
            false.open()
            channel = false.channel()
            false.granted([(0, 1)])
            with contextlib.suppress(OSError):
                channel.sendall(attack)
            check(is_closed(channel), f"the channel should end after {attack[:48]}")
            channel.close()
            false.fence()
        for cut in (1, 16, 31, 32, 33, len(half) - 1):
            false.open()
            channel = false.channel()
            false.granted([(0, 1)])
            channel.sendall(half[:cut])
            false.fence()  # it does not wait for the rest
            check(is_closed(channel), "a fenced channel is closed")
            channel.close()
        false.open()
        channel = false.channel()
        false.granted([(0, 1)])
        for round_number in ((1 << 64) - 1, 1, 0):
            channel.sendall(frame(wire.F_BARRIER, round_number))
        check(false.expect(wire.BARRIER_ACK) == struct.pack("<QQ", false.epoch, (1 << 64) - 1), "a round as large as there is")
        channel.close()
        false.fence()
    for length in (0, 8):  # a migration has no messages
        with prepared() as false:
            false.open()
            channel = false.channel()
            channel.sendall(frame(wire.F_MESSAGE, length, tail=bytes(length)))
            check(false.refused()[0], "a message where nobody takes any")
            channel.close()
    goes_on()


def epochs_without_end():
    with prepared() as false:
        with contextlib.suppress(Closed):
            while true_until_refused(false):
                check(false.epoch < 1000, "epochs without end")
    goes_on()


def true_until_refused(false):
    try:
        false.open(16)
    except rig.Failure:
        return False
    false.send(wire.REGISTER, wire.register([(0, MEMORY // GRANULE)], false.epoch))
    false.fence()
    return True


# ---- the state ----

def state_is(data):
    """What comes of a state: (code, text) of the refusal; READY is taken back."""
    with prepared() as false:
        false.send_chunks(wire.STATE, data)
        false.send(wire.HANDOVER, struct.pack("<QqQ", 0, 0, 0))
        try:
            kind, payload = false.receive()
        except Closed:
            return None, "closed"
        if kind == wire.READY:
            false.send(wire.ABORT, wire.error(125, b"enough"))
            return 0, "READY"
        check(kind == wire.ERROR, f"message {kind} after HANDOVER")
        return struct.unpack_from("<I", payload)[0], payload[8:].decode()


def states_that_are_wrong():
    rows = records(recording.state)
    for i, data in enumerate(wrong_lists(rows, False)):
        code, text = state_is(data)
        check(code, f"state {i} should be refused in words, not {text}")
    check(state_is(recording.state) == (0, "READY"), "the state as it is")
    goes_on()


def states_of_absurd_values():
    """Checksums and lengths are right. The host's KVM may take some of it; what it takes is never started."""
    rows = records(recording.state)
    for i, row in enumerate(rows):
        others = rows[:i] + rows[i + 1:]
        data = [b"\xff" * len(row.data), rng.randbytes(len(row.data)), bytes(len(row.data))]
        state_is(record_list([*others, row.but(data=data[i % 3])]))
    goes_on()


def a_lease_that_is_left_to_end():
    """GO after it, on a connection that still stands, starts nothing."""
    ident = os.urandom(16)
    with source(ident=ident) as false:
        false.prepare()
        false.send_chunks(wire.STATE, recording.state)
        false.send(wire.HANDOVER, struct.pack("<QqQ", 0, 0, 0))
        lease_ms = struct.unpack_from("<I", false.expect(wire.READY))[0]
        check(1 <= lease_ms <= 60000, f"a lease of {lease_ms} ms")
        check(wire.ask(victim.address, ident) == wire.FATE_PENDING, "a lease that runs")
        with contextlib.suppress(Closed):
            false.expect(wire.ERROR)
        check(wire.ask(victim.address, ident) == wire.FATE_NEVER, "the tombstone comes first")
        with contextlib.suppress(Closed):
            false.send(wire.GO)
        false.refused()
    check(wire.ask(victim.address, ident) == wire.FATE_NEVER, "a tombstone is for ever")
    goes_on()


# ---- after all that ----

def nothing_is_left():
    rig.wait_until("threads and descriptors are what they were", rests)
    now = Usage(victim.pid)
    print(f"# after it: {now}")
    if not rig.sanitized():
        check(now.resident <= baseline.resident + RESTING_BYTES, f"memory: {now}, {baseline} at first")
        check(now.most <= baseline.resident + MAX_MEMORY + PROTOCOL_BYTES, f"memory: {now}")
        check(now.mapped <= baseline.mapped + MAX_MEMORY + PROTOCOL_BYTES + ARENA_BYTES, f"address space: {now.mapped >> 20} MiB")
    lines = victim.err().count("\n") + victim.out().count("\n")
    check(lines < 2000, f"{lines} lines in the log")


def an_honest_vm_moves_in():
    here.run("honest")
    here.decant("migrate", "honest", victim.address, "--fabric", "tcp", "--verify").succeeded()
    victim.wait_for("honest: running")
    there.is_untouched("honest")
    there.stop("honest", victim)
    print("# " + victim.done().err.replace("\n", "\n# ")[-2000:])


def keep():
    return victim.popen if victim else None


rig.skip_without_kvm()
EVERYTHING = [
    begin,
    garbage_of_many_kinds,
    headers_that_are_wrong,
    hellos_that_are_wrong,
    a_session_cut_at_every_byte,
    thousands_of_connections,
    a_byte_now_and_then,
    region_tables_that_are_wrong,
    parts_that_do_not_fit,
    shapes_that_are_wrong,
    shapes_of_another_vm,
    shapes_of_absurd_values,
    messages_out_of_order,
    requests_that_are_absurd,
    what_is_ignored_or_too_early,
    channels_from_strangers,
    channels_that_break_the_rules,
    epochs_without_end,
    states_that_are_wrong,
    states_of_absurd_values,
    a_lease_that_is_left_to_end,
    nothing_is_left,
    an_honest_vm_moves_in,
]
rig.main(EVERYTHING, keep=keep)

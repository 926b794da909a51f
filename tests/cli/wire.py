# SPDX-License-Identifier: BSD-2-Clause
"""wire.py -- the protocol as docs/protocol.md has it, for tests that speak it themselves, rightly or not

Written after the page and not after the code, so that a test that fails says that one of the two is wrong. Any field of any
message can be given a wrong value; nothing is checked on the way out.
"""
import contextlib
import ctypes
import itertools
import os
import socket
import struct
import threading
import time

import rig

MAGIC = 0x544E4344
PAYLOAD_MAX = (1 << 20) + 4096
CHUNK = 1 << 20
PAGE, GRANULE = 4096, 2 << 20

(HELLO, WELCOME, ERROR, REGIONS, SHAPE, PREPARED, OPEN, OPENED, REGISTER, GRANT, BARRIER_ACK, FENCE, FENCED, PAGES, STATE, HASHES,
 VERIFY, VERIFIED, HANDOVER, READY, GO, RUNNING, STATUS, PING, PONG, ABORT, VERDICT_ASK, VERDICT, BYE, LOST, CHALLENGE, PROOF,
 PROVED, MESSAGE) = range(1, 35)
MIGRATE, PUSH, QUERY = 1, 2, 3
TCP, LOOP, RDMA, AUTH = 1, 2, 4, 8
FATE_UNKNOWN, FATE_PENDING, FATE_RUNNING, FATE_NEVER = range(4)

_xxhash = ctypes.CDLL("libxxhash.so.0")
_xxhash.XXH3_64bits.restype = ctypes.c_uint64
_xxhash.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]


def xxh3(data):
    return _xxhash.XXH3_64bits(data, len(data))


def message(kind, payload=b"", sequence=0, flags=0, magic=MAGIC, length=None):
    return struct.pack("<IHHII", magic, kind, flags, len(payload) if length is None else length, sequence) + payload


def messages(data):
    """What a recording holds: a list of (kind, payload), the heartbeat left out."""
    found = []
    while data:
        kind, length = struct.unpack_from("<4xHxxI", data)
        if kind not in (PING, PONG):
            found.append((kind, data[16:16 + length]))
        data = data[16 + length:]
    return found


# ---- payloads ----

def hello(versions=(1, 1), purpose=MIGRATE, features=TCP, ident=None, name=b"demo", reserved=b"\0\0", reserved_2=b"\0" * 4):
    return struct.pack("<HHH2sQ16s16sI4s64s", *versions, purpose, reserved, features, ident or os.urandom(16), b"b" * 16,
                       os.getpid(), reserved_2, name)


def welcome(version=1, features=TCP, lease_ms=5000, rails=0, max_memory=1 << 40, reserved=b"\0\0", tail=b""):
    return struct.pack("<H2sIQ16sIIQ", version, reserved, os.getpid(), features, b"d" * 16, lease_ms, rails, max_memory) + tail


def rail(device=b"mlx5_0", family=4, port=1, flags=0, node=65535, speed=100000, address=b"\x7f\0\0\1"):
    return struct.pack("<32sHHHHI4x16s", device, family, port, flags, node, speed, address)


def error(code=71, text=b"no", length=None):
    return struct.pack("<II", code, len(text) if length is None else length) + text


def region(name=b"ram", length=32 << 20, page_size=PAGE, address=0):
    return struct.pack("<32sQQQ", name, length, page_size, address)


def regions(*rows, count=None, reserved=0):
    return struct.pack("<II", len(rows) if count is None else count, reserved) + b"".join(rows)


def chunk(data=b"", total=None, offset=0, length=None, reserved=0):
    return struct.pack("<IIII", len(data) if total is None else total, offset, len(data) if length is None else length,
                       reserved) + data


def open_(epoch=1, channels=1, fabric=b"tcp", rails=(), count=None):
    return struct.pack(f"<QII16s{len(rails)}I", epoch, channels, len(rails) if count is None else count, fabric, *rails)


def opened(epoch=1, channels=1, port=1, tokens=None, address=None, address_length=None):
    address = struct.pack("<BBH", 1, 0, port) if address is None else address
    tokens = [bytes([i]) * 32 for i in range(channels)] if tokens is None else tokens
    return (struct.pack("<QIHH", epoch, channels, len(address) if address_length is None else address_length, len(tokens))
            + b"".join(tokens) + address)


def register(ranges, epoch=1, region_index=0, count=None, reserved=0):
    return (struct.pack("<QII", epoch, region_index, len(ranges) if count is None else count)
            + b"".join(struct.pack("<QII", first, granules, reserved) for first, granules in ranges))


def grant(epoch=1, region_index=0, first=0, keys=(0,), count=None):
    return struct.pack(f"<QIIQ{len(keys)}Q", epoch, region_index, len(keys) if count is None else count, first, *keys)


def pages(data, region_index=0, offset=0, length=None):
    return struct.pack("<IIQ", region_index, len(data) if length is None else length, offset) + data


def hashes(values, region_index=0, first=0, count=None):
    return struct.pack(f"<IIQ{len(values)}Q", region_index, len(values) if count is None else count, first, *values)


def verdict(status=1, text=b"", reserved=0):
    return struct.pack("<IIQQ160s", status, reserved, 1, 1, text)


# ---- state records ----

class Record:
    """One record, any part of which may be made wrong."""

    def __init__(self, name, instance, version, data):
        self.name, self.instance, self.version, self.data = name, instance, version, data
        self.magic, self.length, self.checksum, self.padding = 0x54534344, None, None, None

    def but(self, **wrong):
        copy = Record(self.name, self.instance, self.version, self.data)
        copy.__dict__.update(self.__dict__)
        copy.__dict__.update(wrong)
        return copy

    def bytes(self):
        padding = b"\0" * (-len(self.data) % 8) if self.padding is None else self.padding
        length = len(self.data) if self.length is None else self.length
        rest = struct.pack("<IIII32s", self.magic, length, self.instance, self.version, self.name) + self.data + padding
        return struct.pack("<Q", xxh3(rest) if self.checksum is None else self.checksum) + rest


def records(data):
    found = []
    while data:
        length, instance, version, name = struct.unpack_from("<12xIII32s", data)
        found.append(Record(name.rstrip(b"\0"), instance, version, data[56:56 + length]))
        data = data[56 + length + -length % 8:]
    return found


def record_list(rows):
    return b"".join(row.bytes() for row in rows)


# ---- connections ----

class Closed(rig.Failure):
    """The other end has gone."""


class Connection:
    """One control connection. PING is answered and PONG dropped wherever something is awaited."""

    def __init__(self, connected):
        self.socket = connected
        self.socket.settimeout(rig.LONG)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = self.received = 0
        self.sending = threading.Lock()
        self.heard = b""
        self.pong = True

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, kind, payload=b"", **wrong):
        try:
            with self.sending:
                wrong.setdefault("sequence", self.sent)
                self.sent += 1
                self.socket.sendall(message(kind, payload, **wrong))
        except (BrokenPipeError, ConnectionResetError) as gone:
            raise Closed(f"sending message {kind}: {gone}") from None

    def send_chunks(self, kind, data):
        for at in range(0, max(len(data), 1), CHUNK):
            self.send(kind, chunk(data[at:at + CHUNK], total=len(data), offset=at))

    def take(self, length, deadline):
        while len(self.heard) < length:
            try:
                self.socket.settimeout(max(deadline - time.monotonic(), 0.001))
                more = self.socket.recv(1 << 20)
            except ConnectionResetError:
                more = b""
            except socket.timeout:
                raise rig.Failure(f"no word in {rig.LONG} s") from None
            if not more:
                raise Closed("the connection is closed")
            self.heard += more
        taken, self.heard = self.heard[:length], self.heard[length:]
        return taken

    def receive(self):
        """The next message; the heartbeat alone does not count as life."""
        deadline = time.monotonic() + rig.LONG
        while True:
            magic, kind, flags, length, sequence = struct.unpack("<IHHII", self.take(16, deadline))
            rig.check((magic, flags, sequence) == (MAGIC, 0, self.received) and length <= PAYLOAD_MAX,
                      f"what comes back is not the protocol: {magic:#x} {kind} {flags} {length} {sequence}")
            self.received += 1
            payload = self.take(length, deadline)
            if kind == PING and self.pong:
                now = time.monotonic_ns()
                with contextlib.suppress(Closed):
                    self.send(PONG, payload + struct.pack("<QQ", now, now))
            elif kind not in (PING, PONG):
                return kind, payload

    def expect(self, kind):
        found, payload = self.receive()
        rig.check(found == kind, f"message {found} where {kind} was due: {payload[8:] if found == ERROR else ''}")
        return payload

    def refused(self):
        """Waits until this connection is told to end, or has been; what else was on its way is of no interest."""
        with contextlib.suppress(Closed):
            while True:
                kind, payload = self.receive()
                if kind == ERROR:
                    code, length = struct.unpack_from("<II", payload)
                    text = payload[8:]
                    rig.check(1 <= code <= 4095 and length == len(text) and all(0x20 <= byte <= 0x7e for byte in text),
                              f"not an ERROR by the protocol: {payload}")
                    return code, text.decode()
        return None, ""


def connect(address):
    host, port = address.rsplit(":", 1)
    return Connection(socket.create_connection((host, int(port)), rig.LONG))


# ---- TCP data channels ----

FRAME_MAGIC = 0x31464344
F_HELLO, F_OK, F_REFUSED, F_WRITES, F_BARRIER, F_MESSAGE, F_CREDIT, F_BYE = range(1, 9)


def frame(kind, value=0, count=0, tail=b"", magic=FRAME_MAGIC):
    return struct.pack("<IHHQ", magic, kind, count, value) + tail


def frame_hello(token, epoch=1, channel=0, version=1, reserved=0):
    return frame(F_HELLO, 32, tail=struct.pack("<HHIQ16s", version, channel, reserved, epoch, token))


def run(offset, length=PAGE, region_index=0):
    return struct.pack("<IIQ", region_index, length, offset)


def frame_writes(runs, data=b"", value=None, count=None):
    return frame(F_WRITES, len(data) if value is None else value, len(runs) if count is None else count, b"".join(runs) + data)


def take_exactly(connected, length):
    data = b""
    while len(data) < length:
        more = connected.recv(min(length - len(data), 1 << 20))
        if not more:
            raise Closed("the data channel is closed")
        data += more
    return data


def is_closed(connected, seconds=rig.LONG):
    """Reads until the other end closes."""
    connected.settimeout(seconds)
    try:
        while connected.recv(65536):
            pass
    except ConnectionError:
        pass
    except socket.timeout:
        return False
    return True


# ---- a real session, to be said again ----

class Recording:
    """What a real source said to a real destination, taken from between the two."""

    def __init__(self, to_destination):
        said = messages(to_destination)
        self.kinds = [kind for kind, _ in said]
        self.regions = next(payload for kind, payload in said if kind == REGIONS)
        self.shape = self._whole(said, SHAPE)
        self.state = self._whole(said, STATE)

    @staticmethod
    def _whole(said, which):
        return b"".join(payload[16:] for kind, payload in said if kind == which)


class Tap:
    """Carries control connections to @address, and keeps what is said to it."""

    def __init__(self, address):
        self.target = address
        self.server = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.server.getsockname()[1]}"
        self.kept = b""
        self.thread = threading.Thread(target=self._carry)
        self.thread.start()

    def _carry(self):
        with contextlib.suppress(OSError):
            near, _ = self.server.accept()
            host, port = self.target.rsplit(":", 1)
            with near, socket.create_connection((host, int(port)), rig.LONG) as far:
                back = threading.Thread(target=self._pump, args=(far, near, False))
                back.start()
                self._pump(near, far, True)
                back.join()

    def _pump(self, source, target, keep):
        with contextlib.suppress(OSError):
            while True:
                data = source.recv(65536)
                if not data:
                    break
                if keep:
                    self.kept += data
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def recording(self):
        self.server.close()
        self.thread.join()
        return Recording(self.kept)


_names = itertools.count()


class Source(Connection):
    """The source of a session, as far as it is led."""

    def __init__(self, address, recording, name=None):
        super().__init__(connect(address).socket)
        self.address, self.recording = address, recording
        self.name = name or f"hostile-{next(_names)}".encode()
        self.epoch = 0
        self.tokens, self.port = [], 0

    def hello(self, **fields):
        self.send(HELLO, hello(**{"name": self.name, **fields}))
        return self.expect(WELCOME)

    def prepare(self, shape=None):
        self.send(REGIONS, self.recording.regions)
        self.send_chunks(SHAPE, self.recording.shape if shape is None else shape)
        return self.expect(PREPARED)

    def open(self, channels=1):
        self.epoch += 1
        self.send(OPEN, open_(self.epoch, channels))
        answer = self.expect(OPENED)
        epoch, count, length, tokens = struct.unpack_from("<QIHH", answer)
        rig.check((epoch, count, length, tokens) == (self.epoch, channels, 4, channels), f"OPENED: {answer}")
        self.tokens = [answer[16 + 32 * i:48 + 32 * i] for i in range(tokens)]
        self.port = struct.unpack_from("<H", answer, 16 + 32 * tokens + 2)[0]

    def knock(self, data):
        """A connection to where the data channels are expected, and its first bytes."""
        connected = socket.create_connection((self.address.rsplit(":", 1)[0], self.port), rig.LONG)
        connected.sendall(data)
        return connected

    def channel(self, index=0):
        connected = self.knock(frame_hello(self.tokens[index][:16], self.epoch, index))
        answer = take_exactly(connected, 32)
        rig.check(struct.unpack_from("<IH", answer) == (FRAME_MAGIC, F_OK), f"the channel is not let in: {answer}")
        rig.check(answer[16:] == self.tokens[index][16:], "the channel's answer is not OPENED's")
        return connected

    def fence(self):
        self.send(FENCE, struct.pack("<Q", self.epoch))
        while True:
            kind, payload = self.receive()
            if kind == FENCED:
                break
            rig.check(kind in (LOST, GRANT, BARRIER_ACK), f"message {kind} where FENCED was due: {payload}")

    def granted(self, ranges=((0, 1),)):
        self.send(REGISTER, register(ranges, self.epoch))
        for _ in range(sum(count for _, count in ranges)):
            self.expect(GRANT)


def ask(address, ident=b"\1" * 16):
    """QUERY; the fate."""
    with connect(address) as connection:
        connection.send(HELLO, hello(purpose=QUERY, ident=ident))
        connection.expect(WELCOME)
        return struct.unpack("<II", connection.expect(STATUS))[0]

# SPDX-License-Identifier: BSD-2-Clause
"""fire_net.py -- two hosts on a network that can be cut, and a relay between them that knows the protocol's frames

    source's host -- 10.0.1.0/24 -- relay -- 10.0.2.0/24 -- destination's host

Three network namespaces without names, held by descriptors of this process: whatever becomes of it, they go with it. One direction is
cut by a wrong hardware address in the sender's neighbour table: the frames leave, and nobody takes them in. That needs nothing of
the kernel but a bridgeless veth.
"""
import contextlib
import ctypes
import os
import socket
import struct
import subprocess
import threading
import time

from rig import Failure, check

CLONE_NEWNET, CLONE_NEWNS = 0x40000000, 0x00020000
NOWHERE = "02:00:00:00:00:01"
SOURCE, SOURCE_SIDE = "10.0.1.1", "10.0.1.9"
DESTINATION, DESTINATION_SIDE = "10.0.2.2", "10.0.2.9"

HEADER = struct.Struct("<IHHII")
MAGIC = 0x544E4344
HELLO, WELCOME, REGIONS, SHAPE, PREPARED, OPEN, OPENED, REGISTER, GRANT, BARRIER_ACK = 1, 2, 4, 5, 6, 7, 8, 9, 10, 11
STATE, HANDOVER, READY, GO, RUNNING, VERDICT_ASK, VERDICT, BYE = 15, 19, 20, 21, 22, 27, 28, 29
OUT, BACK = "out", "back"

_libc = ctypes.CDLL(None, use_errno=True)


def keep_mounts_private():
    """What this process mounts goes with it; while it has one thread. In a chroot, which is no mount, the unmounting has to do."""
    check(_libc.unshare(CLONE_NEWNS) == 0, f"no mount namespace: {os.strerror(ctypes.get_errno())}")
    subprocess.run(["mount", "--make-rprivate", "/"], stderr=subprocess.DEVNULL, check=False)


class Namespace:
    """A network of its own, as long as this process keeps it."""

    def __init__(self):
        maker = threading.Thread(target=self._make)
        maker.start()
        maker.join()
        self.path = f"/proc/{os.getpid()}/fd/{self.descriptor}"
        self.prefix = ("nsenter", f"--net={self.path}")

    def _make(self):
        check(_libc.unshare(CLONE_NEWNET) == 0, f"no network namespace: {os.strerror(ctypes.get_errno())}")
        self.descriptor = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    def ip(self, *lines):
        done = subprocess.run([*self.prefix, "ip", "-force", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True,
                              check=False)
        if done.returncode:
            raise Failure(f"ip {'; '.join(lines)}: {done.stderr.strip()}")

    def enter(self):
        """For the calling thread, and those that it starts."""
        check(_libc.setns(self.descriptor, CLONE_NEWNET) == 0, "setns")

    def close(self):
        os.close(self.descriptor)


class Network:
    """The three of them, joined."""

    def __init__(self):
        self.source, self.relay, self.destination = Namespace(), Namespace(), Namespace()
        self.lock = threading.Lock()
        for host, name, address, side in ((self.source, "near", SOURCE, SOURCE_SIDE),
                                          (self.destination, "far", DESTINATION, DESTINATION_SIDE)):
            host.ip(f"link add eth0 type veth peer name {name} netns {self.relay.path}", f"address add {address}/24 dev eth0",
                    "link set dev eth0 up", "link set dev lo up")
            self.relay.ip(f"address add {side}/24 dev {name}", f"link set dev {name} up")

    def cut(self):
        with self.lock:
            self.relay.ip("link set dev near down", "link set dev far down")

    def cut_one_way(self, way):
        """Nothing gets through that way any more, on either stretch; all does the other way."""
        with self.lock:
            if way == OUT:
                self._lose(self.source, SOURCE_SIDE, "eth0")
                self._lose(self.relay, DESTINATION, "far")
            else:
                self._lose(self.destination, DESTINATION_SIDE, "eth0")
                self._lose(self.relay, SOURCE, "near")

    @staticmethod
    def _lose(host, address, device):
        host.ip(f"neighbour replace {address} lladdr {NOWHERE} dev {device} nud permanent")

    def heal(self):
        with self.lock:
            self.relay.ip("link set dev near up", "link set dev far up")
            for host, address, device in ((self.source, SOURCE_SIDE, "eth0"), (self.relay, DESTINATION, "far"),
                                          (self.destination, DESTINATION_SIDE, "eth0"), (self.relay, SOURCE, "near")):
                with contextlib.suppress(Failure): # there is none unless it was lost
                    host.ip(f"neighbour delete {address} dev {device}")

    def close(self):
        for namespace in (self.source, self.relay, self.destination):
            namespace.close()


class Trap:
    """Where something is to happen: at the first frame of a kind, or when so much of the guest's data has come by."""

    def __init__(self, action, frame=None, after=None, data=None, channel=False, late=False):
        self.action, self.frame, self.after, self.data, self.channel = action, frame, after, data, channel
        self.late = late  # act when the frame has been forwarded, not before
        self.fired = threading.Event()

    def matches(self, frame, before):
        if self.after is None:
            return frame == self.frame
        # what must have come before it may have overtaken it: then all that may follow is HANDOVER
        return frame == self.frame and self.after in before or frame == HANDOVER


class Pair:
    """One connection through the relay."""

    def __init__(self, near, far):
        self.near, self.far = near, far
        self.lock = threading.Lock()
        self.directions = 2
        self.reset = False

    def end_direction(self, sink, error):
        """What ended one side so ends the other: a FIN by a FIN, a reset by a reset."""
        with self.lock:
            self.directions -= 1
            if error or self.reset:
                self.reset = True
                for end in (self.near, self.far):
                    with contextlib.suppress(OSError):
                        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                        end.shutdown(socket.SHUT_RD)
            else:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
            if self.directions == 0:
                self.near.close()
                self.far.close()

    def abandon(self):
        with self.lock:
            for end in (self.near, self.far):
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)


class Relay:
    """Forwards what comes to it to @port of the destination, and springs its trap. Its threads begin with @enter."""

    def __init__(self, port, enter, side=SOURCE_SIDE, destination=DESTINATION):
        self.port, self.enter, self.side, self.destination = port, enter, side, destination
        self.trap, self.delay = None, 0
        self.lock = threading.Lock()
        self.seen, self.said, self.data = [], bytearray(), 0
        self.data_port, self.hello_of_channel = None, b""
        self.pairs, self.servers, self.threads, self.problems = [], [], [], []
        self.closed = False
        ready = threading.Event()
        self._start(self._begin, ready)
        check(ready.wait(30), "the relay has not begun")
        self.address = f"{side}:{self.servers[0].getsockname()[1]}"

    def arm(self, trap):
        self.seen, self.said, self.data = [], bytearray(), 0
        self.trap = trap

    def _start(self, body, *args):
        thread = threading.Thread(target=self._guarded, args=(body, *args), daemon=True)
        self.threads.append(thread)
        thread.start()

    def _guarded(self, body, *args):
        try:
            body(*args)
        except Exception as problem:  # pylint: disable=broad-except
            if not self.closed:
                self.problems.append(f"relay: {type(problem).__name__}: {problem}")

    def _begin(self, ready):
        self.enter()
        server = self._listen(0)
        ready.set()
        self._accept(server, self.port)

    def _listen(self, port):
        server = socket.create_server((self.side, port), backlog=64)
        self.servers.append(server)
        return server

    def _accept(self, server, port):
        with contextlib.suppress(OSError):
            while True:
                near, _ = server.accept()
                self._start(self._connect, near, port)

    def _connect(self, near, port):
        try:
            far = socket.create_connection((self.destination, port), 60)
        except OSError:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            near.close()
            return
        far.settimeout(None)
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = Pair(near, far)
        self.pairs.append(pair)
        forward = self._forward_frames if port == self.port else self._forward_data
        self._start(self._direction, forward, pair, near, far, OUT)
        self._start(self._direction, forward, pair, far, near, BACK)

    @staticmethod
    def _direction(forward, pair, source, sink, way):
        error = True
        try:
            forward(source, sink, way)
            error = False
        except OSError:
            pass
        finally:
            pair.end_direction(sink, error)

    def _forward_frames(self, source, sink, way):
        while header := source.recv(HEADER.size, socket.MSG_WAITALL):
            if len(header) < HEADER.size:
                sink.sendall(header)
                return
            magic, kind, _, length, _ = HEADER.unpack(header)
            check(magic == MAGIC, f"not a frame of the control connection: {header!r}")
            frame = header + (source.recv(length, socket.MSG_WAITALL) if length else b"")
            self._note(kind, frame, way)
            trap = self._spring(lambda t, k=kind: t.matches(k, self.seen[:-1]))
            if trap and not trap.late:
                trap.action()
            time.sleep(self.delay)
            sink.sendall(frame)
            if trap and trap.late:
                trap.action()

    def _note(self, kind, frame, way):
        self.seen.append(kind)
        if way == OUT:
            self.said += frame
        if kind == OPENED:
            port, = struct.unpack_from("<H", frame, len(frame) - 2) # the address of the fabric "tcp" ends with it
            self.data_port = port
            self._start(self._accept, self._listen(port), port)

    def _spring(self, matches):
        with self.lock:
            trap = self.trap
            if trap is None or trap.fired.is_set() or not matches(trap):
                return None
            trap.fired.set()
            return trap

    def _forward_data(self, source, sink, way):
        while data := source.recv(1 << 17):
            with self.lock:
                self.data += len(data) if way == OUT else 0
                if way == OUT and not self.hello_of_channel:
                    self.hello_of_channel = data
            trap = self._spring(lambda t, w=way: w == OUT and (t.channel or t.data is not None and self.data >= t.data))
            if trap:
                trap.action()
            time.sleep(self.delay)
            sink.sendall(data)

    def replay(self):
        """All that the source has said so far, once more on connections of their own; what came back at once."""
        answers = []

        def body():
            self.enter()
            for port, said in ((self.port, bytes(self.said)), (self.data_port, self.hello_of_channel)):
                if not said:
                    continue
                # no longer than half the peer timeout in all: nothing gets through meanwhile
                with contextlib.suppress(OSError), socket.create_connection((self.destination, port), 1) as connection:
                    connection.sendall(said)
                    answers.append(connection.recv(4096))
        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        return answers

    def close(self):
        self.closed = True
        for server in self.servers:
            with contextlib.suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            server.close()
        for pair in self.pairs:
            pair.abandon()
        for thread in self.threads:
            thread.join(70)
        check(not any(thread.is_alive() for thread in self.threads), "a thread of the relay goes on")
        check(not self.problems, "; ".join(self.problems))

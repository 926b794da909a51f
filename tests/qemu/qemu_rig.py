# SPDX-License-Identifier: BSD-2-Clause
"""qemu_rig.py -- two QEMUs and decant's two sidecars between them, and what must hold of a guest that has moved

    source QEMU -- UNIX socket -- decant proxy source == TCP == decant proxy dest -- UNIX socket -- destination QEMU

A guest boots once in a program; each source begins with the saved state of that, since firmware takes its time where KVM emulates.
"""
import contextlib
import threading
import time

import qemu
from qemu import SLOW, Guest, Qemu
from rig import DONE, Host, check, path, wait_until

UNLIMITED = 1 << 40  # bytes per second
STRICT = ("--confine", "strict")  # a system call that the filter's lists do not have would end the process

_lock = threading.Lock()
_booted = {}


def booted(program, guest):
    """A file with the state of a guest that works."""
    key = (program, guest.memory, guest.vcpus, guest.stress, guest.nodes, guest.machine, guest.devices)
    with _lock:
        if key not in _booted:
            _booted[key] = path(f"booted{len(_booted)}")
            one = Qemu("boot", program, guest)
            try:
                one.await_work()
                one.qmp.call("migrate-set-parameters", max_bandwidth=UNLIMITED)
                one.qmp.call("migrate", uri=f"exec:cat >{_booted[key]}")
                said = one.await_migration()
                check(said["status"] == "completed", f"the state of a guest: {said}")
            finally:
                one.end()
        return _booted[key]


def source_qemu(program, guest, more=()):
    """One whose guest works."""
    one = Qemu("src", program, guest, ["-incoming", f"exec:cat {booted(program, guest)}", *more])
    try:
        wait_until("the guest is there", lambda: one.status() == "running", SLOW)
        one.is_going()
    except Exception:
        one.end()
        raise
    return one


class Pair:
    """@listen: "defer" or "unix". A @dest_guest differs from the source's in what it is made of, or in what is to be refused."""

    def __init__(self, program=qemu.INSTALLED, guest=Guest(), dest_program=None, dest_guest=None, listen="defer", dest_more=("-S",),
                 source_more=()):
        self.stack = contextlib.ExitStack()
        try:
            self.source = source_qemu(program, guest, source_more)
            self.stack.callback(self.source.end)
            self.incoming = path(f"{self.source.name}.incoming")
            where = "defer" if listen == "defer" else f"unix:{self.incoming}"
            self.dest = Qemu("dst", dest_program or program, dest_guest or guest, [*dest_more, "-incoming", where])
            self.stack.callback(self.dest.end)
            self.deferred = listen == "defer"
            self.source.capabilities(["return-path"])
        except BaseException:
            self.close()
            raise

    @classmethod
    def onward(cls, pair, at="source"):
        """The QEMU that has the guest, and a new one to go to."""
        new = cls.__new__(cls)
        new.stack, new.source, new.deferred = contextlib.ExitStack(), getattr(pair, at), True
        new.dest = Qemu("dst", new.source.program, new.source.guest, ["-S", "-incoming", "defer"])
        new.stack.callback(new.dest.end)
        new.incoming = path(f"{new.dest.name}.incoming")
        new.source.capabilities(["return-path"])
        return new

    def close(self):
        self.stack.close()

    def plainly(self):
        """From one to the other, nothing between."""
        if self.deferred:
            self.dest.qmp.call("migrate-incoming", uri=f"unix:{self.incoming}")
        self.source.qmp.call("migrate-set-parameters", max_bandwidth=UNLIMITED)
        self.source.qmp.call("migrate", uri=f"unix:{self.incoming}")
        return self.source.await_migration()


class Sidecars:
    """decant's two for a Pair. @source_words, @dest_words: besides what they need; @monitors: whether they are given QEMU's."""

    def __init__(self, pair, source_words=(), dest_words=(), monitors=True, host=None, prefixes=((), ()), listen="127.0.0.1:0",
                 relay=None, dest_socket=None):
        self.pair, self.host = pair, host or Host("sidecars")
        self.socket = path(f"{pair.dest.name}.migrate")
        key = [] if "--key-file" in dest_words or listen.startswith("127.") else ["--insecure"]
        self.dest = self.host.start("proxy", "dest", "--listen", listen, "--qemu-socket", dest_socket or pair.incoming, *key,
                                    *STRICT, *(["--qmp", pair.dest.decant_monitor] if monitors else []), *dest_words, prefix=prefixes[1])
        self.address = self.dest.wait_for(r"listening on (\S+:\d+)", SLOW).group(1)
        self.peer = relay(self.address) if relay else self.address
        self.source = None
        self.source_words, self.monitors, self.prefix = source_words, monitors, prefixes[0]

    def begin(self):
        """The source's, too; it listens, or has given up."""
        self.source = self.host.start("proxy", "source", "--peer", self.peer, "--qemu-socket", self.socket,
                                      *STRICT, *(["--qmp", self.pair.source.decant_monitor] if self.monitors else []), *self.source_words,
                                      prefix=self.prefix)
        wait_until("the source's sidecar", lambda: "waiting for QEMU" in self.source.out() or self.source.popen.poll() is not None, SLOW)
        return self

    def migrate(self, uri=None):
        """QEMU's own word for how it ended."""
        check(self.source.popen.poll() is None, str(self.source.done()))
        self.pair.source.qmp.call("migrate", uri=uri or f"unix:{self.socket}")
        return self.pair.source.await_migration()

    def said(self):
        return "\n".join(f"{process.done()}" for process in (self.source, self.dest) if process)


def until_held_up(one):
    """QEMU has begun to send, and cannot: what is behind its socket takes no more for a while."""
    def sent():
        return one.migration().get("ram", {}).get("transferred", 0)

    def stands():
        before = sent()
        time.sleep(0.3)
        return 0 < before == sent()
    wait_until("QEMU is held up", stands, SLOW)
    check(one.migration()["status"] == "active", f"the migration is {one.migration()}")


def stands_or_gone(one):
    """A QEMU whose loading has failed may end at any moment."""
    first = one.memory.beat()
    time.sleep(0.1)
    return one.memory.beat() in (first, None)


def has_moved(pair, said, start=True):
    """The source has given it up, the destination waits; it is started there, and finds its memory as it was."""
    check(said["status"] == "completed", f"the migration has {said['status']}: {said.get('error-desc')}")
    check(pair.source.status() == "postmigrate", f"the source is {pair.source.status()}")
    if start:
        check(pair.dest.stands_still(), "the guest was started at the destination by somebody")
        pair.dest.qmp.call("cont")
    pair.dest.is_going()
    check(pair.source.stands_still(), "the guest runs twice")
    verdict = pair.dest.verdict()
    check(verdict == "ok", verdict)


def both_done(sidecars):
    for process in (sidecars.source, sidecars.dest):
        done = process.wait(SLOW)
        check(done.status == DONE, f"{done}")

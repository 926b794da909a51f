# SPDX-License-Identifier: BSD-2-Clause
"""fire_cell.py -- one migration, one fault, and what must hold afterwards

The oracle looks from outside, at the guest's heartbeat in the memory of both processes: all the time for a guest that runs twice, at the
end for one that runs nowhere. Whichever end has the guest then, it must be able to migrate again, and the guest to say that its memory
is what it was.
"""
import contextlib
import json
import os
import signal
import struct
import threading
import time

import fire_net as net
import rig
from rig import DONE, FAILED, IN_DOUBT, Failure, Host, check, wait_until

HEARTBEAT = 0x00102000 + 48  # vCPU 0's, in struct stress_status
PATIENCE = 120  # seconds: for what takes less than ten on a quiet machine
SHORT, LONGER, LONGEST = 1, 8, 14  # below every timer; above peer timeout and lease (5 s); above both together

# name: the frame, what must have come before it, whether GO has left the source by then
ARROWS = {
    "hello": (net.HELLO, None), "welcome": (net.WELCOME, None), "regions": (net.REGIONS, None), "shape": (net.SHAPE, None),
    "prepared": (net.PREPARED, None), "open": (net.OPEN, None), "opened": (net.OPENED, None), "channel": ("channel", None),
    "register": (net.REGISTER, None), "grant": (net.GRANT, None), "pass1-1%": (0.01, None), "pass1-50%": (0.5, None),
    "pass1-99%": (0.99, None), "pass1-ack": (net.BARRIER_ACK, None), "state": (net.STATE, None),
    "last-ack": (net.BARRIER_ACK, net.STATE), "handover": (net.HANDOVER, None), "ready": (net.READY, None), "go": (net.GO, None),
    "running": (net.RUNNING, None), "verdict-ask": (net.VERDICT_ASK, None), "verdict": (net.VERDICT, None), "bye": (net.BYE, None),
}
DATA = 12 << 20  # of the guest: working set and cold data
GUEST = "stress:wss=4M,data=8M"
AFTER_GO = ("go", "running", "verdict-ask", "verdict", "bye")
AFTER_RUNNING = ("verdict-ask", "verdict", "bye")


class Eye:
    """Looks at a process from outside."""

    def __init__(self, pid):
        self.pid, self.file = pid, ""

    def beat(self):
        """Guest memory is a memfd: the heartbeat in the first one that the process has, None if it has none."""
        with contextlib.suppress(OSError):
            return self._read(self.file)
        with contextlib.suppress(OSError):
            folder = f"/proc/{self.pid}/fd"
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    beat = self._read(os.path.join(folder, name))
                    self.file = os.path.join(folder, name)
                    return beat
        return None

    @staticmethod
    def _read(file):
        if "memfd:" not in os.readlink(file):
            raise OSError
        with open(file, "rb", buffering=0) as memory:
            return struct.unpack("<Q", os.pread(memory.fileno(), 8, HEARTBEAT))[0]

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class Beats:
    """Watches the heartbeats of the source's guest and of the destination's."""

    def __init__(self, source, destination, every=0.01):
        self.eyes, self.every = (source, destination), every
        self.twice = None
        self.left = None  # the source's last beat when the destination was first seen ahead of it
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()

    def _watch(self):
        while not self.over.wait(self.every):
            # in this order: what the destination has above what the source has afterwards, it has by itself
            there, here = self.eyes[1].beat(), self.eyes[0].beat()
            if there is None: # what a dead end had, an operator may let go on here
                self.left = None
            if self.left is not None and here is not None and here > self.left:
                self.twice = f"heartbeat {self.left} when it left, {here} here and {there} there"
            if self.left is None and here is not None and there is not None and there > here:
                self.left = here

    def stop(self):
        self.over.set()
        self.thread.join()


def is_going(eye):
    """Waits until the guest in that process is seen to run."""
    first = eye.beat()
    wait_until("the guest's heartbeat", lambda: eye.beat() not in (first, None), PATIENCE)


def stands_still(eye):
    """As far as a moment can tell."""
    first = eye.beat()
    time.sleep(0.1)
    return eye.beat() == first


def alive(process):
    return not process.killed and process.popen.poll() is None


class Stage:
    """Two hosts, a VM on the one, a receiver on the other, a relay between."""

    WORDS = ("--json", "--max-downtime", "5s")
    BEAT = 0.01  # seconds between two looks at the heartbeats

    def __init__(self, receive_words=(), migrate_words=(), memory="32M", run_words=(), named=True, runtime=None):
        self.stack = contextlib.ExitStack()
        self.timers, self.problems = [], []
        self.migrate_words = [*self.WORDS, *migrate_words]
        self.named = named # the receiver, so that it answers before a VM is there
        try:
            self._set(["--memory", memory, *run_words], [*(["--name", "demo"] if named else []), *receive_words], runtime)
            self.run.wait_for("demo: running", PATIENCE)
            self.beats = Beats(self.run.eye, self.receive.eye, self.BEAT)
            self.stack.callback(self.beats.stop)
            self.idle = {process: process.eye.descriptors() for process in (self.run, self.receive)}
        except BaseException:
            self.close()
            raise

    def _set(self, run_words, receive_words, runtime):
        self.network = net.Network()
        self.stack.callback(self.network.close)
        self.here, self.there = Host("here"), Host("there", runtime)
        self.run = self._start(self.here, self.network.source.prefix, "run", "--name", "demo", "--guest", GUEST, "--verbose", *run_words)
        self.receive = self._start(self.there, self.network.destination.prefix, "receive", "--listen", f"{net.DESTINATION}:0",
                                   "--insecure", "--verbose", *receive_words)
        self.relay = net.Relay(self._port(), self.network.relay.enter)
        self.stack.callback(self.relay.close)

    def _port(self):
        return int(self.receive.wait_for(r"listening on \S+:(\d+)", PATIENCE).group(1))

    def _start(self, host, prefix, *words):
        process = host.start(*words, prefix=prefix)
        process.killed, process.eye = False, Eye(process.pid)
        self.stack.callback(self._end, process)
        return process

    @staticmethod
    def _end(process):
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait()

    def close(self):
        for timer in self.timers:
            timer.cancel()
        self.stack.close()

    def later(self, seconds, action):
        timer = threading.Timer(seconds, self._guarded, (action,))
        self.timers.append(timer)
        timer.start()

    def _guarded(self, action):
        try:
            action()
        except Exception as problem:  # pylint: disable=broad-except
            self.problems.append(rig.describe(problem))

    def is_idle(self, process):
        """It has nothing of a VM that came, or is on its way."""
        return process.eye.descriptors() <= self.idle[process]

    def kill(self, process):
        process.killed = True
        self.signal(process, signal.SIGKILL)
        process.popen.wait()

    def halt(self, process, seconds):
        self.signal(process, signal.SIGSTOP)
        self.later(seconds, lambda: self.signal(process, signal.SIGCONT))

    @staticmethod
    def signal(process, number):
        process.signal(number)

    def cut(self, seconds=None, way=None):
        if way:
            self.network.cut_one_way(way)
        else:
            self.network.cut()
        if seconds:
            self.later(seconds, self.network.heal)

    def replay(self):
        first = net.WELCOME not in self.relay.seen
        for answer in self.relay.replay():
            kind = struct.unpack_from("<H", answer, 4)[0] if len(answer) >= 6 else None
            check(first or answer[:4] != b"DCNT" or kind != net.WELCOME, "a second HELLO with the same id was welcomed")

    def migrate(self):
        return self.here.decant("migrate", "demo", self.relay.address, *self.migrate_words, seconds=3 * PATIENCE)


def act(stage, kind):
    """The fault of that name, as a function without arguments."""
    source, destination = stage.run, stage.receive
    return {
        "kill-source": lambda: stage.kill(source), "kill-destination": lambda: stage.kill(destination),
        "stop-source": lambda: stage.halt(source, SHORT), "stop-source-long": lambda: stage.halt(source, LONGER),
        "stop-destination": lambda: stage.halt(destination, SHORT),
        "stop-destination-long": lambda: stage.halt(destination, LONGER),
        "stop-destination-longest": lambda: stage.halt(destination, LONGEST),
        "cut": stage.cut, "cut-heal": lambda: stage.cut(SHORT), "cut-heal-long": lambda: stage.cut(LONGER),
        "cut-out": lambda: stage.cut(way=net.OUT), "cut-back": lambda: stage.cut(way=net.BACK),
        "delay": lambda: setattr(stage.relay, "delay", 0.05), "late": lambda: time.sleep(LONGER),
        "twice": stage.replay,
    }[kind]


KINDS = ("kill-source", "kill-destination", "stop-source", "stop-source-long", "stop-destination", "stop-destination-long",
         "stop-destination-longest", "cut", "cut-heal", "cut-heal-long", "cut-out", "cut-back", "delay", "late", "twice")


def trap_at(arrow, action, late):
    where, after = ARROWS[arrow]
    if where == "channel":
        return net.Trap(action, channel=True)
    if isinstance(where, float):
        return net.Trap(action, data=where * DATA)
    return net.Trap(action, frame=where, after=after, late=late)


def settle(stage):
    """What an operator does of a migration in doubt."""
    check("GO was sent" in stage.run.err(), f"in doubt without GO: {stage.run.err()}")
    check(stage.here.state("demo") == "in-doubt", f"it should say so: {stage.here.status('demo')}")
    check(stands_still(stage.run.eye), "the guest runs at the source, which is in doubt")
    if not alive(stage.receive):
        stage.here.decant("resume", "demo").refused(IN_DOUBT, "doubt")
        stage.here.decant("resume", "demo", "--force").succeeded()
        return

    def ask():
        done = stage.here.decant("resume", "demo")
        return done if done.status != IN_DOUBT else None
    done = wait_until("the destination settles it", ask, PATIENCE)
    check(done.status == DONE or done.status == FAILED and "runs at" in done.err, str(done))


def never_twice(stage):
    check(stage.beats.twice is None, f"the guest runs twice: {stage.beats.twice}")
    return True


def is_idle_again(stage, process):
    """As before any migration: no memory of a VM that is not there, no connection."""
    wait_until("no more descriptors than before", lambda: never_twice(stage) and stage.is_idle(process), PATIENCE)


def find_without_source(stage):
    """The source is dead: its guest with it, unless the destination had GO."""
    def look():
        if stage.there.state("demo") == "running":
            return "destination"
        return "nobody" if stage.is_idle(stage.receive) else None
    return wait_until("the destination has settled it", look, PATIENCE)


def find(stage):
    """Which process has the guest, when all is settled: "source", "destination" or "nobody"."""
    if stage.run.killed:
        return find_without_source(stage)
    if alive(stage.run) and stage.here.decant("status", "demo").status == DONE and stage.here.state("demo") == "running":
        return "source"
    gone = stage.run.wait(PATIENCE)
    check(gone.status == DONE and "demo: migrated to" in gone.out, str(gone))
    return "destination" if alive(stage.receive) else "nobody"


def judge_at_source(stage):
    """It runs on here and can be migrated: to the same destination, or what is left."""
    is_going(stage.run.eye)
    is_idle_again(stage, stage.run)
    if not alive(stage.receive):
        stage.beats.stop()
        stage.here.is_untouched("demo")
        stage.here.stop("demo", stage.run)
        return
    is_idle_again(stage, stage.receive)
    if stage.named:
        check(stage.there.state("demo") == "waiting", f"the receiver waits for the next: {stage.there.status('demo')}")
    again = stage.migrate().succeeded()
    check(report_of(again)["guest_verdict"] == "ok", str(again))
    stage.run.wait(PATIENCE)
    judge_at_destination(stage, True)


def judge_at_destination(stage, judged):
    stage.receive.wait_for("demo: running", PATIENCE)
    is_going(stage.receive.eye)
    stage.beats.stop()
    if not judged:
        stage.there.is_untouched("demo")
    stage.there.stop("demo", stage.receive)


def judge_at_nobody(stage):
    check(stage.run.killed or stage.receive.killed, "the guest is lost, and nobody was killed")
    if alive(stage.receive):
        check(stage.there.state("demo") == "waiting", f"the receiver waits for the next: {stage.there.status('demo')}")
        stage.signal(stage.receive, signal.SIGTERM)
        check(stage.receive.wait(PATIENCE).status == FAILED, str(stage.receive.done()))


def report_of(done):
    return json.loads(done.out.splitlines()[-1])["report"]


def leaves_nothing(stage):
    for process, host in ((stage.run, stage.here), (stage.receive, stage.there)):
        if process.killed:
            continue
        check(process.popen.returncode in (DONE, FAILED), f"ended strangely: {process.done()}")
        left = host.left_over()
        check(not left, f"files are left: {left}")


def conclude(stage, done):
    """The guest is at one place and well, both ends are; returns where, and whether it was in doubt."""
    for timer in stage.timers:
        timer.join()
    check(not stage.problems, "; ".join(stage.problems))
    stage.relay.delay = 0
    doubt = done.status == IN_DOUBT and alive(stage.run)
    check(done.status in (DONE, FAILED, IN_DOUBT), str(done))
    stage.network.heal()
    if doubt:
        settle(stage)
    where = find(stage)
    judged = done.status == DONE and report_of(done)["guest_verdict"] == "ok"
    {"source": lambda: judge_at_source(stage), "destination": lambda: judge_at_destination(stage, judged),
     "nobody": lambda: judge_at_nobody(stage)}[where]()
    stage.beats.stop()
    never_twice(stage)
    leaves_nothing(stage)
    return where, doubt


def following(arrow):
    names = list(ARROWS)
    return names[min(names.index(arrow) + 1, len(names) - 1)]


def expected(arrow, kind, seen_go):
    """Where the guest may be after that fault. Which end it is depends on times here and there: then it may be either."""
    before_go = arrow not in AFTER_GO
    if kind == "kill-source":
        return {"destination"} if seen_go else {"nobody"}
    if kind == "kill-destination":
        return {"nobody"} if arrow in AFTER_RUNNING else {"source", "nobody"} if arrow == "running" else {"source"}
    if arrow in AFTER_RUNNING:
        return {"destination"}
    if kind == "twice" and arrow not in ("hello", "channel"): # whose double comes first, and takes their place
        return {"destination"}
    if before_go and kind in ("cut", "cut-out", "cut-back"):
        return {"source"}
    if before_go and kind == "late" and ARROWS[arrow][0] != "channel" and not isinstance(ARROWS[arrow][0], float):
        return {"source"} # but not of data: other channels are opened for it
    return {"source", "destination"}


@contextlib.contextmanager
def staged(**how):
    """A Stage; what fails on it is told with what both ends have said."""
    stage = Stage(**how)
    try:
        yield stage
    except Exception as problem:
        raise Failure(f"{rig.describe(problem)}\nsource:\n{stage.run.err()}\ndestination:\n{stage.receive.err()}") from problem
    finally:
        stage.close()


def run_cell(arrow, kind, late=False):
    """The fault of that kind at that arrow. Returns where the guest is then and whether it was in doubt; raises Failure."""
    with staged() as stage:
        trap = trap_at(arrow, act(stage, kind), late)
        stage.relay.arm(trap)
        done = stage.migrate()
        check(trap.fired.is_set(), f"it did not come so far: {done}")
        where, doubt = conclude(stage, done)
        by_then = following(arrow) if trap.late and kind != "twice" else arrow # the next one may be on its way, or not
        allowed = expected(by_then, kind, net.GO in stage.relay.seen)
        check(where in allowed, f"the guest is at {where}, not at {allowed}: {done}")
        check(not doubt or by_then in ("ready", *AFTER_GO), f"in doubt before GO: {done}")
        return where, doubt


def run_timed(kind, seconds):
    """The fault of that kind so long after the start, whatever goes on then."""
    with staged(memory="64M") as stage:
        stage.relay.arm(None)
        stage.later(seconds, act(stage, kind))
        where, doubt = conclude(stage, stage.migrate())
        if kind == "kill-source":
            check((where == "destination") == (net.GO in stage.relay.seen), f"the source was killed: the guest is at {where}")
        elif kind == "kill-destination":
            check(where == "source" or net.RUNNING in stage.relay.seen, f"the destination was killed: the guest is at {where}")
        else:
            check(where != "nobody", "the guest is lost")
        return where, doubt

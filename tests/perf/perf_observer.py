#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""perf_observer.py -- decant-observe: that it times what happens in two memories, and is not taken in by copies; TAP

Here the guest is this program: it writes a stress guest's counters into two memfds of its own.
"""
import itertools
import json
import mmap
import os
import struct
import subprocess
import sys
import time

sys.dont_write_bytecode = True

import tap

BUILD = os.environ.get("DECANT_BUILD", "build")
PROGRAM = os.path.join(BUILD, "perf", "decant-observe")
LENGTH = 4 << 20
STATUS = 0x102000
MAGIC, PHASE_RUN = 0x54534344, 2
HEARTBEAT, WORK = STATUS + 48, STATUS + 56  # of vCPU 0
LONG = 60
NUMBER = itertools.count()
SLACK_NS = 2_000_000_000  # that a busy machine may take to wake it


class Memory:
    """A guest's memory."""

    def __init__(self, name):
        self.fd = os.memfd_create(name)
        os.ftruncate(self.fd, LENGTH)
        self.bytes = mmap.mmap(self.fd, LENGTH)
        self.where = f"{os.getpid()}:{name}"

    def start(self):
        struct.pack_into("<II", self.bytes, STATUS, MAGIC, PHASE_RUN)

    def beat(self, heartbeat):
        struct.pack_into("<QQ", self.bytes, HEARTBEAT, heartbeat, 8 * heartbeat)

    def close(self):
        self.bytes.close()
        os.close(self.fd)


class Observer:
    def __init__(self, *words):
        self.child = subprocess.Popen([PROGRAM, "--after-ms", "20", "--seconds", str(LONG), *words], text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def says(self, beginning):
        line = self.child.stdout.readline()
        assert line.startswith(beginning), line + (self.child.stderr.read() if not line else "")
        return line[len(beginning):].strip()

    def ends(self, status):
        out, err = self.child.communicate(timeout=LONG)
        assert self.child.returncode == status, f"{self.child.returncode}: {err}"
        return json.loads(out) if out else None, err


def beats(memory, first, count=20):
    for number in range(first, first + count):
        memory.beat(number)
        time.sleep(0.002)


def hand_over(source, dest):
    """What a migration does to the two: copies while the source runs, then silence, then the destination runs. When it did."""
    beats(source, 1)
    dest.beat(20)  # a copy of the last pass
    beats(source, 21)
    stopped = time.monotonic_ns()
    dest.beat(40)  # the copy of the pause
    time.sleep(0.05)
    started = time.monotonic_ns()
    beats(dest, 41)
    return stopped, started


def judge(seen, stopped, started):
    """@stopped and @started are the ends of the silence, as near as this program knows."""
    assert stopped - SLACK_NS <= seen["last_ns"] <= stopped + SLACK_NS, (seen["last_ns"], stopped)
    assert started <= seen["first_ns"] <= started + SLACK_NS, (seen["first_ns"], started)
    assert seen["pause_ns"] == seen["first_ns"] - seen["last_ns"], seen
    # the last heartbeat was before @stopped, but is seen when the observer has woken
    assert seen["pause_ns"] >= started - stopped - seen["late_ns"], (seen["pause_ns"], started - stopped)


def pair():
    number = next(NUMBER)  # a test that fails leaves its own behind
    memories = Memory(f"ram-a{number}"), Memory(f"ram-b{number}")
    memories[0].start()
    return memories


def test_observe__times_the_hand_over():
    source, dest = pair()
    observer = Observer("--source", source.where, "--dest", dest.where, "--source-pid", str(os.getpid()))
    observer.says("ready")
    stopped, started = hand_over(source, dest)
    seen, _ = observer.ends(0)

    judge(seen, stopped, started)
    assert sum(seen["source_cpu"].values()) > 0, seen["source_cpu"]
    assert [row[2] == 8 * row[1] for row in seen["series"]["source"]].count(False) <= 1, "a look between two writes at most"
    source.close()
    dest.close()


def test_observe__awaits_guest_and_destination():
    source = Memory("ram-late")
    observer = Observer("--source", source.where, "--dest", f"{os.getpid()}:ram-later")
    time.sleep(0.05)
    source.start()
    observer.says("ready")
    dest = Memory("ram-later")
    stopped, started = hand_over(source, dest)
    seen, _ = observer.ends(0)

    judge(seen, stopped, started)
    source.close()
    dest.close()


def test_observe__two_hosts():
    source, dest = pair()
    there = Observer("--dest", dest.where, "--listen", "127.0.0.1:0", "--dest-pid", str(os.getpid()))
    here = Observer("--source", source.where, "--peer", "127.0.0.1:" + there.says("listening "))
    here.says("ready")
    there.says("ready")
    stopped, started = hand_over(source, dest)
    seen, _ = here.ends(0)
    told, _ = there.ends(0)

    judge(seen, stopped - seen["clock_error_ns"], started - seen["clock_error_ns"])
    assert "dest_cpu" in told, told
    source.close()
    dest.close()


def test_observe__copies_are_no_hand_over():
    source, dest = pair()
    observer = Observer("--source", source.where, "--dest", dest.where)
    observer.says("ready")
    beats(source, 1)
    beats(dest, 1)
    observer.child.terminate()
    seen, err = observer.ends(1)

    assert "was not seen to run" in err, err
    assert "first_ns" not in seen, seen
    source.close()
    dest.close()


def test_observe__refuses_what_it_cannot_do():
    for words in (["--source", "x"], ["--source", "x", "--dest", "y", "--peer", "z:1"], ["--dest", "x"], ["--seconds", "0"], ["x"]):
        done = subprocess.run([PROGRAM, *words], capture_output=True, text=True, check=False)
        assert done.returncode == 2 and "usage" in done.stderr, (words, done)


sys.exit(tap.run(globals()))

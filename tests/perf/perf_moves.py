#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""perf_moves.py -- migrations timed from outside: what is made of what was seen, and that a bad one is no figure; TAP"""
import json
import os
import socket
import sys
import tempfile
import threading

sys.dont_write_bytecode = True
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "perf"))

import measures
import moves
import observer
import places
import qemu
import tap
import vms
from tap import equal

SECOND = 10 ** 9


def seen(**more):
    """A guest that works at 1000 pages/s for a second, then at 500 for another; then it runs at the destination."""
    looks = [[at * SECOND // 10, 0, at * 100 if at <= 10 else 1000 + (at - 10) * 50] for at in range(21)]
    return observer.Seen(SECOND, {"first_ns": 3 * SECOND, "pause_ns": SECOND // 2, "late_ns": 300_000, "host_cpu": {"softirq": 0.5},
                                  "source_cpu": {"decant": 0.25, "tcp-send-0": 0.75, "vcpu0": 2.0},
                                  "dest_cpu": {"mig/dst/recv_0": 1.0, "CPU 0/KVM": 3.0}, "series": {"source": looks, "dest": []}, **more},
                         None)


def unmeasured(call, text):
    try:
        call()
    except places.Unmeasured as why:
        assert text in str(why), why
        return
    raise AssertionError(f"no complaint of \"{text}\"")


def test_seen__total_begins_with_the_command():
    equal((seen().total, seen().pause), (2.0, 0.5))


def test_seen__work_rate_is_of_the_window_alone():
    equal(seen().work_rate(0, SECOND), 1000.0)
    equal(seen().work_rate(SECOND, 2 * SECOND), 500.0)
    equal(seen().work_rate(0, 2 * SECOND), 750.0)


def test_seen__too_few_looks_are_no_rate():
    equal(seen().work_rate(SECOND, SECOND + 1), None)
    equal(seen().work_rate(0, SECOND, "dest"), None)


def test_seen__an_observer_that_slept_is_doubted():
    equal(seen().doubts(), "")
    assert "7.0 ms" in seen(late_ns=7_000_000).doubts()


def test_cpu__vcpus_of_either_program_are_apart():
    guest = moves.Guest(stress=("wss=500000000", "data=1500000000", "zero=4M"))

    equal(guest.data, 2_000_000_000)
    equal(moves.cpu_per_gb(seen(), guest), {"source": 0.5, "source_vcpus": 1.0, "dest": 0.5, "dest_vcpus": 1.5, "softirq": 0.25})


def test_decant__a_guest_that_is_not_well_is_no_figure():
    good = {"outcome": "completed", "guest_verdict": "ok"}

    equal(vms.DecantPair._good({"report": good}), good)
    unmeasured(lambda: vms.DecantPair._good({"report": {**good, "guest_verdict": "bad"}}), "bad")
    unmeasured(lambda: vms.DecantPair._good({"report": {"outcome": "failed", "error": "no way"}}), "no way")


def monitor(*lines):
    """A QEMU's monitor that says @lines, one to each request and the last ones unasked; its port."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        connection, _ = listener.accept()
        with connection, listener:
            connection.sendall(b'{"QMP": {}}\n')
            for line in lines:
                connection.recv(4096)
                connection.sendall(line.encode() + b"\n")
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1]


def test_qmp__events_between_answers_are_kept():
    completed = json.dumps({"event": "MIGRATION", "data": {"status": "completed"}})
    qmp = qemu.Qmp("127.0.0.1", monitor('{"return": {}}', completed + '\n{"return": {"a": 1}}'), 30)

    equal(qmp.call("query-migrate"), {"a": 1})
    qmp.await_migration()
    qmp.close()


def test_qmp__what_fails_is_told():
    qmp = qemu.Qmp("127.0.0.1", monitor('{"return": {}}', '{"error": {"desc": "no such thing"}}'), 30)

    unmeasured(lambda: qmp.call("migrate", uri="x"), "no such thing")
    unmeasured(lambda: qmp.call("migrate", uri="x"), "QEMU")
    qmp.close()


def test_qemu__both_ends_get_the_guest_and_memory_that_is_there_beforehand():
    build = tempfile.mkdtemp()
    os.environ["DECANT_QEMU"] = "/bin/true"
    pair = qemu.QemuPair(measures.Setup(driver=os.path.join(build, "perf", "decant-point")), moves.WARM, capabilities=["multifd"],
                         parameters={"multifd-channels": 2})
    words = pair.words("127.0.0.1:1")
    os.rmdir(build)

    assert "prealloc=on" in words[words.index("-object") + 1], words
    equal(words[words.index("-append") + 1], "vcpus=1 wss=4M data=1020M zero=4M")
    equal(pair.capabilities, ["events", "return-path", "multifd"])
    equal(pair.parameters, {"max-bandwidth": qemu.UNLIMITED, "downtime-limit": 300, "multifd-channels": 2})


sys.exit(tap.run(globals()))

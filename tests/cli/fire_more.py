# SPDX-License-Identifier: BSD-2-Clause
"""fire_more.py -- faults that have one place only: a disk that is full, a timer that ends while the peer lives"""
import atexit
import os
import subprocess
import time

import fire_net as net
import rig
from fire_cell import Stage, conclude, staged
from rig import DONE, FAILED, check


def full_folder(name, options):
    """A tmpfs in the mount namespace of this process, which is gone when the scratch folder is to be removed."""
    folder = rig.path(name)
    os.mkdir(folder, 0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "decant-test", folder], check=True)
    atexit.register(subprocess.run, ["umount", "--lazy", folder], check=False)
    return folder


def fill_with_files(folder):
    number = 0
    try:
        while True:
            with open(os.path.join(folder, f"fill.{number}"), "wb"):
                number += 1
    except OSError:
        return


def fill_with_bytes(folder):
    try:
        with open(os.path.join(folder, "fill"), "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        return


def ends_at(stage, done, where, status):
    check(done.status == status, f"exit status should be {status}: {done}")
    found, doubt = conclude(stage, done)
    check(found == where, f"the guest is at {found}, not at {where}: {done}")
    return found, doubt


def no_room_for_the_name():
    """The destination learns the VM's name when it comes, and cannot make its lock, or its socket."""
    for room in (0, 1):
        folder = full_folder(f"runtime.{room}.{time.monotonic_ns()}", "size=1m,nr_inodes=16,mode=700")
        os.mkdir(os.path.join(folder, "decant"), 0o700)
        fill_with_files(folder)
        for number in range(room):
            os.unlink(os.path.join(folder, f"fill.{number}"))
        with staged(named=False, runtime=folder) as stage:
            done = stage.migrate().refused_json(FAILED, "No space left")
            for name in os.listdir(folder):
                if name.startswith("fill"):
                    os.unlink(os.path.join(folder, name))
            end = ends_at(stage, done, "source", FAILED)
    return end


def no_room_for_the_serial_port():
    folder = full_folder(f"serial.{time.monotonic_ns()}", "size=16k")
    serial = os.path.join(folder, "serial")
    with open(serial, "wb"):
        pass
    fill_with_bytes(folder)
    with staged(run_words=["--serial", "/dev/full"], receive_words=["--serial", serial]) as stage:
        return ends_at(stage, stage.migrate(), "destination", DONE)


def no_room_for_the_report():
    folder = full_folder(f"report.{time.monotonic_ns()}", "size=1m")
    report = os.path.join(folder, "report.json")
    with staged(migrate_words=["--report", report]) as stage:
        stage.relay.arm(net.Trap(lambda: fill_with_bytes(folder), frame=net.STATE))
        done = stage.migrate()
        check(rig.read_report(report)["outcome"] == "completed", "what was kept for the report is there for it")
        return ends_at(stage, done, "destination", DONE)


def timer_that_ends(words, frame, pattern):
    with staged(migrate_words=words) as stage:
        stage.relay.arm(net.Trap(lambda: time.sleep(3), frame=frame))
        done = stage.migrate().refused_json(FAILED, pattern)
        stage.migrate_words = Stage.WORDS
        return ends_at(stage, done, "source", FAILED)


CELLS = {
    "disk:name": no_room_for_the_name,
    "disk:serial": no_room_for_the_serial_port,
    "disk:report": no_room_for_the_report,
    "timer:switchover": lambda: timer_that_ends(["--switchover-timeout", "1s"], net.READY, "--switchover-timeout"),
    "timer:migration": lambda: timer_that_ends(["--timeout", "2s"], net.READY, "--timeout"),
    "timer:migration-early": lambda: timer_that_ends(["--timeout", "2s"], net.PREPARED, "--timeout"),
}

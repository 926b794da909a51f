#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""qemu_guest.py -- the stress guest is one and the same guest under QEMU, which boots it and migrates it (TAP)

The guest's memory is a memfd of QEMU's, mapped here too, so its status page is read and commands are written as decant's own VMM
does it (vmm-glue/guest/stress.h).
"""

import json
import mmap
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
MEMORY = 96 * MIB
PATIENCE = 120  # seconds: QEMU's firmware in an emulated KVM is slow
BOOT, STATUS = 0x101000, 0x102000
MAGIC, RUN, OK, BAD = 0x54534344, 2, 1, 2
IMAGE = os.path.join(os.environ.get("DECANT_BUILD", "build"), "guest", "stress.elf")


class Failure(Exception):
    """What a test has found wrong."""


def wait_until(condition, what, qemu):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if qemu.process.poll() is not None:
            raise Failure(f"QEMU has ended while waiting for {what}: {qemu.output()}")
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not within {PATIENCE} s; status {qemu.status()}")
        time.sleep(0.01)


class Qemu:
    """One QEMU with the stress guest in it, or (incoming) with nothing in it yet."""

    def __init__(self, folder, name, accel, vcpus, append, incoming=None):
        self.log = os.path.join(folder, name + ".log")
        self.qmp_path = os.path.join(folder, name + ".qmp")
        self.memory = None
        command = [
            "qemu-system-x86_64", "-M", "pc,memory-backend=ram", "-accel", accel, "-smp", str(vcpus), "-m", f"{MEMORY // MIB}M",
            "-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on", "-display", "none", "-monitor", "none",
            "-nodefaults", "-no-reboot", "-serial", "stdio", "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
            "-kernel", IMAGE, "-append", f"vcpus={vcpus} {append}",
        ]
        if incoming:
            command += ["-incoming", incoming]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.vcpus = vcpus
        self.qmp = socket.socket(socket.AF_UNIX)
        wait_until(lambda: self.qmp.connect_ex(self.qmp_path) == 0, "QEMU's socket", self)
        self.lines = self.qmp.makefile("r")
        self.lines.readline()
        self.command("qmp_capabilities")
        self.memory = self.map_memory()

    def output(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def map_memory(self):
        folder = f"/proc/{self.process.pid}/fd"
        for fd in os.listdir(folder):
            path = os.path.join(folder, fd)
            if "memory-backend-memfd" in os.readlink(path):
                with open(path, "r+b") as memfd:
                    return mmap.mmap(memfd.fileno(), MEMORY)
        raise Failure("QEMU has no memfd")

    def command(self, name, **arguments):
        self.qmp.sendall(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while True:
            answer = json.loads(self.lines.readline())
            if "error" in answer:
                raise Failure(f"{name}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def word(self, address):
        return struct.unpack_from("<I", self.memory, address)[0]

    def status(self):
        names = ("magic", "phase", "verdict_done", "verdict", "bad_pages", "page", "offset", "expected", "found", "vcpus_up")
        return dict(zip(names, struct.unpack_from("<10I", self.memory, STATUS))) if self.memory else {}

    def heartbeats(self):
        return [self.word(STATUS + 48 + 200 * vcpu) for vcpu in range(self.vcpus)]

    def wait_run(self):
        wait_until(lambda: self.status()["magic"] == MAGIC and self.status()["phase"] == RUN, "the guest's work", self)

    def wait_turns(self):
        before = self.heartbeats()
        wait_until(lambda: all(now != then for now, then in zip(self.heartbeats(), before)), "every vCPU's turn", self)

    def verdict(self):
        ask = self.word(BOOT + 48) + 1
        struct.pack_into("<I", self.memory, BOOT + 48, ask)
        wait_until(lambda: self.status()["verdict_done"] == ask, "a verdict", self)
        return self.status()

    def end(self):
        self.process.kill()
        self.process.wait()


def expect(verdict, wanted):
    if verdict["verdict"] != wanted:
        raise Failure(f"verdict {verdict}")


def boots(folder, accel, vcpus, append):
    qemu = Qemu(folder, "boot", accel, vcpus, append)
    try:
        qemu.wait_run()
        qemu.wait_turns()
        expect(qemu.verdict(), OK)
        if f"decant stress guest: {vcpus} vCPUs" not in qemu.output():
            raise Failure(f"no greeting: {qemu.output()}")
        qemu.memory[MEMORY // 2:MEMORY // 2 + 4096] = b"\xa5" * 4096
        expect(qemu.verdict(), BAD)
    finally:
        qemu.end()


def migrates(folder, accel, vcpus, append):
    channel = "unix:" + os.path.join(folder, "migration")
    source = Qemu(folder, "source", accel, vcpus, append)
    dest = None
    try:
        source.wait_run()
        dest = Qemu(folder, "dest", accel, vcpus, append, incoming=channel)
        source.command("migrate-set-parameters", **{"downtime-limit": 2000, "max-bandwidth": 4 << 30})
        source.command("migrate", uri=channel)
        wait_until(lambda: source.command("query-migrate").get("status") in ("completed", "failed"), "the migration", source)
        result = source.command("query-migrate")
        if result["status"] != "completed":
            raise Failure(f"the migration: {result}")
        wait_until(lambda: dest.command("query-status")["status"] == "running", "the destination", dest)
        dest.wait_turns()
        expect(dest.verdict(), OK)
        expect(dest.verdict(), OK)
        print(f"# downtime {result['downtime']} ms, {result['ram']['transferred'] >> 20} MiB sent")
    finally:
        source.end()
        if dest:
            dest.end()


TESTS = [
    ("QEMU boots it under TCG with 4 vCPUs", "tcg", boots, 4, "wss=6M data=20M zero=2M pattern=random scatter=1"),
    ("QEMU boots it under KVM with 2 vCPUs", "kvm", boots, 2, "wss=6M data=20M zero=2M"),
    ("QEMU migrates it under KVM", "kvm", migrates, 2, "wss=6M data=20M zero=2M"),
    ("QEMU migrates it under TCG", "tcg", migrates, 2, "wss=6M data=20M zero=2M rate=16M"),
]


def main():
    if not shutil.which("qemu-system-x86_64"):
        print("SKIP: no qemu-system-x86_64; run tools/deps.sh")
        return 77
    print(f"1..{len(TESTS)}", flush=True)
    failed = 0
    for number, (name, accel, run, vcpus, append) in enumerate(TESTS, 1):
        if accel == "kvm" and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            print(f"ok {number} - {name} # SKIP no usable /dev/kvm", flush=True)
            continue
        folder = tempfile.mkdtemp(prefix="decant-qemu-")
        try:
            run(folder, accel, vcpus, append)
            print(f"ok {number} - {name}", flush=True)
        except Failure as failure:
            failed += 1
            print(f"# {failure}\nnot ok {number} - {name}", flush=True)
        finally:
            shutil.rmtree(folder)
    return 1 if failed else 0


sys.exit(main())

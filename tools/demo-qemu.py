#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""demo-qemu.py -- a running guest of an unmodified QEMU moves to another QEMU, to look at

Two of the installed QEMUs, `decant proxy dest` beside the one, `decant migrate --qmp` beside the other. Leaves the report, with the guest's own
verdict on its memory, in BUILD/demo-qemu/report.json, and exits 0 only if that is "ok".
"""
import argparse
import contextlib
import json
import os
import re
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--build", default="build")
parser.add_argument("--memory", type=lambda text: int(text[:-1]) << {"M": 0, "G": 10}[text[-1]], default="1G", help="as 1G or 512M")
parser.add_argument("--wss", default="40M")
OPTIONS = parser.parse_args()
os.environ.setdefault("DECANT_BUILD", OPTIONS.build)
os.environ.setdefault("DECANT", os.path.join(OPTIONS.build, "decant"))
for folder in ("cli", "qemu"):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", folder))
# pylint: disable=wrong-import-position
import qemu
import rig
from rig import DECANT

FOLDER = os.path.join(OPTIONS.build, "demo-qemu")
REPORT = os.path.join(FOLDER, "report.json")


def say(text):
    print(f"demo: {text}", flush=True)


def accelerator(one):
    said = one.qmp.call("query-kvm")
    return "KVM" if said["enabled"] else "QEMU's own emulation, since there is no KVM: its times mean nothing"


def begin(stack):
    """Both QEMUs; the guest works."""
    guest = qemu.Guest(memory=OPTIONS.memory, vcpus=2, stress=(f"wss={OPTIONS.wss}", f"data={OPTIONS.memory // 2}M", "zero=4M"))
    source = qemu.Qemu("source", qemu.INSTALLED, guest)
    stack.callback(source.end)
    say(f"QEMU {'.'.join(map(str, qemu.version(qemu.INSTALLED)))} with {accelerator(source)}; the stress guest: {OPTIONS.memory} MiB of memory, "
        f"{OPTIONS.wss} of it written as fast as it can, 2 vCPUs")
    dest = qemu.Qemu("destination", qemu.INSTALLED, guest, ["-S", "-incoming", "defer"])
    stack.callback(dest.end)
    source.await_work()
    return source, dest


def move(source, dest):
    """decant's exit status."""
    host = rig.Host("demo")
    words = ["proxy", "dest", "--listen", "127.0.0.1:0", "--qemu-socket", rig.path("vm.sock"), "--qmp", dest.decant_monitor]
    say("decant " + " ".join(words))
    sidecar = host.start(*words)
    address = sidecar.wait_for(r"listening on (\S+:\d+)").group(1)
    words = ["migrate", "--qmp", source.decant_monitor, address, "--report", REPORT]
    say("decant " + " ".join(words))
    status = subprocess.run([DECANT, *words], env=host.env, stdin=subprocess.DEVNULL, check=False).returncode
    done = sidecar.wait()
    if status == 0 and done.status != 0:
        say(str(done))
    return status or done.status


def judge(dest):
    """The report, with what the guest says."""
    dest.is_going()
    verdict = dest.verdict()
    with open(REPORT, encoding="utf-8") as file:
        report = json.load(file)
    report["guest_verdict"] = verdict if verdict == "ok" else "bad"
    with open(REPORT, "w", encoding="utf-8") as file:
        json.dump(report, file, indent=2)
        file.write("\n")
    say(f"report in {REPORT}; the guest's verdict on its memory after the move: {verdict}")
    return verdict == "ok"


def main():
    os.makedirs(FOLDER, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(REPORT)
    try:
        with contextlib.ExitStack() as stack:
            source, dest = begin(stack)
            status = move(source, dest)
            if status:
                say(f"the migration failed: exit status {status}")
                return 1
            return 0 if judge(dest) else 1
    except rig.Failure as why:
        print(f"demo: {re.sub(chr(10), ' ', str(why))}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""probe_rdma.py -- what is said of an RDMA device that cannot be used: of a real one (rxe), made to lack one thing after the other

Needs root, the kernel's soft-RoCE and iproute2's rdma: tests/vm/run --rdma has them. It brings a device of its own.
"""
import atexit
import contextlib
import os
import re
import subprocess
import sys

import rig
from rig import FAILED, check

DEVICE, INTERFACE, ADDRESS = "rxeprobe", "probe0", "10.99.0.1"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
MEMLOCK = 64 << 10
NO_IPC_LOCK = ("setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock")
NO_MEMLOCK = ("prlimit", f"--memlock={MEMLOCK}", *NO_IPC_LOCK)


def command(*words):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    check(done.returncode == 0, f"{' '.join(words)}: {done.stdout.decode(errors='replace')}")


def skip_without_rxe():
    if os.geteuid() != 0 or not os.path.isdir("/sys/module/rdma_rxe"):
        print("SKIP: needs root and the kernel module rdma_rxe")
        sys.exit(77)


def remove_device():
    for words in (("rdma", "link", "delete", DEVICE), ("ip", "link", "delete", INTERFACE)):
        subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)


def add_device():
    """Down, and without an address."""
    atexit.register(remove_device)
    command("ip", "link", "add", INTERFACE, "type", "dummy")
    with open(f"/proc/sys/net/ipv6/conf/{INTERFACE}/disable_ipv6", "w", encoding="ascii") as setting:
        setting.write("1")
    command("rdma", "link", "add", DEVICE, "type", "rxe", "netdev", INTERFACE)


@contextlib.contextmanager
def mode(path, bits):
    before = os.stat(path).st_mode & 0o777
    os.chmod(path, bits)
    try:
        yield
    finally:
        os.chmod(path, before)


def device_file():
    for name in os.listdir("/sys/class/infiniband_verbs"):
        try:
            with open(f"/sys/class/infiniband_verbs/{name}/ibdev", encoding="ascii") as file:
                if file.read().strip() == DEVICE:
                    return f"/dev/infiniband/{name}"
        except NotADirectoryError:
            pass
    raise rig.Failure(f"{DEVICE} has no uverbs file")


def probe(*prefix):
    """All that is said, the port of our device, and the same in words."""
    here = rig.Host("probe")
    told = here.start("probe", "--json", prefix=prefix).wait().succeeded().json()
    words = here.start("probe", prefix=prefix).wait().succeeded().out
    ports = [port for port in told["network"]["rdma_devices"] if port["name"] == DEVICE]
    check(len(ports) == 1 and ports[0]["port"] == 1 and ports[0]["software"] is True, str(told))
    check(ports[0]["interface"] == INTERFACE and ports[0]["numa_node"] == -1, str(ports))
    check(f"RDMA device    {DEVICE} port 1 ({INTERFACE}): " in words, words)
    for text in told["advice"]:
        check(f"- {text}\n" in words, f"not in words: {text}")
    return told, ports[0], words


def check_unusable(found, *patterns):
    told, port, words = found
    check(port["usable"] is False and port["addresses"] == [] and "none usable" in words, str(port))
    check(f"RDMA: {port['error']}" in told["advice"], f"no advice: {told}")
    for pattern in patterns:
        check(re.search(pattern, port["error"]), f"does not say /{pattern}/: {port['error']}")


def a_port_that_is_down():
    found = probe()
    check_unusable(found, f"{DEVICE} is DOWN", f"`ip link set {INTERFACE} up`")
    check(found[1]["port_state"] == "DOWN", str(found[1]))
    command("ip", "link", "set", INTERFACE, "up")


def no_address():
    found = probe()
    check_unusable(found, f"{DEVICE} has no IP address", f"dev {INTERFACE}")
    check(found[1]["port_state"] == "ACTIVE", str(found[1]))
    command("ip", "address", "add", f"{ADDRESS}/24", "dev", INTERFACE)


def a_port_that_can_be_used():
    told, port, words = probe()
    check(port["usable"] is True and port["addresses"] == [ADDRESS] and port["error"] is None, str(port))
    check(port["speed_mbps"] > 0, str(port))
    check(told["network"]["rdma_usable"] is True and told["network"]["rdma_error"] is None, str(told))
    check(re.search(rf"addresses +{re.escape(ADDRESS)}\n", words), words)
    check(told["memory"]["memlock_lifted"] is True, str(told["memory"]))


def software_is_not_what_auto_takes():
    told, _, words = probe()
    if all(port["software"] for port in told["network"]["rdma_devices"]):
        check(told["network"]["fabric"] == "tcp" and "fabric         tcp" in words, str(told))
        check(any("--fabric rdma" in text for text in told["advice"]), str(told["advice"]))


def no_permission():
    path = device_file()
    with mode(path, 0o600):
        check_unusable(probe(*NOBODY), f"no permission to read and write {path}", "chmod 666")
    with mode("/dev/infiniband/rdma_cm", 0o600):
        check_unusable(probe(*NOBODY), "no permission to read and write /dev/infiniband/rdma_cm")
    check(probe(*NOBODY)[1]["usable"] is True, "nobody may use it again")


def little_memory_to_lock():
    told, port, words = probe(*NO_MEMLOCK)
    check(port["usable"] is True, str(port))
    check(told["memory"]["memlock_bytes"] == MEMLOCK and told["memory"]["memlock_lifted"] is False, str(told["memory"]))
    check("memlock        64 KiB, 0 B pinned" in words, words)
    check(any(text.startswith("RLIMIT_MEMLOCK: 64 KiB") for text in told["advice"]), str(told["advice"]))


def refused_for_memlock(limit, where):
    """The guest stays where it is, and the words are where() says."""
    here, there = rig.Host("source"), rig.Host("destination")
    run = here.run("demo")
    receive = there.receive(prefix=("prlimit", f"--memlock={limit}", *NO_IPC_LOCK))
    done = here.decant("migrate", "demo", receive.address, "--fabric", "rdma", "--rail", DEVICE, "--channels", "1")
    check(done.status == FAILED, str(done))
    for pattern in (f"RLIMIT_MEMLOCK is {limit >> 10} KiB", "are needed", "ulimit -l", "limits.conf"):
        rig.wait_until(f"it says {pattern}: {done}", lambda text=pattern: text in where(done, receive), 5)
    check(here.state("demo") == "running", "the guest is untouched")
    here.stop("demo", run)


def a_guest_that_cannot_be_pinned():
    # enough for the messages of a channel, not for the first of the guest's memory
    refused_for_memlock(2 << 20, lambda done, receive: done.err)


def a_channel_that_cannot_be_pinned():
    refused_for_memlock(MEMLOCK, lambda done, receive: receive.err())


skip_without_rxe()
add_device()
rig.main([
    a_port_that_is_down,
    no_address,
    a_port_that_can_be_used,
    software_is_not_what_auto_takes,
    no_permission,
    little_memory_to_lock,
    a_guest_that_cannot_be_pinned,
    a_channel_that_cannot_be_pinned,
])

# SPDX-License-Identifier: BSD-2-Clause
"""checked_guest.py -- a Linux guest with a virtio disk and a virtio NIC, whose only program checks all that it does: see checker/checker.h

Of two hosts, in VMs of tests/vm/run, each can be where it is. Its disk is a file that both see; no page of it is cached by either. Its network
is a bridge on each host, joined by a tunnel, and the peer that it talks to is in a namespace of its own behind the first one's.
"""
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "perf"))
import qemu  # pylint: disable=wrong-import-position

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("DECANT_BUILD", "build")
SHARED = os.environ.get("DECANT_VM_RUN", "")
HOSTS = {1: (), 2: ("on-host2",)}
MEMORY = "128M"
CHECKED_MIB = 32  # of it
OUTSIDE, GUEST_ADDRESS, PEER_ADDRESS, PEER_PORT = "outside", "10.77.0.2", "10.77.0.1", 7777
DISK_BYTES = 16 << 20
CONSOLE_PORT = 7303
JOBS = ("memory", "files", "stream")
ROUNDS = {"memory": 20, "files": 5, "stream": 20}  # of each job, by which it is seen to go on
SECONDS = 150  # for what takes ten when the machine is quiet
TROUBLE = re.compile(r"BAD |I/O error|EXT4-fs (error|warning)|Oops|BUG:|[Pp]anic|hung_task|blocked for more")


class Failure(Exception):
    """What did not hold."""


def do(*words, host=1):
    """A command at that host; what it says."""
    done = subprocess.run([*HOSTS[host], *(str(word) for word in words)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failure(f"`{' '.join(done.args)}`: status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def address(host, rail=0):
    return f"10.9.{rail}.{host}"


class Network:
    """
    On each host a bridge with a tap for QEMU, and a tunnel over the last network between them. RDMA has the first. The peer of the guest is
    in the namespace "outside" of the first host.
    """

    TAP = "tap0"

    def __init__(self):
        rails = [name for name in os.listdir("/sys/class/net") if re.fullmatch(r"eth\d", name)]
        self.rail = len(rails) - 1

    def __enter__(self):
        for host, other in ((1, 2), (2, 1)):
            ends = f"local {address(host, self.rail)} remote {address(other, self.rail)}"
            do("sh", "-ec", f"modprobe tun; ip link add br0 type bridge; ip link add vx0 type vxlan id 77 {ends} dstport 4789; "
               f"ip tuntap add {self.TAP} mode tap; "
               f"for i in vx0 {self.TAP}; do ip link set $i master br0 up; done; ip link set br0 up", host=host)
        do("sh", "-ec", f"ip netns add {OUTSIDE}; ip link add out0 type veth peer name eth0 netns {OUTSIDE}; ip link set out0 master br0 up; "
           f"ip -n {OUTSIDE} address add {PEER_ADDRESS}/24 dev eth0; ip -n {OUTSIDE} link set eth0 up")
        return self

    def __exit__(self, *_):
        do("sh", "-ec", f"ip link delete out0; ip netns delete {OUTSIDE}")  # in this order: a namespace goes in its own time
        for host in HOSTS:
            for name in ("vx0", self.TAP, "br0"):
                do("ip", "link", "delete", name, host=host)


class Peer:
    """Outside: sends back what it is sent, and checks it."""

    def __init__(self):
        self.child = subprocess.Popen(["ip", "netns", "exec", OUTSIDE, sys.executable, os.path.abspath(__file__)], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, text=True)
        if self.child.stdout.readline().strip() != "listening":
            raise Failure("the peer does not listen")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()

    def result(self):
        """What it has seen of the connection, which has ended."""
        line = self.child.stdout.readline()
        if not line:
            raise Failure("the peer has ended without a word")
        return json.loads(line)


def be_peer():
    """What a Peer runs: one connection, of 64-bit numbers each by one larger than the one before."""
    with socket.create_server((PEER_ADDRESS, PEER_PORT)) as server:
        print("listening", flush=True)
        connection = server.accept()[0]
    seen, last, silence, wrong = 0, time.monotonic(), 0.0, None
    with connection:
        while data := connection.recv(1 << 16):
            silence, last = max(silence, time.monotonic() - last), time.monotonic()
            whole = b"".join(number.to_bytes(8, "little") for number in range(seen // 8, (seen + len(data)) // 8 + 1))
            if whole[seen % 8:seen % 8 + len(data)] != data and wrong is None:
                wrong = seen
            seen += len(data)
            connection.sendall(data)
    print(json.dumps({"bytes": seen, "silence": silence, "wrong": wrong}), flush=True)


class Console:
    """The guest's serial line, at whichever host it is. Trouble of the guest is a Failure whenever it is read."""

    def __init__(self, host):
        self.socket = socket.create_connection((address(host), CONSOLE_PORT), timeout=SECONDS)
        self.lines = self.socket.makefile("r", encoding="utf-8", errors="replace", newline="\n")
        self.seen = []

    def close(self):
        self.lines.close()
        self.socket.close()

    def expect(self, start, ask=None):
        """The rest of the first line that begins like this. @ask: what is written before."""
        if ask:
            self.socket.sendall(ask.encode() + b"\n")
        while True:
            try:
                line = self.lines.readline()
            except OSError as why:
                raise Failure(f"no \"{start}\" on the guest's console: {why}; last there: {self.seen[-5:]}") from None
            if not line:
                raise Failure(f"the guest's console has ended without \"{start}\"; last there: {self.seen[-5:]}")
            line = line.strip()
            self.seen.append(line)
            if TROUBLE.search(line):
                raise Failure(f"the guest says: {line}")
            if line.startswith(start):
                return line[len(start):].strip()

    def counts(self):
        said = self.expect("counts ", "counts")
        return {job: int(re.search(rf"{job}=(\d+)", said).group(1)) for job in JOBS}


class Qemu:
    """One of Debian's, at a host; @incoming: it waits for the guest."""

    def __init__(self, host, folder, incoming):
        self.host, self.name = host, f"{'incoming' if incoming else 'first'}{host}"
        self.monitor = f"/run/{self.name}.qmp"  # on that host, for others
        self.folder, self.log = folder, os.path.join(folder, f"{self.name}.log")
        with open(self.log, "wb") as log:
            self.child = subprocess.Popen([*HOSTS[host], *self._words(folder), *(["-S", "-incoming", "defer"] if incoming else [])],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self.qmp = qemu.Qmp(address(host), qemu.MONITOR_PORT, SECONDS)
            self.console = Console(host)
        except (OSError, qemu.Unmeasured) as why:
            self.child.terminate()
            self.child.wait()
            raise Failure(f"QEMU on host{host}: {why}: {self.said()}") from None

    def _words(self, folder):
        settings = {"MEMORY": CHECKED_MIB, "ADDRESS": GUEST_ADDRESS, "PEER": PEER_ADDRESS, "PORT": PEER_PORT}
        append = " ".join(["console=ttyS0 quiet panic=-1 no_timer_check nowatchdog mitigations=off",
                           *(f"CHECKER_{name}={value}" for name, value in settings.items())])
        return [qemu.INSTALLED, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-name", self.name,
                "-machine", "pc,accel=kvm,memory-backend=ram", "-cpu", "host", "-m", MEMORY,
                "-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on",
                "-kernel", os.environ["DECANT_VM_KERNEL"], "-initrd", os.path.join(folder, "initrd"), "-append", append,
                "-blockdev", f"driver=file,node-name=disk,filename={folder}/disk,cache.direct=on,locking=on",
                "-device", "virtio-blk-pci,drive=disk",
                "-netdev", f"tap,id=net,ifname={Network.TAP},script=no,downscript=no",
                "-device", "virtio-net-pci,netdev=net,mac=52:54:00:77:00:02,romfile=",
                "-serial", f"tcp:{address(self.host)}:{CONSOLE_PORT},server=on,wait=off",
                "-qmp", f"tcp:{address(self.host)}:{qemu.MONITOR_PORT},server=on,wait=off",
                "-qmp", f"unix:{self.monitor},server=on,wait=off"]

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as text:
            return text.read().strip()

    def capabilities(self, *names):
        self.qmp.call("migrate-set-capabilities", capabilities=[{"capability": name, "state": True} for name in names])

    def status(self):
        return self.qmp.call("query-status")["status"]

    def await_end(self):
        """Once the guest has powered off."""
        try:
            self.child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure("the guest does not power off") from None

    def end(self):
        self.qmp.close()
        self.console.close()
        if self.child.poll() is None:
            self.child.terminate()
            self.child.wait()


def prepare(folder):
    """The guest's initramfs and its disk."""
    root = os.path.join(folder, "initramfs")
    for name in ("dev", "proc"):
        os.makedirs(os.path.join(root, name))
    shutil.copy(os.path.join(BUILD, "guest", "checker"), os.path.join(root, "init"))
    version = os.path.basename(os.environ["DECANT_VM_KERNEL"]).removeprefix("vmlinuz-")
    do(os.path.join(HERE, "make-initramfs"), os.environ["DECANT_VM_MODULES"], version, root, os.path.join(folder, "initrd"),
       "virtio_pci", "virtio_blk", "virtio_net", "ext4")
    with open(os.path.join(folder, "disk"), "wb") as disk:
        disk.truncate(DISK_BYTES)
    do("mkfs.ext4", "-q", "-F", os.path.join(folder, "disk"))


def await_work(console):
    """Until each of the guest's jobs has gone on."""
    before, deadline = console.counts(), time.monotonic() + SECONDS
    while True:
        now = console.counts()
        if all(now[job] >= before[job] + ROUNDS[job] for job in JOBS):
            return now
        if time.monotonic() > deadline:
            raise Failure(f"the guest does not go on with all its jobs: {before}, and {SECONDS} s later {now}")
        time.sleep(1)


def judge(guest, folder, peer):
    """At the end of the guest: its verdict, the peer's, and that of its disk."""
    sent = int(guest.console.expect("stream ", "judge"))
    verdict = guest.console.expect("verdict ")
    seen = peer.result()
    guest.await_end()
    if verdict != "ok" or seen["wrong"] is not None or seen["bytes"] != sent:
        raise Failure(f"the guest's verdict is {verdict}; it has sent {sent} bytes; the peer says {seen}")
    do("e2fsck", "-f", "-n", os.path.join(folder, "disk"))
    return seen


if __name__ == "__main__":
    be_peer()

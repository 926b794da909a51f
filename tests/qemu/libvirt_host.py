# SPDX-License-Identifier: BSD-2-Clause
"""libvirt_host.py -- a libvirtd in namespaces of its own, so that two on one machine take each other for another host

Each has its own host name, UUID, network, processes and /run, and of everything that libvirt keeps in the file system. SHARE is the one
folder that tests look into: the same path at every host, and another folder behind it. VMs run as the user libvirt-qemu, as libvirt would
have it, and end with the host.
"""
import atexit
import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid

from rig import BUILD, Failure, check, path, wait_until
from stress_memory import SLOW, StressMemory

SHARE = "/run/decant-libvirt"
USER = 64055  # libvirt-qemu, Debian's number
DRIVER = "/usr/lib/*/libvirt/connection-driver/libvirt_driver_qemu.so"
QEMU = "qemu-system-x86_64"
END_SECONDS = 20

DAEMON_CONF = """\
listen_tls = 0
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_dir = "/run/libvirt"
host_uuid = "{uuid}"
log_outputs = "3:file:{folder}/libvirtd.log"
"""
# what needs a system manager or a control group is off; namespaces, too: the host is one already
QEMU_CONF = """\
stdio_handler = "file"
security_driver = "none"
cgroup_controllers = []
namespaces = []
"""
# Process 1 must stay, and reap: it is a shell. Mounts below SHARE make paths usable for a user who may not go through $TMPDIR.
BOOT = """
set -e
mount --make-rprivate / 2>/dev/null || :  # a chroot is no mount
hostname {name}
ip link set lo up
mount -t tmpfs -o mode=755 decant-test /run
for folder in run:/run/libvirt share:{share} etc:/etc/libvirt lib:/var/lib/libvirt cache:/var/cache/libvirt log:/var/log/libvirt; do
	mkdir -p "${{folder#*:}}"
	mount --bind "${{folder%%:*}}" "${{folder#*:}}"
done
mount --bind passwd /etc/passwd
mount --bind group /etc/group
LIBVIRT_DRIVER_DIR=$PWD/drivers libvirtd --config "$PWD/libvirtd.conf" --pid-file /run/libvirtd.pid
exit
"""
DISK = """
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/>
      <source file='{share}/disk.img'/>
      <target dev='hda' bus='ide'/>
    </disk>"""
DOMAIN = """\
<domain type='kvm'>
  <name>{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>{memory}</memory>
  <vcpu>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{share}/stress.elf</kernel>
    <cmdline>vcpus={vcpus} {stress}</cmdline>
  </os>
  <memoryBacking>
    <source type='memfd'/>
    <access mode='shared'/>
  </memoryBacking>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>{disk}
  </devices>
</domain>
"""


def skip(why):
    print(f"SKIP: {why}")
    sys.exit(77)


def skip_without_libvirt():
    for program in ("libvirtd", "virsh", "unshare", "ip", QEMU):
        if shutil.which(program) is None:
            skip(f"no {program}")
    if not glob.glob(DRIVER):
        skip("libvirt has no driver for QEMU (libvirt-daemon-driver-qemu)")


def _write(name, text):
    with open(name, "w", encoding="utf-8") as file:
        file.write(text)


def _file(name):
    with open(name, encoding="utf-8", errors="replace") as text:
        return text.read()


class LibvirtHost:
    """One host; connect() waits until it is there."""

    def __init__(self, name):
        self.name, self.folder = name, path(name)
        self.share = os.path.join(self.folder, "share")
        for folder in ("run", "share", "etc", "lib", "cache", "log", "drivers"):
            os.makedirs(os.path.join(self.folder, folder))
        os.chown(self.share, USER, USER)  # QEMU makes the socket on which it takes a VM
        os.symlink(glob.glob(DRIVER)[0], os.path.join(self.folder, "drivers", "libvirt_driver_qemu.so"))
        _write(os.path.join(self.folder, "libvirtd.conf"), DAEMON_CONF.format(uuid=uuid.uuid4(), folder=self.folder))
        _write(os.path.join(self.folder, "etc", "qemu.conf"), QEMU_CONF)
        self._users()
        shutil.copy(os.path.join(BUILD, "guest", "stress.elf"), self.share)
        with open(os.path.join(self.folder, "boot.log"), "wb") as log:
            self.popen = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "unchanged", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "sh", "-c", BOOT.format(name=name, share=SHARE)], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        atexit.register(self.end)

    def _users(self):
        """libvirt wants a user that Debian's package of it makes, and QEMU /dev/kvm."""
        users = "".join(line for line in open("/etc/passwd", encoding="utf-8") if not line.startswith("libvirt-qemu:"))
        groups = "".join(line for line in open("/etc/group", encoding="utf-8") if not line.startswith("libvirt-qemu:"))
        kvm = os.stat("/dev/kvm").st_gid
        groups = re.sub(rf"^([^:]*:[^:]*:{kvm}:)(.*)$", lambda line: f"{line[1]}{line[2]}{',' if line[2] else ''}libvirt-qemu", groups,
                        flags=re.M)
        _write(os.path.join(self.folder, "passwd"), users + f"libvirt-qemu:x:{USER}:{USER}::/var/lib/libvirt:/usr/sbin/nologin\n")
        _write(os.path.join(self.folder, "group"), groups + f"libvirt-qemu:x:{USER}:\n")

    @property
    def uri(self):
        return f"qemu+unix:///system?socket={self.folder}/run/libvirt-sock"

    def connect(self):
        """The first answer takes its while: libvirt asks QEMU what it can do."""
        def answers():
            if self.popen.poll() is not None:
                raise Failure(f"{self.name} has ended: {self.said()}")
            return os.path.exists(f"{self.folder}/run/libvirt-sock") and self.virsh("version").returncode == 0
        wait_until(f"libvirtd of {self.name}: {self.said()}", answers, SLOW)
        return self

    def said(self):
        logs = [f"{self.folder}/boot.log", f"{self.folder}/libvirtd.log"]
        return "\n".join(_file(log).strip() for log in logs if os.path.exists(log))

    def begin(self, *words):
        """A virsh that goes on, for communicate()."""
        return subprocess.Popen(["virsh", "-q", "-c", self.uri, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def virsh(self, *words):
        with self.begin(*words) as process:
            try:
                out, err = process.communicate(timeout=SLOW)
            except subprocess.TimeoutExpired:
                process.kill()
                raise Failure(f"`virsh {shlex.join(words)}` goes on after {SLOW} s: {self.said()}") from None
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ask(self, *words):
        """What virsh prints, when it succeeds."""
        done = self.virsh(*words)
        check(done.returncode == 0, f"{self.name}: `virsh {shlex.join(words)}`: {done.stderr.strip()}")
        return done.stdout.strip()

    def domains(self):
        return self.ask("list", "--all", "--name").split()

    def _first(self):
        """Its process 1, which all others end with."""
        return _file(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children").strip()

    def pid(self, name):
        """Of its QEMU, out here."""
        inside = _file(f"{self.folder}/run/qemu/{name}.pid").strip()
        space = os.readlink(f"/proc/{self._first()}/ns/pid")
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                numbers = re.search(r"^NSpid:\s*(.*)$", _file(f"/proc/{pid}/status"), re.M).group(1).split()
                if numbers[-1] == inside and os.readlink(f"/proc/{pid}/ns/pid") == space:
                    return int(pid)
            except OSError:
                continue  # it has ended meanwhile
        raise Failure(f"{self.name}: no process {inside}")

    def end(self):
        first = self._first() if self.popen.poll() is None else ""
        self.popen.kill()
        self.popen.wait()
        deadline = time.monotonic() + END_SECONDS
        while first and os.path.exists(f"/proc/{first}") and time.monotonic() < deadline:
            time.sleep(0.01)  # it is somebody else's child now


class Domain:
    """A VM as it is at a host now; its memory is seen from outside."""

    def __init__(self, host, name):
        self.host, self.name = host, name
        self.pid = host.pid(name)
        self.memory = StressMemory(self.pid, self)

    def call(self, verb, **arguments):
        """QEMU's monitor, by way of libvirt."""
        words = {name.replace("_", "-"): value for name, value in arguments.items()}
        answer = json.loads(self.host.ask("qemu-monitor-command", self.name, json.dumps({"execute": verb, "arguments": words})))
        check("return" in answer, f"QEMU: {verb}: {answer.get('error')}")
        return answer["return"]

    def state(self):
        return self.host.ask("domstate", self.name)

    def destroy(self):
        self.memory.close()
        self.host.virsh("destroy", self.name)


def create(host, name, memory, vcpus=1, stress="wss=8M data=16M", disk=False):
    """A transient VM whose guest works."""
    file = os.path.join(host.folder, f"{name}.xml")
    _write(file, DOMAIN.format(name=name, uuid=uuid.uuid4(), memory=memory, vcpus=vcpus, stress=stress, share=SHARE,
                               disk=DISK.format(share=SHARE) if disk else ""))
    host.ask("create", file)
    domain = Domain(host, name)
    domain.memory.await_work()
    return domain

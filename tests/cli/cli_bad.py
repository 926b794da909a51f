#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cli_bad.py -- bad input: one clear line, the documented exit status, the guest untouched

One VM stands for all the cases that must leave it alone. After each it must run, and at the end it moves to a second
machine and judges its memory.
"""
import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading

import rig
from rig import FAILED, USAGE, Host, check

SLOW = ["--bandwidth", "1M"]  # the VM has about 12 MiB of data: time enough to interfere

here = Host("here")
there = Host("there")
demo = None


def start_demo():
    global demo
    if demo is None or demo.popen.poll() is not None:
        demo = here.run("demo")


def demo_goes_on():
    check(here.state("demo") == "running", f"demo should be running: {here.status('demo')}")


def refused(status, *patterns, words):
    start_demo()
    done = here.decant("migrate", "demo", *words)
    demo_goes_on()
    return done.refused(status, *patterns)


@contextlib.contextmanager
def peer(answer):
    """Something that listens where a receiver should, and gives one answer."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(rig.LONG)
                    connection.recv(4096)
                    connection.sendall(answer)
                    while connection.recv(4096):
                        pass
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            with contextlib.suppress(OSError):
                socket.create_connection(server.getsockname(), 5).close()
            thread.join()


def message(kind, payload, sequence=0):
    return struct.pack("<IHHII", 0x544E4344, kind, 0, len(payload), sequence) + payload


def usage_errors():
    for words, pattern in [
            ([], "verb"),
            (["flee"], "no verb"),
            (["run"], "--guest"),
            (["run", "--guest", "stress", "--kernel", "x"], "either"),
            (["run", "--guest", "stress", "--memory", "much"], "--memory"),
            (["run", "--guest", "stress", "--memory", "1M"], "--memory"),
            (["run", "--guest", "stress", "--vcpus", "0"], "--vcpus"),
            (["run", "--guest", "stress", "--page-size", "8K"], "--page-size"),
            (["run", "--guest", "stress", "--page-size", "2M", "--memory", "33M"], "--page-size"),
            (["run", "--guest", "linux"], "--guest"),
            (["run", "--guest", "stress:wss=much"], "wss.*much"),
            (["run", "--guest", "stress", "--dirty", "harry"], "--dirty"),
            (["run", "--guest", "stress", "--confine", "loosely"], "--confine.*strict"),
            (["run", "--guest", "stress", "--name", "../etc"], "no name"),
            (["run", "--guest", "stress", "--disk", "x"], "not in this version"),
            (["run", "--guest"], "needs a value"),
            (["receive"], "--listen"),
            (["receive", "--listen", "here"], "here"),
            (["receive", "--listen", "127.0.0.1:0", "--confine", "no"], "--confine.*strict"),
            (["receive", "--listen", "0.0.0.0:0"], "--insecure"),
            (["receive", "--listen", "127.0.0.1:0", "--key-file", "x", "--insecure"], "--insecure"),
            (["migrate"], "which VM"),
            (["migrate", "demo"], "HOST:PORT"),
            (["migrate", "demo", "nowhere"], "nowhere"),
            (["migrate", "demo", "127.0.0.1:99999"], "99999"),
            (["migrate", "demo", "127.0.0.1:1", "--fabric", "infiniband"], "rdma"),
            (["migrate", "demo", "127.0.0.1:1", "--fabric", "tcp", "--rail", "mlx5_0"], "no rails"),
            (["migrate", "demo", "127.0.0.1:1", "--rail", "mlx5_0="], "LOCAL"),
            (["migrate", "demo", "127.0.0.1:1", "--mode", "postcopy"], "not in this version"),
            (["migrate", "demo", "127.0.0.1:1", "--if-not-converging", "postcopy"], "not in this version"),
            (["migrate", "demo", "127.0.0.1:1", "--if-not-converging", "hope"], "throttle or abort"),
            (["migrate", "demo", "127.0.0.1:1", "--max-downtime", "soon"], "--max-downtime"),
            (["migrate", "demo", "127.0.0.1:1", "--channels", "many"], "--channels"),
            (["migrate", "demo", "127.0.0.1:1", "--fabric", "loop"], "takes no address"),
            (["migrate", "demo", "127.0.0.1:1", "more"], "too many"),
            (["status"], "which VM"),
            (["status", "a b"], "no name"),
            (["list", "--loud"], "unknown option"),
            (["pause", "demo", "--force"], "unknown option")]:
        here.decant(*words).refused(USAGE, pattern)


def stress_guest_that_does_not_fit():
    here.decant("run", "--guest", "stress:wss=1G", "--memory", "32M").refused(FAILED, "do not fit")


def no_such_vm():
    here.decant("status", "nobody").refused(FAILED, "nobody")
    start_demo()
    for verb in ("status", "pause", "resume", "cancel", "stop"):
        here.decant(verb, "nobody").refused(FAILED, 'no VM named "nobody"', "there is: demo")
    here.decant("migrate", "nobody", "127.0.0.1:1").refused(FAILED, 'no VM named "nobody"')


def migrate_to_nowhere():
    refused(FAILED, "no-such-host.invalid", words=["no-such-host.invalid:7000"])


def migrate_to_a_closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    refused(FAILED, "refused", str(port), words=[f"127.0.0.1:{port}"])


def migrate_to_another_protocol():
    for answer, pattern in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP"), (b"SSH-2.0-OpenSSH_9.2\r\n" + b" " * 64, "SSH"),
                            (b"\0" * 64, "decant|magic")):
        with peer(answer) as address:
            refused(FAILED, pattern, words=[address])


def migrate_to_another_version():
    welcome = struct.pack("<HHIQ16sIIQ", 9, 0, 1, 0, b"\0" * 16, 5000, 0, 1 << 30)
    with peer(message(2, welcome)) as address:
        refused(FAILED, "version", words=[address])


def migrate_to_one_who_hangs_up():
    with peer(b"") as address:
        refused(FAILED, "closed|reset|gone|answer|silent", words=[address, "--timeout", "20s"])


def source_of_another_version():
    receive = there.receive()
    host, port = receive.address.split(":")
    with socket.create_connection((host, int(port)), rig.LONG) as connection:
        connection.sendall(message(1, struct.pack("<HH", 7, 8) + b"\0" * 300))
        check(connection.recv(4096)[4:6] == b"\x03\x00", "an ERROR should come back")
    with socket.create_connection((host, int(port)), rig.LONG) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(4096):
                pass
    check(receive.popen.poll() is None, "it should go on listening")


def destination_with_too_little_memory():
    receive = there.receive("--max-memory", "16M")
    refused(FAILED, "memory", "32 MiB|33554432", words=[receive.address])


def destination_without_the_guests_page_size():
    with rig.huge_pages(16):
        run = here.run("huge", "--page-size", "2M")
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as file:
            free = int(file.read())
        with rig.huge_pages(-free):
            receive = there.receive()
            here.decant("migrate", "huge", receive.address).refused(FAILED, "huge pages", "nr_hugepages")
            check(here.state("huge") == "running", "the guest should be untouched")
        here.is_untouched("huge") if free >= 16 else here.stop("huge", run)


def huge_pages_that_are_taken_away_on_the_way():
    with rig.huge_pages(32):
        here.run("huge", "--page-size", "2M")
        receive = there.receive()
        migrate = here.start("migrate", "huge", receive.address, "--bandwidth", "8M", "--max-downtime", "10s")
        rig.wait_until("it sends", lambda: here.status("huge").get("migration", {}).get("state") == "precopy")
        with open("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", encoding="ascii") as file:
            free = int(file.read())
        # what the destination has reserved stays its own, so this may succeed; what it has not, it must not be killed for
        with rig.huge_pages(-free):
            done = migrate.wait()
        check(done.status in (rig.DONE, FAILED) and receive.popen.poll() is None, f"{done} {receive.done()}")
        host = there if done.status == rig.DONE else here
        host.is_untouched("huge")


def rdma_where_there_is_none():
    receive = there.receive()
    # no machine has an address of the documentation's on a rail, so this holds where there is RDMA, too
    refused(FAILED, "fabric rdma: ", words=[receive.address, "--fabric", "rdma", "--rail", "192.0.2.1"])
    if not os.path.isdir("/sys/class/infiniband") or not os.listdir("/sys/class/infiniband"):
        refused(FAILED, "fabric rdma: ", words=[receive.address, "--fabric", "rdma"])


def receiver_port_taken():
    receive = there.receive("--name", "first")
    there.decant("receive", "--listen", receive.address, "--name", "second").refused(FAILED, "in use", receive.address)
    check(there.state("first") == "waiting", "the first goes on")


def receiver_address_of_another_host():
    there.decant("receive", "--listen", "192.0.2.1:0", "--insecure").refused(FAILED, "192.0.2.1")


def name_taken():
    start_demo()
    here.decant("run", "--name", "demo", "--guest", "stress").refused(FAILED, "demo", "--name")
    here.decant("receive", "--listen", "127.0.0.1:0", "--name", "demo").refused(FAILED, "demo", "--name")
    demo_goes_on()
    receive = here.receive()
    refused(FAILED, "demo", "--name", words=[receive.address])


def kernel_file_that_is_none():
    text = rig.path("text")
    with open(text, "w", encoding="utf-8") as file:
        file.write("no kernel\n" * 1000)
    empty = rig.path("empty")
    with open(empty, "wb"):
        pass
    with open(os.path.join(rig.BUILD, "guest", "stress.elf"), "rb") as file:
        image = file.read()
    cut = rig.path("cut")
    with open(cut, "wb") as file:
        file.write(image[:len(image) // 2])
    for name in (text, empty, cut, "/bin/true", rig.SCRATCH, rig.path("missing")):
        here.decant("run", "--name", "kernel", "--kernel", name).refused(FAILED, name)
    here.decant("run", "--name", "kernel", "--kernel", os.path.join(rig.BUILD, "guest", "stress.elf"),
                "--initrd", rig.path("missing")).refused(FAILED, "missing")


def two_migrates_of_one_vm():
    start_demo()
    receive = there.receive()
    first = here.start("migrate", "demo", receive.address, *SLOW)
    rig.wait_until("it migrates", lambda: here.state("demo") == "migrating")
    here.decant("migrate", "demo", receive.address).refused(FAILED, "demo", "being migrated")
    here.decant("cancel", "demo").succeeded()
    first.wait().refused(FAILED, "cancel")
    demo_goes_on()


def two_sources_to_one_receiver():
    start_demo()
    other = here.run("other")
    receive = there.receive()
    first = here.start("migrate", "other", receive.address, *SLOW)
    rig.wait_until("the first is at it", lambda: here.status("other").get("migration", {}).get("state") == "precopy")
    refused(FAILED, "busy|another|taking", words=[receive.address])
    here.decant("cancel", "other").succeeded()
    first.wait().refused(FAILED, "cancel")
    check(receive.popen.poll() is None, "it should go on listening")
    here.is_untouched("other")
    here.stop("other", other)


def memory_limit_before_anything():
    receive = there.receive(prefix=["prlimit", f"--as={200 << 20}"])
    big = here.run("big", memory="512M")
    here.decant("migrate", "big", receive.address).refused(FAILED, "memory")
    check(receive.popen.poll() is None, "it should go on listening")
    here.is_untouched("big")
    here.stop("big", big)


CGROUPS = (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max"))


@contextlib.contextmanager
def cgroup_places():
    """Where a memory cgroup may be made. A bare chroot has them mounted nowhere: then for as long as this takes."""
    if any(os.path.exists(os.path.join(base, "cgroup.procs")) for base, _ in CGROUPS):
        yield CGROUPS
        return
    folder = rig.path("cgroup")
    os.mkdir(folder)
    for kind, knob in ((["cgroup", "-o", "memory"], "memory.limit_in_bytes"), (["cgroup2"], "memory.max")):
        if subprocess.run(["mount", "-t", *kind, "none", folder], capture_output=True, check=False).returncode == 0:
            break
    try:
        yield ((folder, knob),)
    finally:
        subprocess.run(["umount", folder], check=False)
        os.rmdir(folder)


@contextlib.contextmanager
def memory_cgroup(limit):
    """The words that start a command in a cgroup with so much memory."""
    with cgroup_places() as places:
        for base, knob in places:
            folder = os.path.join(base, f"decant-test-{os.getpid()}")
            with contextlib.suppress(OSError):
                os.mkdir(folder)
                with open(os.path.join(folder, knob), "w", encoding="ascii") as file:
                    file.write(str(limit))
                break
            with contextlib.suppress(OSError):
                os.rmdir(folder)
        else:
            raise rig.Failure("no memory cgroup can be made here")
        try:
            yield ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', folder]
        finally:
            rig.wait_until("the cgroup is empty",
                           lambda: not open(os.path.join(folder, "cgroup.procs"), encoding="ascii").read())
            os.rmdir(folder)


def memory_limit_half_way():
    big = here.run("big", memory="256M", guest="stress:wss=4M,data=160M")
    with memory_cgroup(64 << 20) as prefix:
        receive = there.receive(prefix=prefix)
        done = here.decant("migrate", "big", receive.address)
        done.refused(FAILED, "memory|closed|reset|gone|silent|lost|connection")
        receive.popen.kill()
        receive.wait()
    check(here.state("big") == "running", "the guest should be untouched")
    here.is_untouched("big")
    here.stop("big", big)


def report_that_cannot_be_written():
    receive = there.receive()
    target = [receive.address, "--report"]
    refused(FAILED, "--report", "No such file", words=[*target, rig.path("missing/report.json")])
    refused(FAILED, "--report", "directory", words=[*target, rig.SCRATCH])
    refused(FAILED, "--report /dev/full", "No space", words=[*target, "/dev/full"])
    full = rig.path("full")
    os.mkdir(full)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "decant-test", full], check=True)
    try:
        refused(FAILED, "--report", "No space", words=[*target, os.path.join(full, "report.json")])
        check(not os.listdir(full), "a report that is none should not stay")
    finally:
        subprocess.run(["umount", full], check=True)


def output_that_cannot_be_written():
    start_demo()
    with open("/dev/full", "wb") as full:
        here.decant("status", "demo", stdout=full).refused(FAILED, "standard output")


def sigterm_and_sigint_of_migrate_cancel():
    for number in (signal.SIGTERM, signal.SIGINT):
        start_demo()
        receive = there.receive()
        migrate = here.start("migrate", "demo", receive.address, *SLOW)
        migrate.wait_for("precopy|connecting")
        migrate.signal(number)
        migrate.wait().refused(FAILED, "demo", "cancel")
        demo_goes_on()
        receive.signal(signal.SIGTERM)
        receive.wait()


def sigkill_of_migrate_changes_nothing():
    run = here.run("killed")
    receive = there.receive()
    migrate = here.start("migrate", "killed", receive.address, "--bandwidth", "8M", "--max-downtime", "10s")
    rig.wait_until("it migrates", lambda: here.state("killed") == "migrating")
    migrate.signal(signal.SIGKILL)
    migrate.wait()
    done = run.wait()
    check(done.status == 0 and "killed: migrated to" in done.out, str(done))
    receive.wait_for("killed: running")
    there.is_untouched("killed")
    there.stop("killed", receive)


def death_of_the_receiver():
    start_demo()
    receive = there.receive()
    migrate = here.start("migrate", "demo", receive.address, *SLOW)
    rig.wait_until("it sends", lambda: here.status("demo").get("migration", {}).get("state") == "precopy")
    receive.signal(signal.SIGKILL)
    migrate.wait().refused(FAILED, "demo")
    demo_goes_on()


def guest_that_outruns_the_fabric():
    start_demo()
    receive = there.receive()
    fast = here.run("fast", "--vcpus", "2", guest="stress:wss=8M,data=4M")
    done = here.decant("migrate", "fast", receive.address, "--bandwidth", "4M", "--max-downtime", "20ms", "--timeout", "40s")
    done.refused(FAILED, "fast", "converge|dirties|faster|timeout")
    here.is_untouched("fast")
    here.stop("fast", fast)


def control_socket_with_bad_input():
    start_demo()
    name = os.path.join(here.runtime, "decant", "demo.sock")
    check(os.stat(name).st_mode & 0o777 == 0o600, "mode of the socket")
    check(os.stat(os.path.dirname(name)).st_mode & 0o777 == 0o700, "mode of the directory")
    for garbage in (b"garbage\n", b"[]\n", b'{"verb":1}\n', b"{" * 100 + b"\n", b"x" * 100000, b"\0\n", b'{"verb":"status"'):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(rig.LONG)
            client.connect(name)
            with contextlib.suppress(OSError):
                client.sendall(garbage)
                client.shutdown(socket.SHUT_WR)
                while client.recv(4096):
                    pass
    clients = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    with contextlib.suppress(OSError):
        for client in clients:
            client.settimeout(1)
            client.connect(name)
    for client in clients:
        client.close()
    demo_goes_on()


def runtime_directory_that_will_not_do():
    open_to_all = Host("open")
    os.mkdir(os.path.join(open_to_all.runtime, "decant"), 0o755)
    os.chmod(os.path.join(open_to_all.runtime, "decant"), 0o755)
    open_to_all.decant("run", "--guest", "stress").refused(FAILED, "700")
    far = Host("x" * 120)
    far.decant("run", "--guest", "stress").refused(FAILED, "too long", "XDG_RUNTIME_DIR")


def guest_is_well_after_all_that():
    start_demo()
    here.is_untouched("demo")
    here.stop("demo", demo)


rig.skip_without_kvm()
if os.geteuid() != 0 or not shutil.which("prlimit"):
    print("SKIP: needs root (cgroups, mounts, huge pages) and prlimit")
    sys.exit(77)
rig.main([
    usage_errors,
    stress_guest_that_does_not_fit,
    no_such_vm,
    migrate_to_nowhere,
    migrate_to_a_closed_port,
    migrate_to_another_protocol,
    migrate_to_another_version,
    migrate_to_one_who_hangs_up,
    source_of_another_version,
    destination_with_too_little_memory,
    destination_without_the_guests_page_size,
    huge_pages_that_are_taken_away_on_the_way,
    rdma_where_there_is_none,
    receiver_port_taken,
    receiver_address_of_another_host,
    name_taken,
    kernel_file_that_is_none,
    two_migrates_of_one_vm,
    two_sources_to_one_receiver,
    memory_limit_before_anything,
    memory_limit_half_way,
    report_that_cannot_be_written,
    output_that_cannot_be_written,
    sigterm_and_sigint_of_migrate_cancel,
    sigkill_of_migrate_changes_nothing,
    death_of_the_receiver,
    guest_that_outruns_the_fabric,
    control_socket_with_bad_input,
    runtime_directory_that_will_not_do,
    guest_is_well_after_all_that,
], keep=lambda: demo)

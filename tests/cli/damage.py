#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""damage.py -- a page of guest memory fails in the host (hardware poison): the migration ends, the VM does not

Poisons memory for real, which takes it away from the kernel until the next boot: so only in a throw-away VM, tests/vm/run --rdma.
"""
import ctypes
import json
import os
import re
import subprocess
import sys

import rig
from rig import FAILED, Host, check

PAGE, MIB = 4096, 1 << 20
MEMORY = 32 * MIB
BEYOND_DATA = MEMORY - 2 * MIB  # never the guest's, so it runs on
WORKING_SET = 4 * MIB           # which it writes for ever
RAIL = "10.9.0.1"
HWPOISON = 100
POISON = (f"import ctypes, mmap, os, sys; fd = os.open(sys.argv[1], os.O_RDWR); at = int(sys.argv[2]);"
          f"page = mmap.mmap(fd, {PAGE}, offset=at); page[0] = page[0];"
          f"place = ctypes.addressof(ctypes.c_char.from_buffer(page));"
          f"ctypes.CDLL(None).madvise(ctypes.c_void_p(place), ctypes.c_size_t({PAGE}), {HWPOISON})")


def skip_unless_throw_away():
    """A machine of its own: the first process is tests/vm/run's."""
    with open("/proc/cmdline", encoding="ascii") as line:
        if "decant_run=" not in line.read() or os.geteuid() != 0:
            print("SKIP: poisons memory, so only in the VM of tests/vm/run")
            sys.exit(77)


def memory_of(process):
    """The file behind the guest's memory."""
    folder = f"/proc/{process.pid}/fd"
    for name in os.listdir(folder):
        if os.readlink(os.path.join(folder, name)).startswith("/memfd:ram-low"):
            return os.path.join(folder, name)
    raise rig.Failure(f"{process.words}: no memory")


def is_poisoned(file, offset):
    fd = os.open(file, os.O_RDONLY)
    try:
        os.pread(fd, PAGE, offset)
        return False
    except OSError:
        return True
    finally:
        os.close(fd)


def poison_unseen(file, offset):
    """By another process, since whoever has the page mapped and asks for it is killed."""
    subprocess.run([sys.executable, "-c", POISON, file, str(offset)], stderr=subprocess.DEVNULL, check=False)


def poison(file, offset):
    poison_unseen(file, offset)
    check(is_poisoned(file, offset), f"{file}: the page at {offset:#x} can be read: this kernel has no memory failures")


def give_page_up(file, offset):
    """As a guest's balloon would: what was there is gone, and the next to touch it gets another page."""
    fd = os.open(file, os.O_RDWR)
    keep_size_and_punch = 3
    done = ctypes.CDLL(None, use_errno=True).fallocate(fd, keep_size_and_punch, ctypes.c_long(offset), ctypes.c_long(PAGE))
    os.close(fd)
    check(done == 0, f"fallocate: {os.strerror(ctypes.get_errno())}")


def place(offset):
    return rf"ram-low \+ {offset:#x} \(guest address {offset:#x}\).*hardware poison"


def it_works_on(host, name, process):
    check(host.state(name) == "running", f"{name} should run: {host.status(name)}")
    check(process.popen.poll() is None, str(process.done()))


def receive_on_the_rail():
    process = Host("there").start("receive", "--listen", f"{RAIL}:0", "--insecure")
    process.address = process.wait_for(rf"listening on ({RAIL}:\d+)").group(1)
    return process


def before_a_migration():
    here = Host("here")
    run = here.run("demo")
    receive = receive_on_the_rail()
    memory = memory_of(run)
    poison(memory, BEYOND_DATA)
    for words in ((receive.address, "--fabric", "tcp"), (receive.address, "--fabric", "rdma"), ("--fabric", "loop")):
        here.decant("migrate", "demo", *words, "--max-downtime", "5s").refused(FAILED, place(BEYOND_DATA))
        it_works_on(here, "demo", run)
    give_page_up(memory, BEYOND_DATA)
    here.is_untouched("demo")
    here.stop("demo", run)


def under_a_registration():
    """The device goes on reading the page that it has pinned; the comparison, or a later look, meets it."""
    here = Host("here")
    run = here.run("demo")
    receive = receive_on_the_rail()
    migrate = here.start("migrate", "demo", receive.address, "--fabric", "rdma", "--verify", "--bandwidth", "4M",
                         "--max-downtime", "20s", "--switchover-timeout", "100s", "--json")
    migrate.wait_for(r'"event":"progress".*"sent_bytes":[1-9]')
    memory = memory_of(run)
    data = first_data_page(memory)
    poison(memory, data)
    done = migrate.wait(200)
    report = json.loads(done.out.splitlines()[-1])["report"]
    check(done.status == FAILED and report["outcome"] == "failed" and re.search(place(data), report["error"]), str(done))
    it_works_on(here, "demo", run)
    here.stop("demo", run)


def first_data_page(memory):
    """Behind the working set and the zero pages; written once, before it said that it runs."""
    at = 16 * MIB
    fd = os.open(memory, os.O_RDONLY)
    try:
        return os.lseek(fd, at, os.SEEK_DATA)
    finally:
        os.close(fd)


def used_by_the_guest():
    """That is the VM's own affair: it ends, and says why, rather than the process."""
    here = Host("here")
    run = here.run("demo")
    poison_unseen(memory_of(run), WORKING_SET)
    done = run.wait()
    check(done.status == FAILED and re.search(rf"memory that has failed in the host \(guest address {WORKING_SET:#x}\)", done.err),
          str(done))


skip_unless_throw_away()
rig.skip_without_kvm()
rig.main([
    before_a_migration,
    under_a_registration,
    used_by_the_guest,
])

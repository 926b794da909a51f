# SPDX-License-Identifier: BSD-2-Clause
"""rig.py -- for tests of the command line: hosts, VMs, checks, TAP

A Host is a runtime folder of its own, so that two of them on one machine know as little of each other as two machines do.
Everything that was started is ended when the program ends, whatever happened.
"""
import atexit
import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

DECANT = os.environ.get("DECANT", "build/decant")
BUILD = os.environ.get("DECANT_BUILD", "build")
SCRATCH = tempfile.mkdtemp(prefix="decant-cli.", dir=os.environ.get("TMPDIR", "/tmp"))
LONG = 60  # seconds: more than anything here takes on a busy machine

DONE, FAILED, USAGE, IN_DOUBT = 0, 1, 2, 3

_processes = []
_number = itertools.count()


class Failure(Exception):
    """What a check found."""


def _clean_up():
    for process in _processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    shutil.rmtree(SCRATCH, ignore_errors=True)


atexit.register(_clean_up)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


def own(popen):
    """It is ended when the program ends, or with the test that began it."""
    _processes.append(popen)
    return popen


def path(name):
    return os.path.join(SCRATCH, name)


def check(condition, text):
    if not condition:
        raise Failure(text)


def wait_until(what, condition, seconds=LONG):
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failure(f"{what}: not after {seconds} s")
        time.sleep(0.02)


class Done:
    """A command that has ended."""

    def __init__(self, words, status, out, err):
        self.words, self.status, self.out, self.err = " ".join(words), status, out, err

    def __str__(self):
        return f"`decant {self.words}` exited {self.status}\n  stdout: {self.out.strip()}\n  stderr: {self.err.strip()}"

    def json(self):
        return json.loads(self.out)

    def succeeded(self):
        check(self.status == DONE, str(self))
        return self

    def refused(self, status, *patterns):
        """One clear line, the documented exit status, and what it must say."""
        lines = self.err.splitlines()
        check(self.status == status, f"exit status should be {status}: {self}")
        check(len(lines) == 1, f"should be one line on stderr: {self}")
        check(lines[0].startswith("decant"), f"does not say who complains: {self}")
        for pattern in patterns:
            check(re.search(pattern, lines[0], re.IGNORECASE), f"does not say /{pattern}/: {self}")
        return self

    def refused_json(self, status, pattern):
        """The same with --json, where the report comes on the standard output."""
        check(self.status == status, f"exit status should be {status}: {self}")
        check(re.search(pattern, self.err), f"does not say /{pattern}/: {self}")
        return self


class Process:
    """A command that goes on; what it prints is kept in files."""

    def __init__(self, host, words, prefix=()):
        self.words = [str(word) for word in words]
        number = next(_number)
        self.out_path, self.err_path = path(f"{number}.out"), path(f"{number}.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.popen = own(subprocess.Popen([*prefix, DECANT, *self.words], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                              env=host.env))
        self.pid = self.popen.pid

    def out(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def err(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as text:
            return text.read()

    def done(self):
        return Done(self.words, self.popen.returncode, self.out(), self.err())

    def wait(self, seconds=LONG):
        try:
            self.popen.wait(seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"`decant {' '.join(self.words)}` goes on after {seconds} s: {self.out()}{self.err()}") from None
        return self.done()

    def wait_for(self, pattern, seconds=LONG):
        """A match in what it has printed."""
        def look():
            found = re.search(pattern, self.out())
            if not found and self.popen.poll() is not None:
                found = re.search(pattern, self.out())
                check(found, f"ended before it said /{pattern}/: {self.done()}")
            return found
        return wait_until(f"`decant {' '.join(self.words)}` says /{pattern}/", look, seconds)

    def signal(self, number):
        self.popen.send_signal(number)


class Host:
    """A place for VMs with names of its own."""

    def __init__(self, name, runtime=None):
        self.runtime = runtime or tempfile.mkdtemp(prefix=f"{name}.", dir=SCRATCH)
        self.env = dict(os.environ, XDG_RUNTIME_DIR=self.runtime)

    def decant(self, *words, stdin=None, stdout=None, seconds=LONG):
        words = [str(word) for word in words]
        try:
            done = subprocess.run([DECANT, *words], stdin=stdin or subprocess.DEVNULL, stdout=stdout or subprocess.PIPE,
                                  stderr=subprocess.PIPE, env=self.env, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Failure(f"`decant {' '.join(words)}` goes on after {seconds} s") from None
        return Done(words, done.returncode, (done.stdout or b"").decode(errors="replace"), done.stderr.decode(errors="replace"))

    def start(self, *words, prefix=()):
        return Process(self, words, prefix)

    def run(self, name, *words, guest="stress:wss=4M,data=8M", memory="32M"):
        """A VM that has begun its work."""
        source = ["--guest", guest] if guest else []
        process = self.start("run", "--name", name, "--memory", memory, *source, *words)
        process.wait_for(rf"{name}: running")
        return process

    def receive(self, *words, prefix=()):
        """A receiver that listens, and its address."""
        process = self.start("receive", "--listen", "127.0.0.1:0", *words, prefix=prefix)
        process.address = process.wait_for(r"listening on (127\.0\.0\.1:\d+)").group(1)
        return process

    def left_over(self):
        """Sockets and locks of VMs."""
        return os.listdir(os.path.join(self.runtime, "decant"))

    def status(self, name):
        return self.decant("status", name, "--json").succeeded().json()

    def state(self, name):
        return self.status(name)["state"]

    def is_untouched(self, name):
        """It runs, and goes on running: its memory moves to a second machine and the guest judges it."""
        check(self.state(name) == "running", f"{name} should be running: {self.status(name)}")
        moved = self.decant("migrate", name, "--fabric", "loop", "--json", "--timeout", "50s", "--max-downtime", "5s").succeeded()
        report = json.loads(moved.out.splitlines()[-1])["report"]
        check(report["guest_verdict"] == "ok", f"verdict: {report}")

    def stop(self, name, process):
        self.decant("stop", name).succeeded()
        check(process.wait().status == DONE, str(process.done()))


def _add_huge_pages(pages):
    with open("/proc/sys/vm/nr_hugepages", "r+", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # as tests/support/hugepages.c
        before = int(file.read())
        file.seek(0)
        file.write(str(max(before + pages, 0)))


@contextlib.contextmanager
def huge_pages(pages):
    """So many more pages of 2 MiB, for a while."""
    _add_huge_pages(pages)
    try:
        yield
    finally:
        _add_huge_pages(-pages)


def read_report(name):
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def skip_without_kvm():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("SKIP: no /dev/kvm")
        sys.exit(77)


def skip_without_root():
    if os.geteuid() != 0:
        print("SKIP: needs root, for network namespaces")
        sys.exit(77)


def sanitized():
    """Whether DECANT is built with a sanitizer, whose own memory says nothing of decant's."""
    with open(DECANT, "rb") as program:
        return re.search(rb"__[at]san_init", program.read()) is not None


def describe(problem):
    return str(problem) if isinstance(problem, Failure) else "".join(traceback.format_exception(problem))


def _end_all_but(kept):
    for process in _processes:
        if process.poll() is None and (kept is None or process.pid != kept.pid):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class Skip(Exception):
    """Why a test cannot be here."""


def main(tests, keep=lambda: None):
    """Run the functions, one TAP point each; what one has started is ended after it, but for what keep() names."""
    print(f"1..{len(tests)}")
    failed = 0
    only = sys.argv[1:]
    for number, test in enumerate(tests, 1):
        name = test.__name__
        if only and name not in only:
            print(f"ok {number} - {name} # SKIP not asked for")
            continue
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception as problem:  # pylint: disable=broad-except
            failed += 1
            print("".join(f"# {line}\n" for line in describe(problem).splitlines()), end="")
            print(f"not ok {number} - {name}", flush=True)
        finally:
            _end_all_but(keep())
    sys.exit(1 if failed else 0)

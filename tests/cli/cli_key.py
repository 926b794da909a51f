#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cli_key.py -- --key-file and --insecure: who may send a VM, who may ask for one, and files that are no keys

A source that knows the protocol from docs/protocol.md alone, with Python's hmac, speaks to a receiver here, so that code and page
are held to the same words.
"""
import contextlib
import hashlib
import hmac
import os
import re
import secrets
import signal
import socket
import struct

import rig
from rig import DONE, FAILED, USAGE, Host, check

HEADER = struct.Struct("<IHHII")
MAGIC = 0x544E4344
HELLO, WELCOME, ERROR, STATUS, CHALLENGE, PROOF, PROVED = 1, 2, 3, 23, 31, 32, 33
MIGRATE, QUERY = 1, 3
AUTH = 8
EACCES = 13

here = Host("here")
there = Host("there")


def key_file(name, text=None, mode=0o600):
    path = rig.path(name)
    with open(path, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32) + "\n" if text is None else text)
    os.chmod(path, mode)
    return path


def listen(*words, address="127.0.0.1"):
    """A receiver on @address, with the port that it took."""
    receive = there.start("receive", "--listen", f"{address}:0", *words)
    receive.port = int(receive.wait_for(r"listening on [0-9.]+:(\d+)").group(1))
    return receive


# ---- both ends with the same key, or not ----

def one_key_moves_it():
    # without a newline at the end it is the same key
    key = key_file("key")
    with open(key, encoding="ascii") as file:
        bare = key_file("bare", file.read().strip(), mode=0o400)
    run = here.run("demo", "--confine", "strict")
    receive = listen("--key-file", key, "--confine", "strict", address="0.0.0.0")
    here.decant("migrate", "demo", f"127.0.0.1:{receive.port}", "--key-file", bare).succeeded()
    check(run.wait().status == DONE, "the source should have ended")
    there.is_untouched("demo")
    there.stop("demo", receive)


def another_key_or_none_is_refused():
    key, other = key_file("right"), key_file("wrong")
    run = here.run("demo")
    receive = listen("--key-file", key)
    target = f"127.0.0.1:{receive.port}"
    here.decant("migrate", "demo", target).refused(FAILED, "--key-file")
    for _ in range(5):
        here.decant("migrate", "demo", target, "--key-file", other).refused(FAILED, "key is another one", "--key-file")
    check(here.state("demo") == "running", str(here.status("demo")))
    lines = re.findall("refused 127.0.0.1.*", receive.err())
    check(len(lines) == 2, f"one line for each cause, not for each attempt: {lines}")
    # and it is in nobody's way
    here.decant("migrate", "demo", target, "--key-file", key).succeeded()
    run.wait()
    there.is_untouched("demo")
    receive.signal(signal.SIGTERM)
    check(receive.wait().status == DONE, str(receive.done()))
    check("4 more were refused" in receive.err(), f"those that were not logged are counted: {receive.err()}")


def key_here_and_none_there_is_refused():
    run = here.run("demo")
    receive = listen()
    here.decant("migrate", "demo", f"127.0.0.1:{receive.port}", "--key-file", key_file("alone")).refused(FAILED, "no.* key|none")
    here.is_untouched("demo")
    here.stop("demo", run)


# ---- who listens where ----

def without_a_key_only_this_host_is_listened_to():
    for address in ("0.0.0.0:0", "[::]:0"):
        there.decant("receive", "--listen", address).refused(USAGE, "--key-file", "--insecure", "127.0.0.1")
    key = key_file("listen")
    there.decant("receive", "--listen", "0.0.0.0:0", "--key-file", key, "--insecure").refused(USAGE, "--insecure", "--key-file")
    for words in ([], ["--insecure"], ["--key-file", key]):
        receive = listen(*words, address="127.0.0.1" if not words else "0.0.0.0")
        receive.signal(signal.SIGTERM)
        receive.wait()


# ---- files ----

def files_that_are_no_keys():
    run = here.run("demo")
    folder, fifo = rig.path("folder.key"), rig.path("fifo.key")
    os.mkdir(folder)
    os.mkfifo(fifo, 0o600)
    for path, patterns in [
            (rig.path("missing.key"), ["missing.key", "No such file"]),
            (folder, ["not a regular file"]),
            (fifo, ["not a regular file"]),
            ("/dev/zero", ["not a regular file"]),
            (key_file("group.key", mode=0o640), ["0640", "chmod 600"]),
            (key_file("others.key", mode=0o604), ["0604", "chmod 600"]),
            (key_file("writable.key", mode=0o620), ["0620", "chmod 600"]),
            (key_file("empty.key", ""), ["0 bytes", "too short", "16"]),
            (key_file("short.key", "x" * 15 + "\n"), ["15 bytes", "too short", "openssl"]),
            (key_file("long.key", "x" * 4097), ["too long", "4096"]),
            (key_file("longer.key", "x" * 100000), ["too long", "4096"])]:
        there.decant("receive", "--listen", "127.0.0.1:0", "--key-file", path).refused(FAILED, "--key-file", *patterns)
        here.decant("migrate", "demo", "127.0.0.1:1", "--key-file", path).refused(FAILED, "--key-file", *patterns)
    for text in ("x" * 16, "x" * 4096, "x" * 4096 + "\n"):
        # this one is good: what is refused is the port
        here.decant("migrate", "demo", "127.0.0.1:1", "--key-file", key_file("good.key", text)).refused(FAILED, "refused")
    here.decant("migrate", "demo", "--fabric", "loop", "--key-file", key_file("loop.key")).refused(USAGE, "--key-file", "loop")
    here.is_untouched("demo")
    here.stop("demo", run)


# ---- the control socket ----

def descriptors(pid):
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    return sorted(found)


def control_socket_takes_one_descriptor_and_keeps_none():
    run = here.run("demo")
    before = descriptors(run.pid)
    path = os.path.join(here.runtime, "decant", "demo.sock")
    asked = b'{"verb":"migrate","peer":"127.0.0.1:1","key":%s}\n'
    with socket.socket(socket.AF_UNIX) as control:
        control.settimeout(rig.LONG)
        control.connect(path)
        replies = control.makefile("r")

        def ask(text, *names):
            files = [os.open(name, os.O_RDONLY) for name in names]
            socket.send_fds(control, [text], files)
            for file in files:
                os.close(file)
            return replies.readline()
        check("no descriptor" in ask(asked % b"true"), "a key that does not come")
        check("mode 0644" in ask(asked % b"true", key_file("open.key", mode=0o644)), "a key that others can read")
        check("not a regular file" in ask(asked % b"true", "/dev/null"), "no file")
        for _ in range(50):
            check('"ok":true' in ask(b'{"verb":"status"}\n', "/dev/null", "/dev/null", "/dev/null"), "one that nobody asked for")
        control.send(b'{"verb":"sta')
        socket.send_fds(control, [b'tus"}\n'], [0])
        check('"ok":true' in replies.readline(), "in the middle of a line")
        rig.wait_until("all are closed again", lambda: len(descriptors(run.pid)) <= len(before) + 1)
        replies.close()
    rig.wait_until("the client's too", lambda: descriptors(run.pid) == before)
    here.is_untouched("demo")
    here.stop("demo", run)


# ---- the protocol, from its page ----

def hkdf(key, salt, info):
    secret = hmac.digest(salt or b"\0" * 32, key, "sha256")
    return hmac.digest(secret, info + b"\1", "sha256")


class Session:
    """One control connection; keeps the transcript."""

    def __init__(self, port, key):
        self.key = key
        self.proof_key = hkdf(key, b"", b"decant 1 proof")
        self.transcript, self.sent, self.received = b"", 0, 0
        self.socket = socket.create_connection(("127.0.0.1", port), rig.LONG)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def frame(self, kind, payload):
        self.sent += 1
        return HEADER.pack(MAGIC, kind, 0, len(payload), self.sent - 1) + payload

    def send(self, kind, payload):
        frame = self.frame(kind, payload)
        self.transcript += frame
        with contextlib.suppress(OSError):
            self.socket.sendall(frame)

    def take(self, length):
        data = b""
        while len(data) < length:
            more = self.socket.recv(length - len(data))
            check(more, f"the receiver hung up after {data}")
            data += more
        return data

    def receive(self, expected):
        header = self.take(HEADER.size)
        magic, kind, _, length, number = HEADER.unpack(header)
        payload = self.take(length)
        check((magic, number) == (MAGIC, self.received), f"header {header}")
        check(kind == expected, f"message {kind} where {expected} was due: {payload}")
        self.received += 1
        if kind != PROVED:
            self.transcript += header + payload
        return payload

    def refused(self):
        code, length = struct.unpack_from("<II", self.receive(ERROR))
        check(code == EACCES and length > 0, f"code {code}")
        with contextlib.suppress(ConnectionResetError):
            check(self.socket.recv(1) == b"", "and that is the end")

    def hello(self, purpose, features):
        self.send(HELLO, struct.pack("<HHHHQ16s16sII64s", 1, 1, purpose, 0, features, secrets.token_bytes(16), b"", 1, 0, b"vm"))

    def prove(self, label=b"decant 1 source\0"):
        frame = self.frame(PROOF, secrets.token_bytes(32) + bytes(32))[:-32]
        mac = hmac.digest(self.proof_key, label + self.transcript + frame, hashlib.sha256)
        self.transcript += frame + mac
        self.socket.sendall(frame + mac)

    def proved(self):
        mac = hmac.digest(self.proof_key, b"decant 1 destination\0" + self.transcript, "sha256")
        check(hmac.compare_digest(self.receive(PROVED), mac), "the receiver's proof is wrong")


def a_source_made_from_the_page_is_let_in():
    path = key_file("page.key")
    with open(path, "rb") as file:
        key = file.read().strip()
    receive = listen("--key-file", path)
    with Session(receive.port, key) as session:
        session.hello(QUERY, AUTH | 1)
        session.receive(CHALLENGE)
        session.prove()
        check(struct.unpack_from("<Q", session.receive(WELCOME), 8)[0] & AUTH, "WELCOME names the feature")
        check(struct.unpack_from("<I", session.receive(STATUS))[0] == 0, "nothing is known of it")
        session.proved()
    with Session(receive.port, key) as session:
        session.hello(MIGRATE, AUTH | 1)
        session.receive(CHALLENGE)
        session.prove()
        session.receive(WELCOME)
        session.proved()
    check(receive.popen.poll() is None, "it should go on listening")


def a_source_without_the_key_is_told_nothing():
    path = key_file("silent.key")
    with open(path, "rb") as file:
        key = file.read().strip()
    receive = listen("--key-file", path)
    for purpose in (MIGRATE, QUERY):
        # no key; another; the right one, but the destination's words; a replay
        with Session(receive.port, key) as session:
            session.hello(purpose, 1)
            session.refused()
        for secret, label in ((secrets.token_bytes(64), b"decant 1 source\0"), (key, b"decant 1 destination\0"), (key, b"")):
            with Session(receive.port, secret) as session:
                session.hello(purpose, AUTH | 1)
                session.receive(CHALLENGE)
                session.prove(label)
                session.refused()
        with Session(receive.port, key) as session:
            session.hello(purpose, AUTH | 1)
            first = session.receive(CHALLENGE)
            session.prove()
            heard = session.transcript
        with Session(receive.port, key) as session:
            session.send(HELLO, heard[16:16 + 120])
            check(session.receive(CHALLENGE) != first, "a challenge is never used again")
            session.send(PROOF, heard[-64:])
            session.refused()
    run = here.run("demo")
    here.decant("migrate", "demo", f"127.0.0.1:{receive.port}", "--key-file", path).succeeded()
    run.wait()
    there.is_untouched("demo")


rig.skip_without_kvm()
rig.main([
    one_key_moves_it,
    another_key_or_none_is_refused,
    key_here_and_none_there_is_refused,
    without_a_key_only_this_host_is_listened_to,
    files_that_are_no_keys,
    control_socket_takes_one_descriptor_and_keeps_none,
    a_source_made_from_the_page_is_let_in,
    a_source_without_the_key_is_told_nothing,
])

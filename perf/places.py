# SPDX-License-Identifier: BSD-2-Clause
"""places.py -- where a process of a measurement runs: on this host, or on another that serves us

A measure starts its receiving end at one place and its sending end at another, and talks to both alike: line() reads what it says,
finish() waits for it to end well. The other host runs `bench.py --serve`, which starts whatever it is told to: for throw-away VMs
and networks of one's own only.
"""
import contextlib
import json
import socket
import subprocess
import threading
import time


class Unmeasured(Exception):
    """Why there is no figure."""


def words_text(words):
    return " ".join(words)


def ended(words, status, out, err):
    """@out if all was well."""
    if status == 0:
        return out
    said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
    raise Unmeasured(f"`{words_text(words)}` ended with {status}: {said}")


class LocalProcess:
    def __init__(self, words):
        self.words = words
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self):
        """The next line of its stdout, or "" at the end."""
        return self.child.stdout.readline()

    def finish(self):
        """The rest of its stdout, once it has ended well."""
        out, err = self.child.communicate()
        return ended(self.words, self.child.returncode, out, err)

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()

    def close(self):
        self.kill()
        self.child.communicate()


class Here:
    """This host."""

    def start(self, words):
        return LocalProcess(words)

    def close(self):
        pass


class RemoteProcess:
    """One connection to the other host's server is one process there."""

    def __init__(self, address, words):
        self.words = words
        self.connection = socket.create_connection(address, timeout=None)
        self.lines = self.connection.makefile("r", encoding="utf-8")
        self.end = None
        self.connection.sendall(json.dumps({"words": words}).encode() + b"\n")

    def line(self):
        if self.end is not None:
            return ""
        text = self.lines.readline()
        if not text:
            raise Unmeasured(f"`{words_text(self.words)}`: the other host is gone")
        said = json.loads(text)
        if "out" in said:
            return said["out"]
        self.end = said
        return ""

    def finish(self):
        out = ""
        while (text := self.line()) != "":
            out += text
        return ended(self.words, self.end["status"], out, self.end["err"])

    def kill(self):
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.kill()
        self.connection.close()


class There:
    """The host that serves at @address; it may still be booting."""

    def __init__(self, address, patience=60):
        self.address = address
        deadline = time.monotonic() + patience
        while True:
            try:
                socket.create_connection(address, timeout=5).close()
                return
            except OSError as why:
                if time.monotonic() > deadline:
                    raise Unmeasured(f"no answer from {address[0]}:{address[1]}: {why}") from why
                time.sleep(0.2)

    def start(self, words):
        return RemoteProcess(self.address, words)

    def close(self):
        """Tells the server to end."""
        with contextlib.suppress(OSError), socket.create_connection(self.address, timeout=5) as connection:
            connection.sendall(b'{"end": true}\n')


# ---- the server ----

def relay(connection, words):
    """Runs @words, and sends on what it says until it has ended or the other side is gone."""
    child = LocalProcess(words)

    def watch():
        connection.recv(1)  # nothing comes, so this is the end of the connection
        child.kill()

    threading.Thread(target=watch, daemon=True).start()
    with contextlib.suppress(OSError):
        while (text := child.line()) != "":
            connection.sendall(json.dumps({"out": text}).encode() + b"\n")
        out, err = child.child.communicate()
        connection.sendall(json.dumps({"status": child.child.returncode, "err": err or out}).encode() + b"\n")
    child.close()


def serve(address):
    """One process at a time, until it is told to end."""
    with socket.create_server(address) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                text = connection.makefile("r", encoding="utf-8").readline()
                asked = json.loads(text) if text else {}
                if asked.get("end"):
                    return
                if asked.get("words"):
                    relay(connection, asked["words"])

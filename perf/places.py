# SPDX-License-Identifier: BSD-2-Clause
"""places.py -- where a process of a measurement runs: on this host, or by a command that runs others elsewhere

A measure starts its receiving end at one place and its sending end at another, and talks to both alike: line() reads what it says,
finish() waits for it to end well. The command passes on output, exit status and SIGTERM: on-host2 of tests/vm/run does.
"""
import subprocess

GRACE_SECONDS = 15


class Unmeasured(Exception):
    """Why there is no figure."""


def words_text(words):
    return " ".join(words)


class Process:
    def __init__(self, words):
        self.words = words
        self.child = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def line(self):
        """The next line of its stdout, or "" at the end."""
        return self.child.stdout.readline()

    def finish(self):
        """The rest of its stdout, once it has ended well."""
        out, err = self.child.communicate()
        if self.child.returncode == 0:
            return out
        said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise Unmeasured(f"`{words_text(self.words)}` ended with {self.child.returncode}: {said}")

    def end(self):
        if self.child.poll() is None:
            self.child.terminate()

    def close(self):
        self.end()
        try:
            self.child.communicate(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()


class Place:
    """@by: the words of the command that runs another where it is to run; none: here."""

    def __init__(self, by=()):
        self.by = list(by)

    def start(self, words):
        return Process([*self.by, *words])

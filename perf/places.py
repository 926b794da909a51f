# SPDX-License-Identifier: BSD-2-Clause
"""places.py -- where a process of a measurement runs: on this host, or by a command that runs others elsewhere

A measure starts its receiving end at one place and its sending end at another, and talks to both alike: line() reads what it says,
finish() waits for it to end well. The command passes on output, exit status and SIGTERM: on-host2 of tests/vm/run does. ssh passes on no
signal, so there the process lives as long as its standard input.
"""
import os
import shlex
import subprocess
import tempfile

GRACE_SECONDS = 15


class Unmeasured(Exception):
    """Why there is no figure."""


def words_text(words):
    return " ".join(words)


class Process:
    """@lifeline: it ends when its standard input does, and not by a signal. @shown: what to call it."""

    def __init__(self, words, lifeline=False, shown=None):
        self.words, self.lifeline = shown or words, None
        self.complaints = tempfile.TemporaryFile("w+") # a pipe that nobody reads could fill
        if lifeline:
            stdin, self.lifeline = os.pipe()
        else:
            stdin = os.open(os.devnull, os.O_RDONLY)
        try:
            self.child = subprocess.Popen(words, stdin=stdin, stdout=subprocess.PIPE, stderr=self.complaints, text=True)
        finally:
            os.close(stdin)

    def line(self):
        """The next line of its stdout, or "" at the end."""
        return self.child.stdout.readline()

    def finish(self):
        """The rest of its stdout, once it has ended well."""
        out = self.child.stdout.read()
        if self.child.wait() == 0:
            return out
        self.complaints.seek(0)
        said = (self.complaints.read().strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise Unmeasured(f"`{words_text(self.words)}` ended with {self.child.returncode}: {said}")

    def end(self):
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        elif self.child.poll() is None:
            self.child.terminate()

    def close(self):
        self.end()
        try:
            self.child.communicate(timeout=GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.communicate()
        self.complaints.close()


class Place:
    """@by: the words of the command that runs another where it is to run; none: here."""

    def __init__(self, by=()):
        self.by = list(by)

    def start(self, words):
        return Process([*self.by, *words])


# Runs its arguments until they end or its standard input does; what reads that must hold no other stream open, or ssh would wait for it.
LIFELINE = """exec 3<&0
"$@" 3<&- </dev/null & it=$!
{ cat <&3; kill $it; } >/dev/null 2>&1 & watch=$!
exec 3<&-
wait $it; status=$?
kill $watch 2>/dev/null
exit $status"""


class Remote(Place):
    """Another host, by ssh or what is like it: @ssh HOST LINE runs a line of shell there."""

    def __init__(self, ssh, host):
        super().__init__([*ssh, host])

    def start(self, words):
        return Process([*self.by, shlex.join(["sh", "-c", LIFELINE, "sh", *words])], lifeline=True, shown=[*self.by, *words])

# SPDX-License-Identifier: BSD-2-Clause
"""observer.py -- decant-observe: one ruler for a migration by whatever program, from outside

It maps the memory of both ends and says when the stress guest's heartbeat was last seen at the source and first at the destination.
A Seen is all that it saw, in nanoseconds of the source's CLOCK_MONOTONIC, which is time.monotonic_ns() there.
"""
import contextlib
import dataclasses
import json
import os

from measures import started
from places import Unmeasured, words_text

GRACE_SECONDS = 5
LATE_NS = 5_000_000  # longest time between two looks at which a pause is still believed: from there on the ruler was asleep


@dataclasses.dataclass
class Ends:
    """Where the two ends are. Memory: a file, or PID:NAME, the memfd NAME of a process."""
    source: str
    dest: str
    source_pid: int = 0  # whose threads' CPU time is wanted
    dest_pid: int = 0


@dataclasses.dataclass
class Seen:
    command_ns: int
    source: dict  # what decant-observe has printed
    dest: dict | None  # the same of the one at the other host

    @property
    def total(self):
        """From the command to the first heartbeat at the destination, in seconds."""
        return (self.source["first_ns"] - self.command_ns) / 1e9

    @property
    def pause(self):
        """The gap in the heartbeat, in seconds."""
        return self.source["pause_ns"] / 1e9

    def work_rate(self, begin_ns, end_ns, end="source"):
        """Pages that the guest has stamped per second in that time, or None where there were not two looks."""
        looks = [look for look in self.source["series"][end] if begin_ns <= look[0] <= end_ns]
        if len(looks) < 2 or looks[-1][0] == looks[0][0]:
            return None
        return (looks[-1][2] - looks[0][2]) * 1e9 / (looks[-1][0] - looks[0][0])

    def cpu(self, end):
        """CPU seconds by threads of the end "source" or "dest", from before the command until the observer ended."""
        told = self.source if f"{end}_cpu" in self.source or self.dest is None else self.dest
        return told.get(f"{end}_cpu", {})

    def doubts(self):
        """Why the figures may be wrong, or ""."""
        late = self.source["late_ns"]
        return f"two looks of the observer were {late / 1e6:.1f} ms apart" if late > LATE_NS else ""


class Observation:
    """An observer that looks already."""

    def __init__(self, source, dest):
        self.source, self.dest = source, dest

    def finish(self, command_ns):
        """What it saw, once the guest runs at the destination; Unmeasured if it never did."""
        told = json.loads(self.source.finish())
        return Seen(command_ns, told, json.loads(self.dest.finish()) if self.dest else None)


def _pid_words(option, pid):
    return [option, str(pid)] if pid else []


def _say(process, words, wanted):
    """The rest of the line that begins with @wanted."""
    line = process.line()
    if not line.startswith(wanted):
        process.finish()
        raise Unmeasured(f"`{words_text(words)}` did not say \"{wanted}\"")
    return line[len(wanted):].strip()


@contextlib.contextmanager
def observing(setup, ends, options=()):
    """An Observation of the guest, which has begun its work; by two observers where the receiving end is elsewhere."""
    program = os.path.join(os.path.dirname(setup.driver), "decant-observe")
    options = [*options, "--seconds", str(int(setup.seconds))]
    seconds, place, host = setup.seconds + GRACE_SECONDS, setup.receiver, setup.host
    with contextlib.ExitStack() as stack:
        words = [program, "--source", ends.source, *_pid_words("--source-pid", ends.source_pid), *options]
        dest = None
        if place.by:
            there = [program, "--dest", ends.dest, "--listen", f"{host}:0", *_pid_words("--dest-pid", ends.dest_pid), *options]
            dest = stack.enter_context(started(there, seconds, place))
            words += ["--peer", f"{host}:{_say(dest, there, 'listening ')}"]
        else:
            words += ["--dest", ends.dest, *_pid_words("--dest-pid", ends.dest_pid)]
        source = stack.enter_context(started(words, seconds))
        _say(source, words, "ready")
        if dest:
            _say(dest, there, "ready")
        yield Observation(source, dest)

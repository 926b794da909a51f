# SPDX-License-Identifier: BSD-2-Clause
"""counted.py -- what the RDMA path costs where no clock is needed: decant-counted, over the RDMA device that the tests have in the process

The device counts what it is given; valgrind's callgrind counts instructions. So these figures are the same on a busy machine, but for
how often a short list had to go out because the next granule was not registered yet.
"""
import json
import os
import re
import tempfile

from measures import need, run
from places import Unmeasured, words_text

GIB = 1 << 30
MEMORY = "1G"
MEMORY_TRACED = "64M"  # callgrind runs about fifty times slower

# Where the source's threads spend what is counted: its feeder's passes, a granule registered in a thread of the map pool, and what the
# destination says of granules and barriers, in the reader's thread.
SOURCE_WORK = ("precopy_run", "map_work", "mover_intercept")
DEVICE_FILES = "tests/support/fake_verbs"


def counted(setup):
    return os.path.join(os.path.dirname(setup.driver), "decant-counted")


def took(setup, words, out):
    result = json.loads(out)
    setup.details.append({"command": words_text(words), **result})
    if result["written"] != result["pages"] * 4096:
        raise Unmeasured(f"`{words_text(words)}` wrote {result['written']} bytes of {result['pages']} pages")
    return result


def requests(setup):
    """What the device was given for a GiB, barriers and goodbye included."""
    words = [counted(setup), MEMORY]
    result = took(setup, words, run(words, setup.seconds))
    per_gib = GIB / result["written"]
    return {"wr": result["work_requests"] * per_gib, "posts": result["posts"] * per_gib, "cqe": result["signalled"] * per_gib}


# ---- callgrind ----

class Profile:
    """What is of interest in a file of callgrind's: see "Callgrind Format Specification" in valgrind's manual."""

    def __init__(self, lines):
        self.names = {}  # "fn" or "file", then number -> name
        self.functions = set()
        self.total = 0  # instructions collected
        self.device = 0  # of them those of calls into the device, with all that it called
        self.read(lines)

    def name(self, kind, text):
        number, name = re.fullmatch(r"(\(\d+\))? ?(.*)", text).groups()
        if number is None:
            return name
        return self.names.setdefault((kind, number), name)

    def read(self, lines):
        file = callee = ""
        of_call = False
        for line in lines:
            key, equals, value = line.rstrip("\n").partition("=")
            if equals and key == "fl":
                file = callee = self.name("file", value)
            elif equals and key == "fn":
                self.functions.add(self.name("fn", value))
                callee = file
            elif equals and key in ("fi", "fe"):
                self.name("file", value)
            elif equals and key in ("cfi", "cfl"):
                callee = self.name("file", value)
            elif equals and key == "cfn":
                self.name("fn", value)
            elif equals and key == "calls":
                of_call = True
            elif re.match(r"[0-9+*-]", line):
                cost = int(line.split()[1])
                if not of_call:
                    self.total += cost
                elif DEVICE_FILES in callee and DEVICE_FILES not in file:
                    self.device += cost
                if of_call:
                    callee = file
                of_call = False


def trace(setup, folder):
    out = os.path.join(folder, "callgrind.out")
    words = ["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}", "--fair-sched=yes",
             *(f"--toggle-collect={name}" for name in SOURCE_WORK), counted(setup), MEMORY_TRACED]
    result = took(setup, words, run(words, setup.seconds))
    with open(out, encoding="utf-8", errors="replace") as lines:
        return result, Profile(lines)


def instructions(setup):
    """Of the source's own code, and of libc on its behalf, for a page of contiguous data; not those of the device."""
    need("valgrind")
    with tempfile.TemporaryDirectory() as folder:
        result, profile = trace(setup, folder)
    lacking = [name for name in SOURCE_WORK if name not in profile.functions]
    if lacking or profile.device == 0:
        raise Unmeasured(f"the profile lacks {', '.join(lacking) or 'the device: built without -g?'}")
    setup.details[-1].update(collected=profile.total, of_the_device=profile.device)
    return (profile.total - profile.device) / result["pages"]


COUNTED = {
    "rdma_counts": requests,
    "rdma_instructions": instructions,
}

# SPDX-License-Identifier: BSD-2-Clause
"""measures.py -- how each rate is measured: the driver for decant and for the bare limits, and the tools that others trust

Each measure is a function of a Setup and returns bytes per second. It raises Unmeasured with a reason that says what to do.
"""
import contextlib
import dataclasses
import json
import shutil
import socket
import subprocess
import threading

DEPS = "run tools/deps.sh bench"


class Unmeasured(Exception):
    """Why there is no figure."""


@dataclasses.dataclass
class Setup:
    """What all measures of one bench have in common."""
    driver: str
    memory: str = "1G"
    page_size: str = "4K"
    streams: int = 2  # of tcp and of its baseline
    host: str = "127.0.0.1"
    seconds: float = 120.0  # for one measure
    details: list = dataclasses.field(default_factory=list)


def need(tool):
    if shutil.which(tool) is None:
        raise Unmeasured(f"{tool} is not installed: {DEPS}")


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(words, seconds):
    """A process that does not outlive the block, nor @seconds."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killer = threading.Timer(seconds, process.kill)
    killer.start()
    try:
        yield process
    finally:
        killer.cancel()
        if process.poll() is None:
            process.kill()
        process.communicate()


def words_text(words):
    return " ".join(words)


def finish(process, words):
    """Its stdout, once it has ended well."""
    out, err = process.communicate()
    if process.returncode != 0:
        said = (err.strip() or out.strip() or "it said nothing").splitlines()[-1]
        raise Unmeasured(f"`{words_text(words)}` ended with {process.returncode}: {said}")
    return out


def run(words, seconds):
    with started(words, seconds) as process:
        return finish(process, words)


# ---- the driver ----

def options(setup):
    return ["--memory", setup.memory, "--page-size", setup.page_size]


def rate_of(setup, words, out):
    result = json.loads(out)
    setup.details.append({"command": words_text(words), **result})
    if result["bytes"] == 0 or result["ns"] == 0:
        raise Unmeasured(f"`{words_text(words)}` moved nothing")
    return result["bytes"] * 1e9 / result["ns"]


def in_one_process(setup, point, *more):
    words = [setup.driver, point, "both", *options(setup), *more]
    return rate_of(setup, words, run(words, setup.seconds))


def in_two_processes(setup, point, *more):
    more = [*options(setup), "--streams", str(setup.streams), *more]
    receive = [setup.driver, point, "receive", "--address", f"{setup.host}:0", *more]
    with started(receive, setup.seconds) as receiver:
        said = receiver.stdout.readline().split()
        if len(said) != 2 or said[0] != "listening":
            finish(receiver, receive)
            raise Unmeasured(f"`{words_text(receive)}` did not say where it listens")
        send = [setup.driver, point, "send", "--address", f"{setup.host}:{said[1]}", *more]
        out = run(send, setup.seconds)
        finish(receiver, receive)  # it compares what has landed
    return rate_of(setup, send, out)


def loop(setup):
    return in_one_process(setup, "fabric", "--fabric", "loop")


def memcpy(setup):
    return in_one_process(setup, "memcpy")


def tcp(setup):
    return in_two_processes(setup, "fabric", "--fabric", "tcp")


def bare_socket(setup):
    return in_two_processes(setup, "socket")


# ---- iperf3 ----

IPERF3_SECONDS = 2


def await_line(process, words, text):
    """Reads its stdout up to a line with @text."""
    for line in process.stdout:
        if text in line:
            return
    finish(process, words)
    raise Unmeasured(f"`{words_text(words)}` never said \"{text}\"")


def iperf3(setup):
    need("iperf3")
    port = str(free_port(setup.host))
    serve = ["iperf3", "--server", "--one-off", "--forceflush", "--bind", setup.host, "--port", port]
    client = ["iperf3", "--client", setup.host, "--port", port, "--time", str(IPERF3_SECONDS), "--json"]
    with started(serve, setup.seconds) as server:
        await_line(server, serve, "listening")
        result = json.loads(run(client, setup.seconds))
    if "error" in result:  # with --json its exit status says nothing
        raise Unmeasured(f"`{words_text(client)}`: {result['error']}")
    received = result["end"]["sum_received"]
    setup.details.append({"command": words_text(client), "bytes": received["bytes"], "seconds": received["seconds"]})
    return received["bits_per_second"] / 8


NATIVE = {
    "tcp": tcp,
    "socket": bare_socket,
    "iperf3": iperf3,
    "loop": loop,
    "memcpy": memcpy,
}

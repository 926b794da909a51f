# SPDX-License-Identifier: BSD-2-Clause
"""measures.py -- how each rate is measured: the driver for decant and for the bare limits, and the tools that others trust

Each measure is a function of a Setup and returns bytes per second, unless it says what else. It raises Unmeasured with a reason that
says what to do.
"""
import contextlib
import dataclasses
import json
import os
import shutil
import socket
import threading
import time

from places import Place, Unmeasured, words_text

DEPS = "run tools/deps.sh bench"


@dataclasses.dataclass
class Setup:
    """What all measures of one bench have in common."""
    driver: str
    memory: str = "1G"
    page_size: str = "4K"
    streams: int = 2  # of tcp and of its baseline
    host: str = "127.0.0.1"  # the receiving end's address
    receiver: Place = dataclasses.field(default_factory=Place)  # where it runs
    device: str = ""  # RDMA device of both ends
    seconds: float = 120.0  # for one measure
    details: list = dataclasses.field(default_factory=list)


def decant_of(setup):
    """The program, in the build folder of the driver."""
    return os.path.join(os.path.dirname(os.path.dirname(setup.driver)), "decant")


def need(tool):
    if shutil.which(tool) is None:
        raise Unmeasured(f"{tool} is not installed: {DEPS}")


def free_port(host):
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def started(words, seconds, place=Place()):
    """A process that does not outlive the block, nor @seconds."""
    process = place.start(words)
    killer = threading.Timer(seconds, process.end)
    killer.start()
    try:
        yield process
    finally:
        killer.cancel()
        process.close()


def run(words, seconds):
    with started(words, seconds) as process:
        return process.finish()


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


def said_by_both(setup, point, *more):
    """What two processes say, as text: the sending end's words, its stdout, and the rest of the receiving end's."""
    more = [*options(setup), *more]
    receive = [setup.driver, point, "receive", "--address", f"{setup.host}:0", *more]
    with started(receive, setup.seconds, setup.receiver) as receiver:
        said = receiver.line().split()
        if len(said) != 2 or said[0] != "listening":
            receiver.finish()
            raise Unmeasured(f"`{words_text(receive)}` did not say where it listens")
        send = [setup.driver, point, "send", "--address", f"{setup.host}:{said[1]}", *more]
        out = run(send, setup.seconds)
        return send, out, receiver.finish()  # it compares what has landed


def in_two_processes(setup, point, *more):
    send, out, _ = said_by_both(setup, point, *more)
    return rate_of(setup, send, out)


def loop(setup):
    return in_one_process(setup, "fabric", "--fabric", "loop")


def memcpy(setup):
    return in_one_process(setup, "memcpy")


BEGIN_SMALL, BEGIN_LARGE = "256M", "4G"


def first_byte(setup, memory):
    """Seconds; the options that come last count."""
    words = [setup.driver, "begin", "both", *options(setup), "--fabric", "tcp", "--memory", memory]
    result = json.loads(run(words, setup.seconds))
    setup.details.append({"command": words_text(words), **result})
    if result["setup_ns"] == 0:
        raise Unmeasured(f"`{words_text(words)}` sent nothing")
    return result["setup_ns"] / 1e9


def first_byte_small(setup):
    return first_byte(setup, BEGIN_SMALL)


def first_byte_large(setup):
    return first_byte(setup, BEGIN_LARGE)


FOOTPRINT_MEMORY = "64G"  # sparse


def footprint(setup):
    """What the larger end needs beside guest memory, as a share of what it may: a five thousandth of it and 16 MiB."""
    more = ["--fabric", "tcp", "--page-size", "4K", "--memory", FOOTPRINT_MEMORY]
    words, sent, received = said_by_both(setup, "footprint", *more)
    ends = [json.loads(text)["footprint"] for text in (sent, received)]
    setup.details.append({"command": words_text(words), "footprint": ends})
    if 0 in ends:
        raise Unmeasured("/proc/self/status does not tell RssAnon and RssFile")
    return max(ends) / (size_of(FOOTPRINT_MEMORY) / 5000 + (16 << 20))


BITMAP_MEMORY = "1T"  # of the guest whose dirty bitmap it is


def bitmap_scan(setup):
    return in_one_process(setup, "bitmap-scan", "--memory", BITMAP_MEMORY)


def bitmap_read(setup):
    return in_one_process(setup, "bitmap-read", "--memory", BITMAP_MEMORY)


def tcp(setup):
    return in_two_processes(setup, "fabric", "--fabric", "tcp", "--streams", str(setup.streams))


def bare_socket(setup):
    return in_two_processes(setup, "socket", "--streams", str(setup.streams))


def rdma(setup):
    return in_two_processes(setup, "fabric", "--fabric", "rdma")


# ---- iperf3 ----

IPERF3_SECONDS = 2


def await_line(process, words, text):
    """Reads its stdout up to a line with @text."""
    while (line := process.line()) != "":
        if text in line:
            return
    process.finish()
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


# ---- perftest ----

IB_MESSAGE = 64 << 10  # its default
IB_AGREES = 1.25
IB_READS = 500
PAGE = 4096


def ib_write_bw(setup):
    """As many bytes as the guest has, by messages of perftest's own size.

    It tells its rate by a count of cycles and a guess at the CPU's frequency, which in an emulated machine can be wrong by any factor. So it is
    believed only where our clock, from its head line to its row of figures, agrees with it; else our clock counts, which has a
    little of its set-up inside.
    """
    count = max(5, size_of(setup.memory) // IB_MESSAGE)
    client, row, seconds = perftest(setup, "ib_write_bw", IB_MESSAGE, count)
    rate, own = count * IB_MESSAGE / seconds, float(row[3]) * (1 << 20)
    setup.details.append({"command": client, "bytes": count * IB_MESSAGE, "seconds": seconds, "own_rate": own})
    return believed(rate, own)


def believed(ours, own):
    return own if ours <= own <= IB_AGREES * ours else ours


def ib_read_lat(setup):
    """Seconds for one READ of a page by our clock, its set-up shared out among them all; perftest's own figures beside."""
    client, row, seconds = perftest(setup, "ib_read_lat", PAGE, IB_READS)
    setup.details.append({"command": client, "seconds": seconds / IB_READS,
                          "own_us": dict(zip(("min", "max", "typical", "average"), map(float, row[2:6])))})
    return seconds / IB_READS


def perftest(setup, tool, size, count):
    """The client's command, its row of figures, and our seconds from the head line to there."""
    need(tool)
    # stdbuf: each line is needed when it is printed
    words = ["stdbuf", "-oL", tool, "--ib-dev", setup.device, "--size", str(size), "--iters", str(count), "--CPU-freq"]
    client = [*words, setup.host]
    with started(words, setup.seconds, setup.receiver) as server:
        await_line(server, words, "Waiting for client")
        with started(client, setup.seconds) as process:
            await_line(process, client, "#bytes")
            begun = time.monotonic()
            row = process.line().split()
            seconds = time.monotonic() - begun
            process.finish()
        server.finish()
    if row[:2] != [str(size), str(count)]:
        raise Unmeasured(f"`{words_text(client)}` printed no row of figures")
    return words_text(client), row, seconds


def size_of(text):
    """Bytes of "1G"; the driver checks it too."""
    units = {"K": 10, "M": 20, "G": 30}
    return int(text[:-1]) << units[text[-1]] if text[-1] in units else int(text)


# In the order in which a round takes them there, and the next one back: so a point and its baseline are always neighbours.
NATIVE = {
    "socket": bare_socket,
    "tcp": tcp,
    "iperf3": iperf3,
    "memcpy": memcpy,
    "loop": loop,
    "first_byte_small": first_byte_small,
    "first_byte_large": first_byte_large,
    "footprint": footprint,
    "bitmap_scan": bitmap_scan,
    "bitmap_read": bitmap_read,
}

RDMA = {
    "rdma": rdma,
    "ib_write_bw": ib_write_bw,
    "ib_read_lat": ib_read_lat,
}

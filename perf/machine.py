# SPDX-License-Identifier: BSD-2-Clause
"""machine.py -- what a figure depends on besides the program: kernel, CPUs, NUMA, network interfaces, RDMA devices, versions

Needs nothing but Python, so that its text can be run at another host: `python3 -c TEXT` prints the record as JSON.
"""
import glob
import json
import os
import platform
import subprocess
import sys
import time

VERSIONS = {
    "decant": ["decant", "--version"],
    "qemu": ["qemu-system-x86_64", "--version"],
    "iperf3": ["iperf3", "--version"],
    "ib_write_bw": ["ib_write_bw", "--version"],
    "gnuplot": ["gnuplot", "--version"],
}


def first_line(words):
    try:
        out = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=10)
    except OSError:
        return "not installed"
    said = (out.stdout or out.stderr).strip()
    return said.splitlines()[0] if said else "?"


def read_first(path, prefix=""):
    """The first line that begins with @prefix, without what stands before its colon."""
    try:
        with open(path, encoding="utf-8") as text:
            return next((line.split(":", 1)[-1].strip() if prefix else line.strip() for line in text if line.startswith(prefix)), "?")
    except OSError:
        return "unknown"


def numa_nodes():
    nodes = sorted(glob.glob("/sys/devices/system/node/node[0-9]*"), key=lambda path: int(path.rsplit("node", 1)[1]))
    return [{"node": int(path.rsplit("node", 1)[1]), "cpus": read_first(path + "/cpulist"),
             "memory": read_first(path + "/meminfo", f"Node {path.rsplit('node', 1)[1]} MemTotal")} for path in nodes]


def interfaces():
    found = []
    for path in sorted(glob.glob("/sys/class/net/*")):
        driver = os.path.join(path, "device", "driver")
        found.append({"name": os.path.basename(path), "state": read_first(path + "/operstate"), "mtu": read_first(path + "/mtu"),
                      "speed_mbps": read_first(path + "/speed"), "numa_node": read_first(path + "/device/numa_node"),
                      "driver": os.path.basename(os.path.realpath(driver)) if os.path.exists(driver) else "none"})
    return found


def rdma_devices():
    return [{"name": path.split("/")[4], "port": os.path.basename(path), "state": read_first(path + "/state", "").split(": ")[-1],
             "rate": read_first(path + "/rate"), "link": read_first(path + "/link_layer"),
             "firmware": read_first(f"/sys/class/infiniband/{path.split('/')[4]}/fw_ver")}
            for path in sorted(glob.glob("/sys/class/infiniband/*/ports/*"))]


def machine(decant="decant"):
    """@decant: the program, where it is not on the PATH."""
    versions = {name: first_line([decant if name == "decant" else words[0], *words[1:]]) for name, words in VERSIONS.items()}
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "kernel": platform.release(),
        "cpu": read_first("/proc/cpuinfo", "model name"),
        "cpus": os.cpu_count(),
        "allowed_cpus": len(os.sched_getaffinity(0)),
        "memory": read_first("/proc/meminfo", "MemTotal"),
        "huge_pages_2m": read_first("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"),
        "shmem_huge_pages": read_first("/sys/kernel/mm/transparent_hugepage/shmem_enabled"),
        "governor": read_first("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "numa": numa_nodes(),
        "interfaces": interfaces(),
        "rdma_devices": rdma_devices(),
        "tcp_congestion_control": read_first("/proc/sys/net/ipv4/tcp_congestion_control"),
        "load": os.getloadavg()[0],
        "versions": versions,
    }


if __name__ == "__main__":
    print(json.dumps(machine(*sys.argv[1:])))

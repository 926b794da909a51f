#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""numa_host.py -- a migration on a host of two NUMA nodes, one CPU of which is isolated: where threads run, and where memory lies

For tests/vm/run --cpus 4 --nodes 2 --append isolcpus=3: CPUs 0-1 are node 0, 2-3 are node 1, eth0 is near node 1.
"""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "cli"))

import rig  # noqa: E402  pylint: disable=wrong-import-position
from rig import FAILED, Host, check  # noqa: E402  pylint: disable=wrong-import-position

ADDRESS = "10.8.0.1"
ALL = ("taskset", "-c", "0-3")  # the isolated one too, which nobody gets unasked
SLOW = 280


def must(*words):
    subprocess.run(words, check=True)


def prepare():
    nodes = [name for name in os.listdir("/sys/devices/system/node") if re.fullmatch(r"node\d+", name)]
    with open("/sys/devices/system/cpu/isolated", encoding="ascii") as isolated:
        found = isolated.read().strip()
    if len(nodes) != 2 or found != "3":
        print("SKIP: needs the host that its text says")
        sys.exit(77)
    must("ip", "address", "add", f"{ADDRESS}/24", "dev", "eth0")
    must("ip", "link", "set", "eth0", "up")


def threads(process, *prefixes):
    """CPUs of the threads whose names begin so."""
    found = []
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        try:
            with open(f"/proc/{process.pid}/task/{thread}/comm", encoding="utf-8") as comm:
                name = comm.read().strip()
            if name.startswith(prefixes):
                found.append((name, sorted(os.sched_getaffinity(int(thread)))))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def are_on(found, cpus):
    """All of them, and there are some. A thread begins where it was made, and moves first of all."""
    return found and all(its == cpus for _, its in found)


def pages_on_nodes(process):
    """Pages of the guest's memory by node."""
    pages = {}
    with open(f"/proc/{process.pid}/numa_maps", encoding="utf-8") as maps:
        for line in maps:
            if "memfd:ram" in line:
                for node, count in re.findall(r" N(\d+)=(\d+)", line):
                    pages[int(node)] = pages.get(int(node), 0) + int(count)
    return pages


def start_run(host, *words):
    process = host.start("run", "--name", "demo", "--memory", "32M", "--guest", "stress:wss=1M,data=8M,rate=1M", *words,
                         prefix=ALL)
    process.wait_for("demo: running", SLOW)
    return process


def probe_shows_the_map():
    host = Host("probe")
    probe = host.start("probe", "--json", prefix=ALL).wait(SLOW).succeeded().json()
    told = probe["placement"]
    check(told["cpus"] == "0-2" and told["isolated"] == "3" and told["affinity"] == "0-3", str(told))
    check("3 are isolated" in told["why"], str(told))
    check([node["cpus"] for node in told["nodes"]] == ["0-1", "2-3"], str(told))
    check([node["used"] for node in told["nodes"]] == ["0-1", "2"], str(told))
    check([node["devices"] for node in told["nodes"]] == [[], ["eth0"]], str(told))
    alone = host.start("probe", "--json", prefix=("taskset", "-c", "3")).wait(SLOW).succeeded().json()["placement"]
    check(alone["cpus"] == "0-2" and "bound to 3" in alone["why"], str(alone))
    host.start("run", "--guest", "stress", "--cpus", "3").wait(SLOW).refused(FAILED, "CPU 3: isolated")


def a_cpuset_is_kept_to():
    root = rig.path("cgroup")
    os.mkdir(root)
    must("mount", "-t", "cgroup2", "none", root)
    with open(f"{root}/cgroup.subtree_control", "w", encoding="ascii") as control:
        control.write("+cpuset")
    os.mkdir(f"{root}/small")
    with open(f"{root}/small/cpuset.cpus", "w", encoding="ascii") as cpus:
        cpus.write("1,3")
    inside = ("sh", "-c", f'echo $$ >{root}/small/cgroup.procs && exec "$@"', "sh")
    host = Host("small")
    told = host.start("probe", "--json", prefix=inside).wait(SLOW).succeeded().json()["placement"]
    check(told["cpuset"] == "1,3" and told["cpus"] == "1", str(told))
    # bound to the isolated one, it gets the other one of its cpuset
    bound = host.start("probe", "--json", prefix=(*inside, "taskset", "-c", "3")).wait(SLOW).succeeded().json()["placement"]
    check(bound["affinity"] == "3" and bound["cpus"] == "1", str(bound))
    refused = host.start("run", "--guest", "stress", "--cpus", "0-1", prefix=inside).wait(SLOW)
    refused.refused(FAILED, "CPU 0: not there, or not in this process's cpuset, which has 1,3")
    must("umount", "-l", root)


def migration_stays_near_its_network_and_off_the_isolated_cpu():
    here, there = Host("here"), Host("there")
    run = start_run(here, "--numa-node", "0")
    check(pages_on_nodes(run).keys() == {0}, f"memory at the source: {pages_on_nodes(run)}")
    receive = there.start("receive", "--listen", f"{ADDRESS}:0", "--insecure", "--numa-node", "1", prefix=ALL)
    address = receive.wait_for(r"listening on (\S+:\d+)", SLOW).group(1)
    here.start("migrate", "demo", address, "--max-downtime", "5s", "--bandwidth", "500K")
    for process in (run, receive):
        rig.wait_until("CPU 2, which is near eth0", lambda process=process: are_on(threads(process, "tcp-send", "tcp-recv"), [2]), SLOW)
        others = threads(process, "tcp-", "decant-")
        check(all(3 not in cpus for _, cpus in others), f"CPU 3 is isolated: {others}")
    rig.wait_until("the migrating thread, too", lambda: ("decant", [2]) in threads(run, "decant"), SLOW)
    rig.wait_until("memory of its own", lambda: sum(pages_on_nodes(receive).values()) > 512, SLOW)
    check(pages_on_nodes(receive).keys() == {1}, f"memory at the destination: {pages_on_nodes(receive)}")
    populating = threads(receive, "decant-populate")
    check(populating and all(cpus in ([2], [0, 1, 2]) for _, cpus in populating), str(populating))
    check([2] in [cpus for _, cpus in populating], f"nobody populated near node 1: {populating}")
    here.decant("cancel", "demo", seconds=SLOW).succeeded()


rig.skip_without_kvm()
prepare()
rig.main([
    probe_shows_the_map,
    a_cpuset_is_kept_to,
    migration_stays_near_its_network_and_off_the_isolated_cpu,
])

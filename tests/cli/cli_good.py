#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""cli_good.py -- the command line, used as it is meant to be"""
import json
import os
import resource
import signal
import subprocess

import rig
from rig import DONE, FAILED, IN_DOUBT, USAGE, Host, check

MEMORY_2M_PAGES = 32  # of 2 MiB: two guests of 32 MiB, one on each side


def new_host():
    return Host("host")


def migrate_over_tcp(run_words, migrate_words, memory="32M"):
    here, there = new_host(), new_host()
    run = here.run("demo", *run_words, memory=memory)
    receive = there.receive()
    report_path = rig.path("report.json")
    done = here.decant("migrate", "demo", receive.address, "--fabric", "tcp", "--max-downtime", "5s", "--report", report_path,
                       *migrate_words).succeeded()
    check("demo: migrated to " + receive.address in done.out, str(done))
    gone = run.wait()
    check(gone.status == DONE and f"demo: migrated to {receive.address}" in gone.out, str(gone))
    receive.wait_for("demo: running")
    check(there.state("demo") == "running", "it should run there")
    report = rig.read_report(report_path)
    check(report["decant"] == 1 and report["outcome"] == "completed" and report["guest_verdict"] == "ok", str(report))
    check(report["guest_pause_ms"] >= report["downtime_ms"] - report["clock_error_ms"], str(report))
    there.stop("demo", receive)
    return report


def tcp_with_two_vcpus_and_verify():
    report = migrate_over_tcp(["--vcpus", "2"], ["--verify", "--channels", "3"])
    check(report["verified"] is True and report["fabric"] == "tcp" and report["channels"] == 3, str(report))


def tcp_with_the_dirty_ring():
    migrate_over_tcp(["--dirty", "ring", "--vcpus", "2"], [])


def auto_says_which_and_why():
    here, there = new_host(), new_host()
    here.run("demo")
    receive = there.receive()
    report_path = rig.path("report.json")
    done = here.decant("migrate", "demo", receive.address, "--max-downtime", "5s", "--report", report_path).succeeded()
    report = rig.read_report(report_path)
    # over loopback no RDMA hardware is reached by its rail's address unless the machine has some
    wanted = "no RDMA path: " if report["fabric"] == "tcp" else " reaches "
    check(wanted in report["fabric_reason"] and report["fabric_reason"] in done.out, f"{done} {report}")
    there.stop("demo", receive)


def tcp_with_pages_of_2_mib():
    with rig.huge_pages(MEMORY_2M_PAGES):
        report = migrate_over_tcp(["--page-size", "2M"], ["--verify"])
        check(report["verified"] is True, str(report))


def loop_keeps_the_process_and_its_name():
    here = new_host()
    run = here.run("demo", "--vcpus", "2")
    before = here.status("demo")
    for _ in range(2):
        here.is_untouched("demo")
    after = here.status("demo")
    check(before["pid"] == after["pid"] == run.pid, f"{before} {after}")
    here.stop("demo", run)
    check(not os.listdir(os.path.join(here.runtime, "decant")), "socket and lock should be gone")


def receive_under_another_name_on_the_same_host():
    here = new_host()
    here.run("demo", "--prealloc")
    check(here.status("demo")["allocated_bytes"] == 32 << 20, "all of its memory is allocated")
    receive = here.receive("--name", "demo-dst", "--prealloc", "32M")
    check(here.state("demo-dst") == "waiting", "a receiver answers under its name")
    here.decant("migrate", "demo", receive.address, "--max-downtime", "5s").succeeded()
    receive.wait_for("demo-dst: running")
    listed = here.decant("list", "--json").succeeded().json()
    check([vm["vm"] for vm in listed] == ["demo-dst"], str(listed))
    check("demo-dst" in here.decant("list").succeeded().out, "list in words")
    check(here.status("demo-dst")["allocated_bytes"] == 32 << 20, "it has the memory that was there before it came")
    here.stop("demo-dst", receive)


def pause_and_resume():
    here = new_host()
    run = here.run("demo")
    check(here.decant("pause", "demo").succeeded().out == "demo: paused\n", "pause")
    check(here.state("demo") == "paused", "state")
    here.decant("pause", "demo").refused(FAILED, "demo", "paused already")
    check(here.decant("resume", "demo", "--json").succeeded().json()["vm"] == "demo", "resume --json")
    here.decant("resume", "demo").refused(FAILED, "not paused")
    here.is_untouched("demo")
    here.stop("demo", run)


def paused_vm_arrives_paused():
    here, there = new_host(), new_host()
    here.run("demo")
    receive = there.receive()
    here.decant("pause", "demo").succeeded()
    report_path = rig.path("paused.json")
    here.decant("migrate", "demo", receive.address, "--report", report_path, "--verify").succeeded()
    report = rig.read_report(report_path)
    check(report["guest_verdict"] is None and report["verified"] is True, str(report))
    receive.wait_for("demo: arrived, paused as it was")
    check(there.state("demo") == "paused", "state")
    there.decant("resume", "demo").succeeded()
    receive.wait_for("demo: running")
    there.is_untouched("demo")
    there.stop("demo", receive)


def on_to_a_third_host():
    hosts = [new_host() for _ in range(3)]
    hosts[0].run("demo")
    for here, there in zip(hosts, hosts[1:]):
        receive = there.receive()
        here.decant("migrate", "demo", receive.address, "--max-downtime", "5s").succeeded()
        receive.wait_for("demo: running")
    hosts[2].is_untouched("demo")
    hosts[2].stop("demo", receive)


def kernel_file_with_a_command_line():
    here = new_host()
    image = os.path.join(rig.BUILD, "guest", "stress.elf")
    run = here.run("demo", "--kernel", image, "--append", "wss=4M data=8M vcpus=2", "--vcpus", "2", guest=None)
    run.wait_for("2 vCPUs, 4 MiB working set")
    rig.wait_until("the guest works", lambda: here.state("demo") == "running")
    here.is_untouched("demo")
    here.stop("demo", run)


def serial_port_into_a_file():
    here = new_host()
    log = rig.path("serial.log")
    run = here.run("demo", "--serial", log)
    with open(log, encoding="utf-8") as file:
        check("4 MiB working set" in file.read(), "the guest's line")
    check("working set" not in run.out(), "and not on the standard output")
    here.stop("demo", run)


def cancel_leaves_the_guest():
    here, there = new_host(), new_host()
    run = here.run("demo")
    receive = there.receive()
    migrate = here.start("migrate", "demo", receive.address, "--bandwidth", "1M")
    rig.wait_until("it migrates", lambda: here.state("demo") == "migrating")
    here.decant("pause", "demo").refused(FAILED, "being migrated")
    here.decant("stop", "demo").refused(FAILED, "being migrated")
    check("to" in here.status("demo"), "status tells where to")
    check("cancelled" in here.decant("cancel", "demo").succeeded().out, "cancel")
    migrate.wait().refused(FAILED, "demo", "cancel")
    here.decant("cancel", "demo").refused(FAILED, "not being migrated")
    here.is_untouched("demo")
    here.decant("migrate", "demo", receive.address, "--max-downtime", "5s").succeeded()
    check(run.wait().status == DONE, str(run.done()))
    receive.wait_for("demo: running")
    there.stop("demo", receive)


def guest_that_outruns_the_fabric_is_slowed():
    here, there = new_host(), new_host()
    run = here.run("fast", "--vcpus", "2", guest="stress:wss=8M,data=2M,rate=200M")
    receive = there.receive()
    report_path = rig.path("slowed.json")
    done = here.decant("migrate", "fast", receive.address, "--fabric", "tcp", "--bandwidth", "24M", "--max-downtime", "150ms",
                       "--if-not-converging", "throttle", "--report", report_path).succeeded()
    throttle = rig.read_report(report_path)["throttle"]
    shares = throttle["vcpu_max_permille"]
    # the dirty log does not tell which of the two writes
    check(len(shares) == 2 and shares[0] == shares[1] == throttle["max_permille"] > 0 and throttle["alike"] is True, str(throttle))
    check("2 of 2 vCPUs slowed" in done.out and "all alike" in done.out and ", slowed by " in done.err + done.out, str(done))
    check("all are slowed alike" in run.err() + run.out(), run.err())
    receive.wait_for("fast: running")
    there.stop("fast", receive)


def json_events():
    here, there = new_host(), new_host()
    run = here.start("run", "--name", "demo", "--memory", "32M", "--guest", "stress:wss=4M", "--json")
    run.wait_for('"event":"running"')
    receive = there.start("receive", "--listen", "127.0.0.1:0", "--json")
    receive.wait_for('"event":"listening"')
    address = json.loads(receive.out().splitlines()[0])["address"]
    lines = here.decant("migrate", "demo", address, "--json", "--max-downtime", "5s").succeeded().out.splitlines()
    events = [json.loads(line) for line in lines]
    check(events[-1]["event"] == "finished" and events[-1]["report"]["outcome"] == "completed", str(events[-1]))
    shown = [event["permille"] for event in events if event["event"] == "progress"]
    check(shown == sorted(shown), f"progress runs backwards: {shown}")
    run.wait()
    check(json.loads(run.out().splitlines()[-1])["event"] == "migrated", run.out())
    receive.wait_for('"event":"arrived"')
    there.stop("demo", receive)


def signals_end_a_vm():
    here = new_host()
    for number in (signal.SIGTERM, signal.SIGINT):
        run = here.run("demo")
        run.signal(number)
        check(run.wait().status == DONE, str(run.done()))
    receive = here.receive("--name", "demo")
    receive.signal(signal.SIGTERM)
    receive.wait().refused(FAILED, "no VM had been taken in")
    receive = here.receive("--name", "demo")
    here.decant("stop", "demo").succeeded()
    receive.wait().refused(FAILED, "no VM had been taken in")


def signal_to_a_vm_that_is_being_migrated():
    here, there = new_host(), new_host()
    run = here.run("demo")
    receive = there.receive()
    migrate = here.start("migrate", "demo", receive.address, "--bandwidth", "1M")
    rig.wait_until("it migrates", lambda: here.state("demo") == "migrating")
    run.signal(signal.SIGTERM)
    migrate.wait().refused(FAILED, "cancelled")
    check(run.wait().status == DONE, str(run.done()))
    check(receive.popen.poll() is None, "the receiver waits for the next")


def the_name_of_a_dead_process_is_free():
    here = new_host()
    run = here.run("demo")
    run.signal(signal.SIGKILL)
    run.wait()
    check(here.decant("list", "--json").succeeded().json() == [], "the dead are not listed")
    here.decant("status", "demo").refused(FAILED, 'no VM named "demo"')
    run = here.run("demo")
    here.stop("demo", run)


def death_of_the_source_leaves_the_client_in_doubt():
    here, there = new_host(), new_host()
    run = here.run("demo")
    receive = there.receive()
    migrate = here.start("migrate", "demo", receive.address, "--bandwidth", "1M")
    rig.wait_until("it migrates", lambda: here.state("demo") == "migrating")
    run.signal(signal.SIGKILL)
    migrate.wait().refused(IN_DOUBT, "nothing more is known")


def probe_tells_what_there_is():
    here = new_host()
    probe = here.decant("probe", "--json").succeeded().json()
    check(probe["kvm"]["usable"] is True and probe["memory"]["numa_nodes"], str(probe))
    words = here.decant("probe").succeeded().out
    check("KVM" in words, words)
    for text in probe["advice"]:
        check(f"- {text}\n" in words, f"not in words: {text}")


def probe_tells_of_rdma_or_why_there_is_none():
    here = new_host()
    probe, words = here.decant("probe", "--json").succeeded().json(), here.decant("probe").succeeded().out
    network, memory = probe["network"], probe["memory"]
    there = os.listdir("/sys/class/infiniband") if os.path.isdir("/sys/class/infiniband") else []
    check({port["name"] for port in network["rdma_devices"]} == set(there), f"{there}: {network}")
    for port in network["rdma_devices"]:
        check(f"{port['name']} port {port['port']}" in words, words)
        check(port["usable"] == bool(port["addresses"]) == (port["error"] is None), str(port))
    if not there:
        check("RDMA           no devices\n" in words and network["fabric"] == "tcp", words)
        check(network["rdma_usable"] is False and network["rdma_error"].startswith("no RDMA device"), str(network))
        check(f"RDMA: {network['rdma_error']}" in probe["advice"], str(probe["advice"]))
    soft = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    check(memory["memlock_bytes"] == ("unlimited" if soft == resource.RLIM_INFINITY else soft), str(memory))


def cpus_of_threads(process):
    """Name and CPUs of each thread; a thread that ends meanwhile is left out."""
    found = []
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        try:
            name = open(f"/proc/{process.pid}/task/{thread}/comm", encoding="utf-8").read().strip()
            found.append((name, frozenset(os.sched_getaffinity(int(thread)))))
        except (FileNotFoundError, ProcessLookupError):
            pass
    return found


def ran_elsewhere(threads, prefixes, cpus):
    return [thread for thread in threads if thread[0].startswith(prefixes) and thread[1] != cpus]


def threads_stay_on_the_cpus_asked_for():
    own = sorted(os.sched_getaffinity(0))
    if len(own) < 2:
        raise rig.Skip("one CPU alone: there is nothing to choose from")
    here, there = new_host(), new_host()
    run = here.run("demo", "--cpus", own[0])
    receive = there.receive("--cpus", own[1])
    migrate = here.start("migrate", "demo", receive.address, "--bandwidth", "1M")
    rig.wait_until("data flows", lambda: any(name.startswith("tcp-send") for name, _ in cpus_of_threads(run))
                   and any(name.startswith("tcp-recv") for name, _ in cpus_of_threads(receive)))
    source, destination = cpus_of_threads(run), cpus_of_threads(receive)
    first, second, both = frozenset(own[:1]), frozenset(own[1:2]), frozenset(own)
    check(not ran_elsewhere(source, ("tcp-", "decant-"), first), str(source))
    check(("decant", first) in source, f"the migrating thread: {source}")
    check(("vcpu0", both) in source and ("vcpu0", both) in destination, f"the guest's: {source} {destination}")
    check(not ran_elsewhere(destination, ("tcp-", "decant-"), second), str(destination))
    check({"decant-populate", "decant-control", "decant-greeter"} <= {name[:15] for name, _ in destination}, str(destination))
    here.decant("cancel", "demo").succeeded()
    migrate.wait()
    # the migration's own --cpus comes before that of the process
    other = new_host().receive()
    here.start("migrate", "demo", other.address, "--bandwidth", "1M", "--cpus", own[1])
    rig.wait_until("they have moved", lambda: ("tcp-send-0", second) in cpus_of_threads(run))
    here.decant("cancel", "demo").succeeded()
    here.is_untouched("demo")
    here.stop("demo", run)


def cpus_that_are_not_there():
    here = new_host()
    here.decant("run", "--guest", "stress", "--cpus", 8000).refused(FAILED, "CPU 8000: not there, or not in this process's cpuset")
    here.decant("run", "--guest", "stress", "--cpus", "1-").refused(USAGE, "--cpus", "0-3,8")
    here.decant("receive", "--listen", "127.0.0.1:0", "--cpus", 8000).refused(FAILED, "CPU 8000")
    here.decant("run", "--guest", "stress", "--numa-node", 1000).refused(FAILED, "no NUMA node 1000")
    run = here.run("demo", "--numa-node", 0)
    here.decant("migrate", "demo", "127.0.0.1:1", "--cpus", 8000).refused(FAILED, "CPU 8000")
    here.stop("demo", run)


def probe_maps_nodes_and_cpus():
    here = new_host()
    own = sorted(os.sched_getaffinity(0))
    told = here.start("probe", "--json", prefix=("taskset", "-c", str(own[-1]))).wait().succeeded().json()["placement"]
    check(told["cpus"] == told["affinity"] == str(own[-1]) and told["why"] == "all that this process may use", str(told))
    check(told["nodes"] and all({"node", "cpus", "used", "devices"} <= set(node) for node in told["nodes"]), str(told))
    here.env["HWLOC_SYNTHETIC"] = "pack:2 [numa] core:2 pu:1"
    told = here.decant("probe", "--json").succeeded().json()["placement"]
    check([node["cpus"] for node in told["nodes"]] == ["0-1", "2-3"], str(told))
    words = here.decant("probe").succeeded().out
    check(f"decant's threads run on {told['cpus']}: " in words and "node 1        CPUs 2-3; decant: " in words, words)


def help_and_version():
    here = new_host()
    check(here.decant("--version").succeeded().out.startswith("decant 0."), "version")
    verbs = ["run", "receive", "migrate", "list", "status", "pause", "resume", "cancel", "stop", "probe", "proxy"]
    for verb in verbs:
        check(verb in here.decant("--help").succeeded().out, verb)
        check(here.decant(verb, "--help").succeeded().out.startswith(f"decant {verb}"), verb)
    for name in ("decant", "decant-proxy") if os.path.exists("/usr/bin/man") else ():
        page = subprocess.run(["man", "-l", f"docs/man/{name}.1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=dict(os.environ, LC_ALL="C"), check=False)
        check(page.returncode == 0 and not page.stderr, f"the manual {name}(1) has mistakes: {page.stderr}")


rig.skip_without_kvm()
rig.main([
    tcp_with_two_vcpus_and_verify,
    tcp_with_the_dirty_ring,
    auto_says_which_and_why,
    tcp_with_pages_of_2_mib,
    loop_keeps_the_process_and_its_name,
    receive_under_another_name_on_the_same_host,
    pause_and_resume,
    paused_vm_arrives_paused,
    on_to_a_third_host,
    kernel_file_with_a_command_line,
    serial_port_into_a_file,
    cancel_leaves_the_guest,
    guest_that_outruns_the_fabric_is_slowed,
    json_events,
    signals_end_a_vm,
    signal_to_a_vm_that_is_being_migrated,
    the_name_of_a_dead_process_is_free,
    death_of_the_source_leaves_the_client_in_doubt,
    probe_tells_what_there_is,
    probe_tells_of_rdma_or_why_there_is_none,
    threads_stay_on_the_cpus_asked_for,
    cpus_that_are_not_there,
    probe_maps_nodes_and_cpus,
    help_and_version,
])

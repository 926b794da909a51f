#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""perf_report.py -- the harness's reporter and runner: what a figure is, and that nothing that is missing goes unsaid; TAP"""
import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
import types

sys.dont_write_bytecode = True
ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(ROOT, "perf"))

import bench
import measures
import moves_rdma
import observer
import places
import qemu
import report
import scenarios
import tap
from tap import equal

LINE = report.Line("a_vs_b", "a", "b", 0.8)
SCRATCH = tempfile.mkdtemp()


def rounds(*pairs):
    return [{"a": a, "b": b} for a, b in pairs]


def program(name, text):
    path = os.path.join(SCRATCH, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write("#!/bin/sh\n" + text + "\n")
    os.chmod(path, stat.S_IRWXU)
    return path


@contextlib.contextmanager
def path_of(folders):
    """Programs are looked for there."""
    before = os.environ["PATH"]
    os.environ["PATH"] = folders
    try:
        yield
    finally:
        os.environ["PATH"] = before


def test_value__is_the_median_of_the_ratios():
    outcome = report.evaluate(LINE, rounds((9, 10), (1, 10), (40, 50)), {})

    equal(outcome.value, 0.8)
    equal(outcome.ratios, [0.9, 0.1, 0.8])
    equal(outcome.rates, {"a": 9, "b": 10})


def test_value__of_an_even_number_lies_between_the_middle_two():
    equal(report.evaluate(LINE, rounds((1, 2), (3, 4)), {}).value, 0.625)


def test_value__pairs_only_what_one_round_measured():
    outcome = report.evaluate(LINE, [{"a": 5}, {"b": 1}, {"a": 1, "b": 2}], {"b": "broke"})

    equal(outcome.ratios, [0.5])
    equal(outcome.reason, "broke")


def test_reached__looks_the_right_way():
    lower = report.Line("c", "a", "b", 0.8, better="lower")

    assert report.evaluate(LINE, rounds((8, 10)), {}).reached
    assert not report.evaluate(LINE, rounds((7, 10)), {}).reached
    assert report.evaluate(lower, rounds((7, 10)), {}).reached
    assert not report.evaluate(lower, rounds((9, 10)), {}).reached


def test_results__have_the_promised_keys():
    row, = report.as_results([report.evaluate(LINE, rounds((9, 10), (8, 10)), {})])

    equal(row, {"name": "a_vs_b", "value": 0.85, "goal": 0.8, "better": "higher", "runs": 2, "min": 0.8, "max": 0.9})


def test_results__a_line_without_a_value_stays_and_says_why():
    outcome = report.evaluate(LINE, [{"a": 1}], {"b": "iperf3 is not installed"})
    row, = report.as_results([outcome])

    equal((row["value"], row["runs"], row["error"]), (None, 0, "iperf3 is not installed"))
    assert not outcome.reached
    assert "NOT MEASURED: iperf3 is not installed" in report.table([outcome])


def test_results__no_rounds_at_all_is_said_too():
    assert report.evaluate(LINE, [], {}).reason


def test_table__shows_reached_and_missed_beside_the_goal():
    text = report.table([report.evaluate(LINE, rounds((9, 10)), {}), report.evaluate(LINE, rounds((7, 10)), {})])

    good, bad = text.splitlines()[1:]
    assert "0.900" in good and ">= 0.8" in good and "reached" in good, good
    assert "0.700" in bad and "MISSED" in bad, bad


def test_markdown__has_a_row_for_each_line_measured_or_not():
    lower = report.Line("c_vs_b", "c", "b", 3, better="lower")
    rows = report.as_results([report.evaluate(LINE, rounds((9, 10), (8, 10)), {}), report.evaluate(lower, [], {"c": "no c"})])

    equal(report.markdown(rows).splitlines()[2:], ["| `a_vs_b` | >= 0.8 | 0.85 | 0.8 to 0.9 | 2 |",
                                                   "| `c_vs_b` | <= 3 | not measured: no c | | 0 |"])


def test_save__replaces_the_file_as_a_whole():
    path = os.path.join(SCRATCH, "new", "results.json")

    report.save(path, [1])
    report.save(path, [{"name": "x"}])

    with open(path, encoding="utf-8") as text:
        equal(json.load(text), [{"name": "x"}])
    equal(os.listdir(os.path.dirname(path)), ["results.json"])


def test_rounds__go_there_and_back_and_on_without_what_has_failed():
    order = []

    def good(name):
        return lambda setup: order.append(name) or 1.0

    def bad(setup):
        order.append("bad")
        raise places.Unmeasured("no such tool")

    found, failures = bench.take_rounds({"x": good("x"), "bad": bad, "y": good("y")}, {"x": 3, "bad": 3, "y": 3}, None, lambda _: None)

    equal(order, ["x", "bad", "y", "y", "bad", "x", "x", "y"])
    equal(found, 3 * [{"x": 1.0, "y": 1.0}])
    equal(failures, {"bad": "no such tool"})


def test_rounds__a_measure_may_return_several_figures_and_take_part_in_few():
    found, failures = bench.take_rounds({"x": lambda _: 1.0, "many": lambda _: {"a": 2.0, "b": 3.0}}, {"x": 2, "many": 1}, None,
                                        lambda _: None)

    equal(found, [{"x": 1.0, "many.a": 2.0, "many.b": 3.0}, {"x": 1.0}])
    equal(failures, {})


def test_rounds__are_as_many_as_the_line_that_wants_most_of_them():
    lines = [report.Line("a", "x.one", "y", 1), report.Line("b", "x.two", (), 1, runs=3), report.Line("c", "z", (), 1, runs=3)]

    equal(bench.rounds_of(lines, 10), {"x": 10, "y": 10, "z": 3})
    equal(bench.rounds_of(lines, 2), {"x": 2, "y": 2, "z": 2})


def test_rounds__what_no_line_needs_is_taken_once_besides():
    taken = []
    table = {name: lambda setup, name=name: taken.append(name) or 1.0 for name in ("a", "b", "beside", "other")}
    found = bench.measure(table, [LINE], measures.Setup(driver="none"), 2, ("beside",))

    equal(sorted(taken), ["a", "a", "b", "b", "beside"])
    equal([sorted(r) for r in found["rounds"]], [["a", "b", "beside"], ["a", "b"]])


def test_value__without_a_baseline_is_the_figure_itself():
    alone = report.Line("d", "m.count", (), 60, better="lower", unit="")
    outcome = report.evaluate(alone, [{"m.count": 50, "m.other": 1}], {})

    equal((outcome.value, outcome.reached), (50, True))


def test_value__of_several_baselines_is_against_the_one_with_the_best_median():
    lower = report.Line("d", "p", ("slow", "fast"), 0.85, better="lower", unit="s")
    found = [{"p": 1.0, "slow": 4.0, "fast": 2.0}, {"p": 1.0, "slow": 1.0, "fast": 2.0}, {"p": 1.0, "slow": 4.0, "fast": 2.0}]

    equal(report.evaluate(lower, found, {}).ratios, [0.5, 0.5, 0.5])


def test_value__needs_all_that_its_measures_failed_to_bring():
    outcome = report.evaluate(report.Line("d", "m.count", (), 60), [], {"m": "broke"})

    equal((outcome.value, outcome.reason), (None, "broke"))


def test_lines__each_has_a_group_that_takes_all_of_it():
    for line in scenarios.LINES:
        assert scenarios.group_of(line) in scenarios.GROUPS


def test_rdma__vcpus_are_held_and_no_other_thread_is():
    names, threads = ("vcpu0", "CPU 1/KVM", "rdma-sink"), {}
    begun, end = threading.Barrier(len(names) + 1), threading.Event()

    def work(name):
        threads[name] = threading.get_native_id()
        with open(f"/proc/self/task/{threads[name]}/comm", "w", encoding="utf-8") as comm:
            comm.write(name)
        begun.wait()
        end.wait()

    workers = [threading.Thread(target=work, args=(name,)) for name in names]
    for worker in workers:
        worker.start()
    begun.wait()
    written, write = [], moves_rdma.write
    moves_rdma.write = lambda path, text: written.append((os.path.relpath(path, SCRATCH), text))
    try:
        moves_rdma.into_group(SCRATCH, types.SimpleNamespace(ends=observer.Ends("", "", os.getpid())))
    finally:
        moves_rdma.write = write
        end.set()
        for worker in workers:
            worker.join()

    equal(written[:3], [("cgroup.subtree_control", "+cpu"), ("vcpu/cgroup.type", "threaded"), ("vcpu/cpu.max", moves_rdma.CPU_MAX)])
    equal(sorted(written[3:]), sorted(("vcpu/cgroup.threads", str(threads[name])) for name in names[:2]))


def test_qemu__is_told_of_a_return_path_where_there_is_one():
    setup = measures.Setup(driver=os.path.join(SCRATCH, "perf", "decant-point"))
    with_path = qemu.QemuPair(setup, moves_rdma.GUEST, program="true")
    without = qemu.QemuPair(setup, moves_rdma.GUEST, "rdma", ["rdma-pin-all"], program="true", return_path=False)

    equal(with_path.capabilities, ["events", "return-path"])
    equal(without.capabilities, ["events", "rdma-pin-all"])


def unmeasured(measure, setup):
    try:
        measure(setup)
    except places.Unmeasured as why:
        return str(why)
    raise AssertionError("it was measured")


def test_measure__of_a_tool_that_is_missing_says_how_to_get_it():
    with path_of(SCRATCH):
        why = unmeasured(measures.iperf3, measures.Setup(driver="none"))

    assert "iperf3 is not installed" in why and "tools/deps.sh bench" in why, why


def test_measure__takes_the_rate_from_bytes_and_time():
    driver = program("half", 'echo \'{"bytes": 1000, "ns": 500}\'')

    equal(measures.memcpy(measures.Setup(driver=driver)), 2e9)


def test_measure__of_a_driver_that_fails_repeats_what_it_said():
    driver = program("fails", "echo first >&2; echo the destination differs >&2; exit 1")

    why = unmeasured(measures.loop, measures.Setup(driver=driver))
    assert "ended with 1" in why and "the destination differs" in why, why


def test_measure__a_receiver_that_finds_a_difference_fails_it():
    driver = program("differs", 'if [ "$2" = receive ]; then echo listening 1; sleep 0.1; echo differs >&2; exit 1; fi\n'
                                'echo \'{"bytes": 1, "ns": 1}\'')

    why = unmeasured(measures.tcp, measures.Setup(driver=driver))
    assert "receive" in why and "differs" in why, why


def test_measure__that_moved_nothing_is_no_figure():
    driver = program("nothing", 'echo \'{"bytes": 0, "ns": 7}\'')

    assert "moved nothing" in unmeasured(measures.loop, measures.Setup(driver=driver))


def test_measure__that_hangs_is_ended():
    driver = program("hangs", "exec sleep 600")

    assert "ended with -15" in unmeasured(measures.memcpy, measures.Setup(driver=driver, seconds=0.3))


def perftest_says(row, measure, setup):
    """What @measure finds by a perftest that takes half a second for its row, of which a busy machine may see less, or more."""
    program(measure.__name__, f"""case $* in
*10.0.0.1) echo ' #bytes #iterations'; sleep 0.5; echo '{row}' ;;
*) echo 'Waiting for client to connect' ;;
esac""")
    setup.host = "10.0.0.1"
    with path_of(SCRATCH + ":" + os.environ["PATH"]):
        return measure(setup)


def written(row):
    return perftest_says(row, measures.ib_write_bw, measures.Setup(driver="none", memory="64M"))


def test_perftest__is_believed_where_our_clock_agrees():
    equal(measures.believed(100, 110), 110)
    equal([measures.believed(100, own) for own in (0, 50, 200)], [100, 100, 100])


def test_perftest__is_timed_by_our_clock_where_its_own_is_wrong():
    rate = written("65536 1024 0.00 0.00 0.000711")

    assert (64 << 20) / 50 < rate < (64 << 20) / 0.05, rate


def test_perftest__without_figures_is_no_figure():
    try:
        written("Failed to exchange data")
    except places.Unmeasured as why:
        assert "no row" in str(why), why
        return
    raise AssertionError("taken for a figure")


def test_perftest__of_reads_is_a_time_and_keeps_what_the_tool_says():
    setup = measures.Setup(driver="none")
    seconds = perftest_says("4096 500 1.5 9.5 2.5 3.5 0.1 9.0 9.4", measures.ib_read_lat, setup)

    assert 0.05 / 500 < seconds < 50 / 500, seconds
    equal(setup.details[0]["own_us"], {"min": 1.5, "max": 9.5, "typical": 2.5, "average": 3.5})


def test_place__elsewhere_runs_it_by_another_command():
    with measures.started(["echo", "one two"], 30, places.Place(["env", "printf", "%s\\n"])) as process:
        equal([process.line(), process.line(), process.finish()], ["echo\n", "one two\n", ""])


def test_place__what_is_left_at_the_end_is_told_to_end():
    told = os.path.join(SCRATCH, "told")
    with measures.started(["sh", "-c", f"trap 'touch {told}; exit' TERM; echo ready; while :; do sleep 0.05; done"], 30) as process:
        equal(process.line(), "ready\n")

    assert os.path.exists(told)


def test_bench__exits_1_and_shows_the_line_when_a_measure_fails():
    os.makedirs(os.path.join(SCRATCH, "build", "perf"), exist_ok=True)
    os.symlink(program("broken", "echo broken >&2; exit 1"), os.path.join(SCRATCH, "build", "perf", "decant-point"))
    done = subprocess.run([sys.executable, os.path.join(ROOT, "perf", "bench.py"), "--build", os.path.join(SCRATCH, "build"),
                           "--only", "loop_vs_memcpy", "--runs", "2"], capture_output=True, text=True, check=False)

    equal(done.returncode, 1)
    assert "loop_vs_memcpy" in done.stdout and "NOT MEASURED" in done.stdout, done.stdout
    with open(os.path.join(SCRATCH, "build", "bench", "results.json"), encoding="utf-8") as text:
        row, = json.load(text)
    equal((row["name"], row["value"]), ("loop_vs_memcpy", None))
    assert "broken" in row["error"], row


STATUS = tap.run(globals())
subprocess.run(["rm", "-rf", SCRATCH], check=True)
sys.exit(STATUS)

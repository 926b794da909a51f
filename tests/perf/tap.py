# SPDX-License-Identifier: BSD-2-Clause
"""tap.py -- for the tests of the harness: each function test_* of a program is a TAP point"""
import traceback


class Skip(Exception):
    """Why a test cannot be."""


def equal(found, wanted):
    assert found == wanted, f"found {found!r}, wanted {wanted!r}"


def run(names):
    """Runs the tests among @names, a program's globals(). Returns the exit status."""
    tests = [(name, test) for name, test in names.items() if name.startswith("test_")]
    print(f"1..{len(tests)}")
    failed = 0
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}")
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}")
        except Exception:
            failed += 1
            print(f"not ok {number} - {name}")
            print("# " + traceback.format_exc().replace("\n", "\n# "))
    return int(failed > 0)

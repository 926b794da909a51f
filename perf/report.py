# SPDX-License-Identifier: BSD-2-Clause
"""report.py -- the reporter: from what was measured to ratios, a table, and results.json

A Line is a ratio of two figures taken in the same round, one right after the other, or one figure by itself. Its value is the median
over the rounds; a line that could not be measured stays in the table and in results.json, with the reason and without a value.
"""
import dataclasses
import json
import os
import statistics
import sys


@dataclasses.dataclass(frozen=True)
class Line:
    """One line of the table: figure @point by figure @baseline, each "MEASURE" or "MEASURE.KEY" where a measure returns several."""
    name: str
    point: str
    baseline: str | tuple  # several: the best of them counts; (): the point's figure is the value itself
    goal: float
    better: str = "higher"
    unit: str = "B/s"  # of the figures: B/s, s, ns; "": a number
    runs: int = 0  # at most so many rounds; 0: as many as are asked for

    @property
    def baselines(self):
        return (self.baseline,) if isinstance(self.baseline, str) else tuple(self.baseline)

    @property
    def figures(self):
        return (self.point, *self.baselines)

    @property
    def measures(self):
        """What has to be taken."""
        return tuple(dict.fromkeys(measure_of(figure) for figure in self.figures))


def measure_of(figure):
    return figure.split(".")[0]


@dataclasses.dataclass
class Outcome:
    """What came of a line. @reason tells why it has no value, or fewer runs than were asked for."""
    line: Line
    ratios: list
    rates: dict  # figure -> median
    reason: str = ""

    @property
    def value(self):
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def reached(self):
        if self.value is None:
            return False
        return self.value >= self.line.goal if self.line.better == "higher" else self.value <= self.line.goal


def evaluate(line, rounds, failures):
    """@rounds: a dictionary figure -> value for each round, without those that failed; @failures: measure -> reason."""
    whole = [r for r in rounds if all(name in r for name in line.figures)]
    rates = {name: statistics.median(r[name] for r in whole) for name in line.figures} if whole else {}
    reasons = [failures[name] for name in line.measures if name in failures]
    if not whole and not reasons:
        reasons = ["no round had all that it needs"]
    return Outcome(line, ratios_of(line, whole, rates), rates, "; ".join(reasons))


def ratios_of(line, rounds, rates):
    if not line.baselines:
        return [r[line.point] for r in rounds]
    if not rounds:
        return []
    best = (min if line.better == "lower" else max)(line.baselines, key=lambda name: rates[name])
    return [r[line.point] / r[best] for r in rounds]


def as_results(outcomes):
    """The list of results.json."""
    rows = []
    for outcome in outcomes:
        line = outcome.line
        row = {"name": line.name, "value": None if outcome.value is None else round(outcome.value, 4), "goal": line.goal,
               "better": line.better, "runs": len(outcome.ratios)}
        if outcome.ratios:
            row.update(min=round(min(outcome.ratios), 4), max=round(max(outcome.ratios), 4))
        if outcome.reason:
            row["error"] = outcome.reason
        rows.append(row)
    return rows


def rate_text(rate):
    return f"{rate / 1e9:.2f} GB/s" if rate >= 1e9 else f"{rate / 1e6:.1f} MB/s"


def figure_text(value, unit):
    if unit == "B/s":
        return rate_text(value)
    return f"{value * 1e-6:.3f} ms" if unit == "ns" else f"{value:.4g} {unit}".rstrip()


def row_text(outcome):
    line = outcome.line
    goal = f"{'>=' if line.better == 'higher' else '<='} {line.goal:g}"
    if outcome.value is None:
        return f"{line.name:22} {'-':>7} {'':15} {goal:>8}  NOT MEASURED: {outcome.reason}"
    spread = f"{min(outcome.ratios):.2f} .. {max(outcome.ratios):.2f}"
    rates = ", ".join(f"{name} {figure_text(rate, line.unit)}" for name, rate in outcome.rates.items())
    text = (f"{line.name:22} {outcome.value:7.3f} {spread:^15} {goal:>8}  {'reached' if outcome.reached else 'MISSED':7}"
            f"  {len(outcome.ratios)} runs: {rates}")
    return text if not outcome.reason else f"{text}; INCOMPLETE: {outcome.reason}"


def table(outcomes):
    head = f"{'line':22} {'reached':>7} {'lowest..highest':^15} {'goal':>8}"
    return "\n".join([head] + [row_text(outcome) for outcome in outcomes])


def save(path, value):
    """Whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".part", "w", encoding="utf-8") as out:
        json.dump(value, out, indent=1)
        out.write("\n")
    os.replace(path + ".part", path)


# ---- results.json as a table of Markdown: perf/report.py build/bench/results.json ----

def markdown_row(row):
    goal = f"{'>=' if row['better'] == 'higher' else '<='} {row['goal']:g}"
    if row["value"] is None:
        return f"| `{row['name']}` | {goal} | not measured: {row['error']} | | 0 |"
    return f"| `{row['name']}` | {goal} | {row['value']:.3g} | {row['min']:.3g} to {row['max']:.3g} | {row['runs']} |"


def markdown(rows):
    return "\n".join(["| line | goal | reached | lowest to highest | rounds |", "|---|---|---|---|---|", *map(markdown_row, rows)])


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as results:
        print(markdown(json.load(results)))

# SPDX-License-Identifier: BSD-2-Clause
"""page.py -- the report: one HTML page that needs nothing else, from results.json"""
import base64
import html
import json

import figures
import plots
from places import Unmeasured

FORMAT = 1
STYLE = """body { font: 15px/1.45 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0; font-size: 13px } td, th { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: right }
td:first-child, th:first-child { text-align: left } img { max-width: 100% } figure { margin: 1em 0 } figcaption { color: #555; font-size: 13px }
.missing { color: #a00 } dt { font-weight: bold } dd { margin: 0 0 .3em 1.5em; overflow-wrap: anywhere }"""
# figure -> head of its column, scale, decimals
COLUMNS = {
    "throughput": ("MB/s", 1e-6, 0),
    "throughput_vs_baseline": ("of baseline", 1, 2),
    "total": ("total, ms", 1, 0),
    "passes": ("passes", 1, 0),
    "pause_vmm": ("pause VMM, ms", 1, 2),
    "pause_guest": ("guest, ms", 1, 2),
    "pause_seen": ("heartbeat, ms", 1, 2),
    "pause_network": ("network, ms", 1, 2),
    "cpu_source_per_gb": ("source, s/GB", 1, 2),
    "cpu_dest_per_gb": ("dest., s/GB", 1, 2),
    "cpu_vcpus_per_gb": ("vCPUs, s/GB", 1, 2),
    "cpu_softirq_per_gb": ("softirq, s/GB", 1, 2),
    "dirty_ratio": ("dirty rate / bandwidth", 1, 2),
    "work_kept": ("work kept", 1, 2),
    "converged": ("converged", 1, 2),
}


def load(path):
    """results.json; Unmeasured if it is something else."""
    try:
        with open(path, encoding="utf-8") as text:
            found = json.load(text)
    except (OSError, ValueError) as why:
        raise Unmeasured(f"{path}: {why}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise Unmeasured(f"{path}: not written by this version of `decant-perf run`")
    return found


def cell(told, scale, decimals):
    """Median, and the spread where there is one."""
    if told is None:
        return "<td>-</td>"
    shown = [f"{told[key] * scale:.{decimals}f}" for key in ("median", "lowest", "highest")]
    spread = f"<br><small>{shown[1]} .. {shown[2]}</small>" if told["runs"] > 1 else ""
    return f"<td>{shown[0]}{spread}</td>"


def row(point, columns):
    if not point["runs"]:
        why = point["failures"][-1] if point["failures"] else "it was not its turn"
        return (f"<tr><td>{html.escape(point['label'])}</td><td class=missing colspan={len(columns) + 1} style='text-align: left'>"
                f"not measured: {html.escape(why)}</td></tr>")
    cells = "".join(cell(point["summary"].get(name), *COLUMNS[name][1:]) for name in columns)
    return f"<tr><td>{html.escape(point['label'])}</td><td>{len(point['runs'])}</td>{cells}</tr>"


def table(sweep):
    points = sweep["points"]
    columns = [name for name in COLUMNS if any(name in point["summary"] for point in points)]
    heads = "".join(f"<th>{COLUMNS[name][0]}</th>" for name in columns)
    rows = "\n".join(row(point, columns) for point in points)
    return f"<table><tr><th>{html.escape(sweep['axis'])}</th><th>runs</th>{heads}</tr>\n{rows}</table>"


def convergence(sweep):
    """Where the dirty rate became too high, in words."""
    if "bandwidth_Bps" not in sweep:
        return ""
    good, bad = sweep.get("converges_to"), sweep.get("fails_from")
    at = f"held to {sweep['bandwidth_Bps'] / 1e6:.0f} MB/s"
    if bad is None:
        return f"<p>With the fabric {at} it converged at every dirty rate that the guest kept up{f', up to {good:g} of that' if good else ''}.</p>"
    if good is None:
        return f"<p>With the fabric {at} it did not converge at any dirty rate.</p>"
    return f"<p>With the fabric {at} it converges up to a dirty rate of {good:g} of that, and no more from {bad:g}.</p>"


def cpu_per_gb(point):
    """Of decant's threads at both ends, and of the softirq."""
    told = [point["summary"].get(name) for name in ("cpu_source_per_gb", "cpu_dest_per_gb", "cpu_softirq_per_gb")]
    return sum(one["median"] for one in told if one) if told[0] else None


def rdma_cpu(sweep):
    """CPU per GB over RDMA by that over the TCP which needs least: what a NIC saves, where it is one."""
    used = {point["settings"]["fabric"]: [] for point in sweep["points"]}
    for point in sweep["points"]:
        if cpu_per_gb(point):
            used[point["settings"]["fabric"]].append(cpu_per_gb(point))
    if not used.get("rdma") or not used.get("tcp"):
        return ""
    return f"<p>CPU per GB, both ends and softirq: RDMA takes {min(used['rdma']) / min(used['tcp']):.2f} of what TCP takes.</p>"


def doubts(sweep):
    found = sorted({run["seen"]["doubts"] for point in sweep["points"] for run in point["runs"]
                    if run.get("seen") and run["seen"].get("doubts")})
    return "".join(f"<p class=missing>{html.escape(why)}: its pauses seen from outside are too long by as much.</p>" for why in found[:3])


def section(name, sweep):
    drawn = "\n".join(f"<figure><img alt='{html.escape(caption, quote=True)}' src='data:image/svg+xml;base64,"
                      f"{base64.b64encode(svg.encode()).decode()}'><figcaption>{html.escape(caption)}</figcaption></figure>"
                      for caption, svg in plots.of_sweep(sweep))
    return (f"<h2 id='{html.escape(name, quote=True)}'>{html.escape(sweep['title'])}</h2><p>{html.escape(sweep['about'])}</p>\n"
            f"{convergence(sweep)}{rdma_cpu(sweep)}{doubts(sweep)}{table(sweep)}\n{drawn}")


def record(title, machine):
    """What the figures depend on, at one host."""
    rows = "".join(f"<dt>{html.escape(key)}</dt><dd>{html.escape(value if isinstance(value, str) else json.dumps(value))}</dd>"
                   for key, value in machine.items())
    return f"<h3>{title}</h3><dl>{rows}</dl>"


def page(results):
    """The whole page."""
    sweeps = "\n".join(section(name, sweep) for name, sweep in results["sweeps"].items())
    hosts = record("Source", results["here"]) + (record("Destination", results["there"]) if results.get("there") else "")
    settings = html.escape(" ".join(results["command"]))
    return f"""<!DOCTYPE html>
<html lang=en><head><meta charset=utf-8><title>decant-perf</title><style>{STYLE}</style></head><body>
<h1>decant-perf</h1>
<p><code>{settings}</code></p>
<p>Medians, and below them the lowest and the highest run. What each figure is, and what it does not show, is told in perf/README.md.</p>
{sweeps}
<h2>What the figures depend on</h2>
{hosts}
</body></html>
"""


def text_of(results):
    """The medians, for a terminal."""
    lines = []
    for sweep in results["sweeps"].values():
        lines.append(f"{sweep['title']}: {sweep['about']}")
        for point in sweep["points"]:
            told = {name: point["summary"][name]["median"] for name in figures.FIGURES if name in point["summary"]}
            said = "  ".join(f"{COLUMNS[name][0]} {value * COLUMNS[name][1]:.{COLUMNS[name][2]}f}" for name, value in told.items()
                             if name in COLUMNS)
            lines.append(f"  {point['label']:18} {said or 'not measured: ' + (point['failures'] or ['?'])[-1]}")
    return "\n".join(lines)

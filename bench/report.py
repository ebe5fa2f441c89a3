# SPDX-License-Identifier: MIT
"""The report: Markdown for people, JSON for programs."""

import json
import os
import platform

import aims
from figures import BARE, Figures, number, quantity
from measure import Results
from sides import SIDES, Union
from workloads import WORKLOADS

PLACES = {"folder": "", "tmpfs": ", tmpfs"}
NO_UNION = [side.name for side in SIDES if not issubclass(side, Union)]


def machine(folder, tmpfs, library):
    return {"kernel": platform.release(), "libc": " ".join(platform.libc_ver()), "machine": platform.machine(),
            "processors": os.cpu_count(), "load": os.getloadavg()[0],
            "user": "root" if os.geteuid() == 0 else "an ordinary user",
            "folder": file_system(folder), "tmpfs": file_system(tmpfs) if tmpfs else "none", "library": library}


def file_system(folder):
    """The type of the file system that a folder is on."""
    folder, best = os.path.realpath(folder), ("", "?")
    with open("/proc/self/mounts") as f:
        for line in f:
            _, mount, kind = line.split()[:3]
            if os.path.commonpath([folder, mount]) == mount and len(mount) >= len(best[0]):
                best = (mount, kind)
    return best[1]


def markdown(results, about):
    figures = Figures(results)
    parts = [heading(about)]
    for name in dict.fromkeys(row.workload for row in figures.rows):
        parts.append(section(figures, name))
    parts += [missing(results), reached(figures)]
    return "\n".join(part for part in parts if part)


def heading(about):
    return f"""# libovl beside others

Linux {about['kernel']}, {about['libc']}, {about['machine']}, {about['processors']} processors, load \
{about['load']:.1f}, by {about['user']}, work folder on {about['folder']}, \
{about['rounds']} rounds{', --quick' if about['quick'] else ''}.

`{BARE}`: the median. Others: times `{BARE}` in the same round, the median of the rounds (smallest–largest).
{", ".join(NO_UNION)} have no union: they work on a tree that is merged already.
"""


def section(figures, name):
    rows = [row for row in figures.rows if row.workload == name]
    sides = [side for side in figures.sides if any(figures.median(row, side) is not None for row in rows)]
    lines = [f"## {name}: {WORKLOADS[name].about}\n", table_line(["", "layers", *sides]),
             table_line(["---", "--:", *("--:" for _ in sides)])]
    for row in rows:
        cells = [cell(figures, row, side) for side in sides]
        lines.append(table_line([row.metric + PLACES[row.place], str(row.layers), *cells]))
    return "\n".join(lines) + "\n"


def table_line(cells):
    return "| " + " | ".join(cells) + " |"


def cell(figures, row, side):
    median, ratio = figures.median(row, side), figures.ratio(row, side)
    if median is None:
        return "–"
    as_ratio = ratio and side != BARE and figures.units[row] != "bytes"
    return str(ratio) if as_ratio else quantity(median, figures.units[row])


def missing(results):
    """Each reason once, with all that it kept from being measured."""
    reasons = {}
    for lack in results.missing:
        where = f"{lack['workload']} ({lack['layers']}{PLACES[lack['place']]})"
        reasons.setdefault((lack["side"], lack["reason"]), []).append(where)
    if not reasons:
        return ""
    lines = ["## What was not measured\n", table_line(["side", "why", "workload (layers)"]),
             table_line(["---", "---", "---"])]
    for (side, reason), where in reasons.items():
        lines.append(table_line([side, reason.replace("|", "\\|"), ", ".join(dict.fromkeys(where))]))
    return "\n".join(lines) + "\n"


def reached(figures):
    found = aims.reached(figures)
    if not found:
        return ""
    lines = ["## The aims, the furthest first\n", table_line(["", "aim", "figure", "figure / aim"]),
             table_line(["---", "--:", "--:", "--:"])]
    for r in found:
        lines.append(table_line([r.what, f"≤ {number(r.aim)}", number(r.got), number(r.distance)]))
    return "\n".join(lines) + "\n"


def read_json(paths):
    """The results of several runs as one, in the order of the workloads; what is told of the machine is the first one's."""
    told = []
    for path in paths:
        with open(path) as f:
            told.append(json.load(f))
    order = list(WORKLOADS)
    figures, lacks = ([entry for run in told for entry in run[key]] for key in ("figures", "missing"))
    figures.sort(key=lambda figure: (order.index(figure["workload"]), figure["place"], figure["layers"]))
    return Results(figures, lacks), told[0]["about"]


def write_json(path, results, about):
    with open(path, "w") as f:
        json.dump({"about": about, "figures": results.figures, "missing": results.missing}, f, indent=1)
        f.write("\n")

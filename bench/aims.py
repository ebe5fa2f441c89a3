# SPDX-License-Identifier: MIT
"""What libovl wants to reach: times the bare file system, but where it says otherwise.

An aim is kept nowhere by a test; the report puts the figures beside it, the furthest first.
"""

from dataclasses import dataclass

from figures import BARE

# metric, side, the most that it may be
RATIOS = (
    ("stat", "libovl", 1.15),
    ("seen by another", "libovl", 1.5),
    ("missing", "libovl", 0.15),
    ("open", "libovl", 1.12),
    ("list", "libovl", 0.15),
    ("rename", "libovl", 1.25),
    ("unlink", "libovl", 1.25),
    ("write", "libovl-volatile", 1.5),
    ("start", "libovl", 1.12),
    ("start", "libovl-patched", 1.20),
    ("start-library", "libovl", 1.20),
    ("start-library", "libovl-patched", 1.30),
    ("find", "libovl", 1.10),
    ("du", "libovl", 1.20),
    ("grep", "libovl", 1.05),
    ("git status, first", "libovl", 1.2),
    ("git status", "libovl", 1.1),
    ("build of Lua", "libovl", 1.03),
    ("ninja of json-c", "libovl", 1.03),
    ("tar -x", "libovl", 1.25),
    ("rm -rf of new files", "libovl", 1.25),
    ("rm -rf of a lower tree", "libovl", 1.5),
    ("outside, stat", "libovl", 1.3),
    ("outside, open", "libovl", 1.1),
    ("outside, unlink", "libovl", 2.0),
    ("outside, chmod", "libovl", 2.0),
    ("outside, rename", "libovl", 2.0),
)
# Each of these takes with many layers at most so many times what it takes with one.
LAYERS = 1.10
BY_LAYERS = ("stat", "seen by another", "missing", "open", "list")
# What libovl adds to a process.
MEMORY = 300 * 1024


@dataclass(frozen=True)
class Reached:
    what: str
    aim: float
    got: float

    @property
    def distance(self):
        """1 is what is wanted, 2 twice as much."""
        return self.got / self.aim


def reached(figures):
    """Every aim that the figures tell something of, the furthest first."""
    found = [*ratios(figures), *by_layers(figures), *memory(figures)]
    return sorted(found, key=lambda r: -r.distance)


def ratios(figures):
    for metric, side, aim in RATIOS:
        for row in figures.rows:
            ratio = figures.ratio(row, side)
            if row.metric == metric and ratio and (row.layers == 1 or metric not in BY_LAYERS):
                yield Reached(f"{label(row)}, {side}: times {BARE}", aim, ratio.middle)


def by_layers(figures):
    for row in figures.rows:
        if row.metric not in BY_LAYERS or row.layers == 1:
            continue
        one = figures.median(type(row)(row.workload, 1, row.place, row.metric), "libovl")
        many = figures.median(row, "libovl")
        if one and many:
            yield Reached(f"{label(row)}: times that with one layer", LAYERS, many / one)


def memory(figures):
    for row in figures.rows:
        bare, ours = figures.median(row, BARE), figures.median(row, "libovl")
        if row.metric == "memory" and bare and ours:
            yield Reached("memory that libovl adds, KiB", MEMORY / 1024, (ours - bare) / 1024)


def label(row):
    place = " on tmpfs" if row.place == "tmpfs" else ""
    return row.metric + (f", {row.layers} layers" if row.layers > 1 else "") + place

# SPDX-License-Identifier: MIT
"""What the raw figures say: medians, and ratios to the bare file system in the same round."""

import statistics
from dataclasses import dataclass

from sides import SIDES

BARE = "native"
BASE_UNITS = {"ns": ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")),
              "bytes": ((1 << 20, "MiB"), (1 << 10, "KiB"), (1, "B")),
              "instructions": ((1e6, "M"), (1e3, "k"), (1, ""))}


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, the smallest and the largest."""
    middle: float
    low: float
    high: float

    def __str__(self):
        return f"{number(self.middle)} ({number(self.low)}–{number(self.high)})"


class Figures:
    def __init__(self, results):
        self.values = {(row_of(f), f["side"]): f["values"] for f in results.figures}
        self.units = {row_of(f): f["unit"] for f in results.figures}
        self.rows = list(self.units)
        present = {side for _, side in self.values}
        self.sides = [side.name for side in SIDES if side.name in present]

    def median(self, row, side):
        values = self.values.get((row, side))
        return statistics.median(values) if values else None

    def ratio(self, row, side):
        """None where one of the two is missing."""
        values, bare = self.values.get((row, side)), self.values.get((row, BARE))
        if not values or not bare:
            return None
        ratios = sorted(one / other for one, other in zip(values, bare) if other)
        return Ratio(statistics.median(ratios), ratios[0], ratios[-1]) if ratios else None


@dataclass(frozen=True)
class Row:
    workload: str
    layers: int
    place: str
    metric: str


def row_of(figure):
    return Row(figure["workload"], figure["layers"], figure["place"], figure["metric"])


def number(value):
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def quantity(value, unit):
    for size, name in BASE_UNITS[unit]:
        if value >= size:
            break
    return f"{number(value / size)} {name}".strip()

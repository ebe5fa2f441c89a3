# SPDX-License-Identifier: MIT
"""One picture of the figures, as SVG: on the left bars, a group a workload; on the right curves over the number of
layers.

Both scales are logarithmic: what is half as fast is as far from the line as what is twice as fast.
"""

import math
from html import escape

from figures import BARE, Figures

# What is shown of all that is measured: a metric each, with as few layers as there are figures for.
BARS = ("stat", "missing", "open", "list", "write", "start", "find", "grep", "git status", "build of Lua", "tar -x",
        "rm -rf of a lower tree")
CURVE = "stat"
SIDES = {"libovl": "#1b6ca8", "overlayfs": "#6a994e", "fuse-overlayfs": "#e09f3e", "unionfs-fuse": "#bc6c25",
         "proot": "#9e2a2b", "fakechroot": "#8d6a9f", "cowdancer": "#7f7f7f"}

LEFT, TOP, HEIGHT, BOTTOM = 60, 50, 300, 110
BAR, GAP, CURVE_WIDTH = 9, 16, 300
INK, FAINT = "#333333", "#dddddd"


def draw(results):
    figures = Figures(results)
    groups = [row for row in (shown(figures, metric) for metric in BARS) if row]
    curves = {side: curve(figures, side) for side in SIDES}
    ratios = [figures.ratio(row, side).middle for row in groups for side in SIDES if figures.ratio(row, side)]
    ratios += [ratio for points in curves.values() for _, ratio in points]
    if not ratios:
        return ""
    scale = Scale(min(ratios), max(ratios))
    sides = [side for side in SIDES if curves[side] or any(figures.ratio(row, side) for row in groups)]
    group_width = BAR * len(sides) + GAP
    middle = LEFT + group_width * len(groups)
    parts = [axis(scale, LEFT, middle), *(bars(figures, row, sides, scale, LEFT + GAP / 2 + group_width * n)
                                          for n, row in enumerate(groups))]
    width = middle + 20
    if any(curves.values()):
        parts.append(layers_axis(scale, middle + 70, curves))
        width += 70 + CURVE_WIDTH
    width = max(width, LEFT + 115 * len(sides))
    return document(width, parts + [legend(sides)])


class Scale:
    """Ratios to heights, over whole powers of ten."""

    def __init__(self, low, high):
        self.low = math.floor(math.log10(min(low, 0.9)))
        self.high = math.ceil(math.log10(max(high, 1.1)))

    def y(self, ratio):
        share = (math.log10(ratio) - self.low) / (self.high - self.low)
        return TOP + HEIGHT * (1 - share)

    def marks(self):
        return [10.0 ** power for power in range(self.low, self.high + 1)]


def shown(figures, metric):
    rows = [row for row in figures.rows if row.metric == metric and row.place == "folder"]
    return min(rows, key=lambda row: row.layers) if rows else None


def curve(figures, side):
    rows = [row for row in figures.rows if row.metric == CURVE and row.place == "folder"]
    points = [(row.layers, figures.ratio(row, side)) for row in sorted(rows, key=lambda row: row.layers)]
    points = [(layers, ratio.middle) for layers, ratio in points if ratio]
    return points if len(points) > 1 else []


def line(x1, y1, x2, y2, colour, width=1):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def text(x, y, words, anchor="middle", more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(words)}</text>'


def axis(scale, left, right):
    """The lines of the ratios; the one of the bare file system stands out."""
    parts = []
    for mark in scale.marks():
        y = scale.y(mark)
        parts.append(line(left, y, right, y, INK if mark == 1 else FAINT))
        parts.append(text(left - 8, y + 4, f"{mark:g}×", "end"))
    return "\n".join(parts)


def bars(figures, row, sides, scale, x):
    parts = []
    for place, side in enumerate(sides):
        ratio = figures.ratio(row, side)
        if not ratio:
            continue
        y, base = scale.y(ratio.middle), scale.y(1)
        parts.append(f'<rect x="{x + place * BAR:.1f}" y="{min(y, base):.1f}" width="{BAR - 1}" '
                     f'height="{max(abs(y - base), 1):.1f}" fill="{SIDES[side]}">'
                     f'<title>{escape(f"{row.metric}, {side}: {ratio}")}</title></rect>')
    middle, low = x + BAR * len(sides) / 2, TOP + HEIGHT + 16
    parts.append(text(middle, low, row.metric, "end", f'transform="rotate(-35 {middle:.1f} {low})"'))
    return "\n".join(parts)


def layers_axis(scale, left, curves):
    counts = sorted({layers for points in curves.values() for layers, _ in points})
    spread = math.log(counts[-1] / counts[0])

    def x(layers):
        return left + 10 + (CURVE_WIDTH - 20) * math.log(layers / counts[0]) / spread

    parts = [axis(scale, left, left + CURVE_WIDTH)]
    parts += [text(x(count), TOP + HEIGHT + 16, str(count)) for count in counts]
    parts.append(text(left + CURVE_WIDTH / 2, TOP + HEIGHT + 36, f"{CURVE}, by the number of lower layers"))
    for side, points in curves.items():
        path = " ".join(f"{x(layers):.1f},{scale.y(ratio):.1f}" for layers, ratio in points)
        if points:
            parts.append(f'<polyline points="{path}" fill="none" stroke="{SIDES[side]}" stroke-width="2"/>')
    return "\n".join(parts)


def legend(sides):
    parts = []
    for number, side in enumerate(sides):
        x = LEFT + 115 * number
        parts.append(f'<rect x="{x}" y="14" width="11" height="11" fill="{SIDES[side]}"/>')
        parts.append(text(x + 16, 24, side, "start"))
    return "\n".join(parts)


def document(width, parts):
    height = TOP + HEIGHT + BOTTOM
    note = text(LEFT, height - 8, f"Times the bare file system ({BARE}); less is faster. Logarithmic.", "start")
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" font-family="sans-serif" '
            f'font-size="12" fill="{INK}">\n<rect width="100%" height="100%" fill="#ffffff"/>\n'
            + "\n".join([*parts, note]) + "\n</svg>\n")

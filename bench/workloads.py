# SPDX-License-Identifier: MIT
"""What a workload is, and how it is found by its name.

A workload fills layers, and names the steps that are done in one view, one process after the other.  In the words of a
step `@` is the view, `%` a folder outside of it, at their beginning.
"""

import os
import shutil
import subprocess
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One program.  Its output's lines `first N` and `again N` are figures, unless it only prepares."""
    name: str
    argv: tuple
    measured: bool = True
    cwd: str = "%"
    # What the figures are called: {'first': 'stat, first', 'again': 'stat'}; one that is not named is dropped.
    figures: dict = field(default_factory=dict)
    read: str = "lines"  # or 'callgrind': the number of instructions


@dataclass(frozen=True)
class Size:
    """How much of everything: all of it, or a share to see that it works."""
    quick: bool

    def of(self, full, quick):
        return quick if self.quick else full


class Workload:
    name = ""
    about = ""
    unit = "ns"
    layers = (1,)  # numbers of lower layers
    variants = ()  # sides beyond the usual ones
    changes = False  # whether the work changes the tree
    tmpfs = False  # whether it is done on tmpfs too
    union_only = ""  # why a side that can't show several layers is left out even with one

    def __init__(self, tools, size):
        self.tools, self.size = tools, size

    def lacks(self, side, layers):
        """Why this side is not asked for this work, or ''."""
        return ""

    def needs(self):
        """What is missing for this workload on this machine, or ''."""
        return ""

    def fill(self, lowers):
        """Make the lower layers, highest first."""
        raise NotImplementedError

    def steps(self, side, layers):
        raise NotImplementedError

    def finish(self, figures):
        """The figures of one session, where they are not those of the steps."""
        return figures

    # Words for steps.

    def ops(self, name, operation, by, folder, count, passes, *more, figures=None):
        argv = (self.tools.program("bench_ops"), operation, by, folder, str(count), str(passes), *map(str, more))
        return Step(name, argv, figures=figures or {"first": f"{name}, first", "again": name})

    def timed(self, name, *argv, cwd="@"):
        """A program that is run once."""
        argv = (self.tools.program("bench_launch"), "1", shutil.which(argv[0]) or argv[0], *argv[1:])
        return Step(name, argv, cwd=cwd, figures={"first": name})

    def silent(self, *argv, cwd="@"):
        return Step("", argv, measured=False, cwd=cwd)


WORKLOADS = {}


def workload(cls):
    """Registers a workload by its name."""
    assert cls.name and cls.about and cls.name not in WORKLOADS
    WORKLOADS[cls.name] = cls
    return cls


def unpack(tools, package, to):
    """A Debian source package, as its authors released it, becomes a directory."""
    found = sorted(tools.fetched.glob(f"source/{package}_*.dsc"))
    subprocess.run(["dpkg-source", "--no-check", "--skip-patches", "-x", str(found[0]), to], check=True,
                   capture_output=True)


def fetched(tools, package):
    """Why the source of a package is not there, or ''."""
    if any(tools.fetched.glob(f"source/{package}_*.dsc")):
        return ""
    return f"no source of {package}: tests/tools/fetch.sh {os.path.relpath(tools.fetched)} {package}"

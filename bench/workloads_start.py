# SPDX-License-Identifier: MIT
"""Start-up: what a program pays before and after its own work, what it takes in memory, and how many instructions."""

import os
import shutil

import trees
from workloads import Step, Workload, workload

HEADERS = "usr/include"
COUNTS = (1, 10, 40)


class Start(Workload):
    """A small program is started by vfork and exec, as make and shells do."""
    variants = ("libovl-patched",)
    program = "bench_small"

    @property
    def starts(self):
        return self.size.of(2000, 100)

    def fill(self, lowers):
        trees.write(lowers[0], trees.numbered(HEADERS, 40, stem="h"))
        trees.write(lowers[0], [(f"{HEADERS}/h{n}.h", b"\n") for n in range(40)])
        os.makedirs(f"{lowers[0]}/bin")
        for name in (self.program, "libbench_needed.so"):
            shutil.copy(self.tools.program(name), f"{lowers[0]}/bin")

    def small(self):
        """The path by which the program is started."""
        return self.tools.program(self.program)

    def steps(self, side, layers):
        for count in COUNTS:
            name = f"{self.name}, {count} headers" if count > 1 else self.name
            argv = (self.tools.program("bench_launch"), str(self.starts), self.small(), f"@/{HEADERS}", str(count))
            yield Step(name, argv, figures={"again": name})


@workload
class StartSmall(Start):
    name = "start"
    about = "start and end of a program of the real file system that opens 1, 10 or 40 headers"


@workload
class StartLibrary(Start):
    name = "start-library"
    about = "the same of a program inside, with a library beside it: libovl helps the loader find it"
    program = "bench_small_library"

    def small(self):
        return f"@/bin/{self.program}"


@workload
class Memory(Workload):
    name = "memory"
    about = "memory that only one process has"
    unit = "bytes"
    variants = ("libovl-patched",)

    def fill(self, lowers):
        trees.write(lowers[0], [("f", b"x\n")])

    def steps(self, side, layers):
        yield Step(self.name, (self.tools.program("bench_ops"), "memory"), figures={"first": self.name})


FEW, MANY = 10, 110
NAMES = 10


@workload
class Instructions(Workload):
    """What noise can't blur.  A loop's share is the difference between two runs of different length."""
    name = "instructions"
    about = "instructions of the process itself, counted by callgrind: of one call, and of a small program's start"
    unit = "instructions"
    layers = (1, 8)
    variants = ("libovl-patched",)

    def needs(self):
        return "" if self.tools.valgrind else "valgrind is not installed"

    def lacks(self, side, layers):
        if side.name in ("proot", "fuse-overlayfs", "unionfs-fuse") or "overlayfs" in side.name:
            return "its work is done outside of the process"
        return ""

    def fill(self, lowers):
        trees.write(lowers[-1], trees.numbered("a/b/c/d", NAMES))
        trees.write(lowers[-1], [(f"{HEADERS}/h0.h", b"\n")])
        for lower in lowers[:-1]:
            os.makedirs(f"{lower}/a/b/c/d")

    def counted(self, name, *argv):
        command = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *argv)
        return Step(name, command, figures={"first": name}, read="callgrind")

    def steps(self, side, layers):
        for operation in ("stat", "missing", "open"):
            for passes in (FEW, MANY):
                yield self.counted(f"{operation} {passes}", self.tools.program("bench_ops"), operation, "absolute",
                                   "@/a/b/c/d", str(NAMES), str(passes))
        yield self.counted("start", self.tools.program("bench_small"), f"@/{HEADERS}", "1")

    def finish(self, figures):
        done = {"instructions, start": figures["start"]}
        for operation in ("stat", "missing", "open"):
            difference = figures[f"{operation} {MANY}"] - figures[f"{operation} {FEW}"]
            done[f"instructions, {operation}"] = difference / (MANY - FEW) / NAMES
        return done

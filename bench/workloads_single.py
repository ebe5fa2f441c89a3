# SPDX-License-Identifier: MIT
"""Single operations, by the number of lower layers.  The object is in the lowest one; the directory, four deep, is
in all of them."""

import trees
from workloads import Workload, workload

DEEP = "a/b/c/d"
WAYS = ("absolute", "relative", "dirfd")
KIB = 1024


class Single(Workload):
    layers = (1, 8, 64, 400)
    operation = ""
    files = 100

    def fill(self, lowers):
        for index, lower in enumerate(lowers):
            trees.write(lower, [(f"{DEEP}/own{index}", b"x\n")])
        trees.write(lowers[-1], trees.numbered(DEEP, self.files))

    @property
    def passes(self):
        return self.size.of(50, 10)

    def steps(self, side, layers):
        for way in WAYS:
            name = self.name if way == WAYS[0] else f"{self.name}, {way}"
            yield self.ops(name, self.operation or self.name, way, f"@/{DEEP}", self.files, self.passes)


@workload
class Stat(Single):
    name = "stat"
    about = "stat of a name that is there"


@workload
class Missing(Single):
    name = "missing"
    about = "stat of a name that no layer has"


@workload
class Open(Single):
    name = "open"
    about = "open and close of a file"


@workload
class List(Single):
    name = "list"
    about = "a listing of 1,000 merged names, which all layers share among them"
    operation = "list"

    def fill(self, lowers):
        trees.spread(trees.numbered(DEEP, 1000), lowers)

    def steps(self, side, layers):
        for way in WAYS:
            name = self.name if way == WAYS[0] else f"{self.name}, {way}"
            yield self.ops(name, "list", way, f"@/{DEEP}", 1, self.passes)


class Change(Single):
    changes = True
    tmpfs = True


@workload
class Create(Change):
    name = "create"
    about = "a file is made and removed"


@workload
class Unlink(Change):
    name = "unlink"
    about = "a file of the upper is removed"


@workload
class Rename(Change):
    name = "rename"
    about = "a file of the upper is renamed"


class FirstWrite(Single):
    """Sides without copy-up make a plain copy, put it in place by a rename and write to that."""
    changes = True
    variants = ("libovl-volatile", "overlayfs-volatile")
    bytes = 0

    @property
    def files(self):
        return self.size.of(100, 20)

    def fill(self, lowers):
        super().fill(lowers)
        for number in range(self.files):
            trees.fill(f"{lowers[-1]}/{DEEP}/k{number}", self.bytes)

    def steps(self, side, layers):
        operation = "write" if side.copies_up else "copy"
        # A second pass would not be a first write.
        yield self.ops(self.name, operation, "absolute", f"@/{DEEP}", self.files, 1, figures={"first": self.name})


@workload
class Write(FirstWrite):
    name = "write"
    about = "the first write to a lower file of 64 KiB"
    bytes = 64 * KIB
    tmpfs = True


@workload
class WriteBig(FirstWrite):
    name = "write-big"
    about = "the first write to a lower file of 1 GiB (with --quick: 64 MiB)"
    layers = (1,)
    files = 1

    @property
    def bytes(self):
        return self.size.of(1024, 64) * KIB * KIB


@workload
class Seen(Workload):
    name = "seen"
    about = "stat of one name in each of many directories: by the first process, and by a second one"
    layers = (1, 8, 64, 400)

    @property
    def count(self):
        return self.size.of(500, 200)

    def fill(self, lowers):
        for index, lower in enumerate(lowers):
            trees.write(lower, [(f"{DEEP}/own{index}", b"x\n")])
        trees.write(lowers[-1], ((f"{DEEP}/d{number}/f", b"x\n") for number in range(self.count)))

    def steps(self, side, layers):
        for name in ("seen by nobody", "seen by another"):
            yield self.ops(name, "each", "absolute", f"@/{DEEP}", self.count, 1, figures={"first": name})


@workload
class Outside(Workload):
    name = "outside"
    about = "a path outside of every mount"

    def fill(self, lowers):
        trees.write(lowers[0], [("f", b"x\n")])

    def steps(self, side, layers):
        # As deep as the others, on the same file system.
        folder = f"%/{DEEP}"
        yield self.silent("mkdir", "-p", folder, cwd="%")
        yield self.silent("sh", "-c", f"cd {DEEP} && touch $(seq -f f%.0f 0 99)", cwd="%")
        for operation in ("stat", "open", "unlink", "chmod", "rename"):
            name = f"outside, {operation}"
            yield self.ops(name, operation, "absolute", folder, 100, self.size.of(50, 10), figures={"again": name})


@workload
class Parallel(Single):
    name = "parallel"
    about = "the same operations by 8 processes side by side"
    layers = (1, 8)
    changes = True

    def fill(self, lowers):
        trees.spread(trees.numbered(DEEP, 1000), lowers)

    def steps(self, side, layers):
        for operation in ("stat", "missing", "open", "list", "create", "rename"):
            name = f"{operation}, 8 processes"
            count = 1 if operation == "list" else self.files
            yield self.ops(name, operation, "absolute", f"@/{DEEP}", count, self.passes, 8, figures={"again": name})

# SPDX-License-Identifier: MIT
"""Whole trees: walked, read, watched by git, unpacked and removed.  The first time counts apart: behind FUSE it is the
dear one."""

import subprocess

import trees
from workloads import Workload, workload


class Walk(Workload):
    layers = (1, 8)
    command = ()

    def fill(self, lowers):
        trees.spread(trees.wide(self.size.of(30_000, 3_000)), lowers)

    def steps(self, side, layers):
        for name in (f"{self.name}, first", self.name):
            yield self.timed(name, *self.command)


@workload
class Find(Walk):
    name = "find"
    about = "find over 30,000 files"
    command = ("find", ".", "-name", "*.h")


@workload
class Du(Walk):
    name = "du"
    about = "du over 30,000 files"
    command = ("du", "-s", ".")


@workload
class Grep(Walk):
    name = "grep"
    about = "grep -r over 30,000 files"
    # grep ends with 1 where it finds nothing.
    command = ("grep", "-r", "-l", "f77(", ".")


@workload
class Git(Workload):
    name = "git"
    about = "git status over 10,000 files"
    changes = True

    def fill(self, lowers):
        trees.write(lowers[0], trees.wide(self.size.of(10_000, 1_000)))
        # Not by inode and ctime, which a copy of the tree does not have: else the bare side would read all again.
        for words in ("init -q", "config gc.auto 0", "config core.checkStat minimal", "config core.trustctime false", "add -A",
                      "-c user.name=x -c user.email=x@x commit -q -m x"):
            subprocess.run(["git", *words.split()], cwd=lowers[0], check=True, capture_output=True)

    def steps(self, side, layers):
        for name in ("git status, first", "git status"):
            yield self.timed(name, "git", "-c", "safe.directory=*", "status", "--porcelain")


@workload
class Tar(Workload):
    name = "tar"
    about = "tar -x of 20,000 files, then rm -rf of them"
    changes = True
    tmpfs = True

    def fill(self, lowers):
        trees.write(f"{lowers[0]}/made", trees.wide(self.size.of(20_000, 2_000)))
        subprocess.run(["tar", "-C", lowers[0], "--remove-files", "-cf", f"{lowers[0]}/made.tar", "made"], check=True)

    def steps(self, side, layers):
        yield self.timed("tar -x", "tar", "-xf", "made.tar")
        yield self.timed("rm -rf of new files", "rm", "-rf", "made")


@workload
class Remove(Workload):
    name = "remove"
    about = "rm -rf of a lower tree of 20,000 files"
    changes = True
    tmpfs = True

    def fill(self, lowers):
        trees.write(f"{lowers[0]}/lower", trees.wide(self.size.of(20_000, 2_000)))

    def steps(self, side, layers):
        yield self.timed("rm -rf of a lower tree", "rm", "-rf", "lower")

# SPDX-License-Identifier: MIT
"""Builds and other real programs.  Sources are in the lower layers, what is built goes into the upper."""

import os
import shutil
import subprocess

import trees
from workloads import Workload, fetched, unpack, workload

JOBS = "-j2"


class Build(Workload):
    changes = True
    variants = ("libovl-volatile",)


@workload
class Lua(Build):
    name = "build"
    about = "a build of Lua 5.4 in C, by make -j2"
    layers = (1, 8)

    def needs(self):
        return fetched(self.tools, "lua5.4")

    def fill(self, lowers):
        source = f"{lowers[0]}.source"
        unpack(self.tools, "lua5.4", source)
        files = sorted(os.path.relpath(os.path.join(folder, name), source)
                       for folder, _, names in os.walk(source) for name in names)
        for index, path in enumerate(files):
            to = os.path.join(lowers[index % len(lowers)], path)
            os.makedirs(os.path.dirname(to), exist_ok=True)
            shutil.copy2(os.path.join(source, path), to)
        for lower in lowers:
            os.makedirs(lower, exist_ok=True)
        shutil.rmtree(source)

    def steps(self, side, layers):
        yield self.timed("build of Lua", "make", JOBS, "-C", "src", "linux")


@workload
class JsonC(Build):
    name = "build-cmake"
    about = "json-c, configured by cmake and built by ninja -j2"

    def needs(self):
        return fetched(self.tools, "json-c") or ("" if shutil.which("ninja") else "ninja-build is not installed")

    def fill(self, lowers):
        unpack(self.tools, "json-c", lowers[0])

    def steps(self, side, layers):
        yield self.timed("cmake of json-c", "cmake", "-G", "Ninja", "-S", ".", "-B", "build")
        yield self.timed("ninja of json-c", "ninja", JOBS, "-C", "build")


@workload
class Npm(Build):
    name = "npm"
    about = "npm ci of 77 packages, out of npm's cache"

    def needs(self):
        if not shutil.which("npm"):
            return "npm is not installed"
        return "" if os.path.isdir(self.tools.fetched / "npm") else "no cache of npm: tests/run.sh --long makes one"

    def fill(self, lowers):
        project = self.tools.source / "tests/integration/node"
        for name in ("package.json", "package-lock.json"):
            os.makedirs(lowers[0], exist_ok=True)
            shutil.copy(project / name, lowers[0])

    def steps(self, side, layers):
        # The cache is written to: each session has its own.
        yield self.silent("cp", "-a", str(self.tools.fetched / "npm"), "%/npm", cwd="%")
        yield self.timed("npm ci", "npm", "ci", "--offline", "--cache", "%/npm", "--ignore-scripts", "--no-audit",
                         "--no-fund")


@workload
class Import(Workload):
    name = "import"
    about = "a Python that imports 500 modules"
    layers = (1, 8)

    def fill(self, lowers):
        modules = [(f"p/m{number}.py", b"value = %d\n" % number) for number in range(500)]
        modules.append(("p/__init__.py", b"".join(b"import p.m%d\n" % number for number in range(500))))
        trees.spread(modules, lowers)
        for lower in lowers:
            subprocess.run(["/usr/bin/python3", "-m", "compileall", "-q", lower], check=True)

    def steps(self, side, layers):
        for name in ("import, first", "import"):
            yield self.timed(name, "/usr/bin/python3", "-S", "-E", "-B", "-c",
                             "import sys; sys.path.insert(0, ''); import p")

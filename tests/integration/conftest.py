# SPDX-License-Identifier: MIT
"""Fixtures of the integration tests.

OVL_LIBRARY  the library under test (default: build/dev/shim/libovl.so of this tree)
OVL_SIDES    which runs to make, of bare,kernel,ovl (default: all; without 'ovl' the tests check
             only themselves)
OVL_STRACE   set: every libovl side runs under strace, and what reached the kernel is checked too (tracing.py)
"""

import itertools
import os
import pathlib
import shutil
import subprocess
import tempfile
from types import SimpleNamespace

import pytest

import cli
import compare as comparing
import layers
import overlay
from twice import Twice

HERE = pathlib.Path(__file__).resolve().parent
SIDES = os.environ.get("OVL_SIDES", "bare,kernel,ovl").split(",")
STRACE = "OVL_STRACE" in os.environ
LIBRARY = os.environ.get("OVL_LIBRARY") or str(HERE.parent.parent / "build/dev/shim/libovl.so")
USER = 12345


@pytest.fixture(scope="session")
def workspace():
    """A short folder that every user can pass through."""
    base = tempfile.mkdtemp(prefix="ovl")
    os.chmod(base, 0o755)
    yield base
    subprocess.run(["chmod", "-R", "u+rwx", base], check=False, capture_output=True)
    shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="session")
def tools(workspace):
    """Programs that tests run: opsh, and the library under test."""
    if "ovl" in SIDES:
        assert os.path.exists(LIBRARY), f"no library under test at {LIBRARY}: build it, or set OVL_LIBRARY"
    opsh = os.path.join(workspace, "opsh")
    sources = [str(p) for p in sorted(HERE.glob("opsh*.c"))]
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-Wno-nonnull",
                    *sources, "-o", opsh], check=True)
    return SimpleNamespace(opsh=opsh, library=os.path.abspath(LIBRARY))


def roles():
    if os.geteuid() == 0:
        return [overlay.Role("root", 0, 0), overlay.Role("user", USER, USER)]
    return [overlay.Role("user", os.geteuid(), os.getegid())]


@pytest.fixture(params=roles(), ids=lambda role: role.name)
def role(request):
    return request.param


@pytest.fixture
def root_only(role):
    if not role.root:
        pytest.skip("needs root")


@pytest.fixture
def user_only(role):
    if role.root:
        pytest.skip("about an ordinary user")


@pytest.fixture(scope="session")
def kernel_refusal(workspace, tools):
    """Role name to the reason why overlayfs can't be mounted ('' where it can)."""
    return {r.name: overlay.kernel_works(r, tools, os.path.join(workspace, "probe", r.name)) for r in roles()}


def pytest_configure(config):
    config.addinivalue_line("markers", "long: of the long tier")
    config.addinivalue_line("markers", "untraced(why): what its programs do outside is no business of tracing.py's")


def pytest_terminal_summary(terminalreporter):
    for name, reason in REFUSED.items():
        terminalreporter.write_line(f"no Linux overlayfs for {name}: compared with the bare directory only ({reason})")


REFUSED = {}


class Guard:
    """Lower layers as they were when they were made."""

    def __init__(self):
        self.known = {}

    def add(self, root):
        self.known[root] = layers.fingerprint(root)

    def check(self, roots=None):
        for root in list(self.known if roots is None else roots):
            if os.path.isdir(root):
                now = layers.fingerprint(root)
                changed = {p for p in now.keys() | self.known[root].keys() if now.get(p) != self.known[root].get(p)}
                assert not changed, f"lower layer {root} was changed at {sorted(changed)} (C-3.1)"


@pytest.fixture(scope="session")
def guard(workspace):
    """C-3.1 over the whole run: no lower layer of any test is changed by the end."""
    g = Guard()
    yield g
    g.check()


NUMBER = itertools.count()


@pytest.fixture
def world(request, workspace, tools, role, kernel_refusal, guard):
    """A maker of sides whose lower layers are watched."""
    w = World(workspace, tools, role, kernel_refusal[role.name], guard)
    w.traces = STRACE and not request.node.get_closest_marker("untraced")
    yield w
    w.check()


class World:
    def __init__(self, workspace, tools, role, refusal, guard):
        self.workspace, self.tools, self.role, self.guard = workspace, tools, role, guard
        self.sides = list(SIDES)
        self.watched, self.traced = [], []
        self.traces = False
        if refusal and "kernel" in self.sides:
            REFUSED[role.name] = refusal
            self.sides.remove("kernel")

    def base(self):
        base = os.path.join(self.workspace, str(next(NUMBER)))
        os.makedirs(base)
        return base

    def watch(self, root):
        self.guard.add(root)
        self.watched.append(root)

    def check(self):
        """No lower layer of this test is changed so far, nor was a call made that could have."""
        self.guard.check(self.watched)
        while self.traced:
            found = self.traced.pop().offences()
            if found:
                pytest.fail("\n".join(found[:30]), pytrace=False)

    def make(self, lower, upper=None, outside=None, sides=None, base=None, letter=None, **how):
        """The three sides of the same layers, by name."""
        base = base or self.base()
        lower = [layers.expand(layer) for layer in lower]
        upper = None if upper is None else layers.expand(upper)
        made = {}
        for name in sides or self.sides:
            if name not in self.sides:
                continue
            if name == "ovl":
                side = overlay.Ovl(base, self.role, self.tools, letter, **how)
            else:
                side = (overlay.Bare if name == "bare" else overlay.Kernel)(base, self.role, self.tools, letter)
            side.make(lower, upper, layers.expand(outside or {}))
            made[name] = side
            if self.traces and name == "ovl":
                side.trace()
                self.traced.append(side)
            for folder in side.lowers:
                self.watch(os.path.join(side.base, folder))
        return made

    def ovl(self, lower, upper=None, outside=None, **how):
        """Only the libovl side: for what neither a bare directory nor the kernel can be asked."""
        made = self.make(lower, upper, outside, sides=["ovl"], **how)
        if not made:
            pytest.skip("needs the library under test")
        return made["ovl"]


@pytest.fixture
def compare(world):
    """Run a scenario on all sides and compare: compare(lower, script, upper={}, ...)."""
    def run(lower, script, upper=comparing.EMPTY, **how):
        __tracebackhide__ = True
        return comparing.compare(world, lower, script, upper, **how)
    return run


@pytest.fixture
def tool(world):
    """The program `ovl`: see cli.py."""
    if "ovl" not in world.sides:
        pytest.skip("needs the library under test")
    return cli.Tool(world)


@pytest.fixture
def twice(world, role, tools, guard, user_only):
    if "ovl" not in world.sides:
        pytest.skip("needs the library under test")
    return Twice(world, role, tools, guard)

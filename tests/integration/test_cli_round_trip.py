# SPDX-License-Identifier: MIT
"""import(export(x)) = x on the layers and operations of the differential test (tests/differential): the imported layer
over the same lower ones shows what the upper showed, and exported again, as an upper, it gives the same bytes.  So does
a lower layer to which the upper was committed, and an upper whose whiteouts were given the other form and back.

OVL_CASES  how many cases a role has (default 30); OVL_SEED the first one
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

import cli
import overlay

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "differential"))

import generate  # noqa: E402
from sides import for_side  # noqa: E402

CASES = int(os.environ.get("OVL_CASES", "30"))
SEED = int(os.environ.get("OVL_SEED", "1"))
OPERATIONS = 100


class Trip:
    """One case in a folder of its own."""

    def __init__(self, world, tool, case):
        self.tool, self.opsh = tool, world.tools.opsh
        self.side = overlay.Ovl(world.base(), world.role, world.tools, form=case.form, prefix=case.prefix,
                                options=case.options)
        self.base = self.side.base
        self.side.make(*case.expanded(), {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        subprocess.run(["chmod", "-R", "u+rwx", self.base], check=False, capture_output=True)
        shutil.rmtree(self.base, ignore_errors=True)

    def run(self, lines):
        done, = self.side.run([([self.opsh], self.side.text("\n".join(lines)))])
        assert done.status == 0, done
        return done.out

    def shown(self):
        """What a new process sees, but of the mount itself."""
        lines = self.run(["tree @"]).rstrip("\n").split("\t")
        return [line for line in lines if not line.startswith(" d ")]

    def is_closed(self):
        """Whether an ordinary user has taken the rights to its own upper directory away."""
        return not self.side.role.root and os.stat(self.side.upper).st_mode & 0o700 != 0o700

    def ovl(self, *words):
        return self.tool.start([self.tool.program, *words], env={"OVL_CONF": self.side.conf})

    def export(self, name):
        """The layer's bytes, or None: an ordinary user can't export what it may not read."""
        done = self.ovl("export", "-o", f"{self.base}/{name}")
        if done.status == 3 and "Permission denied" in done.err:
            return None
        assert done.status == 0, done.err
        return pathlib.Path(f"{self.base}/{name}").read_bytes()

    def import_(self, name):
        """The imported layer."""
        done = self.ovl("import", "--to", f"{self.base}/imported", f"{self.base}/{name}")
        assert done.status == 0, done.err
        return f"{self.base}/imported/layer-001"

    def replace_upper(self, layer=None):
        """From now on the upper is an empty one, or a copy of the layer."""
        os.rename(self.side.upper, f"{self.side.upper}-was{len(os.listdir(self.base))}")
        if layer:
            subprocess.run(["cp", "-a", layer, self.side.upper], check=True)
        else:
            os.mkdir(self.side.upper)
            self.tool.own(self.side.upper)


def check_same(before, after, plain):
    """But for the number of links: the names that a lower file has where nobody sees them count for it (design.md)."""
    was, now = ({re.sub(" nlink=[0-9]+", "", line) for line in filter(None, map(plain, lines))} for lines in (before, after))
    assert not was ^ now, "\n".join(sorted(was ^ now))


def exported(line):
    """No fractions of seconds, no sockets."""
    return "" if re.search(r" s [0-7]{4} ", line) else re.sub(r" (-?\d+)\.\d{9}", r" \1", line)


def round_trip(trip, case):
    """Whether there was one."""
    trip.run(for_side(line, "ovl") for line in case.scripts[0])
    bytes_ = None if trip.is_closed() else trip.export("x.tar")
    if bytes_ is None:
        return False
    before = trip.shown()
    layer = trip.import_("x.tar")
    lowers = trip.side.lowers
    trip.replace_upper()
    trip.side.lowers = [layer, *lowers]
    check_same(before, trip.shown(), exported)
    trip.replace_upper(layer)
    trip.side.lowers = lowers
    assert trip.export("y.tar") == bytes_
    return True


def cases(role):
    tally = generate.Tally(not role.root)
    for seed in range(SEED, SEED + CASES):
        case = generate.make_case(seed, role.uid, OPERATIONS, tally=tally)
        if case.upper is not None and not case.foreign:
            yield case


def run_cases(world, role, act):
    if "ovl" not in world.sides:
        pytest.skip("needs the library under test")
    tool, made = cli.Tool(world), 0
    for case in cases(role):
        print(f"seed {case.seed}")  # for whoever reads a failure
        with Trip(world, tool, case) as trip:
            made += act(trip, case)
    assert made > CASES // 2


@pytest.mark.untraced("the trace would be its slowest part")
def test_round_trip(world, role):
    run_cases(world, role, round_trip)


# ---- what is committed is shown ---------------------------------------------------------------------------


def committed(line):
    """That only a directory's time is another is no change."""
    return re.sub(r" (now|-?\d+\.\d{9})", "", line) if re.search(r" d [0-7]{4} ", line) else line


def commit(trip, case):
    """Whether the whole upper could be applied."""
    trip.run(for_side(line, "ovl") for line in case.scripts[0])
    if trip.is_closed():
        return False
    before = trip.shown()
    done = trip.ovl("commit", "--to", trip.side.lowers[0])
    if done.status == 3 and "Permission denied" in done.err:
        return False
    assert done.status == 0, done.err
    check_same(before, trip.shown(), committed)
    return True


@pytest.mark.untraced("the trace would be its slowest part")
def test_commit(world, role):
    run_cases(world, role, commit)


# ---- what is converted is shown --------------------------------------------------------------------------


def convert(trip, case):
    """To the other form and back."""
    trip.run(for_side(line, "ovl") for line in case.scripts[0])
    if trip.is_closed():
        return False
    before, marks = trip.shown(), trip.ovl("check").out
    forms = ("oci", "kernel") if "kernel" in trip.side.options else ("kernel", "oci")
    for form in forms:
        done = trip.ovl("convert", "--whiteout", form, trip.side.upper)
        if done.status == 3 and "Permission denied" in done.err:
            return False
        assert done.status == 0, done.err
        trip.side.options = f",whiteout={form}"
        check_same(before, trip.shown(), str)
        assert trip.ovl("check").out.replace(".wh.", "") == marks.replace(".wh.", "")
    return True


@pytest.mark.untraced("the trace would be its slowest part")
def test_convert(world, role):
    run_cases(world, role, convert)

# SPDX-License-Identifier: MIT
"""Sixteen processes at work on the same names, some of them in lower layers, hard-linked there, or below directories
that others rename (C-3.4 to C-3.7, C-3.11, C-2.6, C-2.11): no lost update, nothing half-made, one winner, no
standstill. concurrency.c knows what each name must show; that it knows right, the bare directory says. Also with a
process killed every few milliseconds. (Linux overlayfs can't be asked: it doesn't rename directories of lower layers.)
"""

import os
import pathlib
import subprocess
import zlib

import pytest

import overlay
from layers import same
from residue import residue

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = int(os.environ.get("OVL_SECONDS", "600"))  # of the long runs
KILLS_A_MARK, CHANCE = 500, 3  # at least so many for each mark that hides nothing, but for a few (usually a thousand)
LINKS = 5  # the field of a printed line
FORMS = pytest.mark.parametrize("options", ["", ",whiteout=kernel"], ids=["oci", "kernel"])


def sealed(text):
    rest = f"{0:08} {len(text):05}\n{text}"
    return f"{zlib.crc32(rest.encode()):08x} {rest}"


def records(name, count=3):
    return "".join(f"base {name} {i}".ljust(31) + "\n" for i in range(count))


ZERO = f"{0:015}\n"
LOW = {
    **{f"log/{i}": records(i) for i in (2, 3, 6)},
    "count/2": ZERO, "roam/2": records("r2"), "mono/3": sealed("over"), "gone/2": sealed("gone two"),
    "gone/d1/old": sealed("old one"), "move/p0/extra": sealed("extra"), "pool/d0/n0": sealed("d0 n0"),
    **{f"pool/d2/n{i}": sealed(f"d2 n{i}" * i * 40) for i in range(6)},
    **{f"fresh/{i}": records(f"f{i}", 500) for i in range(600)},
    **{f"race/{i}": "was there" for i in range(0, 200, 3)}, "tmp/": None,
}
UNDER = {
    **{f"log/{i}": records(i) for i in (0, 1, 4, 6)}, "log/5": same("log/4"),
    **{f"count/{i}": ZERO for i in (0, 1, 3, 5)}, "count/4": same("count/3"),
    **{f"roam/{i}": records(f"r{i}") for i in (0, 1, 3)}, "roam/4": same("roam/3"),
    **{f"mono/{i}": sealed(f"mono {i}") for i in (0, 1, 2, 3, 4)}, "mono/5": same("mono/4"),
    **{f"gone/{i}": sealed(f"gone {i}") for i in (0, 1, 3)}, "gone/4": same("gone/3"),
    **{f"gone/d{i}/old": sealed("old") for i in (0, 1)},
    **{f"lock/{kind}{i}": "" for kind in ("mono", "gone", "dir") for i in range(6)},
    **{f"move/p{i}/{name}": text for i in (0, 1) for name, text in
       (("id", f"place{i}"), ("log", records(f"p{i}")), ("count", ZERO))},
    "move/p1/h": same("pool/d0/n1"),
    **{f"pool/d{d}/n{n}": sealed(f"d{d} n{n}" * n * 30) for d in (0, 1) for n in range(8)},
}
UPPER = {"race/0": "from the upper", "mono/0": sealed("of the upper"), "pool/d1/n9": sealed("d1 n9")}


@pytest.fixture(scope="module")
def concurrency(workspace):
    path = f"{workspace}/concurrency"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
                    *sorted(HERE.glob("concurrency*.c")), "-o", path], check=True)
    return path


def check_same(seen, later, killed):
    """The processes of the run and a new one see the same tree."""
    seen, later = ([line.split() for line in lines] for lines in (seen, later))
    if killed:
        # What a killed process had linked and not named, or removed and not counted, counts until the next run.
        links = [[int(line.pop(LINKS)) for line in lines] for lines in (seen, later)]
        assert all(before >= after for before, after in zip(*links))
    assert seen == later


def run(side, program, how, seconds, seed=1):
    """The work, and then what a process of a new run sees.  How many processes were killed."""
    side.timeout = overlay.TIMEOUT + seconds
    # The names for which they race are not there when they begin, but in lower layers.
    clear = (["sh", "-c", f"rm {side.mount}/race/*"], "")
    work, tree = side.run([clear, ([program, "@", how, str(seconds), str(seed)], ""), ([program, "@", "tree"], "")])[1:]
    assert work.status == 0, work
    assert tree.status == 0, tree
    first, *seen = work.lines
    check_same(seen, tree.lines, how == "kill")
    rounds, killed = map(int, first.split()[1::2])
    assert rounds > seconds, "next to nothing was done"
    return killed


def is_of_a_kill(mark):
    """A mark that a killed process leaves, rarely, until the name is changed again: a whiteout beside the object that was
    to go, one that changed places with a directory, the opaque mark of a directory that was to move over a lower one."""
    path, _, what = mark.rpartition(": ")
    folder, name = os.path.split(path)
    return what == "opaque" or not name.startswith(".wh.") or os.path.lexists(os.path.join(folder, name[4:]))


def check_upper(side, killed):
    """Nothing half-made, and no mark that hides nothing (C-3.7)."""
    assert os.listdir(f"{side.upper}.work/work") == []
    found = residue(side.upper, side.lowers)
    most = CHANCE + killed // KILLS_A_MARK if killed else 0
    assert all(map(is_of_a_kill, found)) and len(found) <= most, (killed, found)


def make(world, name, options=""):
    made = world.make([LOW, UNDER], UPPER, sides=[name], **({"options": options} if name == "ovl" else {}))
    if name not in made:
        pytest.skip(f"no {name} side")
    return made[name]


@pytest.mark.parametrize("how", ["work", "kill"])
def test_the_program_itself(world, concurrency, user_only, how):
    run(make(world, "bare"), concurrency, how, 1)


@pytest.mark.untraced("the trace would be its slowest part")
@pytest.mark.parametrize("how, options, cache", [("work", "", ""), ("kill", ",whiteout=kernel", ""),
                                                 ("work", ",whiteout=kernel", "eager"), ("kill", "", "eager")])
def test_five_seconds(world, concurrency, user_only, how, options, cache):
    side = make(world, "ovl", options)
    side.environment["OVL_CACHE"] = cache
    check_upper(side, run(side, concurrency, how, 5))


@pytest.mark.long
@pytest.mark.untraced("the trace would be its slowest part")
@FORMS
@pytest.mark.parametrize("how", ["work", "kill"])
def test_ten_minutes(world, concurrency, how, options):
    side = make(world, "ovl", options)
    check_upper(side, run(side, concurrency, how, SECONDS, seed=os.getpid()))

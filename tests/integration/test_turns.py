# SPDX-License-Identifier: MIT
"""A name, or a directory on the way to it, becomes a symbolic link and back while another process uses it in every way:
the link leads through the merged view and nowhere else, so that what lies at its target outside, here a lower layer
mounted in place, is neither seen nor changed (C-2.8, C-3.1, C-3.6).  turns.c knows what may be seen; that it knows right,
the bare directory says.  (Linux overlayfs can't be asked: it exchanges no directory of a lower layer.)"""

import pathlib
import subprocess

import pytest

from layers import File

HERE = pathlib.Path(__file__).resolve().parent

OLD = File(content="old content\n", xattrs={"user.old": "y"})
LOW = {"turns/d/t": OLD, "turns/far/t": OLD, "turns/far/only": OLD, "turns/f": OLD}


@pytest.fixture(scope="module")
def turns(workspace):
    path = f"{workspace}/turns"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", HERE / "turns.c", "-o",
                    path], check=True)
    return path


def run(side, program, what, seconds):
    result, = side.run([([program, "@", what, str(seconds)], "")])
    assert result.status == 0, result


@pytest.mark.parametrize("what", ["name", "directory"])
def test_the_program_itself(world, turns, what):
    made = world.make([LOW], {}, sides=["bare"])
    if not made:
        pytest.skip("no bare side")
    run(made["bare"], turns, what, 1)


@pytest.mark.untraced("the trace would be its slowest part")
@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("what", ["name", "directory"])
@pytest.mark.parametrize("in_place", [True, False], ids=["in-place", "elsewhere"])
def test_turns(world, turns, what, cache, in_place):
    side = world.ovl([LOW], {})
    side.mount = side.lowers[0] if in_place else side.mount  # where outside is nothing at all
    side.environment = {"OVL_CACHE": cache}
    run(side, turns, what, 3)

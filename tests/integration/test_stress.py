# SPDX-License-Identifier: MIT
"""Eight threads, a signal handler, forks and vforks, all at work in one overlay (C-3.4, C-3.6, C-4.5): no wrong answer and
no standstill. stress.c knows what each name must show; that it knows right, the bare directory says. (Linux overlayfs can't
be asked: a signal ends its waiting for another's copy-up, and open gives EINTR.)"""

import pathlib
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent

LOW = {**{f"shared/s{i}": f"shared {i}\n" * 500 for i in range(0, 16, 2)}, "shared/keep/f": "f\n"}
UNDER = {**{f"shared/s{i}": f"shared {i}\n" for i in range(1, 16, 2)}}


@pytest.fixture(scope="module")
def stress(workspace):
    path = f"{workspace}/stress"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread", HERE / "stress.c",
                    "-o", path], check=True)
    return path


def run(world, stress, seconds, side, options=""):
    how = {"options": options} if side == "ovl" else {}
    made = world.make([LOW, UNDER], {}, sides=[side], **how)
    if side not in made:
        pytest.skip(f"no {side} side")
    result, = made[side].run([([stress, "@", str(seconds)], "")])
    assert result.status == 0, result
    rounds, handled = map(int, result.out.split())
    assert rounds > seconds and handled, "next to nothing was done"
    return made[side]


def test_the_program_itself(world, stress, user_only):
    run(world, stress, 1, "bare")


@pytest.mark.untraced("the trace would be its slowest part")
def test_five_seconds(world, stress, user_only):
    run(world, stress, 5, "ovl")


@pytest.mark.long
@pytest.mark.untraced("the trace would be its slowest part")
@pytest.mark.parametrize("options", ["", ",volatile=on", ",readdir=native"])
def test_a_minute(world, stress, options):
    run(world, stress, 60, "ovl", options)

# SPDX-License-Identifier: MIT
"""Real programs killed before each of their system calls (strace's fault injection): what a new process then sees is
what it was or what was wanted, never between, and the new run clears what was left (C-3.4, C-3.6). Being killed after a
call is being killed before the next one. tests/unit/fault_run.c does this to core alone, with errors too."""

import os
import shutil
import subprocess

import pytest

import layers
from layers import File, same

LOW = {"d/f": File(content="text\n" * 2000, mode=0o640), "d/g": "other", "d/e/x": "deep", "gone/old": "old",
       "h1": "linked", "h2": same("h1"), "empty/": None}
UNDER = {"d/e/y": "deeper", "gone/older": "older"}
UPPER = {"d/new": "upper", "gone": layers.GONE, "u/x": "1"}
PROGRAMS = {
    "append": "dd if=% of=@/d/f oflag=append conv=notrunc",
    "truncate": "truncate -s 3 @/d/f",
    "chmod_link": "chmod 600 @/h1",
    "unlink": "rm @/d/f",
    "unlink_link": "rm @/h2",
    "rename": "mv -T @/d/f @/d/moved",
    "rename_over": "mv -T @/d/f @/d/g",
    "rename_directory": "mv -T @/d @/u/moved",
    "mkdir": "mkdir @/gone",
    "rmdir": "rmdir @/empty",
    "link": "ln @/d/f @/u/f",
    "symlink": "ln -s x @/gone",
}


class Killed:
    def __init__(self, side, command):
        self.side = side
        source = f"{side.outside}/source"
        with open(source, "w") as f:
            f.write("appended")
        self.command = [word.replace("@", side.mount).replace("%", source) for word in command.split()]
        self.environment = ["-E", f"OVL_CONF={side.conf}", "-E", f"LD_PRELOAD={side.tools.library}"]

    def begin(self):
        for path in (self.side.upper, f"{self.side.upper}.work"):
            shutil.rmtree(path, ignore_errors=True)
        self.side.build("u", layers.expand(UPPER), form="dev" if "kernel" in self.side.options else "oci")

    def start(self, *how):
        done = subprocess.run(self.side.role.drop() + ["strace", "-qq", "-o", "/dev/null", *how, *self.environment,
                                                       *self.command], capture_output=True, text=True, check=False,
                              cwd="/", timeout=60)
        return done.returncode

    def view(self):
        text = self.side.run([([self.side.tools.opsh], f"tree {self.side.mount}\n")])[0].out
        assert os.listdir(f"{self.side.upper}.work/work") == []
        assert not [name for _, dirs, files in os.walk(self.side.upper) for name in dirs + files
                    if name.startswith(".wh..wh.new")]
        return [line for line in text.splitlines() if line]


def kill_each(world, program, options, first, stride):
    side = world.ovl([LOW, UNDER], UPPER, options=options)
    killed = Killed(side, PROGRAMS[program])
    killed.begin()
    before = killed.view()
    assert killed.start() == 0
    wanted = killed.view()
    assert before != wanted
    seen = []
    for when in range(first, 5000, stride):
        killed.begin()
        if killed.start("-e", f"inject=all:signal=KILL:when={when}") == 0:
            break
        now = killed.view()
        assert now in (before, wanted), f"killed at call {when}: between"
        seen.append(now == wanted)
    assert len(seen) > 1


@pytest.mark.untraced("strace is at work already")
@pytest.mark.parametrize("options", ["", ",whiteout=kernel"], ids=["oci", "kernel"])
@pytest.mark.parametrize("program", ["append", "rename_directory", "mkdir"])
def test_some_calls(world, user_only, program, options):
    kill_each(world, program, options, 12, 17)


@pytest.mark.long
@pytest.mark.untraced("strace is at work already")
@pytest.mark.parametrize("options", ["", ",whiteout=kernel"], ids=["oci", "kernel"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_call(world, program, options):
    kill_each(world, program, options, 2, 1)

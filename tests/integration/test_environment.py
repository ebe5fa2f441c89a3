# SPDX-License-Identifier: MIT
"""Environments lost and regained (C-1.7, C-1.11, C-1.12, C-1.14): whatever a program does to its environment, its ids,
its directory and its descriptors, and in whichever way it starts the next one, that one is inside; only an empty
OVL_CONF lets it out."""

import os
import pathlib
import subprocess

import pytest

from layers import File

HERE = pathlib.Path(__file__).resolve().parent

LOW = {"f": "lower\n", "d/g": "g\n",
       "script": File(content='#!/bin/sh\nfor last; do :; done; read -r line <"$last" && echo "$line"\n', mode=0o755),
       "nested": File(content="#!@/script\n", mode=0o755)}
TOP = {"f": "merged\n"}

ENVIRONMENTS = ["kept", "no-preload", "no-conf", "neither", "no-run", "nothing", "left", "other-first", "other-last", "other-only",
                "daemon", "user", "user-nothing", "chdir-in", "chdir-in-nothing", "chdir-out", "closed"]
WAYS = ["execve", "execv", "execvp", "execvpe", "execl", "execlp", "execle", "execveat", "fexecve", "syscall", "vfork", "fork",
        "spawn", "spawnp", "system", "popen", "python"]
PROGRAMS = ["/bin/cat", "@/script", "@/nested"]

OTHER = r'''
#include <unistd.h>
__attribute__((constructor)) static void start(void) { (void)!write(1, "other\n", 6); }
'''


@pytest.fixture(scope="session")
def starter(workspace):
    """The program that starts others, and a library that says on stdout that it is preloaded."""
    folder = pathlib.Path(workspace, "ways")
    folder.mkdir()
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", HERE / "ways.c", "-o", folder / "ways"],
                   check=True)
    subprocess.run(["gcc", "-x", "c", "-", "-shared", "-fPIC", "-o", folder / "other.so"], input=OTHER, text=True, check=True)
    return folder


def test_the_tables(starter):
    said = subprocess.run([starter / "ways"], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split() for line in said] == [ENVIRONMENTS, WAYS]


def wanted(environment):
    """What is written: that the other library is there, once a program, and the file's content."""
    return {"other", "merged"} if environment.startswith("other") else {"merged"}


def lengthen(side, layers):
    """Give the overlay so many more layers, with paths of 1200 bytes."""
    deep = "/".join([side.base, "deep", *["n" * 240] * 4, "n" * (1200 - len(side.base) - 970)])
    os.makedirs(deep)
    conf = os.path.join(side.base, "conf")
    with open(conf, "w") as f:
        f.write(f"[overlay]\nmount={side.mount}\nupperdir={side.upper}\n")
        f.writelines(f"lowerdir={lower}\n" for lower in side.lowers + [deep] * layers)
    side.environment = {"OVL_CONF": conf}


def check(world, starter, environment, cases, layers=0):
    if environment.startswith("user") and not world.role.root:
        pytest.skip("needs root to become another user")
    base = world.base()
    low = {name: File(content=item.content.replace("@", f"{base}/o/m"), mode=item.mode) if name == "nested" else item
           for name, item in LOW.items()}
    side = world.ovl([low], TOP, base=base)
    if layers:
        lengthen(side, layers)
    results = side.run([([str(starter / "ways"), environment, way, str(starter / "other.so"), "@/d", program, "@/f"], "")
                        for way, program in cases])
    wrong = []
    for (way, program), result in zip(cases, results):
        if environment == "left":
            done = result.status != 0 and result.out == ""
        else:
            said = set(result.out.split())
            done = result.status == 0 and said == wanted(environment) and result.err == ""
        if not done:
            wrong.append((way, program, result))
    assert wrong == []
    return side


@pytest.mark.untraced("what is let out sees the mount as it is on disk")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_way(world, starter, environment):
    """Each environment by each way, with one of the programs each."""
    check(world, starter, environment, [(way, PROGRAMS[i % len(PROGRAMS)]) for i, way in enumerate(WAYS)])


@pytest.mark.untraced("what is let out sees the mount as it is on disk")
@pytest.mark.parametrize("environment", ["nothing", "no-run", "user-nothing", "left"])
def test_a_long_configuration(world, starter, environment):
    """C-1.4, C-1.14: one too long for a variable goes on in several, to processes of other users too; no file is left."""
    side = check(world, starter, environment, [(way, "/bin/cat") for way in WAYS], layers=300)
    assert sorted(os.listdir(f"{side.upper}.work/state")) == ["gone", "link", "origin", "run", "shared"]


@pytest.mark.long
@pytest.mark.untraced("what is let out sees the mount as it is on disk")
@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_matrix(world, starter, environment):
    """All of them."""
    check(world, starter, environment, [(way, program) for way in WAYS for program in PROGRAMS])

# SPDX-License-Identifier: MIT
"""An object reached by another way than its path (C-2.8, C-3.1, C-4.5, C-4.6): what comes out must be what the bare
directory and Linux overlayfs give, and no lower layer may change, below a mount of its own and in place."""

import errno
import os
import pathlib
import re
import subprocess

import pytest

from layers import GONE, File, link

HERE = pathlib.Path(__file__).resolve().parent

LOW = {**{f"f{i}": f"lower {i}\n" for i in range(1, 9)}, "d/g": "g\n", "e/h": "h\n", "c/": None, "link": link("f3"),
       "deep/a/b/c/d/x": "x\n", "gone": "gone\n", "old": File(content="o\n", mode=0o604)}
TOP = {"gone": GONE, "upper": "u\n"}
ROUTES = 31


@pytest.fixture(scope="module")
def escapes(workspace):
    path = os.path.join(workspace, "escapes")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread",
                    *map(str, sorted(HERE.glob("escapes*.c"))), "-o", path], check=True)
    return path


@pytest.fixture
def alike(world, escapes):
    """Run a scenario on the sides and, for libovl, in place too: the lines must be the same ones."""
    def run(*arguments, upper=TOP, without=()):
        __tracebackhide__ = True
        lines = {}
        command = [escapes, arguments[0], "@", *arguments[1:]]
        for name in ("bare", "kernel", "ovl"):
            if name not in world.sides or name in without:
                continue
            side = world.make([LOW], upper, sides=[name])[name]
            lines[name] = side.run([(command, "")])[0]
        if "ovl" in world.sides:
            side = world.ovl([LOW], upper)
            layer = os.path.join(side.base, "l0")
            side.mount = layer
            lines["in place"] = side.run([(command, "")])[0]
        for name, answer in lines.items():
            assert answer.status == 0, f"{name}: {answer}"
        first, *others = lines
        for other in others:
            want, have = lines[first].lines, lines[other].lines
            assert have == want, f"{other} side"
    return run


def test_there_are_so_many_routes(escapes):
    assert subprocess.run([escapes, "count"], check=False).returncode == ROUTES


@pytest.mark.parametrize("number", range(ROUTES))
def test_route(alike, number):
    alike("route", str(number))


def test_empty_path(alike):
    alike("empty")


def test_fchmodat2(alike):
    alike("fchmodat2")


def test_a_thread_with_a_directory_of_its_own(alike):
    alike("thread-cwd")


def test_renamed_directories_are_followed(alike):
    alike("renamed", "%")


def test_listing_on_a_high_descriptor(alike):
    alike("high")


def test_signal_stack(alike):
    """C-4.6: 8 KiB suffice for every signal-safe call."""
    alike("signal-stack")


def test_smallest_thread(alike):
    """C-4.6: so does PTHREAD_STACK_MIN."""
    alike("thread")


def test_every_safe_call_is_made():
    """The two tests above make every call that shim/calls.def calls SAFE."""
    table = re.sub(r"\s+", " ", (HERE.parent.parent / "shim/calls.def").read_text())
    safe = re.findall(r"CALL\((\w+),[^;]*?\bSAFE\)", re.sub(r"(CALL|TWIN)\(", r";\1(", table))
    made = (HERE / "escapes_room.c").read_text()
    assert len(safe) > 70 and [name for name in safe if not re.search(rf"\b{name}\(", made)] == []


@pytest.mark.untraced("strace's child begins with other descriptors")
def test_the_lowest_descriptor(alike):
    """C-4.6: no descriptor stays open: the lowest free number after each call is what it is without an overlay."""
    alike("lowest")


@pytest.mark.untraced("strace's child begins with other descriptors")
def test_any_descriptor_can_be_taken_or_closed(alike):
    """C-4.6: dup2 onto any number and close_range(3, ~0) are harmless."""
    alike("any-number")


def test_no_address_space(alike):
    """C-4.6: with RLIMIT_AS at what the process has, every signal-safe call works."""
    alike("no-memory")


def test_cancellation_points(alike):
    """C-4.6: the same calls act on a pending cancellation as without an overlay, and no others."""
    alike("cancelled")


def test_name_spaces(alike, root_only):
    """C-4.6: unshare and setns drop what is remembered of directories."""
    alike("name-spaces")


@pytest.mark.parametrize("error", [errno.EPERM, errno.ENOSYS])
def test_sandbox(world, escapes, error):
    """C-4.6: a filter's EPERM for newer system calls counts as ENOSYS: everything works as without the filter."""
    lines = []
    for number in (0, error):
        side = world.ovl([LOW], TOP)
        result, = side.run([([escapes, "sandbox", "@", str(number)], "")])
        assert result.status == 0, result
        lines.append(result.lines)
    if error == errno.EPERM:  # libc's own statx gives it to the program
        lines[0] = [line.replace(" statx ok", " statx EPERM") for line in lines[0]]
    assert lines[1] == lines[0]


@pytest.mark.parametrize("limit", ["-f 1", "-S -f 1"])
def test_limit_on_file_sizes(world, limit):
    """C-4.6: libovl's own files give nobody a SIGXFSZ; where they can't be made, changes are refused."""
    side = world.ovl([LOW], TOP)
    side.before = ("bash", "-c", f"ulimit {limit}; exec \"$@\"", "bash")
    shell = 'cat "$1"/f1 && ulimit -S -f && echo more >>"$1"/f2; echo $?; cat "$1"/f2'
    result, = side.run([(["sh", "-c", shell, "sh", "@"], "")])
    done = ["0", "lower 2", "more"] if "-S" in limit else ["2", "lower 2"]
    assert result.lines == ["lower 1", "2", *done] and result.status == 0, result


@pytest.mark.untraced("strace's child begins with other descriptors")
def test_few_descriptors(alike):
    """C-4.6: nothing needs a descriptor that it would not need without an overlay."""
    alike("few-files")
    alike("few-files-moving", without=["kernel"])

# SPDX-License-Identifier: MIT
"""ovl check: what killed processes leave, and marks that mean nothing, are found, and taken away without a change of what
the overlay shows; residue.py, which was written for the library, finds the same."""

import os
import shutil
import signal
import subprocess
import time

import pytest

import layers
import residue
import shuffled
from layers import GONE, Dir

LOWER = {"f": "f", "d/g": "g", "o/x": "x", "o/s/y": "y", "dir/x": "x", "file": "file"}


@pytest.fixture
def lower(tool):
    tool.layer("l", LOWER)
    return tool


def found(tool, *args):
    """Kind and path below the base of what is found."""
    done = tool("check", "--json", *tool.about(), *args)
    assert done.err == "" and done.status in (0, 1), done.err
    problems = done.json["problems"]
    assert done.status == any(not p["repaired"] for p in problems)
    return sorted((p["kind"], p["path"].removeprefix("B/"), p["repaired"]) for p in problems)


def check_and_repair(tool, *expected):
    """What is found; then it is repaired, and nothing is left and nothing else has changed."""
    state = [tool.tree(n) for n in ("u", "u.work")]
    assert found(tool) == sorted((kind, path, False) for kind, path in expected)
    assert [tool.tree(n) for n in ("u", "u.work")] == state
    assert found(tool, "--repair") == sorted((kind, path, True) for kind, path in expected)
    assert found(tool) == []


def test_all_is_well(lower):
    lower.sh("cd $1; rm f d/g; rm -r o; mkdir o; echo n >o/n; rm file; mkdir file; rm -r dir; echo >dir; touch x; mv x y")
    done = lower("check", *lower.about())
    assert (done.status, done.out, done.err) == (0, "nothing was found\n", "")


def test_nothing_is_there(lower):
    assert found(lower) == []
    assert found(lower, "--repair") == []
    assert not os.path.exists(lower.upper)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_run_leaves_is_well(tool, seed):
    tool.layer("l", shuffled.shuffled_lower())
    script = os.path.join(os.path.dirname(shuffled.__file__), "shuffled.py")
    tool.sh(f"cd $1; exec /usr/bin/python3 {script} {seed}")
    assert found(tool) == []


@pytest.mark.parametrize("form", ["oci", "xattr", "dev"])
def test_over_nothing(lower, role, form):
    if form == "dev" and not role.root:
        pytest.skip("needs root to make devices")
    upper = {"nothing": GONE, "f": GONE, "d/nothing": GONE, "d/g": GONE, "new": Dir(opaque=True), "new/x": "x", "new/gone": GONE,
             "o": Dir(opaque=True), "o/x": GONE, "o/s": Dir(opaque=True), "o/s/new": "n", "file": Dir(opaque=True),
             "file/x": "x"}
    if form == "xattr":  # one attribute says that a directory is opaque, or that it has such whiteouts
        del upper["new/gone"], upper["o/x"]
    layers.build(lower.upper, layers.expand(upper), (role.uid, role.gid), form=form)
    before = lower.shown()
    marks = [("u", "nothing"), ("u/d", "nothing")] + ([("u/new", "gone"), ("u/o", "x")] if form != "xattr" else [])
    expected = [f"{folder}/.wh.{name}" if form == "oci" else f"{folder}/{name}" for folder, name in marks]
    check_and_repair(lower, *(("over-nothing", path) for path in [*expected, "u/new", "u/o/s"]))
    assert lower.shown() == before
    assert residue.residue(lower.upper, [f"{lower.base}/l"]) == []


def test_beside(lower):
    lower.layer("u", {"d/new": "n", ".wh.d": "", "f": "other", ".wh.f": "", "n/": None, ".wh.n": ""}, watch=False)
    before = lower.shown()
    check_and_repair(lower, *(("beside", f"u/.wh.{name}") for name in "dfn"))
    assert lower.shown() == before
    assert os.listdir(f"{lower.upper}/n") == []
    assert sorted(os.listdir(f"{lower.upper}/d")) == [".wh..wh..opq", "new"]


def test_malformed(lower):
    lower.layer("u", {"d/.wh.": "", ".wh...": "", ".wh.e/": None, ".wh..wh.plnk/": None, ".wh.x/": None, ".wh.x/in": "in",
                      "d/.wh..wh.y": "content", "d/.wh.g": "content is none of its business"}, watch=False)
    names = [".wh...", ".wh..wh.plnk", ".wh.e", "d/.wh."]
    full = [".wh.x", "d/.wh..wh.y"]
    assert found(lower) == sorted(("malformed", f"u/{n}", False) for n in names + full)
    assert found(lower, "--repair") == sorted(("malformed", f"u/{n}", n in names) for n in names + full)
    assert found(lower) == sorted(("malformed", f"u/{n}", False) for n in full)
    done = lower("check", *lower.about())
    assert (done.status, done.out) == (1, "malformed     B/u/.wh.x\nmalformed     B/u/d/.wh..wh.y\n")


def test_left_over_in_the_upper(lower):
    lower.layer("u", {".wh..wh.new-1-2-3/": None, ".wh..wh.new-1-2-3/x": "x", "d/.wh..wh.new-mark": ""}, watch=False)
    check_and_repair(lower, ("left-over", "u/.wh..wh.new-1-2-3"), ("left-over", "u/d/.wh..wh.new-mark"))


def test_left_over_in_the_work_directory(lower):
    """Of a process that is killed while it copies up; and what no run would know."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    conf = f"mount={lower.mount},lowerdir={lower.base}/l,upperdir={lower.upper}"
    done = lower.start(["strace", "-qq", "-o", "trace", "-e", "inject=renameat2:signal=KILL:when=1", "-E", f"OVL_CONF={conf}",
                        "-E", f"LD_PRELOAD={lower.library}", "chmod", "600", f"{lower.mount}/f"])
    assert done.status == -signal.SIGKILL
    os.makedirs(f"{lower.upper}.work/work/discarded-1/x")
    lower.own(f"{lower.upper}.work/work/discarded-1/x")
    lower.own(f"{lower.upper}.work/work/discarded-1")
    left = os.listdir(f"{lower.upper}.work/work")
    assert len(left) == 2
    check_and_repair(lower, *(("left-over", f"u.work/work/{name}") for name in left))


def test_cache(lower):
    lower.sh("ls $1 $1/d $1/o >/dev/null; for i in 1 2 3 4 5 6 7 8 9; do cat $1/f; done; ls -lR $1 >/dev/null")
    files = os.listdir(f"{lower.upper}.work/cache")
    if not files:
        pytest.skip("this run needed no cache")
    assert found(lower) == []
    path = f"{lower.upper}.work/cache/{files[0]}"
    for damage in (lambda f: f.truncate(4096), lambda f: f.write(b"x" * 8), lambda f: (f.seek(8), f.write(b"\xff" * 8))):
        subprocess.run(["cp", "-a", path, f"{lower.base}/kept"], check=True)
        with open(path, "r+b") as f:
            damage(f)
        check_and_repair(lower, ("cache", f"u.work/cache/{files[0]}"))
        assert not os.path.exists(path)
        os.rename(f"{lower.base}/kept", path)


def test_a_commit_that_was_killed(tool):
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    tool.layer("l", LOWER, watch=False)
    tool.sh("echo n >$1/n")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
    done = tool.start(["strace", "-o", "trace", "-e", "inject=renameat:signal=KILL:when=1", tool.program, "commit", *words])
    assert done.status == -signal.SIGKILL
    assert found(tool) == found(tool, "--repair") == [("unfinished", "u.work/commit", False)]
    assert tool("commit", *tool.about()).status == 0
    assert found(tool) == []


def test_in_use(lower):
    lower.layer("u", {".wh.nothing": ""}, watch=False)
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    with subprocess.Popen([*lower.role.drop(), lower.program, "run", "-q", *words, "sh", "-c", "echo up; read x"],
                          stdout=subprocess.PIPE, stdin=subprocess.PIPE,
                          env={**os.environ, "OVL_LIBRARY": lower.library}) as user:
        assert user.stdout.readline() == b"up\n"
        done = lower("check", *lower.about())
        assert (done.status, done.out) == (1, "over-nothing  B/u/.wh.nothing\n")
        assert "uses the overlay: its work directory is not looked at" in done.err
        done = lower("check", "--repair", *lower.about())
        assert done.status == 3 and done.err.startswith("ovl: B/u is in use by process ") and done.out == ""
        user.stdin.close()
    assert os.path.exists(f"{lower.upper}/.wh.nothing")


def traced(tool):
    path = f"{tool.base}/trace"
    if not os.path.exists(path):
        return ""
    with open(path) as f:
        return f.read()


def test_a_run_that_begins_meanwhile(lower):
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    lower.sh("echo n >$1/n")
    lower.file("u/.wh.nothing", "")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    slow = ["strace", "-qq", "-o", f"{lower.base}/trace", "-e", "inject=unlinkat:delay_enter=500000"]
    with subprocess.Popen([*lower.role.drop(), *slow, lower.program, "check", "--repair", *words], stdout=subprocess.PIPE) as process:
        while f'openat(AT_FDCWD, "{lower.upper}", ' not in traced(lower) and process.poll() is None:
            time.sleep(0.01)
        lower.sh(f"! test -e {lower.upper}/.wh.nothing")
        assert process.stdout.read().endswith(b".wh.nothing, repaired\n")
    assert process.returncode == 0


def test_what_can_not_be_read(lower, user_only):
    lower.sh("mkdir $1/closed; chmod 0 $1/closed; mkdir $1/zz")
    before = lower.tree("u")
    done = lower("check", *lower.about())
    assert done.status == 3 and "Permission denied" in done.err
    assert lower.tree("u") == before
    assert lower("check", "--repair", *lower.about()).status == 0
    assert os.stat(f"{lower.upper}/closed").st_mode & 0o777 == 0


REFUSED = {
    "elsewhere": (["%/l"], 3, "B/l lies in no overlay; `ovl conf` shows their mounts"),
    "no-layer": (["-l", "%/none"], 125, "lowerdir=B/none: no such file or directory; name a directory that exists"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    args, status, line = REFUSED[case]
    done = lower("check", *lower.about(), *args)
    assert done.status == status and done.err.startswith(f"ovl: {line}\n"), done.err


def test_help_and_inside(lower):
    assert lower("check", "--help").out.startswith("usage: ovl check ")
    done = lower("run", "-q", *lower.about(), lower.program, "check")
    assert done.status == 3 and done.err.startswith("ovl: `ovl check` can't be used inside an overlay")

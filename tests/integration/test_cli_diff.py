# SPDX-License-Identifier: MIT
"""ovl diff: text as diff(1) has it, words for all else; patch(1) makes the same change of it."""

import os
import shutil
import subprocess

import pytest

from layers import File, Link


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "one\ntwo\nthree\n", "d/g": "deep\n", "b": File(content=b"a\0b"), "gone/x": "x"})
    tool.layer("l2", {"h": "second\n", "link": "target"})
    return tool


def diff(tool, *args):
    done = tool("diff", *tool.about(), *args)
    assert (done.status, done.err) == (0, "")
    return done.out


# What is done, and what is said of it.
SHOWN = {
    "nothing": ("cat f", ""),
    "modified": ("sed -i s/two/TWO/ f", "--- aB/m/f\n+++ bB/m/f\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"),
    "added": ("echo n >n", "--- /dev/null\n+++ bB/m/n\n@@ -0,0 +1 @@\n+n\n"),
    "added-empty": (": >n", "B/m/n: added, a file\n"),
    "added-other": ("mkdir n; ln -s a/b n/l; mkfifo n/p",
                    "B/m/n: added, a directory\nB/m/n/l: added, a symbolic link to a/b\nB/m/n/p: added, a fifo\n"),
    "deleted": ("rm d/g", "--- aB/m/d/g\n+++ /dev/null\n@@ -1 +0,0 @@\n-deep\n"),
    "deleted-directory": ("rm -r gone", "B/m/gone: deleted, a directory\n"),
    "replaced": ("rm d/g; mkdir d/g", "--- aB/m/d/g\n+++ /dev/null\n@@ -1 +0,0 @@\n-deep\nB/m/d/g: added, a directory\n"),
    "made-again": ("rm -r d; mkdir d", "B/m/d: removed and made again, a directory\n"
                   "--- aB/m/d/g\n+++ /dev/null\n@@ -1 +0,0 @@\n-deep\n"),
    "binary": ("printf 'a\\0bc' >b", "Binary files aB/m/b and bB/m/b differ (3 and 4 bytes)\n"),
    "binary-added": ("printf 'a\\0bc' >n", "Binary files /dev/null and bB/m/n differ (0 and 4 bytes)\n"),
    "mode": ("chmod 755 f", "B/m/f: mode 0644 -> 0755\n"),
    "mode-and-content": ("echo four >>f; chmod 755 f",
                         "--- aB/m/f\n+++ bB/m/f\n@@ -1,3 +1,4 @@\n one\n two\n three\n+four\nB/m/f: mode 0644 -> 0755\n"),
    "time": ("touch f", "B/m/f: time of change differs\n"),
    "no-line-end": ("printf four >>f", "--- aB/m/f\n+++ bB/m/f\n@@ -1,3 +1,4 @@\n one\n two\n three\n+four\n"
                    "\\ No newline at end of file\n"),
    "latin-1": ("printf '\\344\\n' >h", "--- aB/m/h\n+++ bB/m/h\n@@ -1 +1 @@\n-second\n+\udce4\n"),
}


@pytest.mark.parametrize("case", SHOWN)
def test_each_kind(lower, case):
    script, expected = SHOWN[case]
    lower.sh(f"cd $1; {script}")
    assert diff(lower) == expected


def test_link(tool):
    tool.layer("l", {"link": Link(target="old")})
    tool.sh("ln -snf new $1/link")
    assert diff(tool) == "B/m/link: a symbolic link to old -> new\n"


@pytest.mark.skipif(not shutil.which("patch"), reason="needs patch(1)")
def test_patch_makes_the_same_change(lower):
    subprocess.run(["sh", "-c", "mkdir bare && cp -a l2/. bare && cp -a l/. bare"], cwd=lower.base, check=True)
    script = "seq 1 100 >h; sed -i '2d;$a\\\\four' f; echo n >n; rm d/g"
    lower.sh(f"cd $1; {script}")
    done = lower("diff", *lower.about())
    depth = len(f"a{lower.mount}/x".split("/")) - 1
    text = done.out.replace("B", lower.base)
    subprocess.run(["patch", "-s", f"-p{depth}"], cwd=f"{lower.base}/bare", input=text, text=True, check=True)
    for name in ("h", "f", "n"):
        with open(f"{lower.base}/bare/{name}") as mine, open(f"{lower.upper}/{name}") as its:
            assert mine.read() == its.read()
    assert not os.path.exists(f"{lower.base}/bare/d/g")


def test_paths_context_and_exit_code(lower):
    lower.sh("cd $1; sed -i s/two/TWO/ f; echo n >n; echo x >d/x")
    assert diff(lower, "-U0", "@/f") == "--- aB/m/f\n+++ bB/m/f\n@@ -2 +2 @@\n-two\n+TWO\n"
    assert diff(lower, "m/d") == "--- /dev/null\n+++ bB/m/d/x\n@@ -0,0 +1 @@\n+x\n"
    assert diff(lower, "@/h") == ""
    assert lower("diff", "--exit-code", *lower.about()).status == 1
    assert lower("diff", "--exit-code", *lower.about(), "@/h").status == 0
    assert "\x1b[" in lower("diff", "--color=always", *lower.about()).out


def test_odd_names(lower):
    """A name can't add lines of its own."""
    lower.sh("cd $1; echo x >\"$(printf 'n\\n+++ b')\"")
    assert diff(lower) == "--- /dev/null\n+++ bB/m/n\\012+++ b\n@@ -0,0 +1 @@\n+x\n"


def test_nothing_is_changed(lower):
    lower.sh("cd $1; sed -i s/two/TWO/ f; echo n >n; rm -r gone")
    before = [lower.tree("u"), lower.tree("u.work")]
    diff(lower)
    assert [lower.tree("u"), lower.tree("u.work")] == before


def test_a_missing_upper_is_not_made(lower):
    assert diff(lower) == ""
    assert sorted(os.listdir(lower.base)) == ["l", "l2"]


def test_what_can_not_be_read(lower, user_only):
    lower.sh("cd $1; echo n >n; echo m >m")
    os.chmod(f"{lower.upper}/m", 0)
    done = lower("diff", *lower.about())
    assert (done.status, done.err) == (3, "ovl: B/m/m: Permission denied\n")
    assert done.out == "--- /dev/null\n+++ bB/m/n\n@@ -0,0 +1 @@\n+n\n"


def test_refused(lower):
    for args, status, line in ((["-U", "x"], 2, "-U x: not a number of lines"),
                               (["%/u"], 3, "B/u lies in no overlay; `ovl conf` shows their mounts")):
        done = lower("diff", *lower.about(), *args)
        assert done.status == status and done.err.startswith(f"ovl: {line}\n")
    lower.sh("echo n >$1/n")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    done = lower.start(["/usr/bin/env", "PATH=/nowhere", lower.program, "diff", *words])
    assert done.status == 3 and done.err.startswith("ovl: diff(1) can't be started: No such file")
    assert lower("diff", "--help").out.startswith("usage: ovl diff ")

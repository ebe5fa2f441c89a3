# SPDX-License-Identifier: MIT
"""ovl explain: where a name is, what hides it, what a change would copy up; that it agrees with what is seen inside."""

import os

import pytest

import layers
from layers import GONE, Dir, Link

UPPER = {"f": "upper", "gone": GONE, "re": Dir(opaque=True), "re/x": "x", "over": "file over a directory", "d/u": "u"}
HIGH = {"f": "high", "gone/x": "x", "re/y": "y", "d/h": "high", "mid": GONE, "mixed/x": "x", "deep/a/b/c": "12345"}
LOW = {"f": "low", "gone/x": "x", "re/z": "z", "over/x": "x", "d/l": "low", "mid/x": "x", "mixed": "a file", "link": Link(target="f")}


@pytest.fixture
def made(tool):
    tool.layer("l", HIGH)
    tool.layer("l2", LOW)
    tool.layer("u", UPPER, watch=False)
    return tool


def explain(tool, *args):
    done = tool("explain", *tool.about(), *args)
    assert done.status in (0, 1) and done.err == ""
    return done.status, done.out


# What is said of a path: of the upper, of l, of l2, at the end; the status.
SAID = {
    "f": ("file, 5 bytes: this is seen", "file, 4 bytes: hidden by a file in layer 0",
          "file, 3 bytes: hidden by a file in layer 0", "it is in the upper already", 0),
    "gone": ("a whiteout: hides the name in the layers below", "directory: hidden by a whiteout in layer 0",
             "directory: hidden by a whiteout in layer 0", None, 1),
    "gone/x": ("nothing: no directory B/m/gone", "hidden by a whiteout in layer 0, at B/m/gone",
               "hidden by a whiteout in layer 0, at B/m/gone", None, 1),
    "re": ("opaque directory: this is seen", "directory: hidden by an opaque directory in layer 0",
           "directory: hidden by an opaque directory in layer 0", "it is in the upper already", 0),
    "re/z": ("nothing", "hidden by an opaque directory in layer 0, at B/m/re",
             "hidden by an opaque directory in layer 0, at B/m/re", None, 1),
    "over/x": ("nothing: no directory B/m/over", "hidden by a file in layer 0, at B/m/over",
               "hidden by a file in layer 0, at B/m/over", None, 1),
    "d": ("directory: this is seen", "directory: merged with it", "directory: merged with it",
          "it is in the upper already", 0),
    "d/l": ("nothing", "nothing", "file, 3 bytes: this is seen", "3 bytes are copied up", 0),
    "mid": ("nothing", "a whiteout: hides the name in the layers below", "directory: hidden by a whiteout in layer 1", None, 1),
    "mixed": ("nothing", "directory: this is seen", "file, 6 bytes: hidden by a directory in layer 1",
              "the directory is copied up, by itself; if it is renamed, with all that is below it", 0),
    "deep/a/b/c": ("nothing: no directory B/m/deep", "file, 5 bytes: this is seen", "nothing: no directory B/m/deep",
                   "5 bytes are copied up, and 3 directories above it", 0),
    "link": ("nothing", "nothing", "symbolic link: this is seen", "the symbolic link is copied up", 0),
    "none": ("nothing", "nothing", "nothing", None, 1),
    "none/at/all": ("nothing: no directory B/m/none",) * 3 + (None, 1),
}


@pytest.mark.parametrize("path", SAID)
def test_said(made, path):
    upper, high, low, change, status = SAID[path]
    lines = [f"B/m/{path}" + ("" if change else ": not there"), f"  0 upper B/u: {upper}", f"  1 lower B/l: {high}",
             f"  2 lower B/l2: {low}"] + ([f"  to change it: {change}"] if change else [])
    before = made.tree("u")
    assert explain(made, f"@/{path}") == (status, "\n".join(lines) + "\n")
    assert made.tree("u") == before


def test_agrees_with_what_is_seen(made):
    """Of all paths of all layers: whether each is there, and whose content it has."""
    stack = [layers.expand(layer) for layer in (UPPER, HIGH, LOW)]
    paths = sorted({path for layer in stack for path in layer})
    names = [path.strip("/") for path in paths if path.strip("/")]
    seen = made.sh("for p in " + " ".join(names) + '; do test -e $1/$p -o -h $1/$p && echo 1 || echo 0; done').split()
    done = made("explain", "--json", *made.about(), *[f"@/{name}" for name in names])
    said = done.json["paths"]
    assert len(said) == len(names)
    for name, answer, there in zip(names, said, seen):
        assert answer["exists"] == (there == "1"), name
        if answer["exists"]:
            shown, = [layer for layer in answer["layers"] if layer["is"] == "shown"]
            assert shown["layer"] == answer["shown"] and os.path.lexists(shown["path"].replace("B", made.base, 1)), name
        else:
            assert "shown" not in [layer["is"] for layer in answer["layers"]], name


def test_json(made):
    answer, = made("explain", "--json", *made.about(), "@/deep/a/b/c").json["paths"]
    assert (answer["path"], answer["mount"], answer["exists"], answer["shown"]) == ("B/m/deep/a/b/c", "B/m", True, 1)
    assert (answer["copies_up"], answer["copy_bytes"], answer["copy_parents"], answer["writable"]) == (True, 5, 3, True)
    assert answer["layers"][1] == {"layer": 1, "upper": False, "directory": "B/l", "is": "shown", "type": "file", "size": 5,
                                   "path": "B/l/deep/a/b/c"}
    answer, = made("explain", "--json", *made.about(), "@/f").json["paths"]
    assert answer["layers"][2]["is"] == "hidden" and answer["layers"][2]["by"] == 0


def test_what_is_copied_up_is_what_was_said(made):
    made.sh("echo more >>$1/deep/a/b/c")
    assert sorted(os.listdir(f"{made.upper}/deep/a/b")) == ["c"]
    assert explain(made, "@/deep/a/b/c")[1].endswith("  to change it: it is in the upper already\n")


def test_links(tool):
    tool.layer("l", {"a": "a"}, watch=False)
    os.link(f"{tool.base}/l/a", f"{tool.base}/l/b")
    tool.world.watch(f"{tool.base}/l")
    tool.sh("echo more >>$1/a")
    out = explain(tool, "@/b")[1]
    assert "  another of its names was changed; what is seen is their common copy, B/u.work/state/link/" in out
    assert out.endswith("to change it: it is in the upper already\n")


def test_read_only_and_before_any_run(made):
    done = made("explain", "-m", "@", "-l", "%/l", "-l", "%/l2", "@/d/l")
    assert done.out == ("B/m/d/l\n  0 lower B/l: nothing\n  1 lower B/l2: file, 3 bytes: this is seen\n"
                        "  to change it: can't be, the overlay is read-only\n")
    assert done.status == 0


def test_what_may_not_be_changed(made, user_only):
    os.chmod(f"{made.base}/u/f", 0o444)
    assert explain(made, "@/f")[1].endswith("  to change it: it is in the upper already; but you may not write to it\n")


def test_excluded(made):
    done = made("explain", *made.about(), "-x", "@/d", "@/d/u")
    assert (done.status, done.out) == (0, "B/m/d/u: in no overlay: the real file system's\n")


def test_a_path_that_the_kernel_does_not_take(tool, root_only):
    tool.layer("l", {}, watch=False)
    deep = "/".join(["n" * 100] * 42)
    done = tool("explain", "--json", *tool.about(), f"@/{deep}")
    assert done.status == 1
    script = "import os; os.chdir('l'); [(os.mkdir('n' * 100), os.chdir('n' * 100)) for _ in range(42)]"
    assert tool.start(["/usr/bin/python3", "-c", script]).status == 0
    lower = tool("explain", "--json", *tool.about(), f"@/{deep}").json["paths"][0]["layers"][1]
    assert lower["path"] == f"B/l/{deep}"


def test_from_inside(tool):
    tool.layer("l", {"d/f": "f"})
    script = f"cd {tool.base}/l/d; echo x >n; {tool.program} explain n"
    done = tool("run", "-m", "%/l", "-u", "%/u", "sh", "-c", script)
    assert done.out == ("B/l/d/n\n  0 upper B/u: file, 2 bytes: this is seen\n  1 lower B/l: nothing\n"
                        "  to change it: it is in the upper already\n")


def test_refused(made):
    for args, status, line in (([], 2, "a path is missing"), (["%/x"], 3, "B/x lies in no overlay"),):
        done = made("explain", *made.about(), *args)
        assert done.status == status and done.err.startswith(f"ovl: {line}")
    assert made("explain", "--help").out.startswith("usage: ovl explain ")


def test_what_can_not_be_looked_at(made, user_only):
    os.chmod(f"{made.base}/u/d", 0)
    done = made("explain", *made.about(), "@/d/l", "@/f")
    assert done.status == 3 and done.err == "ovl: B/m/d/l: Permission denied\n" and "this is seen" in done.out
    os.chmod(f"{made.base}/u/d", 0o755)

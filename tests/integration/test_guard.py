# SPDX-License-Identifier: MIT
"""guard=landlock: the kernel refuses what libovl can't see, and nothing that it needs."""

import pathlib
import subprocess

import pytest

GUARD = ",guard=landlock,static=allow"
TREE = {"f": "text", "d/x": "1", "e/": None, "old": "2"}
HERE = pathlib.Path(__file__).resolve().parent

pytestmark = pytest.mark.untraced("a static program is meant to reach the layers")


@pytest.fixture(scope="module")
def change(workspace):
    program = pathlib.Path(workspace) / "change"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-static", str(HERE / "change.c"), "-o",
                    str(program)], check=True)
    return str(program)


def shell(side, script):
    """What a shell inside prints. It is the first command, which must not be a static one: that would start outside."""
    script = script.replace("@", side.mount).replace("%", side.outside)
    result, = side.run([(["sh", "-ec", script], "")])
    assert (result.status, result.err) == (0, ""), result
    return result.out


def answers(out):
    return dict(line.split(": ") for line in out.splitlines())


def test_lower_layer(world, change):
    """A static program can change nothing below a lower layer's own path; elsewhere it can do everything."""
    side = world.ovl([TREE], {}, outside=TREE, options=GUARD)
    told = answers(shell(side, f"{change} {side.lowers[0]} %"))
    assert set(told.values()) <= {"EACCES", "EXDEV", "ENOENT"}, told
    assert list(told.values()).count("EACCES") >= 9, told
    told = answers(shell(side, f"{change} % {side.upper}"))
    assert set(told.values()) == {"done"}, told


def test_overlay_works(world):
    """Copy-up, moves between directories, removals and links go on as ever, in the processes of the tree too."""
    side = world.ovl([TREE, {"low/er": "3"}], {}, options=GUARD)
    out = shell(side, """cd @
        echo more >>f; mv d low/d; rm old; ln f low/f; mkdir new; mv f new/; rmdir e; mkdir e; mv low renamed
        cat new/f renamed/d/x; ls; ls renamed; mv new/f %/moved; cat %/moved""")
    assert out == "textmore\n1e\nnew\nrenamed\nd\ner\nf\ntextmore\n"


def test_in_place(world, change):
    """The mount's own path is the lower layer: a program that libovl can't reach does not change it."""
    side = world.ovl([TREE], {}, options=GUARD)
    lower = side.lowers[0]
    side.environment = {"OVL_CONF": f"mount={lower},lowerdir={lower},upperdir={side.upper}{GUARD}"}
    told, seen = shell(side, f"{change} {lower} %; cd {lower}; echo new >f; cat f; rm -r d; ls").split("new\n", 1)
    assert "done" not in told and told.count("EACCES") >= 9, told
    assert seen == "e\nf\nold\n"

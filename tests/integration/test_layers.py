# SPDX-License-Identifier: MIT
"""Kinds and places of layers (C-1.5, C-1.8, C-1.9, C-1.10, C-2.2, C-2.3, C-2.10)."""

import os

import pytest

import layers
from layers import GONE, OPAQUE, Dir, File, Whiteout, link

STACK = [{"a": "1", "gone": GONE, "d/gone": GONE, "d/new": "n", "op/": OPAQUE, "op/x": "1", "gd": GONE,
          "deep/op/": OPAQUE},
         {"gone": "x", "b": "2", "d/gone": "x", "op/y": "2", "gd/f": "x", "c": GONE, "deep/op/f": "hidden",
          "deep/g": GONE, "back": "again", "wd/": OPAQUE},
         {"c": "3", "op/z": "3", "gd/g": "x", "d/low": "l", "deep/g": "hidden", "deep/h": "h", "back": GONE,
          "wd/never": "1"},
         {"gone": "y", "back": "old", "gd": "file"}]
LOOK = """
    readdir @
    readdir @/d
    readdir @/op
    readdir @/deep
    readdir @/deep/op
    readdir @/wd
    stat @/gone
    stat @/d/gone
    stat @/op/y
    stat @/gd
    stat @/gd/f
    stat @/c
    stat @/deep/g
    stat @/wd/never
    cat @/back
    put @/gone new
    mkdir @/gd
    readdir @/gd
    put @/op/y back
    unlink @/op/x
    unlink @/op/y
    rmdir @/op
    unlink @/back
    put @/d/low changed
    unlink @/d/new
    unlink @/d/low
    rmdir @/d
"""


@pytest.mark.parametrize("form", ["oci", "dev", "xattr"])
def test_whiteout_forms(compare, form):
    """C-2.2, C-2.3: every form in lower layers."""
    compare(STACK, LOOK, form=form)


def test_trusted_marks(compare, root_only):
    compare(STACK, LOOK, form="dev", prefix="trusted.")


def test_trusted_xattr_whiteouts(compare, root_only):
    compare(STACK, LOOK, form="xattr", prefix="trusted.")


def test_forms_mixed(compare):
    compare([{"a": Whiteout(form="oci"), "b": Whiteout(form="dev"), "c": Whiteout(form="xattr"),
              "d/": Dir(opaque=True, form="oci"), "e/": Dir(opaque=True, form="dev")},
             {"a": "1", "b": "2", "c": "3", "d/x": "4", "e/x": "5", "f": "6"}], """
        readdir @
        readdir @/d
        readdir @/e
        put @/a 1
        put @/b 1
        put @/c 1
        unlink @/f
    """)


def test_only_regular_files_are_oci_whiteouts(world):
    """C-2.2: anything else of such a name is hidden and hides nothing."""
    side = world.ovl([{".wh.a/": None, ".wh.b": link("x"), ".wh.c": File(content="not empty"), "x": "1"},
                      {"a": "1", "b": "2", "c": "3"}], upper={})
    assert side.opsh("""
        readdir @
        cat @/a
        cat @/b
        stat @/c
    """)[0] == ["ok .:d ..:d a:f b:f x:f", "ok 1", "ok 2", "ENOENT"]


def test_empty_files_and_devices_are_no_whiteouts(compare):
    """A zero-size file without the xattr, and one with it in a directory that is not marked, are files."""
    compare([{"zero": "", "d/zero": ""}, {"zero": "1", "d/zero": "2"}], "cat @/zero\nstat @/d/zero")


MANY = pytest.mark.untraced("a million calls take minutes to read")


@pytest.mark.parametrize("n", [64, pytest.param(130, marks=MANY), pytest.param(500, marks=MANY)])
def test_many_lowers(compare, n):
    """C-1.5: 500 at least must work."""
    lower = [{"top": str(i), f"only{i}": str(i), f"d/{i}": str(i)} for i in range(n)]
    lower[n // 2]["gone"] = GONE
    lower[n - 1]["gone"] = "x"
    compare(lower, f"""
        cat @/top
        cat @/only{n - 1}
        cat @/only0
        stat @/d/{n - 1}
        stat @/missing
        stat @/gone
        readdir @/d
        append @/only{n - 1} x
        unlink @/top
        stat @/top
        unlink @/d/{n // 2}
        readdir @/d
    """)


@pytest.mark.parametrize("n", [1, 3])
def test_read_only_overlay(compare, n):
    compare([{f"f{i}": str(i), "d/": None, "x": str(i)} for i in range(n)], """
        readdir @
        cat @/f0
        cat @/x
        put @/x 1
        access @/x W_OK
        access @/x R_OK
        readdir @/d
    """, upper=None)


def test_lower_on_tmpfs(world, root_only):
    """C-1.10."""
    side = world.ovl([{"f": "1", "d/g": "2", "h": File(content="3", xattrs={"trusted.k": "v"})}, {"d/k": "3"}], upper={})
    other = f"{side.base}/t"
    side.setup = f"mkdir -p {other} && mount -t tmpfs tmpfs {other} && cp -a {side.lowers[0]} {other}/l &&"
    side.lowers[0] = f"{other}/l"
    assert side.opsh("""
        append @/f x
        cat @/f
        rename @/f @/d/f
        cat @/d/f
        unlink @/d/g
        readdir @/d
        readdir @
        chmod @/h 0600
        link @/h @/hh
        cat @/hh
    """)[0] == ["ok", "ok 1x", "ok", "ok 1x", "ok", "ok .:d ..:d f:f k:f", "ok .:d ..:d d:d h:f", "ok", "ok", "ok 3"]


def test_mount_inside_a_layer_is_crossed(world, root_only):
    """C-1.10: a real mount point inside a lower is crossed as the kernel crosses it when a layer is used."""
    side = world.ovl([{"f": "1", "mnt/": None}], upper={})
    point = f"{side.lowers[0]}/mnt"
    side.setup = f"mount -t tmpfs tmpfs {point} && echo in >{point}/f &&"
    lines = side.opsh("cat @/mnt/f\nreaddir @/mnt\nappend @/mnt/f x\ncat @/mnt/f")[0]
    assert lines == ["ok in\\x0a", "ok .:d ..:d f:f", "ok", "ok in\\x0ax"]


def sh(side, script, **how):
    """A shell script in the view: its output, and nothing on stderr."""
    result = side.run([(["sh", "-ec", side.text(script)], "")], **how)[0]
    assert (result.status, result.err) == (0, "")
    return result.out


def test_mount_hides_what_is_on_disk(world):
    side = world.ovl([{"f": "overlay"}], upper={})
    os.makedirs(side.mount)
    with open(side.mount + "/real", "w") as f:
        f.write("never seen")
    os.chmod(side.mount, 0o777)
    assert side.opsh("readdir @\nstat @/real\ncat @/f\nput @/new 1\nchdir @/..\nreaddir m\ncat m/f")[0] == [
        "ok .:d ..:d f:f", "ENOENT", "ok overlay", "ok", "ok", "ok .:d ..:d f:f new:f", "ok overlay"]
    assert os.listdir(side.mount) == ["real"]


def test_several_overlays(world):
    """C-1.9, C-3.10: two overlays beside each other, and a change that would go across."""
    side = world.ovl([{"f": "first"}], upper={})
    other = world.ovl([{"f": "second"}], upper={})
    two = other.mount
    side.environment = {"OVL_CONF": f"{side.conf};{other.conf}"}
    assert side.opsh(f"""
        cat @/f
        cat {two}/f
        rename @/f {two}/g
        link @/f {two}/g
        put {two}/f changed
        cat @/f
        cat {two}/f
        chdir {two}
        cat f
        cat @/f
        unlink f
        readdir .
        readdir @
    """)[0] == ["ok first", "ok second", "EXDEV", "EXDEV", "ok", "ok first", "ok changed", "ok", "ok changed", "ok first",
                "ok", "ok .:d ..:d", "ok .:d ..:d f:f"]


def test_nested_overlays(world):
    """C-1.9: a mount below a mount hides what lies there and shows in its parent's listing."""
    outer = world.ovl([{"f": "outer", "in/hidden": "x", "d/": None}], upper={})
    inner = world.ovl([{"f": "inner"}], upper={})
    for at, listing in (("in", "ok .:d ..:d d:d f:f in:d"), ("d/deep", "ok .:d ..:d deep:d")):
        conf = inner.conf.replace(f"mount={inner.mount}", f"mount={outer.mount}/{at}")
        outer.environment = {"OVL_CONF": f"{outer.conf};{conf}"}
        parent = ("@/" + at).rpartition("/")[0]
        assert outer.opsh(f"""
            cat @/{at}/f
            readdir @/{at}
            readdir {parent}
            stat @/{at}/hidden
            rename @/{at}/f @/moved
            cat @/{at}/../f
            chdir @/{at}
            getcwd
            chdir ..
            getcwd
            rmdir @/{at}
        """)[0] == ["ok inner", "ok .:d ..:d f:f", listing, "ENOENT", "EXDEV",
                    "ok outer" if at == "in" else "ENOENT", "ok", f"ok @/{at}", "ok", f"ok {parent}", "EBUSY"], at


def test_a_layer_below_another_mount(world):
    """C-1.9: it stands for that overlay's own layers at that place, read-only."""
    a = world.ovl([{"sub/f": "low", "sub/g": "g"}], upper={"sub/f": "up"})
    b = world.ovl([{"x": "1"}], upper={})
    b.lowers.insert(0, f"{a.mount}/sub")
    b.environment = {"OVL_CONF": f"{a.conf};{b.conf}"}
    assert b.opsh(f"""
        cat @/f
        cat @/g
        cat @/x
        put @/f changed
        cat {a.mount}/sub/f
    """)[0] == ["ok up", "ok g", "ok 1", "ok", "ok up"]


def test_in_place(world):
    """C-1.8: mount equal to the lower; the real directory is never changed."""
    side = world.ovl([{"f": "real", "d/g": "g", "s": link("@/f")}], upper={})
    lower = side.lowers[0]
    side.mount = lower
    assert side.opsh("""
        cat @/f
        put @/f changed
        cat @/f
        unlink @/d/g
        readdir @/d
        put @/new 1
        readdir @
        chdir @/d
        put here 1
        getcwd
        run sh -c cat>x
        readdir .
        realpath ../f
    """)[0] == ["ok real", "ok", "ok changed", "ok", "ok .:d ..:d", "ok", "ok .:d ..:d d:d f:f new:f s:l", "ok", "ok",
                "ok @/d", "ok 0", "ok .:d ..:d here:f x:f", "ok @/f"]
    assert sorted(os.listdir(lower)) == ["d", "f", "s"]


def test_mount_inside_and_around_a_lower(world):
    """C-1.8: the mount may contain a lower's own path, or lie inside it."""
    side = world.ovl([{"sub/f": "1", "g": "2"}], upper={})
    lower = side.lowers[0]
    inside = side.conf.replace(f"mount={side.mount}", f"mount={lower}/sub")
    side.environment = {"OVL_CONF": inside}
    assert side.opsh(f"""
        cat {lower}/sub/g
        cat {lower}/sub/sub/f
        cat {lower}/g
        put {lower}/sub/new 1
        cat {lower}/sub/new
    """)[0] == ["ok 2", "ok 1", "ok 2", "ok", "ok 1"]
    around = side.conf.replace(f"mount={side.mount}", f"mount={os.path.dirname(lower)}")
    side.environment = {"OVL_CONF": around}
    assert side.opsh(f"""
        cat {os.path.dirname(lower)}/g
        cat {lower}/g
        readdir {os.path.dirname(lower)}/sub
    """)[0][0:2] == ["ok 2", "ok 2"]


def test_upper_below_an_in_place_mount(world):
    """C-2.10: the upper and the work directory pass through also below the mount."""
    side = world.ovl([{"f": "1", "up/": None}], upper={})
    lower = side.lowers[0]
    conf = f"mount={side.base},lowerdir={side.base},upperdir={side.upper}"
    side.environment = {"OVL_CONF": conf}
    assert side.opsh(f"""
        put {side.base}/made 1
        cat {side.upper}/made
        readdir {side.upper}
        cat {lower}/f
        put {lower}/f changed
        cat {lower}/f
        cat {side.upper}/l0/f
    """)[0] == ["ok", "ok 1", "ok .:d ..:d made:f", "ok 1", "ok", "ok changed", "ok changed"]
    assert not os.path.exists(f"{side.base}/made")


def test_exclude(world):
    """C-1.5: paths below the mount that pass through to the real file system."""
    side = world.ovl([{"f": "1", "pass/hidden": "x"}], upper={})
    os.makedirs(f"{side.mount}/pass")
    os.chmod(f"{side.mount}/pass", 0o777)
    side.options = f",exclude={side.mount}/pass"
    assert side.opsh("put @/pass/real 1\nreaddir @/pass\nstat @/pass/hidden\ncat @/f\nrename @/f @/pass/f")[0] == [
        "ok", "ok .:d ..:d real:f", "ENOENT", "ok 1", "EXDEV"]
    assert os.listdir(f"{side.mount}/pass") == ["real"]
    assert side.opsh("open 1 @/pass O_RDONLY\nchdir @\nfchdir 1\ngetcwd\ncat real\ncat ../f\nchdir ../pass\n"
                     "cat real")[0] == ["ok", "ok", "ok", "ok @/pass", "ok 1", "ok 1", "ok", "ok 1"]


def test_a_layer_used_directly(world):
    """C-2.10: a layer's own path gives the layer as it is."""
    side = world.ovl([{"f": "1", ".wh.g": ""}, {"g": "2"}], upper={})
    assert side.opsh(f"""
        put @/f changed
        cat {side.lowers[0]}/f
        readdir {side.lowers[0]}
        cat {side.upper}/f
        readdir {side.upper}
    """)[0] == ["ok", "ok 1", "ok .:d ..:d .wh.g:f f:f", "ok changed", "ok .:d ..:d f:f"]


def test_second_run_continues(world):
    """C-1.13: what one run leaves, the next one finds, lower changes in between included."""
    side = world.ovl([{"f": "1", "d/g": "2", "h": "3"}], upper={})
    side.opsh("unlink @/f\nput @/d/g changed\nput @/new 1")
    assert side.opsh("stat @/f\ncat @/d/g\ncat @/new\nput @/f again\nreaddir @")[0] == [
        "ENOENT", "ok changed", "ok 1", "ok", "ok .:d ..:d d:d f:f h:f new:f"]
    lower = side.lowers[0]
    with open(f"{lower}/later", "w") as f:
        f.write("added between runs")
    side_answers = side.opsh("cat @/later\nreaddir @")[0]
    os.unlink(f"{lower}/later")
    stamp = os.stat(lower)
    assert side_answers == ["ok added\\x20between\\x20runs", "ok .:d ..:d d:d f:f h:f later:f new:f"]
    world.guard.known[lower] = layers.fingerprint(lower)
    assert stamp

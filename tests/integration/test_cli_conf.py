# SPDX-License-Identifier: MIT
"""ovl conf: what a configuration comes to, again a configuration; the library's refusals without running anything."""

import os

import pytest


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "one\n"})
    tool.layer("l2", {"g": "two\n"})
    return tool


PLAIN = """[overlay]
mount = B/m
lowerdir = B/l
lowerdir = B/l2
upperdir = B/u
workdir = B/u.work
whiteout = oci
readdir = sorted
static = deny
volatile = off
patch = auto
guard = off
"""


def conf(tool, *args, **how):
    done = tool("conf", *args, **how)
    assert (done.status, done.err) == (0, "")
    return done.out


def test_options(lower):
    assert conf(lower, *lower.about()) == PLAIN
    assert conf(lower, *lower.about(), "--inline") == (
        "mount=B/m,lowerdir=B/l:B/l2,upperdir=B/u,workdir=B/u.work,whiteout=oci,readdir=sorted,static=deny,volatile=off,"
        "patch=auto,guard=off\n")
    assert sorted(os.listdir(lower.base)) == ["l", "l2"], "nothing is made"


FULL = """
; everything that a file can say
[overlay first]
mount = B/m1
lowerdir = l:${MORE}/l2
lowerdir = ~/l\\,3
upperdir = u1
workdir = ~/w1
exclude = a:b\\:c
whiteout = oci
readdir = native
static = warn
static-allow = /usr/bin/env:/usr/bin/true
volatile = on
patch = off
[overlay second]
mount = B/m2
lowerdir = l
"""


def test_everything(lower):
    lower.layer("l,3", {"h": "three\n"})
    lower.file("conf", FULL.replace("B", lower.base))
    env = {"MORE": lower.base}
    made = conf(lower, "conf", env=env)
    assert made.startswith("[overlay first]\nmount = B/m1\nlowerdir = B/l\nlowerdir = B/l2\nlowerdir = B/l\\,3\nupperdir = B/u1\n"
                           "workdir = B/w1\nexclude = B/m1/a:B/m1/b\\:c\nwhiteout = oci\nreaddir = native\nstatic = warn\n")
    assert "volatile = on\npatch = off\nguard = off\n\n[overlay second]\nmount = B/m2\nlowerdir = B/l\nwhiteout = " in made
    overlays = lower("conf", "--json", "--conf", "conf", env=env).json["overlays"]
    assert [o["name"] for o in overlays] == ["first", "second"]
    assert overlays[0]["lowerdir"] == ["B/l", "B/l2", "B/l,3"] and "upperdir" not in overlays[1]
    # What is printed comes to the same, in both forms, without the variables.
    lower.file("conf2", made.replace("B", lower.base))
    for form in ([], ["--inline"]):
        again = conf(lower, *form, "conf2")
        assert again == conf(lower, *form, "conf", env=env)
        if form:
            inline = again.strip().replace("B", lower.base)
            assert conf(lower, *form, env={"OVL_CONF": inline}) == again


def test_the_library_takes_it(lower):
    inline = conf(lower, "--inline", *lower.about()).strip().replace("B", lower.base)
    done = lower.start(["env", f"OVL_CONF={inline}", f"LD_PRELOAD={lower.library}", "cat", f"{lower.mount}/g"])
    assert (done.status, done.out) == (0, "two\n")


def test_odd_paths(tool):
    for name in ("a,b", "c:d", "e;f", "g\\h", "i$j", "${k}", "~l", " m", "n\no", "p ", "q=r", "#s"):
        tool.layer(name, {})
        about = ["-m", "@", "-l", f"%/{name}", "-u", "%/u"]
        inline = conf(tool, "--inline", *about)
        assert conf(tool, "--inline", env={"OVL_CONF": inline[:-1].replace("B", tool.base)}) == inline
        done = tool("conf", *about)
        if name in ("n\no", "p "):
            assert done.status == 3 and "which a configuration file can't hold; see --inline and --json" in done.err
        else:
            tool.file("conf", done.out.replace("B", tool.base))
            assert conf(tool, "conf") == done.out
        overlay, = tool("conf", "--json", *about).json["overlays"]
        assert overlay["lowerdir"] == [f"B/{name}"]


def test_names_of_any_bytes(tool):
    name = b"\xff"
    os.mkdir(os.path.join(tool.base.encode(), name))
    tool.own(os.path.join(tool.base.encode(), name))
    overlay, = tool("conf", "--json", "-m", "@", "-l", "%/\udcff").json["overlays"]
    assert overlay["lowerdir"] == ["B/\ufffd"]
    assert bytes.fromhex(overlay["lowerdir_hex"][0]) == os.path.join(tool.base.encode(), name)


def test_a_file_whose_path_looks_like_a_configuration(lower):
    os.mkdir(f"{lower.base}/a=b")
    lower.file("a=b/conf", f"[overlay]\nmount={lower.mount}\nlowerdir=../l\n")
    assert conf(lower, "a=b/conf") == conf(lower, f"{lower.base}/a=b/conf")
    lower.file("a=b,c", f"[overlay]\nmount={lower.mount}\nlowerdir=l\n")
    assert conf(lower, "a=b,c") == conf(lower, "a=b/conf")


def test_layers_before_any_run(lower):
    assert "upperdir" not in conf(lower, "-m", "@", "-l", "%/l")
    assert lower("run", "-q", "-m", "@", "-l", "%/l", "true").status == 0
    assert "upperdir = B/state/ovl/" in conf(lower, "-m", "@", "-l", "%/l")
    assert "upperdir = B/state/ovl/" in conf(lower)


REFUSED = {
    "key": ("colour = red\n", "conf:3: unknown key 'colour'; the keys are mount, lowerdir, upperdir, workdir, exclude, whiteout, "
            "readdir, static, static-allow, volatile, patch and guard"),
    "value": ("volatile = perhaps\n", "conf:3: volatile=perhaps: unknown value; it is 'off' or 'on'"),
    "no-lower": ("", "conf:1: the overlay of mount=B/m has no lower layer; add lowerdir= and one or more directories"),
    "missing": ("lowerdir = none\n", "conf:3: lowerdir=B/none: no such file or directory; name a directory that exists"),
    "upper": ("lowerdir = l\nupperdir = l\n",
              "conf:4: upperdir=B/l: equals the lower layer B/l; name a directory that holds no layer"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    lines, message = REFUSED[case]
    lower.file("conf", f"[overlay]\nmount={lower.mount}\n{lines}")
    done = lower("conf", "conf")
    assert (done.status, done.out, done.err) == (125, "", f"ovl: ./{message}\n")


def test_other_refusals(lower):
    for args, status, line in ((["none"], 125, "the configuration file ./none can't be read"),
                               (["a", "b"], 2, "'b': one file is enough"),
                               (["--conf", "a", "b"], 2, "'b': one file is enough"),
                               (["a", "-m", "@"], 2, "--conf says all of it"),
                               ([], 3, "there is no overlay to speak of")):
        done = lower("conf", *args)
        assert done.status == status and done.err.startswith(f"ovl: {line}")
    assert lower("conf", "--help").out.startswith("usage: ovl conf ")

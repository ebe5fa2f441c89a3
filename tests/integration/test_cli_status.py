# SPDX-License-Identifier: MIT
"""ovl status: every kind of change, against what the same work does to a bare directory; and that a look changes nothing."""

import os
import pathlib
import random
import subprocess

import pytest

import shuffled
from layers import GONE, Dir, File, Link

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "lower\n", "d/g": "deep\n", "gone/x/y": "y", "was/1": "1", "was/2": "2"})
    tool.layer("l2", {"h": "second\n", "d/k": "k", "re/r": "r", "re/s": "s", "link": "file"})
    return tool


def short(tool, *args, about=None):
    done = tool("status", "-s", *(about or tool.about()), *args)
    assert (done.status, done.err) == (0, "")
    return done.out.replace("B/m/", "").splitlines()


CHANGES = {
    "add": ("echo n >n", ["A n"]),
    "add-directory": ("mkdir -p n/m; echo x >n/m/x", ["A n/", "A n/m/", "A n/m/x"]),
    "link-and-fifo": ("ln -s nowhere n; mkfifo p", ["A n", "A p"]),
    "hard-link": ("echo n >n; ln n n2", ["A n", "A n2"]),
    "longer": ("echo more >>f", ["M f"]),
    "same-size": ("printf 'LOWER\\n' >f", ["M f"]),
    "same-content": ("touch -r f ../x/t; cat f >../x/copy; cat ../x/copy >f; touch -r ../x/t f", []),
    "deep": ("echo more >>d/g", ["M d/g"]),
    "mode": ("chmod 600 f", ["m f"]),
    "directory-mode": ("chmod 700 d", ["m d/"]),
    "time": ("touch f", ["m f"]),
    "directory-time": ("touch d", []),
    "delete": ("rm f", ["D f"]),
    "delete-tree": ("rm -r gone", ["D gone"]),
    "delete-and-make": ("touch -r f ../x/t; rm f; echo lower >f; touch -r ../x/t f", []),
    "file-for-directory": ("rm -r gone; echo x >gone", ["T gone"]),
    "directory-for-file": ("rm f; mkdir f; echo x >f/x", ["T f/", "A f/x"]),
    "link-for-file": ("ln -sf h f", ["T f"]),
    "opaque": ("rm -r re; mkdir re; echo r2 >re/r; echo t >re/t", ["O re/", "M re/r", "D re/s", "A re/t"]),
    "opaque-empty": ("rm -r re; mkdir re", ["O re/", "D re/r", "D re/s"]),
    "rename": ("mv f f2", ["R f2 <- f"]),
    "rename-and-change": ("mv f f2; echo more >>f2", ["R f2 <- f"]),
    "rename-directory": ("mv was is", ["R is/ <- was"]),
    "rename-directory-and-change": ("mv was is; echo more >>is/2; echo x >is/3; rm is/1",
                                    ["R is/ <- was", "R is/2 <- was/2", "A is/3"]),
    "rename-over": ("mv f h", ["D f", "M h"]),
    "nothing": ("cat f d/g h >../x/copy; ls -lR . >../x/list", []),
    "add-and-delete": ("echo x >n; rm n; mkdir m; rmdir m", []),
}


@pytest.mark.parametrize("case", CHANGES)
def test_each_kind(lower, case):
    script, expected = CHANGES[case]
    os.makedirs(f"{lower.base}/x")
    lower.own(f"{lower.base}/x")
    lower.sh(f"cd {lower.mount}; mkdir -p ../x; {script.replace('../x', lower.base + '/x')}")
    assert short(lower) == expected


def test_long_form(lower):
    lower.sh("cd $1; echo n >n; mv f f2; chmod 600 h; rm -r gone; rm d/g; mkdir d/g")
    done = lower("status", *lower.about())
    assert (done.status, done.err) == (0, "")
    assert done.out == """B/m, changed in B/u:
    replaced:   B/m/d/g/
    renamed:    B/m/f -> B/m/f2
    deleted:    B/m/gone
    metadata:   B/m/h (mode)
    added:      B/m/n
  1 added, 1 metadata, 1 deleted, 1 replaced, 1 renamed
"""


def snapshot(root):
    """Path to what status looks at."""
    facts = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            content = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif os.path.isfile(path):
                content = pathlib.Path(path).read_bytes()
            facts[os.path.relpath(path, root)] = (st.st_mode & 0o170000, content, st.st_mode)
    return facts


def expected_changes(before, after):
    """Names and kinds, without what a deleted or replaced directory had."""
    changes = set()
    for path in before.keys() | after.keys():
        old, new = before.get(path), after.get(path)
        above = os.path.dirname(path)
        if not new and above in before and (above not in after or after[above][0] != before[above][0]):
            continue
        if not old:
            changes.add(("added", path))
        elif not new:
            changes.add(("deleted", path))
        elif old[0] != new[0]:
            changes.add(("replaced", path))
        elif old[1] != new[1]:
            changes.add(("modified", path))
        elif old[2] != new[2]:
            changes.add(("metadata", path))
    return changes


@pytest.mark.parametrize("seed", [1, 2])
def test_against_a_bare_directory(tool, seed):
    """The same changes on a bare directory: what differs there is what status says."""
    lower = shuffled.shuffled_lower()
    names = sorted(lower)
    random.Random(seed).shuffle(names)
    tool.layer("l", {name: lower[name] for name in names[::2]})
    tool.layer("l2", {name: lower[name] for name in names[1::2]})
    subprocess.run(["sh", "-c", "mkdir bare && cp -a l2/. bare && cp -a l/. bare && cp -a bare before"], cwd=tool.base, check=True)
    subprocess.run(["/usr/bin/python3", HERE / "shuffled.py", str(seed)], cwd=f"{tool.base}/bare", check=True)
    tool.sh(f"cd $1; exec /usr/bin/python3 {HERE}/shuffled.py {seed}")
    done = tool("status", "--json", *tool.about())
    assert (done.status, done.err) == (0, "")
    found = set()
    for change in done.json["overlays"][0]["changes"]:
        path = os.path.relpath(change["path"], "B/m")
        if change["kind"] == "opaque" or change["differs"] == ["time"]:
            continue
        renamed = change["kind"] == "renamed"
        found.add(("replaced" if renamed and "before" in change else "added" if renamed else change["kind"], path))
    assert found == expected_changes(snapshot(f"{tool.base}/before"), snapshot(f"{tool.base}/bare"))


def test_sorted_by_bytes(lower):
    lower.sh("cd $1; for n in b a-b a 'a b' B é; do mkdir \"$n\"; : >\"$n/x\"; done")
    lines = short(lower)
    names = ["B", "a", "a b", "a-b", "b", "é"]
    assert lines == [line for n in names for line in (f"A {n}/", f"A {n}/x")]


# ---- a look changes nothing ------------------------------------------------------------------------------


def test_nothing_is_changed(lower):
    lower.sh("cd $1; echo n >n; mv was is; rm -r re; mkdir re")
    before = [lower.tree("u"), lower.tree("u.work")]
    for args in (["-s"], ["--json", "-a", "--links"], []):
        assert lower("status", *args, *lower.about()).status == 0
    assert [lower.tree("u"), lower.tree("u.work")] == before


def test_a_missing_upper_is_not_made(lower):
    assert short(lower) == []
    assert sorted(os.listdir(lower.base)) == ["l", "l2"]
    done = lower("status", *lower.about())
    assert (done.status, done.out) == (0, "B/m, changed in B/u:\n  nothing is changed\n")
    # A work directory alone, or an upper alone.
    os.makedirs(f"{lower.base}/u/new")
    assert short(lower) == ["A new/"]
    assert sorted(os.listdir(lower.base)) == ["l", "l2", "u"]


# ---- marks -----------------------------------------------------------------------------------------------------


def test_marks_that_hide_nothing(lower):
    lower.layer("u", {"nothing": GONE, "d/nothing": GONE, "new": Dir(opaque=True), "new/x": "x"}, watch=False)
    assert short(lower) == ["A new/", "A new/x"]


def test_both_forms_of_whiteouts(tool, root_only):
    tool.layer("l", {"f": "f", "d/g": "g"})
    tool.file("conf", f"[overlay]\nmount={tool.mount}\nlowerdir=l\nupperdir=u\nwhiteout=kernel\n")
    done = tool("run", "--conf", "conf", "sh", "-c", "cd $1; rm f; rm -r d; mkdir d", "sh", tool.mount)
    assert done.status == 0
    assert short(tool, about=["--conf", "conf"]) == ["O d/", "D d/g", "D f"]


def test_lower_whiteouts(tool):
    """A name that a lower layer hides was not there."""
    tool.layer("l", {"f": GONE, "d": Dir(opaque=True), "d/x": "x"})
    tool.layer("l2", {"f": "f", "d/y": "y"})
    tool.sh("cd $1; echo f >f; echo y >d/y; rm d/x")
    assert short(tool) == ["D d/x", "A d/y", "A f"]


# ---- owners ------------------------------------------------------------------------------------------------------


def test_owners_that_a_user_can_not_keep(tool, user_only):
    if os.geteuid() != 0:
        pytest.skip("needs root to make another one's files")
    tool.layer("l", {"d/f": "f"})
    subprocess.run(["chown", "-R", "0:0", f"{tool.base}/l"], check=True)
    tool.world.guard.add(f"{tool.base}/l")
    tool.sh("echo n >$1/d/n")
    assert short(tool) == ["A d/n"]


def test_owner(tool, root_only):
    tool.layer("l", {"f": "f"})
    tool.sh("chown 5:6 $1/f")
    done = tool("status", *tool.about())
    assert "    metadata:   B/m/f (owner)\n" in done.out


def test_xattrs(tool):
    tool.layer("l", {"f": File(content="f", xattrs={"user.a": "1"}), "g": "g"})
    tool.sh("setfattr -n user.a -v 2 $1/f; setfattr -n user.b -v '' $1/g")
    done = tool("status", *tool.about())
    assert "    metadata:   B/m/f (xattrs)\n    metadata:   B/m/g (xattrs)\n" in done.out


# ---- hard links ---------------------------------------------------------------------------------------------------


def test_links(tool):
    tool.layer("l", {"d/a": "a", "b": "b"}, watch=False)
    os.link(f"{tool.base}/l/d/a", f"{tool.base}/l/c")
    tool.world.watch(f"{tool.base}/l")
    tool.sh("echo more >>$1/c")
    done = tool("status", "-s", *tool.about())
    assert (done.status, done.out) == (0, "M B/m/c\n")
    assert done.err == "ovl: hard links were changed by one of their names; --links shows what others show that too\n"
    assert short(tool, "--links") == ["M c", "M d/a"]
    changes = tool("status", "--json", "--links", *tool.about()).json["overlays"][0]["changes"]
    assert [change.get("linked", False) for change in changes] == [False, True]


# ---- which ---------------------------------------------------------------------------------------------------------


def test_paths(lower):
    lower.sh("cd $1; echo n >n; echo x >d/x; rm -r gone; rm f; mkdir f")
    assert short(lower, "@/d") == ["A d/x"]
    assert short(lower, "m/d/x", "@/n") == ["A d/x", "A n"]
    assert short(lower, "@/gone/x/y") == ["D gone"]
    assert short(lower, "@/./d/../n/") == ["A n"]
    assert short(lower, "@/h") == []
    assert short(lower, "@/f") == ["T f/"]


def test_the_old_path_of_what_was_renamed(lower):
    """What is said by the new name's line is said where that one is not asked for."""
    lower.sh("cd $1; mv f f2; mv was is")
    assert short(lower, "@/f") == ["D f"]
    assert short(lower, "@/was/1") == ["D was"]
    assert short(lower, "@/f", "@/d") == ["D f"]
    assert short(lower, "@/was", "@/is") == short(lower, "@/is") == ["R is/ <- was"]
    assert short(lower, "@") == ["R f2 <- f", "R is/ <- was"]
    assert lower("status", *lower.about(), "--exit-code", "@/f").status == 1


def test_several_overlays(lower):
    lower.file("conf", "\n".join(f"[overlay {n}]\nmount={lower.base}/m{n}\nlowerdir=l\nupperdir=u{n}" for n in "ab"))
    done = lower("run", "--conf", "conf", "sh", "-c", "echo a >$1/ma/a; echo b >$1/mb/b", "sh", lower.base)
    assert done.status == 0
    assert short(lower, about=["--conf", "conf"]) == ["A B/ma/a", "A B/mb/b"]
    assert short(lower, "%/mb", about=["--conf", "conf"]) == ["A B/mb/b"]
    overlays = lower("status", "--json", "--conf", "conf").json["overlays"]
    assert [(o["name"], o["mount"], len(o["changes"])) for o in overlays] == [("a", "B/ma", 1), ("b", "B/mb", 1)]


def test_in_place_and_from_inside(tool):
    """In there a layer's own path is the overlay's: the command goes outside to look."""
    tool.layer("l", {"d/f": "f", "link": Link(target="x")})
    about = ["-m", "%/l", "-u", "%/u"]
    script = f"cd {tool.base}/l/d; echo more >>f; echo n >n; {tool.program} status -s .; {tool.program} status -s ../d/n"
    done = tool("run", *about, "sh", "-c", script)
    assert (done.status, done.out, done.err) == (0, "M B/l/d/f\nA B/l/d/n\nA B/l/d/n\n", "")
    assert short(tool, about=about) == ["M B/l/d/f", "A B/l/d/n"]
    script = f"ln -snf y {tool.base}/l/link; {tool.program} status -s {tool.base}/l/link"
    done = tool("run", *about, "sh", "-c", script)
    assert (done.status, done.out, done.err) == (0, "M B/l/link\n", "")


def test_what_is_kept(lower):
    about = ["-m", "@", "-l", "%/l"]
    assert lower("run", "-q", *about, "-n", "one", "sh", "-c", "echo 1 >$1/one", "sh", lower.mount).status == 0
    assert lower("run", "-q", *about, "-n", "two", "sh", "-c", "echo 2 >$1/two", "sh", lower.mount).status == 0
    assert short(lower, about=["-n", "one"]) == ["A one"]
    assert short(lower, about=["-s"]) == ["A two"]
    assert short(lower, about=["-m", "@", "-n", "one"]) == ["A one"]
    done = lower("status", "-m", "@", "-l", "%/l2", "-n", "one")
    assert done.status == 3 and "were made to other layers" in done.err
    done = lower("status", env={"OVL_CONF": f"mount={lower.mount},lowerdir={lower.base}/l"})
    assert done.status == 3 and "read-only" in done.err


def test_excluded(lower):
    lower.sh("cd $1; echo n >n; echo x >d/x")
    assert short(lower, "-x", "@/d") == ["A n"]


# ---- how -------------------------------------------------------------------------------------------------------------


def test_exit_code(lower):
    assert lower("status", "--exit-code", *lower.about()).status == 0
    lower.sh("echo n >$1/n")
    assert lower("status", "--exit-code", *lower.about()).status == 1
    assert lower("status", *lower.about()).status == 0


def test_json(lower):
    lower.sh("cd $1; echo more >>f; chmod 600 f; rm d/g; mv h h2")
    overlay, = lower("status", "--json", *lower.about()).json["overlays"]
    assert (overlay["mount"], overlay["upper"]) == ("B/m", "B/u")
    changes = {change["path"]: change for change in overlay["changes"]}
    assert changes["B/m/f"]["kind"] == "modified" and changes["B/m/f"]["differs"] == ["content", "mode", "time"]
    assert changes["B/m/f"]["before"]["layer"] == "B/l" and changes["B/m/f"]["before"]["size"] == 6
    assert changes["B/m/f"]["after"]["mode"] == "0600" and changes["B/m/f"]["after"]["type"] == "file"
    assert changes["B/m/d/g"]["kind"] == "deleted" and "after" not in changes["B/m/d/g"]
    assert (changes["B/m/h2"]["from"], changes["B/m/h"]["to"]) == ("B/m/h", "B/m/h2")


def test_names_of_any_bytes(lower):
    """None is a command to the terminal: control characters as bytes, and those of C1 as UTF-8 (U+009B is what ESC [ is)."""
    names = [b"\xff\xfe", b"n\nn", b"\x1b[31m", b"back\\slash", "ü".encode(), b"\xc2\x9b31m", b"\x9b31m", "\u045b".encode()]
    lower.sh("echo >/dev/null")
    for name in names:
        path = os.path.join(lower.upper.encode(), name)
        open(path, "wb").close()
        lower.own(path)
    changes = lower("status", "--json", *lower.about()).json["overlays"][0]["changes"]
    found = [bytes.fromhex(c["path_hex"]) if "path_hex" in c else c["path"].replace("B", lower.base, 1).encode() for c in changes]
    assert sorted(found) == sorted(os.path.join(lower.mount.encode(), name) for name in names)
    lines = short(lower)
    assert {"A n\\012n", "A \\033[31m", "A back\\134slash", "A ü", "A \\302\\23331m", "A \\23331m", "A \u045b"} < set(lines)
    done = lower("diff", *lower.about(), b"\xc2\x9b31m".decode())
    assert done.err == "ovl: \\302\\23331m lies in no overlay; `ovl conf` shows their mounts\n"


def test_colors(lower):
    lower.sh("echo n >$1/n")
    assert lower("status", "-s", "--color=always", *lower.about()).out == "\x1b[32mA B/m/n\x1b[m\n"
    assert lower("status", "-s", "--color=auto", *lower.about(), env={"TERM": "xterm"}).out == "A B/m/n\n"


# ---- refusals ----------------------------------------------------------------------------------------------------------


def test_what_can_not_be_read(lower, user_only):
    """The rest is shown, and the status tells."""
    lower.sh("cd $1; mkdir closed; echo n >n; echo LOWER >f")
    os.chmod(f"{lower.upper}/closed", 0)
    os.chmod(f"{lower.upper}/f", 0)
    done = lower("status", "-s", *lower.about())
    assert (done.status, done.out) == (3, "A B/m/closed/\nM B/m/f\nA B/m/n\n")
    assert done.err == "ovl: B/m/closed: Permission denied\n"


REFUSED = {
    "outside": (["@/../x"], 3, "@/../x lies in no overlay; `ovl conf` shows their mounts"),
    "color": (["--color=red"], 2, "--color=red: it is auto, always or never"),
    "no-layer": (["-l", "%/none"], 125, "lowerdir=B/none: no such file or directory; name a directory that exists"),
    "upper-is-lower": (["-u", "%/l"], 2, "--upper is given twice; leave one of them out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    args, status, line = REFUSED[case]
    done = lower("status", *lower.about(), *args)
    assert done.status == status
    assert done.err.startswith("ovl: " + line.replace("@", "B/m") + "\n")


def test_help(tool):
    done = tool("status", "--help")
    assert done.status == 0 and done.out.startswith("usage: ovl status ")


def test_output_that_does_not_arrive(lower):
    lower.sh("echo n >$1/n")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    done = lower.start(["sh", "-c", 'exec "$@" >/dev/full', "sh", lower.program, "status", *words])
    assert (done.status, done.err) == (3, "ovl: stdout: No space left on device\n")


MEASURED = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(status)
"""


@pytest.mark.long
def test_memory_is_bounded(tool):
    """200,000 files, all in the upper: 32 MiB are enough for each of the commands that walk."""
    tool.layer("l", {f"d{i}/f": "" for i in range(100)}, watch=False)
    tool.sh("cd $1; for i in $(seq 0 99); do cd d$i; seq -f %04.0f 1999 | xargs touch; rm f; cd ..; done")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
    archive = f"{tool.base}/x.tar"
    for command in (["status", *words], ["status", "--json", "-a", *words], ["diff", *words], ["export", "-o", archive, *words],
                    ["import", "--to", f"{tool.base}/i", archive], ["commit", *words]):
        done = tool.start(["/usr/bin/python3", "-c", MEASURED, tool.program, *command])
        assert done.status == 0 and int(done.out) < 32 << 10, (command, done)
    assert len(os.listdir(f"{tool.base}/l/d7")) == 1999

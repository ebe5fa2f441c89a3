# SPDX-License-Identifier: MIT
"""ovl commit: the layer shows afterwards what the overlay showed before; killed at any point, nothing is seen of it, and
the next call finishes; what is in the way is said before anything is changed."""

import collections
import os
import re
import shutil
import signal
import stat
import subprocess
import time

import pytest

import residue
import shuffled
from layers import GONE, Dir, Link, acl
from test_killed import changes

SCRIPT = os.path.join(os.path.dirname(shuffled.__file__), "shuffled.py")
CHANGES = ("cd $1; echo more >>f; rm d/g; rm -r gone; rm -r again; mkdir again; echo n >again/new; ln again/new again/new2;"
           "ln -s /a/b link; mkfifo pipe; mkdir -p x/y; : >x/y/z; echo xattr >x/a; chmod 4751 x/a; setfattr -n user.b -v 2 x/a;"
           "rm file; mkdir file; echo in >file/in; rm -r dir; echo now >dir; chmod 700 meta; setfattr -x user.old meta;"
           "chmod 600 mode; ln -snf other sym; rm -r both; mkdir both; echo b >both/new; touch -d @1234567 touched")
LOWER = {"f": "lower\n", "d/g": "g\n", "d/h": "h\n", "gone/x": "x", "file": "file", "dir/a/b": "b", "same": "same",
         "meta": Dir(xattrs={"user.old": "1"}), "meta/x": "x", "mode": "m", "sym": Link(target="old"), "touched": "t",
         "again/one": "1", "gone/y/z": "z", "gone/y/a": "a", "big": "b" * 200000}
BELOW = {"again/old": "old", "d/g": "below", "h": "second\n", "gone/deep/y": "y", "both/x": "x", "dir": "a file", "d/i": "i"}


@pytest.fixture
def lower(tool):
    tool.layer("l", LOWER, watch=False)
    tool.layer("l2", BELOW)
    return tool


def shown(tool, *lowers, upper="u", times=True):
    """What the overlay shows, without numbers of links."""
    names = lowers or [name for name in ("l", "l2", "l3") if os.path.isdir(f"{tool.base}/{name}")]
    lines = tool.shown("-m", "@", *[w for name in names for w in ("-l", f"%/{name}")], "-u", f"%/{upper}")
    lines[1:2] = []  # the mount, which is as the layer has it
    return lines if times else [re.sub(r" (now|\d+\.\d+)(?= |$)", "", line) for line in lines]


def commit(tool, *args, about=None):
    done = tool("commit", *(about or tool.about()), *args)
    assert (done.status, done.err) == (0, ""), done.err
    return done


def left(tool):
    """Nothing is left of the upper, and nothing aside."""
    assert not os.path.exists(tool.upper) and not os.path.exists(f"{tool.upper}.work")
    names = [n for name in ("l", "l2") for _, ds, fs in os.walk(f"{tool.base}/{name}") for n in ds + fs]
    assert not [n for n in names if n.startswith(".wh..wh.new")]


def commit_all(tool):
    """Nothing is left in the upper, and the overlay shows what it showed before."""
    before = shown(tool)
    commit(tool)
    left(tool)
    assert shown(tool) == before


# ---- what is applied ---------------------------------------------------------------------------------------


def test_everything(lower):
    lower.sh(CHANGES)
    before = shown(lower)
    assert commit(lower).out == "24 changes were applied to B/l\n"
    left(lower)
    assert shown(lower) == before
    assert residue.residue(f"{lower.base}/l", [f"{lower.base}/l2"]) == []
    a, b = (os.stat(f"{lower.base}/l/again/{n}") for n in ("new", "new2"))
    assert a.st_ino == b.st_ino


def test_one_layer_needs_no_marks(tool):
    tool.layer("l", {**LOWER, "both/x": "x", "h": "second\n"}, watch=False)
    tool.sh(CHANGES)
    before = shown(tool)
    commit(tool)
    assert shown(tool) == before
    # Without any overlay it is the same.
    names = sorted(n for _, ds, fs in os.walk(f"{tool.base}/l") for n in ds + fs)
    assert not [n for n in names if n.startswith(".wh.")]
    with open(f"{tool.base}/l/f") as f:
        assert f.read() == "lower\nmore\n"


def test_in_place(tool):
    tool.layer("l", {"f": "lower\n", "d/g": "g"}, watch=False)
    about = ["-m", "%/l", "-n", "try"]
    assert tool("run", "-q", *about, "sh", "-c", "cd $1; echo more >>f; rm -r d; echo n >n", "sh", f"{tool.base}/l").status == 0
    assert sorted(os.listdir(f"{tool.base}/l")) == ["d", "f"]
    commit(tool, about=["-n", "try"])
    assert sorted(os.listdir(f"{tool.base}/l")) == ["f", "n"]
    assert sorted(os.listdir(f"{tool.kept}/try")) == ["conf"]
    done = tool("run", "-q", "-n", "try", "cat", "%/l/n")
    assert (done.status, done.out) == (0, "n\n")


@pytest.mark.parametrize("change", ["echo more >>deep/er/f", "ln deep/er/f deep/er/g", "mkdir deep/er/new", "rm deep/er/f"])
def test_directories_that_only_layers_below_have(tool, change):
    tool.layer("l", {"f": "f"}, watch=False)
    tool.layer("l2", {"deep/er": Dir(mode=0o750, xattrs={"user.a": "1"}), "deep/er/f": "below", "deep/er/h": "h"})
    tool.sh(f"cd $1; {change}")
    commit_all(tool)


def test_attributes_beside_an_acl_that_forbids_writing(tool):
    tool.layer("l", {}, watch=False)
    tool.sh("cd $1; echo f >f; setfattr -n user.a -v 1 f; chmod 444 f; setfacl -m u:7:r f;"
            "mkdir d; setfattr -n user.a -v 1 d; setfacl -m u:7:rx d; chmod 455 d")
    commit_all(tool)


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_changes(tool, seed):
    lower = shuffled.shuffled_lower()
    names = sorted(lower)
    tool.layer("l", {name: lower[name] for name in names[seed::2]}, watch=False)
    tool.layer("l2", {name: lower[name] for name in names if name not in names[seed::2]})
    tool.sh(f"cd $1; exec /usr/bin/python3 {SCRIPT} {seed}")
    commit_all(tool)
    assert residue.residue(f"{tool.base}/l", [f"{tool.base}/l2"]) == []
    # And once more, over what was committed.
    tool.sh("cd $1; find . -type f | sort | head -n 7 | xargs rm; echo new >>d0/new; mv d1 d9 2>/dev/null || :")
    before = shown(tool)
    commit(tool)
    assert shown(tool) == before


def test_kernel_form(tool, root_only):
    tool.layer("l", LOWER, watch=False)
    tool.layer("l2", BELOW)
    conf = f"mount={tool.mount},lowerdir={tool.base}/l:{tool.base}/l2,upperdir={tool.upper},whiteout=kernel"
    done = tool("run", "sh", "-ec", CHANGES, "sh", tool.mount, env={"OVL_CONF": conf})
    assert done.status == 0, done.err
    before = shown(tool)
    assert tool("commit", env={"OVL_CONF": conf}).status == 0
    assert shown(tool) == before
    assert os.stat(f"{tool.base}/l/d/g").st_rdev == 0
    assert not [n for _, _, fs in os.walk(f"{tool.base}/l") for n in fs if n.startswith(".wh.")]


def test_long_names(tool):
    name = "n" * 254
    tool.layer("l", {name: "x", "f": "f"}, watch=False)
    tool.layer("l2", {name: "y"})
    tool.sh(f"rm $1/{name}")
    commit(tool)
    assert shown(tool)[1:] == [line for line in shown(tool) if line.startswith("f ")]


DEEP = """import os, sys
os.chdir(sys.argv[1])
for _ in range(42):
    os.makedirs("n" * 100, exist_ok=True)
    os.chdir("n" * 100)
exec(sys.argv[2])
"""


def test_paths_that_the_kernel_does_not_take(tool):
    tool.layer("l", {}, watch=False)
    script = tool.file("deep", DEEP)
    made = "open('f', 'w'), open('g', 'w'), os.mkdir('d'), open('d/x', 'w')"
    assert tool.start(["/usr/bin/python3", script, f"{tool.base}/l", made]).status == 0
    tool.sh(f"""/usr/bin/python3 {script} $1 'print("m", file=open("f", "a")); os.unlink("g"); os.unlink("d/x"); os.rmdir("d");'"""
            """'os.mkdir("new"); open("new/n", "w")'""")
    commit_all(tool)


def test_hard_links_of_the_layer_stay(tool):
    tool.layer("l", {"d/a": "a", "b": "b"}, watch=False)
    os.link(f"{tool.base}/l/d/a", f"{tool.base}/l/c")
    tool.sh("echo more >>$1/c")
    before = shown(tool)
    commit(tool)
    assert shown(tool) == before
    a, c = os.stat(f"{tool.base}/l/d/a"), os.stat(f"{tool.base}/l/c")
    assert (a.st_ino, a.st_nlink, a.st_size) == (c.st_ino, 2, 6)


def test_closed_directories(tool):
    tool.layer("l", {"d": Dir(mode=0o555), "d/e": Dir(mode=0o500), "d/e/f": "f", "d/x": "x"}, watch=False)
    tool.sh("cd $1; chmod 700 d d/e; echo n >>d/e/f; rm d/x; chmod 500 d/e; chmod 555 d")
    before = shown(tool)
    commit(tool)
    assert shown(tool) == before
    os.chmod(f"{tool.base}/l/d", 0o755)


def test_new_closed_directories(tool):
    """As go's module cache has them: what its owner may not write can't be moved to another directory as it is."""
    tool.layer("l", {"d/f": "f", "gone/x": "x"}, watch=False)
    tool.layer("l2", {"low/shut": Dir(mode=0o555), "low/shut/in": Dir(mode=0o500), "low/shut/in/f": "f"})
    tool.sh("cd $1; mkdir -p d/n/m; echo n >d/n/m/f; chmod 555 d/n/m d/n; rm -r gone; mkdir -p gone/y; chmod 500 gone/y; "
            "chmod u+w low/shut low/shut/in; echo m >>low/shut/in/f; chmod u-w low/shut/in low/shut")
    commit_all(tool)


@pytest.mark.parametrize("script", ["rm -r d; mkdir d; echo n >d/n; chmod 555 d", "chmod 755 e; rm -r e; mkdir e; echo n >e/n"])
def test_closed_directories_become_opaque(tool, script):
    tool.layer("l", {"e": Dir(mode=0o555), "e/y": "y"}, watch=False)
    tool.layer("l2", {"d/x": "x", "e/x": "x"})
    tool.sh(f"cd $1; {script}")
    commit_all(tool)


def test_acls_of_directories(tool):
    default = acl("u::rwx", "u:7:rx", "g::rx", "m::rx", "o::")
    tool.layer("l", {"d": Dir(xattrs={"system.posix_acl_default": default}), "d/f": "f", "e/f": "f"}, watch=False)
    tool.sh("cd $1; setfacl -b d/f; echo n >>d/f; mkdir d/n; setfacl -b d/n; setfacl -k d; setfacl -d -m u:9:rwx e; echo >e/g")
    before = shown(tool)
    commit(tool)
    assert shown(tool) == before


def test_owners_that_a_user_can_not_keep(tool, user_only):
    """A layer that root lets a user write to."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make another one's files")
    tool.layer("l", {"d/f": "f", "d/g": "g"}, watch=False)
    for path, mode in (("d/f", 0o666), ("d/g", 0o666), ("d", 0o777), ("", 0o777)):
        os.chown(f"{tool.base}/l/{path}", 0, 0)
        os.chmod(f"{tool.base}/l/{path}", mode)
    tool.sh("cd $1; echo more >>d/f; echo n >d/n; rm d/g")
    commit(tool)
    left(tool)
    assert sorted(os.listdir(f"{tool.base}/l/d")) == ["f", "n"]
    with open(f"{tool.base}/l/d/f") as f:
        assert f.read() == "fmore\n"
    st = os.stat(f"{tool.base}/l/d")
    assert (st.st_uid, st.st_mode & 0o7777) == (0, 0o777)


FOREIGN = {
    "barred": ("mkdir -p d/r; echo x >d/r/x", "rm -r d", "d/r/x: Permission denied; nothing was changed, B/m/d could not be"),
    "sticky": ("mkdir -p d/r; echo x >d/r/x; chmod 1777 d/r", "rm -r d",
               "d/r/x: Operation not permitted; nothing was changed, B/m/d could not be"),
    "sticky-name": ("mkdir d; echo x >d/x; chmod 1777 d", "rm d/x",
                    "d: Operation not permitted; nothing was changed, B/m/d/x could not be"),
    "mode": ("mkdir d; chmod 777 d", "chmod 700 d", "d: Operation not permitted; nothing was changed, B/m/d could not be"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_a_user_can_not_change_is_told_before(tool, user_only, case):
    if os.geteuid() != 0:
        pytest.skip("needs root to make another one's files")
    made, script, line = FOREIGN[case]
    tool.layer("l", {"a": "a"}, watch=False)
    subprocess.run(["sh", "-ec", made], cwd=f"{tool.base}/l", check=True)
    if case in ("barred", "sticky"):
        tool.own(f"{tool.base}/l/d")
    tool.sh(f"cd $1; echo more >>a; {script}")
    before = tool.tree("l")
    done = tool("commit", *tool.about(), "--force")
    assert (done.status, done.err) == (3, f"ovl: B/l/{line}\n")
    assert tool.tree("l") == before


def test_another_file_system_in_what_goes(tool, root_only):
    tool.layer("l", {"a": "a", "d/m/x": "x"}, watch=False)
    tool.sh("cd $1; echo more >>a; rm -r d")
    subprocess.run(["mount", "-t", "tmpfs", "none", f"{tool.base}/l/d/m"], check=True)
    try:
        done = tool("commit", *tool.about(), "--force")
        with open(f"{tool.base}/l/a") as f:
            assert f.read() == "a"
    finally:
        subprocess.run(["umount", f"{tool.base}/l/d/m"], check=True)
    assert done.status == 3 and done.err.startswith("ovl: B/l/d/m: is another file system than its layer")


def test_a_file_that_can_not_be_read(tool, user_only):
    tool.layer("l", {"a": "a"}, watch=False)
    tool.sh("cd $1; echo more >>a; echo b >b; chmod 200 b")
    before = tool.tree("l")
    done = tool("commit", *tool.about())
    assert (done.status, done.err) == (3, "ovl: B/m/b: Permission denied; what can't be read can't be applied, and nothing "
                                          "was changed\n")
    assert tool.tree("l") == before


def test_links_in_the_layer_are_not_followed(tool):
    """A directory of the layer that somebody makes a link while the overlay is not in use."""
    tool.layer("l", {"d/f": "f", "e/f": "f"}, watch=False)
    tool.layer("out", {"f": "outside"})
    tool.sh("cd $1; echo more >>d/f; echo n >d/n; rm e/f")
    for name in "de":
        shutil.rmtree(f"{tool.base}/l/{name}")
        os.symlink(f"{tool.base}/out", f"{tool.base}/l/{name}")
        os.chown(f"{tool.base}/l/{name}", tool.role.uid, tool.role.gid, follow_symlinks=False)
    before = tool.tree("out")
    tool("commit", *tool.about("l"), "--force")
    assert tool.tree("out") == before


def test_a_link_in_the_place_of_what_is_made(tool):
    """Whoever may write to the layer puts one there in the middle of it."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    tool.layer("l", {}, watch=False)
    out = tool.file("out", "outside")
    os.chmod(out, 0o600)
    tool.sh("echo n >$1/n; chmod 4777 $1/n")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
    aside, delay = f"{tool.base}/l/.wh..wh.new-commit", "inject=utimensat:delay_exit=700000:when=1"
    with subprocess.Popen([*tool.role.drop(), "strace", "-qq", "-o", f"{tool.base}/trace", "-e", delay, tool.program, "commit",
                           *words], stderr=subprocess.PIPE, env={**os.environ, "OVL_LIBRARY": tool.library}) as process:
        for _ in range(500):
            if os.path.exists(aside) and os.stat(aside).st_mtime_ns == os.stat(f"{tool.upper}/n").st_mtime_ns:
                break
            time.sleep(0.001)
        os.unlink(aside)
        os.symlink(out, aside)
    assert os.stat(out).st_mode & 0o7777 == 0o600


def test_what_others_put_into_the_layer(tool, root_only):
    """Where anybody may make names, but not take others away: no note of a mode, and no copy of a hard link."""
    tool.layer("l", {"d/f": "f", "e/f": "f"}, watch=False)
    tool.sh("cd $1; echo n >d/n; ln d/n d/n2; echo m >>d/f")
    st, layer = os.stat(f"{tool.upper}/d/n"), f"{tool.base}/l"
    os.chmod(layer, 0o1777)
    os.symlink("777:e", f"{layer}/.wh..wh.new-mode-1")
    os.mkdir(f"{layer}/.wh..wh.new-links")
    copy = f"{layer}/.wh..wh.new-links/{st.st_dev:x}-{st.st_ino:x}-{st.st_ctime_ns // 10**9:x}.{st.st_ctime_ns % 10**9:x}"
    with open(copy, "w") as f:
        f.write("other")
    for path in (f"{layer}/.wh..wh.new-mode-1", f"{layer}/.wh..wh.new-links", copy):
        os.chown(path, 12345, 12345, follow_symlinks=False)
    done = tool("commit", *tool.about())
    assert done.status == 3 and done.err.startswith("ovl: B/l/.wh..wh.new-links is somebody else's; look at it, and remove it\n")
    assert os.stat(f"{layer}/e").st_mode & 0o777 == 0o755
    shutil.rmtree(f"{layer}/.wh..wh.new-links")
    commit(tool)
    left(tool)
    with open(f"{layer}/d/n2") as f:
        assert f.read() == "n\n"


def test_labels_are_the_layers(tool, root_only):
    """Those of SELinux, where there is none: the upper's say where the upper lies."""
    tool.layer("l", {"f": "f", "d/g": "g", "same": "same"}, watch=False)
    names = ("f", "d", "d/g", "same")
    for name in names:
        try:
            os.setxattr(f"{tool.base}/l/{name}", "security.selinux", b"usr_t")
        except OSError:
            pytest.skip("needs a file system that keeps labels, and no policy")
    tool.sh("cd $1; echo more >>f; echo n >d/n; echo more >>d/g; cat same >../same; cp -p same same2; mv same2 same; "
            "setfattr -n user.a -v 1 d; for i in f d d/n d/g same; do setfattr -n security.selinux -v home_t $i; done")
    assert tool("status", "-s", *tool.about()).out == "m B/m/d/\nM B/m/d/g\nA B/m/d/n\nM B/m/f\n"
    commit(tool)
    for name in names:
        assert os.getxattr(f"{tool.base}/l/{name}", "security.selinux") == b"usr_t"
    assert "security.selinux" not in os.listxattr(f"{tool.base}/l/d/n")
    assert os.getxattr(f"{tool.base}/l/d", "user.a") == b"1"


def test_sparse_files(tool):
    tool.layer("l", {"f": "f"}, watch=False)
    tool.sh("truncate -s 100M $1/s; echo end >>$1/s")
    commit(tool)
    st = os.stat(f"{tool.base}/l/s")
    assert (st.st_size, st.st_blocks < 100) == ((100 << 20) + 4, True)


# ---- to which layer ----------------------------------------------------------------------------------------


def test_to_another_layer(tool):
    tool.layer("l", {"d/high": "high"}, watch=True)
    tool.layer("l2", {"d/f": "f", "d/g": "g", "x": "x", "o/old": "old"}, watch=False)
    tool.layer("l3", {"d/g": "low", "o/older": "older", "y": "y"})
    about = tool.about("l", "l2", "l3")
    done = tool("run", *about, "sh", "-ec", "cd $1; echo m >>d/f; rm d/g x y; rm -r o; mkdir o; echo n >d/n", "sh", tool.mount)
    assert done.status == 0
    before = shown(tool, "l", "l2", "l3", times=False)
    assert commit(tool, "--to", "%/l2", about=about).out.endswith("B/l2\n")
    assert shown(tool, "l", "l2", "l3", times=False) == before
    assert residue.residue(f"{tool.base}/l2", [f"{tool.base}/l3"]) == []


BETWEEN = {
    "modified": "echo m >>d/high",
    "deleted": "rm d/high",
    "directory": "chmod 700 d",
    "hidden": "echo n >hidden",
    "opaque": "rm -r d; mkdir d",
    "below-a-whiteout": "mkdir gone; echo n >gone/n",
}


@pytest.mark.parametrize("case", BETWEEN)
def test_a_layer_between_is_in_the_way(tool, case):
    tool.layer("l", {"d/high": "high", "hidden": GONE, "gone": GONE})
    tool.layer("l2", {"d/f": "f", "hidden": "x", "gone/x": "x"})
    tool.sh(f"cd $1; {BETWEEN[case]}")
    done = tool("commit", *tool.about(), "--to", "%/l2")
    assert done.status == 3 and "B/l, which lies between, has something to say of it, too; commit to that instead" in done.err
    assert os.path.exists(tool.upper)


# ---- looking first -----------------------------------------------------------------------------------------


def test_dry_run_and_json(lower):
    lower.sh("cd $1; echo more >>f; rm d/g; echo n >n")
    before = [lower.tree(n) for n in ("l", "u", "u.work")]
    done = lower("commit", *lower.about(), "--dry-run")
    assert (done.status, done.err) == (0, "")
    assert done.out == ("deleted   B/m/d/g\nmodified  B/m/f\nadded     B/m/n\n3 changes would be applied to B/l\n")
    result = lower("commit", *lower.about(), "--dry-run", "--json").json
    counts = {"added": 1, "modified": 1, "metadata": 0, "deleted": 1, "replaced": 0, "opaque": 0}
    assert result == {"layer": "B/l", "applied": False, "changes": counts}
    assert [lower.tree(n) for n in ("l", "u", "u.work")] == before
    assert commit(lower, "--json").json == {"layer": "B/l", "applied": True, "changes": counts}


def test_nothing_to_commit(lower):
    assert commit(lower).out == "0 changes were applied to B/l\n"
    assert not os.path.exists(lower.upper)


# ---- killed ------------------------------------------------------------------------------------------------


class Killed:
    def __init__(self, tool, script):
        self.tool = tool
        words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
        self.command = [tool.program, "commit", *words]
        self.kept = f"{tool.base}/kept"
        tool.sh(script)
        self.before = shown(tool)
        subprocess.run(["sh", "-c", "mkdir kept && cp -a l u u.work kept"], cwd=tool.base, check=True)

    def begin(self):
        """As it was; the copies are newer than the run, which the journal would excuse, so --force does here."""
        for name in ("l", "u", "u.work"):
            shutil.rmtree(f"{self.tool.base}/{name}", ignore_errors=True)
        subprocess.run(["cp", "-a", *(f"{self.kept}/{n}" for n in ("l", "u", "u.work")), self.tool.base], check=True)

    def start(self, *how):
        return self.tool.start(["strace", "-qq", "-o", "trace", *how, *self.command, "--force"]).status

    def kill(self, name, when):
        """Before call number `when`.  How many openat(2) calls there are depends on the machine's processes, at which
        a commit looks, too."""
        self.begin()
        status = self.start("-e", f"inject={name}:signal=KILL:when={when}")
        assert status == -signal.SIGKILL or (name == "openat" and status == 0), (name, when)

    def moments(self):
        """The calls of the last start that change something, and the end: (name, how many of that name)."""
        made, found = collections.Counter(), []
        with open(f"{self.tool.base}/trace", errors="surrogateescape") as f:
            for line in f:
                name = line.partition("(")[0]
                made[name] += 1
                if name == "exit_group" or (changes(name, line) and name not in NO_CHANGE):
                    found.append((name, made[name]))
        return found


NO_CHANGE = ("brk", "close", "execve", "fchdir", "flock", "fsync", "mmap", "nanosleep", "clock_nanosleep", "syncfs")


def kill_each(tool, script, stride):
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    killed = Killed(tool, script)
    assert killed.start() == 0
    wanted = seen(tool)
    moments = killed.moments()
    assert len(moments) > 40
    for name, when in moments[::stride]:
        killed.kill(name, when)
        where = f"killed before {name} {when}"
        done = tool("commit", *tool.about(), "--force")
        assert (done.status, done.err) == (0, ""), where
        assert seen(tool) == wanted, where
        left(tool)


def kill_and_look(tool, script, stride):
    """What the overlay shows to a run that comes between."""
    killed = Killed(tool, script)
    assert killed.start() == 0
    for name, when in killed.moments()[::stride]:
        killed.kill(name, when)
        assert shown(tool) == killed.before, f"killed before {name} {when}"


def seen(tool):
    """The layer itself, without numbers of inodes, times of status changes, and the time of marks."""
    return {path: [*fact[:3], *fact[5:7], *([] if ".wh." in path else fact[7:8]), fact[9:]]
            for path, fact in tool.tree("l").items() if path}


KILLED = ("cd $1; echo more >>f; rm d/g; rm -r again; mkdir again; echo n >again/new; ln again/new again/new2; rm file; mkdir file;"
          "echo in >file/in; rm -r dir; echo now >dir; chmod 700 meta; rm -r both; mkdir both; echo b >both/new; "
          "mkdir -p d/shut; echo s >d/shut/s; chmod 500 d/shut")


@pytest.mark.parametrize("start", [0, 1])
def test_killed_at_some_calls(lower, user_only, start):
    if start:
        kill_and_look(lower, KILLED, 9)
    else:
        kill_each(lower, KILLED, 9)


@pytest.mark.long
def test_killed_at_every_call(lower):
    kill_each(lower, KILLED, 1)


@pytest.mark.long
def test_what_is_shown_when_killed_at_every_call(lower):
    kill_and_look(lower, KILLED, 1)


def strace(tool, *options):
    """`ovl commit` under strace(1), which writes to "trace"."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
    return tool.start(["strace", "-qq", "-o", "trace", *options, tool.program, "commit", *words])


@pytest.mark.parametrize("call", ["renameat:signal=KILL:when=9", "unlink:signal=KILL:when=3"])
def test_a_killed_one_is_finished_where_it_was_begun(lower, call):
    """Without --force, although the layer is newer by now; and to no other layer."""
    lower.sh(CHANGES)
    before = shown(lower)
    done = strace(lower, "-e", f"inject={call}")
    assert done.status == -signal.SIGKILL
    assert shown(lower) == before
    done = lower("commit", *lower.about(), "--to", "%/l2")
    assert (done.status, done.err) == (3, "ovl: a commit to B/l was begun and not finished; finish it with --to B/l\n")
    done = lower("discard", "--dry-run", *lower.about())
    assert done.err.startswith("ovl: a commit of B/u was begun and not finished; what it has applied stays, and `ovl commit` would")
    commit(lower)
    left(lower)
    assert shown(lower) == before


def test_a_journal_of_an_upper_that_is_gone(tool):
    """Killed when the upper had been moved away, and before the journal went: the next upper is another one's."""
    tool.layer("l", {"f": "f", "g": "g"}, watch=False)
    tool.sh("echo more >>$1/f")
    done = strace(tool, "-e", "inject=syncfs:signal=KILL")
    assert done.status == -signal.SIGKILL
    shutil.rmtree(tool.upper)
    time.sleep(0.02)
    tool.sh("echo more >>$1/f; echo more >>$1/g")
    tool.file("l/g", "other")
    done = tool("commit", *tool.about())
    assert done.status == 3 and "B/m/g in B/l was changed after the overlay was first used" in done.err
    assert tool("discard", "-f", *tool.about()).status == 0


def test_killed_between_a_whiteout_and_a_directory(tool, root_only):
    """A directory that hides nothing by itself, as the layer's whiteout does, which it takes the place of."""
    tool.layer("l", {"a": "a"}, watch=False)
    tool.layer("l2", {"d/x": "x"})
    os.mknod(f"{tool.base}/l/d", stat.S_IFCHR)
    tool.sh("mkdir $1/d; echo n >$1/d/n")
    before = shown(tool)
    done = strace(tool, "-e", "inject=renameat:signal=KILL:when=1")
    assert done.status == -signal.SIGKILL and not os.path.exists(f"{tool.base}/l/d")
    assert shown(tool) == before
    commit(tool)
    left(tool)
    assert shown(tool) == before
    assert residue.residue(f"{tool.base}/l", [f"{tool.base}/l2"]) == []


def test_what_is_on_disk_when(tool):
    """The journal before anything is changed, and all that is changed before the upper goes."""
    tool.layer("l", {"d/f": "f"}, watch=False)
    tool.sh("echo more >>$1/d/f; echo n >$1/n")
    done = strace(tool, "-y")
    assert done.status == 0
    with open(f"{tool.base}/trace") as f:
        lines = [line for line in f if changes(line.partition("(")[0], line) or re.match(r"(fsync|syncfs)\(", line)]
    journal = next(i for i, line in enumerate(lines) if line.startswith("fsync(") and f"<{tool.upper}.work>" in line)
    layer = [i for i, line in enumerate(lines) if f"<{tool.base}/l" in line and not line.startswith(("syncfs", "openat", "flock"))]
    flushed = next(i for i, line in enumerate(lines) if line.startswith("syncfs("))
    dropped = next(i for i, line in enumerate(lines) if line.startswith("rename(") and "/discarded-" in line)
    assert journal < layer[0] and layer[-1] < flushed < dropped


def test_a_full_disk(tool):
    """Nothing half-made is left in the layer, and the next call finishes it."""
    tool.layer("l", {"d/f": "f"}, watch=False)
    tool.sh("echo more >>$1/d/f; echo n >$1/n")
    before = shown(tool)
    full = "inject=copy_file_range,pwrite64:error=ENOSPC"
    done = strace(tool, "-e", full)
    assert done.status == 3 and done.err.startswith("ovl: B/m/d/f: No space left on device\novl: the rest is still in B/u;")
    assert sorted(os.listdir(f"{tool.base}/l")) == ["d"]
    assert shown(tool) == before
    commit(tool)
    left(tool)
    assert shown(tool) == before


def test_the_layer_changes_after_a_commit_has_stopped(tool):
    """What that call has changed there is its own; what came after is not."""
    tool.layer("l", {"a": "a", "b": "b", "d/x": "x", "d/y": "y"}, watch=False)
    tool.sh("cd $1; for f in a b d/x; do echo more >>$f; done; rm d/y; chmod 700 d")
    full = "inject=copy_file_range:error=ENOSPC:when=2"
    assert strace(tool, "-e", full).status == 3
    with open(f"{tool.base}/l/a") as f:
        assert f.read() == "amore\n"
    time.sleep(0.02)
    tool.file("l/b", "other")
    done = tool("commit", *tool.about())
    assert done.status == 3 and "B/m/b in B/l was changed after" in done.err
    with open(f"{tool.base}/l/b") as f:
        assert f.read() == "other"
    assert tool("commit", *tool.about(), "--force").status == 0
    left(tool)


def test_two_uppers_at_once(tool):
    """What is made aside in the layer is one commit's, and the other sees what that has changed."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    tool.layer("l", {"a": "a", "b": "b"}, watch=False)
    abouts = [["-m", "@", "-l", "%/l", "-u", f"%/u{i}"] for i in range(3)]
    for about, name in zip(abouts, "aba"):
        done = tool("run", "-q", *about, "sh", "-c", f"echo more >>$1/{name}", "sh", tool.mount)
        assert done.status == 0, done.err
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in abouts[0]]
    slow = ["strace", "-qq", "-o", f"{tool.base}/trace", "-e", "inject=renameat:delay_enter=500000:when=1"]
    aside = f"{tool.base}/l/.wh..wh.new-commit"
    with subprocess.Popen([*tool.role.drop(), *slow, tool.program, "commit", *words], cwd=tool.base) as process:
        while not os.path.exists(aside) and process.poll() is None:
            time.sleep(0.01)
        done = tool("commit", *abouts[1])
        assert process.wait() == 0
    assert (done.status, done.err) == (0, "ovl: another upper is being committed to B/l; this one waits\n")
    for name in "ab":
        with open(f"{tool.base}/l/{name}") as f:
            assert f.read() == f"{name}more\n"
    assert "B/m/a in B/l was changed after" in tool("commit", *abouts[2]).err
    assert tool("discard", "-f", *abouts[2]).status == 0


# ---- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["echo other >l/f", "rm -r l/d && mkdir l/d && echo new >l/d/x", "echo other >l/again/one",
                                 "echo other >l/dir/a/new", "chmod 640 l/mode"])
def test_a_layer_that_was_changed_since(lower, how):
    lower.sh("cd $1; echo more >>f; rm -r d; rm -r again; mkdir again; rm -r dir; echo >dir; chmod 600 mode")
    assert lower.start(["sh", "-c", how]).status == 0
    before = lower.tree("l")
    done = lower("commit", *lower.about())
    assert done.status == 3
    assert "in B/l was changed after the overlay was first used; look at it, and commit with --force" in done.err
    assert lower.tree("l") == before
    assert lower("commit", *lower.about(), "--force").status == 0


def test_other_changes_of_the_layer_are_kept(lower):
    lower.sh("echo more >>$1/f")
    lower.file("l/new", "new")
    lower.file("l/d/h", "changed")
    commit(lower)
    with open(f"{lower.base}/l/d/h") as f:
        assert f.read() == "changed"
    assert os.path.exists(f"{lower.base}/l/new")


def test_after_a_commit_the_clock_begins_anew(lower):
    for text in ("one", "two"):
        lower.sh(f"echo {text} >$1/f")
        commit(lower)
        with open(f"{lower.base}/l/f") as f:
            assert f.read() == f"{text}\n"


def test_in_use(lower):
    lower.sh("echo n >$1/n")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    user = subprocess.Popen([*lower.role.drop(), lower.program, "run", "-q", *words, "sh", "-c", "echo up; exec sleep 30"],
                            stdout=subprocess.PIPE, env={**os.environ, "OVL_LIBRARY": lower.library})
    try:
        assert user.stdout.readline() == b"up\n"
        done = lower("commit", *lower.about())
        assert done.status == 3 and re.match(r"ovl: B/u is in use by process \d+; end that first\n", done.err)
    finally:
        user.terminate()
        user.wait()
        user.stdout.close()


def test_not_writable(lower, user_only):
    lower.sh("cd $1; echo n >d/n")
    os.chmod(f"{lower.base}/l", 0o555)
    done = lower("commit", *lower.about())
    assert (done.status, done.err) == (3, "ovl: B/l: Permission denied; commit to a directory that you may write to, or `ovl "
                                          "export` the changes\n")
    os.chmod(f"{lower.base}/l", 0o755)
    if os.geteuid() == 0:
        os.chown(f"{lower.base}/l/d", 0, 0)
        done = lower("commit", *lower.about())
        assert (done.status, done.err) == (3, "ovl: B/l/d: Permission denied; nothing was changed, B/m/d/n could not be\n")


def test_an_upper_that_no_run_made(lower):
    lower.layer("u", {"n": "n"}, watch=False)
    done = lower("commit", *lower.about())
    assert done.status == 3 and "has no work directory of libovl's" in done.err


REFUSED = {
    "no-layer": (["--to", "%/u"], 3, "B/u is no lower directory of B/m; those are:\novl:   B/l\novl:   B/l2"),
    "nowhere": (["--to", "none"], 3, "none is no lower directory of B/m; those are:"),
    "empty": (["--to", ""], 2, "--to is empty; give a value or leave it out"),
    "twice": (["--to", "%/l", "--to", "%/l2"], 2, "--to is given twice; leave one of them out"),
    "elsewhere": (["%/l"], 3, "B/l lies in no overlay; `ovl conf` shows their mounts"),
    "a-part": (["@/d"], 3, "B/m/d is no mount, and a part of an overlay can't be named here; all of it is B/m"),
    "no-conf": (["-l", "%/none"], 125, "lowerdir=B/none: no such file or directory; name a directory that exists"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    lower.sh("echo n >$1/n")
    args, status, line = REFUSED[case]
    before = lower.tree("l")
    done = lower("commit", *lower.about(), *args)
    assert done.status == status and done.err.startswith(f"ovl: {line}\n"), done.err
    assert lower.tree("l") == before


def test_help_inside_and_read_only(lower):
    assert lower("commit", "--help").out.startswith("usage: ovl commit ")
    done = lower("run", "-q", *lower.about(), lower.program, "commit")
    assert done.status == 3 and done.err.startswith("ovl: `ovl commit` can't be used inside an overlay")
    done = lower("commit", env={"OVL_CONF": f"mount={lower.mount},lowerdir={lower.base}/l"})
    assert done.status == 3 and "it is read-only" in done.err

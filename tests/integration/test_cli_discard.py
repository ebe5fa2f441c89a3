# SPDX-License-Identifier: MIT
"""ovl discard: what it removes, what it does not, and that a kill leaves nothing that somebody could go on with."""

import os
import pty
import shutil
import signal
import subprocess
import time

import pytest

ASKED = "ovl: nobody can be asked here whether these are to be removed; give --force\n"


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "one\n", "d/g": "deep\n"})
    tool.layer("x", {"precious": "p"})
    return tool


def kept(tool, name="n", script="echo n >$1/n; rm $1/f"):
    done = tool("run", "-q", "-m", "@", "-l", "%/l", "-n", name, "sh", "-c", script, "sh", tool.mount)
    assert done.status == 0, done.err
    return f"{tool.kept}/{name}"


def present(tool):
    return sorted(os.listdir(tool.base))


def test_what_is_kept(lower):
    kept(lower, "one")
    kept(lower, "two")
    done = lower("discard", "--force", "-n", "one")
    assert (done.status, done.out, done.err) == (0, "", "")
    assert sorted(os.listdir(lower.kept)) == [".last", "two"]
    assert lower("discard", "--force").status == 0
    assert os.listdir(lower.kept) == [".last"]
    assert lower("status").status == 3
    # And from the beginning again.
    kept(lower, "one", "test -e $1/f && ! test -e $1/n")


def test_a_named_upper(lower):
    lower.sh("echo n >$1/n; mkdir -p $1/a/b; chmod 0 $1/a/b; chmod 555 $1/a; ln -s ../../x $1/link")
    assert present(lower) == ["l", "u", "u.work", "x"]
    done = lower("discard", "-f", *lower.about())
    assert (done.status, done.err) == (0, "")
    assert present(lower) == ["l", "x"]


def test_links_are_not_followed(lower):
    """Neither in the upper nor in the work directory."""
    lower.sh("ln -s $2 $1/link; mkdir $1/d2; ln -s $2/x/precious $1/d2/f; ln $1/d2/f $1/hard".replace("$2", lower.base))
    os.symlink(f"{lower.base}/x", f"{lower.base}/u.work/work/link")
    assert lower("discard", "-f", *lower.about()).status == 0
    assert present(lower) == ["l", "x"]


def test_again_after_a_kill(lower):
    """Killed before any of its calls that change something: the upper is whole, or not there; a second call finishes."""
    for number in range(1, 40):
        lower.sh("echo n >$1/n; mkdir -p $1/a/b; echo x >$1/a/b/c")
        words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
        calls = "rename,renameat,renameat2,unlink,unlinkat,rmdir,chmod"
        done = lower.start(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
                            f"inject={calls}:signal=KILL:when={number}", lower.program, "discard", "-f", *words])
        if os.path.isdir(lower.upper):
            assert sorted(os.listdir(lower.upper)) == ["a", "n"] and os.path.exists(f"{lower.upper}/a/b/c")
        if done.status == 0:
            break
        again = lower("discard", "-f", *lower.about())
        assert again.status == 0 and present(lower) == ["l", "x"], (number, again.err, present(lower))
    assert number > 5 and present(lower) == ["l", "x"]


def test_again_after_a_kill_of_what_is_kept(lower):
    for number in range(1, 40):
        folder = kept(lower)
        calls = "rename,renameat,renameat2,unlink,unlinkat,rmdir,chmod"
        done = lower.start(["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
                            f"inject={calls}:signal=KILL:when={number}", lower.program, "discard", "-f", "-n", "n"])
        if os.path.isdir(f"{folder}/upper"):
            assert sorted(os.listdir(f"{folder}/upper")) == [".wh.f", "n"]
        if done.status == 0:
            break
        if os.path.exists(f"{folder}/conf"):
            assert lower("discard", "-f", "-n", "n").status == 0
        assert not os.path.exists(f"{folder}/upper") and not os.path.exists(f"{folder}/upper.work")
    assert number > 5 and not os.path.exists(folder)


def test_dry_run(lower):
    lower.sh("echo n >$1/n")
    before = lower.tree("u")
    done = lower("discard", "--dry-run", *lower.about())
    assert (done.status, done.err) == (0, "ovl: B/u, with what was changed in B/m, and B/u.work\n")
    assert lower.tree("u") == before


def test_several_overlays(lower):
    lower.file("conf", "\n".join(f"[overlay {n}]\nmount={lower.base}/m{n}\nlowerdir=l\nupperdir=u{n}" for n in "ab"))
    assert lower("run", "--conf", "conf", "sh", "-c", "echo a >$1/ma/a; echo b >$1/mb/b", "sh", lower.base).status == 0
    assert lower("discard", "-f", "--conf", "conf").status == 0
    assert present(lower) == ["conf", "l", "x"]


# ---- asking ------------------------------------------------------------------------------------------------


def test_nobody_to_ask(lower):
    lower.sh("echo n >$1/n")
    before = lower.tree("u")
    done = lower("discard", *lower.about(), stdin="y\n")
    assert (done.status, done.err) == (3, ASKED + "ovl: B/u, with what was changed in B/m, and B/u.work\n")
    assert lower.tree("u") == before


@pytest.mark.parametrize("answer", ["y\n", "yes\n", "n\n", "\n", "yes please\n"])
def test_asked(lower, answer):
    kept(lower)
    master, slave = pty.openpty()
    env = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": lower.state, "HOME": lower.base}
    with subprocess.Popen([*lower.role.drop(), lower.program, "discard"], stdin=slave, stderr=slave, cwd=lower.base,
                          env=env) as process:
        os.close(slave)
        os.write(master, answer.encode())
        status = process.wait(20)
    os.close(master)
    removed = answer in ("y\n", "yes\n")
    assert status == (0 if removed else 3)
    assert os.path.exists(f"{lower.kept}/n") != removed


# ---- refusals ------------------------------------------------------------------------------------------------


def refused(tool, *args, status=3):
    trees = ["l", "x", "u", "u.work", "state"]
    before = [tool.tree(name) for name in trees]
    done = tool("discard", "--force", *args)
    assert (done.status, done.out) == (status, "")
    assert [tool.tree(name) for name in trees] == before
    return done.err


def test_a_directory_that_is_no_upper(lower):
    """Somebody's directory is named by mistake."""
    err = refused(lower, "-m", "@", "-l", "%/l", "-u", "%/x")
    assert err == ("ovl: B/x has no work directory of libovl's, so that it may be anything; look at it, and remove it by "
                   "other means\n")
    os.makedirs(f"{lower.base}/u/keep")
    os.makedirs(f"{lower.base}/u.work/state")
    for name in ("u", "u/keep", "u.work", "u.work/state"):
        lower.own(f"{lower.base}/{name}")
    why = "ovl: B/u.work is not a work directory that a run of yours has left; look at it, and remove it by other means\n"
    assert refused(lower, *lower.about("l")) == why
    lower.file("u.work/state/run", "something else\n")
    assert refused(lower, *lower.about("l")) == why


def test_a_work_directory_that_others_can_write(lower):
    lower.sh("echo n >$1/n")
    os.chmod(f"{lower.base}/u.work", 0o777)
    assert "is not a work directory that a run of yours has left" in refused(lower, *lower.about())


def test_another_ones(lower, user_only):
    if os.geteuid() != 0:
        pytest.skip("needs root to make another one's")
    lower.sh("echo n >$1/n")
    subprocess.run(["chown", "-R", "0:0", f"{lower.base}/u", f"{lower.base}/u.work"], check=True)
    assert "is not a work directory that a run of yours has left" in refused(lower, *lower.about())


def test_an_upper_that_is_a_layer(lower):
    assert refused(lower, "-m", "@", "-l", "%/l", "-u", "%/l", status=125).startswith("ovl: upperdir=B/l: equals the lower")
    assert refused(lower, "-m", "@", "-l", "%/l", "-u", "%", status=125).startswith("ovl: upperdir=B: contains the lower")


def test_in_use(lower):
    lower.sh("echo n >$1/n")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    env = {"PATH": "/usr/bin:/bin", "OVL_LIBRARY": lower.library}
    with subprocess.Popen([*lower.role.drop(), lower.program, "run", *words, "sh", "-c", "echo $$; read x"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=lower.base, env=env) as process:
        pid = process.stdout.readline().strip()
        before = lower.tree("u")
        done = lower("discard", "-f", *lower.about())
        assert (done.status, done.err) == (3, f"ovl: B/u is in use by process {pid}; end that first\n")
        assert lower.tree("u") == before
    assert lower("discard", "-f", *lower.about()).status == 0


def test_in_use_by_what_the_first_process_has_started(lower):
    script = "sleep 30 >/dev/null 2>&1 & echo $!"
    done = lower("run", "-q", "-m", "@", "-l", "%/l", "-n", "n", "sh", "-c", script)
    pid = int(done.out)
    try:
        done = lower("discard", "-f", "-n", "n")
        assert done.status == 3 and done.err.endswith(f"is in use by process {pid}; end that first\n")
    finally:
        os.kill(pid, signal.SIGKILL)
    for _ in range(100):
        done = lower("discard", "-f", "-n", "n")
        if done.status == 0:
            break
        time.sleep(0.05)
    assert done.status == 0


def test_temporary_in_use(lower):
    """`ovl run --temp` does not take the upper away from what still runs."""
    script = "sleep 30 >/dev/null 2>&1 & echo $!; echo n >$1/n"
    done = lower("run", "-m", "@", "-l", "%/l", "--temp", "sh", "-c", script, "sh", lower.mount)
    pid = int(done.out)
    os.kill(pid, signal.SIGKILL)
    assert done.status == 0 and done.err.startswith(f"ovl: process {pid} still runs in the overlay: B/state/ovl/.temp-")
    left, = [name for name in os.listdir(lower.kept) if name.startswith(".temp-")]
    assert os.path.exists(f"{lower.kept}/{left}/upper/n")
    # It can be removed when nothing runs in it any more.
    kept(lower)
    assert lower("discard", "--temp").err.startswith(ASKED) and os.path.exists(f"{lower.kept}/{left}")
    for _ in range(100):
        if lower("discard", "-f", "--temp").status == 0:
            break
        time.sleep(0.05)
    assert sorted(os.listdir(lower.kept)) == [".last", "n"]
    for other in (["-n", "n"], ["-m", "@", "-l", "%/l"]):
        done = lower("discard", "-f", "--temp", *other)
        assert done.status == 2 and done.err.startswith("ovl: --temp is about all that was left; leave -m")
    assert sorted(os.listdir(lower.kept)) == [".last", "n"]


@pytest.mark.parametrize("command", [["discard", "-f"], ["commit"]])
def test_a_run_that_begins_meanwhile(tool, command):
    """It waits, and begins with nothing: its changes are not those that are dropped."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    tool.layer("l", {"f": "one\n"}, watch=False)
    tool.sh("echo two >>$1/f")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in tool.about()]
    slow = ["-e", "inject=flock:delay_exit=400000", "-e", "inject=syncfs:delay_exit=400000"]
    env = {"PATH": "/usr/bin:/bin", "OVL_LIBRARY": tool.library}
    with subprocess.Popen([*tool.role.drop(), "strace", "-qq", "-o", f"{tool.base}/trace", *slow, tool.program, *command, *words],
                          cwd=tool.base, env=env) as process:
        time.sleep(0.3)
        tool.sh("echo three >>$1/f")
        assert process.wait() == 0
    with open(f"{tool.base}/l/f") as f:
        content = f.read()
    assert content == ("one\ntwo\n" if command == ["commit"] else "one\n")
    assert tool.sh("cat $1/f") == f"{content}three\n"


def test_from_a_directory_that_can_not_be_read(lower, user_only):
    """Paths that the kernel does not take are gone down by steps."""
    lower.sh("echo n >$1/n")
    deep = "import os; os.chdir('u'); [(os.mkdir('n' * 200), os.chdir('n' * 200)) for _ in range(30)]"
    assert lower.start(["/usr/bin/python3", "-c", deep]).status == 0
    os.mkdir(f"{lower.base}/here", 0o311)
    lower.own(f"{lower.base}/here")
    done = lower("discard", "-f", *lower.about(), cwd=f"{lower.base}/here")
    assert (done.status, done.err) == (0, "")
    assert present(lower) == ["here", "l", "x"]


def test_a_mount_in_the_upper(lower, root_only):
    """Its directory is not touched: of /sys it would be everybody's."""
    lower.sh("mkdir $1/m")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=555", "none", f"{lower.upper}/m"], check=True)
    try:
        done = lower("discard", "-f", *lower.about())
        folder, = [name for name in os.listdir(f"{lower.upper}.work/work")]
        mount = f"{lower.upper}.work/work/{folder}/m"
        assert done.status == 3 and done.err.endswith("/m: Device or resource busy; it is left there\n")
        assert os.stat(mount).st_mode & 0o777 == 0o555
    finally:
        subprocess.run(["sh", "-c", "umount u/m u.work/work/*/m 2>/dev/null"], cwd=lower.base, check=False)
    assert lower("discard", "-f", *lower.about()).status == 0


def test_no_place_to_move_the_upper_to(lower):
    lower.sh("echo n >$1/n")
    os.rmdir(f"{lower.upper}.work/work")
    assert lower("discard", "-f", *lower.about()).status == 0
    assert present(lower) == ["l", "x"]


def test_from_inside(lower):
    done = lower("run", "-q", "-m", "@", "-l", "%/l", lower.program, "discard", "-f")
    assert done.status == 3 and done.err.startswith("ovl: `ovl discard` can't be used inside an overlay")


def test_other_refusals(lower):
    assert refused(lower).startswith("ovl: there is no overlay to speak of")
    assert refused(lower, "-n", "none").startswith("ovl: nothing is kept as 'none'")
    assert refused(lower, "x", status=2).startswith("ovl: 'x': all changes are discarded")
    lower.file("conf", f"[overlay]\nmount={lower.mount}\nlowerdir=l\n")
    assert refused(lower, "--conf", "conf") == "ovl: the overlay has no upper directory: there is nothing to discard\n"
    os.makedirs(f"{lower.kept}/mine/upper")
    assert refused(lower, "-n", "mine").startswith("ovl: nothing is kept as 'mine'")
    assert lower("discard", "--help").out.startswith("usage: ovl discard ")


@pytest.mark.parametrize("kept_as", [[], ["-n", "n"]])
def test_the_changes_of_another_mount(lower, kept_as):
    """The name that ovl makes of a mount can be that of another one, too."""
    own, other = ["-m", "@/a/b", *kept_as], ["-m", "@/a-b", *kept_as]
    done = lower("run", *own, "-l", "%/l", "sh", "-c", "echo n >$1/a/b/n", "sh", lower.mount)
    assert done.status == 0, done.err
    before = lower.tree("state")
    for command in (["discard", "-f"], ["commit"], ["status"], ["explain", "@/a/b/n"]):
        done = lower(*command[:1], *other, *command[1:])
        assert done.status == 3 and "' are those of another mount (B/state/ovl/" in done.err, (command, done.err)
    assert lower.tree("state") == before
    assert lower("discard", "-f", *own).status == 0

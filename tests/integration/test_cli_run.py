# SPDX-License-Identifier: MIT
"""ovl run, ovl shell: the command's status, where its changes go, and what is refused before anything runs."""

import os
import shutil
import signal
import subprocess

import pytest

KEPT = "ovl: what was changed is kept in B/state/ovl/{}/upper; `ovl status` shows it, `ovl discard` drops it\n"


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "lower\n", "d/g": "deep\n"})
    tool.layer("l2", {"h": "second\n"})
    return ["-m", "@", "-l", "%/l", "-l", "%/l2"]


def read(tool, name):
    with open(f"{tool.base}/{name}") as f:
        return f.read()


def test_changes_are_kept_and_gone_on_with(tool, lower):
    done = tool("run", *lower, "-n", "work", "--", "sh", "-c", "cat $1/f $1/h; echo new >$1/n; exit 7", "sh", tool.mount)
    assert (done.status, done.out, done.err) == (7, "lower\nsecond\n", KEPT.format("work"))
    assert read(tool, "state/ovl/work/upper/n") == "new\n"
    assert os.stat(f"{tool.kept}/work").st_mode & 0o077 == 0
    for again in (["-n", "work"], []):
        done = tool("run", "-q", *again, "cat", "@/n")
        assert (done.status, done.out, done.err) == (0, "new\n", "")


def test_the_name_is_made_of_the_mount(tool, lower):
    name = tool.mount[1:].replace("/", "-")
    done = tool("run", *lower, "true")
    assert (done.status, done.err) == (0, KEPT.format(name))
    assert os.listdir(f"{tool.kept}/{name}/upper") == []
    # What is kept is a configuration that needs no tool.
    done = tool.start(["env", f"OVL_CONF={tool.kept}/{name}/conf", f"LD_PRELOAD={tool.library}", "cat", f"{tool.mount}/f"])
    assert (done.status, done.out) == (0, "lower\n")


def test_in_place(tool):
    tool.layer("l", {"f": "lower\n"})
    done = tool("run", "-q", "-m", "%/l", "sh", "-c", "echo changed >$1/f; cat $1/f", "sh", f"{tool.base}/l")
    assert (done.status, done.out) == (0, "changed\n")


def test_the_mount_given_otherwise(tool):
    """It is the same one, and so are the changes."""
    tool.layer("l", {"f": "lower\n"})
    for n, (mount, folder) in enumerate([(".", "l"), ("%/l", "."), ("./l/", "."), ("../l", "l"), ("%//l/../l/.", "l")]):
        done = tool("run", "-q", "-m", mount, "sh", "-c", "echo n >>$1/n; cat $1/n", "sh", f"{tool.base}/l",
                    cwd=f"{tool.base}/{folder}")
        assert (done.status, done.out) == (0, "n\n" * (n + 1)), mount
    assert tool("status", "-s", "-m", ".", cwd=f"{tool.base}/l").out == "A B/l/n\n"


def test_a_named_upper(tool, lower):
    done = tool("run", *lower, "-u", "%/u", "sh", "-c", "echo changed >$1/f", "sh", tool.mount)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert read(tool, "u/f") == "changed\n"
    assert not os.path.exists(tool.state)


def test_odd_paths(tool):
    tool.layer("a,b:c;d\\e$f g", {"f": "odd\n"})
    for upper in ([], ["-u", "%/u,p:p;e\\r$ "]):
        done = tool("run", "-q", "-m", "@ ,:;\\$x", "-l", "%/a,b:c;d\\e$f g", *upper, "cat", "@ ,:;\\$x/f")
        assert (done.status, done.out, done.err) == (0, "odd\n", "")


def test_relative_paths(tool, lower):
    done = tool("run", "-q", "-m", "m", "-l", "l", "-u", "u", "cat", "@/f")
    assert (done.status, done.out) == (0, "lower\n")


def test_a_directory_that_is_gone(tool, lower):
    gone = 'mkdir gone && cd gone && rmdir ../gone && exec "$@"'
    done = tool.start(["sh", "-c", gone, "sh", tool.program, "run", "-q", "-m", "m", "-l", f"{tool.base}/l", "true"])
    assert (done.status, done.err) == (3, "ovl: the current directory: No such file or directory; go to another one, or name "
                                          "files by absolute paths\n")


def test_temporary_changes_are_dropped(tool, lower):
    script = "echo new >$1/n; mkdir $1/x; echo y >$1/x/y; chmod 0 $1/x; cat $1/n"
    done = tool("run", *lower, "--temp", "sh", "-c", script, "sh", tool.mount)
    assert (done.status, done.out, done.err) == (0, "new\n", "")
    assert os.listdir(tool.kept) == []


def test_temporary_changes_that_can_not_be_dropped(tool, lower):
    """Directories that others have made there, deeper than fts(3) goes."""
    deep = ("import glob, os; os.chdir(glob.glob(os.environ['XDG_STATE_HOME'] + '/ovl/.temp-*/upper')[0])\n"
            "for _ in range(300): os.mkdir('d' * 250); os.chdir('d' * 250)")
    done = tool("run", *lower, "--temp", "--", "env", "OVL_CONF=", "/usr/bin/python3", "-c", deep)
    left = [f"B/state/ovl/{name}" for name in os.listdir(tool.kept)]
    subprocess.run(["rm", "-rf", tool.state], check=True)
    assert (done.status, done.err) == (0, f"ovl: {left[0]}: File name too long; it is left there\n")


def test_excluded(tool, lower):
    os.makedirs(f"{tool.base}/m/real")
    tool.own(f"{tool.base}/m/real")
    tool.own(f"{tool.base}/m")
    done = tool("run", *lower, "-u", "%/u", "-x", "@/real", "sh", "-c", "echo x >$1/real/x", "sh", tool.mount)
    assert done.status == 0 and read(tool, "m/real/x") == "x\n"


def test_configuration_file(tool, lower):
    tool.file("conf", "[overlay]\nmount = " + tool.mount + "\nlowerdir = l\nupperdir = u\n")
    for how in (["--conf", "%/conf"], ["--conf", "conf"]):
        done = tool("run", *how, "cat", "@/f")
        assert (done.status, done.out, done.err) == (0, "lower\n", "")
    done = tool("run", "cat", "@/f", env={"OVL_CONF": f"mount={tool.mount},lowerdir={tool.base}/l"})
    assert (done.status, done.out) == (0, "lower\n")


def test_the_status_is_the_commands(tool, lower):
    about = [*lower, "-q"]
    for upper in ([], ["-u", "%/u"]):
        assert tool("run", *about, *upper, "sh", "-c", "exit 42").status == 42
        assert tool("run", *about, *upper, "--", "nothing-of-that-name").status == 127
        assert tool("run", *about, *upper, "%/l/f").status == 126
    assert tool("run", *about, "sh", "-c", "kill -TERM $$").status == 128 + signal.SIGTERM


def test_signals_reach_the_command(tool, lower):
    script = "trap 'echo got; exit 5' TERM; kill -TERM $PPID; while :; do sleep 0.05; done"
    done = tool("run", *lower, "-q", "sh", "-c", script)
    assert (done.status, done.out) == (5, "got\n")


def test_started_by_who_ignores_children(tool, lower):
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in lower]
    done = tool.start(["perl", "-e", "$SIG{CHLD} = 'IGNORE'; exec @ARGV", tool.program, "run", "-q", *words, "sh", "-c", "exit 7"])
    assert (done.status, done.err) == (7, "")


def test_closed_descriptors_stay_closed(tool, lower):
    look = "for n in 0 1 2; do [ ! -e /proc/$$/fd/$n ] || s=$s$n; done; echo $s >$1"
    for upper in ([], ["-u", "%/u"]):
        words = [w.replace("@", tool.mount).replace("%", tool.base) for w in ["-q", *lower, *upper]]
        for closed, open_ones in ("<&-", "12"), ("2>&-", "01"), ("<&- 2>&-", "1"), (">&-", "02"), ("<&- >&- 2>&-", ""):
            done = tool.start(["sh", "-c", f'exec "$@" {closed}', "sh", tool.program, "run", *words, "--", "sh", "-c", look, "sh",
                               f"{tool.base}/seen"])
            assert (done.status, done.out, done.err, read(tool, "seen")) == (0, "", "", f"{open_ones}\n")


def test_commands_of_the_overlay(tool, lower):
    """What only the overlay has is found, a name with a '=' is no variable."""
    tool.layer("l3", {"bin/": None}, watch=False)
    for name in ("hello", "a=b"):
        path = tool.file(f"l3/bin/{name}", "#!/bin/sh\necho \"$0\" \"$@\"\n")
        os.chmod(path, 0o755)
        done = tool("run", "-q", "-m", "@", "-l", "%/l3", f"@/bin/{name}", "x y")
        assert (done.status, done.out) == (0, f"B/m/bin/{name} x y\n")


def test_a_static_command_is_not_run_outside(tool, lower):
    tool.file("s.c", "int main(void) { return 9; }\n")
    assert tool.start(["gcc", "-static", "-o", "s", "s.c"]).status == 0
    done = tool("run", *lower, "-q", "%/s")
    assert done.status == 126 and "statically linked" in done.err


def test_environment(tool, lower):
    done = tool("run", *lower, "-q", "sh", "-c", "echo $LD_PRELOAD", env={"LD_PRELOAD": "libc.so.6"})
    assert (done.status, done.out) == (0, tool.text(tool.library) + ":libc.so.6\n")


def test_from_inside_only_when_left(tool, lower):
    again = f"exec {tool.program} run -q -m {tool.base}/m2 -l {tool.base}/l -u {tool.base}/u2 cat {tool.base}/m2/f"
    done = tool("run", *lower, "-q", "sh", "-c", again)
    assert (done.status, done.out) == (3, "")
    assert done.err == ("ovl: `ovl run` can't be used inside an overlay; leave it first, or call "
                        "`env OVL_CONF= ovl run`\n")
    done = tool("run", *lower, "-q", "sh", "-c", again.replace("exec", "exec env OVL_CONF="))
    assert (done.status, done.out, done.err) == (0, "lower\n", "")


def test_shell(tool, lower):
    done = tool("shell", *lower, "-u", "%/u", env={"SHELL": "/bin/sh"}, stdin="cat $PWD/m/f; exit 3\n")
    assert (done.status, done.out, done.err) == (3, "lower\n", "")
    done = tool("shell", "-m", "@", "x")
    assert done.status == 2 and "without arguments" in done.err


# Arguments, the status and the first line without 'ovl: '.
REFUSED = {
    "no-command": (["-m", "@"], 2, "a command is missing: ovl run -m /usr -- make install"),
    "no-mount": (["-l", "%/l", "true"], 2, "-m is missing: the path under which the overlay is seen"),
    "twice": (["-m", "@", "-m", "@", "true"], 2, "--mount is given twice; leave one of them out"),
    "empty": (["-m", "", "true"], 2, "--mount is empty; give a value or leave it out"),
    "empty-lower": (["-m", "@", "-l", "", "true"], 2, "--lower is empty; give a value or leave it out"),
    "empty-exclude": (["-m", "@", "-x", "", "true"], 2, "--exclude is empty; give a value or leave it out"),
    "conf-and-mount": (["--conf", "x", "-m", "@", "true"], 2,
                       "--conf says all of it; leave -m, -l, -u, -x, -n and --temp out"),
    "name-and-upper": (["-m", "@", "-u", "%/u", "-n", "x", "true"], 2,
                       "-n names an upper that ovl keeps; leave -u and --temp out"),
    "temp-and-upper": (["-m", "@", "-u", "%/u", "--temp", "true"], 2,
                       "-u keeps the changes and --temp drops them; leave one out"),
    "bad-name": (["-m", "@", "-n", "../x", "true"], 2,
                 "-n ../x: a name has letters, digits, '.', '_', '+' and '-'"),
    "nothing-kept": (["true"], 3, "there is no overlay to speak of; name one with -m, -n or --conf, or begin one with "
                     "`ovl run -m MOUNT -- COMMAND`"),
    "no-such-name": (["-n", "none", "true"], 3, "nothing is kept as 'none' in B/state/ovl; "
                     "`ovl run -m MOUNT -- COMMAND` keeps what a command changes"),
    "no-layer": (["-m", "@", "-l", "%/none", "-u", "%/u", "true"], 125,
                 "lowerdir=B/none: no such file or directory; name a directory that exists"),
    "no-layer-kept": (["-m", "@", "-l", "%/none", "-n", "x", "true"], 125,
                      "B/state/ovl/x/conf:4: lowerdir=B/none: no such file or directory; name a directory that exists"),
    "no-conf": (["--conf", "%/none", "true"], 125,
                "the configuration file B/none can't be read: no such file or directory; "
                "name a readable file, or write mount=/PATH,lowerdir=/PATH"),
    "line-end": (["-m", "@", "-l", "%/l\n", "true"], 3,
                 "'B/l\\012' has a line's end in it, or a blank at its end, which a configuration file can't hold; "
                 "give -u, so that nothing need be kept"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tool, lower, case):
    args, status, line = REFUSED[case]
    done = tool("run", *args)
    assert (done.status, done.out) == (status, "")
    assert done.err.startswith(f"ovl: {line}\n")
    assert not os.path.isdir(tool.kept) or os.listdir(tool.kept) == []


def test_other_layers_are_refused(tool, lower):
    """An upper is never used over other layers than those that it was made over."""
    assert tool("run", *lower, "-n", "x", "true").status == 0
    for other in (["-m", "@", "-l", "%/l"], ["-m", "@2", "-l", "%/l", "-l", "%/l2"], [*lower, "-x", "@/d"]):
        done = tool("run", *other, "-n", "x", "true")
        assert (done.status, done.out) == (3, "")
        assert done.err.startswith("ovl: the changes kept as 'x' were made to other layers, or with other options")


def test_a_folder_that_is_not_ours(tool, lower):
    os.makedirs(f"{tool.kept}/x")
    for path in (tool.state, tool.kept, f"{tool.kept}/x"):
        tool.own(path)
    tool.file("state/ovl/x/conf", "[overlay]\n")
    done = tool("run", *lower, "-n", "x", "true")
    assert (done.status, done.err) == (3, "ovl: B/state/ovl/x was not made by `ovl run`; choose another name with -n\n")


def test_what_is_kept_is_on_disk(tool, lower):
    """Or the changes would lie beside an empty configuration after a power failure."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    words = [w.replace("@", tool.mount).replace("%", tool.base) for w in lower]
    done = tool.start(["strace", "-y", "-o", "trace", "-e", "trace=fsync,link", tool.program, "run", "-q", *words, "-n", "n", "true"])
    assert done.status == 0, done.err
    with open(f"{tool.base}/trace") as f:
        calls = [line.partition("(")[0] for line in f if "/n/conf" in line]
    assert calls == ["fsync", "link"]


def test_nowhere_to_keep(tool, lower):
    done = tool("run", *lower, "true", env={"XDG_STATE_HOME": "", "HOME": ""})
    assert done.status == 3 and done.err.startswith("ovl: neither XDG_STATE_HOME nor HOME")
    done = tool("run", *lower, "true", env={"XDG_STATE_HOME": f"{tool.base}/l/f"})
    assert done.status == 3 and "set XDG_STATE_HOME to a directory that you may write to, or give -u" in done.err


def test_without_a_library_nothing_runs(tool, lower):
    """ld.so would run the command all the same, outside."""
    tool.file("broken.so", "no library\n")
    tool.file("with blank.so", "")
    for library, words in (("none.so", "No such file or directory; name libovl.so there, or unset it"),
                           ("broken.so", "is not loaded into /usr/bin/env, so that the command would run outside"),
                           ("with blank.so", "ld.so loads no library with a blank")):
        done = tool("run", *lower, "-u", "%/u", "sh", "-c", "echo ran", env={"OVL_LIBRARY": f"{tool.base}/{library}"})
        assert (done.status, done.out) == (3, "") and words in done.err


def test_help(tool):
    for args in (["run", "--help"], ["help", "run"]):
        done = tool(*args)
        assert done.status == 0 and done.out.startswith("usage: ovl run ") and done.err == ""
    assert tool("shell", "--help").out.startswith("usage: ovl shell ")
    done = tool("--help")
    assert done.status == 0 and "\n  run " in done.out
    assert tool("--version").out.startswith("ovl ")
    assert tool().status == 2
    done = tool("nonsense")
    assert (done.status, done.err) == (2, "ovl: there is no command 'nonsense'\nTry: ovl --help\n")
    done = tool("run", "--nonsense")
    assert (done.status, done.err) == (2, "ovl run: unrecognized option '--nonsense'\nTry: ovl run --help\n")

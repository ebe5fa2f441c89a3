# SPDX-License-Identifier: MIT
"""Real programs killed before and after each system call that changes something (strace's fault injection): what a new
process then sees is what it was or what was wanted, never between, and the new run clears what was left (C-3.4, C-3.6).
tests/unit/fault_run.c does this to core alone at every call, with errors too."""

import collections
import os
import re
import shutil
import signal
import subprocess

import pytest

import layers
from layers import File, same

LOW = {"d/f": File(content="text\n" * 2000, mode=0o640), "d/g": "other", "d/e/x": "deep", "gone/old": "old",
       "h1": "linked", "h2": same("h1"), "empty/": None, "both": "lower"}
UNDER = {"d/e/y": "deeper", "gone/older": "older"}
UPPER = {"d/new": "upper", "gone": layers.GONE, "u/x": "1", "both": "upper"}
PROGRAMS = {
    "append": "dd if=% of=@/d/f oflag=append conv=notrunc",
    "truncate": "truncate -s 3 @/d/f",
    "chmod_link": "chmod 600 @/h1",
    "unlink": "rm @/d/f",
    "unlink_both": "rm @/both",
    "unlink_link": "rm @/h2",
    "rename": "mv -T @/d/f @/d/moved",
    "rename_over": "mv -T @/d/f @/d/g",
    "rename_directory": "mv -T @/d @/u/moved",
    "rename_over_removed": "mv -T @/u @/gone",
    "mkdir": "mkdir @/gone",
    "rmdir": "rmdir @/empty",
    "link": "ln @/d/f @/u/f",
    "symlink": "ln -s x @/gone",
}
# Being killed before one of these is being killed before the call that follows it.
READING = set("""access arch_prctl brk capget clock_gettime close exit_group faccessat faccessat2 fadvise64 fcntl fstat futex
    getcwd getdents64 getegid geteuid getgid getgroups getpid getrandom getrlimit gettid getuid ioctl lgetxattr llistxattr
    lseek lstat madvise mprotect munmap newfstatat pread64 prlimit64 read readlink readlinkat rseq rt_sigaction
    rt_sigprocmask set_robust_list set_tid_address stat statfs statx sysinfo umask uname""".split())
READING_UNLESS = {"mmap": "MAP_SHARED", "open": "O_CREAT|O_TRUNC", "openat": "O_CREAT|O_TRUNC", "openat2": "O_CREAT|O_TRUNC",
                  "execve": "(?!)"}


def changes(name, line):
    return name not in READING and (name not in READING_UNLESS or bool(re.search(READING_UNLESS[name], line)))


def objects(tree):
    """A printed tree as a dict: path to what is said of it."""
    return dict(part.partition(" ")[::2] for part in "\t".join(tree).split("\t"))


def split_links(text):
    """What is said of an object, and the number of its links. A directory's time is put back after a copy-up."""
    text = text.rpartition(" ")[0] if text.startswith("d ") else text
    links = re.search(r"nlink=(\d+)", text)
    return re.sub(r"nlink=\d+", "", text), int(links[1]) if links else 0


def is_state(now, then, other):
    """What was then; but the number of links is changed after the names have, and may be too high (never too low)."""
    def is_object(path):
        (text, links), (wanted, least) = split_links(now[path]), split_links(then[path])
        if path in other:
            least = min(least, split_links(other[path])[1])
        return text == wanted and links >= least
    return now.keys() == then.keys() and all(map(is_object, now))


class Killed:
    def __init__(self, side, command):
        self.side = side
        source = f"{side.outside}/source"
        with open(source, "w") as f:
            f.write("appended")
        self.command = [word.replace("@", side.mount).replace("%", source) for word in command.split()]
        self.environment = ["-E", f"OVL_CONF={side.conf}", "-E", f"LD_PRELOAD={side.tools.library}"]

    def begin(self):
        for path in (self.side.upper, f"{self.side.upper}.work"):
            shutil.rmtree(path, ignore_errors=True)
        self.side.build("u", layers.expand(UPPER), form="dev" if "kernel" in self.side.options else "oci")

    def start(self, *how):
        self.trace = f"{self.side.outside}/trace"
        done = subprocess.run(self.side.role.drop() + ["strace", "-qq", "-o", self.trace, *how, *self.environment,
                                                       *self.command], capture_output=True, text=True, check=False,
                              cwd="/", timeout=60)
        return done.returncode

    def moments(self):
        """The calls of the last start before which to kill: (name, how many of that name). strace counts each apart."""
        made, found, after = collections.Counter(), [], False
        with open(self.trace) as f:
            for line in f:
                name = line.partition("(")[0]
                made[name] += 1
                before = changes(name, line)
                if before or after:
                    found.append((name, made[name]))
                after = before
        return found

    def view(self):
        text = self.side.run([([self.side.tools.opsh], f"tree {self.side.mount}\n")])[0].out
        assert os.listdir(f"{self.side.upper}.work/work") == []
        assert not [name for _, dirs, files in os.walk(self.side.upper) for name in dirs + files
                    if name.startswith(".wh..wh.new")]
        return objects(text.splitlines())


def kill_each(world, program, options, stride=1):
    side = world.ovl([LOW, UNDER], UPPER, options=options)
    killed = Killed(side, PROGRAMS[program])
    killed.begin()
    before = killed.view()
    killed.begin()
    assert killed.start() == 0
    moments = killed.moments()
    wanted = killed.view()
    assert before != wanted
    seen = set()
    for name, when in moments[::-stride]:
        killed.begin()
        assert killed.start("-e", f"inject={name}:signal=KILL:when={when}") == -signal.SIGKILL
        now = killed.view()
        done = is_state(now, wanted, before)
        assert done or is_state(now, before, wanted), f"killed before {name} {when}: {dict(now.items() ^ wanted.items())}"
        seen.add(done)
    assert seen == {False, True}


@pytest.mark.untraced("strace is at work already")
@pytest.mark.parametrize("options", ["", ",whiteout=kernel"], ids=["oci", "kernel"])
@pytest.mark.parametrize("program", ["append", "rename_directory", "mkdir"])
def test_some_calls(world, user_only, program, options):
    kill_each(world, program, options, 5)


@pytest.mark.long
@pytest.mark.untraced("strace is at work already")
@pytest.mark.parametrize("options", ["", ",whiteout=kernel"], ids=["oci", "kernel"])
@pytest.mark.parametrize("program", PROGRAMS)
def test_every_call(world, program, options):
    kill_each(world, program, options)

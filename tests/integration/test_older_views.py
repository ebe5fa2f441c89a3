# SPDX-License-Identifier: MIT
"""What is seen of a lower file after its copy-up, through something that was opened before: a test for each row of the
README's table (C-3.11, C-5.3)."""

import os
import pathlib
import re
import subprocess

import pytest

README = pathlib.Path(__file__).resolve().parent.parent.parent / "README.md"
OLD, NEW = "old content\n", "old content\nmore\n"

BEGIN = r'''
import ctypes, fcntl, mmap, os, select, subprocess, sys, time
path = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
def copy_up():
    with open(path, "a") as f:
        f.write("more\n")
def identity(st):
    return st.st_dev, st.st_ino
def statx(path):
    """Time of birth and mount."""
    buf = ctypes.create_string_buffer(256)
    assert libc.statx(-100, path.encode(), 0, 0x1800, buf) == 0
    return int.from_bytes(buf[0x50:0x58], "little"), int.from_bytes(buf[0x58:0x5c], "little"), int.from_bytes(buf[0x90:0x98], "little")
fd = os.open(path, os.O_RDONLY)
'''


@pytest.fixture
def inside(world):
    """Run code on a lower file; gives the side."""
    def run(code, *words, stdin=None):
        side = world.ovl([{"f": OLD}], {})
        argv = side.command(["/usr/bin/python3", "-c", BEGIN + code, f"{side.mount}/f", *(w.replace("^", side.base) for w in words)])
        done = subprocess.run(side.role.drop() + argv, capture_output=True, text=True, timeout=60, cwd="/", check=False,
                              stdin=stdin and open(stdin(side), encoding="ascii"))
        assert (done.returncode, done.stderr) == (0, ""), done
        return side, done.stdout
    return run


def test_descriptor_and_mapping(inside):
    inside(r'''
before, view = os.fstat(fd), mmap.mmap(fd, 0, prot=mmap.PROT_READ)
copy_up()
after = os.fstat(fd)
assert view[:] == b"old content\n" == os.pread(fd, 99, 0)
assert identity(before) == identity(after) == identity(os.stat(path))
assert open(path).read() == "old content\nmore\n"
''')


def test_changes_by_descriptor(inside):
    side, _ = inside(r'''
copy_up()
os.fchmod(fd, 0o604)
os.fchown(fd, os.getuid(), os.getgid())
os.utime(fd, (5, 6))
os.setxattr(fd, "user.k", b"v")
for st in (os.stat(path), os.fstat(fd)):
    assert (st.st_mode & 0o7777, st.st_mtime) == (0o604, 6), st
assert os.getxattr(path, "user.k") == b"v"
''')
    st = os.stat(f"{side.upper}/f")
    assert (st.st_mode & 0o7777, st.st_mtime) == (0o604, 6)


def test_flock(inside):
    inside(r'''
def is_free(other):
    try:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(other, fcntl.LOCK_UN)
    return True
old = os.open(path, os.O_RDONLY)
copy_up()
reader, writer = os.open(path, os.O_RDONLY), os.open(path, os.O_WRONLY)
fcntl.flock(fd, fcntl.LOCK_EX)
assert not is_free(old) and is_free(reader) and is_free(writer)
fcntl.flock(reader, fcntl.LOCK_EX)
assert not is_free(writer)
''')


@pytest.mark.parametrize("how", ["-f", "-F"])
@pytest.mark.parametrize("before", [True, False])
def test_tail(inside, before, how):
    """The same command that began after the copy-up shows the line."""
    _, said = inside(f'''
if not {before}: copy_up()
tail = subprocess.Popen(["tail", "-s", "0.05", "{how}", path], stdout=subprocess.PIPE, text=True)
first = tail.stdout.readline()
time.sleep(0.2)
with open(path, "a") as f: f.write("appended\\n")
time.sleep(0.8)
tail.kill()
print(first + tail.stdout.read(), end="")
''')
    assert said == (OLD if before else NEW + "appended\n")


def test_tail_of_what_replaces_it(inside):
    """tail -F goes on with another file, but missed what was appended to the copy of the first one."""
    _, said = inside('''
tail = subprocess.Popen(["tail", "-s", "0.05", "-F", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
first = tail.stdout.readline()
copy_up()
with open(path + ".new", "w") as f: f.write("another\\n")
os.rename(path + ".new", path)
print(first + tail.stdout.readline(), end="")
tail.kill()
''')
    assert said == OLD + "another\n"


@pytest.mark.parametrize("before", [True, False])
def test_inotify(inside, before):
    """A watch that was set after the copy-up gets the event."""
    _, said = inside(f'''
if not {before}: copy_up()
watch = libc.inotify_init1(0)
assert libc.inotify_add_watch(watch, path.encode(), 0x2) == 1
with open(path, "a") as f: f.write("appended\\n")
print(len(select.select([watch], [], [], 0.5)[0]))
''')
    assert said == ("0\n" if before else "1\n")


@pytest.mark.untraced("a process outside sees the layer")
def test_descriptor_given_to_outside(inside):
    side, said = inside(r'''
child = "import os; input(); print(os.readlink('/proc/self/fd/3'), repr(os.pread(3, 99, 0)))"
os.dup2(fd, 3)
outside = subprocess.Popen(["/usr/bin/python3", "-c", child], stdin=subprocess.PIPE, env={**os.environ, "OVL_CONF": ""}, pass_fds=[3])
copy_up()
outside.communicate(b"\n")
''')
    assert said == f"{side.base}/l0/f {OLD.encode()!r}\n"


def test_descriptor_given_by_outside(inside):
    """Before the run began, by whoever started it, and of the layer's file."""
    inside(r'''
copy_up()
assert os.pread(0, 99, 0) == b"old content\n"
assert open(path).read() == "old content\nmore\n"
''', stdin=lambda side: f"{side.base}/l0/f")


def test_statx(inside):
    side, said = inside(r'''
lower = statx(path)
copy_up()
print(*lower)
print(*statx(path))
''')
    lower, upper = [tuple(map(int, line.split())) for line in said.splitlines()]

    def real(path):
        done = subprocess.run(["/usr/bin/python3", "-c", BEGIN + "print(*statx(path))", path], capture_output=True, text=True, check=True)
        return tuple(map(int, done.stdout.split()))
    assert lower == real(f"{side.base}/l0/f") and upper == real(f"{side.upper}/f") and lower != upper


ROWS = {
    "a read-only descriptor, or a mapping made through it": [test_descriptor_and_mapping],
    "`fchmod`, `fchown`, `futimens`, `fsetxattr` on such a descriptor": [test_changes_by_descriptor],
    "`flock` on such a descriptor": [test_flock],
    "`tail -f`, `tail -F` that began before": [test_tail, test_tail_of_what_replaces_it],
    "an inotify watch on the file": [test_inotify],
    "a descriptor that a process outside was given, or gave": [test_descriptor_given_to_outside, test_descriptor_given_by_outside],
    "`statx`: birth time and mount id": [test_statx],
}


def test_each_row_has_its_test():
    table = README.read_text().split("| older view | after copy-up |\n|---|---|\n")[1]
    rows = re.findall(r"^\| (.*?) \|", table.split("\n\n")[0], re.M)
    assert rows == list(ROWS)

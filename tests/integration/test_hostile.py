# SPDX-License-Identifier: MIT
"""Layers and work directories that were made by somebody who means ill, or by a broken tool (C-1.5, C-2.2, C-3.1).

What a layer's directory can become while something of it is copied up is in tests/unit/test_swap.c.
"""

import os
import shutil
import stat

import pytest

from layers import Dir, Fifo, Socket, link

SECRET = "somebody else's"


# ---- the work directory --------------------------------------------------------------------------------------

def replace_by_link(path, victim):
    os.unlink(path)
    os.symlink(victim, path)


def replace_by_nothing(path, victim):
    os.unlink(path)
    os.symlink(victim + ".new", path)


def replace_by_fifo(path, _victim):
    os.unlink(path)
    os.mkfifo(path, 0o600)


def replace_by_socket(path, _victim):
    os.unlink(path)
    os.mknod(path, stat.S_IFSOCK | 0o600)


def replace_by_directory(path, _victim):
    os.unlink(path)
    os.mkdir(path)


def replace_by_another_name(path, victim):
    os.unlink(path)
    os.link(victim, path)


def let_others_write(path, _victim):
    os.chmod(path, 0o666)


def give_away(path, _victim):
    if os.geteuid() != 0:
        pytest.skip("needs root to make it")
    os.chown(path, 4242, 4242)


REPLACED = {
    replace_by_link: "is a symbolic link",
    replace_by_nothing: "is a symbolic link",
    replace_by_fifo: "is not a regular file",
    replace_by_socket: "is not a regular file",
    replace_by_directory: "is not a regular file",
    replace_by_another_name: "has another name",
    let_others_write: "can be written by others (chmod go-w)",
    give_away: "belongs to another user",
}


def work_on(side):
    return side.run([([side.tools.opsh], side.text("rename @/d @/e\nput @/f changed\nunlink @/h\nrename @/e @/d"))])[0]


@pytest.mark.parametrize("name", ["run", "moves", "shared"])
@pytest.mark.parametrize("replace", REPLACED, ids=lambda replace: replace.__name__)
def test_file_of_the_work_directory(world, role, replace, name):
    """Refused with a clear message; nothing is written through it."""
    side = world.ovl([{"d/x": "x", "f": "f", "h": "h"}], upper={}, outside={"victim": SECRET})
    assert work_on(side).out == "ok\nok\nok\nok\n"
    path, victim = f"{side.upper}.work/state/{name}", f"{side.outside}/victim"
    replace(path, victim)
    if os.path.lexists(path) and replace is not give_away:
        os.lchown(path, role.uid, role.gid)
    before = os.stat(victim)
    result = work_on(side)
    now = os.stat(victim)
    assert (open(victim).read(), now.st_mtime_ns, now.st_mode) == (SECRET, before.st_mtime_ns, before.st_mode)
    assert sorted(os.listdir(side.outside)) == ["victim"]
    why = REPLACED[replace]
    if (replace, name) == (replace_by_another_name, "shared"):
        why = "was not made by this libovl"
    assert result.status == 125 and result.out == ""
    assert f"its work directory {side.base}/u.work has a state/{name} that {why}; set workdir=" in \
        result.err.replace("^", side.base), result.err


@pytest.mark.parametrize("name", ["work", "state", "cache", "state/origin", "state/link"])
def test_directory_of_the_work_directory(world, name):
    side = world.ovl([{"f": "f"}], upper={}, outside={"victim": SECRET})
    side.opsh("put @/f changed")
    path = f"{side.upper}.work/{name}"
    shutil.rmtree(path)
    os.symlink(side.outside, path)
    result = work_on(side)
    assert result.status == 125 and "is a symbolic link" in result.err
    assert os.listdir(side.outside) == ["victim"]


def test_nobody_else_can_read_the_work_directory(world):
    """Whatever the umask is: directories 0700, files 0600."""
    side = world.ovl([{"d/x": "x", "f": "f"}], upper={})
    side.opsh("umask 0\nput @/f changed\nrename @/d @/e\nunlink @/f")
    modes = {}
    for folder, dirs, files in os.walk(f"{side.upper}.work"):
        for path in [folder] + [f"{folder}/{name}" for name in files]:
            if not os.path.islink(path):
                modes[path] = oct(os.lstat(path).st_mode & 0o7777)
    assert len(modes) > 5
    assert not {path: mode for path, mode in modes.items() if mode != ("0o700" if os.path.isdir(path) else "0o600")}


# ---- marks ---------------------------------------------------------------------------------------------------

KINDS = {"directory": {"": Dir(), "/in": "it"}, "link": {"": link("f")}, "dangling": {"": link("nowhere")},
         "fifo": {"": Fifo()}, "socket": {"": Socket()}}


@pytest.mark.parametrize("where", ["upper", "lower"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_has_a_marks_name_but_is_none(world, kind, where):
    """C-2.2: it is hidden and hides nothing."""
    broken = {}
    for name in (".wh.f", ".wh.d", ".wh..wh..opq", ".wh.", ".wh..", ".wh...", ".wh..wh.f", ".wh.f\n"):
        broken.update({f"top/{name}{below}": type(item)(**vars(item)) if not isinstance(item, str) else item
                       for below, item in KINDS[kind].items()})
    lower = {"top/f": "f", "top/d/x": "x", "top/other": "o"}
    side = world.ovl([broken, lower] if where == "lower" else [lower], upper=broken if where == "upper" else {})
    answers = side.opsh("""
        readdir @/top
        cat @/top/f
        readdir @/top/d
        lstat @/top/.wh.f
        stat @/top/.wh..wh..opq
        readdir @/top/.wh.d
        cat @/top/.wh.f/in
        put @/top/f changed
        cat @/top/f
        unlink @/top/f
        stat @/top/f
        readdir @/top
    """)[0]
    shows = "ok .:d ..:d d:d f:f other:f"
    assert answers[:7] == [shows, "ok f", "ok .:d ..:d x:f", "ENOENT", "ENOENT", "ENOENT", "ENOENT"], answers
    assert answers[7:9] == ["ok", "ok changed"]
    if where == "lower":
        assert answers[9:] == ["ok", "ENOENT", "ok .:d ..:d d:d other:f"], answers
    else:  # the whiteout's place is taken by something that is none: nothing is hidden by halves
        assert answers[9] == "EEXIST" and answers[11] == shows, answers


@pytest.mark.parametrize("value", ["xyz", "", "n", "yes please", "y"])
def test_odd_opaque_values(world, value):
    """Only y makes opaque, and x marks a directory that can have whiteouts as attributes."""
    marked = {"d/": Dir(xattrs={"user.overlay.opaque": value}), "d/a": "a"}
    side = world.ovl([marked, {"d/b": "b"}], upper={})
    assert side.opsh("readdir @/d\nput @/d/b changed\ncat @/d/b")[0] == [
        "ok .:d ..:d a:f" if value == "y" else "ok .:d ..:d a:f b:f", "ok", "ok changed"]


@pytest.mark.parametrize("value", ["../../x", "/../../../etc", "/", "", "no/slash", "a" * 1000])
def test_odd_redirects(world, value):
    """A redirect is never followed: the directory is what it is, or EIO."""
    side = world.ovl([{"": Dir(xattrs={"user.overlay.impure": "y"}), "d/": Dir(xattrs={"user.overlay.redirect": value}),
                       "d/a": "a"}, {"d/b": "b"}], upper={}, outside={"passwd": SECRET})
    answers = side.opsh("readdir @/d\ncat @/d/passwd\nput @/d/passwd x\ncat @/d/a")[0]
    assert answers[0] in ("EIO", "ok .:d ..:d a:f b:f"), answers
    assert SECRET not in " ".join(answers)


def test_attributes_as_large_as_they_can_be(world):
    side = world.ovl([{"f": "f", "g": "g"}], upper={})
    lower = side.lowers[0]
    size = 65536
    while size > 64:
        try:
            os.setxattr(f"{lower}/f", "user.large", b"v" * size)
            break
        except OSError:
            size //= 2
    for i in range(40):
        os.setxattr(f"{lower}/g", f"user.{'n' * 40}{i}", b"")  # more names than one look at them has room for
    world.watch(lower)
    assert side.opsh("append @/f +\nappend @/g +")[0] == ["ok", "ok"]
    assert os.getxattr(f"{side.upper}/f", "user.large") == b"v" * size
    assert len([name for name in os.listxattr(f"{side.upper}/g") if "nnn" in name]) == 40


# ---- names and kinds -------------------------------------------------------------------------------------------

LONG = "l" * 255
NAMES = {"new\nline": "1", "\udcff\udcfe": "2", "-rf": "3", "tab\t": "4", "a b": "5", "\\": "6", "*": "7", LONG: "8",
         ":,;=": "9", "\udc80" * 255: "10"}


def word(name):
    return "".join(chr(b) if chr(b).isalnum() else f"\\x{b:02x}" for b in os.fsencode(name))


@pytest.mark.parametrize("top", [0, 1])
def test_odd_names(compare, top):
    layer = {f"{word_}/{name}": text for name, text in NAMES.items() for word_ in ("d", name)}
    script = []
    for i, name in enumerate(NAMES):
        w = word(name)
        script += [f"cat @/d/{w}", f"append @/d/{w} more", f"readdir @/{w}", f"rename @/d/{w} @/{w}/{i}",
                   f"put @/d/{w} again", f"symlink {w} @/d/link{i}", f"cat @/d/link{i}", f"unlink @/d/{w}",
                   f"mkdir @/d/{w}", f"rmdir @/d/{w}"]
    compare([layer if i == top else {"d/x": "x"} for i in range(2)], "\n".join(script + ["readdir @/d"]))


def test_loops_between_layers(compare):
    compare([{"a": link("b"), "p/q": link("../r/s")}, {"b": link("c"), "r/s": link("../p/q")}], """
        stat @/a
        open 1 @/a O_WRONLY|O_CREAT
        put @/a/x 1
        truncate @/b 0
        chmod @/p/q 0600
        mkdir @/p/q/new
        rename @/a @/d
        lstat @/d
        readdir @
        unlink @/c
        stat @/d
    """, upper={"c": link("a")})


def test_links_out_of_the_layers(compare):
    """What they lead to is the real thing; the links themselves stay in their layers."""
    compare([{"abs": link("%/victim"), "up": link("../x/victim"), "dir": link("%/dir"), "slash": link("/")}], """
        cat @/abs
        cat @/up
        unlink @/abs
        lstat @/abs
        put @/dir/new 1
        readdir @/dir
        rename @/up @/moved
        unlink @/dir
        stat @/slash/proc/self
        unlink @/slash
        cat %/victim
        cat %/dir/new
    """, outside={"victim": SECRET, "dir/": None})


def test_special_files(compare):
    """FIFOs and sockets of layers are looked at, changed and removed; nobody waits for them."""
    compare([{"fifo": Fifo(), "socket": Socket(), "d/fifo": Fifo()}], """
        lstat @/fifo
        open 1 @/fifo O_WRONLY|O_NONBLOCK
        open 2 @/socket O_RDONLY
        open 2 @/socket O_WRONLY|O_TRUNC
        truncate @/socket 0
        chmod @/socket 0600
        lstat @/socket
        rename @/fifo @/d/moved
        setxattr @/socket user.k v
        unlink @/socket
        put @/socket 1
        rename @/d @/e
        readdir @/e
        unlink @/e/fifo
    """, without={"kernel": "directory-rename"})

# SPDX-License-Identifier: MIT
"""The kernel's errno for every wrong argument (C-3.13, C-3.8)."""

import os

import pytest

from layers import Dir, File, link

LOW = {"f": "1", "d/f": "1", "d/sub/": None, "empty/": None, "s": link("f"), "sd": link("d"), "dang": link("no"),
       "loop": link("loop"), "p/": Dir(mode=0o500), "p/f": "1", "np/": Dir(mode=0), "u": File(content="", mode=0)}
UP = {"uf": "1", "ud/": None}

PATHS = ["@/f", "@/f/", "@/f/.", "@/f/..", "@/d", "@/d/", "@/d/.", "@/d/..", "@/no", "@/no/", "@/no/x", "@/f/x", "@/s",
         "@/s/", "@/sd", "@/sd/", "@/sd/.", "@/dang", "@/dang/", "@/loop", "@/loop/x", "@", "@/", "@/.", "@/..", '""',
         "@/np/x", "@/p/f", "@/p/new", "@/empty", "@/empty/", "@/uf", "@/ud", "@/ud/"]


@pytest.mark.parametrize("path", PATHS)
def test_single_paths(compare, path):
    """One wrong or odd path in every operation; what changes something runs on what is left."""
    compare([{"extra": ""}, LOW], f"""
        stat {path}
        lstat {path}
        statx cwd {path}
        access {path} R_OK
        access {path} W_OK
        access {path} 9
        readlink {path}
        open 1 {path} O_RDONLY
        open 1 {path} O_RDONLY|O_DIRECTORY
        open 1 {path} O_RDONLY|O_NOFOLLOW
        open 1 {path} O_PATH
        open 1 {path} O_WRONLY
        open 1 {path} O_RDONLY|O_CREAT|O_DIRECTORY
        open 1 {path} O_WRONLY|O_CREAT|O_EXCL
        open 1 {path} O_TMPFILE|O_RDWR 0600
        opendir 1 {path}
        getxattr {path} user.a
        realpath {path}
        statfs {path}
        truncate {path} 0
        chmod {path} 0755
        utimens {path} 1.0 1.0
        exec {path}
        symlink x {path}
        link {path} @/new1
        mkfifo {path} 0600
        mknod {path} S_IFREG|0600
        mkdir {path} 0755
        rename {path} {path}
        rename {path} @/no/x
        put {path} x
        rmdir {path}
        unlink {path}
        remove {path}
        mkdir {path} 0755
        lstat {path}
    """, upper=UP)


@pytest.mark.parametrize("path", [p for p in PATHS if not p.startswith("@/p/")])
def test_rename_pairs(compare, path):
    compare([LOW], f"""
        rename {path} @/no/x
        rename {path} @/f/x
        rename {path} @/loop/x
        rename @/uf {path}
        put @/uf 2
        rename {path} @/uf
        stat @/uf
        rename {path} @/ud
        rename @/ud {path}
        rename {path} @/new RENAME_NOREPLACE
        link {path} @/new2
        link @/uf {path}
        linkat cwd {path} cwd @/new3 AT_SYMLINK_FOLLOW
    """, upper=UP, **({"without": {"kernel": "directory-rename"}} if path in DIRECTORIES else {}))


DIRECTORIES = ("@/d", "@/d/", "@/empty", "@/empty/")


def test_descriptors(compare):
    compare([LOW], """
        open 1 @/f O_RDONLY
        open 2 @/d O_RDONLY|O_DIRECTORY
        openat 3 1 x O_RDONLY
        openat 3 bad x O_RDONLY
        openat 3 bad @/f O_RDONLY
        fstatat 1 x
        fstatat 2 nothing
        fstatat 2 f 4096000
        fstatat bad "" AT_EMPTY_PATH
        fstatat 1 "" AT_EMPTY_PATH
        fstatat 1 ""
        unlinkat 1 x 0
        unlinkat 2 sub 0
        unlinkat 2 f AT_REMOVEDIR
        unlinkat 2 sub 12345
        mkdirat bad x 0755
        mkdirat 1 x 0755
        mkdirat 2 f 0755
        symlinkat x 1 y
        linkat 1 x 2 y
        linkat 2 f 1 y
        linkat 2 f 2 y 7777777
        renameat 1 x 2 y
        renameat 2 f bad y
        readlinkat 2 f
        fchdir 1
        fchdir bad
        faccessat 2 f R_OK
        faccessat 1 f R_OK
        fchownat 2 f -1 -1 12345678
        close bad
        fchmod bad 0600
        ftruncate 1 0
        ftruncate 2 0
        write 1 x
        open 4 @/f O_PATH
        write 4 x
        fchmod 4 0600
        fstat 4
        fsetxattr 4 user.a b
        fdopendir 5 4
        getdents 1
        getdents bad
    """)


MODES = ["0644", "0444", "0311", "0111", "0"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["d", "ud"])
def test_dots_need_search_permission(compare, path, mode):
    """ "." and ".." are looked up like any name; whether names in it are seen or not."""
    compare([LOW], f"""
        chmod @/{path} {mode}
        stat @/{path}
        stat @/{path}/.
        stat @/{path}/..
        stat @/{path}/f
        readdir @/{path}/.
        chdir @/{path}/..
        open 1 @/{path}/.. O_TMPFILE|O_RDWR 0600
        open 2 @/{path}/. O_RDONLY|O_DIRECTORY
        rename @/f @/{path}/.
        rename @/{path}/. @/new
        link @/{path}/. @/f
        rmdir @/{path}/.
        symlink {path}/../f @/through
        stat @/through
        access @/{path}/. F_OK
        realpath @/{path}/..
        chmod @/{path} 0755
    """, upper={"ud/f": "1"})


def test_links_are_refused_in_order(compare):
    """What is to be linked comes first, then the new name, then whether the two can meet."""
    compare([LOW, {"wd/": Dir(mode=0o555)}], """
        link @/no @/f/x
        link @/no @/loop/x
        link @/no ..
        link @/no %/taken
        link @/no %/new
        link @/no/x @/loop/x
        link @/f %/taken
        link @/f %/new/
        link @/f %/no/new
        link @/f %/..
        link %/out @/f
        link %/out @/new/
        link %/no @/new
        link %/no @/loop/x
        linkat cwd @/dang cwd @/loop/x AT_SYMLINK_FOLLOW
        link @/d @/wd/new
        link @/d @/f
        linkat bad "" cwd @/new AT_EMPTY_PATH
        linkat bad "" cwd @/loop/x AT_EMPTY_PATH
        linkat bad "" cwd %/taken AT_EMPTY_PATH
        linkfd 1 @/new
        linkfd 1 @/loop/x
        rename @/f @/.. RENAME_NOREPLACE
        rename @ %/taken RENAME_NOREPLACE
    """, upper=UP, outside={"out": "1", "taken": "2"}, without={"bare": "border"})


def test_renames_are_refused_in_order(compare):
    """Permission to change the directories comes before what is wrong with the objects, but for a slash behind a name."""
    compare([{"low/": Dir(mode=0o555), "low/sub/": None, "low/f": "1", **LOW}], """
        rename @/closed/f @/empty
        rename @/closed/sub @/f
        rename @/uf @/closed/sub
        rename @/ud @/closed/full
        rename @/closed/f @/closed/sub
        rmdir @/closed/full
        rmdir @/closed/sub
        unlink @/closed/sub
        unlink @/closed/sub/
        unlink @/closed/f/
        unlink @/low/sub
        unlink @/low/sub/
        unlink @/low/f/
    """, upper={"closed/": Dir(mode=0o555), "closed/f": "1", "closed/sub/": None, "closed/full/x": "1", **UP})


def test_null_pointers(compare):
    """EFAULT where libc gives it."""
    compare([LOW], """
        open 1 NULL O_RDONLY
        stat NULL
        lstat NULL
        unlink NULL
        rename NULL @/x
        rename @/f NULL
        mkdir NULL
        rmdir NULL
        chdir NULL
        chmod NULL 0600
        access NULL R_OK
        readlink NULL
        symlink NULL @/x
        symlink x NULL
        link @/f NULL
        truncate NULL 0
        fstatat cwd NULL
        realpath NULL
    """)


@pytest.mark.parametrize("length", [254, 255, 256])
def test_name_lengths(compare, length):
    n = "n" * length
    compare([LOW], f"""
        stat @/{n}
        put @/{n} x
        stat @/{n}
        mkdir @/d/{n}
        put @/d/{n}/f x
        symlink x @/empty/{n}
        rename @/f @/d/sub/{n}
        stat @/d/sub/{n}
        link @/uf @/empty/{n}2
        unlink @/{n}
        unlink @/d/{n}/f
        rmdir @/d/{n}
        rename @/d/sub/{n} @/f
        readdir @
        stat @/f/{n}
        stat @/no/{n}
        mkfifo @/{n} 0600
        open 1 @/{n} O_RDONLY|O_NONBLOCK
    """, upper=UP)


@pytest.mark.parametrize("length", [4094, 4095, 4096, 4097, 8191])
def test_path_lengths(compare, length):
    """Paths of 4095 and 4096 bytes, made long by '/.', by slashes, and by a long missing tail."""
    def script(mount):
        room = length - mount
        dots = "@" + "/." * ((room - 3) // 2) + "/" * (1 + (room - 3) % 2) + "f" + "" if room > 3 else "@/f"
        dots = pad(dots, room)
        slashes = "@" + "/" * (room - 1) + "f"
        missing = "@/" + "/".join(["x" * 200] * (room // 201)) + "/"
        missing = missing + "y" * (room - (len(missing) - 1))
        lines = []
        for path in (dots, slashes, missing):
            lines += [f"stat {path}", f"cat {path}", f"append {path} x", f"chmod {path} 0640", f"put {path} x",
                      f"access {path} R_OK", f"realpath {path}", f"link {path} @/hard", f"unlink @/hard",
                      f"rename {path} @/g", f"rename @/g {path}", f"symlink {path} @/s2", f"stat @/s2", f"unlink @/s2",
                      f"mkdir {path}", f"opendir 1 {path}", f"unlink {path}", "put @/f back"]
        return "\n".join(lines)
    compare([LOW], script)


def pad(path, room):
    """Slashes before the last component until the path without its mount has `room` bytes."""
    head, _, tail = path.rpartition("/")
    return head + "/" * (room - (len(head) - 1) - len(tail)) + tail


def test_deep_directories(compare):
    """Directories whose absolute paths are longer than a path may be, by relative steps."""
    name = "n" * 240
    down = "\n".join(f"mkdir {name}\nchdir {name}" for _ in range(20))
    up = "\n".join(f"stat ../{name}\nchdir ..\nrmdir {name}" for _ in range(20))
    compare([LOW], f"""
        chdir @/d
        {down}
        put x 1
        cat x
        stat .
        stat ..
        readdir .
        append x 2
        rename x y
        cat y
        unlink y
        {up}
        getcwd
        readdir .
    """)


CHANGES = """
    put @/f x
    put @/new x
    open 1 @/f O_RDWR
    open 1 @/f O_RDONLY|O_TRUNC
    open 1 @/f O_RDONLY|O_CREAT
    open 1 @/new O_RDONLY|O_CREAT
    open 1 @/f O_RDWR|O_CREAT|O_EXCL
    open 1 @/d O_RDWR
    open 1 @/d O_TMPFILE|O_RDWR 0600
    open 1 @/no/x O_WRONLY|O_CREAT
    mkdir @/new
    mkdir @/d
    mkdir @/f/x
    mkdir @/no/x
    rmdir @/empty
    rmdir @/d
    rmdir @/no
    rmdir @/f
    unlink @/f
    unlink @/d
    unlink @/no
    unlink @/f/x
    symlink x @/new
    symlink x @/f
    link @/f @/new
    link @/f @/d/f
    link @/no @/new
    rename @/f @/new
    rename @/f @/d/f
    rename @/no @/new
    rename @/f @/d
    rename @/f @/f
    chmod @/f 0600
    chmod @/f 0644
    chmod @/no 0600
    chown @/f -1 -1
    utimens @/f 1.0 1.0
    utimens @/f now now
    utimens @/no now now
    truncate @/f 0
    truncate @/d 0
    setxattr @/f user.a b
    removexattr @/f user.a
    mkfifo @/new 0600
    mkfifo @/f 0600
    mknod @/new S_IFREG|0600
    access @/f W_OK
    access @/d W_OK
    access @/f R_OK
    access @/no W_OK
    mkdtemp @/tmpXXXXXX
    mkstemp 1 @/tmpXXXXXX
    open 2 @/f O_RDONLY
    fchmod 2 0600
    futimens 2 1.0 1.0
    fsetxattr 2 user.a b
    fchown 2 -1 -1
    ftruncate 2 0
    bind 3 @/sock
    creat 4 @/new 0600
    statvfs @
    fopen @/f w
    fopen @/f r
"""


def test_read_only(compare):
    """C-3.8: without an upper every change fails with EROFS (in the kernel's order), and access says so."""
    compare([LOW, {"f": "2"}], CHANGES, upper=None)


def test_mount_point_itself(compare):
    """EBUSY for the mount itself. A bare directory is no mount."""
    compare([LOW], """
        rmdir @
        rename @ %/x
        rename @ @/d/x
        rename @/d @
        rename @/uf @
        unlink @
        mkdir @
        symlink x @
        link @/uf @
        open 1 @ O_RDONLY|O_CREAT
        chmod @ 0750
        stat @
        rename @/ud @ RENAME_EXCHANGE
        rmdir @/.
        rmdir @/..
        rmdir @/
    """, upper=UP, without={"bare": "mount-point"})


def test_exec_errors(compare):
    compare([{"noexec": "#!/bin/sh\n", "noint": File(content="#!/no/such\n", mode=0o755), "d/": None,
              "empty": File(content="", mode=0o755), "text": File(content="hello\n", mode=0o755),
              "ok": File(content="#!/bin/sh\nexit 5\n", mode=0o755), "l": link("ok"), "loop": link("loop"),
              "bang": File(content="#!\n", mode=0o755), "self": File(content="#!@/self\n", mode=0o755)}], """
        exec @/noexec
        exec @/noint
        exec @/d
        exec @/empty
        exec @/text
        exec @/ok
        exec @/l
        exec @/loop
        exec @/missing
        exec @/ok/x
        exec @/bang
        run @/ok
        run @/missing
        run @/noexec
        chmod @/noexec 0755
        exec @/noexec
    """)


STORM = """
import errno, os, random, sys, time
mount, seconds = sys.argv[1], float(sys.argv[2])
names = [f"{mount}/{d}{n}" for d in ("", "d/") for n in ("a", "b", "c", "x" * 253, "y" * 253)]
usual = {errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EXDEV, errno.EINVAL, errno.EPERM}
def write(flags, text):
    fd = os.open(random.choice(names), flags, 0o644)
    os.write(fd, text)
    os.close(fd)
def replace():
    new = f"{mount}/.new{os.getpid()}"
    with open(new, "wb") as f:
        f.write(b"N" * 20000)
    try:
        os.rename(new, random.choice(names))
    except OSError:
        os.unlink(new)
        raise
def look():
    try:
        with open(random.choice(names), "rb") as f:
            text = f.read().rstrip(b"+")
        assert text in (b"", b"L" * 20000, b"N" * 20000), (len(text), set(text))
    except IsADirectoryError:
        os.listdir(mount)
calls = [look, look, replace, lambda: write(os.O_WRONLY | os.O_APPEND, b"+"), lambda: os.unlink(random.choice(names)),
         lambda: os.rename(random.choice(names), random.choice(names)), lambda: os.chmod(random.choice(names), 0o755),
         lambda: write(os.O_WRONLY | os.O_CREAT | os.O_EXCL, b""), lambda: os.mkdir(random.choice(names)),
         lambda: os.rmdir(random.choice(names)), lambda: os.stat(random.choice(names))]
children = []
while len(children) < 4 and 0 not in children:
    children.append(os.fork())
if 0 in children:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        call = random.choice(calls)
        try:
            call()
        except OSError as e:
            if e.errno not in usual:
                print(call, e)
    os._exit(0)
sys.exit(any(os.wait()[1] for _ in children))
"""


@pytest.mark.parametrize("form", ["oci", "kernel"])
def test_many_change_the_same_names(world, form):
    """C-3.4, C-3.6, C-3.7: only the kernel's answers, no part of a file, nothing left in the upper or the work directory."""
    text = "L" * 20000
    side = world.ovl([{"a": text, "b": text, "d/a": text, "x" * 253: text}, {"d/b": text, "d/c/": None, "y" * 253: text}],
                     upper={}, options=f",whiteout={form}")
    result = side.run([(["/usr/bin/python3", "-c", STORM, "@", "3"], "")])[0]
    assert (result.status, result.out, result.err) == (0, "", "")
    assert os.listdir(f"{side.upper}.work/work") == []
    left = [n for _, dirs, files in os.walk(side.upper) for n in dirs + files if n.startswith((".wh..wh.new", ".new"))]
    assert left == []

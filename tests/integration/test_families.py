# SPDX-License-Identifier: MIT
"""libc's less common families of path functions, against the same calls on the bare directory and on Linux
overlayfs (C-2.9, C-4.2, C-4.7): streams, temporary files, walkers, attributes, sockets, limits, watches, old
forms, syscall(2)."""

import difflib
import glob
import os
import re
import subprocess
from types import SimpleNamespace

import pytest

from layers import GONE, Dir, File, link, same

HERE = os.path.dirname(os.path.abspath(__file__))

LOW = {"file": "lower content\n", "dir/file": "in dir\n", "readonly": File(content="ro\n", mode=0o444),
       "link": link("file"), "dangling": link("nothing"), "gone": "old\n",
       "x": File(content="x", xattrs={"user.one": "1"}),
       "dir/x": File(content="x", xattrs={"user.one": "1"}), "mtab": "dev /mnt ext4 rw 0 0\n"}
TOP = {"gone": GONE, "upper": "upper\n"}

TREE = {"file": "f\n", "a.c": "a\n", "sub/a1": "1\n", "sub/m": "2\n", "sub/.hidden": "h\n", "sub/deep/er/x": "3\n",
        "skip/inner": "s\n", "again": "a\n", "link": link("sub"), "dangling": link("nothing"), "gone1": "g\n",
        "hard": "h\n", "hard2": same("hard"), "empty/": None, "noread/": Dir(mode=0o300), "noread/x": "x\n"}
TREE_TOP = {"gone1": GONE, "sub/new": "n\n", "upper/only": "u\n", "b.c": "b\n"}

F_PHYS, F_MOUNT, F_CHDIR, F_DEPTH, F_ACTION = 1, 2, 4, 8, 16
S_COMFOLLOW, S_LOGICAL, S_NOCHDIR, S_NOSTAT, S_PHYSICAL, S_SEEDOT, S_XDEV = 1, 2, 4, 8, 16, 32, 64


@pytest.fixture(scope="module")
def programs(workspace):
    made = {}
    for name in ("families", "walks"):
        made[name] = os.path.join(workspace, name)
        sources = sorted(glob.glob(os.path.join(HERE, name + "*.c")))
        subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror",
                        "-Wno-deprecated-declarations", *sources, "-o", made[name]], check=True)
    return SimpleNamespace(**made)


@pytest.fixture
def alike(world, programs):
    """Run one of the programs on all sides: the lines that it prints must be the same ones."""
    def run(program, *arguments, lower=LOW, upper=TOP, order=True, without=(), edit=None, expect=None):
        __tracebackhide__ = True
        names = [n for n in ("bare", "kernel", "ovl") if n not in without]
        lines = {}
        for name, side in world.make([lower], upper, sides=names).items():
            result, = side.run([([getattr(programs, program), arguments[0], "@", *arguments[1:]], "")])
            assert result.status == 0, f"{name}: status {result.status}: {result.err}"
            out = edit(result.out) if edit else result.out
            lines[name] = out.splitlines() if order else sorted(out.splitlines())
            assert len(lines[name]) > 1, f"{name}: says nothing"
        first, *others = lines
        for other in others:
            different = difflib.unified_diff(lines[first], lines[other], first, other, lineterm="", n=1)
            assert lines[other] == lines[first], "\n".join(different)
        for text in [expect] if expect else []:
            assert any(text in line for line in lines[first]), f"nowhere {text!r}"
    return run


def inside(side, conf, *arguments):
    """Run python in an overlay of another configuration than the side's own."""
    command = ["env", f"OVL_CONF={conf}", f"LD_PRELOAD={side.tools.library}", "/usr/bin/python3", *arguments]
    return subprocess.run(side.role.drop() + command, capture_output=True, text=True, cwd="/", check=False)


# ---- streams and temporary files ----

def test_fopen(alike):
    alike("families", "fopen")


def test_freopen(alike):
    alike("families", "freopen")


def test_setmntent(alike):
    alike("families", "mntent")


def test_fopen_of_a_fifo_opens_it_once(world, programs):
    """A second open of a FIFO would take the reader's end of file away or wait for ever."""
    side = world.ovl([LOW], TOP)
    script = "cd \"$1\" && mkfifo p && (cat p >got; echo closed >>got) & cd \"$1\"; sleep 0.3; " \
             "awk 'BEGIN { print \"through\" >\"p\" }'; wait; cat got"
    result, = side.run([(["sh", "-c", script, "sh", "@"], "")])
    assert result.out == "through\nclosed\n"


@pytest.mark.parametrize("way", ["fopen", "freopen"])
@pytest.mark.parametrize("name", ["file", "/".join(c * 200 for c in "abc")], ids=["short", "long"])
def test_lower_file_is_not_written_through_its_descriptor(world, way, name):
    """C-3.1: freopen(NULL) opens /proc/self/fd/N again."""
    side = world.ovl([{name: "lower content\n"}], {})
    code = ("import ctypes, sys; c = ctypes.CDLL(None); c.fopen.restype = c.freopen.restype = ctypes.c_void_p; "
            "f = ctypes.c_void_p(c.fopen(sys.argv[1].encode(), b'r')); "
            "n = c.fileno(f); "
            "g = ctypes.c_void_p(c.freopen(None, b'r+', f) if sys.argv[2] == 'freopen' else "
            "c.fopen(b'/proc/self/fd/%d' % n, b'r+')); "
            "c.fputs(b'LOWER', g); c.fclose(g)")
    result, = side.run([(["/usr/bin/python3", "-c", code, f"@/{name}", way], "")])
    assert result.status == 0, result.err
    with open(os.path.join(side.base, "l0", name)) as f:
        assert f.read() == "lower content\n"
    with open(os.path.join(side.base, "u", name)) as f:
        assert f.read() == "LOWER content\n"


def test_temporary_files(alike):
    alike("families", "temp")


def test_tmpfile_in_an_overlay_of_tmp(world, programs):
    side = world.ovl([{"a": "a"}], {})
    conf = f"mount=/tmp,lowerdir={side.base}/l0,upperdir={side.base}/u"
    code = "import ctypes, os, tempfile; assert ctypes.CDLL(None).tmpfile(); n = tempfile.mkstemp()[1]; " \
           "print(n, os.path.exists(n), sorted(os.listdir('/tmp')) == ['a', n[5:]])"
    done = inside(side, conf, "-c", code)
    assert re.fullmatch(r"/tmp/\S+ True True\n", done.stdout), done.stderr


# ---- walkers ----

def test_scandir(alike):
    alike("walks", "scandir", lower=TREE, upper=TREE_TOP)


def test_glob(alike):
    alike("walks", "glob", lower=TREE, upper=TREE_TOP)


@pytest.mark.parametrize("flags", [0, F_PHYS, F_DEPTH, F_PHYS | F_DEPTH, F_CHDIR, F_PHYS | F_CHDIR,
                                   F_PHYS | F_CHDIR | F_DEPTH, F_CHDIR | F_DEPTH, F_PHYS | F_MOUNT])
@pytest.mark.parametrize("start", ["", "/", "/sub///", "/link", "/dangling", "/missing", "/file", "/noread", "=sub",
                                   "=.", "="])
def test_nftw(alike, flags, start):
    alike("walks", "nftw", str(flags), start, lower=TREE, upper=TREE_TOP, order=False, edit=lambda out: out + "\n-\n",
          without=["bare"] if flags & F_MOUNT else [])


def test_nftw_order(world, programs):
    """A directory before what is in it, with FTW_DEPTH after it."""
    side = world.ovl([TREE], TREE_TOP)
    for flags in (F_PHYS, F_PHYS | F_DEPTH):
        result, = side.run([([programs.walks, "nftw", "@", str(flags), ""], "")])
        seen = [line.split()[1] for line in result.lines[:-1]]
        assert len(seen) == len(set(seen)) > 15
        for path in seen:
            parent = os.path.dirname(path)
            if parent in seen:
                assert (seen.index(parent) < seen.index(path)) == (not flags & F_DEPTH), path


@pytest.mark.parametrize("name,answer", [("sub", 2), ("er", 2), ("er", 3), ("x", 3), ("deep", 1), ("file", 1), ("m", 2),
                                         (".", 2), ("skip", 7)])
@pytest.mark.parametrize("flags", [F_ACTION | F_PHYS, F_ACTION | F_PHYS | F_DEPTH, F_ACTION | F_PHYS | F_CHDIR])
def test_nftw_actions(alike, flags, name, answer):
    """What the callback answers; the order of names is given by there being one in each directory."""
    lower = {"sub/deep/er/x": "x\n"}
    alike("walks", "nftw", str(flags), "", name, str(answer), lower=lower, upper={}, edit=lambda out: out + "-\n")


def test_ftw(alike):
    alike("walks", "ftw", lower=TREE, upper=TREE_TOP, order=False)


@pytest.mark.parametrize("options", [S_PHYSICAL, S_LOGICAL, S_PHYSICAL | S_NOCHDIR, S_PHYSICAL | S_COMFOLLOW,
                                     S_PHYSICAL | S_SEEDOT, S_PHYSICAL | S_NOSTAT | S_NOCHDIR, S_PHYSICAL | S_XDEV,
                                     4096])
@pytest.mark.parametrize("roots", [["."], ["sub", "link", "missing", "file"], ["sub/", "./empty"], ["noread"],
                                   ["sub", ""]], ids=" ".join)
@pytest.mark.parametrize("how", ["--", "s-", "-c", "-n"])
def test_fts(alike, options, roots, how):
    alike("walks", "fts", str(options), *how, *roots, lower=TREE, upper=TREE_TOP, edit=lambda out: out + "\n-\n")


def test_fts_cycle(alike):
    lower = {"a/b/c": "c\n", "a/b/up": link("../.."), "a/self": link(".")}
    alike("walks", "fts", str(S_LOGICAL), "-", "-", "a", lower=lower, upper={}, expect="DC ")


def test_walk_from_outside_meets_the_mount(world, programs):
    """A walk that begins outside sees the merged tree, not what lies below the mount."""
    side = world.ovl([TREE], TREE_TOP)
    os.makedirs(side.mount, exist_ok=True)
    with open(os.path.join(side.mount, "below"), "w"):
        pass
    walk, walk2 = side.run([([programs.walks, "nftw", "^", str(F_PHYS), ""], ""),
                            ([programs.walks, "fts", "^", str(S_PHYSICAL), "-", "-", "m"], "")])
    for result in (walk, walk2):
        names = {line.split()[1].split("/", 1)[1] for line in result.lines if re.match(r"\S+ (@|m)/", line)}
        assert "sub/new" in names and "below" not in names and "gone1" not in names


# ---- files that libc opens by itself ----

def test_wordexp(alike):
    alike("families", "words")


@pytest.fixture(scope="module")
def catalog(workspace):
    path = os.path.join(workspace, "messages.cat")
    subprocess.run(["gencat", path, "-"], input="$set 1\n1 hello from the catalog\n", text=True, check=True)
    with open(path, "rb") as f:
        return f.read()


def test_catopen(alike, catalog):
    names = ("messages.cat", "gone.cat", "xx/messages.cat", "xx_YY/messages.cat", "xx.UTF-8/messages.cat", "xx_YY.UTF-8/messages")
    alike("families", "catalog", lower={f"cat/{name}": File(content=catalog) for name in names}, upper={"cat/gone.cat": GONE},
          expect="hello from")


def test_login_records(alike):
    alike("families", "login", lower={"utmp": "", "gone": ""}, upper={"gone": GONE}, expect="second/pts/2")


@pytest.fixture(scope="module")
def libraries(workspace):
    made = {}
    for number in (1, 2):
        path = os.path.join(workspace, f"lib{number}.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", path], text=True, check=True,
                       input=f"int number(void) {{ return {number}; }}")
        with open(path, "rb") as f:
            made[number] = f.read()
    return made


@pytest.mark.untraced("the loader is asked for what is missing by its merged name, which its message must have")
def test_dlopen(alike, libraries):
    """A path given to the loader is a merged one, and so is what dladdr gives back."""
    one, two = File(content=libraries[1]), File(content=libraries[2])
    alike("families", "library", lower={"lib/low.so": one, "lib/both.so": one, "lib/gone.so": one, "lib/link.so": link("both.so")},
          upper={"lib/both.so": two, "lib/top.so": two, "lib/gone.so": GONE}, expect="both.so: 2")


def test_dlopen_in_place(world, libraries):
    """A library that the overlay removed is not loaded from the real directory."""
    side = world.ovl([{"one.so": File(content=libraries[1]), "two.so": File(content=libraries[1])}],
                     {"one.so": File(content=libraries[2]), "two.so": GONE})
    layer = f"{side.base}/l0"
    code = f"import ctypes\nprint(ctypes.CDLL('{layer}/one.so').number())\n" \
           f"try: ctypes.CDLL('{layer}/two.so')\nexcept OSError as e: print(e)"
    done = inside(side, f"mount={layer},lowerdir={layer},upperdir={side.base}/u", "-c", code)
    lines = done.stdout.splitlines()
    assert lines[0] == "2" and lines[1].endswith(f"{layer}/two.so: cannot open shared object file: No such file or directory"), done


def test_dlopen_searches_for_its_caller(world, workspace, libraries):
    """The loader still sees who asks: RUNPATH of the caller, not of libovl."""
    side = world.ovl([{"f": "f"}], {})
    folder = os.path.join(side.outside, "sub")
    os.makedirs(folder)
    with open(f"{folder}/libplug.so", "wb") as f:
        f.write(libraries[1])
    source = '#include <dlfcn.h>\nint number(void) { void *p = dlopen("libplug.so", RTLD_NOW); ' \
             'return p ? ((int (*)(void))dlsym(p, "number"))() + 10 : -1; }'
    subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-x", "c", "-", "-o", f"{side.outside}/caller.so", "-Wl,-rpath,$ORIGIN/sub",
                    "-Wl,--enable-new-dtags"], input=source, text=True, check=True)
    result, = side.run([(["/usr/bin/python3", "-c", "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).number())", "%/caller.so"], "")])
    assert result.out == "11\n", result.err


PROFILED = r"""
#include <stdio.h>
#include <unistd.h>
int main(int n, char **a) { printf("%d\n", n > 1 ? chdir(a[1]) : 0); return 0; }
"""


def test_profile(world, workspace):
    """C-3.1: a program built with -pg writes its profile at exit, to the cwd; also as GMON_OUT_PREFIX says."""
    side = world.ovl([{"d/f": "f", "e/f": "f"}], {})
    program = os.path.join(workspace, "profiled")
    subprocess.run(["gcc", "-pg", "-x", "c", "-", "-o", program], input=PROFILED, text=True, check=True)
    shell = f"cd \"$1\"/d && {program} && GMON_OUT_PREFIX=\"$1\"/e/out {program} && cd / && {program} \"$1\"/d && ls \"$1\"/d \"$1\"/e; " \
            f"cd \"$1\"/e && {program} .. && cmp -n 4 ../gmon.out ../d/gmon.out && pwd"
    result, = side.run([(["sh", "-c", shell, "sh", "@"], "")])
    lines = [re.sub(r"out\.\d+", "out.N", line) for line in result.lines]
    assert lines == ["0"] * 3 + ["@/d:", "f", "gmon.out", "", "@/e:", "f", "out.N", "0", "@/e"], result
    assert os.path.getsize(f"{side.base}/u/d/gmon.out") > 20


def test_password_lock(world, root_only):
    """C-3.1: in an overlay of /etc the lock and the host's number are made in the upper."""
    side = world.ovl([{"a": "a"}], {})
    before = {name: os.path.exists(name) and os.stat(name).st_mtime_ns for name in ("/etc/.pwd.lock", "/etc/hostid")}
    code = "import ctypes, os; c = ctypes.CDLL(None); print(c.lckpwdf(), c.lckpwdf(), c.ulckpwdf(), c.lckpwdf(), c.ulckpwdf(), " \
           "c.sethostid(0x1234), sorted(os.listdir('/etc')), os.stat('/etc/hostid').st_size)"
    done = inside(side, f"mount=/etc,lowerdir={side.base}/l0,upperdir={side.base}/u", "-c", code)
    assert done.stdout == "0 -1 0 0 0 0 ['.pwd.lock', 'a', 'hostid'] 4\n", done
    assert before == {name: os.path.exists(name) and os.stat(name).st_mtime_ns for name in before}


def test_functions_of_newer_libraries(world, programs):
    """pidfd_spawn, openat2: they are there for programs that were built for a newer glibc."""
    side = world.ovl([LOW], TOP)
    result, = side.run([([programs.families, "newer", "@"], "")])
    assert result.lines == ["in dir", "spawn 0", "wait 0 status 0 close-on-exec 1", "missing 2 next 3", "openat2: 1 -",
                            "  file: mode 100644 size 14 [lower content", "]"], result


# ---- attributes ----

def test_xattr(alike):
    alike("families", "xattr")


def test_private_xattrs(world):
    """C-2.4: marks of the overlay are neither seen nor set, C-3.1: not through a descriptor either."""
    side = world.ovl([{"d/": Dir(opaque=True, form="xattr", xattrs={"user.k": "v"}), "d/f": "f"}], {})
    code = """
import os, sys
def answer(f, *a, **k):
    try:
        return f(*a, **k)
    except OSError as e:
        return e.errno
d = sys.argv[1]
fd = os.open(d, os.O_RDONLY)
for x in (d, fd):
    print(answer(os.listxattr, x), answer(os.getxattr, x, "user.overlay.opaque"),
          answer(os.setxattr, x, "user.overlay.opaque", b"y"), answer(os.removexattr, x, "user.overlay.opaque"))
"""
    result, = side.run([(["/usr/bin/python3", "-c", code, "@/d"], "")])
    assert result.lines == ["['user.k'] 61 1 1"] * 2, result.err


# ---- sockets ----

def test_stream_socket(alike):
    alike("families", "stream")


def test_socket_errors(alike):
    alike("families", "socket-errors")


def test_datagram_socket(alike):
    alike("families", "datagram")


@pytest.mark.parametrize("length", [20, 60, 90])
def test_socket_below_a_long_layer_path(world, length):
    """The layer's path does not fit an address, the merged one does."""
    side = world.ovl([{"d/f": "f"}], {})
    upper = os.path.join(side.base, "long" * (length // 4))
    os.mkdir(upper)
    os.chown(upper, side.role.uid, side.role.gid)
    conf = f"mount={side.mount},lowerdir={side.base}/l0,upperdir={upper}"
    code = """
import os, socket, sys
m = sys.argv[1]
s = socket.socket(socket.AF_UNIX)
s.bind(m + "/d/s")
s.listen(1)
before = sorted(os.listdir("/proc/self/fd"))
c = socket.socket(socket.AF_UNIX)
c.connect(m + "/d/s")
print(sorted(os.listdir(m + "/d")), c.fileno() == s.fileno() + 1)
"""
    done = inside(side, conf, "-c", code, side.mount)
    assert done.stdout == "['f', 's'] True\n", done.stderr


@pytest.mark.parametrize("form", ["oci", "kernel"])
def test_socket_over_a_whiteout(world, role, form):
    if form == "kernel" and not role.root:
        pytest.skip("whiteout devices in a user's layer")
    side = world.ovl([{"s": "lower\n"}], {"s": GONE}, form="dev" if form == "kernel" else "oci",
                     options=f",whiteout={form}")
    code = "import os, socket, stat, sys; s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1] + '/s'); " \
           "s.listen(1); c = socket.socket(socket.AF_UNIX); c.connect(sys.argv[1] + '/s'); " \
           "print(stat.S_ISSOCK(os.stat(sys.argv[1] + '/s').st_mode)); os.unlink(sys.argv[1] + '/s'); " \
           "print(os.listdir(sys.argv[1]))"
    result, = side.run([(["/usr/bin/python3", "-c", code, "@"], "")])
    assert result.lines == ["True", "[]"], result.err


def test_socket_name_given_relative(world):
    """A name given relative comes back absolute and merged: the kernel keeps what it was called with."""
    side = world.ovl([{"d/f": "f"}], {})
    code = "import os, socket, sys; os.chdir(sys.argv[1]); s = socket.socket(socket.AF_UNIX); s.bind('d/s'); " \
           "print(s.getsockname())"
    result, = side.run([(["/usr/bin/python3", "-c", code, "@"], "")])
    assert result.lines == ["@/d/s"], result.err


# ---- the file system ----

def test_limits(alike):
    alike("families", "limits")


def test_space_is_the_uppers(world):
    side = world.ovl([LOW], TOP)
    code = "import os, sys; fd = os.open(sys.argv[1], 0); " \
           "print(*(os.statvfs(p).f_fsid for p in sys.argv[1:]), os.fstatvfs(fd).f_fsid)"
    result, = side.run([(["/usr/bin/python3", "-c", code, "@/file", side.upper], "")])
    assert len(set(result.out.split())) == 1, result.out + result.err


def test_read_only_shows(world):
    side = world.ovl([LOW], None)
    code = "import os, sys; print(*(f(a).f_flag & os.ST_RDONLY for f, a in ((os.statvfs, sys.argv[1]), " \
           "(os.fstatvfs, os.open(sys.argv[1], 0)))))"
    result, = side.run([(["/usr/bin/python3", "-c", code, "@/file"], "")])
    assert result.out == "1 1\n", result.err


def test_inotify(alike):
    alike("families", "inotify")


def test_no_handles(world):
    """A handle of a lower file could be opened for writing: EOPNOTSUPP, as overlayfs without nfs_export."""
    side = world.ovl([LOW], TOP)
    code = "import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True); b = ctypes.create_string_buffer(200); " \
           "i = ctypes.c_int(); b[0:4] = (128).to_bytes(4, 'little'); fd = os.open(sys.argv[1], 0)\n" \
           "for d, p, f in ((-100, sys.argv[1], 0), (fd, '', 0x1000), (-100, sys.argv[2], 0)):\n" \
           "    r = c.name_to_handle_at(d, p.encode(), b, ctypes.byref(i), f); print(r, ctypes.get_errno() if r else 0)"
    result, = side.run([(["/usr/bin/python3", "-c", code, "@/file", "@/missing"], "")])
    assert result.lines == ["-1 95", "-1 95", "-1 2"], result.err


def test_name_space_calls_are_refused(world, root_only):
    """C-4.6: EPERM and one line in the log."""
    side = world.ovl([LOW], TOP)
    log = os.path.join(side.base, "log")
    side.environment["OVL_LOG_FILE"] = log
    code = """
import ctypes, sys
c = ctypes.CDLL(None, use_errno=True)
m, x = sys.argv[1].encode(), sys.argv[2].encode()
for name, *a in (("chroot", m), ("pivot_root", m, m), ("mount", b"none", m + b"/dir", b"tmpfs", 0, None),
                 ("mount", m, x, None, 4096, None), ("umount", m), ("umount2", m, 2), ("acct", m + b"/file"),
                 ("swapon", m + b"/file", 0), ("open_tree", -100, m, 1), ("move_mount", -100, m, -100, x, 0)):
    print(name, getattr(c, name)(*a), ctypes.get_errno())
"""
    result, = side.run([(["/usr/bin/python3", "-c", code, "@", "%"], "")])
    assert [line.split()[1:] for line in result.lines] == [["-1", "1"]] * 10, result.out + result.err
    with open(log) as f:
        lines = f.read().splitlines()
    assert len(lines) == 10 and all(line.startswith("libovl: ") for line in lines)


# ---- old forms and syscall(2) ----

def test_old_and_checked_forms(alike):
    alike("families", "compat")


def test_openat2(alike):
    alike("families", "openat2")


def test_openat2_where_a_link_decides(world):
    """What can't be told without following a link is ENOSYS, never a descriptor that escapes."""
    side = world.ovl([{"in": link("f"), "out": link("/etc/passwd"), "f": "f"}], {})
    code = """
import ctypes, os, struct, sys
c = ctypes.CDLL(None, use_errno=True)
d = os.open(sys.argv[1], 0)
for name in (b"in", b"out", b"f"):
    for resolve in (8, 16, 1):
        print(c.syscall(437, d, name, struct.pack("QQQ", 0, 0, resolve), 24) >= 0 or ctypes.get_errno())
"""
    result, = side.run([(["/usr/bin/python3", "-c", code, "@"], "")])
    assert result.lines == ["38"] * 6 + ["True"] * 3, result.out + result.err


def test_syscall(alike):
    alike("families", "syscall")


def test_calls_that_would_go_around(world):
    """C-3.1: io_uring_setup answers ENOSYS, and so do numbers that libovl does not know to translate yet."""
    side = world.ovl([LOW], TOP)
    code = "import ctypes; c = ctypes.CDLL(None, use_errno=True)\n" \
           "for n in (425, 463, 469): print(c.syscall(n, 1, 0), ctypes.get_errno())"
    result, = side.run([(["/usr/bin/python3", "-c", code], "")])
    assert result.lines == ["-1 38"] * 3, result.err

# SPDX-License-Identifier: MIT
"""Configurations: what is wrong gives one exact line and status 125 and the program is not run (C-1.6); what is
right is read as C-1.2 to C-1.5 and C-1.7 say."""

import os
import subprocess

import pytest

SHOWN = 'echo ran; cat "$1"/f'


class Place:
    """A folder with layers l, l2 and files, and ways to start a program with a configuration."""

    def __init__(self, world):
        if "ovl" not in world.sides:
            pytest.skip("needs the library under test")
        self.base, self.role, self.library = world.base(), world.role, world.tools.library
        self.mount = f"{self.base}/m"
        for name in ("l", "l2", "l/inner"):
            os.mkdir(f"{self.base}/{name}")
        self.file("l/f", "lower\n")
        self.file("l2/g", "second\n")
        self.file("afile", "")
        os.chmod(self.base, 0o755)
        subprocess.run(["chown", "-R", f"{world.role.uid}:{world.role.gid}", self.base], check=world.role.root or
                       os.geteuid() == 0)
        for name in ("l", "l2"):
            world.watch(f"{self.base}/{name}")

    def file(self, name, text):
        path = f"{self.base}/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        if os.geteuid() == 0:
            os.chown(path, self.role.uid, self.role.gid)
        return path

    def folder(self, name, mode=0o755, owner=None):
        path = f"{self.base}/{name}"
        os.makedirs(path, exist_ok=True)
        os.chmod(path, mode)
        if os.geteuid() == 0:
            os.chown(path, *(owner or (self.role.uid, self.role.gid)))
        return path

    def run(self, conf, command=None, env=None, cwd=None, before=()):
        """Start a program: (status, stdout, stderr) with the folder written B."""
        command = command or ["sh", "-c", SHOWN, "sh", self.mount]
        argv = [*self.role.drop(), *before, "env", f"LD_PRELOAD={self.library}"]
        argv += ([f"OVL_CONF={conf}"] if conf is not None else []) + command
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=cwd or self.base, umask=0o022,
                              env={**os.environ, **(env or {})})
        return done.returncode, self.text(done.stdout), self.text(done.stderr)

    def text(self, s):
        return s.replace(self.base, "B")


@pytest.fixture
def place(world):
    return Place(world)


OWN = "; set workdir= to a directory of your own on the upper's file system"

# Inline options after which the program must not run, and the line without 'libovl: OVL_CONF: '.
# B is the test's folder, M is mount=B/m and L is lowerdir=B/l.
INLINE = {
    "unknown-key": ("M,L,colour=red", "unknown key 'colour'; the keys are mount, lowerdir, upperdir, workdir, exclude, "
                    "whiteout, readdir, static, static-allow, volatile, patch and guard"),
    "repeated-key": ("M,L,upperdir=B/u,upperdir=B/u2", "key 'upperdir' is given twice for one overlay; leave one of them out"),
    "repeated-mount": ("M,M,L", "key 'mount' is given twice for one overlay; leave one of them out"),
    "repeated-lower": ("M,L,L", "key 'lowerdir' is given twice for one overlay; separate layers by ':' or append them "
                       "with lowerdir+="),
    "no-mount": ("L", "an overlay has no mount; add mount= and the absolute path where it is to be seen"),
    "no-lower": ("M", "the overlay of mount=B/m has no lower layer; add lowerdir= and one or more directories"),
    "no-value": ("M,L,volatile", "'volatile' has no '='; options are KEY=VALUE, a comma in a value is '\\,'"),
    "empty-value": ("M,lowerdir=", "lowerdir=: empty; give a value or leave the key out"),
    "relative-mount": ("mount=x/y,L", "mount=x/y: not an absolute path; paths in OVL_CONF begin with '/'"),
    "relative-lower": ("M,lowerdir=l", "lowerdir=l: not an absolute path; paths in OVL_CONF begin with '/'"),
    "relative-second-lower": ("M,lowerdir=B/l:l2", "lowerdir=l2: not an absolute path; paths in OVL_CONF begin with '/'"),
    "empty-lower": ("M,lowerdir=B/l::B/l2", "lowerdir=B/l::B/l2: a path is empty; write '\\:' for a colon that belongs to "
                    "a path"),
    "bad-escape": ("M,lowerdir=B/l\\x", "lowerdir=B/l\\x: a backslash stands only before , : ; and \\"),
    "bad-whiteout": ("M,L,whiteout=aufs", "whiteout=aufs: unknown value; it is 'oci' or 'kernel'"),
    "bad-readdir": ("M,L,readdir=random", "readdir=random: unknown value; it is 'sorted' or 'native'"),
    "bad-static": ("M,L,static=no", "static=no: unknown value; it is 'deny', 'warn' or 'allow'"),
    "bad-volatile": ("M,L,volatile=yes", "volatile=yes: unknown value; it is 'off' or 'on'"),
    "missing-lower": ("M,lowerdir=B/none", "lowerdir=B/none: no such file or directory; name a directory that exists"),
    "missing-second-lower": ("M,lowerdir=B/l:B/none",
                             "lowerdir=B/none: no such file or directory; name a directory that exists"),
    "lower-is-a-file": ("M,lowerdir=B/afile", "lowerdir=B/afile: not a directory; name a directory that exists"),
    "mount-is-a-file": ("mount=B/afile,L",
        "mount=B/afile: not a directory; a mount is a directory, or a path that leads to nothing yet"),
    "mount-below-a-file": ("mount=B/afile/x,L",
        "mount=B/afile/x: lies below a file; a mount is a directory, or a path that leads to nothing yet"),
    "upper-is-a-file": ("M,L,upperdir=B/afile",
        "upperdir=B/afile: not a directory; name a directory that you may write to"),
    "upper-without-parent": ("M,L,upperdir=B/no/such",
        "upperdir=B/no/such: the directory above it does not exist; make that first"),
    "upper-is-a-lower": ("M,L,upperdir=B/l",
        "upperdir=B/l: equals the lower layer B/l; name a directory that holds no layer"),
    "upper-contains-a-lower": ("M,lowerdir=B/l/inner,upperdir=B/l",
        "upperdir=B/l: contains the lower layer B/l/inner; name a directory that holds no layer"),
    "two-overlays-one-upper": ("M,L,upperdir=B/u;mount=B/m2,lowerdir=B/l2,upperdir=B/u",
        "upperdir=B/u: also the upper of the overlay at B/m2; give each overlay an upperdir of its own"),
    "two-overlays-one-mount": ("M,L;M,lowerdir=B/l2",
        "mount=B/m: two overlays have this mount; merge them into one or change a mount"),
    "work-is-a-file": ("M,L,upperdir=B/u,workdir=B/afile",
        "workdir=B/afile: is not a directory" + OWN),
    "work-inside-the-upper": ("M,L,upperdir=B/u,workdir=B/u/work",
        "workdir=B/u/work: can't be made: no such file or directory" + OWN),
    "work-is-the-upper": ("M,L,upperdir=B/u,workdir=B/u",
        "workdir=B/u: lies in the upper of the overlay at B/m" + OWN),
    "cycle": ("mount=B/m,lowerdir=B/m2/x;mount=B/m2,lowerdir=B/m/y",
        "lowerdir=B/m/y: the overlay is a layer of itself, by way of others; name a directory outside their mounts"),
}


@pytest.mark.parametrize("name", INLINE)
def test_wrong_inline(place, name):
    options, message = INLINE[name]
    options = options.replace("M", f"mount={place.mount}").replace("L", f"lowerdir={place.base}/l").replace("B/", f"{place.base}/")
    refused(place.run(options), "libovl: OVL_CONF: ", message)


def refused(result, start, message):
    status, out, err = result
    assert (status, out) == (125, "")
    assert err.startswith(start) and err.count("\n") == 1 and err.endswith("\n"), err
    if message is not None:
        assert err == f"{start}{message}\n"


# A configuration file's text, the line that is wrong, and the message.
FILES = {
    "unknown-key": ("[overlay]\nmount=B/m\nlowerdir=l\ncolour = red\n", 4, INLINE["unknown-key"][1]),
    "repeated-key": ("[overlay]\nmount=B/m\nlowerdir=l\nupperdir=u\n\nupperdir=u2\n", 6, INLINE["repeated-key"][1]),
    "relative-mount": ("# c\n[overlay]\nmount=m\nlowerdir=l\n", 3,
                       "mount=m: not an absolute path; a mount begins with '/'"),
    "missing-lower": ("[overlay]\nmount=B/m\nlowerdir=l\nlowerdir=none\n", 4,
                      "lowerdir=B/none: no such file or directory; name a directory that exists"),
    "no-section": ("mount=B/m\n", 1, "key 'mount' stands before the first section; begin with a line [overlay]"),
    "bad-section": ("[over]\nmount=B/m\n", 1, "'[over]' begins no section; write [overlay] or [overlay NAME] on a line "
                    "of its own"),
    "no-equals": ("[overlay]\nmount\n", 2, "'mount' has no '='; lines are KEY=VALUE, [overlay NAME], or comments that "
                  "begin with '#'"),
    "unset-variable": ("[overlay]\nmount=B/m\nlowerdir=${NO_SUCH}/l\n", 3,
                       "lowerdir=${NO_SUCH}/l: the variable NO_SUCH is not set; set it or write its value"),
    "no-lower": ("[overlay]\nmount=B/m\n", 1, INLINE["no-lower"][1]),
    "no-mount": ("\n[overlay]\nlowerdir=l\n", 2, INLINE["no-mount"][1]),
    "names-twice": ("[overlay a]\nmount=B/m\nlowerdir=l\n[overlay a]\nmount=B/m2\nlowerdir=l\n", 4,
                    "two overlays are named 'a'; give each a name of its own"),
    "comment-after-value": ("[overlay]\nmount=B/m\nlowerdir=l # the layer\n", 3,
                            "lowerdir=B/l # the layer: no such file or directory; name a directory that exists"),
    "same-upper": ("[overlay]\nmount=B/m\nlowerdir=l\nupperdir=u\n[overlay]\nmount=B/m2\nlowerdir=l2\nupperdir=u\n", 4,
                   "upperdir=B/u: also the upper of the overlay at B/m2; give each overlay an upperdir of its own"),
    "mount-is-a-file": ("[overlay]\nmount=B/afile\nlowerdir=l\n", 2, INLINE["mount-is-a-file"][1]),
}


@pytest.mark.parametrize("name", FILES)
def test_wrong_file(place, name):
    text, line, message = FILES[name]
    conf = place.file("conf", text.replace("B/", f"{place.base}/"))
    refused(place.run(conf), f"libovl: B/conf:{line}: ", message)


def test_missing_file(place):
    for conf in (f"{place.base}/nothing.conf", "nothing.conf", place.base):
        status, out, err = place.run(conf)
        assert (status, out) == (125, "")
        assert err.startswith("libovl: ") and err.count("\n") == 1


def test_unreadable_layer(place, user_only):
    place.folder("closed", 0o000)
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/closed"), "libovl: OVL_CONF: ",
            "lowerdir=B/closed: permission denied; a layer must be readable and searchable for its user")


def test_upper_on_a_read_only_file_system(place):
    place.folder("ro/u")
    place.folder("w", 0o700)
    conf = f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/ro/u"
    setup = f"mount --bind {place.base}/ro {place.base}/ro && mount -o remount,bind,ro {place.base}/ro && exec \"$@\""
    before = ["unshare", "-m" if place.role.root else "-Urm", "sh", "-c", setup, "sh"]
    refused(place.run(conf, before=before), "libovl: OVL_CONF: ", "upperdir=B/ro/u: on a read-only file system; name a directory on a writable one, or leave upperdir out for a read-only "
            "overlay")
    refused(place.run(conf + f",workdir={place.base}/w", before=before), "libovl: OVL_CONF: ", "upperdir=B/ro/u: on a read-only file system; name a directory on a writable one, or leave upperdir out for a read-only "
            "overlay")


def test_upper_without_write_permission(place, user_only):
    place.folder("u", 0o555)
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u"), "libovl: OVL_CONF: ",
            "upperdir=B/u: can't be written: permission denied; name a directory that you may write to")


def test_work_directory_of_another_user(place):
    if os.geteuid() != 0:
        pytest.skip("needs root to make it")
    place.folder("u")
    other = (4242, 4242)
    place.folder("w", 0o700, owner=other)
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u,workdir={place.base}/w"),
            "libovl: OVL_CONF: ", "workdir=B/w: belongs to another user" + OWN)


def test_work_directory_that_others_can_write(place):
    place.folder("u")
    place.folder("w", 0o777)
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u,workdir={place.base}/w"),
            "libovl: OVL_CONF: ", "workdir=B/w: can be written by others (chmod go-w)" + OWN)


def test_work_directory_that_is_a_link(place):
    place.folder("u")
    place.folder("w", 0o700)
    os.symlink("w", f"{place.base}/wl")
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u,workdir={place.base}/wl"),
            "libovl: OVL_CONF: ", "workdir=B/wl: is a symbolic link" + OWN)


def test_work_directory_that_can_not_be_made(place, user_only):
    """C-1.5: the error says 'set workdir='."""
    place.folder("p/u")
    place.folder("p", 0o555)
    status, out, err = place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/p/u")
    assert (status, out) == (125, "")
    assert err == ("libovl: OVL_CONF: upperdir=B/p/u: its work directory B/p/u.work can't be made: permission denied" + OWN + "\n")


def test_work_directory_on_another_file_system(place, root_only):
    place.folder("u")
    place.folder("t")
    setup = f"mount -t tmpfs tmpfs {place.base}/t && mkdir -m 700 {place.base}/t/w && exec \"$@\""
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u,workdir={place.base}/t/w",
                      before=["unshare", "-m", "sh", "-c", setup, "sh"]), "libovl: OVL_CONF: ", "workdir=B/t/w: is not on the upper's file system" + OWN)


@pytest.mark.parametrize("change", ["lowerdir=B/l2", "lowerdir=B/l:B/l2", "whiteout=kernel"])
def test_work_directory_of_a_living_run(place, change):
    """C-1.6: used with other lowers or another whiteout form while a run lives; the same is welcome."""
    conf = f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u"
    change = change.replace("B/", f"{place.base}/")
    other = conf.replace(f"lowerdir={place.base}/l", change) if change.startswith("lowerdir") else f"{conf},{change}"
    argv = [*place.role.drop(), "env", f"LD_PRELOAD={place.library}", f"OVL_CONF={conf}", "sh", "-c", "echo up; read x"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place.base) as living:
        assert living.stdout.readline() == "up\n"
        assert place.run(conf)[0] == 0
        what = "other lower layers" if change.startswith("lowerdir") else "another whiteout form"
        refused(place.run(other), "libovl: OVL_CONF: ", f"upperdir=B/u: its work directory B/u.work is in use by a run (process "
                f"{living.pid}) with {what} until that ends" + OWN)
        living.communicate("\n")
    assert living.returncode == 0


def test_inside_another_value_is_an_error(place):
    """C-1.7: any other value than the running one; an empty one is the way out."""
    conf = f"mount={place.mount},lowerdir={place.base}/l"
    for inner, wanted in ((f"OVL_CONF=mount={place.base}/m2,lowerdir={place.base}/l", (125, "")),
                          ("OVL_CONF=", (1, "ran\n")), (f"OVL_CONF={conf}", (0, "ran\nlower\n"))):
        status, out, _ = place.run(conf, ["env", inner, "sh", "-c", SHOWN, "sh", place.mount])
        assert (status, out) == wanted, inner


@pytest.mark.parametrize("other,shown", [("mount=/a\nb\x1b,lowerdir=/", "mount=/a?b?,lowerdir=/"),
                                         ("mount=/" + "x" * 9000, "mount=/" + "x" * 103 + "..." + "x" * 110)])
def test_the_line_about_another_value(place, other, shown):
    """C-1.6, C-1.7: one line, whatever the value holds, with what would be right at its end."""
    conf = f"mount={place.mount},lowerdir={place.base}/l"
    refused(place.run(conf, ["env", f"OVL_CONF={other}", "echo", "run"]), "libovl: OVL_CONF: ",
            f"is '{shown}' inside an overlay that was started with 'mount=B/m,lowerdir=B/l'; leave it alone, or set it to "
            "nothing to run one program outside")


def test_a_long_message_is_whole(place):
    """C-1.6: the line tells its end, and is not cut a second time."""
    long = "n" * 200
    place.folder(long)
    upper = f"{place.base}/{long}/{long}"
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={upper}/u"), "libovl: OVL_CONF: ", None)
    line = place.run(f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/{long}/u,workdir={place.base}/{long}/w/w")[2]
    assert line == (f"libovl: OVL_CONF: workdir=B/{long}/w/w: can't be made: no such file or directory; set workdir= to a "
                    "directory of your own on the upper's file system\n")


@pytest.mark.parametrize("folder", ["a b", "a:b", "a$LIB"])
def test_a_library_that_children_could_not_load(place, folder):
    """C-1.11: ld.so splits LD_PRELOAD; where the library's absolute path can't be handed on, nothing is run."""
    place.folder(folder)
    place.file(f"{folder}/libovl.so", "")
    subprocess.run(["cp", place.library, f"{place.base}/{folder}/libovl.so"], check=True)
    place.library = "./libovl.so"
    refused(place.run(f"mount={place.mount},lowerdir={place.base}/l", ["env", "echo", "run"], cwd=f"{place.base}/{folder}"),
            "libovl: LD_PRELOAD: ", f"B/{folder}/./libovl.so: can't be handed on with a blank, a ':' or a '$' in it; put the "
            "library elsewhere")


@pytest.mark.parametrize("library,path", [("./libovl.so", None), ("sub/../libovl.so", None), ("libovl.so", "B"), ("libovl.so", ".")])
def test_ways_to_name_the_library(place, library, path):
    """C-1.11: it is handed on absolute: a child in another directory, without LD_LIBRARY_PATH, stays inside."""
    place.folder("sub")
    subprocess.run(["cp", place.library, f"{place.base}/libovl.so"], check=True)
    place.library = library
    script = f"cd /; unset LD_LIBRARY_PATH; env cat {place.mount}/f; env sh -c 'env cat {place.mount}/f'"
    env = {"LD_LIBRARY_PATH": path.replace("B", place.base)} if path else {}
    assert place.run(f"mount={place.mount},lowerdir={place.base}/l", ["sh", "-c", script], env=env) == (0, "lower\nlower\n", "")


def test_inert_without_configuration(place):
    """C-1.7."""
    for conf in (None, ""):
        status, out, err = place.run(conf)
        assert (status, out) == (1, "ran\n")
        assert "libovl" not in err


def test_lost_variables_are_restored(place):
    """C-1.7, C-1.11: inside, an unset OVL_CONF or a lost LD_PRELOAD is restored."""
    conf = f"mount={place.mount},lowerdir={place.base}/l"
    for words in (["env", "-i", "PATH=/usr/bin:/bin"], ["env", "-u", "OVL_CONF"], ["env", "-u", "LD_PRELOAD"],
                  ["env", "-u", "LD_PRELOAD", "-u", "OVL_CONF"], ["env", "-u", "OVL_RUN"]):
        status, out, err = place.run(conf, [*words, "sh", "-c", SHOWN, "sh", place.mount])
        assert (status, out, err) == (0, "ran\nlower\n", ""), words
    status, out, err = place.run(conf, ["sh", "-c", f"unset LD_PRELOAD OVL_CONF; sh -c '{SHOWN}' sh {place.mount}"])
    assert (status, out, err) == (0, "ran\nlower\n", "")


def test_right_inline(place):
    """C-1.3: escapes, lowerdir+=, trailing separators."""
    odd = place.folder("a,b:c;d\\e")
    place.file("a,b:c;d\\e/f", "odd\n")
    escaped = odd.replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:").replace(";", "\\;")
    for conf in (f"mount={place.mount},lowerdir={escaped}", f"mount={place.mount},lowerdir+={escaped},lowerdir+={place.base}/l",
                 f"lowerdir={escaped}:{place.base}/l,mount={place.mount},", f"mount={place.mount},lowerdir={escaped};"):
        assert place.run(conf) == (0, "ran\nodd\n", ""), conf


def test_right_file(place):
    """C-1.4: sections, comments, repeats, relative paths, variables, long lines."""
    home = place.folder("home")
    place.folder("home/h")
    place.file("home/h/f", "from home\n")
    long = ":".join(["l2"] * 300 + ["l"])
    for text, wanted in (("# c\n; c\n\n[overlay]\n  mount = B/m  \nlowerdir = l2\nlowerdir=l\n", "lower"),
                         ("[overlay name]\r\nmount=B/m\r\nlowerdir=l\r\n", "lower"),
                         ("[overlay]\nmount=B/m\nlowerdir=~/h\n", "from home"),
                         ("[overlay]\nmount=B/m\nlowerdir=${OVL_TEST}/h\n", "from home"),
                         (f"[overlay]\nmount=B/m\nlowerdir={long}\n", "lower"),
                         ("[overlay]\nmount=B/m\nlowerdir=l2:l\n[overlay]\nmount=B/m2\nlowerdir=l2", "lower")):
        conf = place.file("conf", text.replace("B/", f"{place.base}/"))
        env = {"HOME": home, "OVL_TEST": home}
        assert place.run(conf, env=env) == (0, f"ran\n{wanted}\n", ""), text
        assert place.run("./conf", env=env) == (0, f"ran\n{wanted}\n", ""), text
        os.rename(conf, f"{place.base}/c=d")
        assert place.run("./c=d", env=env) == (0, f"ran\n{wanted}\n", ""), text


def test_resolved_once(place):
    """C-1.4: a changed directory, variable or file gives no child another overlay."""
    conf = place.file("conf", "[overlay]\nmount=${OVL_TEST}\nlowerdir=l\n")
    script = (f"cd /; export OVL_TEST=/elsewhere; echo broken >{conf}; sh -c 'cat {place.mount}/f'; "
              f"rm {conf}; env cat {place.mount}/f")
    assert place.run("conf", ["sh", "-c", script], env={"OVL_TEST": place.mount}) == (0, "lower\nlower\n", "")


def test_upper_and_work_are_made(place):
    """C-1.5."""
    conf = f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u"
    assert place.run(conf, ["sh", "-c", f"echo x >{place.mount}/n"]) == (0, "", "")
    assert sorted(os.listdir(f"{place.base}/u")) == ["n"]
    assert os.stat(f"{place.base}/u.work").st_mode & 0o7777 == 0o700
    assert not os.path.lexists(place.mount)


@pytest.fixture
def static(place):
    """A program that can't be preloaded."""
    path = f"{place.base}/static"
    subprocess.run(["gcc", "-static", "-o", path, "-x", "c", "-"], input="int main(void) { return 7; }", text=True, check=True)
    return path


def test_static_programs_are_refused(place, static):
    """C-1.12."""
    conf = f"mount={place.mount},lowerdir={place.base}/l"
    script = ["sh", "-c", f"{static}; echo $?"]
    status, out, err = place.run(conf, script)
    assert out == "126\n" and "libovl: " in err and "static" in err
    assert place.run(conf + ",static=allow", script)[1] == "7\n"
    status, out, err = place.run(conf + ",static=warn", script)
    assert out == "7\n"
    assert place.run(conf + f",static-allow={static}", script)[1] == "7\n"


def test_set_id_programs_are_refused(place, root_only):
    program = f"{place.base}/suid"
    subprocess.run(["cp", "/usr/bin/id", program], check=True)
    os.chown(program, 1, 1)
    os.chmod(program, 0o4755)
    _, out, err = place.run(f"mount={place.mount},lowerdir={place.base}/l", ["sh", "-c", f"{program}; echo $?"])
    assert out == "126\n" and "libovl: " in err


def test_messages_go_to_the_log_file(place):
    """C-5.1, C-5.2: debug lines go to OVL_LOG_FILE, never to stdout or stderr."""
    log = f"{place.base}/log"
    conf = f"mount={place.mount},lowerdir={place.base}/l,upperdir={place.base}/u"
    env = {"OVL_LOG": "debug", "OVL_LOG_FILE": log}
    assert place.run(conf, ["sh", "-c", f"cat {place.mount}/f; echo x >>{place.mount}/f"], env=env) == (0, "lower\n", "")
    with open(log) as f:
        lines = f.read().splitlines()
    assert lines and all(line.startswith("libovl: ") for line in lines)
    assert any(f"{place.mount}/f" in line for line in lines)


def test_debug_lines(world):
    """C-5.1: one line a call: function, merged path, layer path, result; what was just made lies in the upper."""
    side = world.ovl([{"f": "1", "d/g": "2"}], upper={})
    log = f"{side.outside}/log"
    side.environment = {"OVL_LOG": "debug", "OVL_LOG_FILE": log}
    assert side.opsh("""
        stat @/f
        stat @/none
        stat @/f/x
        stat %/none
        mkdir @/d/new
        symlink x @/s
        put @/made x
        append @/d/g x
    """)[0][4:] == ["ok"] * 4
    with open(log) as f:
        lines = [side.untext(line.removeprefix("libovl: ")) for line in f.read().splitlines()]
    for call in ("@/f ^/l0/f 0", "@/none - -2", "@/f/x - -20", "%/none - -2", "@/d/new ^/u/d/new 0", "@/s ^/u/s 0",
                 "@/made ^/u/made 3", "@/d/g ^/u/d/g 3"):
        found = [line for line in lines if line.partition(" ")[2] == call]
        assert len(found) == 1 and found[0].partition(" ")[0].isalnum(), (call, lines)


@pytest.mark.parametrize("level,shown", [(None, "W"), ("error", ""), ("warn", "W"), ("info", "W"), ("debug", "WD"),
                                         ("nonsense", "W")])
def test_levels(place, static, level, shown):
    """C-5.1: each level shows its own lines and those above it."""
    conf = f"mount={place.mount},lowerdir={place.base}/l,static=warn"
    env = {"OVL_LOG_FILE": f"{place.base}/log", **({"OVL_LOG": level} if level else {})}
    assert place.run(conf, ["sh", "-c", static], env=env) == (7, "", "")
    text = ""
    if os.path.exists(env["OVL_LOG_FILE"]):
        with open(env["OVL_LOG_FILE"]) as f:
            text = f.read()
    assert ("statically linked" in text) == ("W" in shown)
    assert ("fstatat" in text) == ("D" in shown)


def test_stderr_of_a_refused_exec(place, static):
    """C-5.2: the line goes to stderr only while that is what it was at the start; never to stdout."""
    conf = f"mount={place.mount},lowerdir={place.base}/l"
    assert place.run(conf, ["sh", "-c", f"{static}; exit 0"])[2].startswith("libovl: B/static: statically linked")
    script = f"exec 2>err; {static}; exec 2>&-; {static}; exec 2>&1; {static}; exit 0"
    status, out, err = place.run(conf, ["sh", "-c", script])
    assert status == 0 and "libovl" not in out + err
    with open(f"{place.base}/err") as f:
        assert "libovl" not in f.read()


def test_the_log_file_in_the_overlay(place):
    """C-3.1, C-5.2: lines are appended by raw calls; below a mount in place they go to the upper all the same."""
    lower, upper = f"{place.base}/l", f"{place.base}/u"
    conf = f"mount={lower},lowerdir={lower},upperdir={upper}"
    for log in ("inner/log", "f"):
        env = {"OVL_LOG": "debug", "OVL_LOG_FILE": f"{lower}/{log}"}
        status, out, err = place.run(conf, ["sh", "-c", f"cd {lower}/inner; ls .. >/dev/null; grep -c ^libovl: ../{log}"], env=env)
        assert (status, err) == (0, "") and int(out) > 3
    assert os.listdir(f"{lower}/inner") == [] and os.listdir(f"{upper}/inner") == ["log"]
    with open(f"{lower}/f") as f:
        assert f.read() == "lower\n"


LOG_FILES = {
    "log": "not an absolute path; it begins with '/'",
    "B/l/log": "lies in a lower layer or a read-only overlay; name a file elsewhere",
    "B/m/log": "lies in a lower layer or a read-only overlay; name a file elsewhere",
    "B/m/f": "lies in a lower layer or a read-only overlay; name a file elsewhere",
    "B/none/log": "can't be made there; name a file in a directory that you may write to"}


@pytest.mark.parametrize("log", LOG_FILES)
def test_log_files_that_are_refused(place, log):
    """C-3.1: nor is a lower layer changed by a log that lies in it, or by a relative one after a chdir into it."""
    env = {"OVL_LOG": "debug", "OVL_LOG_FILE": log.replace("B/", f"{place.base}/")}
    result = place.run(f"mount={place.mount},lowerdir={place.base}/l", ["sh", "-c", f"cd {place.mount}/inner; ls"], env=env)
    refused(result, f"libovl: OVL_LOG_FILE: {log}: ", LOG_FILES[log])


def test_a_log_file_that_only_a_child_names(place):
    """C-1.14: no start fails for it; the line goes nowhere."""
    script = f"cd {place.mount}/inner; OVL_LOG=debug OVL_LOG_FILE=log cat ../f; OVL_LOG=debug OVL_LOG_FILE={place.base}/l/log cat ../f"
    assert place.run(f"mount={place.mount},lowerdir={place.base}/l", ["sh", "-c", script]) == (0, "lower\nlower\n", "")

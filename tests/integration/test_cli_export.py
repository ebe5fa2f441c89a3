# SPDX-License-Identifier: MIT
"""ovl export: the upper as a layer of an OCI image, the same bytes for the same changes; tar(1), umoci and skopeo as the
readers that we did not write."""

import gzip
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time

import pytest

from layers import GONE, Dir, File, Link, acl
import layers

TAR = "x.tar"
CHANGES = ("cd $1; echo more >>f; rm d/g; rm -r gone; rm -r again; mkdir again; echo n >again/new; ln again/new again/new2;"
           "ln -s /a/b link; mkfifo pipe; mkdir -p x/y; : >x/y/z; echo xattr >x/a; chmod 4751 x/a;"
           "setfattr -n user.b -v 2 x/a; setfattr -n user.a -v 1 x/a; rm file; mkdir file; echo in >file/in")


@pytest.fixture
def lower(tool):
    tool.layer("l", {"f": "lower\n", "d/g": "g\n", "d/h": "h\n", "gone/x": "x", "file": "file", "same": "same"})
    tool.layer("l2", {"again/old": "old", "d/g": "below", "h": "second\n"})
    return tool


def export(tool, *args, about=None, to=TAR, env=None):
    done = tool("export", "-o", to, *(about or tool.about()), *args, env=env)
    assert (done.status, done.err) == (0, "")
    return done.out


def members(tool, name=TAR):
    with tarfile.open(f"{tool.base}/{name}") as tar:
        return tar.getmembers()


def names(tool, name=TAR):
    return [m.name + ("/" if m.isdir() else "") for m in members(tool, name)]


def sum_of(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


# ---- what is in it -----------------------------------------------------------------------------------------


def test_what_is_in_it(lower):
    lower.sh(CHANGES)
    export(lower)
    assert names(lower) == [
        ".wh.gone", "again/", "again/.wh..wh..opq", "again/new", "again/new2", "d/", "d/.wh.g", "f", "file/", "file/in",
        "link", "pipe", "x/", "x/a", "x/y/", "x/y/z"]
    by_name = {m.name: m for m in members(lower)}
    assert (by_name["again/new2"].islnk(), by_name["again/new2"].linkname) == (True, "again/new")
    assert (by_name["link"].issym(), by_name["link"].linkname) == (True, "/a/b")
    assert by_name["pipe"].isfifo() and by_name["x/a"].mode == 0o4751
    assert [key for key in by_name["x/a"].pax_headers if "xattr" in key] == ["SCHILY.xattr.user.a", "SCHILY.xattr.user.b"]
    assert {(m.uname, m.gname, m.uid, m.gid) for m in members(lower) if ".wh." not in m.name} == {
        ("", "", lower.role.uid, lower.role.gid)}
    marks = [m for m in members(lower) if ".wh." in m.name]
    assert {(m.uid, m.gid, m.mtime, m.mode, m.size) for m in marks} == {(0, 0, 0, 0o600, 0)}
    with tarfile.open(f"{lower.base}/{TAR}") as tar:
        assert tar.extractfile("f").read() == b"lower\nmore\n"


def test_digests_and_json(lower):
    lower.sh(CHANGES)
    for to, media, read in (("x.tar", "", open), ("x.tar.gz", "+gzip", gzip.open), ("x.tgz", "+gzip", gzip.open)):
        out = export(lower, "--json", to=to)
        result = json.loads(out)
        assert result["media_type"] == "application/vnd.oci.image.layer.v1.tar" + media
        with read(f"{lower.base}/{to}", "rb") as f:
            plain = f.read()
        assert result["diff_id"] == "sha256:" + hashlib.sha256(plain).hexdigest()
        assert result["digest"] == "sha256:" + sum_of(f"{lower.base}/{to}")
        assert (result["size"], result["file"]) == (os.path.getsize(f"{lower.base}/{to}"), to)
        assert (result["objects"], result["whiteouts"]) == (13, 3)
        assert export(lower, to=to) == f"digest   {result['digest']}\ndiff-id  {result['diff_id']}\n"


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd(1)")
def test_zstd(lower):
    lower.sh(CHANGES)
    export(lower)
    export(lower, to="x.tar.zst")
    plain = subprocess.run(["zstd", "-dc", f"{lower.base}/x.tar.zst"], capture_output=True, check=True).stdout
    with open(f"{lower.base}/{TAR}", "rb") as f:
        assert f.read() == plain


def test_nothing_is_changed_by_it(lower):
    lower.sh(CHANGES)
    before = [lower.tree("u"), lower.tree("u.work")]
    export(lower)
    assert [lower.tree("u"), lower.tree("u.work")] == before


def test_a_missing_upper_is_an_empty_layer(lower):
    export(lower)
    assert names(lower) == [] and not os.path.exists(lower.upper)


def test_marks_over_nothing_are_left_out(lower):
    lower.layer("u", {"nothing": GONE, "new": Dir(opaque=True), "new/x": "x", "d/nothing": GONE}, watch=False)
    export(lower)
    assert names(lower) == ["d/", "new/", "new/x"]


def test_hard_links_of_a_lower_layer(tool):
    """Names that only a lower layer has show the change, too: they are links of it, in directories that are there."""
    tool.layer("l", {"d/e/a": "a", "b": "b"}, watch=False)
    os.link(f"{tool.base}/l/d/e/a", f"{tool.base}/l/c")
    os.chmod(f"{tool.base}/l/d", 0o711)
    tool.world.watch(f"{tool.base}/l")
    tool.sh("echo more >>$1/c")
    export(tool)
    by_name = {m.name: m for m in members(tool)}
    assert list(by_name) == ["c", "d", "d/e", "d/e/a"]
    assert by_name["d"].mode == 0o711 and by_name["d/e/a"].islnk() and by_name["d/e/a"].linkname == "c"


def test_sockets_are_left_out(lower):
    lower.sh("exec perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"$ARGV[0]/s\", Listen => 1) or die' $1")
    done = lower("export", *lower.about(), "-o", TAR)
    assert (done.status, done.err) == (0, "ovl: B/m/s: a socket, which a tar can't hold, is left out\n")
    assert names(lower) == []


def test_what_a_socket_hides_stays_hidden(lower):
    lower.sh("cd $1; rm f d/g; rm -r again; mkdir again; echo n >again/a;"
             "exec perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"$_\") or die for @ARGV' f d/g again/old")
    done = lower("export", *lower.about(), "-o", TAR)
    assert done.status == 0
    assert names(lower) == [".wh.f", "again/", "again/.wh..wh..opq", "again/a", "d/", "d/.wh.g"]


def test_acls_and_capabilities(tool):
    tool.layer("l", {"f": File(content="f", xattrs={"system.posix_acl_access": acl("u::rw", "u:7:r", "g::r", "m::r", "o::")})})
    tool.sh("echo more >>$1/f")
    export(tool)
    assert [key for key in members(tool)[0].pax_headers if "xattr" in key] == ["SCHILY.xattr.system.posix_acl_access"]


def test_devices(tool, root_only):
    tool.layer("l", {"f": "f"})
    tool.sh("mknod $1/b b 7 300; mknod $1/c c 1 3")
    export(tool)
    assert [(m.name, m.isblk(), m.devmajor, m.devminor) for m in members(tool)] == [("b", True, 7, 300), ("c", False, 1, 3)]


def test_names_of_any_bytes(lower):
    odd = [b"\xe4\xff", "ü".encode(), b"n\nn", b" ", b"-", b"back\\", b"%41", b"x" * 255, b"y" * 120 + b"/" + b"z" * 200]
    for name in odd:
        path = os.path.join(lower.upper.encode(), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        open(path, "wb").close()
    os.symlink(b"\xe4" * 200, f"{lower.upper}/long".encode())
    subprocess.run(["chown", "-Rh", f"{lower.role.uid}:{lower.role.gid}", lower.upper], check=True)
    for locale in ("C", "C.UTF-8"):
        export(lower, env={"LC_ALL": locale}, to=f"{locale}.tar")
    assert sum_of(f"{lower.base}/C.tar") == sum_of(f"{lower.base}/C.UTF-8.tar")
    os.mkdir(f"{lower.base}/out")
    subprocess.run(["tar", "-xf", f"{lower.base}/C.tar", "-C", f"{lower.base}/out"], check=True, stderr=subprocess.DEVNULL)
    assert os.readlink(f"{lower.base}/out/long".encode()) == b"\xe4" * 200
    for name in odd:
        assert os.path.exists(os.path.join(lower.base.encode(), b"out", name))


def test_long_names_that_were_removed(tool):
    name = "n" * 253
    tool.layer("l", {name: "x", "f": "f"})
    tool.layer("l2", {})
    tool.sh(f"rm $1/{name}")
    export(tool)
    assert names(tool) == [f".wh.{name}"]


# ---- the same bytes ----------------------------------------------------------------------------------------


def test_two_runs_and_two_uppers(lower):
    lower.sh(CHANGES)
    export(lower, "--owner", "0:0", to="a.tar.gz")
    export(lower, "--owner", "0:0", to="b.tar.gz")
    subprocess.run(["cp", "-a", lower.upper, f"{lower.base}/elsewhere-with-a-longer-name"], check=True)
    about = [w.replace("%/u", "%/elsewhere-with-a-longer-name") for w in lower.about()]
    export(lower, "--owner", "0:0", to="c.tar.gz", about=about)
    assert len({sum_of(f"{lower.base}/{n}.tar.gz") for n in "abc"}) == 1


def test_two_users(lower, root_only):
    lower.sh(CHANGES)
    subprocess.run(["sh", "-c", "mkdir other && cp -a l l2 u other && chown -Rh 12345:12345 other"], cwd=lower.base, check=True)
    os.chmod(f"{lower.base}/other/u/x/a", 0o4751)  # chown(2) has taken the bit
    export(lower, "--owner", "0:0")
    done = lower.start(["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", lower.program, "export", "-m",
                        lower.mount, "-l", "l", "-l", "l2", "-u", "u", "--owner", "0:0", "-o", TAR],
                       cwd=f"{lower.base}/other")
    assert (done.status, done.err) == (0, "")
    assert sum_of(f"{lower.base}/{TAR}") == sum_of(f"{lower.base}/other/{TAR}")


def test_two_times(lower):
    """The same work at another time, as SOURCE_DATE_EPOCH has it; what is older keeps its time."""
    for name in "ab":
        lower.sh(CHANGES + "; touch -d @1000 x/y/z")
        export(lower, to=f"{name}.tar.gz", env={"SOURCE_DATE_EPOCH": "1500000000"})
        shutil.rmtree(lower.upper)
        shutil.rmtree(f"{lower.upper}.work")
        time.sleep(1.1)
    assert sum_of(f"{lower.base}/a.tar.gz") == sum_of(f"{lower.base}/b.tar.gz")
    times = {m.name: m.mtime for m in members(lower, "a.tar.gz") if ".wh." not in m.name}
    assert times.pop("x/y/z") == 1000
    assert set(times.values()) == {1500000000}


@pytest.mark.parametrize("form", ["oci", "xattr", "dev"])
def test_each_form_of_whiteouts(tool, role, form):
    if form == "dev" and not role.root:
        pytest.skip("needs root to make devices")
    tool.layer("l", {"f": "f", "d/g": "g", "d/h": "h", "o/x": "x"})
    layers.build(tool.upper, layers.expand({"f": GONE, "d/g": GONE, "o": Dir(opaque=True), "o/y": "y"}),
                 (role.uid, role.gid), form=form)
    export(tool)
    assert names(tool) == [".wh.f", "d/", "d/.wh.g", "o/", "o/.wh..wh..opq", "o/y"]
    assert not any("overlay" in key for m in members(tool) for key in m.pax_headers)


def test_owner(lower):
    lower.sh("echo n >$1/n; rm $1/h")
    export(lower, "--owner", "7:4000000000")
    assert {(m.uid, m.gid) for m in members(lower)} == {(7, 4000000000)}


# ---- others read it ----------------------------------------------------------------------------------------


@pytest.mark.skipif(not shutil.which("umoci"), reason="needs umoci")
def test_umoci_and_skopeo(lower, role):
    """umoci unpacks lower and upper to what the overlay shows."""
    lower.sh(CHANGES)
    export(lower)
    shown = lower.sh("cd $1; find . -printf '%P %y %#m %s %l\\n' | sed 's/ d \\([0-7]*\\) [0-9]*/ d \\1/' | sort")
    def umoci(*args):
        done = lower.start(["umoci", *args])
        assert done.status == 0, done.err
    umoci("init", "--layout", "oci")
    umoci("new", "--image", "oci:x")
    for layer in ("l2", "l"):
        subprocess.run(["tar", "-C", f"{lower.base}/{layer}", "-cf", f"{lower.base}/{layer}.tar", "."], check=True)
        umoci("raw", "add-layer", "--image", "oci:x", f"{layer}.tar")
    umoci("raw", "add-layer", "--image", "oci:x", TAR)
    umoci("unpack", *([] if role.root else ["--rootless"]), "--image", "oci:x", "bundle")
    unpacked = lower.start(["sh", "-c", "cd bundle/rootfs; find . -printf '%P %y %#m %s %l\\n' |"
                            " sed 's/ d \\([0-7]*\\) [0-9]*/ d \\1/' | sort"])
    assert unpacked.out == shown
    if shutil.which("skopeo"):
        done = lower.start(["skopeo", "--tmpdir", lower.base, "copy", "--insecure-policy", "oci:oci:x",
                            "docker-archive:docker.tar:a/b:c"])
        assert done.status == 0, done.err


# ---- which overlay -----------------------------------------------------------------------------------------


def test_one_of_several(lower):
    lower.file("conf", "\n".join(f"[overlay {n}]\nmount={lower.base}/m{n}\nlowerdir=l\nupperdir=u{n}" for n in "ab") +
               f"\n[overlay r]\nmount={lower.base}/mr\nlowerdir=l\n")
    lower("run", "--conf", "conf", "sh", "-c", "echo a >$1/ma/a; echo b >$1/mb/b", "sh", lower.base)
    about = ["--conf", "conf"]
    export(lower, "%/mb", about=about)
    assert names(lower) == ["b"]
    done = lower("export", *about, "-o", TAR)
    assert (done.status, done.err) == (3, "ovl: B/ma and B/mb both have an upper directory; name one of them\n")
    done = lower("export", *about, "-o", TAR, "%/mr")
    assert (done.status, done.err) == (3, "ovl: B/mr has no upper directory: it is read-only, and nothing can be changed\n")


# ---- whole or not at all -----------------------------------------------------------------------------------


def left(tool):
    return sorted(n for n in os.listdir(tool.base) if TAR in n)


def test_interrupted(lower):
    """Killed before each call that makes names, what was there before is there."""
    if not shutil.which("strace"):
        pytest.skip("needs strace")
    lower.sh("echo n >$1/n")
    lower.file(TAR, "before")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    for call in ("fsync:when=1", "linkat:when=1", "linkat:when=2", "rename:when=1"):
        done = lower.start(["strace", "-o", "trace", "-e", f"inject={call.replace(':', ':signal=KILL:')}", lower.program,
                            "export", *words, "-o", TAR])
        assert done.status == -9, call
        with open(f"{lower.base}/{TAR}") as f:
            assert f.read() == "before"
        if call != "rename:when=1":  # that file is whole, under the name that it has for so long
            assert left(lower) == [TAR], call
    export(lower)
    assert names(lower) == ["n"]


def test_closed_descriptors(lower):
    """No message and no result gets into the file, whose number stdout's or stderr's could be."""
    lower.sh("exec perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => \"$ARGV[0]/s\", Listen => 1) or die' $1")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    for closed, status in ("2>&-", 0), ("<&- 2>&-", 0), ("<&- >&- 2>&-", 3), (">&-", 3):
        done = lower.start(["sh", "-c", f'exec "$@" {closed}', "sh", lower.program, "export", *words, "-o", TAR])
        assert done.status == status
        with open(f"{lower.base}/{TAR}", "rb") as f:
            assert f.read() == bytes(1024)
        assert not done.out or sum_of(f"{lower.base}/{TAR}") in done.out
        os.unlink(f"{lower.base}/{TAR}")


def test_no_room(lower):
    lower.sh("head -c 300000 /dev/urandom >$1/n")
    words = [w.replace("@", lower.mount).replace("%", lower.base) for w in lower.about()]
    done = lower.start(["sh", "-c", "trap '' XFSZ; ulimit -f 100; exec \"$@\"", "sh", lower.program, "export", *words, "-o", TAR])
    assert (done.status, done.err) == (3, f"ovl: {TAR}: File too large\n")
    assert left(lower) == []


def test_what_can_not_be_read(lower, user_only):
    lower.sh("echo n >$1/n")
    os.chmod(f"{lower.upper}/n", 0)
    done = lower("export", *lower.about(), "-o", TAR)
    assert (done.status, done.out, done.err) == (3, "", "ovl: B/m/n: Permission denied\n")
    assert left(lower) == []


def test_an_attribute_that_does_not_fit(lower):
    lower.sh("echo n >$1/n; setfattr -n user.a=b -v x $1/n")
    done = lower("export", *lower.about(), "-o", TAR)
    assert (done.status, done.err) == (3, "ovl: B/m/n: the name of its extended attribute 'user.a=b' does not fit into a "
                                          "tar; remove or rename that\n")
    assert left(lower) == []


# Arguments, environment, status, the first line without 'ovl: '.
REFUSED = {
    "no-file": ([], {}, 2, "-o is missing: the file to write, NAME.tar, NAME.tar.gz or NAME.tar.zst"),
    "name": (["-o", "x.zip"], {}, 2, "-o x.zip: its name must end in .tar, .tar.gz, .tgz or .tar.zst"),
    "no-name": (["-o", "d/.tar"], {}, 2, "-o d/.tar: its name must end in .tar, .tar.gz, .tgz or .tar.zst"),
    "folder": (["-o", "none/x.tar"], {}, 3, "none/x.tar: No such file or directory"),
    "owner-name": (["-o", TAR, "--owner", "root:root"], {}, 2, "--owner root:root: two numbers with a ':' between, as 0:0"),
    "owner-half": (["-o", TAR, "--owner", "0"], {}, 2, "--owner 0: two numbers with a ':' between, as 0:0"),
    "owner-large": (["-o", TAR, "--owner", "0:4294967295"], {}, 2,
                    "--owner 0:4294967295: two numbers with a ':' between, as 0:0"),
    "epoch": (["-o", TAR], {"SOURCE_DATE_EPOCH": "today"}, 2, "SOURCE_DATE_EPOCH=today: seconds since 1970, a number"),
    "elsewhere": (["-o", TAR, "%/l"], {}, 3, "B/l lies in no overlay; `ovl conf` shows their mounts"),
    "two": (["-o", TAR, "@", "@"], {}, 2, "B/m: one mount at a time"),
    "no-layer": (["-o", TAR, "-l", "%/none"], {}, 125, "lowerdir=B/none: no such file or directory; name a directory that exists"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(lower, case):
    args, env, status, line = REFUSED[case]
    done = lower("export", *lower.about(), *args, env=env)
    assert done.status == status and done.err.startswith(f"ovl: {line}\n"), done.err
    assert left(lower) == []


def test_read_only_and_inside(lower):
    done = lower("export", "-o", TAR, env={"OVL_CONF": f"mount={lower.mount},lowerdir={lower.base}/l"})
    assert (done.status, done.err) == (3, "ovl: the overlay has no upper directory: it is read-only, and nothing can be "
                                          "changed\n")
    done = lower("run", "-q", *lower.about(), lower.program, "export", "-o", TAR)
    assert done.status == 3 and done.err.startswith("ovl: `ovl export` can't be used inside an overlay")


def test_help(tool):
    done = tool("export", "--help")
    assert done.status == 0 and done.out.startswith("usage: ovl export ")

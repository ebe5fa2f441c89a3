# SPDX-License-Identifier: MIT
"""ovl import: archives and images become layers; what others write is read, and what leads out of a layer is refused."""

import copy
import gzip
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import tarfile
import zipfile

import pytest

import shuffled
from layers import Dir, File, Link, acl


def member(name, content=None, **how):
    info = tarfile.TarInfo(name)
    info.mode = 0o644
    info.mtime = 1_000_000_000
    for key, value in how.items():
        setattr(info, key, value)
    data = (content or "").encode()
    info.size = len(data) if info.type == tarfile.REGTYPE else 0
    return info, data


def folder(name, **how):
    return member(name, type=tarfile.DIRTYPE, **{"mode": 0o755, **how})


def symlink(name, to):
    return member(name, type=tarfile.SYMTYPE, linkname=to)


def hardlink(name, to):
    return member(name, type=tarfile.LNKTYPE, linkname=to)


def tar_bytes(*members, form=tarfile.PAX_FORMAT):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def cpio_entry(magic, name, mode, content, owner, links=1, mtime=0, ino=2):
    """One of cpio's two forms: 070701 ("newc"), 070707 ("odc")."""
    name += b"\0"
    if magic == b"070707":
        head = b"%06o" * 7 % (1, ino, mode, owner, owner, links, 0) + b"%011o%06o%011o" % (mtime, len(name), len(content))
        return magic + head + name + content
    head = magic + b"%08x" * 13 % (ino, mode, owner, owner, links, mtime, len(content), 0, 0, 0, 0, len(name), 0) + name
    return head + b"\0" * (-len(head) % 4) + content + b"\0" * (-len(content) % 4)


def put(tool, name, data):
    path = f"{tool.base}/{name}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)
    tool.own(path)
    return path


def import_(tool, *args):
    done = tool("import", "--to", "d", "--json", *args)
    assert (done.status, done.err) == (0, ""), done.err
    return done.json


def seen(root):
    """Path to what is there, content and mode."""
    facts = {}
    for where, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(where, name)
            st = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else "/" if os.path.isdir(path) else open(path, "rb").read()
            facts[os.path.relpath(path, root)] = (content, st.st_mode & 0o7777 if not os.path.islink(path) else 0)
    return facts


# ---- archives ----------------------------------------------------------------------------------------------


def test_a_tar(tool):
    put(tool, "a.tar", tar_bytes(folder("d", mode=0o700), member("d/f", "f"), hardlink("h", "d/f"), symlink("l", "/x"),
                                 member("s", mode=0o444, mtime=5)))
    result = import_(tool, "a.tar")
    assert result == {"conf": "B/d/conf", "layers": [{"directory": "B/d/layer-001", "source": "a.tar", "objects": 4,
                                                      "whiteouts": 0}],
                      "devices_left_out": 0, "objects_without_attributes": 0}
    assert seen(f"{tool.base}/d/layer-001") == {
        "d": ("/", 0o700), "d/f": (b"f", 0o644), "h": (b"f", 0o644), "l": ("/x", 0), "s": (b"", 0o444)}
    root = f"{tool.base}/d/layer-001"
    assert os.stat(f"{root}/h").st_ino == os.stat(f"{root}/d/f").st_ino
    assert (os.stat(f"{root}/s").st_mtime, os.stat(f"{root}/d").st_mtime) == (5, 1_000_000_000)
    assert os.stat(f"{tool.base}/d").st_mode & 0o777 == 0o700


def test_the_configuration_is_ready(tool):
    put(tool, "a.tar", tar_bytes(member("f", "lower"), member("g", "lower"), member("h", "lower")))
    put(tool, "b.tar.gz", gzip.compress(tar_bytes(member("f", "upper"), member(".wh.g"))))
    done = tool("import", "--to", "d", "a.tar", "b.tar.gz")
    assert (done.status, done.err) == (0, "")
    assert done.out == "layer-001  a.tar\nlayer-002  b.tar.gz\novl run --conf B/d/conf -- COMMAND\n"
    done = tool("run", "--conf", "d/conf", "sh", "-c", "cd $1; cat f h; ls; echo more >n", "sh", f"{tool.base}/d/merged")
    assert (done.status, done.out) == (0, "upperlowerf\nh\n")
    assert os.listdir(f"{tool.base}/d/upper") == ["n"]
    done = tool("import", "--to", "e", "-m", "/some/where", "a.tar")
    assert done.status == 0
    assert tool("run", "--conf", "e/conf", "cat", "/some/where/f").out == "lower"


def test_cpio_and_zip(tool):
    tool.layer("l", {"d/f": File(content="f", mode=0o640), "link": Link(target="d/f"), "x": File(content="x", mode=0o755)})
    subprocess.run("find . | cpio -o -H newc --quiet >../a.cpio" if shutil.which("cpio") else
                   "bsdtar --format newc -cf ../a.cpio .", shell=True, cwd=f"{tool.base}/l", check=True)
    with zipfile.ZipFile(f"{tool.base}/a.zip", "w") as z:
        for name, mode, content in (("d/f", 0o100640, "f"), ("link", 0o120777, "d/f"), ("x", 0o100755, "x")):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, mode << 16
            z.writestr(info, content)
    for name in ("a.cpio", "a.zip"):
        tool.own(f"{tool.base}/{name}")
        import_(tool, name)
        assert seen(f"{tool.base}/d/layer-001") == seen(f"{tool.base}/l"), name
        shutil.rmtree(f"{tool.base}/d")


def test_hard_links_of_cpio(tool, role):
    """The last name has the content, in one form of cpio, and each has it in the other."""
    for magic in (b"070701", b"070707"):
        names = [(b"a", b""), (b"d/b", b""), (b"c", b"content")] if magic == b"070701" else [(b"a", b"content"), (b"b", b"content")]
        data = b"".join(cpio_entry(magic, n, 0o104400, content, role.uid, links=len(names), mtime=7) for n, content in names)
        data += b"".join(cpio_entry(magic, n, 0o120777, b"to", role.uid, links=2, ino=3) for n in (b"l", b"m"))
        put(tool, "a.cpio", data + cpio_entry(magic, b"TRAILER!!!", 0, b"", 0))
        import_(tool, "a.cpio")
        found = [os.lstat(f"{tool.base}/d/layer-001/{n.decode()}") for n, _ in names]
        assert {(st.st_ino, st.st_nlink, st.st_mode & 0o7777, st.st_mtime) for st in found} == {
            (found[0].st_ino, len(names), 0o4400, 7)}
        assert os.readlink(f"{tool.base}/d/layer-001/m") == "to"
        os.chmod(f"{tool.base}/d/layer-001/a", 0o644)
        assert open(f"{tool.base}/d/layer-001/a").read() == "content"
        shutil.rmtree(f"{tool.base}/d")


def test_what_tar_was_told_to_take_twice(tool):
    tool.layer("l", {"d/f": "f"})
    subprocess.run(["tar", "-C", f"{tool.base}/l", "-cf", f"{tool.base}/a.tar", "d", "d/f"], check=True)
    with tarfile.open(f"{tool.base}/a.tar") as tar:
        assert [(m.name, m.linkname) for m in tar if m.islnk()] == [("d/f", "d/f")]
    import_(tool, "a.tar")
    assert open(f"{tool.base}/d/layer-001/d/f").read() == "f"
    put(tool, "a.tar", tar_bytes(hardlink("f", "f")))
    assert tool("import", "--to", "e", "a.tar").err == f"ovl: a.tar: f: {NO_FILE}\n"


def test_names_that_are_written_otherwise(tool):
    """Absolute names are below the layer; a name that comes twice is the last one; what is missing above is made."""
    put(tool, "a.tar", tar_bytes(member("/abs/f", "1"), member("./dot//f", "2"), member("twice", "old"), member("twice", "new"),
                                 folder("was/dir"), member("was/dir/x"), symlink("was/dir", "y"), symlink("l", "x"),
                                 folder("l"), member("l/in")))
    import_(tool, "a.tar")
    assert seen(f"{tool.base}/d/layer-001") == {
        "abs": ("/", 0o755), "abs/f": (b"1", 0o644), "dot": ("/", 0o755), "dot/f": (b"2", 0o644), "twice": (b"new", 0o644),
        "was": ("/", 0o755), "was/dir": ("y", 0), "l": ("/", 0o755), "l/in": (b"", 0o644)}


def test_closed_directories_in_any_order(tool):
    put(tool, "a.tar", tar_bytes(folder("c", mode=0o000, mtime=7), member("c/a"), folder("o"), folder("c/d", mode=0o500, mtime=8),
                                 member("o/x"), member("c/d/b")))
    import_(tool, "a.tar")
    root = f"{tool.base}/d/layer-001"
    assert (os.stat(f"{root}/c").st_mode & 0o777, os.stat(f"{root}/c").st_mtime) == (0, 7)
    os.chmod(f"{root}/c", 0o700)
    assert (os.stat(f"{root}/c/d").st_mode & 0o777, os.stat(f"{root}/c/d").st_mtime) == (0o500, 8)
    assert os.path.exists(f"{root}/c/d/b")


def test_whiteouts(tool):
    long = "n" * 253
    tool.layer("l", {long: "x", "f": "f", "o/x": "x", "d/x": "x"})
    put(tool, "a.tar", tar_bytes(member(f".wh.{long}"), member(".wh.f"), folder("o"), member("o/.wh..wh..opq"), member("o/y"),
                                 member(".wh..wh.plnk"), member("d", type=tarfile.CHRTYPE)))
    assert import_(tool, "a.tar")["layers"][0]["whiteouts"] == 4
    done = tool("run", "-q", "-m", "@", "-l", "%/d/layer-001", "-l", "%/l", "-u", "%/u", "find", "@")
    assert done.out.splitlines() == ["B/m", "B/m/o", "B/m/o/y"]
    assert ".wh..wh.plnk" not in os.listdir(f"{tool.base}/d/layer-001")


def test_owners(tool, role):
    put(tool, "a.tar", tar_bytes(member("other", mode=0o6755, uid=role.uid + 7, gid=role.gid + 7),
                                 member("own", mode=0o6755, uid=role.uid, gid=role.gid)))
    import_(tool, "a.tar")
    other, own = (os.stat(f"{tool.base}/d/layer-001/{name}") for name in ("other", "own"))
    assert (own.st_uid, own.st_gid, own.st_mode & 0o7777) == (role.uid, role.gid, 0o6755)
    if role.root:
        assert (other.st_uid, other.st_gid, other.st_mode & 0o7777) == (7, 7, 0o6755)
    else:
        assert (other.st_uid, other.st_gid, other.st_mode & 0o7777) == (role.uid, role.gid, 0o755)


def test_devices(tool, role):
    put(tool, "a.tar", tar_bytes(member("n", type=tarfile.CHRTYPE, devmajor=1, devminor=3), member("f")))
    done = tool("import", "--to", "d", "a.tar")
    assert done.status == 0
    if role.root:
        assert os.stat(f"{tool.base}/d/layer-001/n").st_rdev == os.makedev(1, 3)
    else:
        assert done.err == "ovl: 1 device nodes were left out: only root, with CAP_MKNOD, can make them\n"
        assert os.listdir(f"{tool.base}/d/layer-001") == ["f"]


def test_devices_in_a_container(tool, root_only):
    """Its root is as good as no user there."""
    put(tool, "a.tar", tar_bytes(member("n", type=tarfile.BLKTYPE, devmajor=7), member("w", type=tarfile.CHRTYPE), member("f")))
    done = tool.start(["setpriv", "--bounding-set", "-mknod", tool.program, "import", "--to", "d", "a.tar"])
    assert (done.status, done.err) == (0, "ovl: 1 device nodes were left out: only root, with CAP_MKNOD, can make them\n")
    assert sorted(os.listdir(f"{tool.base}/d/layer-001")) == [".wh.w", "f"]


def test_names_of_any_bytes(tool):
    names = [b"\xe4\xff", "ü".encode(), b"n\nn"]
    tool.layer("l", {}, watch=False)
    for name in names:
        open(os.path.join(f"{tool.base}/l".encode(), name), "wb").close()
    for form in ("gnu", "pax", "ustar"):
        subprocess.run(["tar", f"--format={form}", "-C", f"{tool.base}/l", "-cf", f"{tool.base}/a.tar", "."], check=True)
        import_(tool, "a.tar")
        assert sorted(os.listdir(f"{tool.base}/d/layer-001".encode())) == sorted(names)
        shutil.rmtree(f"{tool.base}/d")


def test_sparse_files_stay_sparse(tool):
    tool.layer("l", {"f": File(content="end", hole=1 << 26)})
    subprocess.run(["tar", "-S", "-C", f"{tool.base}/l", "-cf", f"{tool.base}/a.tar", "f"], check=True)
    import_(tool, "a.tar")
    st = os.stat(f"{tool.base}/d/layer-001/f")
    assert st.st_size == (1 << 26) + 3 and st.st_blocks < 1000


# ---- images ------------------------------------------------------------------------------------------------


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Layout:
    """An OCI layout in a dict of files."""

    def __init__(self):
        self.files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}
        self.manifests = []

    def blob(self, data, **about):
        self.files[f"blobs/sha256/{sha(data)[7:]}"] = data
        return {"digest": sha(data), "size": len(data), **about}

    def image(self, *tars, ref=None, arch="amd64", diff_ids=None, pack=gzip.compress):
        config = json.dumps({"rootfs": {"diff_ids": diff_ids or [sha(t) for t in tars]}}).encode()
        manifest = json.dumps({"config": self.blob(config, mediaType="application/vnd.oci.image.config.v1+json"),
                               "layers": [self.blob(pack(t)) for t in tars]}).encode()
        about = self.blob(manifest, platform={"architecture": arch})
        if ref:
            about["annotations"] = {"org.opencontainers.image.ref.name": ref}
        self.manifests.append(about)
        return self

    def write(self, tool, name="oci", in_tar=False):
        self.files.setdefault("index.json", json.dumps({"manifests": self.manifests}).encode())
        if in_tar:
            return put(tool, name, self.tar())
        for path, data in self.files.items():
            put(tool, f"{name}/{path}", data)
        subprocess.run(["chown", "-R", f"{tool.role.uid}:{tool.role.gid}", f"{tool.base}/{name}"], check=True)
        return name

    def tar(self):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, data in self.files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return out.getvalue()


ONE, TWO = tar_bytes(member("f", "one"), member("g", "one")), tar_bytes(member("f", "two"), member(".wh.g"))


@pytest.mark.parametrize("in_tar", [False, True], ids=["directory", "tar"])
def test_oci_layout(tool, in_tar):
    Layout().image(ONE, TWO).write(tool, "oci", in_tar)
    result = import_(tool, "oci")
    assert [layer["diff_id"] for layer in result["layers"]] == [sha(ONE), sha(TWO)]
    done = tool("run", "--conf", "d/conf", "sh", "-c", "cd $1; ls; cat f", "sh", f"{tool.base}/d/merged")
    assert done.out == "f\ntwo"


def test_which_image(tool):
    Layout().image(ONE, ref="a").image(TWO, ref="b").image(ONE, ref="c", arch="none").write(tool)
    result = import_(tool, "--image", "b", "oci")
    assert [layer["diff_id"] for layer in result["layers"]] == [sha(TWO)]
    done = tool("import", "--to", "e", "oci")
    assert (done.status, done.err) == (3, "ovl: oci has 2 images; say which with --image TAG\n"
                                          "ovl:   there is 'a'\novl:   there is 'b'\novl:   there is 'c'\n")
    done = tool("import", "--to", "e", "--image", "x", "oci")
    assert done.status == 3 and done.err.startswith("ovl: oci has no image 'x'\n")


def test_image_for_this_machine_in_an_index(tool):
    inner = Layout().image(ONE).image(TWO, arch="none").image(TWO)
    inner.manifests[0]["platform"]["os"], inner.manifests[2]["platform"]["os"] = "linux", "windows"
    index = json.dumps({"manifests": inner.manifests}).encode()
    inner.manifests = [inner.blob(index)]
    inner.write(tool)
    assert import_(tool, "oci")["layers"][0]["diff_id"] == sha(ONE)


def test_docker_archive(tool):
    config = json.dumps({"rootfs": {"diff_ids": [sha(ONE), sha(TWO)]}}).encode()
    names = ["0" * 64 + "/layer.tar", "1" * 64 + ".tar"]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:b"], "Layers": names}]).encode()
    layout = Layout()
    layout.files = {names[1]: TWO, names[0]: ONE, "c.json": config, "manifest.json": manifest, "repositories": b"{}"}
    put(tool, "docker.tar", layout.tar())
    for args in ([], ["--image", "a:b"]):
        result = import_(tool, *args, "docker.tar")
        assert [layer["diff_id"] for layer in result["layers"]] == [sha(ONE), sha(TWO)]
        shutil.rmtree(f"{tool.base}/d")
    layout.files[names[1]] = ONE
    put(tool, "docker.tar", layout.tar())
    done = tool("import", "--to", "d", "docker.tar")
    assert done.status == 3 and f"its diff-id is {sha(ONE)}, and should be {sha(TWO)}" in done.err


def test_docker_archive_as_crane_writes_it(tool):
    config = json.dumps({"rootfs": {"diff_ids": [sha(ONE)]}}).encode()
    packed = gzip.compress(ONE)
    name = sha(packed)[7:] + ".tar.gz"
    layout = Layout()
    layout.files = {sha(config): config, name: packed, "manifest.json": json.dumps(
        [{"Config": sha(config), "RepoTags": ["a:b"], "Layers": [name]}]).encode()}
    put(tool, "crane.tar", layout.tar())
    assert [layer["diff_id"] for layer in import_(tool, "crane.tar")["layers"]] == [sha(ONE)]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_a_layer_that_docker_saved_once(tool, kind):
    """A layer that is there twice is a link to the first."""
    config = json.dumps({"rootfs": {"diff_ids": [sha(ONE), sha(TWO), sha(ONE)]}}).encode()
    names = [f"{n:064x}/layer.tar" for n in range(3)]
    manifest = json.dumps([{"Config": "c.json", "RepoTags": ["a:b"], "Layers": names}]).encode()
    def saved(to):
        layout = Layout()
        layout.files = {names[0]: ONE, names[1]: TWO, "c.json": config, "manifest.json": manifest}
        files = layout.tar().rstrip(b"\0")
        link, _ = member(names[2], type=kind, linkname=to)
        return files + bytes(-len(files) % 512) + link.tobuf(tarfile.GNU_FORMAT) + bytes(1024)
    target = f"../{names[0]}" if kind == tarfile.SYMTYPE else f"./{names[0]}"
    put(tool, "docker.tar", saved(target))
    assert [layer["diff_id"] for layer in import_(tool, "docker.tar")["layers"]] == [sha(ONE), sha(TWO), sha(ONE)]
    for wrong, line in ("../none", "is missing; the image is not whole"), (names[2] if kind == tarfile.LNKTYPE else "layer.tar",
                                                                           "is no file, nor a link to one in this archive"):
        put(tool, "docker.tar", saved(wrong))
        assert tool("import", "--to", "e", "docker.tar").err == f"ovl: docker.tar: {names[2]}: {line}\n"


def test_a_layer_that_looks_like_an_image_at_first(tool):
    put(tool, "a.tar", tar_bytes(member("package.json", "{}"), member("main.js", "x")))
    assert import_(tool, "a.tar")["layers"][0]["objects"] == 2


@pytest.mark.skipif(not shutil.which("umoci") or not shutil.which("skopeo"), reason="needs umoci and skopeo")
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_what_skopeo_writes(tool, form):
    put(tool, "one.tar", ONE)
    put(tool, "two.tar", TWO)
    for words in ("umoci init --layout oci", "umoci new --image oci:x", "umoci raw add-layer --image oci:x one.tar",
                  "umoci raw add-layer --image oci:x two.tar",
                  f"skopeo --tmpdir {tool.base} copy --insecure-policy oci:oci:x {form}:copied:a/b:c"):
        done = tool.start(words.split())
        assert done.status == 0, done.err
    result = import_(tool, "copied")
    assert [layer["diff_id"] for layer in result["layers"]] == [sha(ONE), sha(TWO)]


def test_a_directory_whose_acl_keeps_its_owner_out(tool):
    closed = acl("u::r", "u:7:rwx", "g::rx", "m::rwx", "o::")
    tool.layer("l", {"d": Dir(mode=0o470, xattrs={"system.posix_acl_access": closed, "user.a": "1"}, mtime=1000000000)}, watch=False)
    done = subprocess.run(["tar", "-C", f"{tool.base}/l", "--xattrs", "--xattrs-include=*", "-cf", f"{tool.base}/a.tar", "d"],
                          check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    import_(tool, "a.tar")
    was, now = (f"{tool.base}/{name}/d" for name in ("l", "d/layer-001"))
    assert {n: os.getxattr(now, n) for n in os.listxattr(now)} == {n: os.getxattr(was, n) for n in os.listxattr(was)}
    assert os.stat(now).st_mtime == 1000000000 and os.stat(now).st_mode == os.stat(was).st_mode


def test_access_lists_that_are_left_out(tool):
    """Of tar's two ways to write them one is followed; of the other it is told that it is not."""
    tool.layer("l", {"f": File(content="f", xattrs={"system.posix_acl_access": acl("u::rw", "u:7:rw", "g::", "m::rw", "o::")}),
                     "g": "g"})
    for way, lost in ("--xattrs --xattrs-include=*", 0), ("--acls", 1), ("--acls --xattrs --xattrs-include=*", 0):
        subprocess.run(["tar", "-C", f"{tool.base}/l", *way.split(), "-cf", f"{tool.base}/a.tar", "."], check=True)
        tool.own(f"{tool.base}/a.tar")
        done = tool("import", "--to", "d", "--json", "a.tar")
        assert (done.status, done.json["objects_without_attributes"]) == (0, lost)
        assert done.err == ("ovl: 1 objects are without attributes or access lists that could not be set\n" if lost else "")
        if not lost:
            was, now = (os.getxattr(f"{tool.base}/{w}/f", "system.posix_acl_access") for w in ("l", "d/layer-001"))
            assert now == was
        shutil.rmtree(f"{tool.base}/d")


# ---- import(export(x)) = x ---------------------------------------------------------------------------------


def printed(tool, *about):
    """What an overlay shows, with times in whole seconds, which is what an export has."""
    return [re.sub(r"(\d{9,10})\.\d{9}", r"\1", line) for line in tool.shown(*about)]


@pytest.mark.parametrize("seed", range(4))
def test_round_trip_of_shuffled_changes(tool, seed):
    lower = shuffled.shuffled_lower()
    tool.layer("l", lower)
    script = os.path.join(os.path.dirname(shuffled.__file__), "shuffled.py")
    tool.sh(f"cd $1; exec /usr/bin/python3 {script} {seed}; find . -print0 | xargs -0 touch -h -d @1000000000")
    round_trip(tool)


def round_trip(tool):
    """The imported layer shows what the upper showed; exported again, as an upper, it gives the same bytes."""
    assert tool("export", *tool.about(), "-o", "x.tar.gz").status == 0
    import_(tool, "x.tar.gz")
    lowers = [w for name in ("d/layer-001", "l", "l2") if os.path.isdir(f"{tool.base}/{name}") for w in ("-l", f"%/{name}")]
    assert printed(tool, "-m", "@", *lowers, "-u", "%/u2") == printed(tool, *tool.about())
    subprocess.run(["cp", "-a", f"{tool.base}/d/layer-001", f"{tool.base}/u3"], check=True)
    about = [w.replace("%/u", "%/u3") for w in tool.about()]
    assert tool("export", *about, "-o", "y.tar.gz").status == 0
    with open(f"{tool.base}/x.tar.gz", "rb") as x, open(f"{tool.base}/y.tar.gz", "rb") as y:
        assert x.read() == y.read()


def test_round_trip_of_everything(tool, role):
    tool.layer("l", {"f": "lower\n", "d/g": "g\n", "gone/x": "x", "file": "file", "again/old": "old", "n" * 254: "long"})
    tool.layer("l2", {"d/g": "below", "h": "second\n"})
    tool.sh("cd $1; echo more >>f; rm d/g; rm -r gone; rm -r again; mkdir again; echo n >again/new; ln again/new again/new2;"
            "ln -s /a/b link; ln link link2; mkfifo pipe; mkdir -p x/y; chmod 555 x/y; echo xattr >x/a; chmod 4751 x/a;"
            "setfattr -n user.b -v 2 x/a; setfattr -n user.c -v 0x00ff0a3d x/a; rm file; mkdir file; echo in >file/in; rm nnn*;"
            "setfacl -m u:7:r x/a; setfacl -d -m u:8:rx x; head -c 3000000 /dev/urandom >big;"
            + ("mknod dev c 5 1;" if role.root else ""))
    round_trip(tool)


# ---- refusals ----------------------------------------------------------------------------------------------


OUT = "a name with '..' in it could lead out of the layer; nothing is imported"
THROUGH = "goes through something that is no directory of this layer; nothing is imported"
NO_FILE = "is not in this layer, and something is a hard link to it; nothing is imported"
ESCAPES = {
    "dotdot": ([member("../x", "x")], f"../x: {OUT}"),
    "dotdot-inside": ([folder("a"), member("a/../../x", "x")], f"a/../../x: {OUT}"),
    "absolute-dotdot": ([member("/../x", "x")], f"/../x: {OUT}"),
    "through-link": ([symlink("l", ".."), member("l/x", "x")], f"l/x: {THROUGH}"),
    "through-absolute-link": ([symlink("l", "%"), member("l/x", "x")], f"l/x: {THROUGH}"),
    "through-file": ([member("l"), member("l/x", "x")], f"l/x: {THROUGH}"),
    "directory-through-link": ([symlink("l", ".."), folder("l/x")], f"l/x: {THROUGH}"),
    "whiteout-through-link": ([symlink("l", ".."), member("l/.wh.x")], f"l/.wh.x: {THROUGH}"),
    "through-whiteout": ([member("d/.wh.x/y", "y"), member("d/.wh.x")], f"d/.wh.x/y: {THROUGH}"),
    "through-opaque-mark": ([member(".wh..wh..opq/x", "x")], f".wh..wh..opq/x: {THROUGH}"),
    "link-to-outside": ([hardlink("h", "../../secret")], f"../../secret: {OUT}"),
    "link-to-absolute": ([hardlink("h", "%/secret")], f"%/secret: {NO_FILE}"),
    "link-through-link": ([symlink("l", ".."), hardlink("h", "l/secret")], f"l/secret: {THROUGH}"),
    "link-to-nothing": ([hardlink("h", "x")], f"x: {NO_FILE}"),
    "root-is-a-file": ([member(".", "x")], "/: is no directory"),
    "root-is-a-link": ([symlink("./", "%")], "/: is no directory"),
    "whiteout-of-nothing": ([member(".wh.")], ".wh.: a whiteout that names nothing"),
    "whiteout-of-dotdot": ([member(".wh...")], ".wh...: a whiteout that names nothing"),
    "long-path": ([member("a/" * 4096 + "f")],
                  "a/" * 127 + "a: the path that begins so is longer than those of an overlay can be; nothing is imported"),
    "long-name": ([member("n" * 256)], "n" * 256 + ": File name too long"),
}


@pytest.mark.parametrize("case", ESCAPES)
def test_nothing_leaves_the_layer(tool, case):
    members, line = copy.deepcopy(ESCAPES[case])
    for info, _ in members:
        info.linkname = info.linkname.replace("%", tool.base)
    put(tool, "secret", b"secret")
    put(tool, "a.tar", tar_bytes(*members, form=tarfile.GNU_FORMAT))
    before = tool.tree(".")
    done = tool("import", "--to", "d", "a.tar")
    assert (done.status, done.out, done.err) == (3, "", f"ovl: a.tar: {line.replace('%', tool.base[1:])}\n")
    now = tool.tree(".")
    assert {k: v for k, v in now.items() if k} == {k: v for k, v in before.items() if k}


@pytest.mark.parametrize("owner", [{"uid": 2**32 - 1}, {"gid": 2**32 - 1}, {"uid": 2**32}, {"gid": -1}], ids=str)
def test_owners_that_none_can_have(tool, owner):
    put(tool, "a.tar", tar_bytes(member("f", "f", mode=0o6755, **owner)))
    done = tool("import", "--to", "d", "a.tar")
    assert (done.status, done.err) == (
        3, "ovl: a.tar: f: its owner or group is a number that none can have; nothing is imported\n")
    assert os.listdir(tool.base) == ["a.tar"]


def test_kinds_that_are_not_known(tool):
    put(tool, "a.cpio", cpio_entry(b"070701", b"f", 0o644, b"content", 0) + cpio_entry(b"070701", b"TRAILER!!!", 0, b"", 0))
    done = tool("import", "--to", "d", "a.cpio")
    assert (done.status, done.err) == (3, "ovl: a.cpio: f: is of a kind that is not known; nothing is imported\n")


def test_a_link_is_replaced_and_not_followed(tool):
    put(tool, "secret", b"secret")
    put(tool, "a.tar", tar_bytes(symlink("l", f"{tool.base}/secret"), member("l", "new", mode=0o777)))
    import_(tool, "a.tar")
    assert open(f"{tool.base}/secret").read() == "secret"
    assert open(f"{tool.base}/d/layer-001/l").read() == "new"


def test_the_overlays_own_attributes_are_not_taken(tool):
    info, data = folder("d")
    info.pax_headers = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.a": "1"}
    put(tool, "a.tar", tar_bytes((info, data)))
    done = tool("import", "--to", "d", "a.tar")
    assert (done.status, done.err) == (0, "ovl: 1 objects are without attributes or access lists that could not be set\n")
    assert os.listxattr(f"{tool.base}/d/layer-001/d") == ["user.a"]


DAMAGED = {
    "layer": (lambda f, l: f.update({l: f[l][:4] + b"\0\0\0\1" + f[l][8:]}), "its digest is sha256:"),
    "shorter": (lambda f, l: f.update({l: f[l][:-1]}), ""),
    "longer": (lambda f, l: f.update({l: f[l] + b"x"}), "has another size than its image says; it is damaged"),
    "missing": (lambda f, l: f.pop(l), "is missing; the image is not whole"),
    "index": (lambda f, l: f.update({"index.json": b"{"}), "its index.json is not as it should be"),
    "no-index": (lambda f, l: f.update({"index.json": b"[]"}), "its index is not as it should be"),
    "nothing": (lambda f, l: f.update({"index.json": b'{"manifests":[null]}'}), "oci has no image for this machine"),
    "digest": (lambda f, l: f.update({"index.json": b'{"manifests":[{"digest":"sha256:../../../secret"}]}'}),
               "its digest of a blob (only sha256 is known) is not as it should be"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_images(tool, case):
    layout = Layout().image(ONE)
    layer, = (name for name, data in layout.files.items() if data[:2] == b"\x1f\x8b")
    layout.files["index.json"] = json.dumps({"manifests": layout.manifests}).encode()
    damage, line = DAMAGED[case]
    damage(layout.files, layer)
    layout.write(tool)
    done = tool("import", "--to", "d", "oci")
    assert (done.status, done.out) == (3, "") and line in done.err
    assert sorted(os.listdir(tool.base)) == ["oci"]


@pytest.mark.parametrize("manifest", [b"[]", b"[null]", b"[{}]", b"{}"])
def test_damaged_docker_archives(tool, manifest):
    layout = Layout()
    layout.files = {"manifest.json": manifest}
    put(tool, "docker.tar", layout.tar())
    done = tool("import", "--to", "d", "docker.tar")
    assert done.status == 3 and done.err.startswith("ovl: docker.tar: its manifest.json is not as it should be; ")


def test_a_wrong_diff_id(tool):
    Layout().image(ONE, diff_ids=[sha(TWO)]).write(tool)
    done = tool("import", "--to", "d", "oci")
    assert done.status == 3 and f"its diff-id is {sha(ONE)}, and should be {sha(TWO)}; the image is damaged" in done.err
    assert sorted(os.listdir(tool.base)) == ["oci"]


def test_a_damaged_tar(tool):
    put(tool, "a.tar.gz", gzip.compress(tar_bytes(member("f", os.urandom(99999).hex())))[:-5000])
    done = tool("import", "--to", "d", "a.tar.gz")
    assert done.status == 3 and done.err.startswith("ovl: a.tar.gz: f: ")
    assert sorted(os.listdir(tool.base)) == ["a.tar.gz"]


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd", "lz4"])
def test_a_changed_bit(tool, program):
    """Of content that can't be compressed, so that only a sum tells."""
    if not shutil.which(program):
        pytest.skip(f"needs {program}")
    content, (info, _) = random.Random(1).randbytes(1 << 20), member("f")
    info.size = len(content)
    packed = bytearray(subprocess.run([program, "-c"], input=tar_bytes((info, content)), capture_output=True, check=True).stdout)
    put(tool, "good.tar.x", packed)
    packed[len(packed) // 2] ^= 1
    put(tool, "bad.tar.x", packed)
    import_(tool, "good.tar.x")
    done = tool("import", "--to", "e", "bad.tar.x")
    assert (done.status, done.out) == (3, "") and done.err.startswith("ovl: bad.tar.x: ")
    assert sorted(os.listdir(tool.base)) == ["bad.tar.x", "d", "good.tar.x"]


REFUSED = {
    "no-to": (["a.tar"], 2, "--to is missing: the directory for the layers"),
    "nothing": (["--to", "d"], 2, "nothing to import: name an archive, or the directory of an OCI layout"),
    "mount": (["--to", "d", "-m", "x", "a.tar"], 2, "-m x: a mount is an absolute path"),
    "no-file": (["--to", "d", "none"], 3, "none: No such file or directory"),
    "no-archive": (["--to", "d", "text"], 3, "text: Unrecognized archive format; tar, cpio and zip archives can be read, and "
                   "images"),
    "there": (["--to", "full", "a.tar"], 3, "full is there already, and is no empty directory; name another one"),
    "file": (["--to", "text", "a.tar"], 3, "text is there already, and is no empty directory; name another one"),
    "nowhere": (["--to", "none/d", "a.tar"], 3, "none/d: No such file or directory"),
    "no-layout": (["--to", "d", "full"], 3, "full/index.json: is missing; the image is not whole"),
    "no-image": (["--to", "d", "--image", "x", "a.tar"], 3, "a.tar is no image, so that there is no 'x' in it; leave --image "
                 "out"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(tool, case):
    put(tool, "a.tar", ONE)
    put(tool, "text", b"text\n" * 1000)
    put(tool, "full/x", b"")
    args, status, line = REFUSED[case]
    done = tool("import", *args)
    assert done.status == status and done.err.startswith(f"ovl: {line}\n"), done.err
    assert sorted(os.listdir(tool.base)) == ["a.tar", "full", "text"]


def test_a_pipe(tool):
    """Whether it is an image is seen by reading it: of a pipe nothing would be left."""
    put(tool, "a.tar", ONE)
    done = tool.start(["sh", "-c", "cat a.tar | \"$1\" import --to d /dev/stdin", "sh", tool.program])
    assert (done.status, done.out) == (3, "")
    assert done.err == "ovl: /dev/stdin is no file, and would have to be read twice; write it to a file first\n"
    done = tool.start(["sh", "-c", "\"$1\" import --to d /dev/stdin <a.tar", "sh", tool.program])
    assert (done.status, done.err) == (0, "") and os.path.exists(f"{tool.base}/d/layer-001/f")


def test_an_empty_directory_is_taken(tool):
    put(tool, "a.tar", ONE)
    os.mkdir(f"{tool.base}/d")
    tool.own(f"{tool.base}/d")
    import_(tool, "a.tar")


def test_help_and_inside(tool):
    assert tool("import", "--help").out.startswith("usage: ovl import ")
    put(tool, "a.tar", ONE)
    tool.layer("l", {"f": "f"})
    done = tool("run", "-q", "-m", "@", "-l", "%/l", "-u", "%/u", tool.program, "import", "--to", "d", "a.tar")
    assert done.status == 3 and done.err.startswith("ovl: `ovl import` can't be used inside an overlay")

# SPDX-License-Identifier: MIT
"""Layers from a compact description, and what they merge to.

A layer is a dict: path to object.  A string is a regular file's content, None after a path with a
trailing slash is a directory, GONE is a whiteout; the classes below say more.  Parents are made as
they are needed.  In a link's target '@' at the start stands for the mount and '%' for a directory
outside of it, so that one description serves bare, kernel and libovl runs.

merge() is the oracle that is written down rather than mounted: what the kernel's documentation of
overlayfs says of look-up, whiteouts and opaque directories, on dicts.
"""

import os
import stat
import struct
import zlib
from dataclasses import dataclass, field

BASE_TIME = 1_000_000_000
NS = 1_000_000_000


@dataclass(eq=False)
class Object:
    mode: int = 0o644
    mtime: float | None = None
    owner: tuple | None = None
    xattrs: dict = field(default_factory=dict)


@dataclass(eq=False)
class File(Object):
    content: str | bytes = ""
    hole: int = 0  # that many bytes of hole before the content


@dataclass(eq=False)
class Dir(Object):
    mode: int = 0o755
    opaque: bool = False
    form: str | None = None


@dataclass(eq=False)
class Link(Object):
    target: str = ""


@dataclass(eq=False)
class Fifo(Object):
    pass


@dataclass(eq=False)
class Socket(Object):
    pass


@dataclass(eq=False)
class Device(Object):
    """A character device 1/3 (null): only root can make it."""


@dataclass(eq=False)
class Whiteout(Object):
    form: str | None = None


@dataclass(eq=False)
class Same(Object):
    """Another name of the same layer's file."""
    path: str = ""


GONE = object()
OPAQUE = object()


def link(target):
    return Link(target=target)


def same(path):
    return Same(path=path)


def expand(layer):
    """The description with every object spelled out, parents included, in an order to build in."""
    full = {}
    for path, item in layer.items():
        path = path.rstrip("/")
        if item is GONE:
            item = Whiteout()
        elif item is OPAQUE:
            item = Dir(opaque=True)
        elif item is None:
            item = Dir()
        elif isinstance(item, (str, bytes)):
            item = File(content=item)
        full[path] = item
        parent = os.path.dirname(path)
        while parent and parent not in full and parent + "/" not in layer and parent not in layer:
            full[parent] = Dir()
            parent = os.path.dirname(parent)
    for path, item in list(full.items()):
        if isinstance(item, Same):
            full[path] = full[item.path]
    return dict(sorted(full.items(), key=lambda entry: (entry[0].count("/"), entry[0])))


def merge(layers):
    """What the layers (highest first, expanded) show."""
    merged = {}

    def remove(path):
        for name in [p for p in merged if p == path or p.startswith(path + "/") or path == ""]:
            del merged[name]

    for layer in reversed(layers):
        for path, item in layer.items():
            below = merged.get(path)
            keep = isinstance(item, Dir) and not item.opaque and isinstance(below, Dir)
            if not keep:
                remove(path)
            if not isinstance(item, Whiteout):
                merged[path] = Dir(mode=item.mode, mtime=item.mtime, owner=item.owner, xattrs=item.xattrs) \
                    if isinstance(item, Dir) else item
    return dict(sorted(merged.items(), key=lambda entry: (entry[0].count("/"), entry[0])))


def mtime_ns(path, item):
    if item.mtime is not None:
        return int(item.mtime * NS)
    return (BASE_TIME + zlib.crc32(os.fsencode(path)) % 100_000_000) * NS + 123_456_789


def build(root, layer, owner, form="oci", prefix="user.", places=(), forced=False):
    """Make an expanded layer below root.  form: 'oci', 'dev' or 'xattr' for whiteouts and markers, where an
    object does not name its own, or for all if forced."""
    os.makedirs(root, exist_ok=True)
    first = {}
    done = []
    for path, item in layer.items():
        real = os.path.join(root, path) if path else root
        if isinstance(item, Whiteout):
            mark = make_whiteout(real, form if forced else item.form or form, prefix)
            os.lchown(mark, *owner)
            continue
        if id(item) in first:
            os.link(first[id(item)], real)
            continue
        if not isinstance(item, Dir):
            first[id(item)] = real
        make(real, item, places)
        if isinstance(item, Dir) and item.opaque:
            make_opaque(real, form if forced else item.form or form, prefix)
        done.append((real, path, item))
    for real, path, item in reversed(done):
        finish(real, path, item, owner)
    if "" not in layer:
        finish(root, "", Dir(), owner)


def make(real, item, places):
    if isinstance(item, Dir):
        os.makedirs(real, exist_ok=True)
    elif isinstance(item, Link):
        target = item.target
        for mark, place in places:
            target = place + target[1:] if target.startswith(mark) else target
        os.symlink(target, real)
    elif isinstance(item, Fifo):
        os.mkfifo(real)
    elif isinstance(item, Socket):
        os.mknod(real, stat.S_IFSOCK | 0o666)
    elif isinstance(item, Device):
        os.mknod(real, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    else:
        content = item.content.encode() if isinstance(item.content, str) else item.content
        with open(real, "wb") as f:
            f.seek(item.hole)
            f.write(content)


def make_whiteout(real, form, prefix):
    parent, name = os.path.split(real)
    if form == "oci":
        real = os.path.join(parent, ".wh." + name)
        open(real, "wb").close()
    elif form == "dev":
        os.mknod(real, stat.S_IFCHR | 0o644, os.makedev(0, 0))
    else:
        open(real, "wb").close()
        os.setxattr(real, prefix + "overlay.whiteout", b"y")
        os.setxattr(parent, prefix + "overlay.opaque", b"x")
    return real


def make_opaque(real, form, prefix):
    if form == "oci":
        open(os.path.join(real, ".wh..wh..opq"), "wb").close()
    else:
        os.setxattr(real, prefix + "overlay.opaque", b"y")


def finish(real, path, item, owner):
    """Owner, attributes and times, children first: what a later step would change comes last."""
    uid, gid = item.owner or owner
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.lchown(real, uid, gid)
    for name, value in item.xattrs.items():
        os.setxattr(real, name, value_of(value), follow_symlinks=False)
    if not isinstance(item, Link):
        os.chmod(real, item.mode)
    time = mtime_ns(path, item)
    os.utime(real, ns=(time, time), follow_symlinks=False)


def value_of(text):
    """An attribute's value: text, or hexadecimal digits after 0x."""
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def acl(*entries):
    """The value of system.posix_acl_access or _default from entries 'u::rw', 'u:ID:r', 'g::r', 'g:ID:', 'm::r', 'o::'."""
    tags = {("u", False): 1, ("u", True): 2, ("g", False): 4, ("g", True): 8, ("m", False): 16, ("o", False): 32}
    value = b"\x02\0\0\0"
    for entry in entries:
        letter, number, bits = entry.split(":")
        permissions = sum({"r": 4, "w": 2, "x": 1}[bit] for bit in bits)
        value += struct.pack("<HHI", tags[letter, bool(number)], permissions, int(number or 0xffffffff))
    return "0x" + value.hex()


def to_kernel_form(root, prefix):
    """Turn the OCI and xattr forms of a layer into those that Linux overlayfs mounts."""
    for folder, dirs, files in os.walk(root):
        before = os.stat(folder)
        for name in files + dirs:
            path = os.path.join(folder, name)
            for old in ("user.overlay.", "trusted.overlay."):
                move_xattrs(path, old, prefix + "overlay.")
        for name in files:
            path = os.path.join(folder, name)
            if name == ".wh..wh..opq":
                os.unlink(path)
                os.setxattr(folder, prefix + "overlay.opaque", b"y")
            elif name.startswith(".wh."):
                os.unlink(path)
                hidden = os.path.join(folder, name[4:])
                if not os.path.lexists(hidden):
                    make_whiteout(hidden, "dev", prefix)
                elif os.path.isdir(hidden) and not os.path.islink(hidden):
                    os.setxattr(hidden, prefix + "overlay.opaque", b"y")
            elif prefix + "overlay.whiteout" in os.listxattr(path, follow_symlinks=False):
                os.unlink(path)  # the kernel reads this form in lower layers only
                make_whiteout(path, "dev", prefix)
        os.utime(folder, ns=(before.st_atime_ns, before.st_mtime_ns))
    for old in ("user.overlay.", "trusted.overlay."):
        move_xattrs(root, old, prefix + "overlay.")


def move_xattrs(path, old, new):
    if old == new:
        return
    for name in os.listxattr(path, follow_symlinks=False):
        if name.startswith(old):
            value = os.getxattr(path, name, follow_symlinks=False)
            os.removexattr(path, name, follow_symlinks=False)
            os.setxattr(path, new + name[len(old):], value, follow_symlinks=False)


def fingerprint(root):
    """All that a lower layer must keep: path to type, content, mode, owner, inode, links, times, xattrs."""
    facts = {}

    def note(path, name):
        st = os.lstat(path)
        fact = [st.st_mode, st.st_uid, st.st_gid, st.st_dev, st.st_ino, st.st_nlink, st.st_size, st.st_mtime_ns,
                st.st_ctime_ns, st.st_rdev]
        try:
            fact.append([(x, os.getxattr(path, x, follow_symlinks=False))
                         for x in sorted(os.listxattr(path, follow_symlinks=False))])
        except OSError:
            fact.append("unreadable")
        if stat.S_ISLNK(st.st_mode):
            fact.append(os.readlink(path))
        elif stat.S_ISREG(st.st_mode):
            fact.append(digest(path))
        facts[name] = fact

    note(root, "")
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            path = os.path.join(folder, name)
            note(path, os.path.relpath(path, root))
    return facts


def digest(path):
    try:
        with open(path, "rb") as f:
            return zlib.crc32(f.read())
    except OSError:
        return "unreadable"

# SPDX-License-Identifier: MIT
"""Layers at random: one to eight lower ones, with whiteouts and opaque directories in every form, hard links, links,
deep trees and difficult names."""

import collections

import layers
from layers import Device, Dir, Fifo, File, Link, Same, Socket, Whiteout, acl

LONG = "L" * 255
NAMES = ["a", "b", "c", "d", "e", "f", "g", "sp ace", "caf\udce9", "back\\slash", "\x01\n", ".hidden", "n" * 250, LONG]
FILE_MODES = [0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o664, 0o4755, 0o2755]
DIR_MODES = [0o755, 0o755, 0o755, 0o755, 0o700, 0o775, 0o1777, 0o2755]
FOREIGN_FILE_MODES = [0o644, 0o644, 0o644, 0o755, 0o444, 0o600]
FOREIGN_DIR_MODES = [0o755, 0o755, 0o755, 0o755, 0o755, 0o555, 0o644, 0o700]
DEEP = 30


def folders_above(path):
    """The directories above a path, the highest first."""
    names = path.split("/")
    return ["/".join(names[:n]) for n in range(1, len(names))]


def random_acl(random, uid, own="rw"):
    """An ordinary user's name space knows no other ids than its own."""
    number = uid or random.choice([1000, 4242])
    entries = [f"u::{own}", f"u:{number}:{random.choice(['r', 'rw', 'rwx'])}", "g::r"]
    if random.random() < 0.3:
        entries.append(f"g:{number}:{random.choice(['', 'rx'])}")
    return acl(*entries, random.choice(["m::rw", "m::rw", "m::rwx"]), random.choice(["o::", "o::r"]))


class Trees:
    """What the layers of one case are made of.  subject: the kind that is met more often than the others; links: whether
    files have several names; uid: of whoever works on them; foreign: whether they belong to root, who is another."""

    SHARES = {"dir": 0.35, "none": 0.10, "link": 0.12, "fifo": 0.03, "socket": 0.02, "device": 0.02, "linked": 0.08,
              "file": 0.28}

    def __init__(self, random, uid, form, prefix, subject=None, links=True, foreign=False):
        self.random, self.uid, self.form, self.prefix = random, uid, form, prefix
        self.links, self.foreign = links, foreign
        self.shares = dict(self.SHARES)
        if subject:
            self.shares[subject] += 0.4
        if uid:
            self.shares["device"] = 0
        if not links:
            self.shares["linked"] = 0

    def layer(self, folder, lowest=False, objects=30, plain=False):
        """A layer with all its objects below a folder.  plain: without whiteouts, the lowest one."""
        layer = {}
        self.files = []
        self.left = objects
        if folder:
            layer[folder] = self.dir(False)
        self.fill(layer, folder, 0, lowest or plain, False)
        if self.random.random() < 0.1:
            self.dig(layer, folder)
        return layer

    def over(self, lowers, kind, state, homes):
        """An upper in which objects of a kind stand where lower layers have something too, but for the homes."""
        shown = layers.merge([layers.expand(lower) for lower in lowers])
        upper, files, self.left = {}, {}, 0
        for path, item in shown.items():
            above = folders_above(path)
            if path in ("", *homes) or self.random.random() > 0.4 or \
                    not all(isinstance(upper.get(up), (Dir, type(None))) for up in above):
                continue
            home = next((home for home in homes if path.startswith(f"{home}/")), "")
            self.files = files.setdefault(home, [])  # processes have no file in common
            for up in above:
                upper.setdefault(up, Dir(mode=shown[up].mode))
            hidden = any(upper[up].opaque for up in above)  # a mark would hide nothing
            if kind == "dir":
                upper[path] = Dir(opaque=state == "opaque" and isinstance(item, Dir) and not hidden)
            else:
                upper[path] = self.one(kind, path, hidden)
        return upper

    def dir(self, may_hide):
        form = self.mark()
        facts = {}
        if self.foreign:
            facts = self.of_root(FOREIGN_DIR_MODES, 0o005)
        mode = facts.pop("mode", None) or self.random.choice(DIR_MODES)
        item = Dir(mode=mode, opaque=may_hide and self.random.random() < 0.15, form=form, xattrs=self.xattrs(),
                   owner=facts.get("owner") or self.owner())
        if not facts and self.random.random() < 0.06:
            item.xattrs["system.posix_acl_default"] = random_acl(self.random, self.uid, "rwx")
        return item

    def of_root(self, modes, needed):
        """Mode and owner of an object of root's.  An owner that is named is the object's on the bare side too: of what
        the user can't read, and so can't copy up.  All else is the user's there, as its copy would be."""
        mode = self.random.choice(modes)
        return {"mode": mode, **({} if mode & needed == needed else {"owner": (0, 0)})}

    def mark(self):
        if self.random.random() < 0.7:
            return None
        forms = ["oci", "xattr"] + ([] if self.uid else ["dev"])
        return self.random.choice(forms)

    def owner(self):
        if self.uid or self.random.random() < 0.8:
            return None
        return self.random.choice([(0, 0), (1000, 1000), (0, 50)])

    def xattrs(self):
        if self.random.random() < 0.85:
            return {}
        return {f"user.{name}": self.random.choice(["", "v", "value" * 9]) for name in self.random.sample("kmn", 2)}

    def fill(self, layer, folder, depth, lowest, hides):
        names = self.random.sample(NAMES, self.random.randint(1, 7))
        for name in names:
            path = f"{folder}/{name}" if folder else name
            if self.left <= 0:
                return
            self.left -= 1
            item = self.object(path, depth, lowest, hides)
            layer[path] = item
            if isinstance(item, Dir):
                self.fill(layer, path, depth + 1, lowest, item.opaque or hides)

    def object(self, path, depth, lowest, hides):
        kinds = dict(self.shares)
        if depth >= 4:
            kinds["dir"] = 0
        if lowest:
            kinds["none"] = 0
        if not self.files:
            kinds["file"] += kinds["linked"]
            kinds["linked"] = 0
        if depth == 0:
            kinds["dir"] += 0.2
        kind = self.random.choices(list(kinds), kinds.values())[0]
        if kind == "dir":
            return self.dir(not lowest)
        return self.one(kind, path, hides)

    def one(self, kind, path, hides):
        """An object that is no directory."""
        if kind == "none":
            return self.whiteout(path, hides)
        if kind == "link":
            return self.link(path)
        if kind == "fifo":
            return Fifo(mode=0o666 if self.foreign else 0o644)
        if kind == "socket":
            return Socket(mode=0o666 if self.foreign else 0o755)
        if kind == "device":
            return Device(mode=0o666)
        if kind == "linked" and self.files:
            return Same(path=self.random.choice(self.files))
        self.files.append(path)
        return self.file()

    def file(self):
        size = self.random.choice([1 if self.foreign else 0, 1, 10, 100])  # an empty one can be copied up unread
        facts = self.of_root(FOREIGN_FILE_MODES, 0o004) if self.foreign else {
            "mode": self.random.choice(FILE_MODES), "owner": self.owner()}
        item = File(content="".join(self.random.choices("abcdef\n", k=size)),
                    hole=self.random.choice([0] * 9 + [4096, 12345]), mtime=1_100_000_000.5 + self.left,
                    xattrs=self.xattrs(), **facts)
        if not self.foreign and self.random.random() < 0.08:
            item.xattrs["system.posix_acl_access"] = random_acl(self.random, self.uid)  # the mode, which is set later, changes it
        return item

    def whiteout(self, path, hides):
        """Of the form of an attribute where the name is too long for .wh.; none below an opaque directory, where Linux
        overlayfs lists it."""
        form = self.mark()
        if len(path.rpartition("/")[2]) > 251:
            form = "xattr"
        return File(content="instead of a mark") if hides else Whiteout(form=form)

    def link(self, path):
        words = self.random.choices(["a", "b", "c", "..", ".", "d"], k=self.random.randint(1, 3))
        place = self.random.choice(["", "", "", "@/"])
        return Link(target=place + "/".join(words))

    def dig(self, layer, folder):
        """A chain of directories."""
        path = folder
        for _ in range(DEEP):
            path = f"{path}/deep" if path else "deep"
            layer[path] = Dir()
        layer[f"{path}/end"] = File(content="end")


def with_open_directories(every):
    """The layers of another owner without directories that can't be read or searched and lie in several of them: the
    bare side has one mode for all."""
    paths = collections.Counter(path for layer in every for path in layers.expand(layer))
    for layer in every:
        for path, item in layer.items():
            if isinstance(item, Dir) and paths[path] > 1 and item.mode & 0o005 != 0o005:
                item.mode, item.owner = 0o755, None


def without_stray_marks(every):
    """The layers (highest first) without marks that hide nothing because no layer below has their directory: Linux
    overlayfs lists whiteouts there, and nobody takes such a mark away when its directory is renamed."""
    kept = []
    for layer in reversed(every):
        below = layers.merge([layers.expand(lower) for lower in kept])
        for path, item in list(layer.items()):
            folder = path.rpartition("/")[0]
            if isinstance(item, Whiteout) and folder and not isinstance(below.get(folder), Dir):
                del layer[path]
            elif isinstance(item, Dir) and not isinstance(below.get(path), Dir):
                item.opaque = False
        kept.insert(0, layer)
    return kept

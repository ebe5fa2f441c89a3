# SPDX-License-Identifier: MIT
"""Layers at random: one to eight lower ones, with whiteouts and opaque directories in every form, hard links, links,
deep trees and difficult names."""

import layers
from layers import Device, Dir, Fifo, File, Link, Same, Whiteout

LONG = "L" * 255
NAMES = ["a", "b", "c", "d", "e", "f", "g", "sp ace", "caf\udce9", "back\\slash", "\x01\n", ".hidden", "n" * 250, LONG]
FILE_MODES = [0o644, 0o644, 0o644, 0o600, 0o755, 0o444, 0o664, 0o4755, 0o2755]
DIR_MODES = [0o755, 0o755, 0o755, 0o755, 0o700, 0o775, 0o1777, 0o2755]
DEEP = 30


class Trees:
    def __init__(self, random, user, form, prefix):
        self.random, self.user, self.form, self.prefix = random, user, form, prefix

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

    def dir(self, may_hide):
        form = self.mark()
        return Dir(mode=self.random.choice(DIR_MODES), opaque=may_hide and self.random.random() < 0.15, form=form,
                   xattrs=self.xattrs(), owner=self.owner())

    def mark(self):
        if self.random.random() < 0.7:
            return None
        forms = ["oci", "xattr"] + ([] if self.user else ["dev"])
        return self.random.choice(forms)

    def owner(self):
        if self.user or self.random.random() < 0.8:
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
        r = self.random.random()
        if r < (0.35 if depth < 4 else 0):
            return self.dir(not lowest)
        if r < 0.45 and not lowest:
            return self.whiteout(path, hides)
        if r < 0.58:
            return self.link(path)
        if r < 0.61:
            return Fifo(mode=0o644)
        if r < 0.62 and not self.user:
            return Device(mode=0o666)
        if r < 0.70 and self.files:
            return Same(path=self.random.choice(self.files))
        self.files.append(path)
        size = self.random.choice([0, 1, 10, 100])
        return File(content="".join(self.random.choices("abcdef\n", k=size)), mode=self.random.choice(FILE_MODES),
                    hole=self.random.choice([0] * 9 + [4096, 12345]), mtime=1_100_000_000.5 + self.left, xattrs=self.xattrs(), owner=self.owner())

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

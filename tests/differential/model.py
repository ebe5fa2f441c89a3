# SPDX-License-Identifier: MIT
"""What a generator has to know to make operations that mostly succeed: which names there are, of which kind, and in
which state of the layers.  It is no oracle: where it errs, an operation more fails than was meant to, on all sides."""

import layers

KIND = {layers.File: "file", layers.Dir: "dir", layers.Link: "link", layers.Fifo: "fifo", layers.Device: "device",
        layers.Socket: "socket"}


class Node:
    """An object.  state: lower0 (only the highest lower layer has it), lower (a deeper one), copied (the upper has it,
    where a lower has the name too), upper (only the upper), and for directories merged, opaque and moved."""

    __slots__ = ("kind", "kids", "below", "target", "mode", "state", "version", "names", "parent", "name", "size",
                 "linked", "moves", "of_lower", "closed")

    def __init__(self, kind, state, mode=0o644, target="", size=0):
        self.kind, self.state, self.mode, self.target, self.size = kind, state, mode, target, size
        self.kids = {} if kind == "dir" else None
        self.below = set()  # names that lower layers have in this directory, shown or not
        self.of_lower = state.startswith("lower")  # at first
        self.version = 0  # of copies: raised by whatever may copy it up
        self.moves = 0  # how often it lost a name
        self.names = 0
        self.parent, self.name = None, ""
        self.linked = False  # has several names
        self.closed = False  # root's, and an ordinary user can't read it

    @property
    def what(self):
        return "linked" if self.linked and self.kind == "file" else self.kind

    def put(self, name, node):
        self.kids[name] = node
        node.names += 1
        if node.kind == "dir":
            node.parent, node.name = self, name

    def take(self, name):
        node = self.kids.pop(name)
        node.names -= 1
        node.moves += 1
        node.version += 1
        if node.kind == "dir":
            node.parent = None
        return node

    def is_below(self, above):
        node = self
        while node is not None and node is not above:
            node = node.parent
        return node is above

    def names_up(self):
        """The names from the root to here."""
        names, node = [], self
        while node.parent is not None:
            names.append(node.name)
            node = node.parent
        return names[::-1]


class Model:
    def __init__(self, case, user):
        self.user = user
        self.escaped = False  # a walk left the mount
        self.root = Node("dir", "merged", 0o755)
        self.root.names = 1
        self.has_links = case.has_links
        self.read_only = case.upper is None
        self.load(case)

    def load(self, case):
        lowers, upper = case.expanded()
        every = ([upper] if upper is not None else []) + lowers
        shown, below, top = layers.merge(every), layers.merge(lowers), layers.merge(lowers[:1])
        nodes, at = {}, {"": self.root}
        for path, item in shown.items():
            parent, _, name = path.rpartition("/")
            if not path or parent not in at or at[parent].kind != "dir":
                continue
            if id(item) not in nodes or isinstance(item, layers.Dir):
                state = state_of(path, item, upper or {}, below, top)
                size = item.hole + len(item.content.encode()) if isinstance(item, layers.File) else 0
                nodes[id(item)] = Node(KIND[type(item)], state, item.mode, getattr(item, "target", ""), size)
                nodes[id(item)].closed = case.foreign and item.owner == (0, 0)
            else:
                nodes[id(item)].linked = True
            at[path] = nodes[id(item)]
            at[parent].put(name, at[path])
        for layer in lowers:
            for path in layer:
                parent, _, name = path.rpartition("/")
                if path and parent in at and at[parent].kind == "dir":
                    at[parent].below.add(name)

    def dirs(self):
        found, todo = [], [self.root]
        while todo:
            node = todo.pop()
            found.append(node)
            todo += [kid for kid in node.kids.values() if kid.kind == "dir"]
        return found

    def is_alive(self, node):
        return node.is_below(self.root)

    def may(self, node, bit):
        return not self.user or not node.closed and node.mode & (bit << 6)

    def may_walk(self, node):
        while node is not None:
            if not self.may(node, 1):
                return False
            node = node.parent
        return True

    def may_change(self, folder):
        return not self.read_only and self.is_alive(folder) and self.may(folder, 2) and self.may_walk(folder)

    def copy_up(self, node, folder):
        if self.read_only:
            return
        node.version += 1
        if node.state.startswith("lower"):
            node.state = "merged" if node.kind == "dir" else "copied"
        while folder is not None and folder.state.startswith("lower"):
            folder.state = "merged"
            folder = folder.parent

    def add(self, folder, name, node):
        """A new object under a name that is free."""
        self.copy_up(folder, folder.parent)
        if name in folder.below:
            node.state = "opaque" if node.kind == "dir" else "copied"
        folder.put(name, node)

    def moved(self, node):
        """A directory was renamed: all in it is in the upper now."""
        node.version += 1
        if node.kind == "dir":
            node.state = "moved" if node.state not in ("upper", "opaque") else node.state
            for kid in node.kids.values():
                self.moved(kid)
        elif node.state.startswith("lower"):
            node.state = "copied"

    def resolve(self, folder, name, links=8):
        """(folder, name, node) where a path ends whose last name may be a symbolic link; None where it leads nowhere."""
        node = folder.kids.get(name)
        if node is None or node.kind != "link":
            return folder, name, node
        return self.walk(folder, node.target, links - 1) if links else None

    def walk(self, folder, text, links=8):
        if text.startswith("@"):
            folder, text = self.root, text[1:]
        elif text.startswith("/"):
            self.escaped = True
            return None
        at = folder, "", folder
        words = [word for word in text.split("/") if word not in ("", ".")]
        for i, word in enumerate(words):
            folder = at[2]
            if folder is None or folder.kind != "dir":
                return None
            if word == "..":
                if folder.parent is None:
                    self.escaped = True
                    return None
                at = folder.parent, "", folder.parent
                continue
            at = self.resolve(folder, word, links) if links else None
            if at is None:
                return None
        return at


def state_of(path, item, upper, below, top):
    if path not in upper:
        return "lower0" if path in top else "lower"
    if isinstance(item, layers.Dir):
        hides = upper[path].opaque if isinstance(upper[path], layers.Dir) else False
        return "opaque" if hides else "merged" if isinstance(below.get(path), layers.Dir) else "upper"
    return "copied" if path in below else "upper"

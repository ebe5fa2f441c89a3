# SPDX-License-Identifier: MIT
"""Cases at random, steered: each is about a kind of object and a state that were met seldom; half of the operations are
such that were met seldom on what is there (combinations.py)."""

import os
import random
import re

from case import Case
from combinations import BY_FD, BY_PATH, Tally
from model import Model, Node
from trees import NAMES, Trees, random_acl, with_open_directories, without_stray_marks

FILES = range(0, 10)
FOLDERS = range(10, 16)
UNNAMED = range(16, 18)
HELD = range(0, 4)
TIMES = ["now", "omit", "0.0", "1000000000.5", "1234567890.123456789", "1.999999999"]
XATTRS = ["user.k", "user.m", "user.new"]
ACLS = ["system.posix_acl_access", "system.posix_acl_default"]
AIMED = 0.5  # the share of operations that are chosen because they were met seldom
MODES = [0o644, 0o600, 0o755, 0o444, 0o666, 0o640, 0o4755, 0o2711]
TEXTS = ["x", "hello", "0123456789" * 3, "line\\n", "z" * 300]
LISTING = ("readdir", "getdents", "nftw", "tree")
TOO_LONG = "T" * 256


def escaped(name):
    out = []
    for byte in os.fsencode(name):
        out.append(chr(byte) if 32 < byte < 127 and byte != 92 else f"\\x{byte:02x}")
    return "".join(out) or '""'


def unescaped(word):
    return os.fsdecode(re.sub(rb"\\x(..)", lambda found: bytes.fromhex(found[1].decode()), word.encode()))


class Fd:
    def __init__(self, node, reads, writes, path_only=False, origin=None):
        self.node, self.reads, self.writes, self.path_only, self.origin = node, reads, writes, path_only, origin
        changes = writes and node.kind == "file"  # a device is opened where it lies
        self.lower = node.of_lower and not changes  # to be on the safe side, whatever the model thinks was copied up
        self.version, self.moves = node.version, node.moves

    @property
    def lost(self):
        """Opened for reading on a lower file that has lost a name since: libovl can't find its copy (design.md)."""
        return self.lower and self.node.moves != self.moves and self.node.kind != "dir"

    @property
    def older(self):
        """Opened for reading on a lower file that may have been copied up since."""
        return self.lower and self.node.version != self.version


class Generator:
    """Operations for one process, below one folder of the mount."""

    def __init__(self, dice, model, home, tally, kernel_renames, subject, uid, foreign):
        self.random, self.model, self.tally, self.subject, self.uid = dice, model, tally, subject, uid
        self.kernel_renames = kernel_renames  # the kernel renames directories with lower content, or is not asked
        self.foreign = foreign
        self.home = self.model.root
        for name in home:
            self.home = self.home.kids[name]
        self.fds, self.held = {}, {}
        self.cwd = None  # outside
        self.umask = 0o022
        self.fresh = 0
        self.lines = []
        self.goal = None  # the combination that is aimed at
        self.places, self.surveyed = {}, 0

    # ---- places -----------------------------------------------------------------------------------------------------

    def folders(self):
        found, todo = [], [self.home]
        while todo:
            node = todo.pop()
            found.append(node)
            todo += [kid for kid in node.kids.values() if kid.kind == "dir"]
        return found

    def existing(self, kinds=None):
        folders = self.all_folders
        for _ in range(12):
            folder = self.random.choice(folders)
            if not folder.kids:
                continue
            name = self.random.choice(list(folder.kids))
            if kinds is None or folder.kids[name].kind in kinds:
                return folder, name, folder.kids[name]
        return self.absent()

    def absent(self):
        """A name that is free: mostly one that a lower layer has, or had."""
        for _ in range(6):
            folder = self.random.choice(self.all_folders)
            hidden = [name for name in folder.below if name not in folder.kids]
            if hidden and self.random.random() < 0.6:
                return folder, self.random.choice(sorted(hidden)), None
            name = self.random.choice(NAMES)
            if name not in folder.kids:
                return folder, name, None
        self.fresh += 1
        return folder, f"new{self.fresh}", None

    def itself(self):
        """A directory as a place, the root too."""
        node = self.random.choice(self.all_folders)
        return (node.parent, node.name, node) if node is not self.home else (None, "", node)

    def state(self, place):
        folder, name, node = place
        if node is not None:
            return node.what, "unlinked" if folder is None and self.is_unlinked(node) else node.state
        if folder is not None and name in folder.below:
            return "none", "whiteout"
        return "none", "none"

    def is_unlinked(self, node):
        return not self.model.is_alive(node) if node.kind == "dir" else node.names == 0

    def rarest(self, op, choose, tries=4):
        if self.goal and self.goal[0] == op:
            place = self.aimed_place(*self.goal[1:])
            if place:
                return place
        places = [choose() for _ in range(tries)]
        return min(places, key=lambda place: self.tally.counts[(op, *self.state(place))])

    def pick(self, op, kinds=None, absent=0.12):
        """A place for an operation: existing ones of these kinds mostly, others and free names now and then."""
        r = self.random.random()
        if r < absent or self.goal and self.goal[:2] == (op, "none"):
            return self.rarest(op, self.absent, 2)
        place = self.rarest(op, lambda: self.existing(kinds if r < 0.85 else None))
        return self.absent() if self.leads_away(*place) else place

    def leads_away(self, folder, name, node):
        """Whether a place is a link out of the mount, where each side is another place, or to what several processes
        share, where the answers hang on who comes first."""
        if node is None or node.kind != "link":
            return False
        self.model.escaped = False
        end = self.model.resolve(folder, name)
        if end is None:
            return self.model.escaped
        last = end[2] if end[2] is not None and end[2].kind == "dir" else end[0]
        return self.home is not self.model.root and not last.is_below(self.home)

    # ---- aiming -----------------------------------------------------------------------------------------------------

    def survey(self):
        """What is there: places by kind and state."""
        self.places, self.surveyed = {}, len(self.lines)
        todo = [self.home]
        while todo:
            folder = todo.pop()
            for name, node in folder.kids.items():
                self.places.setdefault((node.what, node.state), []).append((folder, name, node))
                if node.kind == "dir":
                    todo.append(node)
            hidden = [name for name in folder.below if name not in folder.kids]
            if hidden:
                place = folder, self.random.choice(sorted(hidden)), None
                self.places.setdefault(("none", "whiteout"), []).append(place)
        self.places["none", "none"] = [self.absent()]

    def aimed_place(self, kind, state):
        """A place of this kind and state, or None."""
        places = self.places.get((kind, state), ())
        for _ in range(min(6, len(places))):
            folder, name, node = self.random.choice(places)
            if self.state((folder, name, node)) != (kind, state) or folder.kids.get(name) is not node:
                continue
            if self.model.is_alive(folder) and not self.leads_away(folder, name, node):
                return folder, name, node
        return None

    def aim(self):
        """One operation that was met seldom, on what is there."""
        if not self.places or len(self.lines) >= self.surveyed + 5:
            self.survey()
        if len(self.places.get(self.subject, ())) < 3 and self.random.random() < 0.3:
            self.supply(*self.subject)
        objects = [*self.places, *((kind, "unlinked") for kind in ("file", "dir", "fifo"))]
        self.goal = self.tally.rarest(self.random, [what for what in objects if what in self.tally.of])
        if self.goal is None:
            return
        action = self.ACTION_OF[self.goal[0]]
        action(self)
        self.tally.tried(self.goal)
        self.goal = None

    def one_of(self, ops):
        """The operation that is aimed at, if it is one of these, or any."""
        if self.goal:
            wanted = self.goal[0].removesuffix(">").removesuffix(":fd").partition(":")[0]
            if wanted in ops:
                return wanted
        return self.random.choice(ops)

    def supply(self, kind, state):
        """Objects of the kind and state that the case is about, by operations."""
        self.survey()
        lower = [place for what, places in self.places.items() if what[0] == kind and what[1].startswith("lower")
                 for place in places]
        place = self.random.choice(lower) if lower else None
        if state == "whiteout" or state == "opaque":
            some = [place for what, places in self.places.items() if what[1].startswith("lower") and what[0] != "dir"
                    for place in places]
            if some:
                self.remove("unlink", self.random.choice(some))
            if state == "opaque" and self.places.get(("none", "whiteout")):
                self.make("mkdir", "dir", self.random.choice(self.places["none", "whiteout"]))
        elif state in ("copied", "merged") and place:
            self.emit("utimens", place, self.absolute(place), "omit", "omit")
            self.emit("lchown", place, self.absolute(place), "-1", "-1")
            self.model.copy_up(place[2], place[0])
        elif state == "moved" and place and self.kernel_renames:
            into = self.absent()
            self.emit("rename", place, self.absolute(place), self.absolute(into))
            self.renamed(place, into, "0")
        elif state == "upper" and kind in self.MAKERS:
            self.make(self.MAKERS[kind], kind, self.absent())
        self.all_folders = self.folders()
        self.survey()

    MAKERS = {"file": "put", "dir": "mkdir", "link": "symlink", "fifo": "mkfifo", "socket": "mknod", "device": "mknod"}

    # ---- paths ------------------------------------------------------------------------------------------------------

    def words(self, folder, name, start=None):
        """The names from start (or the mount) to a place."""
        names, node = [name] if name else [], folder
        while node is not None and node is not start and node.parent is not None:
            names.append(node.name)
            node = node.parent
        return names[::-1] if node is start or start is None else None

    def spoiled(self, path, place):
        """A path that means the same, or fails in one of the usual ways."""
        r = self.random.random()
        if r < 0.90:
            return path
        if r < 0.92:
            return path.replace("/", "//", 1)
        if r < 0.94:
            return path.replace("/", "/./", 1)
        if r < 0.97 and place[2] is not None and place[2].kind == "dir":
            return path + self.random.choice(["/", "/.", "/"])
        if r < 0.975:
            return path + "/"
        if r < 0.98:
            return f"{path}/{escaped(self.random.choice(NAMES))}"
        if r < 0.983:
            return f"{path}/{TOO_LONG}"
        if r < 0.986:
            return '""'
        return path

    def absolute(self, place):
        folder, name, node = place
        words = self.words(folder, name) if folder is not None else self.words(node.parent, node.name)
        return "/".join(["@", *map(escaped, words)])

    def path(self, place):
        """A place as one word: absolute, through a link, or from the current directory."""
        folder, name, node = place
        if self.cwd is not None and folder is not None and self.random.random() < 0.3:
            words = self.words(folder, name, self.cwd)
            if words:
                return self.spoiled("/".join(map(escaped, words)), place)
            if folder is self.cwd.parent and self.cwd is not self.home:
                return self.spoiled("../" + escaped(name), place)
        return self.spoiled(self.absolute(place), place)

    def at(self, place):
        """A place as a directory's descriptor and a path from there."""
        folder, name, node = place
        slots = [slot for slot in FOLDERS if slot in self.fds]
        self.random.shuffle(slots)
        for slot in slots:
            words = self.words(folder, name, self.fds[slot].node) if folder is not None else None
            if words:
                return str(slot), self.spoiled("/".join(map(escaped, words)), place)
        if self.random.random() < 0.03:
            return self.random.choice(["bad", "0", "15"]), escaped(name)
        return "cwd", self.path(place)

    # ---- writing a line ---------------------------------------------------------------------------------------------

    def emit(self, op, place, *words, note=None, counted=None):
        self.tally.met(counted or op, *self.state(place))
        note = note or self.note(op, place)
        self.lines.append(" ".join([op, *map(str, words)] + ([f"!{note}"] if note else [])))

    def note(self, op, place):
        """What the judge must know of the object that a place is, or leads to."""
        folder, name, node = place
        if folder is not None and node is not None and node.kind == "link":
            end = self.model.resolve(folder, name)
            folder, name, node = end or (None, "", None)
        if node is None:
            return None
        if node.kind == "dir" and (op in LISTING or op.startswith("hold")) and not self.model.may(node, 1):
            return "unsearchable"
        if node.closed:
            return "unreadable"
        return None

    def run(self, operations):
        self.lines = []
        while len(self.lines) < operations:
            self.all_folders = self.folders()
            if len(self.all_folders) > 60 or self.random.random() < 0.03:
                self.remove_some()
            if self.random.random() < AIMED:
                self.aim()
            else:
                self.random.choices(self.ACTIONS, self.WEIGHTS)[0](self)
        return self.lines[:operations + 5]

    def mode(self, of_dir=False):
        modes = [0o755, 0o700, 0o777, 0o1777, 0o2775] if of_dir else MODES
        return self.random.choice(modes)

    # ---- opening ----------------------------------------------------------------------------------------------------

    KEEPING = ("RESOLVE_BENEATH", "RESOLVE_IN_ROOT")

    def do_open(self):
        op = self.one_of(["open", "open", "openat", "openat", "creat", "openat2"])
        place = self.pick(op, ("file", "file", "link"), 0.2)
        if place[2] is not None and place[2].kind == "dir" and not self.goal and self.random.random() < 0.7:
            self.do_open_folder(place)
            return
        access = ["O_RDONLY", "O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDWR"]
        if self.model.read_only and self.random.random() < 0.8 or place[2] is not None and place[2].kind == "dir":
            access = ["O_RDONLY"]
        flags = [self.random.choice(access), "O_NONBLOCK"]
        chance = {"O_CREAT": 0.85 if place[2] is None else 0.2, "O_TRUNC": 0.12, "O_APPEND": 0.15, "O_EXCL": 0.05,
                  "O_NOFOLLOW": 0.08, "O_DIRECTORY": 0.02, "O_CLOEXEC": 0.1, "O_SYNC": 0.03,
                  "O_NOATIME": 0 if self.foreign else 0.05,  # what is root's by the caller's right to change it
                  "O_PATH": 0.04}
        flags += [flag for flag, share in chance.items() if self.random.random() < share]
        if "O_DIRECTORY" in flags and "O_CREAT" in flags:
            flags.remove("O_DIRECTORY")
        if op == "creat":
            if place[2] is not None and place[2].kind != "file":
                op = "open"
            else:
                flags = ["O_WRONLY", "O_CREAT", "O_TRUNC"]
        self.open(op, self.random.choice(FILES), place, flags)

    def open(self, op, slot, place, flags):
        mode, joined = oct(self.mode()).replace("o", ""), "|".join(flags)
        if op == "creat":
            self.emit(op, place, slot, self.path(place), mode)
        elif op == "open":
            self.emit(op, place, slot, self.path(place), joined, mode)
        elif op == "openat":
            self.emit(op, place, slot, *self.at(place), joined, mode)
        else:
            resolve = self.random.choice(["0", "0", "RESOLVE_NO_SYMLINKS", "RESOLVE_NO_MAGICLINKS", *self.KEEPING])
            at, path = self.at(place)
            if resolve in self.KEEPING and (place[2] is not None and place[2].kind == "link" or at == "cwd"):
                resolve = "0"  # with links libovl answers ENOSYS (shim/wrap_openat2.c)
            made = mode if "O_CREAT" in flags and "O_PATH" not in flags else "0"
            self.emit(op, place, slot, at, path, joined, made, resolve)
        self.opened(slot, place, flags, int(mode, 8))

    def opened(self, slot, place, flags, mode):
        """What an open does to the model, if it succeeds."""
        self.fds.pop(slot, None)
        end = place if {"O_NOFOLLOW", "O_EXCL"} & set(flags) or place[0] is None else self.model.resolve(*place[:2])
        if end is None or (place[0] is not None and not self.model.may_walk(place[0])):
            return
        folder, name, node = end
        writes = "O_RDONLY" not in flags
        if node is None:
            if "O_CREAT" not in flags or not self.model.may_change(folder) or not name:
                return
            node = Node("file", "upper", mode & ~self.umask)
            self.model.add(folder, name, node)
        elif "O_EXCL" in flags and "O_CREAT" in flags:
            return
        elif node.kind == "dir" and writes or node.kind == "link" and "O_PATH" not in flags:
            return
        elif not self.model.may(node, 2 if writes else 4) and "O_PATH" not in flags:
            return
        if "O_PATH" in flags:
            self.fds[slot] = Fd(node, False, False, path_only=True)
            return
        if node.kind == "socket" or node.kind == "device" and self.model.user:
            return
        if "O_TRUNC" in flags and node.kind == "file":
            node.size = 0
            writes_now = True
        else:
            writes_now = writes
        if writes_now and self.model.read_only and node.kind == "file":
            return
        if writes_now:
            self.model.copy_up(node, folder)
        self.fds[slot] = Fd(node, "O_WRONLY" not in flags, writes)

    def do_open_folder(self, place=None):
        place = place or self.rarest("opendir", self.itself)
        slot = self.random.choice(FOLDERS)
        flags = self.random.choice(["O_RDONLY|O_DIRECTORY", "O_RDONLY", "O_PATH|O_DIRECTORY", "O_PATH"])
        self.emit("open", place, slot, self.path(place), flags, counted="opendir")
        self.fds.pop(slot, None)
        if place[2].kind == "dir" and self.model.may_walk(place[2]):
            self.fds[slot] = Fd(place[2], True, False, path_only="O_PATH" in flags)

    def do_tmpfile(self):
        place, slot = self.rarest("tmpfile", self.itself), self.random.choice(UNNAMED)
        self.emit("open", place, slot, self.path(place), self.random.choice(["O_TMPFILE|O_RDWR", "O_TMPFILE|O_WRONLY"]),
                  "0600", counted="tmpfile")
        self.fds.pop(slot, None)
        if self.model.may_change(place[2]):
            self.model.copy_up(place[2], place[2].parent)
            self.fds[slot] = Fd(Node("file", "upper", 0o600), True, True)

    def do_linkfd(self):
        slots = [slot for slot in UNNAMED if slot in self.fds] or [
            slot for slot in FILES if slot in self.fds and self.fds[slot].node.kind == "file"]
        if not slots:
            self.do_tmpfile()
            return
        place, slot = self.pick("linkfd", None, 0.8), self.random.choice(slots)
        if self.random.random() < 0.3:
            self.emit("linkat", place, slot, '""', "cwd", self.absolute(place), "AT_EMPTY_PATH", counted="linkfd")
        else:
            self.emit("linkfd", place, slot, self.path(place))
        fd = self.fds.get(slot)
        if fd and place[2] is None and slot in UNNAMED and self.model.may_change(place[0]):
            self.model.add(place[0], place[1], fd.node)

    # ---- descriptors ------------------------------------------------------------------------------------------------

    def fd(self, op, want=lambda fd: True, slots=(*FILES, *UNNAMED)):
        """An open descriptor: slot, Fd."""
        if self.goal and self.goal[0].removesuffix(":fd") == op:
            aimed = self.aimed_fd(op, *self.goal[1:])
            if aimed is not None:
                return aimed, self.fds.get(aimed)
        found = [slot for slot in slots if slot in self.fds and want(self.fds[slot])]
        if not found:
            return self.random.choice(slots), None
        some = self.random.sample(found, min(3, len(found)))
        slot = min(some, key=lambda slot: self.tally.counts[(op, *self.state((None, "", self.fds[slot].node)))])
        return slot, self.fds[slot]

    def aimed_fd(self, op, kind, state):
        """A slot whose descriptor is of this kind and state, opened where there is none; or None."""
        slots = FOLDERS if kind == "dir" else (*FILES, *UNNAMED)
        for slot in slots:
            fd = self.fds.get(slot)
            if fd and self.state((None, "", fd.node)) == (kind, state) and self.suits(op, fd):
                return slot
        place = self.doomed(kind) if state == "unlinked" else self.aimed_place(kind, state)
        if place is None:
            return None
        slot = self.random.choice(FOLDERS if kind == "dir" else FILES)
        only_named = kind in ("link", "socket")
        flags = "O_RDWR|O_NONBLOCK" if op in self.WRITING else "O_RDONLY|O_NONBLOCK"
        flags = "O_PATH|O_NOFOLLOW" if only_named else flags
        self.emit("open", place, slot, self.absolute(place), flags)
        self.opened(slot, place, flags.split("|"), 0)
        if only_named:
            self.fds[slot] = Fd(place[2], False, False, path_only=True)
        if state == "unlinked":
            self.remove("rmdir" if kind == "dir" else "unlink", place)
        fd = self.fds.get(slot)
        return slot if fd and self.state((None, "", fd.node)) == (kind, state) else None

    WRITING = ("write", "pwrite", "ftruncate", "fallocate", "mmapput")

    @staticmethod
    def suits(op, fd):
        if op in Generator.WRITING:
            return fd.writes
        if op in ("copy_file_range", "sendfile"):
            return fd.reads and not fd.older
        by_path_too = op in ("fstat", "fident", "dup", "close", "fstatat", "statx", "fdpath", "fchdir")
        return (by_path_too or not fd.path_only) and not fd.lost and (fd.reads or by_path_too or op.startswith("f"))

    def doomed(self, kind):
        """A place of the upper alone whose only name can be taken away: an empty directory, a file, a FIFO."""
        some = [place for what in ((kind, "upper"), (kind, "opaque"), (kind, "copied"))
                for place in self.places.get(what, ()) if place[2].names == 1 and not place[2].kids]
        some = [place for place in some if place[0].kids.get(place[1]) is place[2] and self.model.is_alive(place[0])]
        if some:
            return self.random.choice(some)
        place = self.absent()
        self.make(self.MAKERS[kind], kind, place)
        node = place[0].kids.get(place[1])
        return (*place[:2], node) if node is not None else None

    def on_fd(self, op, slot, fd, *words, content=False, counted=None):
        place = (None, "", fd.node) if fd else (None, "", None)
        if op == "fident" and fd and (fd.lost or fd.node.names == 0 and fd.node.of_lower):
            return
        note = "older-view" if fd and content and fd.older else None
        if fd and fd.node.kind == "dir" and not self.model.is_alive(fd.node):
            note = "removed-directory"
        self.emit(op, place, slot, *words, note=note, counted=counted)

    def do_read_fd(self):
        op = self.one_of(["read", "pread", "fsum", "mmapsum", "lseek", "fstat", "fident", "seekdata"])
        slot, fd = self.fd(op, lambda fd: fd.reads and fd.node.kind == "file" or self.random.random() < 0.05)
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        if op == "seekdata":
            self.on_fd("lseek", slot, fd, self.random.choice([0, 1, 5000]),
                       self.random.choice(["SEEK_DATA", "SEEK_HOLE"]), content=True)
            return
        if op == "mmapsum" and fd and fd.older:
            op = "fsum"
        words = {"pread": (50, self.random.choice([0, 0, 3, 4000])), "fsum": (self.random.choice([0, 0, 2]),),
                 "mmapsum": (20000,),
                 "lseek": (self.random.choice([0, 0, 5, -2, 10000]),
                           self.random.choice(["SEEK_SET", "SEEK_CUR", "SEEK_END"]))}.get(op, ())
        self.on_fd(op, slot, fd, *words, content=op != "fident")

    def do_write_fd(self):
        op = self.one_of(["write", "write", "pwrite", "ftruncate", "fallocate", "mmapput", "fsync"])
        slot, fd = self.fd(op, lambda fd: fd.node.kind == "file" and (fd.writes or self.random.random() < 0.05))
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        text = self.random.choice(TEXTS)
        far = self.random.choice([0, 0, 1, 10, 300, 5000, 9000])
        words = {"write": (text,), "pwrite": (text, far), "ftruncate": (far,), "mmapput": (text,), "fsync": (),
                 "fallocate": (far, self.random.choice([1, 4096, 0]), self.random.choice(
                     ["0", "0", "FALLOC_FL_KEEP_SIZE", "FALLOC_FL_PUNCH_HOLE|FALLOC_FL_KEEP_SIZE",
                      "FALLOC_FL_ZERO_RANGE"]))}[op]
        self.on_fd(op, slot, fd, *words)

    def do_copy_fd(self):
        op = self.one_of(["copy_file_range", "sendfile"])
        source, fd = self.fd(op, lambda fd: fd.reads and fd.node.kind == "file" and not fd.older)
        target, to = self.fd("", lambda fd: fd.writes and fd.node.kind == "file")
        if to is None and self.goal:
            place = self.existing(("file",))
            if place[2] is not None and place[2].kind == "file":
                target = self.random.choice(UNNAMED)
                self.emit("open", place, target, self.absolute(place), "O_RDWR|O_NONBLOCK")
                self.opened(target, place, ["O_RDWR"], 0)
                to = self.fds.get(target)
        if fd and to and not fd.older:
            self.on_fd(op, source, fd, target, self.random.choice([1, 5, 500]))

    def do_change_fd(self):
        op = self.one_of(["fchmod", "fchown", "futimens", "fsetxattr", "fremovexattr", "fsetacl"])
        slots = (*FILES, *UNNAMED, *FOLDERS)
        slot, fd = self.fd(op, lambda fd: not fd.path_only or self.random.random() < 0.05, slots)
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        if fd and fd.lost:
            op = "fident"
        words = self.change(op, fd.node if fd else None) if op != "fident" else ()
        self.on_fd("fsetxattr" if op == "fsetacl" else op, slot, fd, *words, counted=op)
        if fd and op != "fident" and not fd.path_only:
            self.model.copy_up(fd.node, fd.node.parent)
            self.changed(op, fd.node, words)

    def change(self, op, node):
        """Arguments of a call that changes attributes."""
        if op.endswith("chmod") or "chmodat" in op:
            return (oct(self.mode(node is not None and node.kind == "dir")).replace("o", ""),)
        if "chown" in op:
            return ("-1", "-1") if self.model.user else (self.random.choice(["0", "1000", "-1"]),
                                                        self.random.choice(["0", "1000", "-1"]))
        if "utimens" in op:
            return self.random.choice(TIMES), self.random.choice(TIMES)
        if op.endswith("setacl"):
            own = "rwx" if node is not None and node.kind == "dir" and self.random.random() < 0.8 else "rw"
            return ACLS[0], random_acl(self.random, self.uid, own)
        if op == "setdefault":
            return ACLS[1], random_acl(self.random, self.uid, "rwx")
        name = self.xattr()
        if name in ACLS:
            name = XATTRS[0] if "set" in op else name
        if "set" in op:
            return name, self.random.choice(["v", '""', "longer" * 9])
        return (name,)

    def xattr(self):
        return self.random.choice(XATTRS if self.random.random() < 0.8 else ACLS)

    @staticmethod
    def changed(op, node, words):
        """What a change of attributes does to the mode that the model knows."""
        if "chmod" in op:
            node.mode = int(words[0], 8)
        elif op.endswith("setacl"):
            node.mode = node.mode & ~0o700 | int(words[1][15]) << 6  # what the owner's entry says

    def do_ask_fd(self):
        op = self.one_of(["fgetxattr", "flistxattr", "fstat", "fident", "fdpath", "flock", "dup"])
        slot, fd = self.fd(op, slots=(*FILES, *FOLDERS) if op == "fdpath" else (*FILES, *UNNAMED, *FOLDERS))
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        if op == "fdpath" and fd and fd.node.names == 0 and fd.node.kind != "dir":
            op = "fident"  # what has no name is called by its inode
        if op == "flock" and fd and (fd.lower or fd.node.kind != "file"):
            op = "fident"
        if op == "dup":
            to = self.random.choice(FOLDERS if slot in FOLDERS else FILES)
            self.emit("dup", (None, "", fd.node if fd else None), to, slot)
            self.fds.pop(to, None)
            if fd:
                self.fds[to] = fd
            return
        words = {"fgetxattr": (self.xattr(),), "flock": (self.random.choice(["sh", "ex"]),)}.get(op, ())
        self.on_fd(op, slot, fd, *words, content=op not in ("fident", "flock"))

    def do_close(self):
        slots = [slot for slot in self.fds if slot not in UNNAMED] or [0]
        slot, fd = self.fd("close", slots=slots)
        self.on_fd("close", slot, fd)
        self.fds.pop(slot, None)

    # ---- asking about paths -----------------------------------------------------------------------------------------

    def do_stat(self):
        op = self.one_of(["stat", "lstat", "fstatat", "statx", "ident", "lident", "xident", "blocks"])
        place = self.pick(op)
        flags = self.random.choice(["0", "AT_SYMLINK_NOFOLLOW", "AT_SYMLINK_NOFOLLOW"])
        if self.random.random() < 0.04:
            self.lines.append(f"{op} {'cwd' if op in ('fstatat', 'statx') else ''} {self.mark()}")
        elif op in ("fstatat", "statx"):
            self.emit(op, place, *self.at(place), flags)
        else:
            self.emit(op, place, self.path(place))

    def mark(self):
        """The path of a mark that may hide a name: nothing shows there."""
        folder, name, _ = self.aimed_place("none", "whiteout") or self.absent()
        return self.absolute((folder, f".wh.{name}" if len(os.fsencode(name)) <= 251 else ".wh.a", None))

    def do_empty_path(self):
        op = self.one_of(["fstatat", "statx"])
        slot, fd = self.fd(op, slots=(*FILES, *FOLDERS))
        if fd and not fd.older:
            gone = fd.node.kind == "dir" and not self.model.is_alive(fd.node)
            self.emit(op, (None, "", fd.node), slot, '""', "AT_EMPTY_PATH", counted=f"{op}:fd",
                      note="removed-directory" if gone else None)

    def do_read(self):
        op = self.one_of(["sum", "sum", "getxattr", "lgetxattr", "listxattr", "llistxattr"])
        place = self.pick(op, ("file", "file", "link") if op == "sum" else None)
        if op == "sum" and place[2] is not None and place[2].kind == "fifo":
            op = "getxattr"
        words = (self.xattr(),) if "get" in op else ()
        self.emit(op, place, self.path(place), *words)

    def do_readlink(self):
        op = self.one_of(["readlink", "readlinkat"])
        place = self.pick(op, ("link",))
        self.emit(op, place, *(self.at(place) if op == "readlinkat" else (self.path(place),)))

    def do_realpath(self):
        place = self.pick("realpath")
        self.emit("realpath", place, self.path(place))

    def do_access(self):
        op = self.one_of(["access", "faccessat"])
        place = self.pick(op)
        how = self.random.choice(["F_OK", "R_OK", "W_OK", "X_OK", "R_OK|W_OK"])
        if op == "access":
            self.emit(op, place, self.path(place), how)
        else:
            self.emit(op, place, *self.at(place), how, self.random.choice(["0", "AT_EACCESS", "AT_SYMLINK_NOFOLLOW"]))

    # ---- directories ------------------------------------------------------------------------------------------------

    def do_list(self):
        op = self.one_of(["readdir", "readdir", "nftw", "tree"])
        place = self.rarest(op, self.itself) if self.random.random() < 0.9 else self.pick(op)
        if op in ("nftw", "tree") and self.random.random() < 0.8 and not self.goal:
            op = "readdir"
        self.emit(op, place, self.path(place))

    def do_entry(self):
        place = self.pick("dident")
        if not self.model.may(place[0] or self.home, 1):
            return  # its numbers are those of the layer (docs/design.md)
        folder = self.absolute((None, "", place[0])) if place[0] is not None else "@"
        self.emit("dident", place, folder, escaped(place[1]))

    def do_getdents(self):
        slot, fd = self.fd("getdents", lambda fd: not fd.path_only, FOLDERS)
        if fd is None:
            self.do_open_folder()
            return
        self.emit("lseek", (None, "", fd.node), slot, "0", "SEEK_SET")
        self.emit("getdents", (None, "", fd.node), slot)

    def do_hold(self):
        slot = self.aimed_hold() if self.goal else None
        if slot is None:
            slot = self.random.choice(HELD)
        if slot not in self.held or (self.goal[0] == "hold" if self.goal else self.random.random() < 0.1):
            self.hold(slot, self.rarest("hold", self.itself))
            return
        op = self.one_of(["hold_some", "hold_some", "hold_rest", "hold_rest", "hold_tell", "hold_seek",
                                 "hold_rewind", "hold_end"])
        words = (self.random.randint(1, 6),) if op == "hold_some" else ()
        self.emit(op, (None, "", self.held[slot]), slot, *words)
        if op == "hold_end":
            del self.held[slot]

    def hold(self, slot, place):
        self.emit("hold", place, slot, self.path(place))
        self.held[slot] = place[2]

    def aimed_hold(self):
        """A listing that is open, of a directory in the state that is aimed at; or None."""
        op, _, state = self.goal
        if op == "hold":
            return None
        for slot, node in self.held.items():
            if self.state((None, "", node))[1] == state:
                return slot
        place = self.doomed("dir") if state == "unlinked" else self.aimed_place("dir", state)
        if place is None:
            return None
        slot = self.random.choice(HELD)
        self.hold(slot, place)
        if state == "unlinked":
            self.remove("rmdir", place)
        return slot

    def do_chdir(self):
        r = self.random.random()
        if self.goal:
            r = {"fchdir": 0.1, "getcwd": 0.5, "chdir": 0.8}[self.goal[0]]
            if self.goal[0] == "getcwd":
                place = self.aimed_place(*self.goal[1:])
                if place is not None:
                    self.emit("chdir", place, self.absolute(place))
                    self.cwd = place[2] if self.model.may_walk(place[2]) else self.cwd
        if r < 0.25:
            slot, fd = self.fd("fchdir", slots=FOLDERS)
            if fd is None:
                self.do_open_folder()
                return
            self.emit("fchdir", (None, "", fd.node), slot)
            if fd.node.kind == "dir" and self.model.may(fd.node, 1):
                self.cwd = fd.node
        elif r < 0.6:
            self.emit("getcwd", (None, "", self.cwd or self.home))
        else:
            place = self.rarest("chdir", self.itself) if r < 0.93 else self.pick("chdir")
            path = self.absolute(place)
            self.emit("chdir", place, path)
            if place[2] is not None and place[2].kind == "dir" and self.model.may_walk(place[2]):
                self.cwd = place[2]

    # ---- making -----------------------------------------------------------------------------------------------------

    def do_make(self):
        op = self.one_of(["mkdir", "mkdir", "mkdirat", "mkdirat", "mkfifo", "mkfifoat", "mknod", "mknodat",
                                 "symlink", "symlinkat", "bind", "put", "put"])
        self.make(op, None, self.pick(op, None, 0.85))

    def make(self, op, wanted, place):
        """An object at a place by one of the operations of do_make; of mknod, of a wanted kind."""
        folder, name, node = place
        mode = self.mode(op.startswith("mkdir"))
        written = oct(mode).replace("o", "")
        kind, words = "file", ()
        if op.startswith("mkdir"):
            kind, words = "dir", (written,)
        elif op.startswith("mkfifo"):
            kind, words = "fifo", (written,)
        elif op.startswith("mknod"):
            kinds = [("file", ("S_IFREG|0644",)), ("fifo", ("S_IFIFO|0600",)), ("device", ("S_IFCHR|0644", "1", "3")),
                     ("socket", ("S_IFSOCK|0755",))]
            kind, words = self.random.choice([some for some in kinds if wanted in (None, some[0])])
        if op == "put":
            if node is not None and node.kind == "fifo":
                return
            self.emit(op, place, self.path(place), self.random.choice(TEXTS))
        elif op == "bind":
            if len(self.absolute(place)) > 60:
                return
            kind = "socket"
            self.emit(op, place, 30, self.absolute(place))
            self.lines.append("close 30")
        elif op.startswith("symlink"):
            kind, target = "link", self.target(place)
            if op == "symlink":
                self.emit(op, place, target, self.path(place))
            else:
                slot, path = self.at(place)
                self.emit(op, place, target, slot, path)
        elif op.endswith("at"):
            self.emit(op, place, *self.at(place), *words)
        else:
            self.emit(op, place, self.path(place), *words)
        if node is None and self.model.may_change(folder) and not (kind == "device" and self.model.user):
            self.model.add(folder, name, Node(kind, "upper", mode & ~self.umask,
                                              unescaped(target) if kind == "link" else ""))
        elif node is not None and op == "put":
            self.opened(29, place, ["O_WRONLY", "O_CREAT", "O_TRUNC"], 0o666)

    def target(self, place):
        r = self.random.random()
        other = self.existing() if r < 0.8 else self.absent()
        if r < 0.4 and other[0] is not None:
            return self.absolute(other)
        if r < 0.7 and place[0] is not None:
            words = self.words(other[0], other[1], place[0]) if other[0] is not None else None
            return "/".join(map(escaped, words)) if words else escaped(other[1])
        return self.random.choice([".", "..", "a", "../a", "./b/c", "missing", escaped(place[1]), "@/"])

    def do_link(self):
        op = self.one_of(["link", "linkat"])
        source, place = self.pick(op, ("file", "file", "link", "fifo")), self.pick(f"{op}>", None, 0.85)
        flags = self.random.choice(["0", "0", "AT_SYMLINK_FOLLOW"]) if op == "linkat" else "0"
        self.tally.met(f"{op}>", *self.state(place))
        if op == "link":
            self.emit(op, source, self.path(source), self.path(place))
        else:
            self.emit(op, source, *self.at(source), *self.at(place), flags)
        end = source if flags == "0" or source[0] is None else self.model.resolve(*source[:2])
        if end and end[2] is not None and end[2].kind != "dir" and not end[2].closed and place[2] is None and \
                self.model.may_change(place[0]):
            self.model.copy_up(end[2], end[0])
            end[2].linked = True
            self.model.add(place[0], place[1], end[2]) if end[2].state == "upper" else place[0].put(place[1], end[2])

    # ---- removing and renaming --------------------------------------------------------------------------------------

    def do_remove(self):
        op = self.one_of(["unlink", "unlink", "unlinkat", "remove", "rmdir", "rmdirat"])
        place = self.pick(op, ("dir",) if op.startswith("rmdir") else ("file", "link", "fifo", "device", "socket"))
        self.remove(op, place)

    def remove(self, op, place):
        folder, name, node = place
        if op == "rmdirat":
            self.emit("unlinkat", place, *self.at(place), "AT_REMOVEDIR", counted=op)
        elif op == "unlinkat":
            self.emit("unlinkat", place, *self.at(place), "0")
        else:
            self.emit(op, place, self.path(place))
        if node is None or not self.model.may_change(folder):
            return
        if node.kind == "dir" and (node.kids or node.closed or op in ("unlink", "unlinkat")):
            return
        if node.kind != "dir" and op.startswith("rmdir"):
            return
        self.model.copy_up(folder, folder.parent)
        folder.take(name)

    def remove_some(self):
        """A directory's content, so that rmdir succeeds and trees stay small."""
        folder = self.random.choice(self.all_folders)
        for name, node in list(folder.kids.items())[:8]:
            self.remove("rmdir" if node.kind == "dir" else "unlink", (folder, name, node))
        if not folder.kids and folder is not self.home:
            self.remove("rmdir", (folder.parent, folder.name, folder))
        self.all_folders = self.folders()

    def do_rename(self):
        op = self.one_of(["rename", "rename", "renameat", "renameat2", "renameat2"])
        kinds = self.random.choice([("file",), ("dir",), ("dir",), None])
        if self.goal and self.goal[1] != "none":
            kinds = ("dir",) if self.goal[1] == "dir" else ("file", "link", "fifo")
        flags = self.random.choice(["0", "RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_EXCHANGE", "RENAME_WHITEOUT",
                                    "RENAME_NOREPLACE|RENAME_EXCHANGE"]) if op == "renameat2" else "0"
        if self.goal:
            flags = self.goal[0].removesuffix(">").partition(":")[2] or "0"
        counted = op if flags == "0" else f"{op}:{flags}"
        source = self.pick(counted, kinds, 0.05)
        free = 0.1 if flags == "RENAME_EXCHANGE" else 0.7
        place = self.pick(counted + ">", kinds if self.random.random() < 0.7 else None, free)
        moved = [source[2]] + ([place[2]] if flags == "RENAME_EXCHANGE" else [])
        if not self.kernel_renames and any(self.has_lower_content(node) for node in moved):
            return
        note = "not-bare" if flags == "RENAME_WHITEOUT" else "unreadable" if any(
            self.is_closed(node) for node in (source[2], place[2]) if node is not None) else None
        self.tally.met(counted + ">", *self.state(place))
        if op == "rename":
            self.emit(op, source, self.path(source), self.path(place), note=note)
        elif op == "renameat":
            self.emit(op, source, *self.at(source), *self.at(place), note=note)
        else:
            self.emit(op, source, *self.at(source), *self.at(place), flags, note=note, counted=counted)
        self.renamed(source, place, flags)

    def is_closed(self, node):
        """Whether a part of what would move can't be read, and so can't be copied up."""
        return node.closed or any(self.is_closed(kid) for kid in (node.kids or {}).values())

    @staticmethod
    def has_lower_content(node):
        return node is not None and node.kind == "dir" and node.state not in ("upper", "opaque")

    def renamed(self, source, place, flags):
        (folder, name, node), (into, new, old) = source, place
        if node is None or folder is None or into is None or node is old or flags in (
                "RENAME_WHITEOUT", "RENAME_NOREPLACE|RENAME_EXCHANGE"):
            return
        if not (self.model.may_change(folder) and self.model.may_change(into)):
            return
        if node.kind == "dir" and into.is_below(node):
            return
        if any(self.is_closed(some) for some in (node, old) if some is not None):
            return
        if flags == "RENAME_EXCHANGE":
            if old is None or old.kind == "dir" and folder.is_below(old):
                return
            folder.take(name)
            into.take(new)
            folder.put(name, old)
            into.put(new, node)
            self.model.moved(old)
        else:
            if old is not None:
                if flags == "RENAME_NOREPLACE" or (old.kind == "dir") != (node.kind == "dir") or old.kids:
                    return
                into.take(new)
            folder.take(name)
            into.put(new, node)
        self.model.moved(node)
        self.model.copy_up(folder, folder.parent)
        self.model.copy_up(into, into.parent)

    # ---- attributes -------------------------------------------------------------------------------------------------

    def do_change(self):
        op = self.one_of(["chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utimens", "utimensat",
                          "setxattr", "lsetxattr", "removexattr", "lremovexattr", "setacl", "setdefault"])
        place = self.rarest(op, self.itself) if op == "setdefault" else \
            self.pick(op, ("file", "dir", "file", "dir", "link"))
        end = place if place[0] is None or op in ("lchown", "lsetxattr", "lremovexattr") else \
            self.model.resolve(*place[:2])
        words = self.change(op, end[2] if end else None)
        if op in ("fchmodat", "fchmodat2", "fchownat", "utimensat"):
            flags = () if op == "fchmodat" else (self.random.choice(["0", "AT_SYMLINK_NOFOLLOW"]),)
            self.emit(op, place, *self.at(place), *words, *flags)
        else:
            written = "setxattr" if op in ("setacl", "setdefault") else op
            self.emit(written, place, self.path(place), *words, counted=op)
        if end and end[2] is not None and not self.model.read_only:
            self.model.copy_up(end[2], end[0])
            self.changed(op, end[2], words)

    def do_truncate(self):
        place = self.pick("truncate", ("file", "file", "link"))
        size = self.random.choice([0, 0, 1, 50, 5000])
        self.emit("truncate", place, self.path(place), size)
        end = self.model.resolve(*place[:2]) if place[0] is not None else None
        if end and end[2] is not None and end[2].kind == "file" and not self.model.read_only:
            self.model.copy_up(end[2], end[0])
            end[2].size = size

    def do_append(self):
        place = self.pick("append", ("file", "file", "link"))
        if place[2] is not None and place[2].kind == "fifo":
            return
        self.emit("append", place, self.path(place), self.random.choice(TEXTS))
        self.opened(29, place, ["O_WRONLY"], 0)

    def do_umask(self):
        self.umask = self.random.choice([0o022, 0o022, 0o077, 0o002, 0])
        self.lines.append(f"umask {oct(self.umask).replace('o', '')}")

    ACTIONS, WEIGHTS = zip(*[
        (do_open, 12), (do_open_folder, 2), (do_tmpfile, 1), (do_linkfd, 1), (do_read_fd, 6), (do_write_fd, 6),
        (do_copy_fd, 1), (do_change_fd, 4), (do_ask_fd, 4), (do_close, 1), (do_stat, 8), (do_empty_path, 1), (do_read, 5),
        (do_readlink, 2), (do_realpath, 2), (do_access, 4), (do_list, 3), (do_entry, 2), (do_getdents, 1), (do_hold, 4),
        (do_chdir, 3), (do_make, 10), (do_link, 4), (do_remove, 6), (do_rename, 10), (do_change, 10), (do_truncate, 2),
        (do_append, 2), (do_umask, 0.3)])


    ACTION_OF = {op: action for action, ops in {
        do_open: "open openat openat2 creat", do_open_folder: "opendir", do_tmpfile: "tmpfile", do_linkfd: "linkfd",
        do_read_fd: "read pread fsum mmapsum lseek", do_copy_fd: "sendfile copy_file_range", do_close: "close",
        do_write_fd: "write pwrite ftruncate fallocate mmapput fsync",
        do_change_fd: "fchmod fchown futimens fsetxattr fremovexattr fsetacl",
        do_ask_fd: "fgetxattr flistxattr fstat fident fdpath flock dup", do_empty_path: "fstatat:fd statx:fd",
        do_stat: "stat lstat fstatat statx ident lident xident blocks", do_realpath: "realpath",
        do_read: "sum getxattr lgetxattr listxattr llistxattr", do_readlink: "readlink readlinkat",
        do_access: "access faccessat", do_list: "readdir nftw tree", do_entry: "dident", do_getdents: "getdents",
        do_hold: "hold hold_some hold_rest hold_tell hold_seek hold_rewind hold_end", do_chdir: "chdir fchdir getcwd",
        do_make: "mkdir mkdirat mkfifo mkfifoat mknod mknodat symlink symlinkat bind put",
        do_link: "link linkat link> linkat>", do_remove: "unlink unlinkat remove rmdir rmdirat",
        do_rename: "rename renameat renameat2 rename> renameat> renameat2> renameat2:RENAME_NOREPLACE "
                   "renameat2:RENAME_NOREPLACE> renameat2:RENAME_EXCHANGE renameat2:RENAME_EXCHANGE>",
        do_change: "chmod fchmodat fchmodat2 chown lchown fchownat utimens utimensat setxattr lsetxattr removexattr "
                   "lremovexattr setacl setdefault",
        do_truncate: "truncate", do_append: "append"}.items() for op in ops.split()}

    assert ACTION_OF.keys() == BY_PATH.keys() | BY_FD.keys()


UPPER_STATES = ("copied", "upper", "merged", "opaque", "moved")


def make_case(seed, uid, operations, processes=1, shared=False, tally=None):
    """One case: the same for the same arguments, but for what the tally steers."""
    dice = random.Random(f"{seed} {uid} {processes} {shared}")
    tally = tally or Tally(uid != 0)
    kind, state = tally.subject(dice)
    form = dice.choice(["oci", "oci", "xattr"] if uid else ["oci", "oci", "dev", "xattr"])
    prefix = "user." if uid else dice.choice(["user.", "trusted."])
    special = dice.random() if not shared else 1
    read_only = special < 0.05
    foreign = 0.05 < special < 0.15 and uid not in (0, os.geteuid())
    # Linux overlayfs without an index can't be asked where lower files have several names, nor where directories move.
    links = kind == "linked" or (kind == "dir" and state == "moved") or dice.random() < (0.3 if uid else 0.7)
    trees = Trees(dice, uid, form, prefix, None if state == "unlinked" else kind, links, foreign)
    homes = [()] * processes if shared or processes == 1 else [(f"p{i}",) for i in range(processes)]
    many = dice.choice([2, 2, 3, 4] if state == "lower" else [1, 1, 1, 2, 2, 3, 4, 8])
    lowers = [many_homes(trees, homes, lowest=i == many - 1, objects=60 // many + 10) for i in range(many)]
    trees.foreign = False
    if state in UPPER_STATES and dice.random() < 0.7:
        upper = trees.over(lowers, kind, state, ["/".join(home) for home in homes])
    else:
        upper = {} if dice.random() < 0.7 else many_homes(trees, homes, objects=20)
    upper, *lowers = without_stray_marks([upper, *lowers])
    if foreign:
        with_open_directories([upper, *lowers])
    options = ",whiteout=kernel" if form == "dev" else ""
    case = Case(lowers, None if read_only else upper, [], seed=seed, user=uid != 0, form=form, prefix=prefix,
                options=options, foreign=foreign, shared=shared)
    kernel_renames = not uid or case.has_links or foreign
    for home in homes:
        generator = Generator(dice, Model(case, uid != 0), home, tally, kernel_renames, (kind, state), uid, foreign)
        case.scripts.append(generator.run(operations))
    return case


def many_homes(trees, homes, **how):
    layer = {}
    for home in dict.fromkeys(homes):
        layer.update(trees.layer("/".join(home), **how))
    return layer

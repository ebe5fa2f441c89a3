# SPDX-License-Identifier: MIT
"""Cases at random, steered: of the places that an operation could be tried on, the one is taken that was met least
often with this operation, by kind and state."""

import collections
import os
import random
import re

from case import Case
from model import Model, Node
from trees import NAMES, Trees, without_stray_marks

FILES = range(0, 10)
FOLDERS = range(10, 16)
UNNAMED = range(16, 18)
HELD = range(0, 4)
TIMES = ["now", "omit", "0.0", "1000000000.5", "1234567890.123456789", "1.999999999"]
XATTRS = ["user.k", "user.m", "user.new"]
MODES = [0o644, 0o600, 0o755, 0o444, 0o666, 0o640, 0o4755, 0o2711]
TEXTS = ["x", "hello", "0123456789" * 3, "line\\n", "z" * 300]
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

    def __init__(self, dice, model, home, counts, kernel_renames):
        self.random, self.model, self.counts = dice, model, counts
        self.kernel_renames = kernel_renames  # the kernel renames directories with lower content
        self.home = self.model.root
        for name in home:
            self.home = self.home.kids[name]
        self.prefix = "/".join(("@", *home))
        self.fds, self.held = {}, {}
        self.cwd = None  # outside
        self.umask = 0o022
        self.fresh = 0
        self.lines = []

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
            return node.what, node.state
        if folder is not None and name in folder.below:
            return "none", "whiteout"
        return "none", "none"

    def rarest(self, op, choose, tries=4):
        places = [choose() for _ in range(tries)]
        return min(places, key=lambda place: self.counts[(op, *self.state(place))])

    def pick(self, op, kinds=None, absent=0.12):
        """A place for an operation: existing ones of these kinds mostly, others and free names now and then."""
        r = self.random.random()
        if r < absent:
            return self.rarest(op, self.absent, 2)
        place = self.rarest(op, lambda: self.existing(kinds if r < 0.85 else None))
        self.model.escaped = False
        if place[2] is not None and place[2].kind == "link" and not self.model.resolve(*place[:2]):
            if self.model.escaped:
                return self.absent()  # outside, each side is another place
        return place

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

    def emit(self, op, place, *words, note=None):
        self.counts[(op, *self.state(place))] += 1
        self.lines.append(" ".join([op, *map(str, words)] + ([f"!{note}"] if note else [])))

    def run(self, operations):
        self.lines = []
        while len(self.lines) < operations:
            self.all_folders = self.folders()
            if len(self.all_folders) > 60 or self.random.random() < 0.03:
                self.remove_some()
            self.random.choices(self.ACTIONS, self.WEIGHTS)[0](self)
        return self.lines

    def mode(self, of_dir=False):
        modes = [0o755, 0o700, 0o777, 0o1777, 0o2775] if of_dir else MODES
        return self.random.choice(modes)

    # ---- opening ----------------------------------------------------------------------------------------------------

    KEEPING = ("RESOLVE_BENEATH", "RESOLVE_IN_ROOT")

    def do_open(self):
        op = self.random.choice(["open", "open", "openat", "openat", "creat", "openat2"])
        place = self.pick(op, ("file", "file", "link"), 0.2)
        if place[2] is not None and place[2].kind == "dir" and self.random.random() < 0.7:
            self.do_open_folder(place)
            return
        flags = [self.random.choice(["O_RDONLY", "O_RDONLY", "O_WRONLY", "O_RDWR", "O_RDWR"]), "O_NONBLOCK"]
        chance = {"O_CREAT": 0.85 if place[2] is None else 0.2, "O_TRUNC": 0.12, "O_APPEND": 0.15, "O_EXCL": 0.05,
                  "O_NOFOLLOW": 0.08, "O_DIRECTORY": 0.02, "O_CLOEXEC": 0.1, "O_SYNC": 0.03, "O_NOATIME": 0.05,
                  "O_PATH": 0.04}
        flags += [flag for flag, share in chance.items() if self.random.random() < share]
        if "O_DIRECTORY" in flags and "O_CREAT" in flags:
            flags.remove("O_DIRECTORY")
        if op == "creat":
            if place[2] is not None and place[2].kind != "file":
                op = "open"
            else:
                flags = ["O_WRONLY", "O_CREAT", "O_TRUNC"]
        slot = self.random.choice(FILES)
        self.open(op, slot, place, flags)

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
        if writes_now:
            self.model.copy_up(node, folder)
        self.fds[slot] = Fd(node, "O_WRONLY" not in flags, writes)

    def do_open_folder(self, place=None):
        place = place or self.rarest("opendirfd", self.itself)
        slot = self.random.choice(FOLDERS)
        flags = self.random.choice(["O_RDONLY|O_DIRECTORY", "O_RDONLY", "O_PATH|O_DIRECTORY", "O_PATH"])
        self.emit("open", place, slot, self.path(place), flags)
        self.fds.pop(slot, None)
        if place[2].kind == "dir" and self.model.may_walk(place[2]):
            self.fds[slot] = Fd(place[2], True, False, path_only="O_PATH" in flags)

    def do_tmpfile(self):
        place, slot = self.rarest("tmpfile", self.itself), self.random.choice(UNNAMED)
        self.emit("open", place, slot, self.path(place), self.random.choice(["O_TMPFILE|O_RDWR", "O_TMPFILE|O_WRONLY"]),
                  "0600")
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
            self.emit("linkat", place, slot, '""', "cwd", self.absolute(place), "AT_EMPTY_PATH")
        else:
            self.emit("linkfd", place, slot, self.path(place))
        fd = self.fds.get(slot)
        if fd and place[2] is None and slot in UNNAMED and self.model.may_change(place[0]):
            self.model.add(place[0], place[1], fd.node)

    # ---- descriptors ------------------------------------------------------------------------------------------------

    def fd(self, op, want=lambda fd: True, slots=(*FILES, *UNNAMED)):
        """An open descriptor: slot, Fd."""
        found = [slot for slot in slots if slot in self.fds and want(self.fds[slot])]
        if not found:
            return self.random.choice(slots), None
        some = self.random.sample(found, min(3, len(found)))
        slot = min(some, key=lambda slot: self.counts[(op, self.fds[slot].node.what, self.fds[slot].node.state)])
        return slot, self.fds[slot]

    def on_fd(self, op, slot, fd, *words, content=False):
        place = (None, "", fd.node) if fd else (None, "", None)
        if op == "fident" and fd and (fd.lost or fd.node.names == 0 and fd.node.of_lower):
            return
        note = "older-view" if fd and content and fd.older else None
        if fd and fd.node.kind == "dir" and not self.model.is_alive(fd.node):
            note = "removed-directory"
        self.emit(op, place, slot, *words, note=note)

    def do_read_fd(self):
        op = self.random.choice(["read", "pread", "fsum", "mmapsum", "lseek", "fstat", "fident", "seekdata"])
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
        op = self.random.choice(["write", "write", "pwrite", "ftruncate", "fallocate", "mmapput", "fsync"])
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
        op = self.random.choice(["copy_file_range", "sendfile"])
        source, fd = self.fd(op, lambda fd: fd.reads and fd.node.kind == "file" and not fd.older)
        target, to = self.fd(op, lambda fd: fd.writes and fd.node.kind == "file")
        if fd and to and not fd.older:
            self.on_fd(op, source, fd, target, self.random.choice([1, 5, 500]))

    def do_change_fd(self):
        op = self.random.choice(["fchmod", "fchown", "futimens", "fsetxattr", "fremovexattr"])
        slots = (*FILES, *UNNAMED, *FOLDERS)
        slot, fd = self.fd(op, lambda fd: not fd.path_only or self.random.random() < 0.05, slots)
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        if fd and fd.lost:
            op = "fident"
        words = self.change(op, fd.node if fd else None) if op != "fident" else ()
        self.on_fd(op, slot, fd, *words)
        if fd and op != "fident" and not fd.path_only:
            self.model.copy_up(fd.node, fd.node.parent)
            if op == "fchmod":
                fd.node.mode = int(words[0], 8)

    def change(self, op, node):
        """Arguments of a call that changes attributes."""
        if op.endswith("chmod") or "chmodat" in op:
            return (oct(self.mode(node is not None and node.kind == "dir")).replace("o", ""),)
        if "chown" in op:
            return ("-1", "-1") if self.model.user else (self.random.choice(["0", "1000", "-1"]),
                                                        self.random.choice(["0", "1000", "-1"]))
        if "utimens" in op:
            return self.random.choice(TIMES), self.random.choice(TIMES)
        name = self.random.choice(XATTRS)
        if "set" in op:
            return name, self.random.choice(["v", '""', "longer" * 9])
        return (name,)

    def do_ask_fd(self):
        op = self.random.choice(["fgetxattr", "flistxattr", "fstat", "fident", "fdpath", "flock", "dup"])
        slot, fd = self.fd(op, slots=(*FILES, *FOLDERS) if op == "fdpath" else (*FILES, *UNNAMED, *FOLDERS))
        if fd is None and self.random.random() < 0.9:
            self.do_open()
            return
        if op == "fdpath" and fd and fd.node.names == 0 and fd.node.kind != "dir":
            op = "fident"  # what has no name is called by its inode
        if op == "fdpath" and fd and (fd.node.linked or (fd.lower and self.model.has_links)):
            op = "fident"  # of several names it may be another (docs/design.md)
        if op == "flock" and fd and (fd.lower or fd.node.kind != "file"):
            op = "fident"
        if op == "dup":
            to = self.random.choice(FOLDERS if slot in FOLDERS else FILES)
            self.emit("dup", (None, "", fd.node if fd else None), to, slot)
            self.fds.pop(to, None)
            if fd:
                self.fds[to] = fd
            return
        words = {"fgetxattr": (self.random.choice(XATTRS),), "flock": (self.random.choice(["sh", "ex"]),)}.get(op, ())
        self.on_fd(op, slot, fd, *words, content=op not in ("fident", "flock"))

    def do_close(self):
        slots = [slot for slot in self.fds if slot not in UNNAMED] or [0]
        slot = self.random.choice(slots)
        fd = self.fds.pop(slot, None)
        self.on_fd("close", slot, fd)

    # ---- asking about paths -----------------------------------------------------------------------------------------

    def do_stat(self):
        op = self.random.choice(["stat", "lstat", "fstatat", "statx", "ident", "lident", "xident", "blocks"])
        place = self.pick(op)
        flags = self.random.choice(["0", "AT_SYMLINK_NOFOLLOW", "AT_SYMLINK_NOFOLLOW"])
        if self.random.random() < 0.02:
            self.lines.append(f"{op} {'cwd' if op in ('fstatat', 'statx') else ''} {self.prefix}/.wh.a")
        elif op in ("fstatat", "statx"):
            self.emit(op, place, *self.at(place), flags)
        else:
            self.emit(op, place, self.path(place))

    def do_empty_path(self):
        slot, fd = self.fd("fstatat", slots=(*FILES, *FOLDERS))
        if fd and not fd.older:
            op = self.random.choice(["fstatat", "statx"])
            gone = fd.node.kind == "dir" and not self.model.is_alive(fd.node)
            self.emit(op, (None, "", fd.node), slot, '""', "AT_EMPTY_PATH", note="removed-directory" if gone else None)

    def do_read(self):
        op = self.random.choice(["sum", "sum", "getxattr", "lgetxattr", "listxattr", "llistxattr"])
        place = self.pick(op, ("file", "file", "link") if op == "sum" else None)
        if op == "sum" and place[2] is not None and place[2].kind == "fifo":
            op = "getxattr"
        words = (self.random.choice(XATTRS),) if "get" in op else ()
        self.emit(op, place, self.path(place), *words)

    def do_readlink(self):
        op = self.random.choice(["readlink", "readlinkat"])
        place = self.pick(op, ("link",))
        self.emit(op, place, *(self.at(place) if op == "readlinkat" else (self.path(place),)))

    def do_realpath(self):
        place = self.pick("realpath")
        self.emit("realpath", place, self.path(place))

    def do_access(self):
        op = self.random.choice(["access", "faccessat"])
        place = self.pick(op)
        how = self.random.choice(["F_OK", "R_OK", "W_OK", "X_OK", "R_OK|W_OK"])
        if op == "access":
            self.emit(op, place, self.path(place), how)
        else:
            self.emit(op, place, *self.at(place), how, self.random.choice(["0", "AT_EACCESS", "AT_SYMLINK_NOFOLLOW"]))

    # ---- directories ------------------------------------------------------------------------------------------------

    def do_list(self):
        op = self.random.choice(["readdir", "readdir", "nftw", "tree"])
        place = self.rarest(op, self.itself) if self.random.random() < 0.9 else self.pick(op)
        if op in ("nftw", "tree") and self.random.random() < 0.8:
            op = "readdir"
        self.emit(op, place, self.path(place))

    def do_entry(self):
        place = self.pick("dident")
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
        slot = self.random.choice(HELD)
        if slot not in self.held or self.random.random() < 0.1:
            place = self.rarest("hold", self.itself)
            self.emit("hold", place, slot, self.path(place))
            self.held[slot] = place[2]
            return
        op = self.random.choice(["hold_some", "hold_some", "hold_rest", "hold_rest", "hold_tell", "hold_seek",
                                 "hold_rewind", "hold_end"])
        words = (self.random.randint(1, 6),) if op == "hold_some" else ()
        self.emit(op, (None, "", self.held[slot]), slot, *words)
        if op == "hold_end":
            del self.held[slot]

    def do_chdir(self):
        r = self.random.random()
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
        op = self.random.choice(["mkdir", "mkdir", "mkdirat", "mkdirat", "mkfifo", "mkfifoat", "mknod", "mknodat",
                                 "symlink", "symlinkat", "bind", "put", "put"])
        place = self.pick(op, None, 0.85)
        folder, name, node = place
        mode = self.mode(op.startswith("mkdir"))
        written = oct(mode).replace("o", "")
        kind, words = "file", ()
        if op.startswith("mkdir"):
            kind, words = "dir", (written,)
        elif op.startswith("mkfifo"):
            kind, words = "fifo", (written,)
        elif op.startswith("mknod"):
            kind, words = self.random.choice([("file", ("S_IFREG|0644",)), ("fifo", ("S_IFIFO|0600",)),
                                              ("device", ("S_IFCHR|0644", "1", "3")), ("socket", ("S_IFSOCK|0755",))])
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
        op = self.random.choice(["link", "linkat"])
        source, place = self.pick(op, ("file", "file", "link", "fifo")), self.pick(op, None, 0.85)
        flags = self.random.choice(["0", "0", "AT_SYMLINK_FOLLOW"]) if op == "linkat" else "0"
        if op == "link":
            self.emit(op, source, self.path(source), self.path(place))
        else:
            self.emit(op, source, *self.at(source), *self.at(place), flags)
        end = source if flags == "0" or source[0] is None else self.model.resolve(*source[:2])
        if end and end[2] is not None and end[2].kind != "dir" and place[2] is None and self.model.may_change(place[0]):
            self.model.copy_up(end[2], end[0])
            self.model.add(place[0], place[1], end[2]) if end[2].state == "upper" else place[0].put(place[1], end[2])

    # ---- removing and renaming --------------------------------------------------------------------------------------

    def do_remove(self):
        op = self.random.choice(["unlink", "unlink", "unlinkat", "remove", "rmdir", "rmdirat"])
        place = self.pick(op, ("dir",) if op.startswith("rmdir") else ("file", "link", "fifo", "device", "socket"))
        self.remove(op, place)

    def remove(self, op, place):
        folder, name, node = place
        if op == "rmdirat":
            self.emit("unlinkat", place, *self.at(place), "AT_REMOVEDIR")
        elif op == "unlinkat":
            self.emit("unlinkat", place, *self.at(place), "0")
        else:
            self.emit(op, place, self.path(place))
        if node is None or not self.model.may_change(folder):
            return
        if node.kind == "dir" and (node.kids or op in ("unlink", "unlinkat")):
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
        op = self.random.choice(["rename", "rename", "renameat", "renameat2", "renameat2"])
        kinds = self.random.choice([("file",), ("dir",), ("dir",), None])
        flags = self.random.choice(["0", "RENAME_NOREPLACE", "RENAME_EXCHANGE", "RENAME_EXCHANGE", "RENAME_WHITEOUT",
                                    "RENAME_NOREPLACE|RENAME_EXCHANGE"]) if op == "renameat2" else "0"
        counted = op if flags == "0" else f"{op}:{flags}"
        source = self.pick(counted, kinds, 0.05)
        free = 0.1 if flags == "RENAME_EXCHANGE" else 0.7
        place = self.pick(counted + ">", kinds if self.random.random() < 0.7 else None, free)
        moved = [source[2]] + ([place[2]] if flags == "RENAME_EXCHANGE" else [])
        if not self.kernel_renames and any(self.has_lower_content(node) for node in moved):
            return
        note = "not-bare" if flags == "RENAME_WHITEOUT" else None
        self.counts[(counted + ">", *self.state(place))] += 1
        if op == "rename":
            self.emit(op, source, self.path(source), self.path(place))
        elif op == "renameat":
            self.emit(op, source, *self.at(source), *self.at(place))
        else:
            self.emit(op, source, *self.at(source), *self.at(place), flags, note=note)
            self.counts[(counted, *self.state(source))] += 1
        self.renamed(source, place, flags)

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
        op = self.random.choice(["chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utimens", "utimensat",
                                 "setxattr", "lsetxattr", "removexattr", "lremovexattr"])
        place = self.pick(op, ("file", "dir", "file", "dir", "link"))
        end = place if place[0] is None or op in ("lchown", "lsetxattr", "lremovexattr") else \
            self.model.resolve(*place[:2])
        words = self.change(op, end[2] if end else None)
        if op in ("fchmodat", "fchmodat2", "fchownat", "utimensat"):
            flags = () if op == "fchmodat" else (self.random.choice(["0", "AT_SYMLINK_NOFOLLOW"]),)
            self.emit(op, place, *self.at(place), *words, *flags)
        else:
            self.emit(op, place, self.path(place), *words)
        if end and end[2] is not None:
            self.model.copy_up(end[2], end[0])
            if "chmod" in op:
                end[2].mode = int(words[0], 8)

    def do_truncate(self):
        place = self.pick("truncate", ("file", "file", "link"))
        size = self.random.choice([0, 0, 1, 50, 5000])
        self.emit("truncate", place, self.path(place), size)
        end = self.model.resolve(*place[:2]) if place[0] is not None else None
        if end and end[2] is not None and end[2].kind == "file":
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


def make_case(seed, user, operations, processes=1, shared=False, counts=None):
    """One case: the same for the same arguments, but for what the counts steer."""
    dice = random.Random(f"{seed} {user} {processes} {shared}")
    form = dice.choice(["oci", "oci", "xattr"] if user else ["oci", "oci", "dev", "xattr"])
    prefix = "user." if user else dice.choice(["user.", "trusted."])
    trees = Trees(dice, user, form, prefix)
    homes = [()] * processes if shared or processes == 1 else [(f"p{i}",) for i in range(processes)]
    many = dice.choice([1, 1, 1, 2, 2, 3, 4, 8])
    lowers = [many_homes(trees, homes, lowest=i == many - 1, objects=60 // many + 10) for i in range(many)]
    upper = {} if dice.random() < 0.7 else many_homes(trees, homes, objects=20)
    upper, *lowers = without_stray_marks([upper, *lowers])
    options = ",whiteout=kernel" if form == "dev" else ""
    case = Case(lowers, upper, [], seed=seed, user=user, form=form, prefix=prefix, options=options, shared=shared)
    counts = collections.Counter() if counts is None else counts
    for home in homes:
        generator = Generator(dice, Model(case, user), home, counts, kernel_renames=not user)
        case.scripts.append(generator.run(operations))
    return case


def many_homes(trees, homes, **how):
    layer = {}
    for home in dict.fromkeys(homes):
        layer.update(trees.layer("/".join(home), **how))
    return layer

# SPDX-License-Identifier: MIT
"""A case: layers and the operations that are run on them.  It can be kept as a file, and run again from it."""

import copy
import dataclasses
import json

import differences
import layers

KINDS = {kind.__name__: kind for kind in (layers.File, layers.Dir, layers.Link, layers.Fifo, layers.Device,
                                          layers.Socket, layers.Whiteout, layers.Same)}

READS = ("read", "pread", "fsum", "mmapsum", "lseek", "fstat", "fgetxattr", "flistxattr",
         "mmapput", "sendfile", "copy_file_range")
SLOTS = 32


@dataclasses.dataclass
class Case:
    lowers: list  # of layers as layers.py describes them, with objects only; the highest first
    upper: dict | None
    scripts: list  # a list of operations for each process; all run at once
    seed: int = 0
    user: bool = False
    form: str = "oci"  # of the layers' marks
    prefix: str = "user."
    options: str = ""  # of libovl
    foreign: bool = False  # the lower layers are root's, and an ordinary user works on them
    shared: bool = False  # the processes use the same names: only what must hold in any order can be checked

    @property
    def operations(self):
        return sum(map(len, self.scripts))

    @property
    def has_links(self):
        """Whether a lower file has several names: Linux overlayfs without an index breaks them."""
        return any(isinstance(item, layers.Same) for layer in self.lowers for item in layer.values())

    def changed(self, **changes):
        return dataclasses.replace(self, **changes)

    def expanded(self):
        """The layers as layers.build wants them; upper None stays None."""
        lowers = [layers.expand(layer) for layer in copy.deepcopy(self.lowers)]
        return lowers, None if self.upper is None else layers.expand(copy.deepcopy(self.upper))

    def with_before(self, i, n, lines):
        """The case with lines before operation n of script i."""
        script = self.scripts[i][:n] + lines + self.scripts[i][n:]
        return self.changed(scripts=self.scripts[:i] + [script] + self.scripts[i + 1:])

    def line(self, at):
        i, n = at
        return self.scripts[i][n]

    def words(self, at):
        return self.line(at).partition(" !")[0].split(" ")

    def slots(self, at):
        return [word for word in self.words(at)[1:] if word.isdigit() and str(int(word)) == word and int(word) < SLOTS]

    def whereabouts(self, at):
        """Operations that ask where the directories are that an operation begins at."""
        return ["getcwd", *(f"fdpath {slot}" for slot in self.slots(at))]

    def objects(self, at):
        """What an operation may be about: (directory and path, flags).  What means something else is among them."""
        words = self.words(at)
        return [(f"{before if before.isdigit() else 'cwd'} {word}", "0") for before, word in zip(words, words[1:])
                if word[:1] == "@" or differences.is_relative(word)] + [
                    (f'{slot} ""', "AT_EMPTY_PATH") for slot in self.slots(at)]

    def copied_up_before(self, i, n):
        """The case with the file that operation n of script i reads by a descriptor copied up before it is opened, or None
        where it reads none."""
        words = self.scripts[i][n].split(" ")
        by_fd = words[0] in (*READS, "fdpath") or (words[0] in ("fstatat", "statx") and words[2] == '""')
        if not by_fd or len(words) < 2:
            return None
        slot = words[1]
        for at in range(n - 1, -1, -1):
            words = self.scripts[i][at].split(" ")
            if words[0] == "dup" and words[1] == slot:
                slot = words[2]
            elif words[0] in ("open", "openat", "creat") and words[1] == slot:
                break
        else:
            return None
        path = words[2:4] if words[0] == "openat" else words[2:3]
        place = path if words[0] == "openat" else ["cwd", *path]
        follow = "AT_SYMLINK_NOFOLLOW" if "O_NOFOLLOW" in self.scripts[i][at] else "0"
        line = " ".join(["fchownat", *place, "-1", "-1", follow])
        return self.with_before(i, at, [line])

    def to_json(self):
        facts = dataclasses.asdict(self.changed(lowers=[], upper=None))
        facts["lowers"] = [pack_layer(layer) for layer in self.lowers]
        facts["upper"] = None if self.upper is None else pack_layer(self.upper)
        return json.dumps(facts, indent=1)

    @staticmethod
    def from_json(text):
        facts = json.loads(text)
        facts["lowers"] = [unpack_layer(layer) for layer in facts["lowers"]]
        facts["upper"] = None if facts["upper"] is None else unpack_layer(facts["upper"])
        return Case(**facts)

    def __str__(self):
        lines = [f"seed {self.seed}, {'user' if self.user else 'root'}, form {self.form} {self.prefix} {self.options}"
                 + (", root's layers" if self.foreign else "")]
        for i, layer in enumerate(self.lowers):
            lines += [f"lower {i}: {show(path, item)}" for path, item in layer.items()]
        if self.upper is None:
            lines.append("no upper")
        else:
            lines += [f"upper: {show(path, item)}" for path, item in self.upper.items()]
        for i, script in enumerate(self.scripts):
            lines += [f"process {i}: {line}" if len(self.scripts) > 1 else f"  {line}" for line in script]
        return "\n".join(lines)


def differing(item):
    """The fields of an object that are not the usual ones."""
    usual = type(item)()
    return {f.name: getattr(item, f.name) for f in dataclasses.fields(item)
            if getattr(item, f.name) != getattr(usual, f.name)}


def show(path, item):
    facts = " ".join(f"{name}={oct(value) if name == 'mode' else repr(value)}" for name, value in differing(item).items())
    return f"{path!r} {type(item).__name__} {facts}".rstrip()


def pack_layer(layer):
    return {path: [type(item).__name__, differing(item)] for path, item in layer.items()}


def unpack_layer(packed):
    layer = {}
    for path, (kind, facts) in packed.items():
        if "owner" in facts:
            facts["owner"] = tuple(facts["owner"])
        layer[path] = KINDS[kind](**facts)
    return layer

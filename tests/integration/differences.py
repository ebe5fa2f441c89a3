# SPDX-License-Identifier: MIT
"""Where the bare file system and Linux overlayfs answer differently, and which one libovl follows.

An entry applies to one answer: it gets the operation's words, the bare answer and the kernel's, and
says whether it explains them.  `right` is the side that libovl must agree with.  Anything that no
entry explains is a failure of the tests themselves.
"""

import re
from dataclasses import dataclass
from typing import Callable


@dataclass(frozen=True)
class Difference:
    name: str
    right: str  # 'bare', 'kernel' or 'either'
    why: str
    explains: Callable
    parts: bool = False  # from here on the trees differ: the other side can't be asked any more


MOUNT = {"@", "@/"}

DIFFERENCES = [
    Difference(
        "border-or-rename", "either",
        "by a relative path a rename can leave the mount, which a bare directory is not; or it is directory-rename",
        lambda words, bare, kernel: words[0].startswith("rename") and kernel == "EXDEV" and bare == "ok" and
        any(is_relative(word) for word in words[1:]),
        parts=True),
    Difference(
        "directory-rename", "bare",
        "overlayfs without redirect_dir gives EXDEV for a directory that has lower content; C-3.6 wants it renamed",
        lambda words, bare, kernel: words[0].startswith("rename") and kernel == "EXDEV" and not MOUNT & set(words) and
        bare in ("ok", "ENOTEMPTY"),
        parts=True),
    Difference(
        "border-first", "kernel",
        "the kernel compares the mounts before it looks for the names, and a bare directory is no mount (C-3.10)",
        lambda words, bare, kernel: words[0].startswith("rename") and kernel == "EXDEV" and not MOUNT & set(words)),
    Difference(
        "mount-has-no-name", "kernel",
        "the name of a mount stands in what lies around it: EXDEV, and a bare directory is no mount",
        lambda words, bare, kernel: words[0].startswith("rename") and kernel == "EXDEV" and MOUNT & set(words)),
    Difference(
        "mount-is-busy", "kernel",
        "a mount can't be removed, and a bare directory is none",
        lambda words, bare, kernel: words[0] in ("rmdir", "remove") and kernel == "EBUSY"),
    Difference(
        "link-across", "kernel",
        "a bare directory lies on the file system of its surroundings: no EXDEV (C-3.10)",
        lambda words, bare, kernel: words[0] in ("link", "linkat", "linkfd") and kernel == "EXDEV",
        parts=True),
    Difference(
        "origin", "bare",
        "an overlayfs of an ordinary user can't follow the origin of a copied-up file by its handle",
        lambda words, bare, kernel: words[0] in ("ident", "lident", "xident", "dident", "fident")),
    Difference(
        "hard-links", "bare",
        "overlayfs without index breaks a lower hard link at copy-up; C-3.5 wants it kept",
        lambda words, bare, kernel: words[0] in LINK_COUNTS and without_links(bare) == without_links(kernel) and
        links(bare) > links(kernel)),
    Difference(
        "hard-link-mode", "bare",
        "the mode that a lower file got by another of its names; overlayfs without index has broken the link (C-3.5)",
        lambda words, bare, kernel: words[0].lstrip("fl") in ("setxattr", "removexattr") and
        {bare, kernel} in ({"EACCES", "ok"}, {"EACCES", "ENODATA"}),
        parts=True),
    Difference(
        "removed-fifo", "bare",
        "a FIFO of a lower layer that is open and was removed has its name there; opening it has copied it up",
        lambda words, bare, kernel: (words[0] == "fstat" or '""' in words) and is_fifo(bare) and links(bare) == [0] and
        without_links(bare) == without_links(kernel)),
    Difference(
        "hidden-names", "kernel",
        "names of a lower file that another layer hides are counted, as on the lower file itself",
        lambda words, bare, kernel: words[0] in LINK_COUNTS and without_links(bare) == without_links(kernel) and
        links(bare) < links(kernel)),
    Difference(
        "fifo-copies", "bare",
        "a FIFO that is open is another one than its copy in the upper, where overlayfs waits for the other end",
        lambda words, bare, kernel: words[0] in FIFO_OPENERS and kernel in ("EINTR", "ENXIO") and bare == "ok",
        parts=True),
    Difference(
        "nameless-copy", "bare",
        "what has no name any more can't be copied up by overlayfs",
        lambda words, bare, kernel: words[0] in FD_CHANGES and kernel in ("EIO", "ENOENT", "EISDIR") and bare == "ok"),
    Difference(
        "outside-owner", "bare",
        "the name space of an ordinary user's overlayfs knows no other owners",
        lambda words, bare, kernel: NOBODY in kernel and kernel.replace(NOBODY, "0:0") == bare),
    Difference(
        "nameless-link", "kernel",
        "overlayfs counts the name that its work directory keeps, and so do we: what has lost its last name is linked again",
        lambda words, bare, kernel: words[0] in ("linkat", "linkfd") and bare == "ENOENT" and kernel == "ok",
        parts=True),
    Difference(
        "copy-across", "bare",
        "what lies outside is on another file system than overlayfs: EXDEV",
        lambda words, bare, kernel: words[0] == "copy_file_range" and kernel == "EXDEV" and bare.startswith("ok"),
        parts=True),
    Difference(
        "stale-handle", "bare",
        "overlayfs gives ESTALE for a rename over, or a removal of, a name that another one of the same copied-up file took",
        lambda words, bare, kernel: words[0].startswith(("rename", "remove", "unlink")) and kernel == "ESTALE" and bare == "ok",
        parts=True),
    Difference(
        "stale-mode", "bare",
        "overlayfs without index judges by the mode that a name of a file had before another name's was changed",
        lambda words, bare, kernel: words[0] in BY_MODE and {bare, kernel} == {"EACCES", "ok"},
        parts=True),
    Difference(
        "stale-size", "bare",
        "overlayfs without index copies from the file that a name was of before another name's was written",
        lambda words, bare, kernel: words[0] in ("copy_file_range", "sendfile") and bare[:3] == kernel[:3] == "ok ",
        parts=True),
    Difference(
        "removed-comes-back", "bare",
        "overlayfs copies a removed file up under its old name, where it is in the way, when a descriptor changes ACL or owner",
        lambda words, bare, kernel:
        (words[0] == "tree" and bare == "(absent)" and kernel[:2] in ("p ", "f ", "s ", "c ")) or
        (words[0] in ("rmdir", "remove") and bare == "ok" and kernel == "ENOTEMPTY") or
        (words[0] in ("getxattr", "lgetxattr") and bare == "ENOENT" and kernel == "ENODATA") or
        (words[0] in MAKERS and bare == "ok" and kernel in ("ESTALE", "EEXIST")),
        parts=True),
    Difference(
        "stale-names", "bare",
        "overlayfs without index has an inode for each name of a file, and does not see what is done by another one",
        lambda words, bare, kernel: words[0] in {"sum", "blocks"} and {bare[:3], kernel[:3]} == {"ok "} or
        (words[0] == "flock" and bare == "EAGAIN" and kernel == "ok") or
        (words[0] in LINK_COUNTS and links(bare) == links(kernel) != [] and max(links(bare)) > 1)),
    Difference(
        "set-id-first", "bare",
        "overlayfs takes the set-id bits away before a fallocate that then fails",
        lambda words, bare, kernel: words[0] in LINK_COUNTS and bare != kernel and
        without_set_id(bare) == kernel),
    Difference(
        "stale-set-id", "bare",
        "overlayfs without index leaves the set-id bits, which another name's mode got, when a file is written by this one",
        lambda words, bare, kernel: words[0] in LINK_COUNTS and bare != kernel and
        without_set_id(kernel) == bare),
    Difference(
        "acl-not-there", "kernel",
        "overlayfs copies no file up to remove an ACL that it has not: ENODATA, as for any other attribute",
        lambda words, bare, kernel: words[0] in ("removexattr", "lremovexattr", "fremovexattr") and
        words[-1].startswith("system.posix_acl_") and kernel == "ENODATA" and bare == "ok"),
    Difference(
        "fifo-times", "bare",
        "what is written to a FIFO changes its times; overlayfs keeps those of its layer",
        lambda words, bare, kernel: words[0] in LINK_COUNTS and is_fifo(bare) and without_time(bare) == without_time(kernel)),
]

# Why a whole scenario can't be put to one side.
SIDES_LEFT_OUT = {
    "closed-upper": "with an upper that its owner may not write (a chmod of the mount) nothing is run (C-1.6)",
    "directory-rename": "an EXDEV of a merged directory changes all that follows",
    "redirect-dir": "an ordinary user's overlayfs can't follow redirects",
    "marks": "a bare directory has no whiteout marks, and the kernel knows no .wh. names",
    "index": "overlayfs without index breaks lower hard links at copy-up",
    "copied-owner": "the kernel never lets an ordinary user write what it does not own (C-3.9 does)",
    "acl-ids": "an ordinary user's name space has no such uid for an entry of an ACL",
    "mount-point": "a bare directory is no mount point",
    "border": "a bare directory lies on the file system of its surroundings",
    "same-layer-device": "the bare directory lies on one file system",
}

@dataclass(frozen=True)
class Own:
    """Where libovl answers otherwise than both; explains() gets the words, the others' answers and libovl's."""
    name: str
    why: str
    explains: Callable
    parts: bool


NOBODY = "65534:65534"
WRONG_PATHS = {"ENOENT", "ENOTDIR", "ELOOP", "EACCES", "EXDEV"}
LISTINGS = {"readdir", "opendir", "fdopendir", "getdents", "dident", "count"}
MAKERS = {"mkdir", "mkdirat", "mkfifo", "mkfifoat", "mknod", "mknodat", "symlink", "symlinkat", "bind", "put", "creat",
          "open", "openat", "openat2", "link", "linkat", "linkfd"}
FIFO_OPENERS = {"put", "append", "creat", "open", "openat", "openat2"}
UNSEARCHABLE = re.compile(r"d [0-7][0246]")  # by its owner
BY_MODE = {"setxattr", "lsetxattr", "fsetxattr", "access", "faccessat", "put", "append", "truncate", "open", "openat",
           "openat2", "creat"}
DELETED = "\\x20(deleted)"
FD_CHANGES = {"fchmod", "fchown", "futimens", "fsetxattr", "fremovexattr", "linkfd", "linkat"}

OURS = [
    Own("nameless-identity", "a copied-up file that is open and has lost its last name shows the copy's own numbers",
        lambda words, wanted, ovl: words[0] == "fident" and "nameless" in " ".join([ovl, *wanted]), False),
    Own("fifo-ends", "a FIFO that is open is not the one that was copied up since",
        lambda words, wanted, ovl: {"ENXIO", "EINTR"} & {ovl, *wanted} and words[0] in FIFO_OPENERS, True),
    Own("removed-directory-path", "a removed directory that is open lies in the work directory, and its path says so",
        lambda words, wanted, ovl: words[0] == "fdpath" and all(answer.endswith(DELETED) for answer in [ovl, *wanted]),
        False),
    Own("lost-descriptor",
        "a read-only descriptor of a lower file whose name was removed or moved since changes nothing (docs/design.md)",
        lambda words, wanted, ovl: (ovl == "EROFS" and words[0] in FD_CHANGES) or
        (ovl == "EXDEV" and words[0] in ("linkfd", "linkat")), True),
    Own("removed-directory-mode", "a removed directory that is open was opened up for whoever clears its marks away",
        lambda words, wanted, ovl: words[0] in ("fstat", "fstatat", "statx") and ovl.startswith("ok d 0700") and
        all(answer.startswith("ok d ") for answer in wanted), False),
    Own("removed-directory-marks", "a removed directory that is open lies in the work directory, with its marks",
        lambda words, wanted, ovl: words[0] == "flistxattr" and "overlay.opaque" in ovl, False),
    Own("acl-of-a-copy",
        "what has been copied up has no ACL to remove, and overlayfs has not copied it up, or has by another name",
        lambda words, wanted, ovl: words[0] in ("removexattr", "lremovexattr", "fremovexattr") and
        words[-1].startswith("system.posix_acl_") and {ovl} | wanted == {"ok", "ENODATA"}, False),
    Own("unreadable-below", "a directory with lower content that the caller may not read is not renamed (C-3.6)",
        lambda words, wanted, ovl: words[0].startswith("rename") and ovl == "EACCES" and bool(wanted & {"ok", "ENOTEMPTY"}) and
        wanted <= {"ok", "ENOTEMPTY", "EXDEV"}, True),
    Own("border-by-link", "a symbolic link on the way leads out of the mount, which a bare directory is not (C-3.10)",
        lambda words, wanted, ovl: words[0].startswith("rename") and ovl == "EXDEV" and wanted == {"ok", "EXDEV"}, True),
    Own("border-order", "of two paths that are wrong, one inside and one outside, it is the inside's error that is told",
        lambda words, wanted, ovl: words[0].startswith(("rename", "link")) and
        any(".." in word.split("/") for word in words[1:] if is_relative(word)) and ovl in WRONG_PATHS and len(wanted) == 1 and wanted <= WRONG_PATHS, False),
    Own("mapped-holes", "a hole that is read through a mapping takes blocks on tmpfs, of the file that is mapped (README)",
        lambda words, wanted, ovl: words[0] == "blocks" and all(number(ovl) < number(answer) for answer in wanted), False),
    Own("surroundings", "a path leads out of the mount, where the layers lie",
        lambda words, wanted, ovl: all(" 0.in" in answer for answer in [ovl, *wanted]) or
        (words[0] in LISTINGS and ovl.endswith((" o:d", " o"))), False),
    Own("unsearchable-marks",
        "a directory that may be read but not searched, and holds a name hidden by an attribute, is not listed "
        "(docs/design.md)",
        lambda words, wanted, ovl: words[0] in ("tree", "nftw") and (
            (ovl.endswith("scandir:EACCES") and UNSEARCHABLE.match(ovl) is not None) or
            (ovl == "(absent)" and wanted == {"lstat:EACCES"}) or
            (words[0] == "nftw" and all(lacks_unreached(ovl, answer) for answer in wanted))), False),
    Own("hidden-link", "names of a lower file that another layer hides are counted: one without names is linked again",
        lambda words, wanted, ovl: words[0] in ("linkfd", "linkat") and ovl == "ok" and wanted == {"ENOENT"}, True),
    Own("openat2-links",
        "where a restriction hangs on where a symbolic link leads to, openat2 is not there (shim/wrap_openat2.c)",
        lambda words, wanted, ovl: ovl == "ENOSYS" and words[0] == "openat2", True),
]

# What an operation of the differential test is annotated with, because only its generator knows that it applies: the
# sides may answer differently.
@dataclass(frozen=True)
class Annotation:
    why: str
    explains: Callable = lambda answers: True


# What only another run can tell (run.py of the differential test asks where the paths begin).
ASKED = {
    "removed-directory-order":
        "in a removed directory everything is missing, whatever else is wrong with a name or the directory's mode",
    "barred-directory":
        "below one that may not be searched, a directory that lower layers may have too is not used (docs/design.md)",
}

ANNOTATIONS = {
    "older-view": Annotation(
        "a read-only descriptor of a lower file that was copied up since shows the lower file (README)"),
    "removed-directory": Annotation(
        "a removed directory that is open lies in the work directory, and shows its own numbers and marks"),
    "unreadable": Annotation(
        "what is another's and can't be read can't be copied up (C-3.9); the bare side asks who owns it",
        lambda answers: bool(answers & {"EACCES", "EPERM"}) and
        answers <= {"EACCES", "EPERM", "EINVAL", "ENODATA", "ENOTDIR", "ENOTEMPTY", "EEXIST", "ok"}),
    "any-name": Annotation("of a hard-linked lower file the path may be that of the name that was copied up first",
                           lambda answers: all(a.startswith("ok ") for a in answers)),
    "unsearchable": Annotation(
        "in a directory that may be read but not searched, what is hidden can't be told (docs/design.md)",
        lambda answers: all(a.startswith("ok") for a in answers) or "EACCES" in answers),
}

LINK_COUNTS = {"stat", "lstat", "fstat", "fstatat", "statx", "tree"}


def is_relative(word):
    """Of rename's words: a path that does not begin with the mount. Flags and slots are none."""
    return word[:1] not in "@/" and word != "cwd" and not word.isdigit() and not word.startswith("RENAME_")


def without_links(answer):
    return " ".join(w for w in answer.split(" ") if not w.startswith("nlink="))


def without_set_id(answer):
    return re.sub(r"^((?:ok )?[fs] )[2-7](?=\d{3} )", r"\g<1>0", answer)


def lacks_unreached(answer, whole):
    """Whether of a walk only such lines are missing as could not be looked at (FTW_NS)."""
    missing = set(whole.split(" ")) - set(answer.split(" "))
    return set(answer.split(" ")) <= set(whole.split(" ")) and all(word.endswith(":3") for word in missing)


def number(answer):
    digits = answer.removeprefix("ok ")
    return int(digits) if digits.isdigit() else 0


def is_fifo(answer):
    return answer.removeprefix("ok ").startswith("p ")


def without_time(answer):
    """The time is the first word that is one, as put_stat of opsh.c and statx tell it."""
    return re.sub(r" (now|\d+\.\d{9})(?= |$)", "", answer, count=1)


def covers(annotation, answers):
    return annotation in ANNOTATIONS and ANNOTATIONS[annotation].explains(answers)


def links(answer):
    return [int(w[len("nlink="):]) for w in answer.split(" ") if w.startswith("nlink=")]


def ours(words, wanted, ovl):
    """None, or whether the difference that explains libovl's answer parts the trees."""
    found = [own.parts for own in OURS if own.explains(words, wanted, ovl)]
    return found[0] if found else None


def find(words, bare, kernel):
    for difference in DIFFERENCES:
        if difference.explains(words, bare, kernel):
            return difference
    return None


def explained(name):
    return name in SIDES_LEFT_OUT or any(d.name == name for d in DIFFERENCES)


def table():
    """docs/differences.md."""
    lines = ["# Explained differences", "",
             "Written by `python3 tests/integration/differences.py`: the tests accept what stands here and nothing else.",
             "", "Where the bare file system and Linux overlayfs answer differently, libovl follows one of them:", "",
             "| difference | right | why |", "|---|---|---|"]
    lines += [f"| {d.name} | {d.right} | {d.why} |" for d in DIFFERENCES]
    lines += ["", "Where libovl answers otherwise than both:", "", "| difference | why |", "|---|---|"]
    lines += [f"| {own.name} | {own.why} |" for own in OURS]
    lines += [f"| {name} | {why} |" for name, why in ASKED.items()]
    lines += [f"| {name} | {annotation.why} |" for name, annotation in ANNOTATIONS.items()]
    lines += ["", "Where a side can't be asked at all:", "", "| reason | why |", "|---|---|"]
    lines += [f"| {name} | {why} |" for name, why in SIDES_LEFT_OUT.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(table(), end="")

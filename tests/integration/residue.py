# SPDX-License-Identifier: MIT
"""Marks in an upper that stand over nothing of a lower layer.

A directory that took the place of a lower object is opaque, whatever that was, as overlayfs makes it.
"""

import itertools
import os
import stat

OPAQUE = ".wh..wh..opq"


def residue(upper, lowers):
    """Paths of whiteouts and opaque marks below `upper` that hide nothing of the lower directories (highest first)."""
    found = []

    def visit(folder, lower):
        opaque = is_opaque(folder)
        if opaque and not lower:
            found.append(f"{folder}: opaque")
        below = [] if opaque else directories(lower)
        if list_xattr(folder).get("overlay.opaque") == b"x" and not any(has_xattr_whiteout(e) for e in os.scandir(folder)):
            found.append(f"{folder}: marked for whiteouts that it has not")
        for entry in os.scandir(folder):
            name = hidden_by(entry)
            if entry.name == OPAQUE:
                continue
            if entry.name.startswith(".wh.") and name is None:
                found.append(f"{entry.path}: no name of a mark")
            elif name is not None and (not lookup(below, name) or os.path.lexists(os.path.join(folder, name)) and
                                       entry.name != name):
                found.append(f"{entry.path}: hides nothing")
            elif name is None and entry.is_dir(follow_symlinks=False):
                visit(entry.path, lookup(below, entry.name))

    visit(upper, list(lowers))
    return found


def list_xattr(path):
    """The overlay's own attributes, without their name space."""
    found = {}
    for name in os.listxattr(path, follow_symlinks=False):
        space, _, rest = name.partition(".")
        if rest.startswith("overlay."):
            found[rest] = os.getxattr(path, name, follow_symlinks=False)
    return found


def is_opaque(folder):
    return os.path.lexists(os.path.join(folder, OPAQUE)) or list_xattr(folder).get("overlay.opaque") == b"y"


def is_device(entry):
    st = entry.stat(follow_symlinks=False)
    return stat.S_ISCHR(st.st_mode) and st.st_rdev == 0


def has_xattr_whiteout(entry):
    return entry.is_file(follow_symlinks=False) and "overlay.whiteout" in list_xattr(entry.path)


def hidden_by(entry):
    """The name that a whiteout hides, or None."""
    if entry.name.startswith(".wh.") and entry.is_file(follow_symlinks=False) and entry.name[4:] not in ("", ".", ".."):
        return entry.name[4:]
    return entry.name if is_device(entry) or has_xattr_whiteout(entry) else None


def lookup(below, name):
    """The objects of that name that these directories show, highest first, down to the first that hides the others."""
    found = []
    for folder in below:
        path = os.path.join(folder, name)
        whiteout = os.path.lexists(os.path.join(folder, ".wh." + name))
        if os.path.lexists(path):
            st = os.lstat(path)
            if stat.S_ISCHR(st.st_mode) and st.st_rdev == 0 or "overlay.whiteout" in list_xattr(path):
                return found
            found.append(path)
            if not stat.S_ISDIR(st.st_mode) or is_opaque(path):
                return found
        if whiteout:
            return found
    return found


def directories(paths):
    """Those that merge: the first ones that are directories."""
    return list(itertools.takewhile(lambda path: os.path.isdir(path) and not os.path.islink(path), paths))

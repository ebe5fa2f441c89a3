# SPDX-License-Identifier: MIT
"""Trees: what the layers hold.  Their times lie in the past, so that nobody takes them for just changed."""

import os

PAST = 1_600_000_000


def write(root, files):
    """Make files below root: pairs of a path and what it holds."""
    made = set()
    for path, content in files:
        full = os.path.join(root, path)
        folder = os.path.dirname(full)
        if folder not in made:
            os.makedirs(folder, exist_ok=True)
            made.add(folder)
        with open(full, "wb") as f:
            f.write(content)
        os.utime(full, (PAST, PAST))


def fill(path, size):
    """A file of a size, with blocks of its own on disk."""
    block = bytes(range(256)) * 4096
    with open(path, "wb") as f:
        while size > 0:
            size -= f.write(block[:size])
    os.utime(path, (PAST, PAST))


def numbered(folder, count, content=b"x\n", stem="f"):
    return ((f"{folder}/{stem}{number}", content) for number in range(count))


def wide(count, per_folder=100):
    """Files in folders of folders, as a tree of sources has them."""
    for number in range(count):
        inner = number // per_folder
        path = f"s{inner // 10}/t{inner % 10}/f{number % per_folder}.c"
        yield path, b"int f%d(void) { return %d; }\n" % (number, number)


def spread(files, lowers):
    """Each file into one of the layers, in turn."""
    files = list(files)
    for index, lower in enumerate(lowers):
        os.makedirs(lower, exist_ok=True)
        write(lower, files[index::len(lowers)])


def state(roots):
    """What every file has that a change of its content, or of the names, does not leave alone."""
    def of(folder):
        for name in sorted(os.listdir(folder)):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            yield path, st.st_mode, st.st_size, st.st_mtime_ns
            if os.path.isdir(path) and not os.path.islink(path):
                yield from of(path)
    return [found for root in roots for found in of(root)]

# SPDX-License-Identifier: MIT
"""A fixed set of changes below the current directory, in an order that SEED decides, by two processes of four threads each.

    python3 shuffled.py SEED

Every change is a few steps on names of its own in directories that all share, so that the result is the same in any
order.  shuffled_lower() is what has to be there before.
"""

import concurrent.futures
import os
import random
import shutil
import sys

COUNT = 12
DIRECTORIES = 3


def shuffled_lower():
    layer = {}
    for i in range(COUNT):
        top = f"d{i % DIRECTORIES}"
        layer.update({f"{top}/sub/{kind}{i}": f"{kind} {i}" for kind in ("write", "remove", "move", "remake", "safe", "swap")})
        layer.update({f"{top}/tree{i}/a": "a", f"{top}/tree{i}/b/c": "c", f"{top}/empty{i}/": None,
                      f"{top}/gone{i}/x": "x", f"{top}/moving{i}/x/y": "y"})
    return layer


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def save(path, text):
    write(path + ".new", text)
    os.rename(path + ".new", path)


def remake(path):
    os.unlink(path)
    write(path, "made again")
    os.chmod(path, 0o600)


def temporary(folder, i):
    name = f"{folder}/temporary{i}"
    os.mkdir(name)
    write(f"{name}/f", "")
    os.rename(name, name + "b")
    shutil.rmtree(name + "b")


def remake_tree(path):
    shutil.rmtree(path)
    os.mkdir(path)
    write(path + "/new", "new")


def changes():
    for i in range(COUNT):
        top = f"d{i % DIRECTORIES}"
        other = f"d{(i + 1) % DIRECTORIES}"
        yield lambda p=f"{top}/sub/write{i}": write(p, "written")
        yield lambda p=f"{top}/sub/remove{i}": os.unlink(p)
        yield lambda p=f"{top}/sub/move{i}", q=f"{other}/moved{i}": os.rename(p, q)
        yield lambda p=f"{top}/sub/remake{i}": remake(p)
        yield lambda p=f"{top}/sub/safe{i}": save(p, "saved")
        yield lambda p=f"{top}/sub/swap{i}", q=f"{other}/empty{i}": (os.rename(p, q + "~"), os.rename(q + "~", p))
        yield lambda p=f"{top}/sub", n=i: temporary(p, n)
        yield lambda p=f"{top}/tree{i}": remake_tree(p)
        yield lambda p=f"{top}/gone{i}": shutil.rmtree(p)
        yield lambda p=f"{top}/empty{i}": os.rmdir(p)
        yield lambda p=f"{top}/moving{i}", q=f"{other}/there{i}": os.rename(p, q)
        yield lambda p=f"{top}/sub", n=i: os.symlink("write0", f"{p}/link{n}")
        yield lambda p=f"{top}/new{i}/deep/er": os.makedirs(p)


def main(seed):
    all_changes = list(changes())
    random.Random(seed).shuffle(all_changes)
    half = len(all_changes) // 2
    child = os.fork()
    mine = all_changes[:half] if child else all_changes[half:]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(change) for change in mine]:
            if done.exception():
                print(repr(done.exception()), file=sys.stderr)
                failed = 1
    if child == 0:
        os._exit(failed)
    return failed or os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

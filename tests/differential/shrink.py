# SPDX-License-Identifier: MIT
"""Making a failing case small: operations first, then objects of the layers, then whole layers."""

import time

import layers


def shrink(case, fails, seconds=45):
    """The smallest case that could be found in this time and still fails: fails(case) says so."""
    end = time.monotonic() + seconds

    def still(smaller):
        return time.monotonic() < end and fails(smaller)

    for i in range(len(case.scripts)):
        def with_script(lines, i=i):
            return case.changed(scripts=case.scripts[:i] + [lines] + case.scripts[i + 1:])
        case = with_script(fewer(case.scripts[i], lambda lines, w=with_script: still(w(lines))))
    for i in range(len(case.lowers)):
        def with_layer(paths, i=i):
            return case.changed(lowers=case.lowers[:i] + [only(case.lowers[i], paths)] + case.lowers[i + 1:])
        paths = fewer(list(case.lowers[i]), lambda paths, w=with_layer: still(w(paths)))
        case = with_layer(paths)
    if case.upper:
        upper = case.upper
        paths = fewer(list(upper), lambda paths: still(case.changed(upper=only(upper, paths))))
        case = case.changed(upper=only(upper, paths))
    for layer in [layer for layer in case.lowers if not layer]:
        smaller = case.changed(lowers=[kept for kept in case.lowers if kept is not layer])
        if smaller.lowers and still(smaller):
            case = smaller
    return case


def only(layer, paths):
    """A layer with these paths.  Where a file's first name goes, the next one takes its place for the others."""
    kept = {path: layer[path] for path in layer if path in set(paths)}
    first = {}
    for path, item in kept.items():
        if isinstance(item, layers.Same) and item.path not in kept:
            kept[path] = layers.same(first[item.path]) if item.path in first else layer[item.path]
            first.setdefault(item.path, path)
    return kept


def fewer(items, fails):
    """Take away halves, quarters ... and at last single items, as long as it still fails."""
    size = max(1, len(items) // 2)
    while items:
        start = 0
        while start < len(items):
            smaller = items[:start] + items[start + size:]
            if fails(smaller):
                items = smaller
            else:
                start += size
        if size == 1:
            return items
        size //= 2
    return items

# SPDX-License-Identifier: MIT
"""Symbolic links, both ways across the border (C-2.8)."""

from layers import GONE, link

LOW = {"f": "inside", "d/f": "in d", "d/up": link(".."), "d/sib": link("../f"), "abs": link("@/d/f"),
       "absdir": link("@/d"), "rel": link("d"), "loop1": link("loop2"), "loop2": link("loop1"), "self": link("self"),
       "out": link("%/o"), "outdir": link("%"), "outrel": link("../x/o"), "outback": link("%/in"), "dang": link("no"),
       "dangabs": link("@/no/x"), "root": link("/"), "dot": link("."), "dotdot": link(".."), "slash": link("d/"),
       "chain": link("abs"), "dd/e/": None, "intod": link("dd/e"), "hid": link("gone"), "gone": GONE}
OUT = {"o": "outside", "in": link("@/f"), "indir": link("@/d"), "inrel": link("../m/f"), "inmount": link("@"),
       "tofile/f": "x", "gonein": link("@/gone"), "newin": link("@/new"), "outrel": link("o"), "back": link("@/outdir")}


def test_inside(compare):
    compare([LOW, {"gone": "x"}], """
        cat @/abs
        cat @/absdir/f
        cat @/rel/f
        cat @/d/up/f
        cat @/d/sib
        cat @/chain
        cat @/rel/../f
        cat @/intod/../../f
        stat @/intod/..
        readdir @/intod/..
        cat @/slash/f
        cat @/dot/dot/dot/f
        stat @/dang
        stat @/hid
        stat @/dangabs
        lstat @/abs
        readlink @/abs
        readlink @/loop1
        lstat @/abs/
        lstat @/f/
        stat @/sib/
        realpath @/chain
        realpath @/d/up/d/up/f
        realpath @/intod/..
        realpath @/dang
    """, outside=OUT)


def test_loops(compare):
    long = [(f"l{i}", link(f"l{i + 1}")) for i in range(45)]
    compare([{**LOW, **dict(long), "l45": "end"}], """
        stat @/loop1
        cat @/self
        stat @/self/x
        put @/loop1 x
        chdir @/loop1
        realpath @/loop2
        cat @/l5
        cat @/l6
        cat @/l4
        stat @/l0
        lstat @/loop1
        unlink @/loop1
        stat @/loop2
    """, outside=OUT)


def test_leaving(compare):
    """A link inside that points out leaves the overlay."""
    compare([LOW], """
        cat @/out
        cat @/outdir/o
        cat @/outrel
        readdir @/outdir/tofile
        chdir @/outdir
        getcwd
        cat o
        cat ../m/f
        chdir @/root
        getcwd
        put @/out changed
        cat %/o
        put @/outdir/new x
        cat %/new
        mkdir @/outdir/nd
        rename @/outdir/new @/outdir/nd/moved
        cat %/nd/moved
        unlink @/outdir/nd/moved
        rmdir @/outdir/nd
        chmod @/out 0600
        stat %/o
        truncate @/out 2
        cat %/o
        unlink @/out
        cat %/o
        readlink @/outdir
        realpath @/outrel
        realpath @/dotdot/x/o
        stat @/dotdot/m/f
        open 1 @/out O_RDONLY|O_NOFOLLOW
    """, outside=OUT)


def test_entering(compare):
    """A link outside that points in enters the overlay, for changes too."""
    compare([LOW], """
        cat %/in
        cat %/indir/f
        cat %/inrel
        readdir %/inmount/d
        stat %/gonein
        put %/in changed
        cat @/f
        put %/newin new
        cat @/new
        put %/indir/n x
        cat @/d/n
        unlink %/indir/f
        stat @/d/f
        chmod %/in 0600
        stat @/f
        lstat %/in
        readlink %/in
        chdir %/indir
        getcwd
        put here 1
        readdir @/d
        chdir ..
        getcwd
        realpath %/in
        realpath %/indir/..
        mkdir %/indir/nd
        rename %/indir/nd %/indir/nd2
        link %/indir/n %/indir/n3
        rename %/inmount/d/n3 %/inmount/n4
        open 1 %/indir O_RDONLY|O_DIRECTORY
        fstatat 1 n
        openat 2 1 ../f O_RDONLY
        read 2
        open 3 % O_RDONLY|O_DIRECTORY
        openat 4 3 inrel O_RDONLY
        read 4
        openat 5 3 indir/n O_WRONLY|O_TRUNC
        write 5 zz
        chdir %
        cat inrel
        cat ./indir/n
        append in +
        cat @/f
        cat back/o
        utimens %/in 5.0 6.0
        times @/f
        setxattr %/in user.a b
        getxattr @/f user.a
        access %/in W_OK
        truncate %/in 1
        cat @/f
        unlink %/in
        cat @/f
    """, outside=OUT)


def test_dotdot_is_physical(compare):
    compare([LOW], """
        stat @/absdir/../f
        stat @/rel/../f
        stat @/outdir/../x/o
        cat @/outdir/../m/f
        cat %/indir/../f
        cat @/../m/f
        cat @/../x/o
        cat @/d/../../m/d/f
        stat @/missing/../f
        stat @/f/../f
        stat @/f/..
        stat @/dang/..
        cat @/./d/.//f
        stat @/d/./
        stat @//d//f
        chdir @/rel
        cat ../f
        getcwd
        put ../rel/../new x
        cat @/new
    """, outside=OUT)


def test_changes_through_links(compare):
    compare([LOW], """
        put @/rel/new 1
        append @/abs +
        cat @/d/f
        mkdir @/absdir/sub
        unlink @/abs
        lstat @/abs
        cat @/d/f
        rename @/rel @/rel2
        cat @/rel2/f
        rmdir @/rel2
        unlink @/rel2/
        put @/dang created
        cat @/no
        open 1 @/dangabs O_WRONLY|O_CREAT 0600
        open 2 @/hid O_WRONLY|O_CREAT|O_EXCL 0600
        lchown @/chain -1 -1
        lstat @/chain
        utimens @/chain 5.0 6.0 AT_SYMLINK_NOFOLLOW
        lstat @/chain
        mkdir @/dang
        mkdir @/chain
        symlink x @/chain
        symlink d/f @/fresh
        cat @/fresh
        symlink f @/d/fresh
        cat @/d/fresh
        symlink "" @/empty
    """, outside=OUT)


def test_links_in_whiteouts_way(compare):
    compare([{"l": GONE, "d": link("e")}, {"l": link("x"), "d/f": "below a link", "e/f": "e"}], """
        lstat @/l
        cat @/d/f
        readdir @/d
        symlink e @/l
        cat @/l/f
        unlink @/d
        stat @/d
        mkdir @/d
        readdir @/d
    """)

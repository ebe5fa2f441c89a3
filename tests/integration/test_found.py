# SPDX-License-Identifier: MIT
"""What the differential test (tests/differential) has found, each as the smallest script that shows it."""

import os

import pytest

from layers import Dir, Fifo, File, acl, link, same, value_of


def test_a_fifo_that_is_open_for_writing(compare):
    """C-3.1, C-3.2: it was opened in its layer, so a change by the descriptor is one of its copy."""
    compare([{"p": Fifo(), "q": Fifo(), "r": Fifo(), "s": Fifo()}], """
        open 1 @/p O_RDWR|O_NONBLOCK
        fchmod 1 0600
        stat @/p
        open 2 @/q O_RDWR|O_NONBLOCK
        fchown 2 -1 -1
        open 3 @/r O_RDWR|O_NONBLOCK
        futimens 3 5 6
        stat @/r
        open 4 @/s O_RDWR|O_NONBLOCK
        fchmodat2 4 "" 0640 AT_EMPTY_PATH
        stat @/s
    """)


WAITING = """
import os, signal, sys
def give_up(*_):
    raise TimeoutError
signal.signal(signal.SIGALRM, give_up)
signal.setitimer(signal.ITIMER_REAL, 0.2)
try:
    os.open(sys.argv[1], os.O_RDONLY)
except TimeoutError:
    print("gave up")
"""


def test_waiting_for_a_fifo_ends(world):
    """C-3.13: EINTR, also when the FIFO has just been copied up."""
    side = world.ovl([{"p": Fifo()}], upper={})
    assert side.run([(["timeout", "20", "/usr/bin/python3", "-c", WAITING, "@/p"], "")])[0].out == "gave up\n"


def test_attributes_by_what_only_names(compare):
    """C-3.13: EBADF by an O_PATH descriptor, also of a file that was copied up since."""
    compare([{"f": File(content="x", xattrs={"user.k": "v"})}], """
        open 1 @/f O_PATH
        append @/f more
        flistxattr 1
        fgetxattr 1 user.k
    """)


def test_flags_come_first(compare):
    """C-3.13: EINVAL for contradicting flags of renameat2, whatever else is wrong."""
    compare([{"f": "1"}], """
        renameat2 bad f bad g RENAME_NOREPLACE|RENAME_EXCHANGE
        renameat2 cwd @/no/f cwd @/g RENAME_WHITEOUT|RENAME_EXCHANGE
        renameat2 cwd @/no/f cwd @/g 8
    """)


def test_both_directories_come_first(compare):
    """C-3.13: a name that is too long is found out when both directories were found."""
    long = "T" * 256
    compare([{"f": "1", "d/": None}], f"""
        rename @/d/{long} @/f/x
        rename @/d/{long} @/no/x
        rename @/d/{long} @/x
        rename @/f @/d/{long}
        rename @/d/. @/d/{long}
        rename @/d/{long} @/d/.
        rename @/d/{long} @/d/..
        rename @/no/x @/d/{long}
        rename @/no/{long} @/f/x
    """)


def test_flags_beside_o_path(compare):
    """C-3.13: all but three are ignored."""
    compare([{"f": "1", "d/": None}], """
        open 1 @/new O_PATH|O_CREAT 0644
        open 1 @/f O_PATH|O_CREAT|O_TRUNC|O_RDWR 0644
        fstat 1
        read 1
        open 2 @/d O_PATH|O_CREAT|O_DIRECTORY 0644
        stat @/new
    """)


def test_a_link_is_no_directory(compare):
    """C-3.13: ENOTDIR comes before ELOOP."""
    compare([{"f": "1", "l": link("f")}], """
        open 1 @/l O_WRONLY|O_NOFOLLOW|O_DIRECTORY
        open 1 @/l O_RDONLY|O_NOFOLLOW|O_DIRECTORY
        open 1 @/l O_WRONLY|O_NOFOLLOW
    """)


def test_making_what_ends_in_a_slash(compare):
    """C-3.13: EISDIR, whatever is there."""
    compare([{"f": "1", "d/": None}], """
        openat2 1 cwd @/f/ O_WRONLY|O_CREAT 0644 0
        openat2 1 cwd @/d/ O_WRONLY|O_CREAT 0644 0
        openat2 1 cwd @/no/ O_WRONLY|O_CREAT 0644 RESOLVE_NO_SYMLINKS
        openat2 1 cwd @/f/ O_WRONLY 0 0
    """)


def test_another_name_for_what_lost_one(compare):
    """C-4.7: a file whose descriptor's own name is gone, and which has another."""
    compare([{"d/": None}], """
        put @/a text
        link @/a @/b
        open 1 @/a O_RDONLY
        unlink @/a
        linkfd 1 @/c
        stat @/c
        open 2 @/d O_TMPFILE|O_RDWR 0600
        linkfd 2 @/d/one
        linkfd 2 @/d/two
        stat @/d/one
    """)


def test_a_directory_takes_the_place_of_a_long_name(compare):
    """C-2.2, C-3.6: the whiteout of a name that is too long for .wh. is no whiteout under the old name."""
    long = "L" * 255
    compare([{f"d/{long}/f": "1", "e/s/x": "2", f"h/{long[1:]}/f": "3"}], f"""
        unlink @/d/{long}/f
        rmdir @/d/{long}
        rename @/e/s @/d/{long}
        stat @/e/s
        rename @/d/{long} @/e/s
        rename @/h/{long[1:]} @/d/{long}
        readdir @/h
        readdir @/e
        readdir @/d
    """, without={"kernel": "directory-rename"})


def test_no_mark_where_nothing_is_hidden(world):
    """C-3.7: a directory made over a whiteout is opaque, and loses its mark where no lower layer has its new name."""
    side = world.ovl([{"f": "1", "d/": None}], upper={})
    assert side.opsh("unlink @/f\nmkdir @/f\nrename @/f @/d/f\nreaddir @/d")[0][-1] == "ok .:d ..:d f:d"
    assert not os.listdir(f"{side.upper}/d/f")


def test_a_bad_descriptor_comes_before_a_removed_directory(compare):
    """C-3.13: rename finds both directories first, and a removed one is found."""
    compare([{"f": "1", "d/": None}], """
        mkdir @/new 0755
        open 1 @/new O_PATH|O_DIRECTORY
        rmdir @/new
        renameat2 1 x bad y 0
        renameat2 1 x cwd @/f/y 0
        renameat2 1 x cwd @/y 0
        renameat2 1 x/z bad y 0
    """)


def test_a_mark_in_a_directory_that_may_not_be_searched(world):
    """C-3.7: an opaque mark that hides nothing where its directory has gone is not left there, whatever the mode."""
    side = world.ovl([{"f": "1"}], upper={})
    side.opsh("""
        unlink @/f
        mkdir @/f 0755
        chmod @/f 0644
        mkdir @/d 0755
        mkfifo @/d/p 0644
        renameat2 cwd @/f cwd @/d/p RENAME_EXCHANGE
    """)
    assert os.listdir(f"{side.upper}/d/p") == []


def test_long_names_and_what_comes_first(compare):
    """C-3.13: a name that is too long is looked up in a directory that may be searched; links that loop are ELOOP,
    however long their names."""
    long = "T" * 256
    name = "L" * 255
    compare([{"d/": None, "l/": None}], f"""
        chmod @/d 0444
        unlink @/d/{long}
        rename @/d/{long} @/g
        stat @/d/{long}/x
        chmod @/d 0755
        stat @/d/{long}
        symlink l/{name}/{name} @/a
        link @/a @/l/l
        access @/l/l F_OK
    """)


def test_a_file_without_a_name_stays_inside(compare):
    """C-3.10: EXDEV, as for any other file of the mount."""
    compare([{"f": "1"}], """
        open 1 @ O_TMPFILE|O_RDWR 0600
        linkfd 1 %/new
        linkat 1 "" cwd %/new AT_EMPTY_PATH
        linkfd 1 @/new
        unlink @/new
        linkfd 1 %/new
    """)


def test_a_copy_that_was_opened_by_another_name_stays_inside(world):
    """C-3.10, C-3.5: also when the name by which it was copied up has moved.  (Linux overlayfs breaks such links.)"""
    assert world.ovl([{"f": "1", "g": same("f")}], {}).opsh("""
        append @/f more
        open 1 @/g O_RDONLY
        rename @/f @/moved
        linkfd 1 %/new
        linkfd 1 @/new
        cat @/new
    """)[0] == ["ok", "ok", "ok", "EXDEV", "ok", "ok 1more"]


def test_a_long_name_outside(compare):
    """C-3.13, C-3.10: the kernel compares the mounts before it looks for the names."""
    compare([{"f": "1", "out": link("%")}], f"""
        rename @/f @/out/{"T" * 256}
        rename @/f @/{"T" * 256}
        rename @/none @/out/{"T" * 256}
    """)


HANDED_DOWN = acl("u::rwx", "u:4242:rwx", "g::rx", "m::rwx", "o::rx")


def test_a_copy_has_no_acl_of_its_directory(compare):
    """C-3.3: a default ACL is handed down to what is made in a directory, not to what moves with it."""
    compare([{"d/": Dir(xattrs={"system.posix_acl_default": HANDED_DOWN}), "d/f": "1", "d/e/g": "2"}], """
        rename @/d @/new
        listxattr @/new/f
        listxattr @/new/e
        stat @/new/f
        mkdir @/new/made
        listxattr @/new/made
    """, without={"kernel": "acl-ids"})


def test_a_copy_has_no_acl_of_the_work_directory(world):
    """C-3.3: nor where the folder around the upper has a default ACL."""
    side = world.ovl([{"f": "1", "d/g": "2"}], upper={})
    os.setxattr(side.base, "system.posix_acl_default", value_of(HANDED_DOWN))
    assert side.opsh("""
        append @/f more
        listxattr @/f
        chmod @/d 0700
        listxattr @/d
    """)[0] == ["ok", "ok", "ok", "ok"]


def test_what_is_no_directory_has_no_default_acl(compare):
    """C-3.13: there is none to remove, and none can be set; nothing is copied up for that."""
    compare([{"f": "1"}], f"""
        removexattr @/f system.posix_acl_default
        setxattr @/f system.posix_acl_default {HANDED_DOWN}
        open 1 @/f O_RDONLY
        fremovexattr 1 system.posix_acl_default
        fsetxattr 1 system.posix_acl_default {HANDED_DOWN}
        stat @/f
    """, without={"kernel": "acl-ids"})


def test_a_refused_acl_copies_nothing(world):
    side = world.ovl([{"f": "1"}], upper={})
    side.opsh(f"""
        removexattr @/f system.posix_acl_default
        setxattr @/f system.posix_acl_default {HANDED_DOWN}
    """)
    assert os.listdir(side.upper) == []


def test_read_only_comes_before_a_long_name(compare):
    """C-3.8, C-3.13: EROFS where a name is looked for only when the directory may be changed."""
    long = "T" * 256
    compare([{"d/f": "1"}], f"""
        unlink @/d/{long}
        rmdir @/d/{long}
        rename @/d/{long} @/g
        rename @/d/f @/d/{long}
        rename @/d/no @/d/{long}
        renameat2 cwd @/d/{long} cwd @/d/. 0
        unlink @/no/{long}
        mkdir @/d/{long}
        link @/d/f @/d/{long}
        open 1 @/d/{long} O_CREAT|O_RDWR
    """, upper=None)


def test_attributes_of_what_may_not_be_written(compare):
    """C-3.3: an ACL takes the copy's owner the right to write, and so to set the attributes beside it."""
    value = acl("u::r", "u:4242:r", "g::r", "m::r", "o::r")
    xattrs = {"system.posix_acl_access": value, "user.k": "v"}
    compare([{"f": File(content="1", mode=0o444, xattrs=xattrs), "d/": Dir(mode=0o555, xattrs=xattrs)}], """
        chmod @/f 0644
        getxattr @/f user.k
        chmod @/d 0755
        getxattr @/d user.k
        listxattr @/d
    """, without={"kernel": "acl-ids"})


def test_marks_beside_a_directory_that_may_not_be_searched(world):
    """C-3.7: they are swept away from a directory that moved, whatever else is in it."""
    side = world.ovl([{"a/z/f": "1", "a/z/g": "2"}], upper={})
    side.opsh("""
        mkdir @/a/n 0755
        put @/a/n/x 1
        unlink @/a/z/f
        chmod @/a/n 0644
        rename @/a @/b
    """)
    assert os.listdir(f"{side.upper}/b/z") == ["g"]


def test_mounts_are_compared_before_a_long_name(compare):
    """C-3.10, C-3.13: EXDEV."""
    long = "T" * 256
    compare([{"d/f": "1"}], f"""
        rename @/d/{long} %/new
        rename %/{long} @/d/new
    """)


def test_a_reserved_name_where_none_may_be_searched(compare):
    """C-2.4, C-3.13: EACCES, as for any other name."""
    compare([{"d/f": "1"}], """
        chmod @/d 0600
        lstat @/d/.wh.f
        unlink @/d/.wh.f
        chmod @/d 0700
        lstat @/d/.wh.f
    """)


def test_a_reserved_name_in_the_copy_of_roots_directory(world, user_only):
    """The copy is the user's, who may search it; the directory below it, which it merges with, he may not."""
    side = world.ovl([{"d": Dir(mode=0o700, owner=(0, 0))}], upper={})
    assert side.opsh("chown @/d -1 -1\nlstat @/d/x\nlstat @/d/.wh.x")[0] == ["ok", "EACCES", "EACCES"]


def test_a_directory_outside_is_found_first(compare):
    """C-3.13: rename finds the old name's directory before the new one's, also where that lies outside."""
    compare([{"f": "1"}], """
        rename %/no/x @/f/e
        rename no/x @/f/e
        rename @/f/e %/no/x
    """)


def test_another_ones_device_in_a_sticky_directory(compare, role):
    """C-3.9: O_CREAT of what is there is EACCES, as by fs/namei.c, may_create_in_sticky()."""
    if not role.root:
        pytest.skip("needs root")
    compare([{"t/f": "1"}], """
        chmod @/t 01777
        mknod @/t/null S_IFCHR|0666 1 3
        chown @/t/null 1000 1000
        put @/t/null x
        open 5 @/t/null O_WRONLY
        open 6 @/t/null O_WRONLY|O_CREAT
        chmod @/t 0777
        open 6 @/t/null O_WRONLY|O_CREAT
        chown @/t 1000 0
        chmod @/t 01777
        open 7 @/t/null O_WRONLY|O_CREAT
    """)

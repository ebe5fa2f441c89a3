# SPDX-License-Identifier: MIT
"""Modes, owners, times, extended attributes, and what the caller may do (C-3.2, C-3.3, C-3.9)."""

import os

import pytest

from layers import Dir, File, Link, acl, link

LOW = {"f": "content", "d/f": "1", "d/": Dir(mode=0o750), "s": link("f"), "dang": link("no"), "ro": File(content="r",
       mode=0o444), "x": File(content="x", xattrs={"user.one": "1"}), "dx/": Dir(xattrs={"user.d": "d"}), "dx/f": "1",
       "t": File(content="t", mtime=1111111111.25), "suid": File(content="s", mode=0o4755)}


def test_chmod(compare):
    compare([LOW], """
        chmod @/f 0600
        stat @/f
        cat @/f
        chmod @/d 0700
        stat @/d
        stat @/d/f
        chmod @/s 0640
        stat @/f
        chmod @/dang 0600
        chmod @/missing 0600
        chmod @/f/x 0600
        open 1 @/d/f O_RDONLY
        fchmod 1 0606
        fstat 1
        stat @/d/f
        open 2 @/d O_RDONLY|O_DIRECTORY
        fchmodat 2 f 0604
        stat @/d/f
        fchmod 2 0755
        stat @/d
        fchmod bad 0
        chmod @ 0711
        stat @
        chmod @/suid 0755
        chmod @/ro 0644
        put @/ro now
    """)


def test_descriptors_opened_before(compare):
    """C-3.2: a change through a read-only descriptor shows in it, of files and directories, by fstat and statx."""
    compare([LOW], """
        open 1 @/f O_RDONLY
        open 2 @/d O_RDONLY|O_DIRECTORY
        open 3 @/x O_RDONLY
        fchmod 1 0601
        fchmod 2 0711
        futimens 2 omit 8.5
        setxattr @/x user.k v
        statx 1 "" AT_EMPTY_PATH
        statx 2 "" AT_EMPTY_PATH
        statx 3 "" AT_EMPTY_PATH
        fstat 1
        fstat 2
        fstat 3
        futimens 1 omit 9.5
        statx 1 "" AT_EMPTY_PATH
        chmod @/d 0750
        fstat 2
        statx 2 "" AT_EMPTY_PATH
        stat @/d
        append @/f more
        statx cwd @/f
    """)


def test_descriptors_that_only_name(compare):
    """C-3.1, C-3.2: O_PATH descriptors and AT_EMPTY_PATH, of lower objects."""
    compare([LOW], """
        open 1 @/f O_PATH
        open 2 @/s O_PATH|O_NOFOLLOW
        open 3 @/d O_PATH
        open 4 @/x O_RDONLY
        utimensat 1 "" omit 3.5 AT_EMPTY_PATH
        stat @/f
        utimensat 2 "" omit 4.5 AT_EMPTY_PATH
        lstat @/s
        utimensat 3 "" omit 5.5 AT_EMPTY_PATH
        stat @/d
        utimensat 4 "" omit 6.5 AT_EMPTY_PATH
        stat @/x
        utimensat bad "" omit 6.5 AT_EMPTY_PATH
        utimensat 1 "" omit 6.5
        fchmodat2 1 "" 0601 AT_EMPTY_PATH
        stat @/f
        fchmodat2 2 "" 0601 AT_EMPTY_PATH
        fchmodat2 3 "" 0701 AT_EMPTY_PATH
        stat @/d
        fchmodat2 4 "" 0602 AT_EMPTY_PATH
        stat @/x
        fchmodat2 bad "" 0602 AT_EMPTY_PATH
        fchmodat2 1 "" 0602
        fchmodat2 3 f 0604
        stat @/d/f
        fchmod 1 0600
        futimens 1 omit 1.5
    """)


def test_times(compare):
    compare([LOW], """
        utimens @/f 1.000000001 2.000000002
        times @/f
        utimens @/f omit 3.5
        times @/f
        utimens @/d omit 4.25
        stat @/d
        utimens @/d/f now now
        stat @/d/f
        utimens @/s omit 5.0
        stat @/f
        utimens @/s omit 6.0 AT_SYMLINK_NOFOLLOW
        lstat @/s
        stat @/f
        utimens @/x omit omit
        stat @/x
        utimens @/missing omit omit
        utimens @/missing 1.0 1.0
        open 1 @/t O_RDONLY
        futimens 1 omit 7.0
        fstat 1
        stat @/t
        append @/t more
        stat @/t
        utimens @/dang 1.0 1.0
    """)


def test_owner(compare, role):
    other = 4321 if role.root else role.uid
    compare([LOW], f"""
        chown @/f {other} {other}
        stat @/f
        chown @/d {role.uid} {role.gid}
        stat @/d
        chown @/s -1 {other}
        lchown @/s {other} {other}
        lstat @/s
        stat @/f
        chown @/missing 1 1
        chown @/suid {other} {other}
        stat @/suid
        open 1 @/x O_RDONLY
        fchown 1 {other} -1
        fstat 1
        stat @/x
        fchownat cwd @/d/f {other} {other} AT_SYMLINK_NOFOLLOW
        fchownat 1 "" {other} {other} AT_EMPTY_PATH
        stat @/d/f
        fchown bad 1 1
    """)


def test_xattrs(compare):
    compare([LOW], """
        setxattr @/f user.a 1
        getxattr @/f user.a
        listxattr @/f
        setxattr @/x user.two 2
        listxattr @/x
        removexattr @/x user.one
        listxattr @/x
        removexattr @/x user.one
        setxattr @/x user.two 3 XATTR_CREATE
        setxattr @/x user.three 3 XATTR_REPLACE
        setxattr @/d user.a 1
        listxattr @/d
        setxattr @/dx user.e 1
        listxattr @/dx
        removexattr @/dx user.d
        listxattr @/dx
        setxattr @/missing user.a 1
        lsetxattr @/s user.a 1
        setxattr @/s user.b 1
        getxattr @/f user.b
        open 1 @/t O_RDONLY
        fsetxattr 1 user.z 9
        fgetxattr 1 user.z
        getxattr @/t user.z
        fremovexattr 1 user.z
        setxattr @/f noprefix 1
        setxattr @/f foo.bar 1
        getxattr @/f user.missing
    """)


def test_xattrs_of_what_can_not_be_read(compare):
    compare([{"d/": Dir(mode=0o755, xattrs={"user.k": "v"}), "f": File(content="f", xattrs={"user.k": "v"})}], """
        chmod @/d 0311
        removexattr @/d user.a
        removexattr @/d user.k
        setxattr @/d user.b 1 XATTR_CREATE
        setxattr @/d user.c 1 XATTR_REPLACE
        getxattr @/d user.b
        chmod @/f 0200
        removexattr @/f user.a
        removexattr @/f user.k
        setxattr @/f user.b 1 XATTR_CREATE
        setxattr @/f user.b 1 XATTR_CREATE
        chmod @/f 0400
        setxattr @/f user.b 2
        removexattr @/f user.b
        getxattr @/f user.b
        chmod @/d 0755
    """)


def test_acl_survives_copy_up(compare):
    value = acl("u::rw", "u:4242:rwx", "g::r", "m::rwx", "o::r")
    compare([{"f": File(content="1", xattrs={"system.posix_acl_access": value}, mode=0o674),
              "d/": Dir(xattrs={"system.posix_acl_default": value}), "d/x": "1"}], """
        listxattr @/f
        append @/f 2
        listxattr @/f
        stat @/f
        put @/d/new 1
        stat @/d/new
        mkdir @/d/sub
        stat @/d/sub
        listxattr @/d/sub
        chmod @/d 0700
        listxattr @/d
    """, without={"kernel": "acl-ids"})


def test_metadata_of_new_objects(compare):
    compare([{"d/": Dir(mode=0o2775), "d/old": "1"}], """
        put @/d/f 1
        stat @/d/f
        mkdir @/d/sub 0700
        stat @/d/sub
        umask 027
        put @/d/g 1
        mkdir @/d/h
        mkfifo @/d/p 0666
        stat @/d/p
        open 1 @/d/q O_CREAT|O_WRONLY 01777
        fstat 1
    """)


def test_parents_keep_their_times(compare):
    """C-3.3: a copy-up deep below does not touch the parents' times or modes."""
    compare([{"a/": Dir(mode=0o751), "a/b/": Dir(mode=0o710), "a/b/c/": Dir(mode=0o2755), "a/b/c/f": "1"}], """
        append @/a/b/c/f 2
        stat @/a
        stat @/a/b
        stat @/a/b/c
        chmod @/a/b/c/f 0600
        stat @/a/b/c
        put @/a/b/c/new 1
        stat @/a/b/c
        stat @/a/b
    """)


def test_symlinks_keep_times_and_owner(compare):
    compare([{"l": Link(target="no where", mtime=1222222222.5), "d/l": link("x")}], """
        lstat @/l
        link @/l @/l2
        lstat @/l
        rename @/l @/l3
        lstat @/l3
        readlink @/l3
        rename @/d/l @/d/m
        lstat @/d/m
    """)


FOREIGN = {"f": "root's", "ro": File(content="r", mode=0o444), "private": File(content="p", mode=0o600),
           "group": File(content="g", mode=0o664), "d/f": "1", "closed/": Dir(mode=0o700), "closed/f": "1",
           "rod/": Dir(mode=0o555), "rod/f": "1", "exec": File(content="#!/bin/sh\nexit 7\n", mode=0o755)}


@pytest.fixture
def foreign(compare, user_only):
    """Lower layers of root for an ordinary user; the bare directory is the user's: 'what it could do if the
    object were copied up already, owned by the caller'."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make layers of another owner")

    def run(script):
        compare([FOREIGN], script, without={"kernel": "copied-owner"}, tree=False, lower_owner=(0, 0))
    return run


def test_root_owned_layers_can_be_changed(foreign):
    """C-3.9."""
    foreign("""
        append @/f +mine
        cat @/f
        stat @/f
        put @/new 1
        stat @/new
        put @/d/new 1
        mkdir @/d/sub
        unlink @/d/f
        stat @/d/f
        chmod @/group 0600
        stat @/group
        truncate @/group 0
        rename @/exec @/exec2
        stat @/exec2
        utimens @/exec2 1.0 2.0
        stat @/exec2
        access @/f W_OK
        access @/d W_OK
        access @ W_OK
        append @/ro x
        access @/ro W_OK
        access @/rod/f F_OK
        put @/rod/x 1
        unlink @/rod/f
        access @/rod W_OK
        put @/rod/f x
        symlink x @/d/s
        mkfifo @/d/p 0600
    """)


def test_a_refused_write_copies_nothing(world, user_only):
    """C-3.9: a 0444 file refuses writing with EACCES and is not copied up by the attempt."""
    owner = (0, 0) if os.geteuid() == 0 else None
    side = world.ovl([FOREIGN], upper={}, lower_owner=owner)
    assert side.opsh("""
        append @/ro x
        open 1 @/ro O_RDWR
        truncate @/ro 0
    """)[0] == ["EACCES"] * 3
    assert os.listdir(side.upper) == []


def test_unreadable_files_can_not_be_copied_up(world, user_only):
    """C-3.9: a file that the caller can't read: EACCES, and nothing changed."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make layers of another owner")
    side = world.ovl([FOREIGN], upper={}, lower_owner=(0, 0))
    assert side.opsh("""
        cat @/private
        append @/private x
        chmod @/private 0644
        rename @/private @/p
        stat @/p
        put @/closed/f x
        readdir @/closed
        unlink @/closed/f
        stat @/private
    """)[0][:8] == ["EACCES", "EACCES", "EACCES", "EACCES", "ENOENT", "EACCES", "EACCES", "EACCES"]
    assert os.listdir(side.upper) == []


def test_an_unreadable_empty_file_can_be_copied_up(world, user_only):
    """C-3.9: there is nothing to read; so are lock files, of dpkg and of the user database."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make layers of another owner")
    closed = {name: File(content="", mode=0o600) for name in ("lock", "pwd.lock", "m", "old")}
    side = world.ovl([{**closed, "ro": File(content="", mode=0o440), "shut/": Dir(mode=0o700), "shut/f": ""}], upper={},
                     lower_owner=(0, 0))
    lines = side.opsh("""
        cat @/lock
        access @/lock R_OK
        access @/lock R_OK|W_OK
        open 1 @/lock O_RDWR
        append @/pwd.lock x
        cat @/pwd.lock
        chmod @/m 0644
        rename @/old @/new
        cat @/new
        open 2 @/ro O_RDWR
        append @/shut/f x
    """)[0]
    assert lines == ["EACCES", "EACCES", "ok", "ok", "ok", "ok x", "ok", "ok", "ok ", "EACCES", "EACCES"]
    assert sorted(os.listdir(side.upper)) == [".wh.old", "lock", "m", "new", "pwd.lock"]


def test_attributes_that_can_not_be_read_are_not_lost(world, user_only):
    """C-3.3, C-3.9: what the caller can't read of an object can't be copied up: EACCES, and nothing changed."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make layers of another owner")
    closed = Dir(mode=0o700, xattrs={"user.k": "v"})
    side = world.ovl([{"d/": closed, "e/": closed, "into/": Dir(mode=0o733, xattrs={"user.k": "v"}),
                       "lock": File(content="", mode=0o600, xattrs={"user.k": "v"}), "plain/": Dir(mode=0o700)}],
                     upper={}, lower_owner=(0, 0))
    lines = side.opsh("""
        chmod @/d 0755
        rename @/e @/new
        put @/into/f x
        append @/lock x
    """)[0]
    assert lines == ["EACCES"] * 4
    assert os.listdir(side.upper) == []
    assert side.opsh("chmod @/plain 0755")[0] == ["ok"]
    assert os.listdir(side.upper) == ["plain"]


def test_set_id_bits_go_where_the_owner_can_not_be_kept(world, user_only):
    """C-3.3."""
    if os.geteuid() != 0:
        pytest.skip("needs root to make layers of another owner")
    side = world.ovl([{"s": File(content="s", mode=0o6755), "d/": Dir(mode=0o2775), "e/": Dir(mode=0o2577)}],
                     upper={}, lower_owner=(0, 0))
    lines = side.opsh("""
        utimens @/s 1.0 2.0
        stat @/s
        mkdir @/d/new
        stat @/d
        stat @/d/new
        utimens @/e 1.0 2.0
        stat @/e
    """)[0]
    assert lines[1].startswith("ok f 0755 ")
    assert lines[3].startswith("ok d 0775 ")
    assert lines[4].startswith("ok d 0755 ")
    assert lines[6].startswith("ok d 0577 ")

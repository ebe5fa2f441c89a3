# SPDX-License-Identifier: MIT
"""Functions of libc that are near to files and not wrapped: each is called, and what it asks of the kernel must be what its
reason in shim/not_wrapped.def says (C-4.1, C-4.2).

A function is near when its reason names files, or when it is named in NEAR: those that work on paths, descriptors,
streams or directories by some other call, and that a reader may expect to be wrapped.
"""

import os
import pathlib
import re
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
TABLE = HERE.parent.parent / "shim/not_wrapped.def"

# The reasons whose every function has a probe.
REASONS = ["inside", "device", "loader", "debug", "spawn", "stub", "listing"]

# What a function is called with; the words are those of not_wrapped.c.
ARGUMENTS = {}


def calls(arguments, names):
    ARGUMENTS.update({name: arguments for name in names.split()})


# inside: users, groups, hosts, services ...
calls("'nobody'", "getpwnam getgrnam getspnam getsgnam getaliasbyname gethostbyname getnetbyname getprotobyname getrpcbyname "
      "setnetgrent getfsspec getfsfile getttynam getdate")
calls("0", "getpwuid getgrgid getprotobynumber getrpcbynumber setprotoent setservent sethostent setnetent setrpcent")
calls("", "getpwent getgrent getspent getsgent getaliasent gethostent getnetent getprotoent getservent getrpcent getfsent getttyent "
      "getusershell getutent getutxent getlogin gethostid endaliasent endfsent endgrent endhostent endnetent endnetgrent endprotoent "
      "endpwent endrpcent endservent endsgent endspent endttyent endusershell endutent endutxent setaliasent setfsent setgrent "
      "setpwent setsgent setspent setttyent setusershell setutent setutxent tzset __res_init")
calls("room room 4096 pointer", "getpwent_r getgrent_r getspent_r getsgent_r getaliasent_r getprotoent_r getservent_r getrpcent_r")
calls("room room 4096 pointer room", "gethostent_r getnetent_r")
calls("'nobody' room room 4096 pointer", "getpwnam_r getgrnam_r getspnam_r getsgnam_r getaliasbyname_r getprotobyname_r getrpcbyname_r")
calls("'nobody' room room 4096 pointer room", "gethostbyname_r getnetbyname_r")
calls("'nobody' 2 room room 4096 pointer room", "gethostbyname2_r")
calls("'nobody' 2", "gethostbyname2")
calls("0 room room 4096 pointer", "getpwuid_r getgrgid_r getprotobynumber_r getrpcbynumber_r")
calls("room 4 2", "gethostbyaddr")
calls("room 4 2 room room 4096 pointer room", "gethostbyaddr_r")
calls("0 2", "getnetbyaddr")
calls("0 2 room room 4096 pointer room", "getnetbyaddr_r")
calls("'ssh' 'tcp'", "getservbyname")
calls("22 'tcp'", "getservbyport")
calls("'ssh' 'tcp' room room 4096 pointer", "getservbyname_r")
calls("22 'tcp' room room 4096 pointer", "getservbyport_r")
calls("0 room", "getpw")
calls("pointer pointer pointer", "getnetgrent")
calls("pointer pointer pointer room 4096", "getnetgrent_r")
calls("'x' 'nobody' 'nobody' 'nobody'", "innetgr")
calls("'nobody' 0 room room", "getgrouplist")
calls("'nobody' 0", "initgroups")
calls("'nobody' 0 0 pointer", "getaddrinfo")
calls("1 room 0 0", "getaddrinfo_a")
calls("room 16 room 100 room 100 0", "getnameinfo")
calls("room", "getutid getutline getutxid getutxline cuserid")
calls("room room pointer", "getutid_r getutline_r")
calls("room pointer", "getutent_r")
calls("room 256", "getlogin_r")
calls("room 256 256", "__getlogin_r_chk")
calls("'nobody' room", "ether_hostton")
calls("room room", "ether_ntohost")
calls("'localhost' 0 'nobody' 'nobody'", "ruserok")
calls("'localhost' 0 'nobody' 'nobody' 2", "ruserok_af")
calls("0 0 'nobody' 'nobody'", "iruserok")
calls("room 0 'nobody' 'nobody' 2", "iruserok_af")
calls("stream 0 'nobody' 'nobody' 'localhost'", "__ivaliduser")
calls("'localhost' pointer pointer", "ruserpass")
calls("pointer 514 'nobody' 'nobody' 'true' 0", "rcmd")
calls("pointer 514 'nobody' 'nobody' 'true' 0 2", "rcmd_af")
calls("pointer 512 'nobody' 'x' 'true' 0", "rexec")
calls("pointer 512 'nobody' 'x' 'true' 0 2", "rexec_af")
calls("-1 room", "bindresvport")
# inside: the resolver
calls("'nobody' 1 1 room 4096", "res_query res_search __res_query __res_search")
calls("'nobody' 'nodomain' 1 1 room 4096", "res_querydomain __res_querydomain")
calls("room 12 room 4096", "res_send __res_send")
calls("room", "__res_ninit")
calls("room 'nobody' 1 1 room 4096", "res_nquery res_nsearch __res_nquery __res_nsearch")
calls("room 'nobody' 'nodomain' 1 1 room 4096", "res_nquerydomain __res_nquerydomain")
calls("room room 12 room 4096", "res_nsend __res_nsend")
# inside: the name service switch
calls("'passwd' 'files'", "__nss_configure_lookup")
calls("'passwd' 'files' 'files' pointer", "__nss_database_lookup")
calls("pointer 'getgrnam_r' pointer", "__nss_group_lookup")
calls("pointer 'getpwnam_r' pointer", "__nss_passwd_lookup")
calls("pointer 'gethostbyname_r' pointer", "__nss_hosts_lookup")
# inside: locales, conversions, messages
calls("6 'xx_YY'", "setlocale")
calls("0x1fff 'xx_YY' 0", "newlocale __newlocale")
calls("'UTF-8' 'KOI8-R'", "iconv_open")
calls("'nothing'", "gettext textdomain rpmatch")
calls("'nothing' 'things' 2", "ngettext")
calls("'nothing' 'nothing'", "dgettext __dgettext bind_textdomain_codeset")
calls("'nothing' 'nothing' 5", "dcgettext __dcgettext")
calls("'nothing' 'nothing' 'nothings' 2", "dngettext")
calls("'nothing' 'nothing' 'nothings' 2 5", "dcngettext")
# inside: time zones
calls("time", "ctime gmtime localtime")
calls("time room", "ctime_r gmtime_r localtime_r __gmtime_r")
calls("tm", "mktime timelocal")
calls("room 100 '%Z' tm", "strftime")
calls("'12' '%H' tm", "strptime")
calls("'12' room", "getdate_r")
calls("room 100 room tm", "wcsftime")
calls("room 100 '%Z' tm locale", "strftime_l __strftime_l")
calls("room 100 room tm locale", "wcsftime_l __wcsftime_l")
calls("'12' '%H' tm locale", "strptime_l")
# inside: RPC
calls("'localhost' 100000 2 'udp'", "clnt_create")
calls("'localhost' 100000 2 17", "getrpcport")
calls("'unix.0@x' room room room room", "netname2user")
calls("'unix.x@y' room 100", "netname2host")
calls("room 'x' 'y'", "host2netname")
calls("room 0 'y'", "user2netname")
calls("room", "getnetname")
calls("'unix.0@x' room", "getpublickey")
calls("'unix.0@x' room 'x'", "getsecretkey")
calls("'unix.0@x' 10 room room", "authdes_create")
calls("'unix.0@x' room 10 room room", "authdes_pk_create")

# device
calls("3 room 100", "confstr")
calls("3 room 100 100", "__confstr_chk")
calls("84", "sysconf __sysconf")
calls("", "get_avphys_pages get_nprocs get_nprocs_conf get_phys_pages getpt arc4random ttyslot vhangup")
calls("room 64", "arc4random_buf")
calls("64", "arc4random_uniform")
calls("room", "ctermid")
calls("2 'a:b' 1 'c' 'd' 'e'", "fmtmsg")
calls("room 3", "getloadavg")
calls("self room", "pthread_getattr_np")
calls("self room 100", "pthread_getname_np")
calls("self 'x'", "pthread_setname_np")
calls("room room 0 0", "forkpty")
calls("'password'", "getpass")
calls("2", "posix_openpt")
calls("fd", "grantpt unlockpt ptsname ttyname login_tty")
calls("fd room 100", "ptsname_r ttyname_r")
calls("fd room 100 100", "__ptsname_r_chk __ttyname_r_chk")
calls("room room room 0 0", "openpty")
calls("'/ovl-test' 0", "mq_open __mq_open_2 sem_open")
calls("'/ovl-test'", "mq_unlink sem_unlink shm_unlink")
calls("'/ovl-test' 0 0", "shm_open")
calls("'ovl' 8 8", "openlog")
calls("7 'text'", "syslog")
calls("7 1 'text'", "__syslog_chk")

# loader
calls("addresses 1", "backtrace_symbols __backtrace_symbols")
calls("addresses 1 2", "backtrace_symbols_fd __backtrace_symbols_fd")
calls("room 10", "backtrace __backtrace")
calls("handle", "dlclose")
calls("", "dlerror")
calls("handle 2 pointer", "dlinfo")
calls("handle 'open'", "dlsym")
calls("handle 'open' 'GLIBC_2.2.5'", "dlvsym")
calls("room room", "_dl_find_object")
calls("", "mtrace muntrace")

# spawn
calls("actions", "posix_spawn_file_actions_init posix_spawn_file_actions_destroy")
calls("actions '/nothing'", "posix_spawn_file_actions_addchdir_np")
calls("actions 5", "posix_spawn_file_actions_addclose posix_spawn_file_actions_addclosefrom_np posix_spawn_file_actions_addfchdir_np "
      "posix_spawn_file_actions_addtcsetpgrp_np")
calls("actions 5 6", "posix_spawn_file_actions_adddup2")
calls("actions 5 '/nothing' 0 0", "posix_spawn_file_actions_addopen")
calls("attributes", "posix_spawnattr_init posix_spawnattr_destroy")
calls("attributes 0", "posix_spawnattr_setflags posix_spawnattr_setpgroup posix_spawnattr_setschedpolicy posix_spawnattr_setcgroup_np")
calls("attributes room", "posix_spawnattr_getflags posix_spawnattr_getpgroup posix_spawnattr_getschedparam posix_spawnattr_getschedpolicy "
      "posix_spawnattr_getsigdefault posix_spawnattr_getsigmask posix_spawnattr_setschedparam posix_spawnattr_setsigdefault "
      "posix_spawnattr_setsigmask posix_spawnattr_getcgroup_np")

# listing
calls("'/a/b'", "basename __xpg_basename dirname glob_pattern_p")
calls("'*' 'x' 0", "fnmatch")
calls("room", "globfree globfree64 wordfree")
calls("pointer pointer", "alphasort alphasort64 versionsort versionsort64")
calls("-1", "catclose")
calls("-1 1 1 'x'", "catgets")

# near files, with another reason
calls("fd 0 0 100", "fallocate fallocate64")
calls("fd 0 100", "posix_fallocate posix_fallocate64")
calls("fd 100", "ftruncate ftruncate64")
calls("fd 2", "flock")
calls("fd 2 0", "lockf lockf64")
calls("fd 5", "fpathconf")
calls("fd 0100000", "isfdtype")
calls("0 100 1 2 fd 0", "mmap mmap64")
calls("fd 'r'", "fdopen")
calls("stream", "fgetpwent fgetgrent fgetspent fgetsgent getmntent fclose")
calls("0", "inotify_init1")
calls("", "inotify_init fork _Fork __fork")
calls("0 0", "fanotify_init")
calls("-1 1", "inotify_rm_watch")
calls("'tmpfs' 0", "fsopen")
calls("-1 0 0", "fsmount")
calls("fd", "isatty isastream")
calls("fd 0 0", "lseek")
calls("fd fd 0 10", "sendfile")
calls("fd 0 fd 0 10 0", "copy_file_range")
calls("'x'", "memfd_create")
NEAR = ("fallocate fallocate64 posix_fallocate posix_fallocate64 ftruncate ftruncate64 flock lockf lockf64 fpathconf isfdtype mmap mmap64 "
        "fdopen fgetpwent fgetgrent fgetspent fgetsgent getmntent fclose inotify_init inotify_init1 fanotify_init inotify_rm_watch fsopen "
        "fsmount isastream isatty lseek sendfile copy_file_range memfd_create fork _Fork __fork").split()

# Those that can't be called alone, with what shows their reason.
UNCALLED = {
    "vsyslog": "syslog with a va_list", "__vsyslog_chk": "syslog with a va_list",
    "__nss_next": "goes on in a list that __nss_database_lookup has made",
    "__nss_hostname_digits_dots": "the first step of gethostbyname_r",
    "authdes_getucred": "reads the credentials of a request that an RPC server got",
}

# What the names that a reason allows begin with.
SYSTEM = ("/etc/", "/usr/", "/lib/", "/lib64/", "/run/", "/var/run/", "/var/db/", "/proc/")
ALLOWED = {
    "inside": SYSTEM, "device": ("/dev/", "/proc/", "/sys/", "/etc/localtime"),
    "loader": ("/etc/ld.so.cache", "/lib/", "/usr/lib/"),  # backtrace loads libgcc_s (README)
}
# Homes of users, which /etc/passwd says: .rhosts and .netrc.
HOMES = re.compile(r"/\.(rhosts|netrc)$")
CALL = re.compile(r"(\w+)\((.*)")
NAME = re.compile(r'(?:AT_FDCWD, |^|sun_path=)"(/[^"]*|[^/"][^"]*)"')
FILES = {"open", "openat", "openat2", "creat", "access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx", "readlink",
         "readlinkat", "statfs", "connect", "bind", "unlink", "unlinkat", "mkdir", "mkdirat", "rename", "renameat2", "link", "linkat",
         "symlink", "symlinkat", "chmod", "fchmodat", "chown", "lchown", "fchownat", "truncate", "utimensat", "mknod", "mknodat", "execve",
         "chdir", "chroot", "mount", "umount2"}
LOOKS = {"access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat", "statx", "readlink", "readlinkat", "statfs", "connect"}


def reasons():
    """Name to reason, of all that this machine's libc may have."""
    found, reason = {}, None
    for line in TABLE.read_text().splitlines():
        if re.match("@[a-z]", line):
            reason = line.split()[0][1:]
        elif line.startswith("    "):
            found.update({re.sub(r"\(.*", "", name): reason for name in line.split()})
    return found


REASON = reasons()
STUBS = {name: {"fchflags": "fd 0", "gtty": "fd room", "stty": "fd room"}.get(name, "-1 0 0 0")
         for name, reason in REASON.items() if reason == "stub"}


@pytest.fixture(scope="module")
def traced(workspace):
    """For each function: its status, and the system calls that it made with a name."""
    folder = pathlib.Path(workspace, "not-wrapped")
    folder.mkdir()
    program, trace = folder / "not_wrapped", folder / "trace"
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", HERE / "not_wrapped.c",
                    "-o", program], check=True)
    table = "".join(f"{name} {arguments}\n" for name, arguments in {**ARGUMENTS, **STUBS}.items())
    alone = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]  # without a network, nothing is waited for
    done = subprocess.run([*alone, "strace", "-f", "-o", trace, program], input=table, capture_output=True, text=True, check=True,
                          cwd=folder, timeout=100)
    status = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    return status, calls_by_function(trace.read_text(errors="replace"))


def calls_by_function(trace):
    running, made = {}, {}
    for line in trace.splitlines():
        pid, _, text = line.partition(" ")
        text = text.strip()
        mark = re.match(r'write\(999, "(\w+)"', text)
        if mark and mark[1] == "end":
            running.pop(pid, None)
        elif mark:
            running[pid] = mark[1]
            made[mark[1]] = []
        elif pid in running:
            child = re.match(r"(?:clone|clone3|fork|vfork)\(.* = (\d+)$", text)
            if child:
                running[child[1]] = running[pid]
            call = CALL.match(text)
            name = NAME.search(call[2]) if call and call[1] in FILES else None
            if name:
                made[running[pid]].append((call[1], name[1], call[2]))
    return made


def test_every_near_function_has_a_probe():
    """One that comes to the table anew fails here until it has one."""
    near = {name for name, reason in REASON.items() if reason in REASONS} | set(NEAR)
    probed = ARGUMENTS.keys() | UNCALLED.keys() | STUBS.keys()
    assert near - probed == set() and probed - near == set()
    assert REASON.keys() >= near, "what is wrapped needs no probe"


def is_allowed(reason, call, name, rest):
    if reason == "device":
        return name.startswith(ALLOWED[reason])
    if reason not in ALLOWED:
        return False
    looks = call in LOOKS or (call == "openat" and "O_RDONLY" in rest and "O_CREAT" not in rest)
    return looks and (name in ("/", "/lib", "/lib64", "/usr/lib", "/usr/lib64") or name.startswith(ALLOWED[reason])
                      or bool(HOMES.search(name)))


def test_what_they_ask_for(traced):
    """No name at all; or, where the reason says so, one of the system's that is built in, and it is only read."""
    status, made = traced
    wrong = [(name, call, path) for name, done in made.items() for call, path, rest in done
             if not is_allowed(REASON[name], call, path, rest)]
    assert wrong == []
    assert len(made) > 300
    # The probes do reach the kernel.
    for name, path in {"getpwnam": "/etc/passwd", "setlocale": "/usr/lib/locale/locale-archive", "localtime": "/etc/localtime",
                       "iconv_open": "/usr/lib", "gethostbyname": "/etc/hosts", "syslog": "/dev/log"}.items():
        assert any(p.startswith(path) for _, p, _ in made[name]), name
    assert status["getpwnam"] == "0"


def test_they_were_called(traced):
    """Each came back, but for those that a newer libc has; the stubs with ENOSYS."""
    status, _ = traced
    newer = set(re.findall(r"(\w+)\(2\.\d+\)", TABLE.read_text()))
    wrong = {name: s for name, s in status.items() if s != ("4" if name in STUBS else "0") and not (s == "3" and name in newer)
             and not (REASON[name] == "inside" and s == "4")}
    assert wrong == {}
    assert status.keys() == ARGUMENTS.keys() | STUBS.keys()

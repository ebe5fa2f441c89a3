# SPDX-License-Identifier: MIT
"""What libc reads by itself (C-4.2): name services, time zones, locales, messages and character sets under an overlay,
with libc's own entries patched; what happens where that is off or can't be done; and that nothing of libc is missed
(C-4.1).  inside.c asks libc."""

import ctypes
import os
import pathlib
import re
import struct
import subprocess

import pytest

HERE = pathlib.Path(__file__).resolve().parent
LIBC = os.path.realpath(next(line.split()[-1] for line in open("/proc/self/maps") if "libc.so.6" in line))
GCONV = os.path.join(os.path.dirname(LIBC).replace("/lib/", "/usr/lib/", 1) if LIBC.startswith("/lib/")
                     else os.path.dirname(LIBC), "gconv")

NAMES = ["names", "zaphod", "zg", "heartofgold", "improb", "vogon", "magrathea"]
SEEN = """getpwnam Z. B.
getpwent /home/zaphod
getpwuid_r zaphod
getgrnam ford
gethostbyname 10.9.8.7
getaddrinfo 4242
getservbyname 4242
getprotobyname 242
getnetbyname a2a0000
"""
UNSEEN = """getpwnam -
getpwent -
getpwuid_r -
getgrnam -
gethostbyname -
getaddrinfo -
getservbyname -1
getprotobyname -1
getnetbyname 0
"""
NOTHING = "; what libc opens there by itself is the real file system's\n"


@pytest.fixture(scope="session")
def inside(workspace):
    path = os.path.join(workspace, "inside")
    subprocess.run(["gcc", "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-Werror", "-pthread",
                    str(HERE / "inside.c"), "-o", path], check=True)
    return path


class View:
    """Overlays over places of the system: a layer `l` above the real one, an upper `u`."""

    def __init__(self, world, program):
        if "ovl" not in world.sides:
            pytest.skip("needs the library under test")
        self.base, self.role, self.library, self.program = world.base(), world.role, world.tools.library, program
        self.log = f"{self.base}/log"
        self.world = world
        for name in ("l", "u"):
            os.mkdir(f"{self.base}/{name}")

    def file(self, name, content, mode=0o644):
        path = f"{self.base}/l/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content if isinstance(content, bytes) else content.encode())
        os.chmod(path, mode)

    def etc(self):
        """A layer with a user, a group, a host and so on."""
        with open("/etc/passwd", encoding="utf-8") as f:
            self.file("passwd", f.read() + "zaphod:x:4242:4242:Z. B.:/home/zaphod:/bin/sh\n")
        self.file("group", "root:x:0:\nzg:x:4242:ford\n")
        self.file("hosts", "127.0.0.1 localhost\n10.9.8.7 heartofgold\n")
        self.file("services", "improb 4242/tcp\n")
        self.file("protocols", "tcp 6 TCP\nvogon 242 VOGON\n")
        self.file("networks", "magrathea 10.42.0.0\n")
        self.file("nsswitch.conf", "".join(f"{base}: files\n" for base in (
            "passwd", "group", "shadow", "hosts", "services", "protocols", "networks")))
        self.file(".wh..pwd.lock", "")
        return self

    def conf(self, mount, *more):
        lower = f"{self.base}/l" + (f":{mount}" if os.path.isdir(mount) else "")
        return ",".join([f"mount={mount}", f"lowerdir={lower}", f"upperdir={self.base}/u", *more])

    def run(self, conf, argv, status=0, before=(), after=(), **env):
        """Start a program, with other libraries before or after ours: what it printed."""
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", f"{self.role.uid}:{self.role.gid}", self.base], check=True)
        self.world.watch(f"{self.base}/l")
        preload = ":".join([*before, self.library, *after])
        words = argv if argv[0] in PROGRAMS or "/" in argv[0] else [self.program, *argv]
        done = subprocess.run([*self.role.drop(), "env", f"LD_PRELOAD={preload}", f"OVL_CONF={conf}", *words],
                              capture_output=True, text=True, timeout=120, cwd=self.base, umask=0o022,
                              env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "OVL_LOG_FILE": self.log, **env})
        assert done.returncode == status, done.stderr + done.stdout
        return done.stderr if status == 125 else done.stdout

    def logged(self):
        return pathlib.Path(self.log).read_text(encoding="utf-8") if os.path.exists(self.log) else ""


PROGRAMS = ("sh", "python3", "fakeroot", "valgrind")


@pytest.fixture
def view(world, inside):
    return View(world, inside)


@pytest.fixture
def etc(view):
    with open("/etc/passwd", "rb") as f:
        before = f.read()
    yield view.etc()
    with open("/etc/passwd", "rb") as f:
        assert f.read() == before


# ---- what is seen ---------------------------------------------------------------------------------


def test_name_services(etc):
    assert etc.run(etc.conf("/etc"), NAMES) == SEEN
    assert etc.logged() == ""


def test_name_services_of_the_whole_root(etc):
    """mount=/: the layer's own /etc."""
    os.rename(f"{etc.base}/l", f"{etc.base}/e")
    os.mkdir(f"{etc.base}/l")
    os.rename(f"{etc.base}/e", f"{etc.base}/l/etc")
    etc.file("etc/services", "improb 4242/tcp\n")
    conf = f"mount=/,lowerdir={etc.base}/l:/,upperdir={etc.base}/u"
    assert etc.run(conf, NAMES) == SEEN


def test_off(etc):
    assert etc.run(etc.conf("/etc"), NAMES, OVL_PATCH="off") == UNSEEN
    assert etc.run(etc.conf("/etc", "patch=off"), NAMES) == UNSEEN
    assert etc.logged() == ""


def test_off_and_required(etc):
    assert etc.run(etc.conf("/etc", "patch=require"), NAMES) == SEEN
    assert etc.run(etc.conf("/etc", "patch=require"), NAMES, status=125, OVL_PATCH="off") == (
        "libovl: OVL_PATCH: is 'off', but the configuration has patch=require; unset it, or make that patch=auto\n")


def test_children_see_it_too(etc):
    etc.run(etc.conf("/etc"), ["sh", "-c", "id zaphod && env -i getent passwd zaphod"])
    assert etc.run(etc.conf("/etc"), ["sh", "-c", "exec env -i /usr/bin/getent hosts heartofgold"]).split() == [
        "10.9.8.7", "heartofgold"]


def test_a_program_that_is_let_out_sees_the_real_ones(etc):
    assert etc.run(etc.conf("/etc"), ["sh", "-c", "OVL_CONF= getent passwd zaphod || echo none"]) == "none\n"


def test_programs(etc):
    script = """id -un 4242; getent services improb; echo 'arthur:x:43:43::/:/bin/sh' >>/etc/passwd; id -u arthur
        ls -ld --time-style=+ /etc/hosts | cut -d' ' -f1; python3 -c 'import pwd; print(pwd.getpwnam("arthur").pw_uid)'
        rm /etc/passwd; id -un 4242 2>/dev/null || echo none"""
    assert etc.run(etc.conf("/etc"), ["sh", "-c", script]).splitlines() == [
        "zaphod", "improb                4242/tcp", "43", "-rw-r--r--", "43", "none"]
    assert os.path.exists(f"{etc.base}/u/.wh.passwd")


def test_useradd(etc, root_only):
    etc.file("shadow", "root:*:19000:0:99999:7:::\n", 0o600)
    etc.file("gshadow", "root:*::\nzg:!::ford\n", 0o600)
    script = "useradd -M -K MAIL_DIR=/nowhere -u 4300 trillian && id -u trillian && passwd -S trillian | cut -d' ' -f1,2"
    assert etc.run(etc.conf("/etc"), ["sh", "-c", script]) == "4300\ntrillian L\n"
    assert "trillian" in pathlib.Path(f"{etc.base}/u/shadow").read_text(encoding="utf-8")
    assert subprocess.run(["id", "trillian"], capture_output=True, check=False).returncode == 1


def test_a_change_is_seen_by_the_process_that_made_it(etc):
    assert etc.run(etc.conf("/etc"), ["again", "marvin", "/etc/passwd"]) == "before -\nafter there\n"


def test_libc_makes_files_in_the_upper(etc):
    assert etc.run(etc.conf("/etc"), ["lock"]) == "lckpwdf locked\n"
    assert os.path.exists(f"{etc.base}/u/.pwd.lock")


def test_shared_memory_is_no_file(view):
    """Also where /dev is part of an overlay."""
    conf = f"mount=/,lowerdir={view.base}/l:/,upperdir={view.base}/u,exclude=/proc:/sys"
    assert view.run(conf, ["shared"]) == "sem_open made\nsem_unlink removed\nshm_open made\nshm_unlink removed\n"
    assert not os.path.exists(f"{view.base}/u/dev")


def test_libc_writes_to_the_upper(view):
    """By the wrappers, and where libc is patched too (patch=require does that for an overlay over nothing that libc is
    known for)."""
    view.file("utmp", "")
    for words in ([], ["patch=require"]):
        said = view.run(view.conf(f"{view.base}/m", *words), ["users", f"{view.base}/m/utmp"])
        assert said == "pututxline written\ngetutxline zaphod\n", words
    assert os.path.getsize(f"{view.base}/u/utmp") == 384


def zone(name, hours):
    head = struct.pack(">4sc15x6l", b"TZif", b"2", 0, 0, 0, 0, 1, 4)
    kind = struct.pack(">lBB4s", hours * 3600, 0, 0, name)
    return head + kind + head + kind + b"\n%s%+d\n" % (name, -hours)


def test_time_zones(view):
    view.file("Vogsphere/One", zone(b"VOG", 4))
    conf = view.conf("/usr/share/zoneinfo")
    assert view.run(conf, ["zone"], TZ="Vogsphere/One") == "localtime 04:00 VOG\n"
    assert view.run(conf, ["zone"], TZ=":/usr/share/zoneinfo/Vogsphere/One") == "localtime 04:00 VOG\n"
    assert view.run(conf, ["zone"], TZ="Vogsphere/One", OVL_PATCH="off") == "localtime 00:00 Vogsphere\n"
    assert view.run(conf, ["sh", "-c", "TZ=Vogsphere/One date -d @0 +%H%Z"]) == "04VOG\n"


def test_own_time_zones(view):
    """TZDIR below a mount that is not on disk."""
    view.file("Vogsphere/One", zone(b"VOG", 4))
    assert view.run(view.conf(f"{view.base}/m"), ["zone"], TZDIR=f"{view.base}/m", TZ="Vogsphere/One") == (
        "localtime 04:00 VOG\n")


def test_local_time(view):
    view.file("localtime", zone(b"VOG", 5))
    assert view.run(view.conf("/etc"), ["zone"]) == "localtime 05:00 VOG\n"


def make_locale(folder, name, day):
    source = os.path.join(folder, "source")
    with open(source, "w", encoding="ascii") as f:
        for category in ("CTYPE", "COLLATE", "MONETARY", "NUMERIC", "MESSAGES", "PAPER", "NAME", "ADDRESS", "TELEPHONE",
                         "MEASUREMENT", "IDENTIFICATION"):
            f.write(f'LC_{category}\ncopy "POSIX"\nEND LC_{category}\n')
        days = ";".join([f'"{day}"'] * 7)
        months = ";".join(['"m"'] * 12)
        f.write(f'LC_TIME\nabday {days}\nday {days}\nabmon {months}\nmon {months}\nd_t_fmt "%c"\nd_fmt "%x"\nt_fmt "%X"\n'
                'am_pm "";""\nt_fmt_ampm ""\nEND LC_TIME\n')
    made = subprocess.run(["localedef", "-c", "--no-archive", "--quiet", "-i", source, "-f", "UTF-8",
                           os.path.join(folder, name)], capture_output=True, text=True, check=False)
    assert os.path.isdir(os.path.join(folder, name)), made.stderr
    os.unlink(source)


def test_locales(view):
    make_locale(f"{view.base}/l", "vo_GO.utf8", "Poetryday")
    conf = view.conf("/usr/lib/locale")
    assert view.run(conf, ["locale", "vo_GO.UTF-8"]) == (
        "setlocale vo_GO.UTF-8\nnl_langinfo Poetryday\nstrftime Poetryday\n")
    assert view.run(conf, ["locale", "vo_GO.UTF-8"], OVL_PATCH="off").startswith("setlocale -\n")
    assert view.run(conf, ["sh", "-c", "date +%A"], LC_ALL="vo_GO.UTF-8") == "Poetryday\n"
    assert view.run(conf, ["pending", "vo_GO.UTF-8"]) == "pending loaded\n"


def test_own_locales(view):
    make_locale(f"{view.base}/l", "vo_GO.utf8", "Poetryday")
    assert view.run(view.conf(f"{view.base}/m"), ["locale", "vo_GO.UTF-8"], LOCPATH=f"{view.base}/m") == (
        "setlocale vo_GO.UTF-8\nnl_langinfo Poetryday\nstrftime Poetryday\n")


def test_character_sets(view):
    view.file(".wh.gconv-modules.cache", "")
    view.file("gconv-modules", "alias HEART// INTERNAL\nalias VOGON// ISO-10646/UCS2/\n")
    view.file("gconv-modules.d/more.conf", "alias DOLPHIN// ISO-10646/UCS4/\n")
    argv = ["iconv", "VOGON", "DOLPHIN", "NOSUCHSET", "LATIN1"]
    assert view.run(view.conf(GCONV), argv) == "VOGON 2 bytes\nDOLPHIN 4 bytes\nNOSUCHSET -\nLATIN1 -\n"
    os.unlink(f"{view.base}/l/gconv-modules")  # the real one's names, and more
    assert view.run(view.conf(GCONV), argv) == "VOGON -\nDOLPHIN 4 bytes\nNOSUCHSET -\nLATIN1 1 bytes\n"
    assert view.run(view.conf(GCONV), argv, OVL_PATCH="off").startswith("VOGON -\nDOLPHIN -\n")


def messages(pairs):
    """A catalogue of gettext (.mo)."""
    ids = sorted(pairs)
    texts = [s.encode() for s in ids] + [pairs[s].encode() for s in ids]
    n, at, table, data = len(ids), 28 + 16 * len(ids), b"", b""
    for text in texts:
        table += struct.pack("<2I", len(text), at + len(data))
        data += text + b"\0"
    return struct.pack("<7I", 0x950412de, 0, n, 28, 28 + 8 * n, 0, at) + table + data


HEADER = {"": "Content-Type: text/plain; charset=UTF-8\n"}


def test_messages_of_the_system(view):
    view.file("vo/LC_MESSAGES/guide.mo", messages({**HEADER, "panic": "Don't panic"}))
    assert view.run(view.conf("/usr/share/locale"), ["gettext", "guide", "-", "panic"], LC_ALL="C.UTF-8",
                    LANGUAGE="vo") == "gettext Don't panic\n"


def test_messages_of_a_program(view):
    """bindtextdomain with a folder of an overlay that holds nothing of libc's: patched from then on."""
    view.file("share/locale/vo/LC_MESSAGES/guide.mo", messages({**HEADER, "panic": "Don't panic"}))
    mount = f"{view.base}/m"
    argv, how = ["gettext", "guide", f"{mount}/share/locale", "panic"], {"LC_ALL": "C.UTF-8", "LANGUAGE": "vo"}
    assert view.run(view.conf(mount), argv, **how) == "gettext Don't panic\n"
    assert view.run(view.conf(mount), argv, OVL_PATCH="off", **how) == "gettext panic\n"
    assert view.run(view.conf(mount, "patch=off"), argv, **how) == "gettext panic\n"


def test_catalogues(view):
    source = f"{view.base}/source"
    pathlib.Path(source).write_text("$set 1\n1 mostly harmless\n", encoding="ascii")
    subprocess.run(["gencat", f"{view.base}/l/guide.cat", source], check=True)
    mount = f"{view.base}/m"
    assert view.run(view.conf(mount), ["catgets", f"{mount}/guide.cat"]) == "catgets mostly harmless\n"
    assert view.run(view.conf(mount), ["catgets", "guide"], NLSPATH=f"{mount}/%N.cat") == "catgets mostly harmless\n"


def test_in_place(view):
    """The system's own tools change an in-place /usr, and every program sees it; the real one is as it was."""
    script = """set -e
        localedef -i de_DE -f UTF-8 de_DE.UTF-8
        LC_ALL=de_DE.UTF-8 date -d @0 +%A
        LC_ALL=de_DE.UTF-8 python3 -c 'import locale; print(locale.setlocale(locale.LC_ALL, ""))'
        LC_ALL=de_DE.UTF-8 perl -e 'use POSIX; print strftime("%B", gmtime(0)), "\n"'
        echo 'Zone Vogsphere/One 4 - VOG' | zic -
        TZ=Vogsphere/One date -d @0 +%H%Z
        rm /usr/share/zoneinfo/Europe/Berlin
        TZ=Europe/Berlin date -d @0 +%H%Z"""
    said = view.run(f"mount=/usr,lowerdir=/usr,upperdir={view.base}/u", ["sh", "-c", script])
    assert said.split() == ["Donnerstag", "de_DE.UTF-8", "Januar", "04VOG", "00Europe"]
    assert os.path.exists(f"{view.base}/u/lib/locale/locale-archive")
    assert os.path.exists("/usr/share/zoneinfo/Europe/Berlin")
    assert not os.path.exists("/usr/share/zoneinfo/Vogsphere")


# ---- in the middle of calls -----------------------------------------------------------------------


def test_signal_handlers(etc):
    """Handlers that look up names while calls are on their way down, or jump out of them."""
    etc.file("mark", "z")
    other = f"{etc.base}/other"
    pathlib.Path(other).write_text("o", encoding="ascii")
    assert etc.run(etc.conf("/etc"), ["signals", "zaphod", "/etc/mark", other]) == (
        "handlers right\nafter jumps Z. B.\n")


def test_threads(etc):
    assert etc.run(etc.conf("/etc"), ["threads", "zaphod"]) == "threads right\n"


def test_many_calls_at_a_time(etc):
    os.mkfifo(f"{etc.base}/l/fifo")
    assert etc.run(etc.conf("/etc"), ["crowd", "/etc/fifo", *NAMES[1:]]) == SEEN


def test_vfork(etc):
    assert etc.run(etc.conf("/etc"), ["vfork", "zaphod"]) == "vfork Z. B.\nparent Z. B.\n"


def test_cancellation(etc):
    """open and fopen of a FIFO stay cancellation points: in a layer, and outside."""
    os.mkfifo(f"{etc.base}/l/fifo")
    os.mkfifo(f"{etc.base}/fifo")
    assert etc.run(etc.conf("/etc"), ["fifo", "/etc/fifo", f"{etc.base}/fifo"]) == "open cancelled\nfopen cancelled\n" * 2


@pytest.mark.parametrize("first", ["fakeroot", "libovl"])
def test_fakeroot(etc, first):
    library = fakeroot_library()
    where = {"before" if first == "fakeroot" else "after": [library]}
    script = ("id -u; id -un 4242; touch /etc/new; chown 4242 /etc/new; ls -l /etc/new | cut -d' ' -f3; "
              "mknod /etc/null c 1 3; ls -l /etc/null | cut -c1; touch f; chown zaphod f; ls -l f | cut -d' ' -f3; "
              "getent hosts heartofgold | cut -d' ' -f1; head -1 /etc/passwd | cut -d: -f1")
    preload = ":".join([*where.get("before", ()), etc.library, *where.get("after", ())])
    said = etc.run("", ["fakeroot", "--", "env", f"LD_PRELOAD={preload}", f"OVL_CONF={etc.conf('/etc')}",
                        "sh", "-c", script])
    assert said.split() == ["0", "zaphod", "zaphod", "c", "zaphod", "10.9.8.7", "root"]


def fakeroot_library():
    said = subprocess.run(["fakeroot", "sh", "-c", "cat /proc/self/maps"], capture_output=True, text=True, check=True)
    return next(line.split()[-1] for line in said.stdout.splitlines() if "libfakeroot" in line)


def test_valgrind(etc):
    conf = etc.conf("/etc", "static=allow")
    library = f"{etc.base}/libovl.so"  # valgrind can't read what clang 14 says for debuggers
    subprocess.run(["objcopy", "--strip-debug", etc.library, library], check=True)
    etc.library = library
    said = etc.run("", ["valgrind", "-q", "--error-exitcode=9", "--trace-children=yes", "env",
                        f"LD_PRELOAD={library}", f"OVL_CONF={conf}", etc.program, *NAMES])
    assert said == SEEN


NSCD = """
import os, socket, sys
os.makedirs("/run/nscd")
with socket.socket(socket.AF_UNIX) as s:
    s.bind("/run/nscd/socket")
    os.chmod("/run/nscd/socket", 0o777)
    s.listen()
    print("ready", flush=True)
    s.accept()
    print("asked", flush=True)
"""


def test_nscd_is_not_asked(etc, root_only):
    """The name service cache answers from the real /etc."""
    listener = f"{etc.base}/nscd.py"
    pathlib.Path(listener).write_text(NSCD, encoding="ascii")

    def asked(conf):
        script = (f"rm -f {etc.base}/nscd; mount -t tmpfs none /run; /usr/bin/python3 {listener} >{etc.base}/nscd & "
                  f"until [ -s {etc.base}/nscd ]; do sleep 0.05; done; "
                  f"LD_PRELOAD={etc.library} OVL_CONF={conf} {etc.program} names zaphod zg heartofgold improb vogon "
                  f"magrathea; sleep 0.2; kill $!; cat {etc.base}/nscd")
        return subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=True).stdout
    os.chmod(etc.base, 0o755)
    assert asked(etc.conf("/etc")) == SEEN + "ready\n"
    assert asked(etc.conf("/etc", "patch=off")).endswith("ready\nasked\n")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_address_sanitizer(etc, compiler):
    """A program with interceptors of its own between us and libc."""
    program = f"{etc.base}/sanitized"
    subprocess.run([compiler, "-D_GNU_SOURCE", "-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-pthread",
                    str(HERE / "inside.c"), "-o", program], check=True)
    for argv, said in ((NAMES, SEEN), (["threads", "zaphod"], "threads right\n")):
        assert etc.run(etc.conf("/etc"), [program, *argv],
                       ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0") == said


# ---- where it can't be done -----------------------------------------------------------------------


def test_forbidden_by_the_system(etc):
    """Memory that was written may not become code: libc is left as it is (PR_SET_MDWE, as SELinux would)."""
    start = ("import ctypes, os, sys; "
             "assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0; os.execvp(sys.argv[1], sys.argv[1:])")
    if ctypes.CDLL(None).prctl(66, 0, 0, 0, 0) < 0:
        pytest.skip("Linux before 6.3")
    argv = ["python3", "-c", start, etc.program, *NAMES]
    # The first process is patched; what it starts is not.
    assert etc.run(etc.conf("/etc"), argv) == UNSEEN
    assert etc.logged() == "libovl: libc's inside: not patched: everything (the system forbids it)" + NOTHING
    assert etc.run(etc.conf("/etc", "patch=require"), argv, status=125) == (
        "libovl: patch=require: libc can't be patched: everything (the system forbids it); patch=auto runs without, "
        "and libc's own look-ups see the real file system then\n")


THREAD = r"""
#include <pthread.h>
#include <unistd.h>
static void *wait(void *p) { pause(); return p; }
__attribute__((constructor)) static void start(void) { pthread_t t; pthread_create(&t, NULL, wait, NULL); }
"""


def with_a_thread(view):
    library = f"{view.base}/thread.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=THREAD, text=True, check=True)
    return library


def test_threads_before_the_start(etc):
    assert etc.run(etc.conf("/etc"), NAMES, after=[with_a_thread(etc)]) == UNSEEN
    assert etc.logged() == "libovl: libc's inside: not patched: everything (other threads run already)" + NOTHING


def test_threads_before_messages_are_asked_for(view):
    view.file("vo/LC_MESSAGES/guide.mo", messages({**HEADER, "panic": "Don't panic"}))
    mount = f"{view.base}/m"
    assert view.run(view.conf(mount), ["gettext", "guide", mount, "panic"], after=[with_a_thread(view)],
                    LC_ALL="C.UTF-8", LANGUAGE="vo") == "gettext panic\n"
    assert view.logged() == "libovl: libc's inside: not patched: everything (other threads run already)" + NOTHING


@pytest.fixture
def strange_libc(etc):
    """A libc whose access() begins as none that is known: push $21, pop %rax instead of mov $21,%eax."""
    folder = f"{etc.base}/strange"
    os.mkdir(folder)
    with open(LIBC, "rb") as f:
        content = bytearray(f.read())
    start, entry = exported(LIBC)["access"][0], b"\xb8\x15\0\0\0\x0f\x05"
    if content[start:start + len(entry)] != entry:
        pytest.skip("about the x86-64 libc")
    content[start:start + 5] = b"\x6a\x15\x58\x90\x90"
    with open(f"{folder}/libc.so.6", "wb") as f:
        f.write(content)
    os.chmod(f"{folder}/libc.so.6", 0o755)
    return folder


def test_unknown_code(etc, strange_libc):
    assert etc.run(etc.conf("/etc"), NAMES, LD_LIBRARY_PATH=strange_libc) == SEEN
    assert etc.logged() == "libovl: libc's inside: not patched: access (unknown code)" + NOTHING
    assert etc.run(etc.conf("/etc", "patch=require"), NAMES, status=125, LD_LIBRARY_PATH=strange_libc) == (
        "libovl: patch=require: libc can't be patched: access (unknown code); patch=auto runs without, and libc's own "
        "look-ups see the real file system then\n")


def test_nothing_is_done_where_nothing_is_read(view):
    """No overlay of what libc reads: its code is not touched."""
    program = ["sh", "-c", "grep -A25 'r-xp.*libc.so.6' /proc/self/smaps | grep Private_Dirty; grep -c rwx /proc/self/maps"]

    def written(mount):
        return sum(int(word) for word in re.findall(r"(\d+) kB", view.run(view.conf(mount), program, status=1)))
    assert written(f"{view.base}/m") == 0
    assert written("/etc") > 0


# ---- the libc of this machine ---------------------------------------------------------------------


def exported(path):
    """Name to (address, size) of the functions that a library exports."""
    said = subprocess.run(["readelf", "--dyn-syms", "--wide", path], capture_output=True, text=True, check=True).stdout
    return {m[3]: (int(m[1], 16), int(m[2])) for m in re.finditer(
        r"^ *\d+: ([0-9a-f]+) +(\d+) FUNC .* (?!UND)\S+ ([^@\s]+)@", said, re.M)}


def patched():
    table = (HERE.parent.parent / "shim/patch_table.def").read_text(encoding="ascii")
    return re.findall(r"^PATCH\((\w+),", table, re.M)


# The system calls that read by a path or list a directory (x86-64), and connect.
CALLS = {2: "open", 257: "openat", 437: "openat2", 4: "stat", 6: "lstat", 262: "newfstatat", 332: "statx", 21: "access",
         269: "faccessat", 439: "faccessat2", 89: "readlink", 267: "readlinkat", 78: "getdents", 217: "getdents64",
         42: "connect"}
# Functions of libc that make one of them and are not patched, with those of libc that call them: none reads a file
# of the system's, or it has a wrapper.
UNPATCHED = {
    "openat64": {"__getcwd", "__openat64_2", "__openat_2"},
    "__openat64_nocancel": {"fchmodat", "__opendirat", "ftw_dir"},
    "statx": set(),
    "faccessat": {"__realpath"},
    "readlinkat": {"__readlinkat_chk"},
    "__xstat": set(), "__lxstat": set(), "__fxstatat": set(),
}


@pytest.fixture(scope="module")
def code():
    """Instructions of this machine's libc: [(address, mnemonic, operands)], and names by address."""
    notes = subprocess.run(["readelf", "-n", LIBC], capture_output=True, text=True, check=True).stdout
    build = re.search(r"Build ID: (..)(\w+)", notes)
    debug = f"/usr/lib/debug/.build-id/{build[1]}/{build[2]}.debug"
    assert os.path.exists(debug), f"no symbols of this libc at {debug}: install libc6-dbg"
    names = {}
    for line in subprocess.run(["nm", debug], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] in "tTwWi":
            names.setdefault(int(words[0], 16), []).append(words[2])
    said = subprocess.run(["objdump", "-d", "--no-show-raw-insn", LIBC], capture_output=True, text=True, check=True)
    code = [(int(m[1], 16), m[2], m[3]) for m in re.finditer(r"^ *([0-9a-f]+):\t(\S+) *(.*)$", said.stdout, re.M)]
    return code, names


def owners(code, names):
    """(address of its function, mnemonic, operands, address) of every instruction."""
    starts = sorted(names)
    at = -1
    for address, mnemonic, operands in code:
        while at + 1 < len(starts) and starts[at + 1] <= address:
            at += 1
        yield starts[at], mnemonic, operands, address


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="about the x86-64 libc")
def test_this_libc_is_known(code):
    """Every function of this libc that makes a system call of ours is patched or has known callers.  A failure means
    that a new libc must be looked at: what do these functions read, and who calls them?"""
    code, names = code
    functions = exported(LIBC)
    hooked = {functions[name][0] for name in patched()}  # KeyError: it is not there any more
    makers, number, callers = {}, None, {}
    for function, mnemonic, operands, _ in owners(code, names):
        value = re.fullmatch(r"\$0x([0-9a-f]+),%[er]ax", operands) if mnemonic == "mov" else None
        number = int(value[1], 16) if value else None if re.search(r",%[er]ax$", operands) else number
        if mnemonic == "syscall" and number in CALLS and function not in hooked:
            makers.setdefault(function, set()).add(CALLS[number])
        if mnemonic in ("call", "jmp"):
            callers.setdefault(int(operands.split()[0], 16) if re.match(r"[0-9a-f]+ ", operands) else None,
                               set()).add(function)
    unknown = []
    for function, calls in makers.items():
        known = next((UNPATCHED[n] for n in names[function] if n in UNPATCHED), None)
        if known is None:
            unknown.append(f"{'/'.join(names[function])} makes {', '.join(sorted(calls))}")
            continue
        for caller in callers.get(function, set()) - {function}:
            if not known & set(names[caller]) and not set(names[caller]) & {f"__GI_{n}" for n in known}:
                unknown.append(f"{'/'.join(names[caller])} calls {names[function][0]}")
    assert not unknown


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="about the x86-64 libc")
def test_nothing_jumps_into_what_is_overwritten(code):
    code, names = code
    functions = exported(LIBC)
    starts = {functions[name][0] for name in patched()}
    starts = {address + (4 if mnemonic == "endbr64" else 0) for address, mnemonic, _ in code if address in starts}
    overwritten = {address for start in starts for address in range(start + 1, start + 14)}
    assert len(starts) == len(patched())
    assert not overwritten & names.keys()
    for address, mnemonic, operands in code:
        target = re.match(r"([0-9a-f]+) ", operands) if mnemonic[0] == "j" or mnemonic == "call" else None
        assert not target or int(target[1], 16) not in overwritten, f"{address:x} {mnemonic} {operands}"

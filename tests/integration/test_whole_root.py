# SPDX-License-Identifier: MIT
"""The whole root is an overlay: the machine's own, in place, and another system's.

What is done there is compared with the same work outside, with Linux overlayfs over / and with chroot(8). The real root
is only ever a lower layer: nothing of what the upper holds may have been changed there.
(C-1.8, C-1.11, C-1.12, C-2.9, C-2.10, C-3.1, C-4.2, C-4.3.)
"""

import os
import pathlib
import platform
import re
import shutil
import subprocess

import pytest

from twice import unpack

pytestmark = pytest.mark.untraced("the lower layer is where everything lies: a path does not tell who means it")

LOADER = {"x86_64": "/lib64/ld-linux-x86-64.so.2", "aarch64": "/lib/ld-linux-aarch64.so.1"}[platform.machine()]
VARIABLES = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8",
             "DEBIAN_FRONTEND": "noninteractive"}
# The upper, the work directory and the library lie below the mount too.
EVERYTHING = "/proc:/sys:/dev"


class Root:
    """An overlay mounted at /."""

    def __init__(self, world, tools, role):
        if "ovl" not in world.sides:
            pytest.skip("needs the library under test")
        self.base, self.role, self.tools = world.base(), role, tools
        self.upper = f"{self.base}/u"
        self.lower = "/"
        os.chown(self.base, role.uid, role.gid)
        self.since = os.stat(self.base).st_ctime_ns

    def path(self, name):
        return os.path.join(self.base, name)

    def own(self, path):
        subprocess.run(["chown", "-hR", f"{self.role.uid}:{self.role.gid}", path], check=True)

    def run(self, script, inside=True, exclude=EVERYTHING, fakeroot=False, cwd="/", timeout=1500, check=True):
        """What a shell script prints, stdout and stderr."""
        variables = {**VARIABLES, "B": self.base, "HOME": self.base}
        if inside:
            variables["OVL_CONF"] = f"mount=/,lowerdir={self.lower},upperdir={self.upper},exclude={exclude}"
            variables["LD_PRELOAD"] = self.tools.library
        words = ["fakeroot"] if fakeroot and not self.role.root else []
        variables = [f"{k}={v}" for k, v in variables.items()]
        argv = [*self.role.drop(), "env", "-i", *variables, *words, "sh", "-ec", script]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=cwd,
                              umask=0o022, timeout=timeout, text=True, errors="surrogateescape", check=False)
        if check and done.returncode != 0:
            pytest.fail(f"status {done.returncode}\n{done.stdout[-6000:]}", pytrace=False)
        return done.stdout

    def changed(self):
        """Names of files that the upper holds, without whiteouts."""
        found = []
        for folder, _, files in os.walk(self.upper):
            found += [os.path.relpath(os.path.join(folder, name), self.upper) for name in files
                      if not name.startswith(".wh.")]
        return sorted(found)

    def check_real_root(self):
        """C-3.1: nothing that the upper holds was made or changed in the real root. A ctime can't be set."""
        for name in self.changed():
            try:
                real = os.lstat(f"/{name}")
            except FileNotFoundError:
                continue
            assert real.st_ctime_ns < self.since, f"/{name} was changed in the real root"


@pytest.fixture
def root(world, tools, role):
    return Root(world, tools, role)


# ---- the machine's own ---------------------------------------------------------------------------------------------

SEEN = r"""
    ls /; ls -lA /usr /etc | sed 's/^\(.\{10\}\) *[0-9]*/\1/; s/^total.*//'; cat /etc/debian_version
    cd /; pwd; cd ..; pwd; /bin/pwd; cd /etc/../usr/./bin/..; pwd; pwd -P
    cd /proc/self; /bin/pwd | sed 's/[0-9]*$//'; cd /tmp
    stat -c '%n %s %a %U %i' /bin/sh /usr/bin/dash /etc/passwd /usr/lib; stat -c '%n %a %i' / /..
    readlink -f /bin/sh /lib64 /proc/self/root /dev/stdin; readlink /proc/self/exe /proc/self/cwd /proc/self/root
    sh -c 'readlink /proc/$$/exe; read name </proc/$$/comm; echo $name'
    exec 3</etc/hostname; readlink /proc/self/fd/3; cat /dev/fd/3
    python3 -c 'import os, sys, json, sqlite3; print(os.getcwd(), sys.executable, os.path.realpath("/lib64"))'
    perl -MPOSIX -e 'print POSIX::getcwd(), " $0 $^X\n"'
    bash -c 'type -P ls git gcc; cd /usr/lib; echo ../b*/dash'
    find /etc/apt /etc/default /usr/share/keyrings | sort; find /tmp /proc/self -maxdepth 0
    getent passwd root daemon; id -un 0; git --version; dpkg --version | head -1; apt-get --version | head -1
    dpkg -S /bin/dash; ldd /usr/bin/dash | sed 's/ (.*//; /libovl/d'
    echo 'int main(void) { return 42; }' | gcc -x c - -o /tmp/ovl-$$-a; /tmp/ovl-$$-a || echo $?; rm /tmp/ovl-$$-a
"""


@pytest.mark.parametrize("exclude", [EVERYTHING, "/proc:/sys:/dev:/run:/tmp:/var/tmp"], ids=["everything", "default"])
def test_what_is_seen(root, exclude):
    """The same as outside, and nothing is copied up by looking at it."""
    wanted, said = root.run(SEEN, inside=False).splitlines(), root.run(SEEN, exclude=exclude).splitlines()
    assert said == wanted
    assert root.changed() == []


SET_ID = """
    for program in su passwd mount; do
        file=$(command -v $program) && test -u $file || continue
        $file </dev/null >/dev/null 2>&1 && echo $program ran || echo $?
    done | sort -u
"""


def test_set_id_programs_are_refused(root, user_only):
    """C-1.12."""
    assert root.run(SET_ID) == "126\n"


INSTALL = """
    mkdir $B/src && cd $B/src
    printf '#!/bin/sh\\necho "$0 $(cat /usr/share/ovl-whole/text)"\\n' >tool; echo text >text
    printf '%s\\n' 'install:; install -D tool /usr/bin/ovl-tool' \\
        '\t install -D -m 644 text /usr/share/ovl-whole/text' \\
        '\t ln -s ovl-tool /usr/bin/ovl-link; mkdir /usr/lib/ovl' >Makefile
    make -s install; ovl-tool; ovl-link; cd /usr/bin; ls ovl-*; test -d /usr/lib/ovl
    rm /usr/bin/env; test -e /usr/bin/env || echo removed
    mv /usr/share/common-licenses /usr/share/licences; ls -d /usr/share/*licen*
"""


def test_install_into_usr(root):
    """`make install` with the prefix /usr; a file of the system removed, a directory renamed."""
    assert root.run(INSTALL) == (
        "/usr/bin/ovl-tool text\n/usr/bin/ovl-link text\novl-link\novl-tool\nremoved\n/usr/share/licences\n")
    assert {"usr/bin/ovl-tool", "usr/share/ovl-whole/text"} <= set(root.changed())
    assert os.path.exists("/usr/bin/env") and os.path.exists("/usr/share/common-licenses/GPL-2")
    root.check_real_root()


# A new program, one that replaces the system's own, and one with a shared library.
PROJECTS = {"hello": ("hello", "Hello, world!"), "sed": ("echo a | sed s/a/replaced/; sed --version", "replaced"),
            "xz-utils": ("echo packed | xz | xz -d", "packed")}
INFO = "usr/share/info/dir"  # has entries of the system's too


@pytest.mark.long
@pytest.mark.parametrize("package", PROJECTS)
def test_projects_are_installed(root, package):
    """`make install` with the prefix /usr: the upper has the files that DESTDIR gets outside, and they are used."""
    unpack(package, root.path("src"))
    root.own(root.path("src"))
    root.run("""cd $B/src
        { ./configure --prefix=/usr --libdir="/usr/lib/$(gcc -print-multiarch)" --disable-dependency-tracking
          make -j 2; make install DESTDIR=$B/dest; } >$B/built 2>&1 || { tail -n 50 $B/built; exit 1; }""", inside=False)
    program, says = PROJECTS[package]
    assert says in root.run(f"cd $B/src; make install >$B/log 2>&1 || {{ tail -n 50 $B/log; exit 1; }}; cd /; {program}")
    wanted = {str(path.relative_to(root.path("dest"))) for path in pathlib.Path(root.path("dest")).rglob("*")
              if not path.is_dir() or path.is_symlink()}
    assert {name for name in root.changed() if name.startswith("usr/")} - {INFO} == wanted - {INFO}
    for name in wanted - {INFO}:
        made, there = pathlib.Path(root.path("dest"), name), pathlib.Path(root.upper, name)
        assert (os.readlink(made) == os.readlink(there) if made.is_symlink() else
                made.read_bytes() == there.read_bytes() and made.stat().st_mode == there.stat().st_mode), name
    root.check_real_root()


POSTINST = """#!/bin/sh
set -e
echo 'ovl-user:x:4242:4242:of a package:/nonexistent:/bin/sh' >>/etc/passwd
chown ovl-user /usr/lib/ovl-package/data
update-alternatives --install /usr/bin/ovl-alternative ovl-alternative /usr/lib/ovl-package/tool 50
ldconfig
"""
CONTROL = """Package: ovl-package
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.org>
Description: a package
"""
PACKAGE = """
    dpkg -i $B/p.deb >$B/log 2>&1 || { cat $B/log; exit 1; }
    id ovl-user; getent passwd 4242; stat -c '%U %a' /usr/lib/ovl-package/data; ovl-alternative
    dpkg-query -W -f '${Status} ${Version}\\n' ovl-package; dpkg -S /usr/lib/ovl-package/tool
    dpkg --verify ovl-package; dpkg --audit
    dpkg -P ovl-package >$B/log 2>&1 || { cat $B/log; exit 1; }
    ! dpkg-query -W ovl-package 2>/dev/null; ! ls /usr/lib/ovl-package 2>/dev/null
"""


def test_a_package(root):
    """dpkg unpacks, configures and purges in the overlay's own /var/lib/dpkg, with a user and an alternative of the
    package's; an ordinary user has fakeroot for that."""
    folder = pathlib.Path(root.path("p"))
    for name, text, mode in (("DEBIAN/control", CONTROL, 0o644), ("DEBIAN/postinst", POSTINST, 0o755),
                             ("usr/lib/ovl-package/tool", "#!/bin/sh\necho $0\n", 0o755),
                             ("usr/lib/ovl-package/data", "", 0o640)):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
    subprocess.run(["dpkg-deb", "--root-owner-group", "-b", folder, root.path("p.deb")], check=True,
                   capture_output=True)
    assert root.run(PACKAGE, fakeroot=True) == (
        "uid=4242(ovl-user) gid=4242 groups=4242\novl-user:x:4242:4242:of a package:/nonexistent:/bin/sh\n"
        "ovl-user 640\n/usr/bin/ovl-alternative\ninstall ok installed 1.0\novl-package: /usr/lib/ovl-package/tool\n")
    assert {"etc/passwd", "var/lib/dpkg/status"} <= set(root.changed())
    root.check_real_root()


# ---- another system's ------------------------------------------------------------------------------------------------

PLUGIN = 'const char *plugin(void) { return "plugin"; }'
PROGRAM = r"""
#include <dlfcn.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    char name[64] = "";
    FILE *comm = fopen("/proc/self/comm", "r");
    void *handle = dlopen("/usr/lib/plugin.so", RTLD_NOW);
    const char *(*plugin)(void) = handle ? (const char *(*)(void))dlsym(handle, "plugin") : NULL;
    printf("%s %d %s", argv[0], argc, comm && fgets(name, sizeof name, comm) ? name : "no comm\n");
    puts(plugin ? plugin() : dlerror());
    return 0;
}
"""


def copy_of_libc(folder):
    """A shell, its libc and their loader, as files of their own."""
    said = subprocess.run(["ldd", "/bin/dash"], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"(/\S+)", said)
    for path in {*libraries, LOADER, "/bin/dash"}:
        to = f"{folder}{path}"
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(path, to)
    os.symlink("dash", f"{folder}/bin/sh")


def test_another_root(root):
    """Programs of another root run by its own loader and libraries, and have the names that were asked for; what they
    dlopen is found, though the view lacks the way to the layer that holds it."""
    root.lower = root.path("r")
    copy_of_libc(root.lower)
    os.makedirs(f"{root.lower}/usr/lib")
    for text, argv in ((PLUGIN, ["-shared", "-fPIC", "-o", f"{root.lower}/usr/lib/plugin.so"]),
                       (PROGRAM, ["-o", f"{root.lower}/program"])):
        subprocess.run(["gcc", "-x", "c", "-", *argv], input=text, text=True, check=True)
    os.symlink("/program", f"{root.lower}/bin/link")
    root.own(root.lower)
    said = root.run("""
        echo /*; pwd; read name </proc/$$/comm; echo $0 $name; /program a; link
        sh -c 'read name </proc/$$/comm; echo $0 $name'
        test -e /etc/passwd || echo no passwd; cd /..; echo "$PWD"; echo new >/made; ls 2>/dev/null || echo no ls
        while read -r where rest; do case $rest in */r/*libc.so.6) echo own libc; break;; esac; done </proc/$$/maps
    """, check=False)
    assert said == ("/bin /dev /lib /lib64 /proc /program /sys /usr\n/\nsh sh\n"
                    "/program 2 program\nplugin\nlink 1 link\nplugin\nsh sh\n"
                    "no passwd\n/\nno ls\nown libc\n")
    assert root.changed() == ["made"] and not os.path.exists("/made")


# ---- real packages ---------------------------------------------------------------------------------------------------

PACKAGES = ["at", "cron", "emacsen-common", "gawk", "haveged", "logrotate", "nano", "nginx-common", "rsyslog", "sudo",
            "vim-tiny"]
# What their scripts need: user databases that can be read, no start of services.
PREPARED = """
    rm -f /etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow-; pwconv; grpconv
    printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
"""
DOWNLOADED = f"""
    mkdir -p /srv/ovl/partial
    apt-get -qq -o APT::Sandbox::User= -o Dir::Cache::archives=/srv/ovl --yes --download-only --reinstall \\
        --no-install-recommends install {" ".join(PACKAGES)}
    cp /srv/ovl/*.deb $B/debs
    cd $B && apt-get -qq -o APT::Sandbox::User= download hello && dpkg -x hello_*.deb / && hello
"""
INSTALLED = PREPARED + """
    dpkg -i $B/debs/cron-daemon-common_*.deb
    dpkg --unpack $B/debs/*.deb
    dpkg --configure -a
    dpkg --audit
"""
# Files, owners and contents of the packages, the user databases, what the scripts have made; without times.
LISTED = f"""
    for package in {" ".join(PACKAGES)}; do
        dpkg-query -W -f '${{Package}} ${{Version}} ${{Status}}\\n' $package
        dpkg -L $package | grep ^/ | while read -r name; do
            test -d "$name" || find "$name" -printf '%p %y %m %l %u:%g\\n' -type f -exec sha256sum {{}} \\;
        done
    done
    cat /etc/passwd /etc/group; cut -d: -f1 /etc/shadow /etc/gshadow
    find /etc/alternatives /etc/systemd /etc/rc*.d /etc/init.d /etc/cron* /etc/sudoers.d /etc/nginx /var/spool \\
        /var/lib/systemd /var/lib/dpkg/alternatives -printf '%p %y %m %l %u:%g\\n' | sort
"""


def chroot(folder, script, base, setup=""):
    """Run a script as root with a folder as its root."""
    setup += f"mount -t proc proc {folder}/proc && mount --rbind /dev {folder}/dev"
    variables = [f"{k}={v}" for k, v in {**VARIABLES, "B": base, "HOME": base}.items()]
    argv = ["unshare", "-m", "sh", "-ec", f'{setup}\nexec chroot {folder} "$@"', "sh"]
    argv += ["env", "-i", *variables, "sh", "-ec", script]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, umask=0o022,
                          timeout=1500, text=True, errors="surrogateescape", check=False)
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout.splitlines()


def differences(inside, outside):
    return [f"inside:  {line}" for line in inside if line not in outside] + [
        f"outside: {line}" for line in outside if line not in inside]


@pytest.mark.long
def test_ten_packages(root, user_only):
    """An ordinary user downloads, unpacks and configures Debian packages over the machine's root; Linux overlayfs
    over /, with chroot, ends with the same files, owners, users and alternatives."""
    os.mkdir(root.path("debs"))
    root.own(root.base)
    assert root.run(DOWNLOADED).endswith("Hello, world!\n")
    root.run(f"""
        {{ {INSTALLED} }} >$B/log 2>&1 || {{ tail -40 $B/log; exit 1; }}
        {{ {LISTED} }} >$B/listed
    """, fakeroot=True)
    root.check_real_root()
    below = pathlib.Path(f"{root.upper}{root.base}")
    listed = (below / "listed").read_text(encoding="utf-8").splitlines()
    assert sum("install ok installed" in line for line in listed) == len(PACKAGES)
    if os.geteuid() != 0:
        return
    shutil.copytree(below / "debs", root.path("debs"), dirs_exist_ok=True)
    place, upper, work = (root.path(name) for name in ("k", "ku", "kw"))
    for folder in (place, upper, work):
        os.mkdir(folder)
    mount = f"mount -t overlay overlay -o lowerdir=/,upperdir={upper},workdir={work} {place} && "
    assert differences(listed, chroot(place, f"{{ {INSTALLED} }} >/dev/null 2>&1\n{LISTED}", root.base, mount)) == []


# What ldconfig writes, which is static and is not run inside (C-1.12), and what has times in it.
OF_LDCONFIG = {"./etc/ld.so.cache", "./var/cache/ldconfig/aux-cache"}
WITH_TIMES = re.compile(r"(\./var/log/(alternatives|bootstrap|dpkg)\.log f \d+ \d+ \S+) .*")
TREE = r"""
    cd /; find . \( -path ./proc -o -path ./sys -o -path ./dev -o -path ./tmp \) -prune -o \
        \( -type f -printf '%p %y %m %n %u:%g %s ' -exec sha256sum {} \; \) -o -printf '%p %y %m %l %u:%g\n' |
        sed 's/  .*//' | sort
"""
SECOND_STAGE = r"""
    /debootstrap/debootstrap --second-stage >/tmp/log 2>&1 || { tail -40 /tmp/log; exit 1; }
    dpkg --configure -a >/tmp/log 2>&1 || { tail -40 /tmp/log; exit 1; }
    python3 -c 'import sys; print(sys.executable, sys.version)'; dash -c 'echo $0'; cat /etc/debian_version
    dpkg --audit
""" + TREE


@pytest.mark.long
def test_debootstrap(root, user_only):
    """An ordinary user makes a Debian system: debootstrap unpacks it under fakeroot, and its second stage runs in an
    overlay whose lower layer that is, by the system's own loader, libc, shell, perl, python and dpkg. chroot as root
    ends with the same tree: files, modes, links, owners, contents."""
    root.run("""
        fakeroot debootstrap --foreign --variant=minbase --include=python3-minimal,fakeroot bookworm $B/r \\
            >$B/log 2>&1 || { tail -20 $B/log; exit 1; }
        for package in $B/r/var/cache/apt/archives/*fakeroot*.deb; do dpkg-deb -x $package $B/r; done
    """, inside=False)
    root.lower = root.path("r")
    script = root.path("r/second-stage")
    pathlib.Path(script).write_text(SECOND_STAGE, encoding="utf-8")
    shown = root.run("exec fakeroot-sysv sh -e /second-stage").splitlines()
    assert shown[0].startswith("/usr/bin/python3 3.") and shown[1] == "dash" and shown[2].startswith("12.")
    if os.geteuid() != 0:
        return
    subprocess.run(["chown", "-hR", "0:0", root.lower], check=True)
    wanted = chroot(root.lower, "exec sh -e /second-stage", "/tmp")
    shown, wanted = ([WITH_TIMES.sub(r"\1", line) for line in lines if line.split()[0] not in OF_LDCONFIG]
                     for lines in (shown, wanted))
    assert differences(shown, wanted) == []

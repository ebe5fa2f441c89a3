# SPDX-License-Identifier: MIT
"""One scenario, three runs: on the bare merged directory, on Linux overlayfs, under libovl.

A Side is a folder with layers l0 l1 ... (l0 the highest), an upper u, a mount m and an outside
folder x; the folders of the three sides have paths of equal length, so that limits on lengths hit
them alike.  A side runs a list of commands in its view, one after another, and gives back what they
printed, with the mount's path written '@', the outside folder's '%' and the side's '^'.
"""

import os
import shlex
import shutil
import signal
import subprocess
from dataclasses import dataclass

import layers
import tracing

TIMEOUT = 120
OUTSIDE = "(outside)"  # before a command that runs beside the view, not in it


@dataclass(frozen=True)
class Role:
    """Who runs: the user of the test run, or an ordinary one that a root run drops to."""
    name: str
    uid: int
    gid: int

    @property
    def root(self):
        return self.uid == 0

    def drop(self):
        if self.uid == os.geteuid():
            return []
        return ["setpriv", "--reuid", str(self.uid), "--regid", str(self.gid), "--clear-groups"]


@dataclass
class Result:
    status: int
    out: str
    err: str

    @property
    def lines(self):
        return self.out.splitlines()


class Side:
    letter = "?"

    def __init__(self, base, role, tools, letter=None):
        self.base = os.path.join(base, letter or self.letter)
        self.role = role
        self.tools = tools
        self.mount = os.path.join(self.base, "m")
        self.outside = os.path.join(self.base, "x")
        self.read_only = False
        self.timeout = TIMEOUT
        self.lowers = []
        os.makedirs(self.outside)

    @property
    def places(self):
        return (("@", self.mount), ("%", self.outside), ("^", self.base))

    def build(self, name, layer, owner=None, **how):
        root = os.path.join(self.base, name)
        layers.build(root, layer, owner or (self.role.uid, self.role.gid), places=self.places, **how)
        return root

    def make(self, lower, upper, outside):
        """Make the layers (expanded descriptions). upper None: a read-only overlay."""
        self.read_only = upper is None
        self.build("x", outside)
        self.make_layers(lower, upper)
        if self.role.uid != os.geteuid():
            os.chown(self.base, self.role.uid, self.role.gid)

    def make_layers(self, lower, upper):
        raise NotImplementedError

    def text(self, script):
        """A script with this side's paths for '@' and '%' where a word begins with them."""
        words = []
        for line in script.strip().splitlines():
            line = line.strip()
            for mark, place in self.places:
                line = line.replace(" " + mark, " " + place)
            words.append(line)
        return "\n".join(words) + "\n"

    def untext(self, text):
        for mark, place in self.places:
            text = text.replace(place, mark)
        return text

    def command(self, argv):
        """argv as it has to be called inside the view."""
        return argv

    def enter(self, script):
        """The command that runs a shell script with the view set up."""
        return self.role.drop() + ["sh", script]

    def run(self, commands, cwd=None, env=None):
        """Run (argv, stdin) pairs in the view, one process after another, from an empty folder outside of it,
        so that a view that is not there harms nothing.  '@' and '%' are replaced at the start of every word of
        argv."""
        folder = os.path.join(self.base, "io")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        os.chmod(folder, 0o777)
        os.mkdir(f"{folder}/cwd", 0o777)
        os.chmod(f"{folder}/cwd", 0o777)
        lines = [f"cd {cwd or folder + '/cwd'} || exit 99"]
        for i, (argv, stdin) in enumerate(commands):
            inside = argv[0] != OUTSIDE
            with open(f"{folder}/{i}.in", "w", errors="surrogateescape") as f:
                f.write(stdin)
            words = [self.place(word) for word in argv]
            words = self.command(words) if inside else words[1:]
            lines.append(f"{shlex.join(words)} <{folder}/{i}.in >{folder}/{i}.out 2>{folder}/{i}.err")
            lines.append(f"echo $? >{folder}/{i}.status")
        script = f"{folder}/script"
        with open(script, "w") as f:
            f.write("\n".join(lines) + "\n")
        done = run_group(self.enter(script), env, self.timeout)
        assert done.returncode == 0 and not done.stderr, f"{self.letter}: {done.stderr}"
        return [self.result(folder, i) for i in range(len(commands))]

    def place(self, word):
        for mark, place in self.places:
            if word.startswith(mark):
                return place + word[1:]
        return word

    def result(self, folder, i):
        def read(suffix):
            with open(f"{folder}/{i}.{suffix}", errors="surrogateescape") as f:
                return f.read()
        return Result(int(read("status")), self.untext(read("out")), self.untext(read("err")))

    def opsh(self, *scripts):
        """Run opsh scripts, each in a process of its own: the answers of each."""
        results = self.run([([self.tools.opsh], self.text(s)) for s in scripts])
        for r in results:
            assert r.status == 0, f"opsh on side {self.letter} ended with {r.status}: {r.err}\n{r.out}"
        return [r.lines for r in results]


class Bare(Side):
    letter = "b"

    def make_layers(self, lower, upper):
        self.build("m", layers.merge(([upper] if upper is not None else []) + lower))

    def enter(self, script):
        if not self.read_only:
            return super().enter(script)
        m = shlex.quote(self.mount)
        shell = f"mount --bind {m} {m} && mount -o remount,bind,ro {m} && "
        return in_namespace(self.role, shell, script)


class Kernel(Side):
    letter = "k"
    options = ""

    @property
    def prefix(self):
        return "trusted." if self.role.root else "user."

    def make_layers(self, lower, upper):
        for i, layer in enumerate(lower):
            self.build(f"l{i}", layer, form="dev", prefix=self.prefix, forced=True)
            self.lowers.append(f"l{i}")
        if upper is None and len(lower) == 1:
            self.build("l1", {})
            self.lowers.append("l1")
        self.build("m", {})
        if upper is not None:
            self.build("u", upper, form="dev", prefix=self.prefix, forced=True)
            self.build("w", {})

    def mount_command(self, upper="u", work="w"):
        options = "lowerdir=" + ":".join(self.lowers) + self.options
        if not self.read_only:
            options += f",upperdir={upper},workdir={work}"
        if not self.role.root:
            options += ",userxattr"
        return f"cd {shlex.quote(self.base)} && mount -t overlay overlay -o {options} m && "

    def enter(self, script):
        return in_namespace(self.role, self.mount_command(), script)

    def view_of(self, upper):
        """The tree that the kernel shows of a copy of another side's upper, over this side's lowers."""
        copy = os.path.join(self.base, "u2")
        subprocess.run(["cp", "-a", upper, copy], check=True)
        layers.to_kernel_form(copy, self.prefix)
        self.build("w2", {})
        script = os.path.join(self.base, "view")
        with open(script, "w") as f:
            f.write(f"echo tree {self.mount} | {self.tools.opsh}\n")
        done = subprocess.run(in_namespace(self.role, self.mount_command("u2", "w2"), script), check=True,
                              capture_output=True, text=True, timeout=TIMEOUT)
        return self.untext(done.stdout).splitlines()


class Ovl(Side):
    letter = "o"

    def __init__(self, base, role, tools, letter=None, form="oci", options="", prefix="user.", lower_owner=None):
        super().__init__(base, role, tools, letter)
        self.form, self.options, self.prefix, self.lower_owner = form, options, prefix, lower_owner
        self.setup = ""  # shell words, each ended by '&&', that need mount rights
        self.before = ()  # words before the program
        self.calls = None  # where strace writes
        self.environment = {}

    def make_layers(self, lower, upper):
        for i, layer in enumerate(lower):
            self.lowers.append(self.build(f"l{i}", layer, self.lower_owner, form=self.form, prefix=self.prefix))
        if upper is not None:
            kernel = "whiteout=kernel" in self.options
            self.build("u", upper, form="dev" if kernel else self.form, prefix=self.prefix)

    @property
    def upper(self):
        return os.path.join(self.base, "u")

    def enter(self, script):
        return in_namespace(self.role, self.setup, script) if self.setup else super().enter(script)

    @property
    def conf(self):
        conf = f"mount={self.mount},lowerdir=" + ":".join(self.lowers)
        if not self.read_only:
            conf += f",upperdir={self.upper}"
        return conf + self.options

    def command(self, argv):
        env = {"OVL_CONF": self.conf, "LD_PRELOAD": self.tools.library, **self.environment}
        return list(self.before) + ["env"] + [f"{k}={v}" for k, v in env.items()] + argv

    def trace(self):
        """Run everything under strace from now on."""
        self.calls = f"{self.base}/calls"
        self.before = [*tracing.STRACE, self.calls]

    def offences(self):
        """What a traced side did that it must not: see tracing.py."""
        if not os.path.exists(self.calls):
            return []  # nothing was run
        mount = None if os.path.lexists(self.mount) else self.mount
        found = tracing.offences(tracing.read(self.calls), mount, self.lowers)
        return list(dict.fromkeys(found))


def run_group(argv, env=None, timeout=TIMEOUT):
    """subprocess.run, but at a timeout nothing that was started lives on."""
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, umask=0o022, env=env,
                          errors="surrogateescape", start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(argv, process.returncode, out, err)


def in_namespace(role, setup, script):
    """A command that runs `setup` with mount rights of its own and then the script as the role."""
    if role.root:
        return ["unshare", "-m", "sh", "-c", f"{setup} exec sh {shlex.quote(script)}"]
    inner = f"exec unshare -U --map-user={role.uid} --map-group={role.gid} sh {shlex.quote(script)}"
    return role.drop() + ["unshare", "-Urm", "sh", "-c", f"{setup} {inner}"]


def kernel_works(role, tools, base):
    """Why Linux overlayfs can't be mounted here for the role, or an empty string."""
    side = Kernel(base, role, tools)
    side.make([layers.expand({"f": "x"})], {}, {})
    try:
        side.opsh("cat @/f")
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        return str(error) or "?"
    return ""

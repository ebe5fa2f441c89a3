# SPDX-License-Identifier: MIT
"""Builds of every kind in an overlay: what they leave is what they leave outside, byte for byte.

Each test does the same thing twice, as twice.py says.  Times that a tool embeds are switched off by SOURCE_DATE_EPOCH
or by the tool's own flag; what still holds a time is a file of the build tool about the build, and named where it is
left out.  (C-1.1, C-1.8, C-1.12, C-3.1, C-3.9, C-4.2 to C-4.4.)
"""

import os
import pathlib
import re
import shutil
import textwrap

import pytest

from twice import FETCHED, results


def write(root, files):
    for path, text in files.items():
        path = pathlib.Path(root, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip("\n"))


def same_tree(twice, below=".", but="^$"):
    same(twice.tree(False, below, but), twice.tree(True, below, but))


def same(wanted, got):
    assert len(wanted) > 2
    if got != wanted:
        lines = [f"outside: {line}" for line in wanted if line not in got]
        lines += [f"inside:  {line}" for line in got if line not in wanted]
        pytest.fail("\n".join(lines[:40]), pytrace=False)


# ninja and ctest write down when, and how long; cmake's log has names by chance.
NINJA = r"/(\.ninja_log|\.ninja_deps|Testing/Temporary/\S+|CMakeFiles/CMake(Output|Error)\.log) "

CMAKE = {
    "CMakeLists.txt": """
        cmake_minimum_required(VERSION 3.25)
        project(p C)
        enable_testing()
        add_subdirectory(base)
        add_subdirectory(words)
        add_executable(generate generate.c)
        target_link_libraries(generate PRIVATE words)
        add_custom_command(OUTPUT table.c DEPENDS generate table.txt
                           COMMAND generate ${CMAKE_CURRENT_SOURCE_DIR}/table.txt table.c)
        add_library(plugin MODULE plugin.c ${CMAKE_CURRENT_BINARY_DIR}/table.c)
        target_link_libraries(plugin PRIVATE words)
        add_executable(main main.c)
        target_link_libraries(main PRIVATE words ${CMAKE_DL_LIBS})
        add_test(NAME main COMMAND main ${CMAKE_BINARY_DIR}/libplugin.so)
        add_test(NAME relative COMMAND ./main ./libplugin.so)
        install(TARGETS main words base plugin RUNTIME DESTINATION bin LIBRARY DESTINATION lib)
        """,
    "base/CMakeLists.txt": "add_library(base SHARED base.c)\nset_target_properties(base PROPERTIES SOVERSION 1)\n",
    "base/base.c": "int base(void) { return 40; }\n",
    "words/CMakeLists.txt": """
        add_library(words SHARED words.c)
        target_link_libraries(words PRIVATE base)
        set_target_properties(words PROPERTIES SOVERSION 2)
        """,
    "words/words.c": "int base(void);\nint words(const char *s) { int n = base(); while (*s) n += *s++ == ' '; return n; }\n",
    "generate.c": """
        #include <stdio.h>
        int words(const char *);
        int main(int argc, char **argv)
        {
            char line[100] = "";
            FILE *in = fopen(argv[argc - 2], "r"), *out = fopen(argv[argc - 1], "w");
            if (!in || !out || !fgets(line, sizeof line, in))
                return 1;
            fprintf(out, "int table(void) { return %d; }\\n", words(line));
            return fclose(out);
        }
        """,
    "table.txt": "one two three\n",
    "plugin.c": "int words(const char *);\nint table(void);\nint plugin(void) { return table() + words(\"a b\"); }\n",
    "main.c": """
        #include <dlfcn.h>
        #include <stdio.h>
        int words(const char *);
        int main(int argc, char **argv)
        {
            void *module = dlopen(argv[argc - 1], RTLD_NOW);
            if (!module)
                return puts(dlerror());
            int (*plugin)(void) = (int (*)(void))dlsym(module, "plugin");
            return plugin() + words("") == 123 ? 0 : 2;
        }
        """,
}

CMAKE_BUILD = """
    cmake -G Ninja -S . -B build && ninja --quiet -C build -j 2 && ninja -C build | tail -n 1
    cd build && ctest --output-on-failure | grep -v ' sec' && cd ..
    cmake --install build --prefix "$PWD/usr" && LD_LIBRARY_PATH=usr/lib usr/bin/main "$PWD/usr/lib/libplugin.so"
    echo four five six seven >table.txt && ninja -C build | grep -c table
    ninja -C build -t clean && find build -name '*.so*' && ninja -C build | tail -n 1
    readelf -d build/main | grep RUNPATH
    """


def test_cmake_with_shared_libraries_run_from_the_build_tree(twice):
    """A generator that the build runs, ctest, a plugin: each needs libraries by RUNPATH (C-4.4)."""
    write(twice.src, CMAKE)
    outside, inside = twice.run(CMAKE_BUILD, twice.place)
    assert inside == outside
    assert "100% tests passed" in inside and f"[{twice.place}/build/words" in inside
    same_tree(twice, but=NINJA)


def test_cmake_out_of_eight_layers(twice):
    """Sources from eight lower layers, the build's directory in the upper (C-2.1)."""
    write(twice.src, CMAKE)
    for number in range(100):
        write(twice.src, {f"headers/{number % 10}/h{number}.h": f"#define H{number} {number}\n"})
    write(twice.src, {"base/base.c": "".join(f'#include "{n % 10}/h{n}.h"\n' for n in range(100)) +
                      "int base(void) { return H40 + H99 - H99; }\n",
                      "base/CMakeLists.txt": CMAKE["base/CMakeLists.txt"] +
                      "target_include_directories(base PRIVATE ../headers)\n"})
    twice.spread(8)
    outside, inside = twice.run(CMAKE_BUILD, twice.place)
    assert inside == outside
    same_tree(twice, but=NINJA)


XS = {
    "Makefile.PL": """
        use ExtUtils::MakeMaker;
        WriteMakefile(NAME => 'Sum::Up', VERSION_FROM => 'lib/Sum/Up.pm', OBJECT => '$(O_FILES)');
        """,
    "lib/Sum/Up.pm": """
        package Sum::Up;
        our $VERSION = '1.5';
        require XSLoader;
        XSLoader::load(__PACKAGE__, $VERSION);
        1;

        =head1 NAME

        Sum::Up - adds

        =cut
        """,
    "Up.xs": """
        #include "EXTERN.h"
        #include "perl.h"
        #include "XSUB.h"
        #include "sum.h"
        MODULE = Sum::Up  PACKAGE = Sum::Up
        int
        sum(a, b)
            int a
            int b
        """,
    "sum.h": "int sum(int, int);\n",
    "sum.c": '#include "sum.h"\nint sum(int a, int b) { return a + b; }\n',
    "t/sum.t": """
        use Test::More tests => 2;
        use_ok('Sum::Up');
        is(Sum::Up::sum(40, 2), 42, 'sum');
        """,
    "MANIFEST": "Makefile.PL\nUp.xs\nlib/Sum/Up.pm\nsum.h\nsum.c\nt/sum.t\nMANIFEST\n",
}


def test_perl_module_in_c(twice):
    """ExtUtils::MakeMaker: a module in C, its tests, install and distribution."""
    write(twice.src, XS)
    outside, inside = twice.run("""
        perl Makefile.PL INSTALLDIRS=vendor && make -j 2 >/dev/null
        make test | grep -v wallclock
        make install DESTDIR="$PWD/usr" | sort
        make tardist TARFLAGS="--sort=name --mtime=@$SOURCE_DATE_EPOCH -cf" COMPRESS='gzip -n' >/dev/null
        PERL5LIB=$(dirname "$(find "$PWD/usr" -path '*Sum/Up.pm')" | xargs dirname)
        export PERL5LIB && cd / && perl -MSum::Up -e 'print Sum::Up::sum(1, 2), " $INC{q(Sum/Up.pm)}\n"'
        """, twice.place)
    assert inside == outside
    assert "Result: PASS" in inside
    same_tree(twice)


def test_install_in_place(twice):
    """`make install` with prefix /usr as an ordinary user: the upper is what DESTDIR is, and is used (C-1.8, C-3.9)."""
    write(twice.src, XS)
    twice.own()
    dest = f"{twice.base}/dest"
    twice.sh("perl Makefile.PL INSTALLDIRS=vendor && make && make -j 2 install DESTDIR=" + dest, twice.src)
    used = twice.sh("""
        make -j 2 install >/dev/null
        cd / && perl -MSum::Up -e 'print Sum::Up::sum(1, 2), " $INC{q(Sum/Up.pm)}\n"'; ls /usr/share/man/man3/Sum::Up*
        """, twice.src, conf=f"mount=/usr,lowerdir=/usr,upperdir={twice.upper}")
    assert re.fullmatch(r"3 /usr/lib/\S+/Sum/Up.pm\n/usr/share/man/man3/Sum\S+\n", used)
    same(twice.listing(dest + "/usr"), twice.listing(twice.upper))


PYTHON = {
    "setup.py": """
        from setuptools import Extension, setup
        setup(name="summing", version="1.5", packages=["summing"], package_data={"summing": ["data.txt"]},
              ext_modules=[Extension("summing._sum", ["summing/_sum.c"])],
              entry_points={"console_scripts": ["summing = summing:main"]})
        """,
    "summing/__init__.py": """
        import importlib.resources
        from summing._sum import sum

        def main():
            print(sum(40, 2), importlib.resources.files("summing").joinpath("data.txt").read_text(), __file__)
        """,
    "summing/data.txt": "data",
    "summing/_sum.c": """
        #define PY_SSIZE_T_CLEAN
        #include <Python.h>
        static PyObject *sum(PyObject *self, PyObject *args)
        {
            int a, b;
            (void)self;
            return PyArg_ParseTuple(args, "ii", &a, &b) ? PyLong_FromLong(a + b) : NULL;
        }
        static PyMethodDef methods[] = {{"sum", sum, METH_VARARGS, 0}, {0}};
        static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_sum", 0, -1, methods, 0, 0, 0, 0};
        PyMODINIT_FUNC PyInit__sum(void) { return PyModule_Create(&module); }
        """,
}

def test_python_package_in_c(twice):
    """setuptools: an extension module in C, built, installed and run."""
    write(twice.src, PYTHON)
    outside, inside = twice.run("""
        /usr/bin/python3 setup.py -q build -j 2
        /usr/bin/python3 setup.py -q install --install-layout deb --single-version-externally-managed \
            --root "$PWD/usr" 2>/dev/null
        export PYTHONPATH="$PWD/usr/usr/lib/python3/dist-packages"
        cd / && "$OLDPWD/usr/usr/bin/summing"
        """, twice.place)
    assert inside == outside
    assert inside.splitlines()[-1].startswith("42 data ")
    same_tree(twice)


PROJECTS = {
    "xz-utils": "--disable-static --libdir=/usr/lib/$(gcc -print-multiarch)",
    "tar": "--with-lzma=xz",
    "libarchive": "--without-openssl --with-nettle --enable-bsdtar=shared --enable-bsdcpio=shared",
}


REGENERATED = {"libarchive"}  # made with another libtool than Debian's
# These say when, and name processes and files by chance.
LOGS = r"/(config\.log|testsuite\.log|testsuite\.dir/.*|\w+_test\.log|autom4te\.cache/.*) "


@pytest.mark.long
@pytest.mark.parametrize("package", PROJECTS)
def test_autotools_project(twice, package):
    """configure beside the sources, make -j 2, make check, make install: a C project with shared libraries and tests."""
    twice.unpack(package)
    regenerate = f"autoreconf -fi ../{package} >/dev/null 2>&1" if package in REGENERATED else ""
    outside, inside = twice.run(f"""
        mkdir build tmp && cd build && export TMPDIR="$PWD/../tmp"
        {regenerate}
        ../{package}/configure --prefix=/usr --disable-dependency-tracking {PROJECTS[package]} >/dev/null 2>&1
        make -j 2 >/dev/null 2>&1
        make check 2>&1 || echo status $?
        make -j 2 install DESTDIR="$PWD/../dest" >/dev/null 2>&1
        """, twice.place)
    assert results(inside) == results(outside) and len(results(inside)) > 1
    same_tree(twice, but=LOGS)


@pytest.mark.long
def test_autotools_project_in_place(twice):
    """xz over the xz that is there: libtool's install, which replaces links and calls ldconfig (C-1.8, C-1.12, C-3.9)."""
    twice.unpack("xz-utils")
    twice.own()
    dest = f"{twice.base}/dest"
    twice.sh(f"""
        ./configure --prefix=/usr {PROJECTS["xz-utils"]} >/dev/null 2>&1 && make -j 2 >/dev/null 2>&1
        make -j 2 install DESTDIR={dest} >/dev/null 2>&1
        """, f"{twice.src}/xz-utils")
    used = twice.sh("""
        make -j 2 install >/dev/null 2>&1
        xz --version && echo text | xz | xzcat && xzdiff README /usr/share/doc/xz/README && lzmainfo --version
        """, f"{twice.src}/xz-utils", conf=f"mount=/usr,lowerdir=/usr,upperdir={twice.upper}")
    version = r"5\.4\.1\n"
    assert re.fullmatch(rf"xz .*{version}liblzma {version}text\nlzmainfo .*{version}", used)
    same(twice.listing(dest + "/usr"), twice.listing(twice.upper))


CMAKE_PROJECTS = {"json-c": "-DBUILD_STATIC_LIBS=OFF", "leveldb": "-DBUILD_SHARED_LIBS=ON"}


@pytest.mark.long
@pytest.mark.parametrize("package", CMAKE_PROJECTS)
def test_cmake_project(twice, package):
    """cmake, ninja and ctest: shared libraries that the tests take from the build tree."""
    twice.unpack(package)
    outside, inside = twice.run(f"""
        mkdir tmp && export TEST_TMPDIR="$PWD/tmp" USE_VALGRIND=0  # its tools are static programs (C-1.12)
        cmake -G Ninja -S {package} -B build {CMAKE_PROJECTS[package]} -DCMAKE_INSTALL_PREFIX=/usr >/dev/null
        ninja --quiet -C build -j 2 >/dev/null
        (cd build && ctest) | sed -n 's/ *[0-9.]* sec$//p' | grep '#'
        DESTDIR="$PWD/dest" cmake --install build >/dev/null
        rm -r tmp
        """, twice.place)
    assert inside == outside
    assert inside.count("Passed") > 2 and "Failed" not in inside
    same_tree(twice, but=NINJA)


# The crates of Debian's librust-*-dev packages that CARGO needs.
CRATES = pathlib.Path("/usr/share/cargo/registry")
VENDORED = ("aho-corasick", "anyhow", "cc", "itoa", "libc", "memchr", "proc-macro2", "quote", "regex", "regex-syntax",
            "ryu", "serde", "serde_derive", "serde_json", "syn", "unicode-ident")
CARGO = {
    ".cargo/config.toml": """
        [source.crates-io]
        replace-with = "vendored"
        [source.vendored]
        directory = "vendor"
        [build]
        incremental = false
        """,
    "Cargo.toml": """
        [workspace]
        members = ["made", "used"]
        """,
    "made/Cargo.toml": """
        [package]
        name = "made"
        version = "0.1.0"
        edition = "2021"
        [lib]
        crate-type = ["rlib", "cdylib"]
        [dependencies]
        libc = "0.2"
        [build-dependencies]
        cc = "1"
        """,
    "made/build.rs": """
        fn main() {
            println!("cargo:rerun-if-changed=sum.c");
            cc::Build::new().file("sum.c").compile("sum");
            let out = std::path::Path::new(&std::env::var_os("OUT_DIR").unwrap()).join("made.rs");
            std::fs::write(out, "pub const MADE: i32 = 40;").unwrap();
        }
        """,
    "made/sum.c": "int sum(int a, int b) { return a + b; }\n",
    "made/src/lib.rs": """
        include!(concat!(env!("OUT_DIR"), "/made.rs"));
        extern "C" { fn sum(a: libc::c_int, b: libc::c_int) -> libc::c_int; }
        #[no_mangle]
        pub extern "C" fn made(n: i32) -> i32 { unsafe { sum(MADE, n) } }
        #[test]
        fn adds() { assert_eq!(made(2), 42); }
        """,
    "used/Cargo.toml": """
        [package]
        name = "used"
        version = "0.1.0"
        edition = "2021"
        [dependencies]
        anyhow = "1"
        made = { path = "../made" }
        regex = "1"
        serde = { version = "1", features = ["derive"] }
        serde_json = "1"
        """,
    "used/src/main.rs": """
        use serde::{Deserialize, Serialize};
        #[derive(Serialize, Deserialize)]
        struct Found { words: Vec<String>, made: i32, exe: std::path::PathBuf }
        fn main() -> anyhow::Result<()> {
            let text = std::fs::read_to_string(std::env::args().nth(1).unwrap())?;
            let words = regex::Regex::new(r"[a-z]+")?.find_iter(&text).map(|m| m.as_str().into()).collect();
            let found = Found { words, made: made::made(2), exe: std::env::current_exe()? };
            println!("{}", serde_json::to_string(&found)?);
            Ok(())
        }
        """,
    "used/tests/run.rs": """
        #[test]
        fn runs() {
            let exe = env!("CARGO_BIN_EXE_used");
            assert!(std::process::Command::new(exe).arg("src/main.rs").status().unwrap().success());
            assert!(!std::process::Command::new(exe).arg("absent").status().unwrap().success());
        }
        """,
}


@pytest.mark.long
def test_cargo_with_vendored_crates(twice):
    """build scripts, C code, procedural macros that rustc loads out of the target directory, tests (C-4.2, C-4.4)."""
    write(twice.src, CARGO)
    for crate in VENDORED:
        found = [path for path in CRATES.glob(f"{crate}-[0-9]*")]
        assert found, f"{crate} is not in {CRATES}"
        shutil.copytree(found[0].resolve(), f"{twice.src}/vendor/{crate}")
    outside, inside = twice.run("""
        cargo --quiet build --offline --jobs 2
        cargo --quiet test --offline --jobs 2 | sed 's/finished in .*//'
        target/debug/used used/src/main.rs
        touch -d @1800000000 made/sum.c && cargo --verbose build --offline 2>&1 | grep -c Running
        cargo --verbose build --offline 2>&1 | grep -c Running || true
        cargo --quiet install --debug --offline --path used --root usr 2>/dev/null && usr/bin/used Cargo.toml
        """, twice.place)
    assert inside == outside
    same_tree(twice, but="rustc_info.json")  # in the order of a hash map with a seed by chance


@pytest.mark.long
def test_cargo_project(twice):
    """fd, out of Debian's crates, the tests in its sources, and what it finds."""
    twice.unpack("rust-fd-find", "fd")
    write(twice.src, {"fd/.cargo/config.toml": f"""
        [source.crates-io]
        replace-with = "debian"
        [source.debian]
        directory = "{CRATES}"
        """})
    os.unlink(f"{twice.src}/fd/Cargo.lock")  # the author's versions
    manifest = pathlib.Path(twice.src, "fd/Cargo.toml")  # Debian does not have what its other tests need
    manifest.write_text(re.sub(r"(?ms)^\[dev-dependencies.*?^$", "", manifest.read_text()))
    outside, inside = twice.run("""
        mkdir ../tmp && export TMPDIR="$PWD/../tmp" CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=0
        # The build script is stamped with the time of the newest file.
        cargo --quiet generate-lockfile --offline && touch -d @1700000000 Cargo.lock
        cargo --quiet build --offline --jobs 2 2>/dev/null
        cargo test --bins --offline --jobs 2 2>/dev/null | grep ' [.][.][.] ' | sort
        target/debug/fd --type file . ./src | sort
        """, f"{twice.place}/fd")
    assert inside == outside
    assert inside.count("... ok") > 50 and "./src/main.rs" in inside
    same_tree(twice, but="rustc_info.json")


TYPESCRIPT = {
    "tsconfig.json": """
        {"compilerOptions": {"module": "commonjs", "target": "es2022", "outDir": "build", "strict": true,
                             "types": ["node"], "declaration": true, "sourceMap": true},
         "include": ["*.ts"]}
        """,
    "masked.ts": """
        import * as fs from "fs";
        export function masked(path: string): Buffer {
            const native = require("bufferutil/build/Release/bufferutil.node");
            const text = fs.readFileSync(path), out = Buffer.alloc(text.length);
            native.mask(text, Buffer.from([1, 2, 3, 4]), out, 0, text.length);
            return out;
        }
        """,
    "main.ts": """
        import { masked } from "./masked";
        console.log(masked("package.json").toString("base64"), __filename, process.cwd(), require.resolve("bufferutil"));
        """,
    "test.ts": """
        import * as assert from "assert";
        import * as child from "child_process";
        import * as fs from "fs";
        import { masked } from "./masked";
        declare function it(name: string, body: () => void | Promise<void>): void;
        it("masks", () => assert.equal(masked("package.json")[0], "{".charCodeAt(0) ^ 1));
        it("watches", async () => {
            setTimeout(() => fs.writeFileSync("build/new", "x"), 100);
            for await (const event of fs.promises.watch("build"))
                return assert.equal(event.filename, "new");
        });
        it("starts", () => assert.match(child.execFileSync(process.execPath, ["build/main.js"]).toString(), /main.js/));
        it("lists", () => assert.ok(fs.readdirSync("node_modules", { recursive: true }).length > 1000));
        """,
}


@pytest.mark.long
def test_node_package(twice):
    """npm ci out of a cache in the lower layer, an addon compiled by node-gyp and loaded, tsc, mocha."""
    cache = FETCHED / "npm"
    assert cache.is_dir(), f"no npm cache in {FETCHED}: see npm_cache in tests/run.sh"
    shutil.copytree(cache, f"{twice.src}/cache")
    shutil.copytree(pathlib.Path(__file__).parent / "node", f"{twice.src}/package")
    write(f"{twice.src}/package", TYPESCRIPT)
    outside, inside = twice.run("""
        export npm_config_build_from_source=true npm_config_nodedir=/usr npm_config_update_notifier=false
        npm ci --offline --cache ../cache --no-audit --no-fund 2>&1 | sed 's/ in [0-9]*m\\?s$//'
        npm run build && npm test && node build/main.js
        npm pack --silent && npm ls
        """, f"{twice.place}/package")
    assert inside == outside
    same_tree(twice, "package")


JAVA = {
    "src/module-info.java": "module m { exports m; uses m.Names; provides m.Names with m.Main; }\n",
    "src/m/Names.java": "package m;\npublic interface Names { String name(); }\n",
    "src/m/Main.java": """
        package m;
        import java.nio.file.*;
        import java.util.*;
        public class Main implements Names {
            public String name() { return "main"; }
            public static void main(String[] args) throws Exception {
                for (Names n : ServiceLoader.load(Names.class))
                    System.out.println(n.name());
                System.out.println(new String(Main.class.getResourceAsStream("data.txt").readAllBytes()));
                System.out.println(Main.class.getProtectionDomain().getCodeSource().getLocation());
                System.out.println(Path.of("link").toRealPath() + " " + Path.of("").toAbsolutePath());
                Files.writeString(Path.of("src/m/data.txt"), "new");
                Files.move(Path.of("src/m/data.txt"), Path.of("moved"), StandardCopyOption.ATOMIC_MOVE);
                try (var files = Files.walk(Path.of("src"))) { files.sorted().forEach(System.out::println); }
            }
        }
        """,
    "src/m/data.txt": "data",
}


@pytest.mark.long
def test_java(twice):
    """javac, jar, and java out of the class files and out of the jar, with modules, services and resources."""
    write(twice.src, JAVA)
    os.symlink("src/m", f"{twice.src}/link")
    outside, inside = twice.run("""
        javac -d classes $(find src -name '*.java') && cp src/m/data.txt classes/m
        jar --create --file m.jar --main-class m.Main --date 2023-11-14T22:13:20Z -C classes .
        jar --list --file m.jar
        java -p classes -m m/m.Main
        java -p m.jar -m m/m.Main
        java -cp m.jar m.Main
        """, twice.place)
    assert inside == outside
    same_tree(twice)


@pytest.mark.long
def test_go_is_refused(twice):
    """Go's programs are static, so go itself does not start (C-1.12); nor does what it made outside."""
    write(twice.src, {"go.mod": "module m\n", "m.go": 'package main\nfunc main() { println("runs") }\n'})
    twice.own()
    twice.sh("export GOCACHE=$HOME/go && go build -o m m.go && ./m", twice.src)
    for program in ("/usr/bin/go version", "./m"):
        said = twice.sh(f"{program} || echo $?", twice.place, inside=True)
        assert re.search("statically linked|a Go program", said) and said.endswith("126\n"), said


@pytest.mark.long
def test_perl_project(twice):
    """YAML::LibYAML from Debian's source: MakeMaker, some C, its own tests."""
    twice.unpack("libyaml-libyaml-perl", "yaml")
    outside, inside = twice.run("""
        export USE_SYSTEM_LIBYAML=1
        perl Makefile.PL INSTALLDIRS=vendor && make -j 2 >/dev/null
        make test | grep -v wallclock | sort
        make -j 2 install DESTDIR="$PWD/usr" >/dev/null
        """, f"{twice.place}/yaml")
    assert inside == outside
    assert "Result: PASS" in inside
    same_tree(twice)


@pytest.mark.long
def test_pip(twice):
    """cffi from Debian's source: pip makes a wheel, installs it in an environment, and it compiles extensions there."""
    twice.unpack("python-cffi", "cffi")
    outside, inside = twice.run("""
        mkdir tmp && export TMPDIR="$PWD/tmp"
        /usr/bin/python3 -m venv --system-site-packages --without-pip venv
        pip="venv/bin/python -m pip --no-cache-dir --disable-pip-version-check"
        $pip wheel --quiet --no-build-isolation --no-index --no-deps --wheel-dir wheels ./cffi
        $pip install --quiet --no-index --no-deps --find-links wheels --ignore-installed cffi
        cp -r cffi/testing cffi/setup.cfg . && . venv/bin/activate
        python -c 'import _cffi_backend, cffi; print(_cffi_backend.__file__, cffi.__file__)'
        python -m pytest -q -rA -p no:cacheprovider testing/cffi0/test_zdistutils.py testing/cffi1/test_zdist.py \
            testing/cffi1/test_dlopen.py | grep -E '^(PASSED|FAILED|ERROR|SKIPPED)'
        rm -r tmp testing  # sources that cffi's tests make name addresses in memory
        """, twice.place)
    assert inside == outside
    assert inside.count("PASSED ") > 50 and "ERROR " not in inside
    same_tree(twice)

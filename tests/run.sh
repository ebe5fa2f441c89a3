#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Installs what the tests need, builds every preset and runs everything.
#
#   tests/run.sh            the fast tier: at most 40 minutes on 2 cores
#   tests/run.sh --long     the long tier as well: TSan, gcc's UBSan, coverage, foreign test-suites and
#                           big builds in an overlay, fuzzers for ten minutes each
#
# As root the integration tests run both as root and as an ordinary user (a user id without a name), else only
# as who you are.  Each step's output goes to build/log/STEP; the end of it is shown, all of it when it fails.
set -u

cd "$(dirname "$0")/.." || exit 1
long=false
case ${1-} in
'') ;;
--long) long=true ;;
*)
    sed -n 's/^#   //p' "$0" >&2
    exit 2
    ;;
esac

long_sources='xz-utils tar libarchive json-c leveldb rust-fd-find libyaml-libyaml-perl python-cffi findutils grep'
user=12345 # the ordinary user, as in tests/integration/conftest.py
log=build/log
fetched=${OVL_FETCHED:-$PWD/build/fetched}
mkdir -p "$log"
public=$(mktemp -d)
chmod 755 "$public"
trap 'chmod -R u+rwx "$public" 2>/dev/null; rm -rf "$public"' EXIT

passed=0
failed=0
failures=

# step NAME COMMAND...
step() {
    name=$1
    shift
    printf '\n== %s\n' "$name"
    start=$(date +%s)
    # Not in the condition of the `if`: there a shell ignores -e.
    (set -e; "$@") >"$log/$name" 2>&1 </dev/null
    status=$?
    if [ "$status" = 0 ]; then
        tail -n 4 "$log/$name"
        passed=$((passed + 1))
        printf -- '-- %s: passed in %s s\n' "$name" $(($(date +%s) - start))
    else
        tail -n 200 "$log/$name"
        failed=$((failed + 1))
        failures="$failures $name"
        printf -- '-- %s: FAILED after %s s, see %s\n' "$name" $(($(date +%s) - start)) "$log/$name"
    fi
}

install_packages() {
    sh tests/tools/packages.sh \
        gcc g++ make cmake pkgconf clang clang-format clang-tidy libclang-rt-14-dev cppcheck shellcheck valgrind \
        libjson-c-dev libarchive-dev libmd-dev zlib1g-dev skopeo zip zstd lz4 bzip2 xz-utils \
        libc6-dbg locales tzdata libcmocka-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user \
        python3 python3-pytest python3-pytest-xdist strace util-linux acl attr e2fsprogs fakeroot git perl \
        dpkg-dev debhelper file gdb libjemalloc-dev libgoogle-perftools-dev libasan8 libtsan2 libgomp1 libperl-dev \
        python3-dev fuse-overlayfs umoci libpython3.11-testsuite python3-setuptools ninja-build libfaketime \
        man-db zsh lintian
}

# download SOURCE...: these source packages.
download() {
    if ! sh tests/tools/fetch.sh "$fetched" "$@"; then
        sh tests/tools/as-root.sh apt-get -qq update
        sh tests/tools/fetch.sh "$fetched" "$@"
    fi
}

# fetch SOURCE...: the same, and what building them needs.
fetch() {
    download "$@"
    APT_CONFIG=$fetched/apt/apt.conf sh tests/tools/as-root.sh \
        env DEBIAN_FRONTEND=noninteractive apt-get -qq --yes --no-install-recommends build-dep "$@"
}

# What the integration tests of the long tier need besides: one line a test file.
install_packages_long() {
    # test_builds.py
    sh tests/tools/packages.sh spin cargo rustc librust-serde-json-dev librust-serde-derive-dev librust-regex-dev \
        librust-cc-dev librust-anyhow-dev golang-go default-jdk-headless nodejs python3-pip python3-venv python3-wheel
    # test_whole_root.py
    sh tests/tools/packages.sh debootstrap passwd adduser
    # A nodejs that is not Debian's brings both along.
    command -v npm || sh tests/tools/packages.sh npm
    [ -d /usr/include/node ] || sh tests/tools/packages.sh libnode-dev
}

# What tests/integration/node/package-lock.json names, in a cache out of which npm installs without a network.
npm_cache() {
    [ ! -e "$fetched/npm.complete" ] || return 0
    cp -R tests/integration/node "$public/node"
    npm --prefix "$public/node" ci --cache "$fetched/npm" --ignore-scripts --no-audit --no-fund
    touch "$fetched/npm.complete"
}

shell_scripts() {
    # SC2016: '$1' in single quotes is meant for another program.
    find examples tests .ci -name '*.sh' -exec shellcheck --external-sources --exclude=SC2016 {} + \
        -o -path .ci/run -exec shellcheck {} +
}

valgrind_unit() {
    for program in build/dev/tests/unit/test_*; do
        [ -f "$program" ] || continue
        echo "$program"
        # Thousands of forks, minutes without valgrind: their leaks are looked for by the asan preset.  And valgrind
        # knows no openat2(2), by which copy-up keeps to its layer.
        case $program in *test_faults* | *test_swap*) continue ;; esac
        # Through a pipe: what valgrind has to say counts against a limit on the size of files that a test sets.
        {
            bad=0
            valgrind --quiet --error-exitcode=99 --leak-check=full --errors-for-leak-kinds=definite,possible \
                "$program" || bad=$?
            echo "$bad" >"$public/valgrind"
        } 2>&1 | cat
        [ "$(cat "$public/valgrind")" = 0 ]
    done
}

aarch64() {
    # Debian's cmocka for aarch64 is unpacked, not installed: see tests/tools/fetch.sh.
    cmake --preset aarch64 -DCMAKE_PREFIX_PATH="$fetched/arm64/usr"
    cmake --build --preset aarch64
    ctest --preset aarch64
}

# integration TIER: `long`, or `not long`.
integration() {
    # The library where every user can read it.
    cp build/dev/shim/libovl.so build/dev/shim/libovl-audit.so build/dev/cli/ovl "$public"
    OVL_LIBRARY=$public/libovl.so OVL_FETCHED=$fetched /usr/bin/python3 -m pytest -q -rsfE -n 2 --dist loadfile \
        -p no:cacheprovider -m "$1" tests/integration
}

# The same, but each call that reaches the kernel is looked at, and the library traps undefined behaviour.
traced() {
    mkdir -p "$public/ubsan"
    cp build/asan/shim/libovl.so build/asan/shim/libovl-audit.so "$public/ubsan"
    OVL_STRACE=1 OVL_SIDES=ovl OVL_LIBRARY=$public/ubsan/libovl.so /usr/bin/python3 -m pytest -q -rsfE -n 2 \
        --dist loadfile -p no:cacheprovider -m "not long" --ignore tests/integration/test_packages.py \
        --ignore tests/integration/test_builds.py --ignore tests/integration/test_foreign_suites.py tests/integration
}

# differential OPERATIONS SEED [OPTION...]: random operations, as root (where we are) and as an ordinary user.
differential() {
    operations=$1
    seed=$2
    shift 2
    cp build/dev/shim/libovl.so build/dev/shim/libovl-audit.so "$public"
    for user_too in '' --as-user; do
        [ "$(id -u)" = 0 ] || [ -n "$user_too" ] || continue
        OVL_LIBRARY=$public/libovl.so /usr/bin/python3 tests/differential/run.py --operations "$operations" \
            --seed "$seed" $user_too "$@"
    done
}

differential_short() {
    differential 5000 1
    differential 1000 1 --processes 4
    differential 1000 1 --processes 4 --shared
}

differential_long() {
    differential 1000000 "$(date +%s)" --jobs 2
    differential 200000 1 --processes 4
    differential 200000 1 --processes 4 --shared
    OVL_LIBRARY=$public/libovl.so /usr/bin/python3 tests/differential/planted.py
    /usr/bin/python3 tests/differential/planted_cache.py
}

# example NAME: run examples/NAME.sh as an ordinary user; as root, where it takes two users for itself.
example() {
    mkdir -p "$public/examples"
    cp examples/*.sh "$public/examples"
    cp build/dev/shim/libovl.so build/dev/shim/libovl-audit.so build/dev/cli/ovl "$public"
    script=$public/examples/$1.sh
    set -- env "HOME=$public" "OVL_LIBRARY=$public/libovl.so" sh "$script"
    case $script in
    */reproducible-*.sh) ;;
    *) [ "$(id -u)" != 0 ] || set -- setpriv --reuid "$user" --regid "$user" --clear-groups "$@" ;;
    esac
    "$@"
}

fuzz() {
    cp -R "tests/fuzz/corpus/$1" "$public/corpus-$1"
    "build/asan/tests/fuzz/fuzz_$1" -max_total_time=600 -timeout=10 -print_final_stats=1 "$public/corpus-$1"
}

step packages install_packages
step fetch fetch hello lua5.4 sed coreutils
step dev cmake --workflow --preset dev
step clang cmake --workflow --preset clang
step asan cmake --workflow --preset asan
step aarch64 aarch64
step format cmake --build build/dev --target format-check
step tidy cmake --build build/clang --target tidy
step cppcheck cmake --build build/dev --target cppcheck
step shellcheck shell_scripts
step valgrind valgrind_unit
step debian cmake --workflow --preset debian
step integration integration "not long"
step traced traced
step differential differential_short
for name in readonly layers oci-layer try-install variants sdk-patch reproducible-layer reproducible-deb; do
    step "example-$name" example "$name"
done
if $long; then
    for preset in ubsan tsan coverage; do
        step $preset cmake --workflow --preset $preset
    done
    step packages-long install_packages_long
    # shellcheck disable=SC2086
    step fetch-long fetch $long_sources
    step fetch-python download python3.11
    step npm-cache npm_cache
    step integration-long integration long
    step differential-long differential_long
    step model sh tests/model/run.sh
    for source in tests/fuzz/fuzz_*.c; do
        name=$(basename "$source" .c)
        step "$name" fuzz "${name#fuzz_}"
    done
fi

printf '\n== summary\n'
grep -h 'tests passed' $log/dev $log/clang $log/asan $log/aarch64 2>/dev/null
grep -hE '^(=+ )?[0-9]+ (passed|failed).* in ' $log/integration $log/traced $log/integration-long 2>/dev/null
for preset in dev clang asan aarch64; do
    sed -n "s/^skipped: /skipped in $preset: /p" build/$preset/Testing/Temporary/LastTest.log 2>/dev/null
done
for name in integration traced integration-long; do
    sed -n "s/^SKIPPED /skipped in $name: /p" $log/$name 2>/dev/null
done
[ "$(id -u)" = 0 ] || echo "not root: the half of the integration tests that needs root was not run"
# What failed comes last and in short: where only the end of this output is kept, it must tell.
for name in $failures; do
    printf 'failed: %s\n' "$name"
    grep -E '^(FAILED|ERROR|E  ) ?|[(]Failed[)]$|[(]Timeout[)]$' "$log/$name" | cut -c 1-300 | tail -n 40
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

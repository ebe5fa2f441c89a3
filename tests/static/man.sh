#!/bin/sh
# SPDX-License-Identifier: MIT
#
# The man pages: groff has nothing to say against them; ovl(1) has the options that each command's --help has, and
# these are those that the command takes; ovl.conf(5) has the keys of a configuration, libovl(7) the variables.  Each
# the other way round too.
#
#   tests/static/man.sh DIRECTORY-OF-PAGES [OVL]
set -eu

pages=$1
ovl=${2-}
status=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
command -v man >/dev/null || {
    echo "skipped: needs man(1)"
    exit 77
}
export LC_ALL=C.UTF-8 MANWIDTH=120 MANROFFOPT=-c
unset MANPAGER PAGER MANOPT

# same FILE FILE WHAT: one word a line in both.
same() {
    sort -u "$1" >"$tmp/a"
    sort -u "$2" >"$tmp/b"
    if ! [ -s "$tmp/a" ] || ! cmp -s "$tmp/a" "$tmp/b"; then
        echo "$3:"
        diff "$tmp/a" "$tmp/b" || true
        status=1
    fi
}

for page in "$pages"/*.[157]; do
    man --warnings -E UTF-8 -l "$page" >"$tmp/${page##*/}" 2>"$tmp/warnings" </dev/null
    if [ -s "$tmp/warnings" ]; then
        echo "$page:"
        cat "$tmp/warnings"
        status=1
    fi
done

# options: the long and short options that stand at the beginning of a line.
options() {
    sed -n 's/^ *\(-[-a-zA-Z, ]*\).*/\1/p' | tr -s ', ' '\n' | grep '^-' || true
}

# section COMMAND: what ovl(1) says of it, as it is shown.
section() {
    NAME=$1 awk '/^   ovl [a-z]+$/ { on = $2 == ENVIRON["NAME"] } /^[A-Z]/ { on = 0; which = /^WHICH/ }
        on && /WHICH OVERLAY/ { print shared }
        which { shared = shared "\n" $0 }
        on' "$tmp/ovl.1"
}

if [ -n "$ovl" ]; then
    commands=$("$ovl" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p')
    for command in $commands; do
        "$ovl" "$command" --help | options >>"$tmp/all"
    done
    # What any command takes, by the tables of getopt_long(3).
    sed -n 's/.*{"\([a-z-]*\)", *\(no\|required\)_argument.*/--\1/p' cli/*.[ch] >>"$tmp/all"
    sort -u "$tmp/all" >"$tmp/known"
    for command in $commands; do
        "$ovl" "$command" --help | options >"$tmp/help"
        section "$command" | options >"$tmp/page"
        same "$tmp/help" "$tmp/page" "ovl $command: --help and ovl(1) differ"
        # An option that takes no argument, or one, comes before --help; what is not known is named in a message.
        while read -r option; do
            said=$("$ovl" "$command" "$option" --help --help 2>&1 </dev/null || true)
            case $said in
            *"unrecognized option"* | *"invalid option"* | *ambiguous*) ;;
            *) printf '%s\n' "$option" ;;
            esac
        done <"$tmp/known" >"$tmp/taken"
        same "$tmp/help" "$tmp/taken" "ovl $command: --help and what it takes differ"
    done
    sed -n '/^static const struct command commands/,/^}/s/^ *{"\([a-z]*\)".*/\1/p' cli/main.c >"$tmp/table"
    sed -n 's/^   ovl \([a-z]*\)$/\1/p' "$tmp/ovl.1" >"$tmp/page"
    same "$tmp/table" "$tmp/page" "cli/main.c and ovl(1) have other commands"
fi

sed -n '/^static const struct key keys/,/^}/s/^ *\[OVL_KEY_[A-Z_]*\] = {\(\.name = \)\{0,1\}"\([a-z-]*\)".*/\2/p' \
    core/config.c >"$tmp/keys"
sed -n 's/^       \([a-z-]*\) (default: .*/\1/p' "$tmp/ovl.conf.5" >"$tmp/page"
same "$tmp/keys" "$tmp/page" "core/config.c and ovl.conf(5) have other keys"

# OVL_CWD is between processes.
grep -hoE '(getenv|own_variable)\("OVL_[A-Z_]*"' shim/*.c | grep -oE 'OVL_[A-Z_]*' | grep -vx OVL_CWD >"$tmp/variables"
sed -n 's/^       \(OVL_[A-Z_]*\)$/\1/p' "$tmp/libovl.7" >"$tmp/page"
same "$tmp/variables" "$tmp/page" "what the library reads of its environment and libovl(7) differ"

exit $status

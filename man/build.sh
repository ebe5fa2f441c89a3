#!/bin/sh
# SPDX-License-Identifier: MIT
#
# Makes the man pages: out of man/*.md, README.md and what `ovl --help` says, so that nothing stands in two places.
#
#   man/build.sh OVL VERSION DIRECTORY [PAGE...]
#
# OVL: the program, which ovl.1 is made of.  In the pages' sources a line may be
#   @readme HEADING     that section of README.md
#   @table WORD         the table in README.md whose first column has this head
#   @commands, @exit    the list of commands, and the exit statuses, of `ovl --help`
#   @which              the options that say which overlay is meant
#   @help               what each command's --help says, but for those
# What may be used of Markdown: see man/man.awk.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
ovl=$1
version=$2
to=$3
shift 3
[ $# -gt 0 ] || set -- ovl.1 ovl.conf.5 libovl.7

# help [COMMAND]: the text of --help in Markdown.
help() {
    "$ovl" "$@" --help | awk -f "$here/help.awk"
}

# part FROM TO: the lines from the one that begins with FROM on, up to the one that begins with TO.
part() {
    FROM=$1 TO=$2 awk 'index($0, ENVIRON["FROM"]) == 1 { on = 1 } on && index($0, ENVIRON["TO"]) == 1 { exit } on'
}

commands() {
    "$ovl" --help | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p'
}

readme() {
    HEADING=$1 awk '
        /^#/ { on = 0 }
        on
        substr($0, match($0, /[^# ]/)) == ENVIRON["HEADING"] && /^#/ { on = 1 }' "$here/../README.md"
}

table() {
    HEAD=$1 awk 'index($0, "| " ENVIRON["HEAD"] " |") == 1 { on = 1 } !/^[|]/ { on = 0 } on' "$here/../README.md"
}

# Markdown with the lines that begin with '@' put in.
expand() {
    while IFS= read -r line; do
        case $line in
        '@readme '*) readme "${line#* }" ;;
        '@table '*) table "${line#* }" ;;
        @commands) help | part '<!-- terms' '`ovl COMMAND' ;;
        @exit) help | part 'Exit status:' '@nothing' | sed 1d ;;
        @which) help status | part 'Which overlay:' '<!-- end' | sed 1d ;;
        @help)
            for command in $(commands); do
                printf '### ovl %s\n\n' "$command"
                help "$command" | awk '
                    /^Which overlay:/ { hidden = 1; print "The options of WHICH OVERLAY, and:"; print "" }
                    !hidden
                    /^<!-- end/ { hidden = 0 }'
            done
            ;;
        *) printf '%s\n' "$line" ;;
        esac
    done
}

mkdir -p "$to"
for page; do
    expand <"$here/$page.md" | awk -v version="$version" -f "$here/man.awk" >"$to/$page.new"
    mv "$to/$page.new" "$to/$page"
done

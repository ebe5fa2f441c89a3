# SPDX-License-Identifier: MIT
# shellcheck shell=bash
#
# Completion of ovl(1) for bash: the commands, and the options of each, are those that --help has.

# The words of a list that begin with what is typed.
_ovl_words() {
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

# Files or directories (-f, -d), which readline quotes.
_ovl_paths() {
    compopt -o filenames 2>/dev/null
    mapfile -t COMPREPLY < <(compgen "$1" -- "$cur")
}

# What an option takes, as its --help calls it; nothing where it takes none.  Other words are no business of sed's.
_ovl_value_of() {
    [[ $1 =~ ^--?[a-zA-Z-]+$ ]] || return 0
    if [[ $1 == -w || $1 == --whiteout ]]; then
        echo FORM # which --help calls by its values
    fi
    sed -n "s/^  *\(-[a-zA-Z], \)\{0,1\}$1\(, --[a-z-]*\)\{0,1\} \([A-Z][A-Z:]*\).*/\3/p" <<<"$help" | head -n 1
}

_ovl_complete_value() {
    case $1 in
    MOUNT | LOWER | UPPER | LAYER | DIR | DIRECTORY) _ovl_paths -d ;;
    FILE | PATH) _ovl_paths -f ;;
    WHEN) _ovl_words 'auto always never' ;;
    NAME) _ovl_words "$(ls "${XDG_STATE_HOME:-$HOME/.local/state}/ovl" 2>/dev/null)" ;;
    FORM) _ovl_words 'oci kernel' ;;
    esac
}

# The place of the first word that is no option, nor an option's value: where a command begins.
_ovl_first_argument() {
    local i
    for ((i = 2; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --) i=$((i + 1)) && break ;;
        = | -*=*) ;;
        -*) [[ -z $(_ovl_value_of "${COMP_WORDS[i]}") ]] || i=$((i + 1)) ;;
        *) [[ ${COMP_WORDS[i - 1]} == "=" ]] || break ;;
        esac
    done
    echo "$i"
}

_ovl() {
    local ovl=${COMP_WORDS[0]/#\~/$HOME} command=${COMP_WORDS[1]-} help value first
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
    COMPREPLY=()
    # readline has '=' as a word of its own.
    if [[ $cur == "=" ]]; then
        cur=
    elif [[ $prev == "=" ]]; then
        prev=${COMP_WORDS[COMP_CWORD - 2]}
    fi
    if ((COMP_CWORD == 1)) || { ((COMP_CWORD == 2)) && [[ $command == help ]]; }; then
        _ovl_words "$("$ovl" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z]*\)  .*/\1/p') help --help --version"
        return
    fi
    help=$("$ovl" "$command" --help 2>/dev/null)
    first=$(_ovl_first_argument)
    if [[ $command == run ]] && ((first <= COMP_CWORD)) && { ((first < COMP_CWORD)) || [[ $cur != -* ]]; }; then
        value=
        ((first < COMP_CWORD)) || value=$(_ovl_value_of "$prev")
        if [[ -n $value ]]; then
            _ovl_complete_value "$value"
        elif ((first < COMP_CWORD)) && declare -F _command_offset >/dev/null; then
            _command_offset "$first"
        elif ((first < COMP_CWORD)); then
            _ovl_paths -f
        else
            _ovl_paths -c
        fi
        return
    fi
    value=$(_ovl_value_of "$prev")
    if [[ -n $value ]]; then
        _ovl_complete_value "$value"
    elif [[ $cur == -* ]]; then
        _ovl_words "$(sed -n 's/^  *\(-[a-zA-Z], \)\{0,1\}\(--[a-z][a-z-]*\).*/\2/p' <<<"$help")"
    else
        _ovl_paths -f
    fi
}

complete -F _ovl ovl

# SPDX-License-Identifier: MIT
#
# The text of an `ovl ... --help` as the Markdown of man.awk: options and words with an explanation beside them become
# rows of a table.  A table ends with a line "<!-- end".
function leave() {
    if (row != "")
        print row " |"
    row = ""
    if (open)
        print "<!-- end -->\n"
    open = 0
}
function enter() {
    if (!open)
        print "\n<!-- terms -->\n| | |\n|---|---|"
    open = 1
}
# A term and its explanation, two blanks or more between them.
function take(text,   at) {
    enter()
    if (row != "")
        print row " |"
    at = match(text, /  +/)
    row = "| `" (at ? substr(text, 1, at - 1) : text) "` |" (at ? " " substr(text, at + RLENGTH) : "")
}

NR == 1 { # usage: several lines where they begin with blanks
    sub(/^usage: /, "")
    print "`" $0 "`"
    next
}
/^  +-[-a-zA-Z]/ || /^  [^ -]/ || /^[a-z]+   *[a-z]/ {
    sub(/^ +/, "")
    take($0)
    next
}
/^     +[^ ]/ && open {
    sub(/^ +/, "")
    row = row " " $0
    next
}
# After the last row, a line at the margin belongs to the list of which-overlay options.
/^Without any of these:/ {
    if (row != "")
        print row " |"
    row = ""
    print ""
    print
    print ""
    print "<!-- end -->\n"
    open = 0
    next
}
{
    if ($0 == "" && open)
        leave()
    print
}
END { leave() }

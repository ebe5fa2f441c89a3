# SPDX-License-Identifier: MIT
#
# A little Markdown as man(7): "# NAME SECTION", "## HEADING", "### HEADING", paragraphs, code (four blanks), lists of
# "- ", tables (the first column is the term; of three, the second is the default), `code`, *word*, [text](link).
# Comments (a line that begins with "<!--") and the rest of Markdown are not for these pages.

# What roff takes for its own.
function escape(s) {
    gsub(/\\/, "\\e", s)
    gsub(/~/, "\\(ti", s)
    gsub(/\^/, "\\(ha", s)
    return s
}
function literal(s) {
    s = escape(s)
    gsub(/-/, "\\-", s)
    gsub(/'/, "\\(aq", s)
    gsub(/`/, "\\(ga", s)
    return s
}
# Options, and cross references, as they are typed and read.
function plain(s,   out, word) {
    s = escape(s)
    while (match(s, /(^|[ ("\[])-[-a-z][-a-z]*|[a-z.]+\([1-8]\)|\*[a-z ]+\*/)) {
        word = substr(s, RSTART, RLENGTH)
        if (word ~ /\)$/)
            sub(/^[^(]+/, "\\fB&\\fR", word)
        else if (word ~ /^\*/)
            word = "\\fI" substr(word, 2, length(word) - 2) "\\fR"
        else
            gsub(/-/, "\\-", word)
        out = out substr(s, 1, RSTART - 1) word
        s = substr(s, RSTART + RLENGTH)
    }
    return out s
}
function text(s,   out, at, word, link, before) {
    gsub(/  +/, " ", s)
    while (match(s, /`[^`]*`|\[[^]]*\]\([^)]*\)/)) {
        word = substr(s, RSTART, RLENGTH)
        before = substr(s, 1, RSTART - 1)
        s = substr(s, RSTART + RLENGTH)
        out = out plain(before)
        if (word ~ /^`/) {
            out = out "\\fB" literal(substr(word, 2, length(word) - 2)) "\\fR"
        } else {
            at = index(word, "](")
            link = substr(word, at + 2, length(word) - at - 2)
            out = out plain(substr(word, 2, at - 2))
            if (link ~ /^http/)
                out = out " (" literal(link) ")"
        }
    }
    return out plain(s)
}
function line(s) {
    print (s ~ /^[.']/ ? "\\&" : "") s
}
# End what the last lines have begun.
function flush() {
    if (code)
        print ".EE\n.RE"
    else if (item)
        printf ".IP \\(bu 2\n%s\n", text(paragraph)
    else if (paragraph != "") {
        print ".PP"
        line(text(paragraph))
    }
    code = item = 0
    paragraph = ""
}
function row(s,   cell, n, i) {
    sub(/^\| */, "", s)
    sub(/ *\|$/, "", s)
    n = split(s, cell, / *\| */)
    print ".TP"
    line((cell[1] ~ /`/ ? "" : "\\fB") text(cell[1]) (cell[1] ~ /`/ ? "" : "\\fR") (n > 2 && columns > 2 ? " (default: " text(cell[2]) ")" : ""))
    for (i = columns > 2 ? 3 : 2; i <= n; i++)
        line(text(cell[i]))
}

/^<!--/ { flush(); next }
/^# / {
    printf ".\\\" Made by man/build.sh.\n.TH %s %s \"\" \"libovl %s\" \"libovl\"\n.nh\n.ad l\n", toupper($2), $3, version
    next
}
/^## / { flush(); print ".SH " toupper(substr($0, 4)); next }
/^### / { flush(); print ".SS " text(substr($0, 5)); next }
/^\|[-|]+$/ { next }
/^\|/ {
    if (!table) { # the head
        flush()
        columns = gsub(/\|/, "|") - 1
        table = 1
        next
    }
    row($0)
    next
}
{ table = 0 }
/^    / && (code || paragraph == "") {
    if (!code)
        print ".PP\n.RS 4\n.EX"
    code = 1
    line(literal(substr($0, 5)))
    next
}
/^$/ { flush(); next }
/^- / { flush(); item = 1; paragraph = substr($0, 3); next }
{
    if (code)
        flush()
    sub(/^ +/, "")
    paragraph = paragraph (paragraph == "" ? "" : " ") $0
}
END { flush() }

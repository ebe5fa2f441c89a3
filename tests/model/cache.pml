/* SPDX-License-Identifier: MIT
 *
 * The protocol of the directory cache (core/cache.c): directory D, which a lower layer has, with one name x in it,
 * which a lower layer has too.  README.md says what is modelled and what each FAULT breaks.
 *
 * One step here is one load, one store, one compare-and-swap or one system call there; an atomic block has at most
 * one of these, and besides only what is private or ghost.  Ghost variables are for the assertion alone.
 */
#ifndef FAULT
#define FAULT 0
#endif
#ifndef LIMITS
#define LIMITS 1 /* what walks without a word may get wrong (docs/design.md) is let pass */
#endif
#ifndef READERS
#define READERS 2
#endif
#ifndef WRITERS
#define WRITERS 2 /* that can map the cache */
#endif
#ifndef BLIND
#define BLIND 0 /* writers that can't */
#endif
#ifndef BUILDERS
#define BUILDERS 1
#endif
#ifndef KILLS
#define KILLS 1 /* how many writers are killed, at most */
#endif

#define RECORDS 3
#define NONE RECORDS

/* States of a word. */
#define UNKNOWN 0
#define BUSY 1
#define ABSENT 2
#define KNOWN 3

/* What a look-up of D/x can say: nothing, the upper's object, the lower one.  In words, the layer. */
#define NOTHING 0
#define UPPER 1
#define LOWER 2

/* ---- the layers ---- */

bit d_upper, d_white, d_opaque; /* D in the upper, its whiteout, its opaque mark */
bit x_upper, x_white;           /* in the upper's D */

#define TRUTH ((!d_upper && d_white) -> NOTHING : (!d_upper -> LOWER : (x_upper -> UPPER : \
               ((x_white || d_opaque || d_white) -> NOTHING : LOWER))))
#define D_SHOWS (d_upper || !d_white)

/* ---- the cache ---- */

typedef word {
    byte state, version;
    byte layer; /* of x */
    byte child; /* of D */
    bit torn    /* ghost: what a walk that may be torn kept */
};

typedef directory {
    bit upper, lower; /* the layers that merge to it */
    bit names;        /* it has a table */
    bit has_x;        /* with an entry for x */
    word x
};

bit off;
word d; /* D's entry in the table of its parent, which is always in reach */
directory record[RECORDS];
byte records;

#define IN_REACH(r) (d.state == KNOWN && d.child == (r))

/* ---- the lock: the bucket of D's parent, that of D; the whole tree is both ---- */

bit lock_parent, lock_d;
byte kills;

/* ---- ghosts, which stand still (zero) while the reader does not need them ---- */

byte answers[2];              /* what was true since the reader's call began, a set */
byte d_steps[2], x_steps[2];  /* 1 and the changes since its walk began, counted up to two */
byte d_gone[2];               /* 1; 2 when D's upper part has gone since the reader looked D up */

#define COUNT(n) n = (n == 1 || n == 2 -> n + 1 : n)
#define TWO(n) (n == 3)

inline note() /* after each step of a change */
{
    d_step {
        answers[0] = (answers[0] -> answers[0] | 1 << TRUTH : 0);
        answers[1] = (answers[1] -> answers[1] | 1 << TRUTH : 0)
    }
}

inline note_d() /* with its first one */
{
    d_step { COUNT(d_steps[0]); COUNT(d_steps[1]) }
}

inline note_x()
{
    d_step { COUNT(x_steps[0]); COUNT(x_steps[1]) }
}

inline note_gone()
{
    d_step { d_gone[0] = (d_gone[0] -> 2 : 0); d_gone[1] = (d_gone[1] -> 2 : 0) }
}

/* ---- writers ---- */

#define COPY_UP_D 0
#define SET_X 1 /* copy up, make */
#define REMOVE_X 2
#define REMOVE_D 3 /* or rename it */
#define MAKE_D 4

#define OF_X (op == SET_X || op == REMOVE_X)
#define KEEPS_CHILD ((FAULT == 7 && op == COPY_UP_D) || (FAULT == 8 && (op == REMOVE_D || op == MAKE_D)))

#define MAY_DIE if :: kills < KILLS -> kills++; goto dead :: true fi

/* ovl_lock_names(), ovl_lock_tree(). */
inline lock()
{
    atomic {
        if
        :: !lock_d -> lock_d = 1; if :: op = SET_X :: op = REMOVE_X fi
        :: !lock_parent -> lock_parent = 1; if :: op = COPY_UP_D :: op = MAKE_D fi
        :: !lock_d && !lock_parent -> lock_d = 1; lock_parent = 1; op = REMOVE_D
        fi
    }
}

inline unlock()
{
    if
    :: OF_X -> lock_d = 0
    :: op == COPY_UP_D || op == MAKE_D -> lock_parent = 0
    :: op == REMOVE_D -> lock_d = 0; lock_parent = 0
    fi
}

/* BUSY with the next version. */
inline store_busy()
{
    if
    :: !marks
    :: marks && OF_X ->
        record[r].x.version = record[r].x.version + (FAULT != 2);
        record[r].x.state = BUSY; record[r].x.layer = 0; record[r].x.torn = 0
    :: marks && !OF_X ->
        d.version = d.version + (FAULT != 2);
        d.state = BUSY;
        d.child = (KEEPS_CHILD -> d.child : NONE)
    fi
}

inline store_unknown()
{
    if
    :: !marks
    :: marks && OF_X -> record[r].x.state = UNKNOWN; record[r].x.layer = 0; record[r].x.torn = 0
    :: marks && !OF_X -> d.state = UNKNOWN; d.child = (KEEPS_CHILD -> d.child : NONE)
    fi
}

/* What the name has become, or, of D in the upper, that it must be found out. */
inline store_known()
{
    if
    :: OF_X ->
        record[r].x.state = (op == SET_X -> KNOWN : ABSENT);
        record[r].x.layer = (op == SET_X -> UPPER : NOTHING);
        record[r].x.torn = 0
    :: op == REMOVE_D -> d.state = ABSENT; d.child = NONE
    fi
}

inline insert()
{
    record[r].x.state = BUSY; record[r].x.version = 0; record[r].x.layer = 0; record[r].has_x = 1
}

/* ovl_cache_begin(): which word, an entry if there is none, BUSY. */
inline begin()
{
    atomic {
        if
        :: !maps -> off = (FAULT != 13 -> 1 : off)
        :: maps && !off -> marks = 1
        :: maps && off
        fi
    }
    if
    :: marks && OF_X ->
        atomic { r = (d.state == KNOWN -> d.child : NONE); marks = (r != NONE) }
        if
        :: marks ->
            atomic {
                if
                :: !record[r].names -> marks = 0; r = NONE
#if FAULT == 10 || FAULT == 11
                :: record[r].names && !record[r].has_x -> marks = 0; late = 1
#else
                :: record[r].names && !record[r].has_x -> insert(); MAY_DIE
#endif
                :: else
                fi
            }
        :: else
        fi
    :: else
    fi;
#if FAULT != 1
    atomic { store_busy(); MAY_DIE }
#endif
}

/* A fault's step between the first one of the change and the later ones. */
#if FAULT == 1
#define BETWEEN atomic { store_busy(); MAY_DIE }
#elif FAULT == 9
#define BETWEEN atomic { store_unknown(); MAY_DIE }
#elif FAULT == 21
#define BETWEEN if :: atomic { marks && (OF_X || op == REMOVE_D) -> store_known(); MAY_DIE } :: else fi;
#else
#define BETWEEN
#endif

inline change()
{
    if
    :: op == COPY_UP_D && !d_upper && D_SHOWS ->
        atomic { d_upper = 1; note_d(); note(); MAY_DIE }
        BETWEEN
    :: op == SET_X && d_upper && !d_white && !x_upper ->
        atomic { x_upper = 1; note_x(); note(); MAY_DIE }
        BETWEEN
        atomic { x_white = 0; note(); MAY_DIE }
        done = 1
    :: op == REMOVE_X && d_upper && !d_white && TRUTH != NOTHING ->
        atomic { x_white = 1; note_x(); note(); MAY_DIE }
        BETWEEN
        atomic { x_upper = 0; note(); MAY_DIE }
        done = 1
    :: op == REMOVE_D && D_SHOWS ->
        if
        :: TRUTH == LOWER -> /* it moves: what lower layers have below is copied up first */
            atomic { note_d(); note_x(); d_upper = 1; x_upper = 1; note(); MAY_DIE }
            atomic { d_white = 1; note(); MAY_DIE }
        :: else ->
            atomic { note_d(); d_white = 1; note(); MAY_DIE }
        fi;
        BETWEEN
        if
        :: d_upper && TRUTH == NOTHING -> /* it is removed: its marks would be in the way */
            atomic { x_white = 0; d_opaque = 0; note_gone(); note(); MAY_DIE }
        :: else
        fi;
        atomic { d_upper = 0; d_opaque = 0; x_upper = 0; x_white = 0; note_gone(); note(); MAY_DIE }
        done = 1
    :: op == MAKE_D && !D_SHOWS ->
        atomic { d_upper = 1; note_d(); note(); MAY_DIE }
        BETWEEN
        atomic { d_opaque = 1; note(); MAY_DIE }
        atomic { d_white = 0; note(); MAY_DIE }
    :: else /* not to be done any more, found out under the lock */
    fi
}

inline end()
{
#if FAULT == 10
    if
    :: late -> atomic { insert(); record[r].x.version = 1; record[r].x.state = UNKNOWN }
    :: else -> atomic { store_unknown() }
    fi
#elif FAULT == 12
    atomic { unlock(); holds = 0 }
    atomic { store_unknown() }
#elif FAULT == 13
    if
    :: !maps -> off = 1
    :: else -> atomic { store_unknown() }
    fi
#elif FAULT == 9
    skip
#else
    if /* it may say what the name has become */
    :: atomic { store_unknown() }
    :: atomic { marks && (done || FAULT == 20) && (OF_X || op == REMOVE_D) -> store_known() }
    fi
#endif
}

proctype writer(bit maps)
{
    byte op, r = NONE;
    bit marks, late, done, holds = 1;

    lock();
    begin();
    change();
    end();
dead: /* or done: the lock of a dead one is taken over */
    atomic {
        if
        :: holds -> unlock()
        :: else
        fi
    }
}

/* ---- the builder ---- */

inline list()
{
    if
    :: record[r].upper && !d_upper -> found = 0; listed = 0
    :: record[r].upper && d_upper ->
        listed = 1;
        found = (x_upper -> UPPER : ((x_white || !record[r].lower) -> NOTHING : LOWER))
    :: !record[r].upper -> listed = 1; found = LOWER
    fi
}

inline publish()
{
    if
    :: listed && !record[r].names ->
        record[r].has_x = (found != NOTHING);
        if
        :: found != NOTHING ->
            record[r].x.state = KNOWN; record[r].x.version = 0; record[r].x.layer = found; record[r].x.torn = 0
        :: else
        fi;
        record[r].names = 1
    :: else
    fi
}

proctype builder()
{
    byte r, found;
    bit listed;

end_idle: /* there may never be a record */
    atomic { d.state == KNOWN && d.child != NONE; r = d.child }
    if
    :: off || record[r].names -> goto done
    :: else
    fi;
    if
    :: !record[r].upper -> atomic { list() } atomic { publish() } goto done
    :: else
    fi;
#if FAULT == 5
    atomic { list() }
#endif
    atomic { !lock_d; lock_d = 1 }
    if
    :: (FAULT == 6 || IN_REACH(r)) && (FAULT == 18 || !off)
    :: else -> lock_d = 0; goto done
    fi;
#if FAULT == 4
    atomic { listed = 1; found = (record[r].lower -> LOWER : NOTHING); publish() }
    atomic { list(); record[r].names = 0; publish() }
#elif FAULT != 5
    atomic { list() }
#endif
#if FAULT == 15
    lock_d = 0;
#endif
    atomic { publish() }
#if FAULT == 15
    goto done;
#endif
    lock_d = 0;
done:
    skip
}

/* ---- readers ---- */

/* The plain walk of D: what it found is in `shows`, `upper` and `lower`. */
inline walk_d()
{
    atomic { d_steps[me] = !cached; d_gone[me] = 1; upper = d_upper; shows = 1; lower = 1 }
    if
    :: !upper ->
        atomic { shows = !d_white }
        if
        :: shows || FAULT != 17 -> atomic { upper = d_upper; shows = shows || upper }
        :: else
        fi
    :: else
    fi;
    if
    :: shows && upper ->
        atomic { lower = !d_white }
        if
        :: lower ->
            atomic { lower = !d_opaque }
            if
            :: lower -> atomic { lower = !d_white }
            :: else
            fi
        :: else
        fi
    :: else
    fi
}

/* look() for D: it is decided when `r`, or `upper` and `lower`, or !shows say so. */
inline look_d()
{
    atomic { cached = !off; d_gone[me] = 1 }
    atomic {
        state = d.state; version = d.version;
        if
        :: state == ABSENT && cached -> shows = 0; again = 0
        :: state == KNOWN && cached && d.child != NONE ->
            r = d.child; shows = 1; upper = record[r].upper; lower = record[r].lower; again = 0
        :: else -> again = 1
        fi
    }
    do
    :: again ->
        walk_d();
#if FAULT == 3
        atomic { state = d.state; version = d.version }
#endif
        atomic {
            if
            :: !cached -> excused = TWO(d_steps[me]); d_steps[me] = 0; again = 0
            :: cached && d.version != version && FAULT != 16 -> state = d.state; version = d.version
            :: cached && (d.version == version || FAULT == 16) -> again = 0
            fi
        }
    :: else -> break
    od;
    if
    :: r == NONE && cached && (state != BUSY || FAULT == 14) && (FAULT == 19 || !off) -> /* the compare-and-swap */
        atomic {
            if
            :: d.state == state && d.version == version &&
               (d.child == NONE || FAULT == 7 || FAULT == 8) ->
                if
                :: !shows -> d.state = ABSENT
                :: shows && d.child != NONE -> d.state = KNOWN; r = d.child
                :: shows && d.child == NONE && records < RECORDS ->
                    r = records; records++;
                    record[r].upper = upper; record[r].lower = lower;
                    d.child = r; d.state = KNOWN
                :: else
                fi
            :: else
            fi
        }
    :: else
    fi
}

/* The plain walk of D/x in the layers that merge to D. */
inline walk_x()
{
    atomic { x_steps[me] = 1; result = ((upper && d_upper && x_upper) -> UPPER : NOTHING) }
    if
    :: result == NOTHING && lower && upper ->
        atomic { result = ((d_upper && x_white) -> NOTHING : LOWER) }
        if
        :: result == LOWER || FAULT != 17 -> atomic { result = ((d_upper && x_upper) -> UPPER : result) }
        :: else
        fi
    :: result == NOTHING && lower && !upper -> result = LOWER
    :: else
    fi
}

/* look() for x. */
inline look_x()
{
    atomic { again = 1; cached = (r != NONE && !off) }
    atomic {
        if
        :: cached ->
            cached = 0;
            if
            :: record[r].names && !record[r].has_x -> result = NOTHING; again = 0
            :: record[r].names && record[r].has_x ->
                cached = 1; state = record[r].x.state; version = record[r].x.version;
                if
                :: state == ABSENT -> result = NOTHING; again = 0; excused = excused || record[r].x.torn
                :: state == KNOWN -> result = record[r].x.layer; again = 0; excused = excused || record[r].x.torn
                :: else
                fi
            :: else
            fi
        :: else
        fi
    }
    if
    :: !again -> goto answered
    :: else
    fi;
    do
    :: again ->
        walk_x();
#if FAULT == 3
        if
        :: cached -> atomic { state = record[r].x.state; version = record[r].x.version }
        :: else
        fi;
#endif
        atomic {
            if
            :: cached && record[r].x.version != version && FAULT != 16 ->
                state = record[r].x.state; version = record[r].x.version
            :: else ->
                torn = (!cached || off || !IN_REACH(r)) && (TWO(x_steps[me]) || d_gone[me] == 2);
                excused = excused || torn;
                x_steps[me] = 0;
                again = 0
            fi
        }
    :: else -> break
    od;
    if
    :: cached && (state != BUSY || FAULT == 14) && (FAULT == 19 || !off) ->
        atomic {
            if
            :: record[r].x.version == version && record[r].x.state == state ->
                record[r].x.state = (result == NOTHING -> ABSENT : KNOWN);
                record[r].x.layer = result; record[r].x.torn = excused && !IN_REACH(r)
            :: else
            fi
        }
    :: else
    fi
}

proctype reader(byte me)
{
    byte r = NONE, state, version, result;
    bit shows, upper, lower, cached, again, excused, torn;

    atomic { answers[me] = 1 << TRUTH }
    look_d();
    if
    :: !shows -> result = NOTHING; goto answered
    :: else
    fi;
    look_x();
answered:
    atomic {
        assert((excused && LIMITS) || (answers[me] & 1 << result));
        answers[me] = 0; x_steps[me] = 0; d_gone[me] = 0
    }
}

init {
    atomic {
        if /* D in the lower layer alone, merged (x lower, upper, whited out), whited out, opaque */
        :: true
        :: d_upper = 1
        :: d_upper = 1; x_upper = 1
        :: d_upper = 1; x_white = 1
        :: d_white = 1
        :: d_upper = 1; d_opaque = 1
        fi;
        d.child = NONE;
        d.state = (D_SHOWS -> KNOWN : ABSENT);
        if
        :: true
        :: D_SHOWS -> /* a record and perhaps a table are there already */
            record[0].upper = d_upper; record[0].lower = !d_opaque;
            d.child = 0; records = 1;
            if
            :: true
            :: true ->
                record[0].names = 1;
                record[0].has_x = (TRUTH != NOTHING);
                record[0].x.state = (TRUTH != NOTHING -> KNOWN : UNKNOWN);
                record[0].x.layer = TRUTH
#if WRITERS == 0 /* else one of them may have left this */
            :: record[0].names = 1; record[0].has_x = 1 /* UNKNOWN */
#endif
            fi
        :: true -> d.state = UNKNOWN
        fi;
        byte n = 0;
        do :: n < WRITERS -> run writer(1); n++ :: else -> break od;
        n = 0;
        do :: n < BLIND -> run writer(0); n++ :: else -> break od;
        n = 0;
        do :: n < BUILDERS -> run builder(); n++ :: else -> break od;
        n = 0;
        do :: n < READERS -> run reader(n); n++ :: else -> n = 0; break od
    }
}

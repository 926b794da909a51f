/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qemu.pml -- `decant migrate --qmp` of docs/qemu.md, section "Never two", for the model checker spin
 *
 * Two QEMUs that know nothing of decant, a sidecar beside each, the command (which is the source's sidecar), a network and an operator do
 * whatever they may, in every order; each may die at any time. What must hold stands in A(), B(), M() and the formula at the end.
 * `make check-model` runs it, and again with each rule left out (-D NO_...): each time something must be found. RAM and
 * devices are not in here: END stands for all of the stream, SHUT for the destination's word that it has loaded it.
 */

#define FAULTS 2

mtype = { A_MIGRATING, A_STOPPED, A_COMPLETED, A_FAILED, A_RESUMED };        /* QEMU at the source */
mtype = { B_WAITING, B_LOADED, B_RUNNING, B_ENDED };                        /* QEMU at the destination */
mtype = { M_WATCHING, M_STARTING, M_DONE, M_FAILED, M_DOUBT };              /* the command; the last three are exit status 0, 1, 3 */
mtype = { END, SHUT, START, STARTED, REFUSED };

mtype a = A_MIGRATING;
mtype b = B_WAITING;
mtype m = M_WATCHING;
bool a_lives = true, m_lives = true, d_lives = true; /* QEMU, the command, the destination's sidecar */
bool cut;    /* nothing gets through between the sidecars */
bool heals;  /* what was under way arrives then */
bool broken; /* their connection has ended for the source's */
byte faults;

/* from QEMU to its sidecar, between the sidecars, from the sidecar to its QEMU; and the way back */
chan from_a = [1] of { mtype };
chan wire = [2] of { mtype };
chan to_b = [1] of { mtype };
chan from_b = [1] of { mtype };
chan back = [2] of { mtype };
chan to_a = [1] of { mtype };

bool loaded;    /* the command has passed SHUT on */
bool ended;     /* the destination's sidecar has closed its end: it hears nothing any more */
bool b_loaded;  /* the whole VM has been at the destination */

#define FAULT (faults < FAULTS) -> faults++

#define A_RUNS (a_lives && (a == A_MIGRATING || a == A_FAILED || a == A_RESUMED))
#define B_RUNS (b == B_RUNNING)
#define A_OVER (a == A_COMPLETED || a == A_FAILED || a == A_RESUMED)

#define NEVER_TWO assert(!(A_RUNS && B_RUNS))
#define A(to) a = to; NEVER_TWO; assert(a != A_COMPLETED || b_loaded)
#define B(to) b = to; NEVER_TWO
#define M(to)                                                                       \
	m = to;                                                                    \
	assert(m != M_DONE || a == A_COMPLETED || !a_lives); /* 0: given up here */ \
	assert(m != M_FAILED || a == A_FAILED || !a_lives)   /* 1: it is here, or died with its QEMU */

/* Source: fails, and runs on by itself, whenever its socket closes before SHUT; its own errors and migrate_cancel are the same. */
active proctype QemuA()
{
end:	do
	:: atomic { a_lives && a == A_MIGRATING -> A(A_STOPPED); from_a!END }
	:: atomic { a_lives && (a == A_MIGRATING || a == A_STOPPED) && (!m_lives || broken) && empty(to_a) -> A(A_FAILED) }
	:: atomic { a_lives && (a == A_MIGRATING || a == A_STOPPED) && FAULT; A(A_FAILED) }
	:: atomic { a_lives && a == A_STOPPED && to_a?[SHUT] -> to_a?SHUT; A(A_COMPLETED) }
	od
}

active proctype QemuB()
{
end:	do
	:: atomic { b == B_WAITING && to_b?[END] -> to_b?END; b_loaded = true;
#ifdef NO_S
		B(B_RUNNING);
#else
		B(B_LOADED);
#endif
		from_b!SHUT }
	:: atomic { b == B_WAITING && ended && empty(to_b) -> B(B_ENDED) }
	od
}

/* The command and its sidecar. It sees what its QEMU says of the migration. */
active proctype Command()
{
end:	do
	:: atomic { m_lives && m == M_WATCHING && from_a?[END] && !broken -> from_a?END; wire!END }
	:: atomic { m_lives && m == M_WATCHING && !broken && !cut && back?[SHUT] -> back?SHUT; loaded = true;
		if :: a == A_STOPPED && a_lives -> to_a!SHUT :: else -> skip fi }
#ifdef NO_COMPLETED
	:: atomic { m_lives && m == M_WATCHING && loaded && !broken -> wire!START; M(M_STARTING) }
#else
	:: atomic { m_lives && m == M_WATCHING && loaded && !broken && a == A_COMPLETED -> wire!START; M(M_STARTING) }
#endif
	:: atomic { m_lives && m == M_WATCHING && a == A_FAILED -> broken = true; M(M_FAILED) }
	:: atomic { m_lives && m == M_WATCHING && !a_lives && a != A_COMPLETED -> broken = true; M(M_FAILED) }
	/* it has been given up here, and could not be started there */
	:: atomic { m_lives && m == M_WATCHING && a == A_COMPLETED && broken -> M(M_DOUBT) }
	:: atomic { m_lives && m == M_STARTING && !broken && !cut && back?[STARTED] -> back?STARTED; broken = true; M(M_DONE) }
	:: atomic { m_lives && m == M_STARTING && !broken && !cut && back?[REFUSED] -> back?REFUSED; broken = true; M(M_DOUBT) }
	:: atomic { m_lives && m == M_STARTING && broken -> M(M_DOUBT) }
	/* no answer came in time, which is a fault, or comes of one */
	:: atomic { m_lives && m == M_STARTING && faults > 0 -> broken = true; M(M_DOUBT) }
	:: atomic { m_lives && m == M_STARTING && FAULT; broken = true; M(M_DOUBT) }
#ifdef NO_DOUBT
	:: atomic { m_lives && m == M_DOUBT && a == A_COMPLETED && a_lives -> A(A_RESUMED) }
#endif
	od
}

/* The destination's sidecar. That its peer is gone it notices at some time, not at once: START may lie before that. */
active proctype Sidecar()
{
end:	do
	:: atomic { d_lives && !ended && !cut && wire?[END] -> wire?END; to_b!END }
	:: atomic { d_lives && !ended && from_b?[SHUT] -> from_b?SHUT; if :: !broken && m_lives -> back!SHUT :: else -> skip fi }
	:: atomic { d_lives && !ended && !cut && wire?[START] -> wire?START;
		if
		:: b == B_LOADED -> B(B_RUNNING); if :: !broken && m_lives -> back!STARTED :: else -> skip fi
		:: b == B_LOADED || b == B_ENDED -> if :: !broken && m_lives -> back!REFUSED :: else -> skip fi
		:: b == B_RUNNING -> skip
		fi }
	:: atomic { d_lives && !ended && (broken || !m_lives) -> ended = true }
	:: atomic { d_lives && !ended && b == B_ENDED && !wire?[START] -> ended = true; broken = true }
	:: atomic { !d_lives && !ended -> ended = true; broken = true }
	od
}

active proctype Network()
{
end:	do
	:: atomic { !cut && FAULT; cut = true; if :: heals = true :: heals = false fi }
	:: atomic { cut && heals -> cut = false }
	:: atomic { !broken && FAULT; broken = true }
#ifndef NO_TIMEOUT
	:: atomic { cut && !broken -> broken = true } /* the peer timeout */
#endif
	:: atomic { m_lives && m != M_DONE && m != M_FAILED && m != M_DOUBT && FAULT; m_lives = false }
	:: atomic { d_lives && FAULT; d_lives = false }
	:: atomic { a_lives && FAULT; a_lives = false }
	:: atomic { b != B_ENDED && FAULT; B(B_ENDED) }
	od
}

#define UNSETTLED ((m == M_DOUBT || !m_lives) && (a == A_COMPLETED || !a_lives))

/* docs/qemu.md, "Settling by hand": the destination first. Once, or never. */
active proctype Operator()
{
	if
	:: atomic { UNSETTLED && b == B_LOADED -> B(B_RUNNING) }
#ifdef NO_QUIT
	:: atomic { UNSETTLED && b != B_RUNNING && a_lives && a == A_COMPLETED -> A(A_RESUMED) }
#else
	:: atomic { UNSETTLED && b == B_LOADED -> B(B_ENDED) };
		if :: atomic { a_lives && a == A_COMPLETED -> A(A_RESUMED) } :: skip fi
	:: atomic { UNSETTLED && b == B_ENDED && a_lives && a == A_COMPLETED -> A(A_RESUMED) }
#endif
	:: skip
	fi
}

#define OVER (m == M_DONE || m == M_FAILED || m == M_DOUBT)

/* Where nothing fails it arrives. */
ltl arrives { [] (faults == 0) -> <> (m == M_DONE) }

/* Whatever fails, the command comes to an end. */
ltl ends { [] m_lives -> <> OVER }

/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.pml -- the hand-over of docs/protocol.md, section 7, for the model checker spin
 *
 * Two ends, the network between them, the clocks and an operator do whatever they may, in every order. What must hold stands
 * in S(), D() and the formulas at the end. `make check-model` runs it, and runs it again with each rule of the protocol left
 * out (-D NO_...): each time something must be found. Memory and state are not in here: they are sent when the guest
 * is paused, HANDOVER stands for all of it.
 */

#define LEASE 2        /* ticks of the destination's clock */
#define FAULTS 3       /* of the network and the hosts */

#ifdef NO_MARGIN
#define WAIT LEASE
#else
#define WAIT (2 * LEASE) /* ticks of the source's clock: no clock runs twice as fast as another */
#endif

#ifdef NO_WAIT
#define WAITED true
#else
#define WAITED (wait == 0)
#endif

#ifdef NO_LEASE
#define IN_TIME true
#else
#define IN_TIME (lease > 0)
#endif

mtype = { S_PRECOPY, S_SWITCHOVER, S_GO, S_IN_DOUBT, S_COMPLETED, S_FAILED, S_CANCELLED };
mtype = { D_FILLING, D_READY, D_STARTING, D_RUNNING, D_NEVER };
mtype = { HANDOVER, READY, GO, RUNNING, ABORT };
mtype = { NOTHING, IS_UNKNOWN, IS_PENDING, IS_RUNNING, IS_NEVER };

mtype source = S_PRECOPY;
mtype destination = D_FILLING;
bool source_lives = true, destination_lives = true; /* a process that has died may be started anew, and knows nothing */

/* A message goes from the source's socket over the wire to the destination's. The way back needs no such care. */
chan socket = [3] of { mtype };
chan wire = [3] of { mtype };
chan arrived = [3] of { mtype };
chan back = [2] of { mtype };
bool cut;     /* nothing gets through; it may heal */
bool broken;  /* the connection has ended: for good, and each end will notice */
bool aborted; /* by the source */
bool asked;   /* QUERY is under way, over a connection of its own */
mtype answer = NOTHING;

byte lease, wait; /* ticks that are left */
bool slow;        /* the destination's clock has just missed a tick */
bool asleep;      /* the destination's host stands still, and its clock */
byte faults;

bool go_given;     /* the point of no return */
bool go_delivered; /* to the destination's host: what the operator vouches against */
bool ran;          /* a vCPU has entered the guest at the destination */
bool proof, force;

#define SOURCE_RUNS (source_lives && (source == S_PRECOPY || source == S_FAILED || source == S_CANCELLED))
#define DESTINATION_RUNS (destination_lives && destination == D_RUNNING)

/* Each transition of the protocol, and what must hold after it. */
#define S(from, event, to)                                                                    \
	assert(source == S_##from);                                                           \
	source = S_##to;                                                                      \
	assert(!(SOURCE_RUNS && DESTINATION_RUNS));          /* never two */                  \
	assert(source != S_COMPLETED || ran);                /* freed only when it is there */ \
	assert(!(SOURCE_RUNS && go_given) || proof || force) /* resumed for no other reason */

#define D(from, event, to)                                                                    \
	assert(destination == D_##from);                                                      \
	destination = D_##to;                                                                 \
	assert(!(SOURCE_RUNS && DESTINATION_RUNS));                                           \
	assert(!DESTINATION_RUNS || go_given)                /* nothing starts without GO */

/* RST: what lies in the source's socket is never sent. What is on the wire may still arrive, so the wait begins here. */
inline abort_socket()
{
	if
	:: !aborted ->
#ifndef NO_RST
		do
		:: nempty(socket) -> socket?_
		:: empty(socket) -> break
		od;
#endif
		aborted = true; broken = true; wait = WAIT
	:: aborted
	fi
}

active proctype Source()
{
end:	do
	/* FAIL: any failure before GO, and the switchover timer */
	:: atomic { source_lives && source == S_PRECOPY ->
		S(PRECOPY, PAUSE, SWITCHOVER); socket!HANDOVER }
	:: atomic { source_lives && source == S_PRECOPY ->
		S(PRECOPY, FAIL, FAILED); socket!ABORT }
#ifndef NO_TIMER
	:: atomic { source_lives && source == S_SWITCHOVER ->
		S(SWITCHOVER, FAIL, FAILED); socket!ABORT }
#endif
	:: atomic { source_lives && source == S_SWITCHOVER && !broken && back?[READY] -> back?READY;
		go_given = true;
		S(SWITCHOVER, READY, GO); socket!GO }
	:: atomic { source_lives && source == S_GO && back?[RUNNING] -> back?RUNNING;
		S(GO, RUNNING, COMPLETED) }

	/* no RUNNING came: whatever was said before, from here on only QUERY counts */
	:: atomic { source_lives && (source == S_GO || source == S_IN_DOUBT) && !asked && answer == NOTHING && !cut ->
		abort_socket(); asked = true }
	:: atomic { source_lives && source == S_GO && answer == IS_RUNNING -> answer = NOTHING;
		S(GO, RUNNING, COMPLETED) }
	:: atomic { source_lives && source == S_GO && answer == IS_NEVER -> answer = NOTHING; proof = true;
		S(GO, NEVER, FAILED) }
	:: atomic { source_lives && source == S_GO ->
		abort_socket();
		S(GO, SILENCE, IN_DOUBT) }
	:: atomic { source_lives && source == S_IN_DOUBT && answer == IS_RUNNING -> answer = NOTHING;
		S(IN_DOUBT, RUNNING, COMPLETED) }
	:: atomic { source_lives && source == S_IN_DOUBT && answer == IS_NEVER -> answer = NOTHING; proof = true;
		S(IN_DOUBT, NEVER, FAILED) }
	:: atomic { source_lives && answer == IS_PENDING -> answer = NOTHING }
	:: atomic { source_lives && answer == IS_UNKNOWN -> answer = NOTHING;
		if
#ifdef NO_PROOF
		:: source == S_IN_DOUBT -> S(IN_DOUBT, NEVER, FAILED)
#endif
		:: else -> skip
		fi }
	od
}

/* May do all this, or nothing. Vouches, when the wait is over, that the destination has not seen GO. */
active proctype Operator()
{
	do
	:: atomic { source_lives && source == S_PRECOPY ->
		S(PRECOPY, CANCEL, CANCELLED); socket!ABORT }
	:: atomic { source_lives && source == S_SWITCHOVER ->
		S(SWITCHOVER, CANCEL, CANCELLED); socket!ABORT }
	:: atomic { source_lives && source == S_IN_DOUBT && WAITED && !go_delivered -> force = true;
		S(IN_DOUBT, FORCE, FAILED) }
	:: break
	od
}

#define AWAKE (destination_lives && !asleep)

active proctype Destination()
{
end:	do
	:: atomic { AWAKE && destination == D_FILLING && arrived?[HANDOVER] -> arrived?HANDOVER;
		lease = LEASE;
		D(FILLING, LOADED, READY); back!READY }
	:: atomic { AWAKE && destination == D_FILLING ->
		D(FILLING, FAIL, NEVER) }
	:: atomic { AWAKE && destination == D_READY && arrived?[GO] && IN_TIME -> arrived?GO;
		D(READY, GO, STARTING) }
#ifndef NO_EXPIRE
	:: atomic { AWAKE && destination == D_READY && lease == 0 ->
		D(READY, EXPIRE, NEVER) }
#endif
	:: atomic { AWAKE && destination == D_READY && faults < FAULTS -> faults++;
		D(READY, FAIL, NEVER) }
	:: atomic { AWAKE && destination == D_READY && arrived?[ABORT] -> arrived?ABORT;
		D(READY, ABORT, NEVER) }
	:: atomic { AWAKE && destination == D_READY && broken && empty(arrived) ->
		D(READY, LOST, NEVER) }
	:: atomic { AWAKE && destination == D_STARTING ->
		ran = true;
		D(STARTING, ENTER, RUNNING); if :: !broken -> back!RUNNING :: broken -> skip fi }
	:: atomic { AWAKE && destination == D_STARTING ->
		D(STARTING, FAIL, NEVER) }

	/* it starts nothing, and is not answered */
	:: atomic { AWAKE && destination == D_NEVER && nempty(arrived) -> arrived?_ }

	/* the whole connection comes a second time, by whatever copies packets: its HELLO has the id of a tombstone */
#ifdef NO_TOMBSTONE
	:: atomic { AWAKE && destination == D_NEVER && go_given && faults < FAULTS -> faults++;
		destination = D_FILLING; lease = LEASE;
		D(FILLING, LOADED, READY); arrived!GO }
#endif
	od
}

/* The destination's door, which is always open: a thread of its own answers QUERY. */
active proctype Greeter()
{
end:	do
	:: atomic { AWAKE && asked -> asked = false;
		if
		:: destination == D_RUNNING -> answer = IS_RUNNING
		:: destination == D_NEVER -> answer = IS_NEVER
		:: else -> answer = IS_PENDING
		fi }
	/* a process that was started anew */
	:: atomic { !destination_lives && asked -> asked = false; answer = IS_UNKNOWN }
	od
}

#define FAULT (faults < FAULTS) -> faults++

active proctype Network()
{
	mtype message;

end:	do
	/* TCP sends again what was lost, so that a cut is a delay, of any length, unless an end gives up */
	:: atomic { !cut && nempty(socket) && nfull(wire) -> socket?message; wire!message }
	:: atomic { !cut && nempty(wire) && !asleep && nfull(arrived) -> wire?message; arrived!message;
		go_delivered = go_delivered || message == GO }
	:: atomic { !cut && FAULT; cut = true }
	:: atomic { cut -> cut = false }
	/* the question or its answer is lost with its connection */
	:: atomic { cut && asked -> asked = false }
	:: atomic { !broken && FAULT; broken = true;
		do :: nempty(socket) -> socket?_ :: empty(socket) -> break od;
		do :: nempty(back) -> back?_ :: empty(back) -> break od }
	:: atomic { source_lives && FAULT; source_lives = false; broken = true }
	:: atomic { destination_lives && FAULT; destination_lives = false; broken = true; lease = 0 }
	:: atomic { AWAKE && FAULT; asleep = true }
	:: atomic { asleep -> asleep = false }
	od
}

active proctype Clocks()
{
end:	do
	:: atomic { wait > 0 || lease > 0 ->
		if :: wait > 0 -> wait-- :: else fi;
		if
		/* the wire holds nothing for so long when the host at its end does not answer */
		:: asleep -> do :: nempty(wire) -> wire?_ :: empty(wire) -> break od
		:: !asleep && lease > 0 -> lease--; slow = false
		:: !asleep && lease > 0 && !slow -> slow = true
		:: !asleep && lease == 0
		fi }
	od
}

/* A pause before GO ends by itself, whatever the network does. */
ltl no_guest_is_lost { [] ((source == S_SWITCHOVER && source_lives) -> <> (source != S_SWITCHOVER || !source_lives)) }

/* With both ends alive, and a network that is whole in the end, the doubt is settled. */
ltl doubt_is_settled { ([] (source_lives && destination_lives) && <> [] (!cut && !asleep)) ->
	[] ((source == S_GO || source == S_IN_DOUBT) -> <> (source == S_COMPLETED || source == S_FAILED)) }

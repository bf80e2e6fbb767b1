/* Draining a stream, docs/formats/ring.md "Draining": a manager marks what is there, and one word decides which of it is
 * drained; the consumer, the manager and the producer may stop between any two steps for ever, and the manager has
 * successors.
 *
 * A unit is a message: a word that is its number + 1, with a mark or not. Payload is left out, but for this: where the
 * producer uses a place again the manager would mark what was written over it. Fences: a step here is visible at once;
 * that they are where this needs them, ring.md argues.
 * Checked: each message is consumed or drained, never both, none twice; the manager marks nothing but words he read.
 *   BREAK=1  no gate: must fail
 *   BREAK=2  the manager takes the message that the consumer has come to: must fail
 *   BREAK=3  a mark does not make the consumer ask: must fail
 *   BREAK=4  the manager does not look how far the consumer has taken: must fail
 *   BREAK=5  the manager's successor forgets a record that is not decided: must fail
 */
#ifndef BREAK
#define BREAK 0
#endif
#define RING 3
#ifndef MESSAGES
#define MESSAGES 4
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef DRAINS
#define DRAINS 2
#endif
#define NONE 15

#define MARK 16
#define WORD(number) ((number) + 1)
#define AT(number) ((number) % RING)
#define IS_MARKED(word) ((word) >= MARK)
#define NUMBER_OF(word) (((word) % MARK) - 1)

byte unit[RING];
byte put;                     /* the producer's slot */
byte released, taken;         /* the consumer's */
bool gate;
byte begin = 0, end = 0;      /* the record: begin .. end - 1 are drained */
bool fate[MESSAGES];          /* consumed, or drained */
byte deaths;

proctype Producer() {
  byte number;
  do
  :: number == MESSAGES -> break
  :: number < MESSAGES ->
     /* The look at the gate; what comes after it belongs to a message that is under way. */
     atomic { (number - released < RING - 1) && (BREAK == 1 || !gate) -> skip };
     unit[AT(number + 1)] = 0;
     unit[AT(number)] = WORD(number);
     atomic { number++; put = number }
  od
}

inline consume(n) {
  d_step { assert(!fate[n]); fate[n] = true; assert(!(begin <= n && n < end && begin != NONE)) }
}

/* Passes over what was drained. */
inline skip_drained() {
  d_step { assert(held == 0); position = end; released = end; taken = end }
}

proctype Consumer() {
  byte position, held, word, n;
  do
  :: position == MESSAGES && held == 0 -> break
  :: held == 0 && position < MESSAGES && unit[AT(position)] != 0 ->          /* the short way */
     word = unit[AT(position)];
#if BREAK != 3
     if
     :: IS_MARKED(word) -> goto asks
     :: else
     fi;
#endif
     atomic { assert(NUMBER_OF(word) == position) };
     consume(position);
     atomic { position++; released = position }
  :: held < 2 && position + held < MESSAGES && unit[AT(position + held)] != 0 ->   /* takes, and keeps for a while */
     word = unit[AT(position + held)];
     if
     :: IS_MARKED(word) -> goto asks
     :: else
     fi;
     held++;
     taken = position + held;
     if
     :: IS_MARKED(unit[AT(position + held - 1)]) -> held--; goto asks
     :: else
     fi
  :: held > 0 ->
     consume(position);
     atomic { position++; held--; released = position }
  :: false ->
asks:
     n = position + held;
     atomic { if :: begin == NONE -> begin = n :: else fi };
     if
     :: n >= begin && n < end ->
        if
        :: held == 0 -> skip_drained()
        :: held > 0 -> consume(position); atomic { position++; held--; released = position }
        fi
     :: else ->                                                              /* it is ours */
        if
        :: held == 0 -> consume(position); atomic { position++; released = position }
        :: held > 0 && held < 2 -> held++; taken = position + held
        :: held == 2 -> consume(position); atomic { position++; held--; released = position }
        fi
     fi;
     word = 0; n = 0
  od
}

#define MANAGER_MAY_DIE if :: skip :: deaths < DEATHS -> goto dies fi

proctype Manager(byte left) {
  byte from, last, i, word, head;
  bool resumed;

again:
  if :: left == 0 -> goto over :: else fi;
  left--;
  resumed = (begin == NONE);
#if BREAK == 5
  if :: resumed -> atomic { if :: begin == NONE -> begin = end :: else fi }; resumed = false :: else fi;
#endif
  if
  :: !resumed && begin < end && released < end -> goto again                 /* the consumer has not passed the last */
  :: else
  fi;
#if BREAK != 1
  gate = true;
#endif
  MANAGER_MAY_DIE;
  /* membarrier: what the producer begins from now on sees the gate; one message may be under way. */
  from = released;
  last = from;
  do
  :: last - from < RING && (!resumed || last < end) && last < MESSAGES &&
     unit[AT(last)] != 0 && NUMBER_OF(unit[AT(last)]) == last -> last++
  :: else -> break
  od;
  if
  :: last == from -> atomic { if :: resumed && begin == NONE -> begin = end :: else fi }; gate = false; goto again
  :: else
  fi;
  MANAGER_MAY_DIE;
  if
  :: !resumed -> atomic { end = last; begin = NONE }                          /* filled aside, then named in one */
  :: else
  fi;
  MANAGER_MAY_DIE;
  i = last;
  do
  :: i > from ->
     i--;
     atomic { assert(unit[AT(i)] % MARK == WORD(i)); unit[AT(i)] = WORD(i) + MARK };
     MANAGER_MAY_DIE
  :: else -> break
  od;
  gate = false;
  MANAGER_MAY_DIE;
  if :: skip :: begin != NONE fi;                                             /* waits, or not */
  head = released;
#if BREAK != 2
  head++;
#endif
#if BREAK != 4
  if :: taken > head -> head = taken :: else fi;
#endif
  if :: head > end -> head = end :: else fi;
  atomic { if :: begin == NONE -> begin = head :: else fi };
  /* What was drained is ours to tell. */
  d_step {
    i = begin;
    do
    :: i < end -> assert(!fate[i]); fate[i] = true; i++
    :: else -> break
    od;
    i = 0; head = 0; last = 0; from = 0
  };
  goto again;

dies:
  atomic {
    deaths++;
    gate = false;                                                             /* whoever waits at it finds him gone */
    run Manager(left + 1)
  };
over:
  skip
}

init { atomic { run Producer(); run Consumer(); run Manager(DRAINS) } }

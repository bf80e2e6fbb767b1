/* Claim queues, docs/formats/ring.md "Claims": places that are claimed by compare and swap of their words; producers
 * and consumers that may die between any two steps; and two that declare the dead end dead at the same time, set right
 * what it left, and may die of it as well.
 *
 * Steps are in order here: every word is changed with release order and read with acquire order. A message is its
 * producer and its number among that producer's. Checked: what is consumed was published, is consumed once, and no
 * consumer takes a message before an earlier one of the same producer, but for those delivered again; a place is not
 * written over while its message is in use; nothing is lost (a survivor that finds no more ends only when everything
 * was consumed, so one that overlooks a message never ends); and all counts come out right.
 *   BREAK=1  passed-over places are looked at before the next message is, not after: must fail
 *   BREAK=2  the intent is not taken back before the places change: must fail
 *   BREAK=3  a producer overwrites a place whose message is held: must fail
 *   BREAK=4  nobody goes on where one died that set things right: must fail
 *   BREAK=5  after a death nobody looks back: must fail
 *   BREAK=6  a short message is copied after it was given back, not before: must fail
 */
#ifndef BREAK
#define BREAK 0
#endif
#ifndef PLACES
#define PLACES 2
#endif
#ifndef PRODUCERS
#define PRODUCERS 2
#endif
#ifndef EACH
#define EACH 2             /* messages of a producer */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef SETTLER_DEATHS
#define SETTLER_DEATHS DEATHS
#endif
#ifndef SETTLERS
#define SETTLERS 2
#endif
#ifndef CONSUMERS
#define CONSUMERS 2
#endif
#ifndef HOW
#define HOW 3              /* 1: messages are held and given back, 2: copied and taken in one, 3: as it comes */
#endif
#define ENDS (PRODUCERS + CONSUMERS)
#define MESSAGES (PRODUCERS * EACH)
#define NOBODY 255

#define FREE 0
#define WRITING 1
#define READY 2
#define HELD 3
#define AGAIN 4

/* A word: lap, state, owner (producers first, then consumers). */
#define WORD(lap, state, owner) ((lap) * 64 + (state) * 8 + (owner))
#define LAP(word) ((word) / 64)
#define STATE(word) (((word) / 8) % 8)
#define OWNER(word) ((word) % 8)
#define AT(ticket) ((ticket) % PLACES)
#define LAP_OF(ticket) ((ticket) / PLACES)
#define CURRENT(word, ticket) (LAP(word) == LAP_OF(ticket))
#define MESSAGE(word) (STATE(word) == READY || STATE(word) == AGAIN)

short word[PLACES];
byte message[PLACES];                    /* the payload: producer * EACH + number */
byte count[ENDS], intent_at[ENDS], intent_count[ENDS];   /* slots; an intent is one store there */
byte epoch;

byte deaths, settler_deaths, settling, running = PRODUCERS;   /* from here on for the checks only */
byte published, consumed;
byte published_by[PRODUCERS], released[ENDS];
bool consumed_it[MESSAGES];

#define MAY_DIE if :: skip :: deaths < DEATHS -> goto dies fi
#define CONSUMER_MAY_DIE if :: skip :: CONSUMERS > 1 && deaths < DEATHS -> goto dies fi   /* somebody has to read */

proctype Producer(byte me) {
  byte ticket, number;
  short seen;
  do
  :: number == EACH -> break
  :: number < EACH ->
     if
     :: atomic {
          LAP(word[AT(ticket)]) > LAP_OF(ticket) ||
          (CURRENT(word[AT(ticket)], ticket) && STATE(word[AT(ticket)]) != FREE) -> ticket++
        }
#if BREAK == 3
     :: atomic {
          (LAP(word[AT(ticket)]) < LAP_OF(ticket) && STATE(word[AT(ticket)]) == HELD) ||
          (CURRENT(word[AT(ticket)], ticket) && STATE(word[AT(ticket)]) == FREE) -> seen = word[AT(ticket)]
        };
#else
     :: atomic { CURRENT(word[AT(ticket)], ticket) && STATE(word[AT(ticket)]) == FREE -> seen = word[AT(ticket)] };
#endif
#if PRODUCERS > 1
        if
        :: atomic { word[AT(ticket)] == seen -> word[AT(ticket)] = WORD(LAP_OF(ticket), WRITING, me) }
        :: atomic { word[AT(ticket)] != seen -> goto next }
        fi;
        MAY_DIE;
#endif
        d_step {                         /* nobody looks at these but for those that set things right */
          message[AT(ticket)] = me * EACH + number;
          intent_at[me] = AT(ticket); intent_count[me] = count[me] + 1
        };
        MAY_DIE;
        d_step { word[AT(ticket)] = WORD(LAP_OF(ticket), READY, me); published++; published_by[me]++ };
        MAY_DIE;
        d_step { count[me]++; number++; ticket++; seen = 0 }
     :: deaths < DEATHS && LAP(word[AT(ticket)]) < LAP_OF(ticket) -> goto dies      /* while it waits for room */
     fi;
next: atomic { seen = 0 }
  od;
  running--;
  goto over;
dies:
  atomic {
    deaths++; running--;
    settling = settling + SETTLERS;
    run Settler(me);
    if :: SETTLERS > 1 -> run Settler(me) :: else fi
  };
over:
  skip
}

proctype Consumer(byte me) {
  byte ticket, found, value, known, hole = NOBODY;
  short seen, at_hole;
  bool again;
  byte last[PRODUCERS];

search:
  do
  :: atomic {
       known != epoch ->
       known = epoch;
#if BREAK != 5
       hole = NOBODY;
       if :: ticket > PLACES -> ticket = ticket - PLACES :: else -> ticket = 0 fi
#endif
     }
  :: atomic {
       known == epoch ->
#if BREAK == 1
       if :: hole != NOBODY -> at_hole = word[AT(hole)] :: else fi
     };
     atomic {
#endif
       seen = word[AT(ticket)];
       if
       :: LAP(seen) > LAP_OF(ticket) || (CURRENT(seen, ticket) && STATE(seen) == HELD) -> ticket++
       :: CURRENT(seen, ticket) && STATE(seen) == WRITING && hole == NOBODY -> hole = ticket; ticket++
       :: CURRENT(seen, ticket) && MESSAGE(seen) -> found = ticket; break
       :: else -> found = NOBODY; break
       fi
     }
  od;
  atomic {
    if
    :: hole != NOBODY ->
#if BREAK != 1
       at_hole = word[AT(hole)];
#endif
       if
       :: CURRENT(at_hole, hole) && MESSAGE(at_hole) -> found = hole; seen = at_hole
       :: CURRENT(at_hole, hole) && STATE(at_hole) == WRITING -> skip
       :: else -> hole = NOBODY; goto search
       fi
    :: hole == NOBODY
    fi
  };
  if
  :: found == NOBODY ->                  /* waits for a change, or that is all */
     if
     :: word[AT(ticket)] != seen || known != epoch || (hole != NOBODY && word[AT(hole)] != at_hole) -> goto search
     :: running == 0 && settling == 0 && consumed == published -> goto over
     fi
  :: found != NOBODY
  fi;
  again = STATE(seen) == AGAIN;
  if
  :: (HOW & 1) ->                        /* held, read in place, and given back */
     if
     :: atomic {
          word[AT(found)] == seen -> word[AT(found)] = WORD(LAP(seen), HELD, me);
          value = message[AT(found)]
        }
     :: atomic { word[AT(found)] != seen -> goto search }
     fi;
     CONSUMER_MAY_DIE;
     d_step { assert(message[AT(found)] == value); intent_at[me] = AT(found); intent_count[me] = count[me] + 1 };
     CONSUMER_MAY_DIE;
     d_step {
       assert(word[AT(found)] == WORD(LAP(seen), HELD, me));
       word[AT(found)] = WORD(LAP(seen) + 1, FREE, me);
       consumed++; released[me]++; assert(!consumed_it[value]); consumed_it[value] = true
     };
     CONSUMER_MAY_DIE;
     count[me]++
  :: (HOW & 2) ->                        /* copied, then taken and given back in one */
#if BREAK != 6
     value = message[AT(found)];
#endif
     if
     :: atomic {
          word[AT(found)] == seen ->
#if BREAK != 6
          assert(message[AT(found)] == value);
#endif
          word[AT(found)] = WORD(LAP(seen) + 1, FREE, me);
          consumed++; released[me]++; assert(!consumed_it[message[AT(found)]]); consumed_it[message[AT(found)]] = true
        }
     :: atomic { word[AT(found)] != seen -> goto search }
     fi;
#if BREAK == 6
     value = message[AT(found)];
#endif
     atomic {                            /* dies uncounted: the places tell what has left */
       if :: count[me]++ :: CONSUMERS > 1 && deaths < DEATHS -> released[me]--; goto dies fi
     }
  fi;
  d_step {
    assert(again || value % EACH >= last[value / EACH]);
    if :: value % EACH >= last[value / EACH] -> last[value / EACH] = value % EACH + 1 :: else fi;
    assert(consumed <= published);
    if :: found == ticket -> ticket++ :: else fi;
    value = 0; found = 0; seen = 0; at_hole = 0; again = false
  };
  goto search;

dies:
  atomic {
    deaths++;
    settling = settling + SETTLERS;
    run Settler(me);
    if :: SETTLERS > 1 -> run Settler(me) :: else fi
  };
over:
  skip
}

#define SETTLER_MAY_DIE if :: skip :: settler_deaths < SETTLER_DEATHS -> goto dies fi

/* One that sets right what a dead end left. */
proctype Settler(byte end) {
  byte i, at, number;
  short seen;
  byte mine = (end < PRODUCERS -> WRITING : HELD);

#if PRODUCERS == 1
  if
  :: end == 0 ->                         /* the only producer: its count is its next ticket */
     do
     :: LAP(word[AT(count[0])]) > LAP_OF(count[0]) ||
        (CURRENT(word[AT(count[0])], count[0]) && STATE(word[AT(count[0])]) != FREE) -> d_step { count[0] = published_by[0] }
     :: else -> break
     od;
     goto done
  :: else
  fi;
#endif
  atomic { at = intent_at[end]; number = intent_count[end] };
  if
  :: number == count[end] + 1 ->
     seen = word[at];
     if
     :: (STATE(seen) != mine || OWNER(seen) != end) && intent_count[end] == number ->
        atomic { if :: count[end] + 1 == number -> count[end] = number :: else fi }
     :: else
     fi
  :: else
  fi;
  SETTLER_MAY_DIE;
#if BREAK != 2
  intent_count[end] = 0;
  SETTLER_MAY_DIE;
#endif
  do
  :: i == PLACES -> break
  :: atomic {
       i < PLACES ->
       seen = word[i];
       if
       :: STATE(seen) == mine && OWNER(seen) == end ->
          word[i] = (end < PRODUCERS -> WORD(LAP(seen) + 1, FREE, end) : WORD(LAP(seen), AGAIN, end));
          if :: skip :: settler_deaths < SETTLER_DEATHS -> goto dies fi
       :: else
       fi;
       i++; seen = 0
     }
  od;
done:
  atomic {
    epoch++; settling--;
    assert(count[end] == (end < PRODUCERS -> published_by[end] : released[end]))
  };
  goto over;
dies:
  atomic {
    settler_deaths++;
#if BREAK != 4
    run Settler(end)
#endif
  };
over:
  skip
}

init {
  atomic {
    run Producer(0);
#if PRODUCERS > 1
    run Producer(1);
#endif
    run Consumer(PRODUCERS);
    if :: CONSUMERS > 1 -> run Consumer(PRODUCERS + 1) :: else fi
  }
}

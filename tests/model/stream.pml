/* A stream's ring, docs/formats/ring.md "Streams": words, the empty word ahead, growing messages, and processes that
 * may die between any two steps and be succeeded by others in their slots.
 *
 * A unit is 8 bytes. A message is a word and one or two units of payload that repeat its number; those of two may be
 * put growing. Stores are in order here, as every word and progress is stored with release and loaded with acquire
 * order. Checked: what is consumed is whole, comes in order, and nothing that was published is lost or doubled.
 *   BREAK=1  the word is stored before the payload: must fail
 *   BREAK=2  no empty word is stored ahead: must fail
 *   BREAK=3  the successor leaves the growing word as it is and goes on behind it: must fail
 *   BREAK=4  the successor believes the slot's count: must fail
 */
#ifndef BREAK
#define BREAK 0
#endif
#define RING 8
#define LIMIT 6            /* two units are kept: the empty word, and one for voiding */
#ifndef MESSAGES
#define MESSAGES 5
#endif
#ifndef DEATHS
#define DEATHS 2
#endif
#define NUMBERS 4          /* the word's number wraps, as 16 bits do */

/* A unit holds a word: size * 64 + flags * 16 + number, or a payload. */
#define GROWING 1
#define VOID 2
#define WORD(size, flags, number) ((size) * 64 + (flags) * 16 + ((number) % NUMBERS))
#define SIZE(word) ((word) / 64)
#define FLAGS(word) (((word) / 16) % 4)
#define NUMBER(word) ((word) % 16)
#define PAYLOAD(number) (128 + (number))

byte unit[RING];
byte slot_position, slot_count, progress;     /* the producer's slot */
byte freed_position, freed_count;             /* the consumer's slot */
byte published;                               /* how many words were completed: for the checks only */
byte consumed;
byte deaths;

/* One life of a process in the producer's slot. */
proctype Producer() {
  byte position = slot_position;
  byte count = slot_count;
  byte word, size;
  bool grow;

  /* Taking over: the slot's count is stored before its position, so it may be ahead of it: the word there has the
   * right number. The words behind the position tell how far the predecessor came. */
#if BREAK != 4
  if
  :: unit[position % RING] != 0 -> count = count - (count + NUMBERS - NUMBER(unit[position % RING])) % NUMBERS
  :: else
  fi;
#endif
  do
  :: unit[position % RING] == 0 -> break
  :: else ->
     word = unit[position % RING];
     if
     :: FLAGS(word) == GROWING ->
#if BREAK != 3
        unit[position % RING] = WORD(SIZE(word), VOID, NUMBER(word))
#else
        skip
#endif
     :: FLAGS(word) == VOID
     :: FLAGS(word) == 0 -> count++
     fi;
     position = position + 1 + SIZE(word)
  od;
  word = 0;

  do
  :: count == MESSAGES -> break
  :: count < MESSAGES ->
     if :: size = 1; grow = false :: size = 2; grow = false :: size = 2; grow = true fi;
     if                                             /* room, or death while waiting for it */
     :: position + 1 + size - freed_position <= LIMIT
     :: deaths < DEATHS -> goto dies
     fi;
     if
     :: grow ->
        unit[(position + 1 + size) % RING] = 0;
        progress = position + 1;
        unit[position % RING] = WORD(size, GROWING, count);
        if :: skip :: deaths < DEATHS -> goto dies fi;
        unit[(position + 1) % RING] = PAYLOAD(count);
        progress = position + 2;
        if :: skip :: deaths < DEATHS -> goto dies fi;
        unit[(position + 2) % RING] = PAYLOAD(count)
     :: else ->
#if BREAK == 1
        unit[position % RING] = WORD(size, 0, count);
#endif
        unit[(position + 1) % RING] = PAYLOAD(count);
        if :: size == 2 -> unit[(position + 2) % RING] = PAYLOAD(count) :: else fi
     fi;
     if :: skip :: deaths < DEATHS -> goto dies fi;
#if BREAK != 2
     unit[(position + 1 + size) % RING] = 0;
#endif
     atomic { unit[position % RING] = WORD(size, 0, count); published++ };
     if :: skip :: deaths < DEATHS -> goto dies fi;
     position = position + 1 + size;
     count++;
     slot_count = count;
     if :: skip :: deaths < DEATHS -> goto dies fi;
     slot_position = position;
     size = 0; grow = false
  od;
  goto over;

dies:
  atomic { deaths++; run Producer() }
over:
  skip
}

proctype Consumer() {
  byte position = freed_position;
  byte count = freed_count;
  byte word, have, at;
  bool whole;

  if                                                /* as the producer's successor does */
  :: unit[position % RING] != 0 -> count = count - (count + NUMBERS - NUMBER(unit[position % RING])) % NUMBERS
  :: else
  fi;
  do
  :: consumed == MESSAGES -> break
  :: unit[position % RING] != 0 ->
     word = unit[position % RING];
     assert(SIZE(word) >= 1 && SIZE(word) <= 2);
     assert(FLAGS(word) == VOID || NUMBER(word) == count % NUMBERS);
     have = 0;
     /* Copies what there is of it, as get_grown does; a whole message is the case without waiting. */
     do
     :: FLAGS(unit[position % RING]) == VOID -> break
     :: FLAGS(unit[position % RING]) == GROWING ->
        at = progress;
        if
        :: at >= position + 1 && at - position - 1 > have && at - position - 1 < SIZE(word) ->
           assert(unit[(position + 1 + have) % RING] == PAYLOAD(count) || FLAGS(unit[position % RING]) == VOID);
           have = at - position - 1
        :: else -> (FLAGS(unit[position % RING]) != GROWING || progress != at)   /* waits */
        fi
     :: FLAGS(unit[position % RING]) == 0 ->
        do
        :: have < SIZE(word) -> assert(unit[(position + 1 + have) % RING] == PAYLOAD(count)); have++
        :: else -> break
        od;
        break
     od;
     if
     :: FLAGS(unit[position % RING]) == VOID -> skip
     :: else -> count++; whole = true
     fi;
     if :: skip :: deaths < DEATHS -> goto dies fi;
     freed_count = count;
     if :: skip :: deaths < DEATHS -> goto dies fi;
     position = position + 1 + SIZE(word);
     atomic {                                       /* from here on the message is consumed */
       freed_position = position;
       if :: whole -> consumed++ :: else fi;
       assert(consumed <= published)
     };
     word = 0; have = 0; at = 0; whole = false
  od;
  goto over;

dies:
  atomic { deaths++; run Consumer() }
over:
  skip
}

init { atomic { run Producer(); run Consumer() } }

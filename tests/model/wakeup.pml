/* The wake-up protocol of docs/formats/ring.md, "Events", on a machine with store buffers (x86, and stronger than any
 * fence argument needs): a store waits in its core's buffer until the machine lets it out, or a fence does.
 *
 * A wake-up that is lost shows as an invalid end state: the consumer sleeps and nobody is left to wake it.
 *   FENCE=0  the code: a compiler's fence at the producer, membarrier at the consumer
 *   FENCE=1  the fall-back: full fences on both sides
 *   FENCE=2  no membarrier, no fence at the producer: must fail
 *   FENCE=3  a fence at the producer, none at the consumer: must fail
 *   FENCE=4  as 1, but the consumer reads `step` after it set `sleepers`: must fail, as a late clearing that was
 *            meant for an earlier sleep hits the flag, and the step that follows it is not seen as one
 */
#ifndef FENCE
#define FENCE 0
#endif
#define MESSAGES 3

mtype = { WORD, SLEEPERS };
byte words;        /* messages visible in the ring */
byte sleepers;     /* as in Event */
byte step;
bool asleep;       /* the consumer is in the kernel */
chan producer_buffer = [3] of { mtype, byte };
chan consumer_buffer = [2] of { mtype, byte };

inline apply(kind, value) {
  if
  :: kind == WORD -> words = value
  :: kind == SLEEPERS -> sleepers = value
  fi
}

/* One buffered store becomes visible, whenever the machine likes. */
active proctype Machine() {
  mtype kind; byte value;
end:
  do
  :: atomic { producer_buffer?kind(value) -> apply(kind, value); kind = 0; value = 0 }
  :: atomic { consumer_buffer?kind(value) -> apply(kind, value); kind = 0; value = 0 }
  od
}

/* A full fence on one core; membarrier does it on both. */
inline drain(buffer) {
  d_step {
    do
    :: nempty(buffer) -> buffer?drained(drained_value); apply(drained, drained_value)
    :: empty(buffer) -> break
    od;
    drained = 0; drained_value = 0
  }
}

active proctype Producer() {
  byte sent; bool seen; mtype drained; byte drained_value;
  do
  :: sent < MESSAGES ->
     sent++;
     producer_buffer!WORD(sent);
#if FENCE == 1 || FENCE == 3 || FENCE == 4
     drain(producer_buffer);
#endif
     seen = (sleepers != 0);
     if
     :: seen ->
        producer_buffer!SLEEPERS(0);
        atomic { drain(producer_buffer); step++ };   /* an atomic addition is a full fence */
        asleep = false                               /* FUTEX_WAKE */
     :: else
     fi;
     seen = false
  :: sent == MESSAGES -> break
  od
}

active proctype Consumer() {
  byte got; byte at; mtype drained; byte drained_value;
  do
  :: got == MESSAGES -> break
  :: got < MESSAGES && words > got -> got++
  :: got < MESSAGES && words <= got ->
#if FENCE != 4
     at = step;
     consumer_buffer!SLEEPERS(1);
#else
     consumer_buffer!SLEEPERS(1);
     at = step;
#endif
#if FENCE != 3
     drain(consumer_buffer);
#endif
#if FENCE == 0
     drain(producer_buffer);                         /* membarrier */
#endif
     if
     :: words > got                                  /* the last look */
     :: else ->
        atomic { if :: step == at -> asleep = true :: else fi };
        !asleep
     fi;
     at = 0
  od
}

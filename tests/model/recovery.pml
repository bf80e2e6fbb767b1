/* Recovery from a lost majority, docs/formats/replica.md and ADR 155, 156: three members that crash and come back between
 * any two steps, deaths that are told late and to some, promises, decisions, and members that hear of them late.
 *
 * What is written down survives a crash: life, noted, dead, promised, group. A group is an epoch with its decision; group 0
 * is the first. A group can act where a majority of its configuration runs. Links are steps of their own, so any of them
 * may be cut for any time. Facts are true: a life is told dead only after its process has ended.
 * Checked: never can two groups act at once.
 *   BREAK=1  a life acts before the others have noted it: must fail
 *   BREAK=2  a promise is forgotten in a crash: fails only after a long search, if it does
 *   BREAK=3  the coordinator decides without one that is silent: as BREAK=2
 *   BREAK=4  one that has come back applies the deaths it is told, and follows nobody: must fail (a minute)
 */
#ifndef BREAK
#define BREAK 0
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 1
#endif
#define N 3
#define G 3                 /* groups: the first, and one for each attempt */
#define AT(a, b) ((a) * N + (b))
#define BIT(a) (1 << (a))

bool up[N], acting[N];
byte life[N];               /* of the member */
byte noted[9];              /* noted[AT(i,k)]: newest life of k that i has written down */
byte dead[9];               /* newest life of k that i knows to be over */
byte acked[N];              /* who has told i that it has noted i's life (mask) */
byte seen[9];               /* seen[AT(i,k)]: group of k as i last heard, plus 1 */
byte promised[N];           /* attempt, 0: none */
byte group[N];
byte over[N];               /* the truth: lives of it that have ended */
byte cfg[G], number[G];     /* configuration (mask) and epoch of a group */
byte attempt[N], asked[N], got[N];
byte crashes, attempts;

#define ALIVE(i, k) (noted[AT(i, k)] > dead[AT(i, k)])
inline living(i, mask) {
  mask = (ALIVE(i, 0) -> 1 : 0) + (ALIVE(i, 1) -> 2 : 0) + (ALIVE(i, 2) -> 4 : 0)
}
#define COUNT(m) (((m) & 1) + (((m) >> 1) & 1) + (((m) >> 2) & 1))
#define LOWEST(m) (((m) & 1) -> 0 : (((m) & 2) -> 1 : 2))
#define RUNS(k, g) (up[k] && acting[k] && promised[k] == 0 && group[k] == (g) -> BIT(k) : 0)
#define RUNNING(g) (RUNS(0, g) + RUNS(1, g) + RUNS(2, g))
#define ACTS(g) (cfg[g] != 0 && 2 * COUNT(cfg[g] & RUNNING(g)) > COUNT(cfg[g]))
#define LOST(i, m) (2 * COUNT(cfg[group[i]] & (m)) <= COUNT(cfg[group[i]]))
/* its last life was counted dead by somebody that acted */
#define EXCLUDED(i, k) (noted[AT(i, k)] > 1 && dead[AT(i, k)] + 1 >= noted[AT(i, k)])

byte i, j, k, m;

inline stop_one(x) {
  up[x] = false; acting[x] = false; acked[x] = 0; attempt[x] = 0; asked[x] = 0; got[x] = 0;
  seen[AT(x, 0)] = 0; seen[AT(x, 1)] = 0; seen[AT(x, 2)] = 0;
  over[x] = life[x];
  if :: BREAK == 2 -> promised[x] = 0 :: else fi
}

/* j hears i's state */
inline hear() {
  for (k : 0 .. N - 1) {
    if :: noted[AT(i, k)] > noted[AT(j, k)] -> noted[AT(j, k)] = noted[AT(i, k)] :: else fi;
    if :: dead[AT(i, k)] > dead[AT(j, k)] -> dead[AT(j, k)] = dead[AT(i, k)] :: else fi
  }
  seen[AT(j, i)] = group[i] + 1;
  if :: noted[AT(i, j)] == life[j] -> acked[j] = acked[j] | BIT(i) :: else fi;
  if
  :: dead[AT(j, j)] >= life[j] -> stop_one(j)       /* the others have counted this life dead: it ends */
  :: else ->
    if
    :: group[i] != group[j] && (acting[j] || (promised[j] != 0 && promised[j] == group[i])) ->
      if
      :: promised[j] == group[i] && number[group[i]] > number[group[j]] && (acting[i] || !EXCLUDED(j, i)) ->
        group[j] = group[i]; promised[j] = 0; attempt[j] = 0
      :: else
      fi
    :: group[i] != group[j] && !acting[j] && promised[j] != group[i] && BREAK != 4 ->
      if
      :: acting[i] || (!EXCLUDED(j, i) && (number[group[i]] > number[group[j]] || EXCLUDED(j, j))) ->
        group[j] = group[i]; promised[j] = 0
      :: else
      fi
    :: else
    fi
  fi
}

active proctype world() {
  atomic {
    cfg[0] = 7;
    for (i : 0 .. N - 1) {
      up[i] = true; acting[i] = true; life[i] = 1;
      for (j : 0 .. N - 1) { noted[AT(i, j)] = 1; seen[AT(i, j)] = 1 }
    }
  }
  do
  :: atomic {
    select(i : 0 .. 2); select(j : 0 .. 2);
    if
    :: i == j && up[i] && crashes < CRASHES -> crashes++; stop_one(i)
    :: i == j && !up[i] -> up[i] = true; life[i]++; noted[AT(i, i)] = life[i]
    :: i != j && up[i] && up[j] -> hear()
    :: i == j && up[i] && !acting[i] ->             /* may it act? */
      living(i, m);
      if
      :: (m & BIT(i)) && ((m & ~BIT(i) & ~acked[i] & 7) == 0 || BREAK == 1) &&
         (!(m & 1) || i == 0 || seen[AT(i, 0)] == group[i] + 1 || BREAK == 1) && (!(m & 2) || i == 1 || seen[AT(i, 1)] == group[i] + 1 || BREAK == 1) &&
         (!(m & 4) || i == 2 || seen[AT(i, 2)] == group[i] + 1 || BREAK == 1) -> acting[i] = true
      :: else
      fi
    :: i != j && up[i] && (acting[i] || BREAK == 4) && over[j] > dead[AT(i, j)] -> dead[AT(i, j)] = over[j]   /* a fact is told */
    /* an active majority takes the dead out and those who have come back in */
    :: i != j && up[i] && acting[i] && ACTS(group[i]) && !ALIVE(i, j) && (cfg[group[i]] & BIT(j)) && promised[i] == 0 ->
      cfg[group[i]] = cfg[group[i]] & ~BIT(j)
    :: i != j && up[i] && acting[i] && ACTS(group[i]) && up[j] && acting[j] && group[j] == group[i] && promised[i] == 0 && promised[j] == 0 &&
       !(cfg[group[i]] & BIT(j)) -> cfg[group[i]] = cfg[group[i]] | BIT(j)
    /* the coordinator begins, or begins again */
    :: i == j && up[i] && acting[i] && attempts < ATTEMPTS ->
      living(i, m);
      if
      :: LOWEST(m) == i && LOST(i, m) && attempt[i] == 0 -> attempts++; attempt[i] = attempts; asked[i] = m; got[i] = 0
      :: else
      fi
    :: i == j && attempt[i] != 0 ->
      living(i, m);
      if :: asked[i] != m || LOWEST(m) != i -> if :: promised[i] == attempt[i] -> promised[i] = 0 :: else fi; attempt[i] = 0 :: else fi
    /* i asks, j freezes and promises */
    :: i != j && up[i] && up[j] && attempt[i] != 0 && group[i] == group[j] ->
      living(j, m);
      if
      :: LOWEST(m) == i && m == asked[i] && LOST(j, m) -> promised[j] = attempt[i]; attempt[j] = 0; got[i] = got[i] | BIT(j)
      :: else
      fi
    /* thaw: nobody leads that attempt any more */
    :: i != j && up[i] && acting[i] && up[j] && promised[j] != 0 && attempt[i] != promised[j] && group[i] == group[j] && group[i] != promised[j] ->
      living(j, m);
      if :: LOWEST(m) == i -> promised[j] = 0 :: else fi
    :: i == j && up[i] && acting[i] && promised[i] != 0 && attempt[i] != promised[i] ->
      living(i, m);
      if
      :: LOWEST(m) == i && (!(m & 1) || i == 0 || seen[AT(i, 0)] == group[i] + 1) && (!(m & 2) || i == 1 || seen[AT(i, 1)] == group[i] + 1) &&
         (!(m & 4) || i == 2 || seen[AT(i, 2)] == group[i] + 1) -> promised[i] = 0
      :: else
      fi
    /* the last promise is the coordinator's own; then it decides */
    :: i == j && up[i] && acting[i] && attempt[i] != 0 ->
      living(i, m);
      if
      :: m == asked[i] && ((m & ~BIT(i) & ~got[i] & 7) == 0 || BREAK == 3) -> 
        if
        :: promised[i] != attempt[i] -> promised[i] = attempt[i]
        :: else ->
          cfg[attempt[i]] = (BREAK == 3 -> (got[i] | BIT(i)) : m);
          number[attempt[i]] = number[group[i]] + 1;
          group[i] = attempt[i]; promised[i] = 0; attempt[i] = 0
        fi
      :: else
      fi
    :: else
    fi;
    assert(!(ACTS(0) && ACTS(1)) && !(ACTS(0) && ACTS(2)) && !(ACTS(1) && ACTS(2)));
    i = 0; j = 0; k = 0; m = 0
  }
  od
}

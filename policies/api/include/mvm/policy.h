/* SPDX-License-Identifier: Apache-2.0
 *
 * What a policy component is: a shared object with one descriptor, `mvm_policy`, that answers questions. It
 * runs in a child process of the broker's; in goes a flat snapshot in memory that cannot be written, out
 * comes a plan. It needs nothing but this file. docs/formats/policy-component.md.
 *
 * All numbers are in the machine's own byte order (snapshot and component are on one machine). Offsets count
 * bytes from the snapshot's first byte; arrays are aligned to 8 bytes. A component must not rely on anything
 * behind the sizes that the snapshot states: newer brokers append fields and arrays.
 */
#ifndef MVM_POLICY_H
#define MVM_POLICY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MVM_POLICY_API 1u

/** Kinds of component. */
#define MVM_POLICY_PLACEMENT "placement"
#define MVM_POLICY_ORDER "order"
#define MVM_POLICY_LINKS "links"

/** The compiler's ABI that the component was built with: the broker loads only its own. */
#if defined(__GXX_ABI_VERSION)
#define MVM_POLICY_STRING_(x) #x
#define MVM_POLICY_STRING(x) MVM_POLICY_STRING_(x)
#define MVM_POLICY_ABI "itanium-" MVM_POLICY_STRING(__GXX_ABI_VERSION)
#else
#define MVM_POLICY_ABI "c"
#endif

/** The component. Strings and functions live as long as the shared object. Calls come from one thread. */
typedef struct mvm_policy_descriptor {
  uint32_t size;                        /**< sizeof(mvm_policy_descriptor) */
  uint32_t api;                         /**< MVM_POLICY_API */
  const char* abi;                      /**< MVM_POLICY_ABI */
  const char* kind;                     /**< MVM_POLICY_PLACEMENT, ... */
  const char* name;                     /**< "placement-pack" */
  const char* version;                  /**< "1.0.0" */
  int (*init)(void);                    /**< once, after loading; 0: ready; may be null */
  void (*fini)(void);                   /**< once, before unloading; may be null */
  void* (*create)(const char* options); /**< options as `name=value` lines; null: refused */
  void (*destroy)(void* self);
  /** Answers one question: writes at most `room` bytes of plan, returns how many, or a negative number where
   * it has no answer. Must return before the broker's deadline, or its process is killed. */
  int64_t (*decide)(void* self, const void* snapshot, uint64_t size, void* plan, uint64_t room);
} mvm_policy_descriptor;

/** Each component defines this symbol. */
#ifdef __cplusplus
extern const mvm_policy_descriptor mvm_policy;
#endif

/* ---- placement: on which host each node goes --------------------------------------------------------------
 */

#define MVM_PLACEMENT_SNAPSHOT 0x53504c4du /* "MLPS" */
#define MVM_PLACEMENT_PLAN 0x50504c4du     /* "MLPP" */

typedef struct mvm_placement_host {
  uint64_t milli_vcpus;     /**< free thousandths of a vcpu */
  uint64_t memory;          /**< free bytes */
  uint64_t milli_vcpus_all; /**< of the empty host */
  uint64_t memory_all;
} mvm_placement_host;

/** A set of equal nodes. */
typedef struct mvm_placement_set {
  uint64_t milli_vcpus; /**< what each node takes */
  uint64_t memory;
  uint32_t count;           /**< nodes */
  uint32_t first_candidate; /**< its hosts: candidates[first_candidate .. +candidates), ascending */
  uint32_t candidates;
  uint32_t reserved;
} mvm_placement_set;

typedef struct mvm_placement_snapshot {
  uint32_t magic;
  uint32_t hosts;
  uint32_t sets;
  uint32_t candidates;
  uint64_t nodes;         /**< of all sets together */
  uint64_t hosts_at;      /**< offset of mvm_placement_host[hosts] */
  uint64_t sets_at;       /**< offset of mvm_placement_set[sets] */
  uint64_t candidates_at; /**< offset of uint32_t[candidates], numbers of hosts */
} mvm_placement_snapshot;

/** How processes are laid over the nodes of a set. */
#define MVM_LAYOUT_BLOCK 0u
#define MVM_LAYOUT_CYCLIC 1u

/** Followed by uint32_t[nodes]: the host of each node, set after set. */
typedef struct mvm_placement_plan {
  uint32_t magic;
  uint32_t layout;
  uint32_t fits; /**< 0: the nodes do not fit now; nothing follows */
  uint32_t nodes;
} mvm_placement_plan;

/* ---- order: which waiting job is looked at first ----------------------------------------------------------
 */

#define MVM_ORDER_SNAPSHOT 0x53524f4du /* "MORS" */
#define MVM_ORDER_PLAN 0x50524f4du     /* "MORP" */

typedef struct mvm_order_job {
  uint64_t number;      /**< counts submissions */
  int64_t submitted_ms; /**< milliseconds since 1970 */
  uint64_t milli_vcpus; /**< what it asks for in all */
  uint64_t memory;
  uint32_t nodes;
  uint32_t attempt; /**< above 1: it was interrupted by a fault */
  uint32_t user;    /**< number of its user in `users` */
  uint32_t reserved;
} mvm_order_job;

typedef struct mvm_order_user {
  uint64_t milli_vcpus; /**< what the user's jobs hold now */
} mvm_order_user;

typedef struct mvm_order_snapshot {
  uint32_t magic;
  uint32_t jobs;
  uint32_t users;
  uint32_t reserved;
  uint64_t jobs_at;  /**< offset of mvm_order_job[jobs] */
  uint64_t users_at; /**< offset of mvm_order_user[users] */
} mvm_order_snapshot;

/** Followed by uint32_t[jobs]: numbers of the snapshot's jobs, each once. */
typedef struct mvm_order_plan {
  uint32_t magic;
  uint32_t jobs;
  uint32_t strict; /**< 1: a job that must wait for room holds up those behind it */
  uint32_t reserved;
} mvm_order_plan;

/* ---- links: which codecs are added to links that leave a memory domain ------------------------------------
 */

#define MVM_LINKS_SNAPSHOT 0x534c4c4du /* "MLLS" */
#define MVM_LINKS_PLAN 0x504c4c4du     /* "MLLP" */

/** How far a link goes. */
#define MVM_LEAVES_DOMAIN 1u /**< between a host and its guests */
#define MVM_LEAVES_HOST 2u

/** A link that is carried between memory domains. Texts end with a zero byte. */
typedef struct mvm_links_link {
  uint64_t bytes;     /**< of its queue */
  uint32_t leaves;    /**< MVM_LEAVES_DOMAIN or MVM_LEAVES_HOST */
  uint32_t name_at;   /**< offset of its name among the texts: "ring[3]" */
  uint32_t codecs_at; /**< of its codecs so far: "zstd:3 checksum", or "" */
  uint32_t reserved;
} mvm_links_link;

typedef struct mvm_links_snapshot {
  uint32_t magic;
  uint32_t links;
  uint64_t links_at; /**< offset of mvm_links_link[links] */
  uint64_t texts_at; /**< offset of the texts */
  uint64_t texts;    /**< their bytes */
} mvm_links_snapshot;

/** Followed by uint32_t[links]: 0 where nothing is added, else the number of a chain, from 1; then `texts`
 * bytes with the chains, "checksum encrypt", each ended by a zero byte. A codec that a link has already is
 * not added again. */
typedef struct mvm_links_plan {
  uint32_t magic;
  uint32_t links;
  uint32_t chains;
  uint32_t texts;
} mvm_links_plan;

#ifdef __cplusplus
}
#endif

#endif

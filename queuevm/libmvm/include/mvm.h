/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libmvm: the message API of a job's processes.
 *
 * A program names its own ports and nothing else: no address, no rank, no tag. What a port is joined to is
 * written in the topology, outside the source, and may change while the program runs.
 *
 *     mvm_attach();
 *     int in = mvm_port("in", 0), out = mvm_port("out", 0);
 *     char line[4096];
 *     int64_t n;
 *     while ((n = mvm_dequeue(in, line, sizeof line, NULL)) >= 0) mvm_enqueue(out, line, (size_t)n, NULL);
 *     if (n != MVM_EOS) fprintf(stderr, "%s\n", mvm_error());
 *     mvm_detach();
 *
 * Results. Every call returns 0 or a positive number where it did what was asked, and one of the negative
 * MVM_* values otherwise. mvm_strerror() names a value; mvm_error() tells more about the calling thread's
 * last.
 *
 * Threads. Different ports may be used from different threads at the same time; one port by one thread at a
 * time. mvm_attach, mvm_detach and the ports' calls must not overlap.
 *
 * fork(). A child made by fork() must not use the parent's ports; exec is fine.
 */
#ifndef MVM_H
#define MVM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MVM_API __attribute__((visibility("default")))
#else
#define MVM_API
#endif

#define MVM_VERSION_MAJOR 1
#define MVM_VERSION_MINOR 0

/* ---- results ---- */

#define MVM_OK 0
#define MVM_EOS (-1)       /* end of stream: every process at the other end closed its side, in order */
#define MVM_TIMEOUT (-2)   /* the time-out passed; nothing was sent or taken */
#define MVM_REWIRED (-3)   /* the port's links changed while the call waited; nothing moved: call again */
#define MVM_DROPPED (-4)   /* the queue was full and its rule dropped this message (drop-newest) */
#define MVM_TOOBIG (-5)    /* larger than the queue or the buffer allows; the message stays where it was */
#define MVM_FULL (-6)      /* the queue is full and its rule is to fail */
#define MVM_PEERDEAD (-7)  /* a process at the other end died without closing its side; see mvm_dequeue */
#define MVM_EINVAL (-8)    /* wrong argument, wrong direction, or calls in the wrong order */
#define MVM_ENOENT (-9)    /* no such port */
#define MVM_ENOTMVM (-10)  /* this process was not started by MVM, or has not attached */
#define MVM_ECORRUPT (-11) /* shared memory holds impossible values: a peer broke it; the link is lost */
#define MVM_ETYPE (-12)    /* unpacking: the next item is of another type */
#define MVM_EEND (-13)     /* unpacking: no more items, or cut off; packing: the buffer is full */
#define MVM_ESYS (-14)     /* the operating system refused; mvm_error() says what */
#define MVM_EBUSY (-15)    /* the end of the link is in use by another process, or was closed before */

/* One sentence for a result value. Never NULL; the text is constant. */
MVM_API const char* mvm_strerror(int64_t result);

/* What went wrong in the calling thread's last failed call, in words a user can act on. Valid until that
 * thread's next call. */
MVM_API const char* mvm_error(void);

/* ---- attaching ---- */

/* Joins this process to its job: receives the wiring and the queues from the node's kernel over the socket
 * named by the environment variable MVM_FD. MVM_ENOTMVM where there is none: the program was not started by
 * MVM. Attaching twice is harmless. Ports are closed in order (mvm_port_done) when the process leaves through
 * exit(0) or the end of main; any other end is a death that its peers learn as MVM_PEERDEAD. */
MVM_API int mvm_attach(void);

/* Closes all ports in order and leaves the job. Messages already enqueued are still delivered. */
MVM_API int mvm_detach(void);

/* Which process this is. The texts live until mvm_detach; "" and 0 before mvm_attach. */
MVM_API const char* mvm_job(void);
MVM_API const char* mvm_role(void);
MVM_API unsigned mvm_index(void); /* 0 .. mvm_count()-1 within the role */
/* How many processes the role has. Changes while the job runs where the role is widened or narrowed: the
 * answer is that of the wiring at the time of the call. A process that was taken out of the role, and has its
 * streams to read to their end, keeps the count that it had. */
MVM_API unsigned mvm_count(void);

/* The value of one of the job's parameters as text, or NULL where it has none of that name. */
MVM_API const char* mvm_param(const char* name);

/* ---- ports ---- */

/* The handle (>= 0) of element `index` of the port `name`; 0 for a port that is no array. MVM_ENOENT. */
MVM_API int mvm_port(const char* name, unsigned index);

/* How many elements the port array `name` has; 0 where there is no such port. */
MVM_API unsigned mvm_port_size(const char* name);

/* Closes a port early: an out port's consumers get MVM_EOS after its last message; an in port's producers
 * learn that nobody reads any more. Idempotent. */
MVM_API int mvm_port_done(int port);

/* ---- options ---- */

#define MVM_FOREVER INT64_C(-1)
#define MVM_DEFAULT INT64_C(-2) /* enqueue: the link's own rule and time-out; the others: for ever */
#define MVM_MS(n) ((int64_t)(n)*1000000)
#define MVM_PRIORITY_MAX 255u

typedef struct mvm_opts {
  size_t struct_size; /* sizeof(mvm_opts): lets later versions add members */
  int64_t timeout_ns; /* 0: do not wait; or nanoseconds, MVM_MS(n), MVM_FOREVER, MVM_DEFAULT */
  uint64_t key;       /* enqueue on a by-key link: equal keys reach the same consumer */
  uint32_t priority;  /* enqueue on a priority queue: 0 .. MVM_PRIORITY_MAX, the highest leaves first */
  uint32_t flags;     /* 0 */
} mvm_opts;

/* Wherever a call takes options, NULL stands for these. */
#define MVM_OPTS_INIT \
  { sizeof(mvm_opts), MVM_DEFAULT, 0, 0, 0 }

/* ---- messages, copied ---- */

/* Sends `size` bytes (0 is a message too). Where the queue is full its rule decides: block (MVM_TIMEOUT after
 * the time-out), drop the oldest (MVM_OK), drop this one (MVM_DROPPED) or fail (MVM_FULL). MVM_EOS or
 * MVM_PEERDEAD where nobody is left to read it. */
MVM_API int mvm_enqueue(int port, const void* data, size_t size, const mvm_opts* opts);

/* Takes the next message; returns its size. MVM_TOOBIG where `capacity` is too small: the message stays, and
 * mvm_next_size() tells how much room it needs. MVM_EOS when all producers are done and everything was taken.
 * MVM_PEERDEAD once for each producer that died, as soon as nothing is queued; if no producer is left,
 * always. */
MVM_API int64_t mvm_dequeue(int port, void* buffer, size_t capacity, const mvm_opts* opts);

/* The size of the message the next mvm_dequeue would take, without waiting; MVM_TIMEOUT where none is there.
 */
MVM_API int64_t mvm_next_size(int port);

/* ---- messages, in place: no copy ---- */

/* Room for a message of up to `size` bytes in the queue itself, aligned to 8. Fill it, then mvm_commit with
 * the size really used, or mvm_cancel. One reservation a port at a time. Results as mvm_enqueue; MVM_TOOBIG
 * above half of the queue's bytes. */
MVM_API int mvm_reserve(int port, size_t size, void** data, const mvm_opts* opts);
MVM_API int mvm_commit(int port, size_t size);
MVM_API int mvm_cancel(int port);

/* The next message where it lies, aligned to 8; returns its size. It stays the caller's until mvm_release,
 * which removes it. If the process dies before that, the message is delivered again, to whoever reads next.
 * The bytes are shared memory: check before you trust a producer you would not trust with a socket. */
MVM_API int64_t mvm_peek(int port, const void** data, const mvm_opts* opts);
MVM_API int mvm_release(int port);

/* About the message last peeked or dequeued from a port. */
#define MVM_REDELIVERED 1u /* an earlier consumer took it in place and died before releasing it */
typedef struct mvm_info {
  size_t struct_size;
  uint64_t key;
  uint32_t priority;
  uint32_t flags; /* MVM_REDELIVERED */
} mvm_info;
MVM_API int mvm_last(int port, mvm_info* info);

/* ---- several ports ---- */

/* Waits until a call on one of the ports would not block; returns that port's place in `ports` (>= 0). An in
 * port is ready with a message, at its end, or when a peer died; an out port when a message may be put. */
MVM_API int mvm_wait(const int* ports, size_t count, const mvm_opts* opts);

/* ---- typed, neutral encoding ---- */
/* Every item carries its type; numbers are little-endian, floats IEEE 754, on every machine: the bytes are
 * docs/formats/packing.md. A sticky status: after the first failure all further calls return it, so one check
 * at the end is enough. */

typedef struct mvm_packer {
  unsigned char* data;
  size_t capacity;
  size_t size; /* bytes written so far */
  int status;
} mvm_packer;

typedef struct mvm_unpacker {
  const unsigned char* data;
  size_t size;
  size_t position;
  int status;
} mvm_unpacker;

MVM_API void mvm_pack_init(mvm_packer* packer, void* buffer, size_t capacity);
MVM_API int mvm_pack_bool(mvm_packer* packer, int value);
MVM_API int mvm_pack_i8(mvm_packer* packer, int8_t value);
MVM_API int mvm_pack_i16(mvm_packer* packer, int16_t value);
MVM_API int mvm_pack_i32(mvm_packer* packer, int32_t value);
MVM_API int mvm_pack_i64(mvm_packer* packer, int64_t value);
MVM_API int mvm_pack_u8(mvm_packer* packer, uint8_t value);
MVM_API int mvm_pack_u16(mvm_packer* packer, uint16_t value);
MVM_API int mvm_pack_u32(mvm_packer* packer, uint32_t value);
MVM_API int mvm_pack_u64(mvm_packer* packer, uint64_t value);
MVM_API int mvm_pack_f32(mvm_packer* packer, float value);
MVM_API int mvm_pack_f64(mvm_packer* packer, double value);
MVM_API int mvm_pack_string(mvm_packer* packer, const char* text); /* NUL-terminated */
MVM_API int mvm_pack_bytes(mvm_packer* packer, const void* data, size_t size);
MVM_API int mvm_pack_i8s(mvm_packer* packer, const int8_t* values, size_t count);
MVM_API int mvm_pack_i16s(mvm_packer* packer, const int16_t* values, size_t count);
MVM_API int mvm_pack_i32s(mvm_packer* packer, const int32_t* values, size_t count);
MVM_API int mvm_pack_i64s(mvm_packer* packer, const int64_t* values, size_t count);
MVM_API int mvm_pack_u8s(mvm_packer* packer, const uint8_t* values, size_t count);
MVM_API int mvm_pack_u16s(mvm_packer* packer, const uint16_t* values, size_t count);
MVM_API int mvm_pack_u32s(mvm_packer* packer, const uint32_t* values, size_t count);
MVM_API int mvm_pack_u64s(mvm_packer* packer, const uint64_t* values, size_t count);
MVM_API int mvm_pack_f32s(mvm_packer* packer, const float* values, size_t count);
MVM_API int mvm_pack_f64s(mvm_packer* packer, const double* values, size_t count);
/* Strided arrays: `count` elements of which each lies `stride` elements behind the one before it (a column of
 * a matrix: the length of a row; less than 0: backwards). They are packed as the arrays above, side by side,
 * so that the other end may unpack them with any stride of its own. */
MVM_API int mvm_pack_i8s_strided(mvm_packer* packer, const int8_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_i16s_strided(mvm_packer* packer, const int16_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_i32s_strided(mvm_packer* packer, const int32_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_i64s_strided(mvm_packer* packer, const int64_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_u8s_strided(mvm_packer* packer, const uint8_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_u16s_strided(mvm_packer* packer, const uint16_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_u32s_strided(mvm_packer* packer, const uint32_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_u64s_strided(mvm_packer* packer, const uint64_t* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_f32s_strided(mvm_packer* packer, const float* first, size_t count, ptrdiff_t stride);
MVM_API int mvm_pack_f64s_strided(mvm_packer* packer, const double* first, size_t count, ptrdiff_t stride);
/* Nested items: what is packed between the two is one item, to be read as a whole or skipped. mvm_pack_begin
 * returns the place (>= 0) that mvm_pack_end takes. They nest to any depth; the inner one ends first. */
MVM_API int64_t mvm_pack_begin(mvm_packer* packer);
MVM_API int mvm_pack_end(mvm_packer* packer, int64_t place);

MVM_API void mvm_unpack_init(mvm_unpacker* unpacker, const void* data, size_t size);
MVM_API int mvm_unpack_bool(mvm_unpacker* unpacker, int* value);
MVM_API int mvm_unpack_i8(mvm_unpacker* unpacker, int8_t* value);
MVM_API int mvm_unpack_i16(mvm_unpacker* unpacker, int16_t* value);
MVM_API int mvm_unpack_i32(mvm_unpacker* unpacker, int32_t* value);
MVM_API int mvm_unpack_i64(mvm_unpacker* unpacker, int64_t* value);
MVM_API int mvm_unpack_u8(mvm_unpacker* unpacker, uint8_t* value);
MVM_API int mvm_unpack_u16(mvm_unpacker* unpacker, uint16_t* value);
MVM_API int mvm_unpack_u32(mvm_unpacker* unpacker, uint32_t* value);
MVM_API int mvm_unpack_u64(mvm_unpacker* unpacker, uint64_t* value);
MVM_API int mvm_unpack_f32(mvm_unpacker* unpacker, float* value);
MVM_API int mvm_unpack_f64(mvm_unpacker* unpacker, double* value);
/* Strings and bytes: copied to `buffer`, returning the length; MVM_TOOBIG where it does not fit (a string
 * needs one byte more, for its NUL). Arrays: up to `capacity` elements, returning how many. A too small
 * buffer leaves the item unread and the status unchanged. */
MVM_API int64_t mvm_unpack_string(mvm_unpacker* unpacker, char* buffer, size_t capacity);
MVM_API int64_t mvm_unpack_bytes(mvm_unpacker* unpacker, void* buffer, size_t capacity);
MVM_API int64_t mvm_unpack_i8s(mvm_unpacker* unpacker, int8_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_i16s(mvm_unpacker* unpacker, int16_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_i32s(mvm_unpacker* unpacker, int32_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_i64s(mvm_unpacker* unpacker, int64_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_u8s(mvm_unpacker* unpacker, uint8_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_u16s(mvm_unpacker* unpacker, uint16_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_u32s(mvm_unpacker* unpacker, uint32_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_u64s(mvm_unpacker* unpacker, uint64_t* values, size_t capacity);
MVM_API int64_t mvm_unpack_f32s(mvm_unpacker* unpacker, float* values, size_t capacity);
MVM_API int64_t mvm_unpack_f64s(mvm_unpacker* unpacker, double* values, size_t capacity);
/* Strided: the next item is an array; its elements are put `stride` elements apart. `capacity` counts
 * elements. */
MVM_API int64_t mvm_unpack_i8s_strided(mvm_unpacker* unpacker, int8_t* first, size_t capacity,
                                       ptrdiff_t stride);
MVM_API int64_t mvm_unpack_i16s_strided(mvm_unpacker* unpacker, int16_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_i32s_strided(mvm_unpacker* unpacker, int32_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_i64s_strided(mvm_unpacker* unpacker, int64_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_u8s_strided(mvm_unpacker* unpacker, uint8_t* first, size_t capacity,
                                       ptrdiff_t stride);
MVM_API int64_t mvm_unpack_u16s_strided(mvm_unpacker* unpacker, uint16_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_u32s_strided(mvm_unpacker* unpacker, uint32_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_u64s_strided(mvm_unpacker* unpacker, uint64_t* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_f32s_strided(mvm_unpacker* unpacker, float* first, size_t capacity,
                                        ptrdiff_t stride);
MVM_API int64_t mvm_unpack_f64s_strided(mvm_unpacker* unpacker, double* first, size_t capacity,
                                        ptrdiff_t stride);
/* Nested items: `inside` reads those of the next item, and has ended (MVM_EEND) after the last of them;
 * `unpacker` goes on behind it. `inside` has a status of its own; where there is no nested item it is empty
 * and fails as `unpacker` does. */
MVM_API int mvm_unpack_nested(mvm_unpacker* unpacker, mvm_unpacker* inside);
/* Passes over the next item, whatever it is. MVM_ETYPE where it is of no known type. */
MVM_API int mvm_unpack_skip(mvm_unpacker* unpacker);
/* How many elements (arrays), bytes (bytes, nested items) or characters (string) the next item has; 1 for a
 * single value. */
MVM_API int64_t mvm_unpack_length(mvm_unpacker* unpacker);

#ifdef __cplusplus
}
#endif

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libharness: the one access point of applications to a distributed virtual machine. [Harness 000, §2.1; 001,
 * §3.1]
 *
 *     if (H_registerUser("lab", "ada", "secret") != H_OK) { fprintf(stderr, "%s\n", H_error()); return 1; }
 *     H_result* result = H_command("lab", 4, (const char*[]){"load", "solver", "all", "all-or-none"});
 *     printf("%s\n", H_message(result));
 *     for (size_t i = 0; i < H_count(result, H_UNABLE); ++i)
 *       printf("%s: %s\n", H_kernel(result, H_UNABLE, i), H_reason(result, H_UNABLE, i));
 *     H_free(result);
 *
 * Registering talks to this host's kernel of the machine, and starts one where none runs: the program
 * mvm-kernel, found through MVM_KERNEL, else beside this library (../bin), else in PATH. Everything of a
 * machine is in the folder MVM_HARNESS_DIR, else $XDG_RUNTIME_DIR/mvm-harness, else /tmp/mvm-harness-UID: one
 * folder for each machine, which its owner alone can enter. docs/formats/dvm.md
 *
 * Threads: all calls may be made from any thread; those of one machine wait for each other. A process has one
 * user for each machine. fork(): a child registers anew.
 */
#ifndef HARNESS_H
#define HARNESS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

#define H_API __attribute__((visibility("default")))

/* What became of a command; H_code() */
#define H_OK 0          /* done, on all kernels it was for */
#define H_FAILED 1      /* it went wrong; H_message() says what */
#define H_INVALID 2     /* the command makes no sense */
#define H_PARTLY 4      /* best-effort: done on some */
#define H_ABORTED 5     /* all-or-none: done on none */
#define H_UNREACHABLE 6 /* no kernel of this host, or no status server */
#define H_REFUSED 7     /* unknown user, wrong password, or not allowed to that user */

typedef struct H_result H_result;

/* The lists of a result */
typedef enum { H_ABLE = 0, H_UNABLE = 1, H_CAME_TO_NOTHING = 2, H_OWING = 3 } H_list;

/* Sets this process's security context with a machine, and starts the local kernel where none runs. */
H_API int H_registerUser(const char* vm, const char* user, const char* password);

/* <command> <locator> <targets> <quality of service> [more]. Never null; to be freed. */
H_API H_result* H_command(const char* vm, int argc, const char* const argv[]);
H_API void H_free(H_result* result);

H_API int H_code(const H_result* result);
H_API const char* H_message(const H_result* result);       /* one line for people */
H_API const char* H_answer(const H_result* result);        /* JSON; "null" where there is none */
H_API size_t H_count(const H_result* result, H_list list); /* kernels in a list */
H_API const char* H_kernel(const H_result* result, H_list list, size_t index);
H_API const char* H_reason(const H_result* result, H_list list, size_t index); /* "" where there is none */

/* What this thread's last failed call was about. */
H_API const char* H_error(void);

/* ---- the kernel's interface of 001, §3.1, under a context: a machine and a user ---- */

typedef struct H_context H_context;

H_API H_context* H_register(const char* vm, const char* user, const char* password); /* null: H_error() */
H_API void H_leave(H_context* context);
H_API H_result* H_load(H_context* context, const char* component, const char* targets, const char* qos);
H_API H_result* H_unload(H_context* context, const char* component, const char* targets, const char* qos);
H_API H_result* H_run(H_context* context, const char* component, const char* targets, const char* qos,
                      int argc, const char* const argv[]);
H_API H_result* H_stop(H_context* context, const char* component, const char* targets, const char* qos);
H_API H_result* H_getvminfo(H_context* context, const char* key);

#ifdef __cplusplus
}
#endif

#endif

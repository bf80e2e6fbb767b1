/* The first program of the VMs that the contract suite makes: static, tiny, one word per behaviour.
 *
 *   test-init idle              says so and waits; ends at once on SIGTERM
 *   test-init end CODE          ends by itself
 *   test-init memory MIB        takes memory, page by page, in a child that may be killed; says how it went
 *   test-init spin              burns processor time in four children
 *   test-init forks COUNT       makes children until it has that many or is refused; says how many
 *   test-init stubborn          ignores SIGTERM, and has a child in a session of its own that does, too
 *   test-init look              says what it sees: user, host name, variables, files
 *
 * As PID 1 it reaps what it inherits. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void say(const char *text) {
  printf("%s\n", text);
  fflush(stdout);
}

static void on_term(int number) {
  (void)number;
  _exit(0);
}

static void rest(void) {
  for (;;) {
    if (wait(NULL) < 0 && errno == ECHILD) pause();
  }
}

static void take_memory(long mib) {
  pid_t child = fork();
  if (child == 0) {
    for (long i = 0; i < mib; ++i) {
      char *page = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (page == MAP_FAILED) _exit(3);
      memset(page, 1, 1 << 20);
    }
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status))
    say("memory: killed");
  else
    say(WEXITSTATUS(status) == 0 ? "memory: granted" : "memory: refused");
}

static void make_children(long wanted) {
  long made = 0;
  while (made < wanted) {
    pid_t child = fork();
    if (child < 0) break;
    if (child == 0) {
      for (;;) pause();
    }
    ++made;
  }
  printf("forks: %ld\n", made);
  fflush(stdout);
}

static void look(void) {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  printf("uid=%d host=%s colour=%s\n", (int)getuid(), host, getenv("COLOUR") ? getenv("COLOUR") : "");
  printf("shadow=%s\n", access("/etc/shadow", R_OK) == 0 ? "readable" : "absent");
  /* A hostile guest tries to get write access first. */
  mount("", "/usr", NULL, MS_REMOUNT, NULL);
  mount("", "/usr", NULL, MS_REMOUNT | MS_BIND, NULL);
  printf("usr=%s\n", open("/usr/mvm-test", O_CREAT | O_WRONLY, 0600) >= 0 ? "writable" : "read-only");
  int fd = open("/work/made-inside", O_CREAT | O_WRONLY, 0644);
  printf("work=%s\n", fd >= 0 && write(fd, "inside", 6) == 6 ? "writable" : strerror(errno));
  char bound[64] = "";
  fd = open("/data/bound", O_RDONLY);
  if (fd >= 0 && read(fd, bound, sizeof bound - 1) >= 0) printf("bound=%s\n", bound);
  printf("cc=%s\n", access("/usr/bin/cc", X_OK) == 0 ? "there" : "absent");
  printf("port=%s\n", access("/dev/virtio-ports/mvm.control.0", R_OK | W_OK) == 0 ? "there" : "absent");
  say("looked");
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "idle";
  const char *value = argc > 2 ? argv[2] : "0";
  signal(SIGTERM, strcmp(what, "stubborn") == 0 ? SIG_IGN : on_term);
  signal(SIGHUP, SIG_IGN);
  if (strcmp(what, "end") == 0) {
    say("ending");
    return atoi(value);
  }
  if (strcmp(what, "memory") == 0) take_memory(atol(value));
  if (strcmp(what, "forks") == 0) make_children(atol(value));
  if (strcmp(what, "look") == 0) look();
  if (strcmp(what, "spin") == 0) {
    for (int i = 0; i < 4; ++i)
      if (fork() == 0)
        for (volatile unsigned long n = 0;; ++n)
          ;
  }
  if (strcmp(what, "stubborn") == 0 && fork() == 0) {
    setsid();
    if (fork() != 0) _exit(0); /* an orphan, so that nobody's parent knows it */
    for (;;) pause();
  }
  printf("idle in pid %d\n", (int)getpid());
  fflush(stdout);
  rest();
}

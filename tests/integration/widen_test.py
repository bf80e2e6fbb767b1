"""A role of a running job is widened and narrowed under a checked stream: nothing is lost, doubled or reordered within
a link, whoever dies on the way.

A source sends numbered messages, workers mark them with their index and pass them on, a sink checks: every number once,
and from each worker in rising order.
"""
import argparse
import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import unittest

import world
from rewire_test import COMMON, kernels
from world import World, wait_until

TOPOLOGY = """<topology xmlns="urn:mvm:topology:1" name="farm">
  <param name="n" type="integer" min="1" default="2"/>
  <role name="source"><port name="out" direction="out"/></role>
  <role name="worker" count="${n}"><port name="in" direction="in"/><port name="out" direction="out"/></role>
  <role name="sink"><port name="in" direction="in"/></role>
  <link from="source.out" to="worker[*].in" name="work" deliver="DELIVER"/>
  <link from="worker[*].out" to="sink.in" name="done"/>
</topology>"""

SOURCE = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int out = mvm_port("out", 0);
  const double end = now() + atof(mvm_param("seconds"));
  struct message m = {0, 1};
  while (now() < end) {
    mvm_opts opts = MVM_OPTS_INIT;
    opts.key = m.number;
    const int result = mvm_enqueue(out, &m, sizeof m, &opts);
    if (result == MVM_OK)
      ++m.number;
    else if (result != MVM_REWIRED)
      return fprintf(stderr, "%s\n", mvm_error()), 91;
  }
  printf("sent %llu\n", (unsigned long long)m.number - 1);
  return mvm_detach() < 0;
}
"""

WORKER = COMMON + r"""
#include <string.h>
int main(int argc, char** argv) {
  /* Its folder says which it is, before it has joined. */
  char folder[4096];
  const char* mine = argc == 2 && getcwd(folder, sizeof folder) ? strstr(folder, "worker_") : NULL;
  if (!mine || atoi(mine + 7) >= atoi(argv[1])) return 7;
  if (mvm_attach() < 0) return 90;
  const int in = mvm_port("in", 0), out = mvm_port("out", 0);
  struct message m;
  unsigned long long passed = 0;
  unsigned count = 0;
  for (;;) {
    if (mvm_count() != count) {
      count = mvm_count();
      printf("count %u\n", count);
      fflush(stdout);
    }
    const int64_t size = mvm_dequeue(in, &m, sizeof m, NULL);
    if (size == MVM_REWIRED) continue;
    if (size == MVM_EOS) break;
    if (size != sizeof m) return fprintf(stderr, "%lld %s\n", (long long)size, mvm_error()), 92;
    m.source = mvm_index();
    int result;
    do
      result = mvm_enqueue(out, &m, sizeof m, NULL);
    while (result == MVM_REWIRED);
    if (result != MVM_OK) return fprintf(stderr, "%s\n", mvm_error()), 91;
    ++passed;
  }
  printf("passed %llu\n", passed);
  return mvm_detach() < 0;
}
"""

SINK = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int in = mvm_port("in", 0);
  static uint64_t last[64], used[64];
  unsigned long long count = 0, sum = 0;
  for (;;) {
    struct message m;
    const int64_t size = mvm_dequeue(in, &m, sizeof m, NULL);
    if (size == MVM_REWIRED) continue;
    if (size == MVM_EOS) break;
    if (size != sizeof m || m.source > 63) return fprintf(stderr, "%lld %s\n", (long long)size, mvm_error()), 92;
    if (m.number <= last[m.source]) return printf("disorder of worker %llu\n", (unsigned long long)m.source), 93;
    last[m.source] = m.number;
    ++used[m.source];
    ++count;
    sum += m.number;
  }
  printf("got %llu %llu\n", count, sum);
  for (int w = 0; w < 64; ++w)
    if (used[w]) printf("by %d %llu\n", w, (unsigned long long)used[w]);
  return mvm_detach() < 0;
}
"""

MACHINES = ('<machines name="a" role="source worker" driver="DRIVER" count="2" memory="128MiB"/>'
            '<machines name="b" role="sink" driver="DRIVER" count="1" memory="128MiB"/>')


def topology(deliver):
    return TOPOLOGY.replace("DELIVER", deliver)


class Farm:
    """The job, on its way."""

    def __init__(self, place, seconds, driver="process", deliver="one-of", sound=64):
        self.place = place
        self.path = place.folder / "farm.xml"
        self.path.write_text(topology(deliver))
        programs = "".join(
            f'<program role="{role}"><source name="{role}.c"><![CDATA[{code}]]></source>'
            f'<build command="gcc -O1 {role}.c -o {role} $(pkg-config --cflags --libs mvm)"/>'
            f'<run>./{role}{" ${sound}" if role == "worker" else ""}</run></program>' for role, code in (("source", SOURCE), ("worker", WORKER), ("sink", SINK)))
        (place.folder / "note.txt").write_text("for every worker\n")
        job = place.folder / "job.xml"
        job.write_text(f"""<lab xmlns="urn:mvm:lab:1" name="farm">
          <param name="seconds" type="integer" default="{seconds}"/><param name="sound" type="integer" default="{sound}"/>
          {topology(deliver)}{MACHINES.replace("DRIVER", driver)}
          <job xmlns="urn:mvm:job:1" name="farm">{programs}<stage in="note.txt" to="worker[*]"/>
          <stage out="note.txt" from="worker[*]"/></job></lab>""")
        self.id = place.mvm("submit", job, "--parsable", "--detach").stdout.strip()
        wait_until(self.started, 120, "the job does not run")
        self.end = time.monotonic() + seconds
        if self.state() != "RUNNING":
            raise AssertionError(place.mvm("job", "why", self.id).stdout + self.log())

    def started(self):
        return self.state() == "FAILED" or \
            "job.running" in self.place.mvm("events", "--job", self.id, "-o", "jsonl", check=False).stdout

    def status(self):
        done = self.place.mvm("job", "status", self.id, "-o", "json", check=False)
        return world.json.loads(done.stdout) if done.returncode == 0 else {"state": "", "processes": []}

    def state(self):
        return self.status()["state"]

    def log(self):
        printed = self.place.mvm("job", "logs", self.id)
        return printed.stdout + printed.stderr

    def apply(self, n, *more, check=True, **options):
        return self.place.mvm("lab", "apply", self.id, self.path, "--set", f"n={n}", "-o", "json", *more, check=check,
                              **options)

    def workers(self, state):
        return sorted(int(re.search(r"\[(\d+)\]", one["process"]).group(1)) for one in self.status()["processes"]
                      if one["process"].startswith("worker") and one["state"] == state)

    def settle(self):
        """Whoever was to leave has left."""
        wait_until(lambda: not self.workers("leaving"), 30, "a process does not leave")

    def check(self, test, seconds=120):
        wait_until(lambda: self.state() in ("DONE", "FAILED", "CANCELLED"), seconds, "the job does not end")
        log = self.log()
        test.assertEqual(self.state(), "DONE", log + self.place.mvm("job", "why", self.id).stdout)
        sent = int(re.search(r"sent (\d+)", log).group(1))
        got, total = map(int, re.search(r"got (\d+) (\d+)", log).groups())
        test.assertEqual((got, total), (sent, sent * (sent + 1) // 2), log)
        test.assertEqual(sum(int(n) for n in re.findall(r"passed (\d+)", log)), sent, log)
        return log, sent


def grow_and_shrink(test, driver, seconds, deliver):
    with World((driver,)) as place:
        place.start()
        farm = Farm(place, seconds, driver, deliver)
        plan = world.json.loads(farm.apply(4, "--dry-run").stdout)
        test.assertEqual(plan["state"], "planned")
        test.assertIn("start worker[3] in node a-1", "\n".join(plan["steps"]))
        test.assertEqual(farm.workers("running"), [0, 1])
        done = 0
        for n in (4, 1, 6, 5, 2, 3):
            if time.monotonic() > farm.end - 2 and done >= 3:
                break  # on a busy machine
            test.assertEqual(world.json.loads(farm.apply(n).stdout)["state"], "switched")
            test.assertEqual(farm.workers("running"), list(range(n)))
            farm.settle()
            done += 1
        log, sent = farm.check(test)
        test.assertIn("count 4", log)
        test.assertIn("count 1", log)
        test.assertGreater(len(re.findall(r"by \d+", log)), 3, log)
        test.assertIn(3, farm.workers("left"))
        print(f"{driver}, {deliver}: {done} times wider or narrower, {sent} messages")
        place.expect_nothing_left()


class Widen(unittest.TestCase):
    driver = "process"

    def test_a_role_grows_and_shrinks_under_a_checked_stream(self):
        grow_and_shrink(self, self.driver, 8, "one-of")

    def test_what_cannot_be_is_refused_or_undone(self):
        with World((self.driver,)) as place:
            place.start()
            farm = Farm(place, 6, self.driver, sound=3)
            undone = farm.apply(5, check=False)
            self.assertEqual(undone.returncode, 5, undone.stdout + undone.stderr)
            self.assertRegex(undone.stderr, r"the new process worker\[[34]\] ended with code 7")
            self.assertEqual(farm.workers("running"), [0, 1])
            bad = farm.apply(0, check=False)
            self.assertEqual(bad.returncode, 2, bad.stderr)
            self.assertEqual(world.json.loads(farm.apply(3).stdout)["state"], "switched")
            farm.check(self)
            place.expect_nothing_left()


class Slow(unittest.TestCase):
    def test_a_role_grows_and_shrinks_by_key(self):
        grow_and_shrink(self, "process", 10, "by-key")

    def test_who_does_not_leave_in_time_is_ended(self):
        with World() as place:
            place.start()
            farm = Farm(place, 8)
            stopped = [pid for pid in workers(place) if index_of(pid) == "1"]
            self.assertEqual(len(stopped), 1)
            os.kill(stopped[0], signal.SIGSTOP)
            farm.apply(1, "--deadline", "2s")
            farm.settle()
            left = [one for one in farm.status()["processes"] if one["state"] == "left"]
            self.assertEqual(len(left), 1, left)
            self.assertNotEqual(left[0]["signal"], 0, left)
            wait_until(lambda: farm.state() == "FAILED", 60, "the job does not end")
            self.assertIn("worker[1] was ended by signal", place.mvm("job", "why", farm.id).stdout)
            place.expect_nothing_left()

    def crash_at(self, point, before, after):
        with World() as place:
            place.start("--crash-at", point)
            farm = Farm(place, 6)
            if before != 2:
                farm.apply(before)
            with contextlib.suppress(subprocess.TimeoutExpired):
                farm.apply(after, check=False, timeout=5)
            wait_until(lambda: place.daemon.poll() is not None, 15, f"mvmd does not die at {point}")
            place.start()
            wait_until(lambda: farm.workers("running") in (list(range(before)), list(range(after))), 20,
                       "neither the old nor the new role runs")
            farm.settle()
            wait_until(lambda: len(workers(place)) == len(farm.workers("running")) or farm.state() != "RUNNING", 20,
                       f"others run than {farm.workers('running')}")
            farm.check(self)
            place.expect_nothing_left()

    def test_mvmd_dies_while_a_role_is_widened(self):
        for point in ("PREPARING>STARTING:committed", "rewire-start:partial", "STARTING>SWITCHING:uncommitted",
                      "STARTING>SWITCHING:committed"):
            with self.subTest(point):
                self.crash_at(point, 2, 5)

    def test_mvmd_dies_while_a_role_is_narrowed(self):
        for point in ("PREPARING>SWITCHING:committed", "rewire-switch:partial", "STEADY>SWEEPING:committed"):
            with self.subTest(point):
                self.crash_at(point, 2, 1)

    def test_kernels_die_on_the_way(self):
        with World() as place:
            place.start()
            farm = Farm(place, 12)
            for n in (4, 1, 3, 2):
                with subprocess.Popen([world.MVM, "lab", "apply", farm.id, farm.path, "--set", f"n={n}"],
                                      env=place.environment(), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE) as client:
                    for pid in kernels(place):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    _, problem = client.communicate(timeout=60)
                    self.assertEqual(client.returncode, 0, problem)
                farm.settle()
            farm.check(self)
            place.expect_nothing_left()


def workers(place):
    return sorted(pid for pid, line in place.processes().items() if line.startswith("./worker"))


def index_of(pid):
    """Which worker it is, by its folder."""
    with contextlib.suppress(OSError):
        return (re.search(r"worker_(\d+)", os.readlink(f"/proc/{pid}/cwd")) or [None, ""])[1]
    return ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="process")
    arguments, rest = parser.parse_known_args()
    Widen.driver = arguments.driver
    unittest.main(argv=sys.argv[:1] + (rest or ["Widen"]))

"""Takes every crash point of mvmd: the daemon dies there, comes back, and the job ends as it should.

The points come from `mvmd --list-crash-points`, which is generated from the tables of transitions and effects:
a new effect is tested here without a change. A point that no scenario passes through fails the test.
"""
import concurrent.futures
import contextlib
import os
import re
import subprocess
import sys
import unittest

import world
from world import World, wait_until

PROGRAM = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="crash">
  <topology xmlns="urn:mvm:topology:1" name="pair">
    <role name="source"><port name="out" direction="out"/></role>
    <role name="sink"><port name="in" direction="in"/></role>
    <link from="source.out" to="sink.in"/>
  </topology>
  <program role="source">
    <source name="source.c"><![CDATA[
#include <mvm.h>
int main(void) {
  if (mvm_attach() < 0) return 90;
  int out = mvm_port("out", 0);
  for (int i = 1; i <= 100; ++i)
    if (mvm_enqueue(out, &i, sizeof i, NULL) < 0) return 91;
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc source.c -o source $(pkg-config --cflags --libs mvm)"/>
    <run>./source</run>
  </program>
  <program role="sink">
    <source name="sink.c"><![CDATA[
#include <mvm.h>
#include <stdio.h>
#include <unistd.h>
int main(void) {
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), value, sum = 0;
  while (mvm_dequeue(in, &value, sizeof value, NULL) == sizeof value) sum += value;
  printf("sum %d\\n", sum);
  FILE* file = fopen("sum.txt", "w");
  fprintf(file, "%d\\n", sum);
  fclose(file);
  fflush(stdout);
  AFTER
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc sink.c -o sink $(pkg-config --cflags --libs mvm)"/>
    <run>./sink</run>
  </program>
  <machines role="source sink" driver="process" count="1" memory="64MiB"/>
  <stage out="sum.txt" from="sink[0]" optional="true"/>
</job>
"""

# Transitions that need a fault or a cancellation within a state that is over in milliseconds here. They are taken on
# fake hosts, whose clock stands still (tests/failure); where one is passed here, it is taken here too.
TOO_BRIEF = {f"{name}:{phase}" for phase in ("committed", "uncommitted") for name in (
    "BOOTING>COLLECTING", "BUILDING>COLLECTING", "COLLECTING>COLLECTING", "PLANNED>COLLECTING", "WIRING>COLLECTING",
    "SUBMITTED>CANCELLED", "SUBMITTED>FAILED", "PREPARING>STEADY", "STARTING>STEADY", "STARTING>UNDOING")}

ENDED = ("DONE", "FAILED", "CANCELLED")


class Scenario:
    """A job's life; `after` is what its sink does at the end."""

    def __init__(self, name, after, expected):
        self.name = name
        self.after = after
        self.expected = expected

    def submit(self, place):
        """The job's id; None where the daemon died before it could say."""
        path = place.folder / "job.xml"
        path.write_text(PROGRAM.replace("AFTER", self.after.replace("RELEASED", str(self.released(place)))))
        done = place.mvm_unless_it_dies("submit", path, "--parsable", "--detach")
        return done.stdout.strip() if done and done.returncode == 0 else None

    def state(self, place, job):
        done = place.mvm("job", "status", job, "-o", "json", check=False)
        return world.json.loads(done.stdout)["state"] if done.returncode == 0 else ""

    @staticmethod
    def released(place):
        """The file that the sinks of some scenarios wait for, so that no job is over before it was disturbed."""
        return place.folder / "released"

    def disturb(self, place, job):
        """What happens to the job from outside."""

    def check(self, test, place, job, attempts=1):
        results = place.folder / "results"
        place.mvm("job", "result", job, "--out", results)
        test.assertEqual((results / "sum.txt").read_text(), "5050\n")
        printed = place.mvm("job", "logs", job).stdout.count("sum 5050")
        test.assertIn(printed, range(1, attempts + 1), "what was said is kept once, and that of each attempt")


class Cancelled(Scenario):
    def disturb(self, place, job):
        if self.state(place, job) == "RUNNING":
            place.mvm("job", "cancel", job, check=False)

    def check(self, test, place, job):
        pass


class Failed(Scenario):
    def check(self, test, place, job):
        why = place.mvm("job", "why", job).stdout
        test.assertIn("3", why)


class LostNode(Scenario):
    """Its node's kernel and everything in it is killed once: a fault of the infrastructure, so it is retried."""

    def check(self, test, place, job, attempts=2):
        super().check(test, place, job, attempts)

    def disturb(self, place, job):
        if self.released(place).exists() or self.state(place, job) != "RUNNING":
            return
        kernels = [pid for pid, line in place.processes().items() if "mvm-kernel" in line]
        for pid in kernels:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
                self.released(place).touch()


class Rewired(Scenario):
    """While it runs its link is changed: a few times too late, so that it is undone, then for good."""

    TOPOLOGY = """<topology xmlns="urn:mvm:topology:1" name="narrow">
    <role name="source"><port name="out" direction="out"/></role>
    <role name="sink"><port name="in" direction="in"/></role>
    <link from="source.out" to="sink.in"><queue capacity="CAPACITY"/></link>
  </topology>"""

    def disturb(self, place, job):
        if self.released(place).exists() or self.state(place, job) != "RUNNING":
            return
        path = place.folder / "narrow.xml"
        for capacity, deadline in enumerate(("1ms", "1ms", "1ms", "30s"), start=7):
            path.write_text(self.TOPOLOGY.replace("CAPACITY", str(capacity)))
            place.mvm_unless_it_dies("lab", "apply", job, path, "--deadline", deadline)
            if place.daemon.poll() is not None:
                return
        with contextlib.suppress(AssertionError):  # the old link's queue goes once nobody needs it
            wait_until(lambda: place.daemon.poll() is not None or self.swept(place, job, path), 5, "it stays")
        self.released(place).touch()

    @staticmethod
    def swept(place, job, path):
        done = place.mvm("lab", "apply", job, path, "--dry-run", "-o", "json", check=False)
        return done.returncode == 0 and not world.json.loads(done.stdout)["draining"]


class Widened(Rewired):
    """While it runs it gets a second source, whose messages stay in the queue."""

    WIDE = """<topology xmlns="urn:mvm:topology:1" name="wide">
    <role name="source" count="2"><port name="out" direction="out"/></role>
    <role name="sink"><port name="in" direction="in"/></role>
    <link from="source[*].out" to="sink.in"/>
  </topology>"""

    def disturb(self, place, job):
        if self.released(place).exists() or self.state(place, job) != "RUNNING":
            return
        path = place.folder / "wide.xml"
        path.write_text(self.WIDE)
        place.mvm_unless_it_dies("lab", "apply", job, path)
        if place.daemon.poll() is None:
            self.released(place).touch()


UNTIL_RELEASED = 'while (access("RELEASED", F_OK) != 0) usleep(10000);'

SCENARIOS = [
    Scenario("runs", "", "DONE"),
    Cancelled("is cancelled", "for (;;) pause();", "CANCELLED"),
    Failed("fails", "return 3;", "FAILED"),
    LostNode("loses its node", UNTIL_RELEASED, "DONE"),
    Rewired("is rewired", UNTIL_RELEASED, "DONE"),
    Widened("is widened", UNTIL_RELEASED, "DONE"),
]


def follow(place, scenario, job, seconds):
    """Waits until the job ended or the daemon died; its last state."""
    seen = [""]

    def over():
        if place.daemon.poll() is not None:
            return True
        scenario.disturb(place, job)
        seen[0] = scenario.state(place, job) or seen[0]
        return seen[0] in ENDED

    wait_until(over, seconds, f"job {job} is {seen[0]}; {place.log_tail()}")
    return seen[0]


def passed_by(scenario):
    """The points that a scenario passes where nothing dies."""
    with World() as place:
        place.start("--crash-at", "none")
        job = scenario.submit(place)
        follow(place, scenario, job, 60)
        place.expect_nothing_left()
        place.stop()
        log = (place.folder / "mvmd.log").read_text(errors="replace")
        return set(re.findall(r'crash\.passed point="?([^\s"]+)', log))


def take(test, point, scenarios, patience=0.5):
    """Crashes at the point and checks the end of it. False: no scenario passes there."""
    for scenario in scenarios:
        with World() as place:
            place.start("--crash-at", point, wait=False)
            wait_until(lambda: place.daemon.poll() is not None or place.mvm("whoami", check=False).returncode == 0,
                       60, "mvmd neither answers nor dies")
            job = scenario.submit(place) if place.daemon.poll() is None else None
            if job is not None and place.daemon.poll() is None:
                follow(place, scenario, job, 60)
            with contextlib.suppress(AssertionError):  # what comes after a job's end has its points too
                wait_until(lambda: place.daemon.poll() is not None or not place.left_over(), 5, "labs are left")
                # A commit comes after its news.
                wait_until(lambda: place.daemon.poll() is not None, patience, "it lives")
            if place.daemon.poll() is None:
                continue
            place.start()
            jobs = place.json("job", "list", "--all")["items"]
            if not jobs:
                test.assertIsNone(job, f"{point}: a job that was accepted is lost")
            job = jobs[0]["id"] if jobs else scenario.submit(place)
            state = follow(place, scenario, job, 90)
            test.assertEqual(state, scenario.expected,
                             f"{point}, job that {scenario.name}: {place.mvm('job', 'why', job).stdout}")
            scenario.check(test, place, job)
            place.expect_nothing_left()
            return True
    return False


class CrashPoints(unittest.TestCase):
    def take(self, point, passed):
        """By a scenario that is known to pass there, else by any; with more patience where that is all that was missing."""
        known = [scenario for scenario in SCENARIOS if point in passed[scenario.name]]
        if known and take(self, point, known):
            return True
        if point in TOO_BRIEF:
            return False
        return take(self, point, SCENARIOS) or take(self, point, SCENARIOS, patience=4)

    def test_every_point(self):
        points = subprocess.run([world.MVMD, "--list-crash-points"], capture_output=True, text=True,
                                check=True).stdout.split()
        self.assertGreater(len(points), 20)
        wanted = os.environ.get("MVM_CRASH_POINTS", "").split()
        failures = []
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            passed = dict(zip((scenario.name for scenario in SCENARIOS), pool.map(passed_by, SCENARIOS)))
            tries = {pool.submit(self.take, point, passed): point for point in points if not wanted or point in wanted}
            for done in concurrent.futures.as_completed(tries):
                point = tries[done]
                try:
                    if not done.result() and point not in TOO_BRIEF:
                        failures.append(f"{point}: no scenario passes through it")
                except Exception as problem:  # every point is tried, whatever befell another
                    failures.append(f"{point}: {problem}")
                print(f"{point}: {'taken' if not failures or not failures[-1].startswith(point) else 'FAILED'}",
                      file=sys.stderr, flush=True)
        self.assertEqual(failures, [], "\n".join(failures))


if __name__ == "__main__":
    unittest.main()

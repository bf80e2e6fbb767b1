"""Rewires a running job again and again under a checked stream: nothing is lost, doubled or reordered within a link.

Two sources send numbered messages as fast as they can; the test moves them between two sinks, parts them and joins
them again. A third pair is never touched: the longest silence between two of its messages is reported.
"""
import argparse
import concurrent.futures
import contextlib
import re
import signal
import os
import subprocess
import sys
import time
import unittest

import world
from world import World, wait_until

ROLES = """
    <role name="source" count="2"><port name="out" direction="out" optional="true"/></role>
    <role name="sink" count="2"><port name="in" direction="in" optional="true"/></role>
    <role name="tick"><port name="out" direction="out"/></role>
    <role name="tock"><port name="in" direction="in"/></role>
    <link from="tick.out" to="tock.in"/>
"""

LINKS = {
    "straight": '<link from="source[0].out" to="sink[0].in"/><link from="source[1].out" to="sink[1].in"/>',
    "crossed": '<link from="source[0].out" to="sink[1].in"/><link from="source[1].out" to="sink[0].in"/>',
    "shared": '<link from="source[*].out" to="sink[*].in"/>',
    "both": '<link from="source[*].out" to="sink[0].in"/>',
    "parted": '<link from="source[0].out" to="sink[1].in"/>',
    "small": '<link from="source[0].out" to="sink[0].in"><queue capacity="4"/></link>'
             '<link from="source[1].out" to="sink[1].in"><queue capacity="3"/></link>',
    "clear": '<link from="source[0].out" to="sink[0].in" transport="tcp"/>'
             '<link from="source[1].out" to="sink[1].in" transport="tcp"/>',
}
LINKS |= {name: LINKS["clear"].replace("tcp", f"{name}-mq") for name in ("posix", "boost")}
ORDER = ["crossed", "shared", "straight", "clear", "straight", "both", "parted", "small", "clear", "shared", "crossed",
         "both", "straight"]

COMMON = r"""
#include <mvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}
struct message { uint64_t source, number; };
"""

SOURCE = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int out = mvm_port("out", 0);
  const double end = now() + atof(mvm_param("seconds"));
  const unsigned pause = (unsigned)atoi(mvm_param("pause"));
  struct message m = {mvm_index(), 1};
  while (now() < end) {
    const int result = mvm_enqueue(out, &m, sizeof m, NULL);
    if (result == MVM_OK)
      ++m.number;
    else if (result == MVM_EOS)
      usleep(200); /* not joined now */
    else if (result != MVM_REWIRED)
      return fprintf(stderr, "%s\n", mvm_error()), 91;
    if (pause > 0) usleep(pause);
  }
  printf("sent %llu\n", (unsigned long long)m.number - 1);
  return mvm_detach() < 0;
}
"""

SINK = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int in = mvm_port("in", 0);
  const double end = now() + atof(mvm_param("seconds")) + atof(mvm_param("after"));
  uint64_t last[2] = {0, 0}, count[2] = {0, 0}, sum[2] = {0, 0};
  while (now() < end) {
    struct message m;
    mvm_opts wait = MVM_OPTS_INIT;
    wait.timeout_ns = MVM_MS(200);
    const int64_t size = mvm_dequeue(in, &m, sizeof m, &wait);
    if (size == MVM_EOS) usleep(200);
    if (size == MVM_EOS || size == MVM_TIMEOUT || size == MVM_REWIRED) continue;
    if (size != sizeof m || m.source > 1) return fprintf(stderr, "%lld %s\n", (long long)size, mvm_error()), 92;
    if (m.number <= last[m.source]) {
      printf("disorder %llu: %llu after %llu\n", (unsigned long long)m.source, (unsigned long long)m.number,
             (unsigned long long)last[m.source]);
      return 93;
    }
    last[m.source] = m.number;
    ++count[m.source];
    sum[m.source] += m.number;
  }
  for (int s = 0; s < 2; ++s)
    printf("got %d %llu %llu\n", s, (unsigned long long)count[s], (unsigned long long)sum[s]);
  return mvm_detach() < 0;
}
"""

TICK = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int out = mvm_port("out", 0);
  const double end = now() + atof(mvm_param("seconds"));
  for (uint64_t n = 1; now() < end; ++n) {
    if (mvm_enqueue(out, &n, sizeof n, NULL) != MVM_OK) return 91;
    usleep(100);
  }
  return mvm_detach() < 0;
}
"""

TOCK = COMMON + r"""
int main(void) {
  if (mvm_attach() < 0) return 90;
  const int in = mvm_port("in", 0);
  uint64_t n = 0, last = 0;
  double longest = 0, then = 0;
  while (mvm_dequeue(in, &n, sizeof n, NULL) == sizeof n) {
    if (n != ++last) return 93;
    const double t = now();
    if (then > 0 && t - then > longest) longest = t - then;
    then = t;
  }
  printf("gap %.6f of %llu\n", longest, (unsigned long long)last);
  return mvm_detach() < 0;
}
"""


def topology(name):
    return f'<topology xmlns="urn:mvm:topology:1" name="{name}">{ROLES}{LINKS[name]}</topology>'


def job(driver, machines, seconds, after, pause):
    programs = "".join(
        f'<program role="{role}"><source name="{role}.c"><![CDATA[{code}]]></source>'
        f'<build command="gcc -O1 {role}.c -o {role} $(pkg-config --cflags --libs mvm)"/><run>./{role}</run></program>'
        for role, code in (("source", SOURCE), ("sink", SINK), ("tick", TICK), ("tock", TOCK)))
    return f"""<?xml version="1.0"?>
<lab xmlns="urn:mvm:lab:1" name="rewired">
  <param name="seconds" type="integer" default="{seconds}"/>
  <param name="after" type="integer" default="{after}"/>
  <param name="pause" type="integer" default="{pause}"/>
  {topology("straight")}
  {machines}
  <job xmlns="urn:mvm:job:1" name="rewired">{programs}</job>
</lab>
""".replace("DRIVER", driver)


ONE_HOST = ('<machines name="a" role="source tick" driver="DRIVER" count="1" memory="128MiB"/>'
            '<machines name="b" role="sink tock" driver="DRIVER" count="1" memory="128MiB"/>')


class Running:
    """The job, on its way. `pause`: microseconds between two messages of a source."""

    def __init__(self, place, seconds, driver="process", machines=ONE_HOST, after=4, pause=0):
        self.place = place
        for name in LINKS:
            (place.folder / f"{name}.xml").write_text(topology(name))
        path = place.folder / "job.xml"
        path.write_text(job(driver, machines, seconds, after, pause))
        self.id = place.mvm("submit", path, "--parsable", "--detach").stdout.strip()
        self.end = 0  # its processes work at least until then

        def runs():
            self.end = time.monotonic() + seconds
            return self.started() or self.state() == "FAILED"

        wait_until(runs, 120, "the job does not run")
        if self.state() != "RUNNING":
            raise AssertionError(place.mvm("job", "why", self.id).stdout + place.mvm("job", "logs", self.id).stdout)

    def started(self):
        """All processes were asked to start; a rewiring before that would wait for it."""
        return "job.running" in self.place.mvm("events", "--job", self.id, "-o", "jsonl", check=False).stdout

    def state(self):
        done = self.place.mvm("job", "status", self.id, "-o", "json", check=False)
        return world.json.loads(done.stdout)["state"] if done.returncode == 0 else ""

    def apply(self, name, check=True, **more):
        return self.place.mvm("lab", "apply", self.id, self.place.folder / f"{name}.xml", "-o", "json", check=check,
                              **more)

    def transports(self):
        return {one["from"]: one["transport"] for one in self.place.json("link", "list")["items"]}

    def links(self):
        return {(one["from"], one["to"]) for one in self.place.json("link", "list")["items"]}

    def check(self, test, seconds=120):
        wait_until(lambda: self.state() in ("DONE", "FAILED", "CANCELLED"), seconds, "the job does not end")
        printed = self.place.mvm("job", "logs", self.id)
        log = printed.stdout + printed.stderr
        test.assertEqual(self.state(), "DONE", log + self.place.mvm("job", "why", self.id).stdout)
        sent = [int(n) for n in re.findall(r"sent (\d+)", log)]
        test.assertEqual(len(sent), 2, log)
        got = {0: [0, 0], 1: [0, 0]}
        for source, count, total in re.findall(r"got (\d) (\d+) (\d+)", log):
            got[int(source)][0] += int(count)
            got[int(source)][1] += int(total)
        # Each sink saw rising numbers only; together they have every number once.
        test.assertEqual(sorted(got[s][0] for s in got), sorted(sent), log)
        test.assertEqual(sorted(got[s][1] for s in got), sorted(n * (n + 1) // 2 for n in sent), log)
        test.assertNotIn("disorder", log)
        return sent, float(re.search(r"gap ([0-9.]+)", log).group(1))


def rewire_for(test, running, seconds, most=10**9, order=ORDER):
    """Applies one topology after the other while the job's processes work; how many."""
    end = min(time.monotonic() + seconds, running.end - 1.5)
    done = 0
    while time.monotonic() < end and done < most:
        said = running.apply(order[done % len(order)], check=False)
        if said.returncode != 0 and time.monotonic() > running.end:
            break  # on a busy machine
        test.assertEqual(said.returncode, 0, said.stderr)
        test.assertEqual(world.json.loads(said.stdout)["state"], "switched")
        done += 1
    return done


class Rewire(unittest.TestCase):
    driver = "process"
    seconds = 6

    def test_a_checked_stream(self):
        with World((self.driver,)) as place:
            place.start()
            running = Running(place, self.seconds, self.driver)
            plan = world.json.loads(place.mvm("lab", "apply", running.id, place.folder / "crossed.xml", "--dry-run",
                                              "-o", "json").stdout)
            self.assertEqual((plan["state"], plan["redirected"] + plan["added"], plan["unchanged"]), ("planned", 2, 1))
            self.assertIn("join source[0].out to", "\n".join(plan["steps"]))
            done = rewire_for(self, running, self.seconds - 1.5)
            self.assertGreater(done, 3)
            sent, gap = running.check(self)
            print(f"{self.driver}: {done} rewirings, {sum(sent)} messages, longest silence of an untouched pair "
                  f"{gap * 1000:.1f} ms")
            place.expect_nothing_left()

    def test_one_that_comes_too_late_and_one_link_at_a_time(self):
        with World((self.driver,)) as place:
            place.start()
            running = Running(place, self.seconds + 3, self.driver)
            before = running.links()
            late = place.mvm("lab", "apply", running.id, place.folder / "crossed.xml", "--deadline", "1ms", check=False)
            self.assertEqual(late.returncode, 5, late.stdout + late.stderr)
            self.assertEqual(running.links(), before)  # it came too late and was undone
            self.assertIn(("source[0].out", "sink[0].in"), before)
            names = {one["from"]: one["link"] for one in place.json("link", "list")["items"]}
            place.mvm("link", "disconnect", names["source[0].out"])
            self.assertEqual(running.links(), before - {("source[0].out", "sink[0].in")})
            bad = place.mvm("link", "connect", "source[1].out", "sink[0].in", check=False)
            self.assertEqual(bad.returncode, 1, bad.stderr)
            self.assertIn("disconnect", bad.stderr)
            bad = place.mvm("link", "connect", "source[0].out", "sink[0].in", "--type", "heap", check=False)
            self.assertEqual(bad.returncode, 2, bad.stderr)
            place.mvm("link", "connect", "source[0].out", "sink[1].in", "--job", running.id, "--capacity", "5")
            capacity = {one["from"]: one["capacity"] for one in place.json("link", "list")["items"]}
            self.assertEqual(capacity["source[0].out"], 5)
            running.check(self)
            gone = place.mvm("link", "disconnect", names["tick[0].out"], "--job", running.id, check=False)
            self.assertEqual(gone.returncode, 1, gone.stderr)
            place.expect_nothing_left()

    def test_a_link_s_attributes_change_under_a_checked_stream(self):
        with World((self.driver,)) as place:
            place.start()
            running = Running(place, self.seconds + 9, self.driver)
            ends = running.links()
            names = {one["from"]: one["link"] for one in place.json("link", "list")["items"]}
            first, second = names["source[0].out"], names["source[1].out"]

            def change(link, *words, **more):
                return place.mvm("link", "set", running.id, link, *words, **more)

            plan = world.json.loads(change(first, "capacity=7", "--dry-run", "-o", "json").stdout)
            self.assertEqual((plan["state"], plan["changed"], plan["unchanged"]), ("planned", 1, 2))
            bad = change(first, "capcity=7", check=False)
            self.assertEqual(bad.returncode, 2, bad.stderr)
            self.assertIn("did you mean capacity?", bad.stderr)
            bad = change(first, "when-full=drop", check=False)
            self.assertEqual(bad.returncode, 2, bad.stderr)
            bad = change("nothing", "capacity=7", check=False)
            self.assertEqual(bad.returncode, 1, bad.stderr)
            # Queues with locks and without, long and short, that keep all they are given.
            turns = ["capacity=7", "type=priority", "bytes=4KiB", "capacity=1000 type=fifo", "ttl=1h", "ttl= bytes=64KiB",
                     "deliver=every-one", "codec=checksum", "timeout=1h", "capacity=1 codec= timeout= deliver="]
            done = 0
            while time.monotonic() < running.end - 9 or done < len(turns):
                words = turns[done % len(turns)].split()
                answer = world.json.loads(change((first, second)[done % 2], *words, "-o", "json").stdout)
                self.assertIn(answer["state"], ("switched", "unchanged"))
                done += 1
                if done == 3:
                    place.stop()
                    place.start()
            change(first, "capacity=12", "when-full=block")
            change(second, "capacity=13")
            now = {one["link"]: one["capacity"] for one in place.json("link", "list")["items"]}
            self.assertEqual((now[first], now[second]), (12, 13))
            self.assertEqual(running.links(), ends)
            running.check(self)
            print(f"{self.driver}: {done} changes of attributes")
            place.expect_nothing_left()


class Crashes(unittest.TestCase):
    def crash_at(self, point):
        with World() as place:
            place.start("--crash-at", point)
            running = Running(place, 8, pause=500)
            place.mvm_unless_it_dies("lab", "apply", running.id, place.folder / "crossed.xml")
            wait_until(lambda: place.daemon.poll() is not None, 10, f"mvmd does not die at {point}")
            place.start()
            running.check(self)

    def test_mvmd_dies_on_the_way(self):
        points = ("rewire-prepare:partial", "PREPARING>SWITCHING:uncommitted", "PREPARING>SWITCHING:committed",
                  "rewire-switch:after", "rewire-sweep:partial")
        with concurrent.futures.ThreadPoolExecutor(len(points)) as pool:  # a world each, which mostly waits
            for point, done in [(point, pool.submit(self.crash_at, point)) for point in points]:
                with self.subTest(point):
                    done.result()

    def test_kernels_die_on_the_way(self):
        with World() as place:
            place.start()
            running = Running(place, 9)
            killed = 0
            for name in ("crossed", "shared", "straight", "both", "straight"):
                with subprocess.Popen([world.MVM, "lab", "apply", running.id, place.folder / f"{name}.xml"],
                                      env=place.environment(), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE) as client:
                    for pid in kernels(place):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                            killed += 1
                    _, problem = client.communicate(timeout=60)
                    self.assertEqual(client.returncode, 0, problem)
            self.assertGreater(killed, 4)
            running.check(self)
            place.expect_nothing_left()


def kernels(place):
    """The threaded kernels: the launchers and shepherds of the same program have names of their own."""
    found = []
    for pid, line in place.processes().items():
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
                if "mvm-kernel" in line and file.read().strip() == "mvm-kernel":
                    found.append(pid)
    return found


class Soak(unittest.TestCase):
    def test_thousands(self):
        with World() as place:
            place.start()
            quiet = Running(place, 60)
            _, without = quiet.check(self, 180)
            running = Running(place, 900)
            done = rewire_for(self, running, 890, most=2000)
            sent, gap = running.check(self, 1200)
            print(f"{done} rewirings, {sum(sent)} messages; longest silence {gap * 1000:.1f} ms, without rewirings "
                  f"{without * 1000:.1f} ms")
            self.assertGreater(done, 500)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--driver", default="process")
    parser.add_argument("--soak", action="store_true")
    arguments, rest = parser.parse_known_args()
    Rewire.driver = arguments.driver
    names = ["Soak"] if arguments.soak else ["Rewire"] if arguments.driver != "process" else ["Rewire", "Crashes"]
    unittest.main(argv=sys.argv[:1] + (rest or names))

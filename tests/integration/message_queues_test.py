"""Links that a topology forces over POSIX and Boost message queues: what they carry arrives whole, on from the start or
swapped to and fro under a running job, the system has the queues while the job runs, and nothing of them is left, however
the lab child ends."""
import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import unittest

import rewire_test
from world import World, wait_until

JOB = r"""<job xmlns="urn:mvm:job:1" name="queues">
  <param name="count" type="integer" default="2000"/>
  <topology xmlns="urn:mvm:topology:1" name="flow">
    <role name="source"><port name="out" direction="out"/><port name="back" direction="in"/></role>
    <role name="sink"><port name="in" direction="in"/><port name="back" direction="out"/></role>
    <link name="flow" from="source.out" to="sink.in" transport="TRANSPORT"><queue bytes="64KiB"/></link>
    <link name="back" from="sink.back" to="source.back"/>
  </topology>
  <program role="source"><source name="source.c"><![CDATA[COMMON
int main(void) {
  if (mvm_attach() < 0) return 90;
  const uint32_t count = (uint32_t)atoi(mvm_param("count"));
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t size = make(i);
    if (mvm_enqueue(mvm_port("out", 0), bytes, size, NULL) != MVM_OK) return 91;
    uint32_t told = 0;
    if (i % 16 == 15 && (mvm_dequeue(mvm_port("back", 0), &told, sizeof told, NULL) != sizeof told || told != i)) return 92;
  }
  return mvm_detach() < 0;
}
]]></source><build command="gcc -O1 source.c -o source $(pkg-config --cflags --libs mvm)"/><run>./source</run></program>
  <program role="sink"><source name="sink.c"><![CDATA[COMMON
int main(void) {
  static unsigned char got[MOST];
  if (mvm_attach() < 0) return 90;
  uint32_t i = 0;
  for (int64_t size = 0; (size = mvm_dequeue(mvm_port("in", 0), got, sizeof got, NULL)) >= 0; ++i) {
    if (size != make(i) || memcmp(got, bytes, (size_t)size) != 0) return printf("message %u is another\n", i), 93;
    if (i % 16 == 15) mvm_enqueue(mvm_port("back", 0), &i, sizeof i, NULL);
  }
  printf("whole %u\n", i);
  return mvm_detach() < 0;
}
]]></source><build command="gcc -O1 sink.c -o sink $(pkg-config --cflags --libs mvm)"/><run>./sink</run></program>
  <machines role="source" driver="DRIVER" image="host" count="1" memory="128MiB"/>
  <machines role="sink" driver="DRIVER" image="host" count="1" memory="128MiB"/>
  <limit walltime="3m" retries="RETRIES"/>
</job>
""".replace("COMMON", r"""
#include <mvm.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define MOST 150000
static unsigned char bytes[MOST];
/* Fills in message number i; its size, from none at all to more than the queue holds. */
static uint32_t make(uint32_t i) {
  uint32_t state = i * 2654435761u + 1, size = i % 50 == 7 ? MOST : i % 50 == 8 ? 0 : state % 20000;
  for (uint32_t k = 0; k < size; ++k) bytes[k] = (unsigned char)((state = state * 1664525u + 1013904223u) >> 24);
  return size;
}
""")
NAME = re.compile(r"mvm-[0-9a-f]{32}")


def names():
    """Names of message queues, of whatever kind, that are there now."""
    found = {name for name in os.listdir("/dev/shm") if NAME.match(name)}
    with tempfile.TemporaryDirectory(prefix="mvm-mqueue.") as folder:
        subprocess.run(["mount", "-t", "mqueue", "none", folder], check=True, capture_output=True)
        try:
            found |= {name for name in os.listdir(folder) if NAME.match(name)}
        finally:
            subprocess.run(["umount", folder], check=True)
    return found


def lab_child(place):
    return next((pid for pid, line in place.processes().items() if "mvmd lab " in line), None)


def queues_of(pid):
    """Message queues that a process has open: (POSIX ones, Boost's)."""
    folder = pathlib.Path(f"/proc/{pid}")
    posix = set()
    for fd in (folder / "fd").iterdir():
        with contextlib.suppress(OSError):
            if NAME.search(os.readlink(fd)) and "/dev/shm/" not in os.readlink(fd):
                posix.add(fd.name)
    boost = {line.split(maxsplit=5)[4] for line in (folder / "maps").read_text().splitlines() if NAME.search(line)}
    return len(posix), len(boost)


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class MessageQueues(unittest.TestCase):
    def submit(self, place, transport, driver="process", count=2000, retries=3):
        profile = place.folder / f"{transport}.xml"
        profile.write_text(JOB.replace("TRANSPORT", transport).replace("DRIVER", driver).replace("RETRIES", str(retries)))
        shown = {link["link"]: (link["transport"], link["forced"]) for link in place.json("plan", profile)["links"]}
        self.assertEqual(shown, {"flow": (transport, True), "back": ("shm", False)})
        return place.mvm("submit", profile, "--set", f"count={count}", "--detach", "--parsable").stdout.strip()

    def finish(self, place, job, count):
        wait_until(lambda: place.json("job", "status", job)["state"] in ("DONE", "FAILED"), 120, "the job does not end")
        log = place.mvm("job", "logs", job).stdout
        self.assertEqual(place.json("job", "status", job)["state"], "DONE", log + place.mvm("job", "why", job).stdout)
        self.assertIn(f"whole {count}", log)

    def wait_for_queues(self, place, which):
        """Until both proxies of the lab child have opened both queues."""
        counts = []

        def there():
            pid = lab_child(place)
            with contextlib.suppress(OSError):
                counts[:] = queues_of(pid) if pid else ()
            return counts and counts[which] > 0

        wait_until(there, 60, "the lab child has no message queues")
        return counts

    def carry(self, driver):
        before = names()
        with World((driver,)) as place:
            place.start()
            for which, transport in enumerate(("posix-mq", "boost-mq")):
                with self.subTest(transport):
                    job = self.submit(place, transport, driver)
                    counts = self.wait_for_queues(place, which)
                    self.assertEqual(counts[1 - which], 0, counts)
                    self.finish(place, job, 2000)
                    place.expect_nothing_left()
                    self.assertEqual(names(), before)

    def test_a_link_is_forced_over_them(self):
        self.carry("process")

    def test_a_link_between_containers_is_forced_over_them(self):
        self.carry("lxc")

    def test_a_lab_child_that_is_killed_leaves_nothing(self):
        before = names()
        with World() as place:
            place.start()
            for which, transport in enumerate(("posix-mq", "boost-mq")):
                with self.subTest(transport):
                    job = self.submit(place, transport, count=6000)
                    self.wait_for_queues(place, which)
                    killed = lab_child(place)
                    os.kill(killed, signal.SIGKILL)
                    wait_until(lambda: place.json("job", "status", job)["attempt"] == 2, 60, "there is no other attempt")
                    self.finish(place, job, 6000)
                    place.expect_nothing_left()
                    self.assertEqual(names(), before)

    def test_where_the_system_lets_nobody_have_queues_the_job_says_so(self):
        with World() as place:
            place.prefix = ["setpriv", "--bounding-set", "-sys_resource", "prlimit", "--msgqueue=1000:1000"]
            place.start()
            job = self.submit(place, "posix-mq", retries=0)
            wait_until(lambda: place.json("job", "status", job)["state"] in ("DONE", "FAILED"), 60, "the job does not end")
            self.assertIn("RLIMIT_MSGQUEUE", place.mvm("job", "why", job).stdout)
            place.expect_nothing_left()

    def test_running_links_are_swapped(self):
        before = names()
        with World() as place:
            place.start()
            running = rewire_test.Running(place, 8)
            for name, transport in (("posix", "posix-mq"), ("boost", "boost-mq")):
                running.apply(name)
                self.assertEqual(running.transports(), {"source[0].out": transport, "source[1].out": transport,
                                                        "tick[0].out": "shm"})
            links = {one["from"]: one["link"] for one in place.json("link", "list")["items"]}
            place.mvm("link", "set", running.id, links["source[0].out"], "transport=posix-mq")
            self.assertEqual(running.transports(), {"source[0].out": "posix-mq", "source[1].out": "boost-mq",
                                                    "tick[0].out": "shm"})
            self.assertIn("boost-mq forced", place.mvm("link", "list").stdout)
            self.assertIn("posix-mq forced", place.mvm("lab", "graph", place.json("job", "status", running.id)["lab"]).stdout)
            rewire_test.rewire_for(self, running, 8, most=8, order=["clear", "boost", "straight", "posix"])
            sent, gap = running.check(self)
            print(f"{sum(sent)} messages, longest silence of an untouched pair {gap * 1000:.1f} ms")
            place.expect_nothing_left()
            self.assertEqual(names(), before)


if __name__ == "__main__":
    unittest.main()

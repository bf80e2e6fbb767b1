"""Two QEMU guests and a container of one host in a ring of links: through the memory that they share, and over TCP where the
topology says so. What arrives is whole and in order; the memory goes with the lab, whatever was killed before."""
import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import unittest

import world
from world import World, wait_until

MESSAGES = 400
PROGRAM = """<program role="ROLE">
    <source name="ring.c"><![CDATA[
#include <mvm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static unsigned char text[262144], wanted[262144];
static size_t make(unsigned i, unsigned char* into) {  // of any size, and like no other
  unsigned state = i * 2654435761u + 1;
  size_t size = i % 10 == 0 ? state % 200000 : state % 3000;
  for (size_t at = 0; at < size; ++at) into[at] = (unsigned char)((state += 2654435761u) >> 24);
  return size;
}
int main(int argc, char** argv) {
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0), lead = strcmp(mvm_role(), "one") == 0;
  unsigned sent = 0, whole = 0;
  int64_t got;
  mvm_opts soon = MVM_OPTS_INIT;
  soon.timeout_ns = MVM_MS(60000);
  for (; lead && sent < 20; ++sent)
    if (mvm_enqueue(out, text, make(sent, text), &soon) < 0) return 91;
  while ((got = mvm_dequeue(in, text, sizeof text, &soon)) >= 0) {
    size_t size = make(whole, wanted);
    if ((size_t)got != size || memcmp(text, wanted, size) != 0) return 92;
    ++whole;
    if (!lead && mvm_enqueue(out, text, size, &soon) < 0) return 93;
    if (lead && sent < MESSAGES && mvm_enqueue(out, text, make(sent, text), &soon) < 0) return 94;
    if (lead && sent < MESSAGES) ++sent;
    if (lead && whole == 40) { printf("on its way\\n"); fflush(stdout); sleep(PAUSE); }
    if (lead && sent == MESSAGES) mvm_port_done(out);
  }
  printf("%u whole, then %d\\n", whole, (int)got);
  return got != MVM_EOS || mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O1 ring.c -o ring $(pkg-config --cflags --libs mvm)"/>
    <run>./ring</run>
  </program>
"""
PROFILE = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="ring">
  <topology xmlns="urn:mvm:topology:1" name="ring">
    <role name="one"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <role name="two"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <role name="three"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <link name="guests" from="one.out" to="two.in"FORCED/>
    <link name="to-container" from="two.out" to="three.in"/>
    <link name="to-guest" from="three.out" to="one.in" transport="ivshmem"/>
  </topology>
  PROGRAMS
  <machines role="one" driver="qemu" image="qemu-debian" count="1" memory="256MiB"/>
  <machines role="two" driver="qemu" image="qemu-debian" count="1" memory="256MiB"/>
  <machines role="three" driver="lxc" image="host" count="1" memory="256MiB"/>
  <limit walltime="4m" retries="0"/>
</job>
""".replace("PROGRAMS", "".join(PROGRAM.replace("ROLE", role) for role in ("one", "two", "three"))).replace(
    "MESSAGES", str(MESSAGES))


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Ivshmem(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="mvm-ivshmem-")))
        os.chmod(folder, 0o755)
        subprocess.run([world.SOURCE / "packaging/make-qemu-image", folder / "image"], check=True, capture_output=True,
                       timeout=120)
        self.place = World(("lxc", "qemu"), options=["--qemu-image", str(folder / "image")])
        self.stack.enter_context(self.place)
        self.place.start()

    def submit(self, forced="", pause=0):
        profile = self.place.folder / "ring.xml"
        profile.write_text(PROFILE.replace("FORCED", forced).replace("PAUSE", str(pause)))
        return self.place.mvm("submit", profile, "--detach", "--parsable").stdout.strip()

    def state(self, job):
        return self.place.json("job", "status", job)["state"]

    def transports(self):
        links = wait_until(lambda: self.place.json("link", "list")["items"], 60, "no links")
        return {link["link"]: link["transport"] for link in links}

    def ends(self, job, state):
        wait_until(lambda: self.state(job) in ("DONE", "FAILED", "CANCELLED"), 200, "the job does not end")
        logs = self.place.mvm("job", "logs", job).stdout
        self.assertEqual(self.state(job), state, f"{logs}\n{self.place.json('job', 'status', job)}\n{self.place.log_tail()}")
        return logs

    def child(self):
        """The pid of the lab's child."""
        return next((pid for pid, line in self.place.processes().items() if "mvmd lab " in line), None)

    def test_guests_and_a_container_in_a_ring(self):
        job = self.submit()
        self.assertEqual(self.transports(), {"guests": "ivshmem", "to-container": "ivshmem", "to-guest": "ivshmem"})
        wait_until(lambda: [region.stat().st_size for region in self.place.regions()] == [8 << 20], 60, "no shared memory")
        logs = self.ends(job, "DONE")
        self.assertEqual(logs.count(f"{MESSAGES} whole, then "), 3, logs)
        self.place.expect_nothing_left()

        # The same by TCP between the guests, which passes their host, and with mvmd and the lab's child killed on the way.
        job = self.submit(' transport="tcp"', pause=60)
        self.assertEqual(self.transports(), {"guests": "tcp", "to-container": "ivshmem", "to-guest": "ivshmem"})
        wait_until(lambda: "on its way" in self.place.mvm("job", "logs", job).stdout, 150, "nothing arrives")
        child = self.child()
        self.place.kill(signal.SIGKILL)
        self.assertEqual(len(self.place.regions()), 1, "running guests use it")
        os.kill(child, signal.SIGKILL)
        self.place.start()
        self.ends(job, "FAILED")
        self.place.expect_nothing_left()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)

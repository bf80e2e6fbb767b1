"""One lab across two hosts: two network namespaces joined by a cable, each with its own mvmd and libvirtd."""
import contextlib
import os
import subprocess
import unittest
import uuid

from world import MVMD, World, wait_until

RING = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="across">
  <topology xmlns="urn:mvm:topology:1" name="ping">
    <role name="left"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <role name="right"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <link from="left.out" to="right.in"/>
    <link from="right.out" to="left.in"/>
  </topology>
  <program role="left">
    <source name="left.c"><![CDATA[
#include <mvm.h>
#include <stdio.h>
int main(void) {
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0), value = 0;
  for (int i = 0; i < 1000; ++i) {
    if (mvm_enqueue(out, &value, sizeof value, NULL) < 0) return 91;
    if (mvm_dequeue(in, &value, sizeof value, NULL) != sizeof value) return 92;
  }
  printf("counted to %d\\n", value);
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O2 left.c -o left $(pkg-config --cflags --libs mvm)"/>
    <run>./left</run>
  </program>
  <program role="right">
    <source name="right.c"><![CDATA[
#include <mvm.h>
int main(void) {
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0), value;
  while (mvm_dequeue(in, &value, sizeof value, NULL) == sizeof value) {
    ++value;
    if (mvm_enqueue(out, &value, sizeof value, NULL) < 0) return 91;
  }
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O2 right.c -o right $(pkg-config --cflags --libs mvm)"/>
    <run>./right</run>
  </program>
  <machines role="left" driver="lxc" host="h1" count="1" memory="128MiB"/>
  <machines role="right" driver="lxc" host="h2" count="1" memory="128MiB"/>
  <limit walltime="2m"/>
</job>
"""


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=30)


class Cable:
    """Two network namespaces and the link between them."""

    def __init__(self):
        tag = uuid.uuid4().hex[:6]
        self.names = (f"mvm-a-{tag}", f"mvm-b-{tag}")
        self.addresses = ("10.77.91.1", "10.77.91.2")

    def __enter__(self):
        try:
            for name in self.names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("link", "add", "cable", "netns", self.names[0], "type", "veth", "peer", "name", "cable", "netns",
               self.names[1])
            for name, address in zip(self.names, self.addresses):
                ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
                ip("-n", name, "link", "set", "cable", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            ip("netns", "del", name, check=False)


@unittest.skipUnless(os.geteuid() == 0, "needs root: makes network namespaces")
class TwoHosts(unittest.TestCase):
    def test_a_lab_across_both(self):
        with contextlib.ExitStack() as stack:
            cable = stack.enter_context(Cable())
            first = World(("lxc",), "h1", netns=cable.names[0])
            second = World(("lxc",), "h2", netns=cable.names[1])
            stack.enter_context(first)
            stack.enter_context(second)
            keys = second.folder / "keys"
            first.state.mkdir()
            subprocess.run([MVMD, "--state", first.state, "--issue-host", "h2", "--address", cable.addresses[1],
                            "--out", keys], check=True, timeout=60)
            second.address = cable.addresses[1]
            second.options = ["--host-of", keys, "--advertise", cable.addresses[1]]
            second.start(wait=False)
            wait_until((second.state / "url").exists, 30, f"the second host does not start: {second.log_tail()}")
            first.options = ["--advertise", cable.addresses[0],
                             "--host", f"h2=https://{cable.addresses[1]}:{second.port}"]
            first.start()
            hosts = first.json("host", "list")["items"]
            self.assertEqual({host["name"] for host in hosts}, {"h1", "h2"})
            profile = first.folder / "across.xml"
            profile.write_text(RING)
            done = first.mvm("submit", profile, "--wait")
            self.assertIn("counted to 1000", done.stdout)
            first.expect_nothing_left()
            second.expect_nothing_left()


if __name__ == "__main__":
    unittest.main()

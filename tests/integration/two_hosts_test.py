"""One lab across two hosts: two network namespaces joined by a cable, each with its own mvmd and libvirtd."""
import contextlib
import os
import pathlib
import subprocess
import time
import unittest
import uuid

import rewire_test
from world import Cable, MVMD, World, ip, wait_until

MARKER = "a marker that nobody on the cable may read"
ROUNDS = 2500
RING = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="across">
  <topology xmlns="urn:mvm:topology:1" name="ping">
    <role name="left"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <role name="right"><port name="in" direction="in"/><port name="out" direction="out"/></role>
    <link from="left.out" to="right.in"/>
    <link from="right.out" to="left.in"/>
  </topology>
  <param name="rounds" type="integer" min="1" max="1000000" default="1000"/>
  <program role="left">
    <source name="left.c"><![CDATA[
#include <mvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
struct message { char words[64]; int value; };
int main(int count, char** words) {
  if (mvm_attach() < 0 || count != 2) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0);
  struct message message = {"MARKER", 0};
  for (int i = 0; i < atoi(words[1]); ++i) {
    if (mvm_enqueue(out, &message, sizeof message, NULL) < 0) return 91;
    if (mvm_dequeue(in, &message, sizeof message, NULL) != sizeof message) return 92;
    if (message.value != i + 1) return 93;
    usleep(3000);
  }
  printf("counted to %d\\n", message.value);
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O2 left.c -o left $(pkg-config --cflags --libs mvm)"/>
    <run>./left ${rounds}</run>
  </program>
  <program role="right">
    <source name="right.c"><![CDATA[
#include <mvm.h>
struct message { char words[64]; int value; };
int main(void) {
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0);
  struct message message;
  while (mvm_dequeue(in, &message, sizeof message, NULL) == sizeof message) {
    ++message.value;
    if (mvm_enqueue(out, &message, sizeof message, NULL) < 0) return 91;
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
""".replace("MARKER", MARKER)

# Counts the bytes on the cable, and how often the marker is among them, until its standard input ends.
LISTENER = """
import select, socket, sys
raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
raw.bind(("cable", 0))
print("listening", flush=True)
size = found = 0
marker = sys.argv[1].encode()
while True:
    ready = select.select([raw, sys.stdin], [], [])[0]
    if raw in ready:
        frame = raw.recv(65536)
        size += len(frame)
        found += frame.count(marker)
    elif ready:
        break
print(size, found, flush=True)
"""


class Listener:
    """Reads all that passes on the cable."""

    def __init__(self, cable):
        self.child = subprocess.Popen(["ip", "netns", "exec", cable.names[0], "python3", "-c", LISTENER, MARKER],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "listening\n"

    def __enter__(self):
        return self

    def end(self):
        """Bytes seen, and how often the marker was among them."""
        said, _ = self.child.communicate(timeout=20)
        return tuple(int(word) for word in said.split())

    def __exit__(self, *_):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()


@unittest.skipUnless(os.geteuid() == 0, "needs root: makes network namespaces")
class TwoHosts(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.cable = self.stack.enter_context(Cable())
        self.first = World(("lxc",), "h1", netns=self.cable.names[0])
        self.second = World(("lxc",), "h2", netns=self.cable.names[1])
        self.stack.enter_context(self.first)
        self.stack.enter_context(self.second)
        self.broker = f"{self.cable.addresses[0]}:{self.first.port}"
        self.first.options = ["--listen-tls", self.broker]
        self.second.address = self.cable.addresses[1]

    def invite(self, *more):
        return self.first.json("host", "invite", *more)["token"]

    def expect_no_join(self, code, words, token, broker=None, name="h2"):
        """A join that fails says why, with its exit code, and leaves nothing behind."""
        state = self.second.folder / "elsewhere"
        done = subprocess.run([*self.second.prefix, MVMD, "--state", state, "--name", name, "--drivers", "process",
                               "--listen", f"{self.second.address}:{self.second.port}",
                               "--join", broker or self.broker, "--token", token],
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(words, done.stderr)
        self.assertNotIn(token, done.stderr)
        self.assertFalse(state.exists(), list(state.iterdir()) if state.exists() else "")

    def start_second(self, token=None):
        (self.second.state / "url").unlink(missing_ok=True)
        self.second.options = ["--join", self.broker, "--token", token] if token else []
        self.second.start(wait=False)
        wait_until((self.second.state / "url").exists, 30,
                   "the second host does not start")

    def host_states(self):
        return {host["name"]: host["state"] for host in self.first.json("host", "list")["items"]}

    def expect_up(self):
        wait_until(lambda: self.host_states() == {"h1": "up", "h2": "up"}, 30, "the hosts do not come up")

    def messages(self):
        """How many messages the queues of the second host have seen."""
        return sum(queue["dequeued"] for queue in self.first.json("queue", "top")["items"])

    def expect_progress(self):
        before = self.messages()
        wait_until(lambda: self.messages() > before + 50, 30, "the links do not resume")

    def run_forced(self, name, transport, hosts=("h1", "h2"), rounds=100):
        """A job whose first link is forced to a transport: its links while it runs, and how often the cable saw the marker."""
        text = RING.replace('<link from="left.out" to="right.in"/>',
                            f'<link from="left.out" to="right.in" transport="{transport}"/>')
        for old, new in zip(('host="h1"', 'host="h2"'), hosts):
            text = text.replace(f'driver="lxc" {old}', f'driver="lxc" host="{new}"')
        profile = self.first.folder / f"{name}.xml"
        profile.write_text(text)
        with Listener(self.cable) as listener:
            job = self.first.mvm("submit", profile, "--set", f"rounds={rounds}", "--detach", "--parsable").stdout.strip()
            wait_until(lambda: self.first.json("queue", "top")["items"], 30, "the job does not run")
            links = self.first.json("link", "list")["items"]
            wait_until(lambda: self.first.json("job", "status", job)["state"] in ("DONE", "FAILED"), 60, "it does not end")
            _, found = listener.end()
        self.assertEqual(self.first.json("job", "status", job)["state"], "DONE", self.first.mvm("job", "logs", job).stdout)
        self.assertIn(f"counted to {rounds}", self.first.mvm("job", "logs", job).stdout)
        shown = [(link["transport"], link["forced"]) for link in sorted(links, key=lambda link: link["from"])]
        return shown, found

    def check_forced_transports(self):
        # One link in the clear beside one with TLS, between the same two proxies: the cable sees the first one only.
        shown, found = self.run_forced("clear", "tcp")
        self.assertEqual(shown, [("tcp", True), ("tcp+tls", False)])
        self.assertGreaterEqual(found, 100)
        self.assertLess(found, 120)
        # Out of shared memory and back, inside one host.
        shown, found = self.run_forced("loop", "tcp", hosts=("h2", "h2"))
        self.assertEqual((shown, found), ([("tcp", True), ("shm", False)], 0))
        # What cannot be had makes the plan impossible, and says why.
        profile = self.first.folder / "impossible.xml"
        profile.write_text(RING.replace('to="right.in"/>', 'to="right.in" transport="shm"/>'))
        plan = self.first.mvm("plan", profile, check=False)
        self.assertEqual(plan.returncode, 3)
        self.assertIn("transport shm is forced, but from host:h1 to host:h2 there is tcp+tls, or tcp where forced",
                      plan.stdout + plan.stderr)
        # Where it is left to the planner, it keeps both ends in one memory.
        profile.write_text(profile.read_text().replace(' host="h1"', "").replace(' host="h2"', ""))
        view = self.first.json("plan", profile)
        self.assertEqual(len({node["host"] for node in view["nodes"]}), 1)
        self.assertEqual([(link["transport"], link["forced"]) for link in view["links"]], [("shm", True), ("shm", False)])
        profile.write_text(profile.read_text().replace('"shm"', '"smh"'))
        wrong = self.first.mvm("validate", profile, check=False)
        self.assertEqual(wrong.returncode, 2, wrong.stderr)
        self.assertIn("found transport 'smh', expected shm, ivshmem, tcp, tcp+tls, tls, posix-mq or boost-mq; did you mean shm?",
                      wrong.stdout + wrong.stderr)

    def check_swapped_transports(self):
        # Under a checked stream links change between TLS and none; the host opens its other port in mid-job.
        machines = "".join(f'<machines name="{name}" role="{roles}" driver="DRIVER" host="{host}" count="1" memory="128MiB"/>'
                           for name, roles, host in (("a", "source tick", "h1"), ("b", "sink tock", "h2")))
        running = rewire_test.Running(self.first, 12, "lxc", machines)
        self.assertEqual(set(running.transports().values()), {"tcp+tls"})
        running.apply("clear")
        self.assertEqual(running.transports(), {"source[0].out": "tcp", "source[1].out": "tcp", "tick[0].out": "tcp+tls"})
        done = rewire_test.rewire_for(self, running, 7, most=8, order=["straight", "clear", "crossed", "clear"])
        self.assertGreater(done, 1)
        running.apply("clear")
        link = next(one["link"] for one in self.first.json("link", "list")["items"] if one["from"] == "source[1].out")
        self.first.mvm("link", "set", running.id, link, "transport=tls")
        self.assertEqual(running.transports(), {"source[0].out": "tcp", "source[1].out": "tcp+tls", "tick[0].out": "tcp+tls"})
        (self.first.folder / "shared-memory.xml").write_text(
            rewire_test.topology("clear").replace('transport="tcp"', 'transport="shm"'))
        refused = running.apply("shared-memory", check=False)
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("the processes of a running job stay where they are", refused.stdout + refused.stderr)
        sent, _ = running.check(self)
        print(f"{done + 2} rewirings across hosts, {sum(sent)} messages")

    def test_a_lab_across_both(self):
        first, second, cable = self.first, self.second, self.cable
        first.start()

        # Who may not join, and why.
        good = self.invite()
        self.expect_no_join(2, "no join token", "rubbish")
        other = ("0" if good[-1] != "0" else "1")
        self.expect_no_join(7, "is not the broker that made this token", good[:-1] + other)
        unknown = good[:5] + ("0" if good[5] != "0" else "1") + good[6:]
        self.expect_no_join(7, "is not known here", unknown)
        self.expect_no_join(6, "cannot be reached", good, broker=f"{cable.addresses[0]}:1")
        self.expect_no_join(1, "a host called h1 is here already", good, name="h1")
        self.expect_no_join(7, "is for a host called h3", self.invite("h3"))
        self.assertEqual(self.host_states(), {"h1": "up"})

        # Who may.
        self.start_second(good)
        self.expect_up()
        self.expect_no_join(7, "was used already", good, name="h4")
        self.assertNotIn(good, first.log_tail(10000) + second.log_tail(10000))
        line = pathlib.Path(f"/proc/{second.daemon.pid}/cmdline").read_bytes().decode()
        self.assertNotIn(good, line)

        # A job across both, in the dark.
        profile = first.folder / "across.xml"
        profile.write_text(RING)
        with Listener(cable) as listener:
            job = first.mvm("submit", profile, "--set", f"rounds={ROUNDS}", "--detach", "--parsable").stdout.strip()
            wait_until(lambda: first.json("queue", "top")["items"], 20, "the job does not run")
            self.expect_progress()
            links = first.json("link", "list")["items"]
            self.assertEqual({link["transport"] for link in links}, {"tcp+tls"})

            # The cable is cut for 5 s; each end's daemon dies and comes back, the second by its record alone.
            ip("-n", cable.names[1], "link", "set", "cable", "down")
            time.sleep(5)
            ip("-n", cable.names[1], "link", "set", "cable", "up")
            self.expect_up()
            self.expect_progress()
            second.kill()
            self.start_second()
            self.expect_up()
            self.expect_progress()
            first.kill()
            first.start()
            self.expect_up()
            self.expect_progress()

            wait_until(lambda: first.json("job", "status", job)["state"] in ("DONE", "FAILED"), 60, "it does not end")
            size, found = listener.end()
        self.assertIn(f"counted to {ROUNDS}", first.mvm("job", "logs", job).stdout)
        status = first.json("job", "status", job)
        self.assertEqual((status["state"], status["attempt"]), ("DONE", 1))
        self.assertGreater(size, ROUNDS * 2 * len(MARKER))
        self.assertEqual(found, 0)
        first.expect_nothing_left()
        second.expect_nothing_left()

        self.check_forced_transports()
        self.check_swapped_transports()
        first.expect_nothing_left()
        second.expect_nothing_left()

        # Drained it gets nothing more, removed it is forgotten, and may come again.
        refused = first.mvm("host", "remove", "h2", check=False)
        self.assertIn("drain it first", refused.stderr)
        first.mvm("host", "drain", "h2")
        self.assertEqual(self.host_states()["h2"], "drained")
        plan = first.mvm("plan", profile, check=False)
        self.assertEqual(plan.returncode, 3)
        self.assertIn("drained", plan.stdout + plan.stderr)
        first.mvm("host", "remove", "h2")
        self.assertEqual(self.host_states(), {"h1": "up"})
        second.stop()
        self.start_second(self.invite("h2"))
        self.expect_up()
        second.stop()
        subprocess.run([MVMD, "--leave", "--state", second.state], check=True, timeout=60)
        self.assertFalse((second.state / "host").exists())


if __name__ == "__main__":
    unittest.main()

"""Kills each part of a working lab at each state of a job, and sees that the job ends as it should.

  kill_matrix_test.py [--driver lxc|qemu] [--all]

A cell is a victim and a state. The job is real: two nodes, a link between them, a result. What makes a state last is
the job itself: a slow build, a large file to stage, a program that takes its time, a large result. Without --all only
the cells that differ most are taken. MVM_KILL_CELLS="victim:STATE ..." picks some.
"""
import argparse
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

import world
from world import World, alive, wait_until

STATES = ("SUBMITTED", "PLANNED", "BUILDING", "BOOTING", "WIRING", "RUNNING", "COLLECTING")
ENDED = ("DONE", "FAILED", "CANCELLED")

PROFILE = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="kill">
  <topology xmlns="urn:mvm:topology:1" name="pair">
    <role name="source"><port name="out" direction="out"/></role>
    <role name="sink"><port name="in" direction="in"/></role>
    <link from="source.out" to="sink.in"/>
  </topology>
  <program role="source">
    <source name="source.c"><![CDATA[
#include <mvm.h>
#include <unistd.h>
int main(void) {
  if (mvm_attach() < 0) return 90;
  int out = mvm_port("out", 0);
  for (int i = 1; i <= 100; ++i) {
    if (mvm_enqueue(out, &i, sizeof i, NULL) < 0) return 91;
    usleep(PAUSE);
  }
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
int main(void) {  // CELL
  if (mvm_attach() < 0) return 90;
  int in = mvm_port("in", 0), value, sum = 0;
  while (mvm_dequeue(in, &value, sizeof value, NULL) == sizeof value) sum += value;
  FILE* file = fopen("sum.txt", "w");
  fprintf(file, "%d\\n", sum);
  ftruncate(fileno(file), RESULT);
  fclose(file);
  printf("sum %d\\n", sum);
  fflush(stdout);
  return mvm_detach() < 0;
}
]]></source>
    <build command="sleep BUILD; gcc sink.c -o sink $(pkg-config --cflags --libs mvm)"/>
    <run>./sink</run>
  </program>
  <machines role="source" driver="SOURCE" image="IMAGE" count="1" memory="256MiB"/>
  <machines role="sink" driver="lxc" image="host" count="1" memory="256MiB"/>
  STAGE
  <stage out="sum.txt" from="sink[0]"/>
  <limit walltime="5m" retries="RETRIES"/>
</job>
"""


def children(pid):
    with contextlib.suppress(OSError):
        return [int(child) for task in os.listdir(f"/proc/{pid}/task")
                for child in pathlib.Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return []


def descendants(pid):
    found = []
    for child in children(pid):
        found += [child, *descendants(child)]
    return found


def name_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def command_of(pid):
    with contextlib.suppress(OSError):
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return []


def kill(*pids):
    """kill -9; the pids that were there."""
    killed = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
    return killed


class Lab:
    """A world whose parts can be found and killed."""

    def __init__(self, place):
        self.place = place

    def virsh(self, *arguments, uri="LXC"):
        return subprocess.run(["virsh", "-q", "-c", self.place.libvirt[uri], *arguments], capture_output=True, text=True,
                              timeout=30).stdout.split()

    def containers(self):
        """The processes that stand for the containers on this host: libvirt's controllers."""
        found = []
        for path in (self.place.folder / "libvirt/run/lxc").glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if name_of(pid) == "libvirt_lxc":
                    found.append(pid)
        return sorted(found)

    def launchers(self):
        return [pid for controller in self.containers() for pid in children(controller)
                if name_of(pid) == "mvm-launcher"]

    def guests(self):
        found = []
        for path in (self.place.folder / "libvirt/run/qemu").glob("*.pid"):
            with contextlib.suppress(OSError, ValueError):
                pid = int(path.read_text())
                if name_of(pid).startswith("qemu-system"):
                    found.append(pid)
        return found

    # ---- the victims: each kills something once and says what; nothing: it was not there yet

    def kill_mvmd(self):
        self.place.kill()
        self.place.start()
        return ["mvmd"]

    def kill_kernel(self):
        return kill(*[pid for launcher in self.launchers() for pid in children(launcher)
                      if name_of(pid) == "mvm-kernel"][:1])

    def kill_launcher(self):
        return kill(*self.launchers()[:1])

    def kill_container(self):
        return kill(*self.containers()[:1])

    def kill_vm(self):
        for name in self.virsh("list", "--name")[:1]:
            self.virsh("destroy", name)
            return [name]
        return []

    def kill_guest(self):
        return kill(*self.guests()[:1])

    def libvirtd(self):
        with contextlib.suppress(OSError, ValueError):
            tini = int((self.place.folder / "libvirt/tini.pid").read_text().split()[0])
            return [pid for pid in children(tini) if name_of(pid) == "libvirtd"]
        return []

    def kill_libvirtd(self):
        killed = kill(*self.libvirtd())
        self.place.libvirtd_private("restart")
        return killed

    def kill_child(self):
        return kill(*self.children_of_labs())

    def children_of_labs(self):
        return [pid for pid in self.place.processes() if command_of(pid)[:2] == [str(world.MVMD), "lab"]]

    def kill_policy(self):
        return kill(*[pid for pid in children(self.place.daemon.pid) if "policy" in command_of(pid)[1:2]])

    # ---- several at once

    def kill_unseen(self):
        """A node goes while the daemon is dead."""
        if not self.containers():
            return []
        self.place.kill()
        killed = self.kill_container()
        self.place.start()
        return killed

    def kill_child_unseen(self):
        found = self.children_of_labs()
        if found:
            self.place.kill()
            kill(*found)
            self.place.start()
        return found

    def kill_all(self):
        """As when the machine loses its power: nothing lives on, what is on disk stays."""
        if not self.containers():
            return []
        self.place.kill()
        killed = kill(*self.libvirtd(), *self.processes(), *self.children_of_labs())
        wait_until(lambda: not any(alive(pid) for pid in killed), 10, "what was killed lives")
        self.place.libvirtd_private("restart")
        self.place.start()
        return killed

    def kill_libvirtd_for_long(self):
        """It comes back only when the job cannot go on without it."""
        if len(self.launchers()) < 2:
            return []
        killed = kill(*self.libvirtd())
        job = self.place.json("job", "list")["items"][0]["id"]
        wait_until(lambda: "cannot make sure" in self.place.mvm("job", "why", job).stdout, 60,
                   f"nobody says what is missing: {self.place.mvm('job', 'why', job).stdout}")
        self.place.libvirtd_private("restart")
        return killed

    def processes(self):
        """All that runs for the nodes now."""
        found = set(self.guests())
        for controller in self.containers():
            found |= {controller, *descendants(controller)}
        return found


class States:
    """What the daemon tells of a job's states, as it tells it; survives the daemon."""

    def __init__(self, place):
        self.place = place
        self.seen = ""
        self.over = False
        self.changed = threading.Condition()
        since = place.json("events")["items"]
        self.cursor = max((int(one["seq"]) for one in since), default=0)
        self.thread = threading.Thread(target=self.follow)
        self.thread.start()

    def follow(self):
        while not self.over:
            command = [world.MVM, "events", "-f", "--since", str(self.cursor), "-o", "jsonl"]
            self.process = subprocess.Popen(list(map(str, command)), env=self.place.environment(), text=True,
                                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            with self.process:
                for line in self.process.stdout:
                    with contextlib.suppress(ValueError):
                        self.take(json.loads(line))
            time.sleep(0.05)

    def take(self, event):
        self.cursor = max(self.cursor, int(event.get("seq", 0)))
        with self.changed:
            if event.get("event") == "job.submitted":
                self.seen = "SUBMITTED"
            elif event.get("event") == "job.state":
                self.seen = event["detail"].split(" -> ")[1].split(":")[0]
            self.changed.notify_all()

    def reach(self, state, seconds):
        """Waits until the job is there or further; the state it is in."""
        order = STATES + ENDED
        with self.changed:
            if not self.changed.wait_for(lambda: self.seen and order.index(self.seen) >= order.index(state), seconds):
                raise AssertionError(f"the job does not reach {state}, it is {self.seen}")
            return self.seen

    def stop(self):
        self.over = True
        self.process.terminate()
        self.thread.join()


class Cell:
    """One victim at one state. `attempts`: how many the job may need."""

    def __init__(self, victim, state, attempts=2, retries=3, expected="DONE"):
        self.victim = victim
        self.state = state
        self.attempts = attempts
        self.retries = retries
        self.expected = expected
        self.name = f"{victim}:{state}" + ("" if expected == "DONE" else f":{expected}")

    def profile(self, place, driver):
        stage = ""
        if self.state == "BOOTING":
            large = place.folder / "large.bin"
            with open(large, "wb") as file:
                file.truncate(96 << 20)
            stage = f'<stage in="{large}" to="sink[0]"/>'
        values = {
            "CELL": uuid.uuid4().hex,
            "PAUSE": "15000" if self.state == "RUNNING" else "100",
            "RESULT": str(96 << 20 if self.state == "COLLECTING" else 5),
            "BUILD": "1" if self.state == "BUILDING" else "0",
            "SOURCE": driver,
            "IMAGE": "qemu-debian" if driver == "qemu" else "host",
            "STAGE": stage,
            "RETRIES": str(self.retries),
        }
        text = PROFILE
        for word, value in values.items():
            text = text.replace(word, value)
        path = place.folder / "kill.xml"
        path.write_text(text)
        return path


def strike(lab, states, cell):
    """Kills the victim as soon as it is there and the state is reached; the state in which that was."""
    killer = getattr(lab, f"kill_{cell.victim}")
    state = states.reach(cell.state, 60)
    while state not in ENDED:
        if killer():
            return state
        time.sleep(0.005)
        state = states.reach(cell.state, 60)
    raise AssertionError(f"{cell.name}: there was nothing to kill")


def take(test, place, cell, driver):
    """One cell, from the submission to nothing being left."""
    lab = Lab(place)
    began = time.monotonic()
    states = States(place)
    nodes = set()
    try:
        job = place.mvm("submit", cell.profile(place, driver), "--parsable", "--detach").stdout.strip()
        struck = strike(lab, states, cell)
        nodes |= lab.processes()
        hit = time.monotonic()
        wait_until(lambda: states.seen in ENDED, 60,
                   f"{cell.name}: the job is {states.seen}; {place.mvm('job', 'why', job).stdout}")
        mended = time.monotonic() - hit
    finally:
        states.stop()
    why = place.mvm("job", "why", job).stdout
    status = place.json("job", "status", job)
    test.assertEqual(states.seen, cell.expected, f"{cell.name}, struck in {struck}: {why}")
    test.assertLessEqual(status["attempt"], cell.attempts, f"{cell.name}, struck in {struck}: {why}")
    if cell.expected == "DONE":
        with tempfile.TemporaryDirectory(dir=place.folder) as results:
            place.mvm("job", "result", job, "--out", results)
            with open(pathlib.Path(results) / "sum.txt", "rb") as file:
                test.assertEqual(file.read(5), b"5050\n")
    else:
        test.assertIn("lost", why)
    place.expect_nothing_left()
    wait_until(lambda: not any(alive(pid) for pid in nodes), 10, f"{cell.name}: processes of nodes live on")
    print(f"{cell.name}: struck in {struck}, {status['state']} in attempt {status['attempt']} after {mended:.1f} s, "
          f"{time.monotonic() - began:.1f} s in all", file=sys.stderr, flush=True)


IN_NODE = STATES[2:]

ALL_LXC = (
    # A node that is being made when the daemon dies is made in another attempt; one that is there is adopted.
    [Cell("mvmd", state, attempts=2 if state in STATES[:4] else 1) for state in STATES]
    + [Cell("policy", state, attempts=1) for state in STATES]
    + [Cell("libvirtd", state) for state in STATES]
    + [Cell(victim, state) for victim in ("kernel", "launcher", "container", "vm") for state in IN_NODE]
    + [Cell(victim, state) for victim in ("unseen", "all") for state in IN_NODE]
    + [Cell("libvirtd_for_long", "RUNNING", attempts=1)]
    + [Cell("vm", "RUNNING", attempts=1, retries=0, expected="FAILED")]
)
SOME_LXC = [cell for cell in ALL_LXC if cell.name in (
    "mvmd:BUILDING", "mvmd:RUNNING", "mvmd:COLLECTING", "policy:SUBMITTED", "libvirtd:BOOTING", "libvirtd:RUNNING",
    "kernel:BUILDING", "kernel:RUNNING", "launcher:BUILDING", "launcher:RUNNING", "container:BOOTING",
    "container:COLLECTING", "vm:RUNNING", "vm:COLLECTING", "vm:RUNNING:FAILED")]

ALL_QEMU = (
    [Cell(victim, state) for victim in ("guest", "child", "child_unseen") for state in ("BOOTING", "WIRING", "RUNNING", "COLLECTING")]
    + [Cell("mvmd", "RUNNING", attempts=1), Cell("libvirtd", "RUNNING", attempts=1), Cell("all", "RUNNING")]
)
SOME_QEMU = [cell for cell in ALL_QEMU if cell.name in ("guest:RUNNING", "child:RUNNING")]


def leaks(verb, file, mark):
    return subprocess.run([sys.executable, world.SOURCE / "packaging/leaks.py", verb, file, *mark], capture_output=True,
                          text=True, check=False)


@unittest.skipUnless(os.geteuid() == 0, "needs root: makes containers")
class KillMatrix(unittest.TestCase):
    driver = "lxc"
    cells = SOME_LXC

    def test_every_cell(self):
        picked = os.environ.get("MVM_KILL_CELLS", "").split()
        cells = [cell for cell in self.cells if not picked or cell.name in picked]
        failures = []
        with tempfile.NamedTemporaryFile() as snapshot:
            leaks("snapshot", snapshot.name, [])
            mark = None
            while cells:
                # After a failure, what is left of it must not spoil the next cell: a new world.
                place = World(tuple(sorted({"lxc", self.driver})))
                place.options = self.options(place)
                mark = place.environment()["MVM_CHECK_RUN"]
                with place:
                    place.start()
                    wait_until(lambda: "up" in place.mvm("host", "list").stdout, 60, "the host does not come up")
                    while cells:
                        cell = cells.pop(0)
                        try:
                            take(self, place, cell, self.driver)
                        except Exception as problem:  # every cell is tried, whatever befell another
                            failures.append(f"{cell.name}: {problem}")
                            print(f"{cell.name}: FAILED: {problem}\n{place.log_tail(60)}", file=sys.stderr, flush=True)
                            break
                    else:
                        self.assertEqual(place.stop(), 0)
                left = leaks("report", snapshot.name, [mark]).stdout
                if left:
                    failures.append("left behind:\n" + left)
        self.assertEqual(failures, [], "\n".join(failures))

    def test_a_daemon_that_cannot_serve_says_so_and_ends(self):
        with World() as place, socket.socket() as taken:
            taken.bind((place.address, place.port))
            taken.listen()
            place.start(wait=False)
            self.assertEqual(place.daemon.wait(timeout=30), 1)
            self.assertIn("Address already in use", place.log_tail())

    def options(self, place):
        if self.driver != "qemu":
            return []
        image = place.folder / "image"
        subprocess.run([world.SOURCE / "packaging/make-qemu-image", image], check=True, capture_output=True, timeout=120)
        return ["--qemu-image", image]


LAB = """<?xml version="1.0"?>
<lab xmlns="urn:mvm:lab:1" name="standing">
  <machines name="node" driver="lxc" image="host" count="2" memory="256MiB"/>
</lab>
"""
GUEST = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="guest">
  <topology xmlns="urn:mvm:topology:1" name="two"><role name="one" count="2"/></topology>
  <program role="one"><run>/bin/echo here</run></program>
</job>
"""


@unittest.skipUnless(os.geteuid() == 0, "needs root: makes containers")
class StandingLab(unittest.TestCase):
    """A lab without a job mends itself, and what was started in it by hand ends with its node."""

    def start_by_hand(self, place, node):
        command = [world.MVM, "vm", "exec", "--lab", "standing", node, "--", "/bin/sh", "-c", "echo started; sleep 300"]
        running = subprocess.Popen(list(map(str, command)), env=place.environment(), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(running.communicate)
        self.addCleanup(running.kill)
        self.assertEqual(running.stdout.readline(), "started\n")
        return running

    def all_up(self, place):
        vms = place.json("vm", "list", "--lab", "standing")["items"]
        return len(vms) == 2 and all(vm["state"] == "up" for vm in vms)

    def test_it_mends_itself_and_goes(self):
        with World(("lxc",)) as place:
            place.start()
            lab = Lab(place)
            for name, text in (("lab.xml", LAB), ("guest.xml", GUEST)):
                (place.folder / name).write_text(text)
            place.mvm("lab", "create", place.folder / "lab.xml")
            for victim, lost in (("vm", True), ("launcher", True), ("container", True), ("unseen", True), ("kernel", False),
                                 ("libvirtd", False), ("mvmd", False), ("all", True)):
                with self.subTest(victim=victim):
                    wait_until(lambda: self.all_up(place), 30, f"the lab does not come up: {place.log_tail()}")
                    running = [self.start_by_hand(place, node) for node in ("node-0", "node-1")]
                    self.assertTrue(getattr(lab, f"kill_{victim}")())
                    began = time.monotonic()
                    if lost:
                        wait_until(lambda: any(one.poll() is not None for one in running), 15, "nobody is told")
                        ended = next(one for one in running if one.poll() is not None)
                        self.assertEqual(ended.returncode, 255)
                        self.assertRegex(ended.stderr.read(), "was lost")
                        wait_until(lambda: self.all_up(place), 30, f"the lab is not mended: {place.log_tail()}")
                        print(f"standing lab, {victim}: whole after {time.monotonic() - began:.1f} s", file=sys.stderr)
                    else:
                        self.assertIn("here", place.mvm("submit", "--lab", "standing", "--wait",
                                                        place.folder / "guest.xml").stdout)
                        self.assertEqual([one.poll() for one in running], [None, None], "what runs is not disturbed")
                    for one in running:
                        one.kill()
                        one.communicate()
            running = self.start_by_hand(place, "node-0")
            place.mvm("lab", "destroy", "standing")
            self.assertEqual(running.wait(timeout=10), 255)
            place.expect_nothing_left()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", choices=("lxc", "qemu"), default="lxc")
    parser.add_argument("--all", action="store_true")
    arguments, rest = parser.parse_known_args()
    KillMatrix.driver = arguments.driver
    KillMatrix.cells = {("lxc", False): SOME_LXC, ("lxc", True): ALL_LXC,
                        ("qemu", False): SOME_QEMU, ("qemu", True): ALL_QEMU}[arguments.driver, arguments.all]
    if arguments.driver != "lxc":
        del StandingLab  # needs no second run
    unittest.main(argv=[sys.argv[0], *rest])

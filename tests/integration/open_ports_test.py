"""Open ports of running jobs: messages put in and taken out from outside, by the command line and over SOAP."""
import json
import os
import pathlib
import signal
import subprocess
import threading
import unittest

import zeep_client
from world import MVM, World, wait_until

SOURCE = r"""
#include <ctype.h>
#include <mvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int count, char** words) {
  if (mvm_attach() < 0 || count != 2) return 90;
  int in = mvm_port("in", 0), out = mvm_port("out", 0);
  if (out < 0) return 91;
  if (strcmp(words[1], "speak") == 0) {
    for (int i = 0; i < 5; ++i) {
      char text[32];
      int size = sprintf(text, "word %d", i);
      int64_t done = mvm_enqueue(out, text, size, NULL);
      if (done < 0 && done != MVM_DROPPED) return 92;
    }
    return mvm_detach() < 0;
  }
  static char buffer[1 << 21];
  for (;;) {
    int64_t size = mvm_dequeue(in, buffer, sizeof buffer, NULL);
    if (size == MVM_EOS) break;
    if (size < 0) return fprintf(stderr, "%s\n", mvm_error()), 93;
    for (int64_t i = 0; i < size; ++i) buffer[i] = (char)toupper((unsigned char)buffer[i]);
    if (mvm_enqueue(out, buffer, size, NULL) < 0) return 94;
  }
  return mvm_detach() < 0;
}
"""


def job(name="shout", count=1, opened="true", queue='<queue capacity="64" bytes="4MiB"/>', mode="shout", driver="process"):
    return f"""<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="{name}">
  <topology xmlns="urn:mvm:topology:1" name="{name}">
    <role name="worker" count="{count}">
      <port name="in" direction="in" open="{opened}">{queue}</port>
      <port name="out" direction="out" open="{opened}">{queue}</port>
    </role>
  </topology>
  <program role="worker">
    <source name="worker.c"><![CDATA[{SOURCE}]]></source>
    <build command="gcc -O2 worker.c -o worker $(pkg-config --cflags --libs mvm)"/>
    <run>./worker {mode}</run>
  </program>
  <machines name="node" role="worker" driver="{driver}" {'image="host" memory="128MiB"' if driver == "lxc" else ''} count="{count}"/>
  <limit walltime="3m"/>
</job>
"""


class OpenPorts(unittest.TestCase):
    driver = "process"

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World(drivers=(cls.driver,)))
        cls.world.start()

    def submit(self, **options):
        path = self.world.folder / f"{self.id()}.xml"
        path.write_text(job(driver=self.driver, **options))
        return self.world.mvm("submit", "--detach", "--parsable", path).stdout.strip()

    def state(self, number):
        return self.world.json("job", "status", number)["state"]

    def wait_state(self, number, *states):
        wait_until(lambda: self.state(number) in states, 60, f"job {number} is {self.state(number)}, wanted {states}")

    def put(self, target, text, *options, check=True):
        done = subprocess.run([MVM, "queue", "put", target, *options], input=text, env=self.world.environment(),
                              capture_output=True, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def get(self, target, *options, check=True):
        done = subprocess.run([MVM, "queue", "get", target, *options], env=self.world.environment(),
                              capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
        if check:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def broker(self):
        secret = json.loads((self.world.state / "token").read_text())["token"]
        return zeep_client.connect(f"http://127.0.0.1:{self.world.port}", secret)[0]


class Plain(OpenPorts):
    def test_lines_go_through_a_job_and_its_end_ends_the_get(self):
        number = self.submit()
        lines = b"".join(b"line %d\n" % i for i in range(3000)) + b"\nlast without a line feed"
        putter = threading.Thread(target=self.put, args=(f"{number}.in", lines, "--done"))
        putter.start()  # before the job runs
        out = self.get(f"{number}.out", "--follow").stdout
        putter.join()
        self.assertEqual(out, lines.upper() + b"\n")
        self.wait_state(number, "DONE")
        self.assertEqual(self.get(f"{number}.out", "--follow").stdout, b"")

    def test_framings_sizes_and_counts(self):
        number = self.submit()
        wait_until(lambda: "worker[0] waits for the outside to send" in
                   [one["waiting"] for one in self.world.json("queue", "top")["items"]], 60,
                   "nobody is shown to wait")
        big = os.urandom(900_000).replace(b"\0", b"x")
        self.put(f"{number}.worker.in", big, "--whole")
        self.assertEqual(self.get(f"{number}.worker[0].out", "-n", "1", "--whole").stdout, big.upper())
        frames = b"\x03\0\0\0a\nb" + b"\0\0\0\0" + b"\x01\0\0\0c"
        said = self.put(f"{number}.in", frames, "--size", "-o", "json").stdout
        self.assertIn(b'"messages": 3', said)
        self.assertEqual(self.get(f"{number}.out", "-n", "3", "--size").stdout, frames.upper())
        self.put(f"{number}.in", b"one\ntwo\n\xff\xfe\n")
        items = json.loads(self.get(f"{number}.out", "-n", "3", "-o", "json").stdout)["items"]
        self.assertEqual([one.get("text") for one in items], ["ONE", "TWO", None])
        self.assertEqual(items[2]["base64"], "//4=")
        self.assertEqual(self.get(f"{number}.out").stdout, b"")  # nothing waits: no waiting either
        late = self.get(f"{number}.out", "-n", "1", "--timeout", "300ms", check=False)
        self.assertEqual((late.returncode, late.stdout), (1, b""))
        self.assertIn(b"no message for 300 ms", late.stderr)
        cut = self.put(f"{number}.in", b"\x09\0\0\0short", "--size", check=False)
        self.assertEqual(cut.returncode, 2)
        self.put(f"{number}.in", b"", "--done")
        self.wait_state(number, "DONE")
        closed = self.put(f"{number}.in", b"too late\n", check=False)
        self.assertEqual(closed.returncode, 1)
        self.assertIn(b"has ended", closed.stderr)

    def test_wrong_ports_are_told_with_what_there_is(self):
        number = self.submit(count=2)
        for target, code, words in ((f"{number}.inn", 1, "there is no open port inn; open are worker[0].in"),
                                    (f"{number}.in", 2, "2 open ports are called in"),
                                    (f"{number}.worker[1].out", 2, "messages are taken out of it"),
                                    ("999.in", 1, "there is no job 999"), ("nodot", 2, "expected JOB.PORT")):
            done = self.put(target, b"x\n", check=False)
            self.assertEqual(done.returncode, code, done.stderr)
            self.assertIn(words, done.stderr.decode())
        self.world.mvm("job", "cancel", number)
        self.wait_state(number, "CANCELLED")

    def test_many_clients_in_several_jobs_at_once(self):
        numbers = [self.submit(name=f"shout{i}", count=2, opened="shared") for i in range(2)]
        taken = {}

        def take(number, who):
            taken[number, who] = self.get(f"{number}.out", "--follow").stdout.split(b"\n")[:-1]

        takers = [threading.Thread(target=take, args=(number, who)) for number in numbers for who in range(2)]
        putters = [threading.Thread(target=self.put, args=(f"{number}.in", b"".join(
            b"j%sp%dm%d\n" % (number.encode(), who, i) for i in range(400)))) for number in numbers for who in range(3)]
        for thread in takers + putters:
            thread.start()
        for thread in putters:
            thread.join()
        for number in numbers:
            self.put(f"{number}.in", b"", "--done")
        for thread in takers:
            thread.join()
        for number in numbers:
            got = sorted(taken[number, 0] + taken[number, 1])
            self.assertEqual(got, sorted(b"J%sP%dM%d" % (number.encode(), who, i) for who in range(3) for i in range(400)))
            self.wait_state(number, "DONE")

    def test_what_nobody_took_is_kept_with_the_job(self):
        number = self.submit(mode="speak")
        self.wait_state(number, "DONE")
        self.assertEqual(self.get(f"{number}.out", "-n", "2").stdout, b"word 0\nword 1\n")
        self.world.kill()
        self.world.start()
        self.assertEqual(self.get(f"{number}.out", "--follow").stdout, b"word 2\nword 3\nword 4\n")
        self.assertEqual(self.get(f"{number}.out", "--follow").stdout, b"")

    def test_queues_of_every_kind_keep_what_they_promise(self):
        kinds = {'<queue type="latest"/>': b"word 4\n",
                 '<queue capacity="2" when-full="drop-oldest"/>': b"word 3\nword 4\n",
                 '<queue capacity="2" when-full="drop-newest"/>': b"word 0\nword 1\n",
                 '<queue type="priority"/>': b"".join(b"word %d\n" % i for i in range(5))}
        numbers = {self.submit(name=f"kind{i}", mode="speak", queue=queue): expected
                   for i, (queue, expected) in enumerate(kinds.items())}
        for number, expected in numbers.items():
            self.wait_state(number, "DONE", "FAILED")
            self.assertEqual(self.get(f"{number}.out", "--follow").stdout, expected)

    def kernels(self):
        """The threaded kernels: children of launchers."""
        found = {pid for pid, line in self.world.processes().items() if "mvm-kernel" in line.split()[0]}
        parents = {pid: int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in found}
        tasks = {pid: len(os.listdir(f"/proc/{pid}/task")) for pid in found}
        return [pid for pid in found if parents[pid] in found and tasks[pid] > 2]

    def test_a_killed_kernel_loses_and_doubles_nothing_that_was_acknowledged(self):
        number = self.submit()
        self.wait_state(number, "RUNNING")
        self.put(f"{number}.in", b"".join(b"a%d\n" % i for i in range(20)))
        first = self.get(f"{number}.out", "-n", "5").stdout
        for pid in self.kernels():
            os.kill(pid, signal.SIGKILL)
        self.put(f"{number}.in", b"".join(b"b%d\n" % i for i in range(20)), "--done")
        rest = self.get(f"{number}.out", "--follow").stdout
        self.assertEqual((first + rest).split(), [b"A%d" % i for i in range(20)] + [b"B%d" % i for i in range(20)])
        self.wait_state(number, "DONE")

    def test_soap_clients_put_take_acknowledge_and_lose_nothing(self):
        number = self.submit()
        broker = self.broker()
        put = {"job": number, "port": "in", "client": "zeep-1", "first": 0, "waitMs": 20000,
               "message": [{"data": b"alpha"}, {"data": b"beta", "key": 7}, {"data": b"gamma"}]}
        answer = broker.enqueue(request=put)
        self.assertEqual(answer.accepted, 3)
        again = broker.enqueue(request={**put, "ticket": answer.ticket})  # sent twice, in once
        self.assertEqual(again.accepted, 3)
        take = {"job": number, "port": "out", "client": "zeep-2", "acknowledged": 0, "waitMs": 20000}

        def all_of(request, count):
            found = []
            while len(found) < count:
                page = broker.dequeue(request={**request, "acknowledged": found[-1].number if found else 0})
                found += page.message
            return found

        page = broker.dequeue(request={**take, "count": 1})
        self.assertEqual([bytes(one.data) for one in page.message], [b"ALPHA"])
        same = broker.dequeue(request={**take, "count": 1})  # not acknowledged: the same again
        self.assertEqual(same.message[0].number, page.message[0].number)
        self.assertFalse(same.message[0].again)
        others = all_of({**take, "client": "zeep-3"}, 2)
        self.assertEqual([bytes(one.data) for one in others], [b"BETA", b"GAMMA"])
        broker.dequeue(request={**take, "client": "zeep-3", "acknowledged": others[-1].number, "count": 0})
        broker.dequeue(request={**take, "leave": True})  # goes without having acknowledged
        back = broker.dequeue(request={**take, "client": "zeep-4"})
        self.assertEqual([(bytes(one.data), one.again) for one in back.message], [(b"ALPHA", True)])
        broker.enqueue(request={"job": number, "port": "in", "client": "zeep-1", "first": 3, "done": True,
                                "ticket": answer.ticket})
        end = broker.dequeue(request={**take, "client": "zeep-4", "acknowledged": back.message[0].number})
        self.assertEqual((end.message, end.end), ([], "done"))
        zeep_client.expect_fault("not-found", broker.dequeue, request={**take, "port": "nothing"})
        zeep_client.expect_fault("invalid", broker.dequeue, request={**take, "client": "no such/name"})
        zeep_client.expect_fault("aborted", broker.dequeue, request={**take, "ticket": "7/x"})
        zeep_client.expect_fault("exhausted", broker.enqueue, request={**put, "message": [{"data": b"x" * (1 << 20)}, {"data": b"y"}]})
        stranger = zeep_client.connect(f"http://127.0.0.1:{self.world.port}", "0" * 64)[0]
        zeep_client.expect_fault("refused", stranger.dequeue, request=take)
        self.wait_state(number, "DONE")


class Containers(OpenPorts):
    driver = "lxc"

    def test_a_container_s_port_is_open_too(self):
        number = self.submit(count=2, opened="shared")
        lines = b"".join(b"c%d\n" % i for i in range(500))
        putter = threading.Thread(target=self.put, args=(f"{number}.in", lines, "--done"))
        putter.start()
        out = self.get(f"{number}.out", "--follow").stdout
        putter.join()
        self.assertEqual(sorted(out.split()), sorted(lines.upper().split()))
        self.wait_state(number, "DONE")


if __name__ == "__main__":
    unittest.main(verbosity=2)

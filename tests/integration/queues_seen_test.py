"""What a user sees of the queues of a running job: what waits in them, and how long messages take."""
import base64
import json
import subprocess
import unittest

import zeep_client
from world import MVM, World, wait_until

SOURCE = r"""
#include <mvm.h>
#include <stdio.h>
#include <string.h>
/* Fills its queues, or waits for a word from outside and then empties them. */
static int put(const char* port, const char* text, unsigned priority, uint64_t key) {
  mvm_opts opts = MVM_OPTS_INIT;
  opts.priority = priority;
  opts.key = key;
  return mvm_enqueue(mvm_port(port, 0), text, strlen(text), &opts) == MVM_OK;
}
int main(void) {
  if (mvm_attach() < 0) return 90;
  char buffer[256];
  if (strcmp(mvm_role(), "source") == 0) {
    for (int i = 0; i < 5; ++i) {
      sprintf(buffer, "line %d", i);
      if (!put("line", buffer, 0, 0) || !put("work", buffer, 0, 100 + i) || !put("urgent", buffer, i, 0)) return 91;
    }
    if (mvm_enqueue(mvm_port("line", 0), "\0\377", 2, NULL) != MVM_OK) return 92;
    puts("filled");
    fflush(stdout);
    if (mvm_dequeue(mvm_port("go", 0), buffer, sizeof buffer, NULL) < 0) return 93;
    return mvm_detach() < 0;
  }
  if (mvm_dequeue(mvm_port("go", 0), buffer, sizeof buffer, NULL) < 0) return 94;
  const char* names[] = {"line", "work", "urgent"};
  for (int i = 0; i < 3; ++i) {
    int port = mvm_port(names[i], 0);
    int taken = 0;
    if (port < 0) continue;
    while (taken < (i == 0 ? 6 : 5) && mvm_dequeue(port, buffer, sizeof buffer, NULL) >= 0) ++taken;
    printf("%s: %d\n", names[i], taken);
  }
  puts("emptied");
  fflush(stdout);
  if (mvm_dequeue(mvm_port("go", 0), buffer, sizeof buffer, NULL) < 0) return 95;
  return mvm_detach() < 0;
}
"""

PROGRAMS = "".join(f"""<program role="{role}">
    <source name="seen.c"><![CDATA[{SOURCE}]]></source>
    <build command="gcc -O2 seen.c -o seen $(pkg-config --cflags --libs mvm)"/>
    <run>./seen</run>
  </program>""" for role in ("source", "sink", "idler"))

JOB = f"""<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="seen">
  <topology xmlns="urn:mvm:topology:1" name="seen">
    <role name="source">
      <port name="line" direction="out"/><port name="work" direction="out"/><port name="urgent" direction="out"/>
      <port name="go" direction="in" open="true"/>
    </role>
    <role name="sink">
      <port name="line" direction="in"/><port name="work" direction="in"/><port name="urgent" direction="in"/>
      <port name="go" direction="in" open="true"/>
    </role>
    <role name="idler"><port name="work" direction="in"/><port name="go" direction="in" open="true"/></role>
    <link name="line" from="source.line" to="sink.line"/>
    <link name="work" from="source.work" to="sink[0].work idler[0].work" deliver="one-of"/>
    <link name="urgent" from="source.urgent" to="sink.urgent"><queue type="priority"/></link>
  </topology>
  {PROGRAMS}
  <machines name="node" role="source sink idler" driver="process" count="1"/>
  <limit walltime="3m"/>
</job>
"""


class QueuesSeen(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.start()

    def mvm(self, *arguments, **more):
        return self.world.mvm(*arguments, **more)

    def put(self, target, text):
        subprocess.run([MVM, "queue", "put", target], input=text, env=self.world.environment(), text=True, check=True, timeout=60)

    def items(self, *arguments):
        return self.world.json(*arguments)["items"]

    def top(self):
        return {queue["link"]: queue for queue in self.items("queue", "top")}

    def said(self, job, words):
        return lambda: words in self.mvm("job", "logs", job).stdout

    def test_a_job_is_looked_into_and_not_disturbed(self):
        path = self.world.folder / "seen.xml"
        path.write_text(JOB)
        job = self.mvm("submit", "--detach", "--parsable", path).stdout.strip()
        early = self.mvm("queue", "peek", f"{job}.line", check=False)
        self.assertTrue(early.returncode == 0 or "once it runs" in early.stderr, early.stderr)
        wait_until(self.said(job, "filled"), 60, "the queues to be full")
        before = self.top()

        with self.subTest("a stream, by its link"):
            table = self.mvm("queue", "peek", f"{job}.line").stdout
            self.assertIn("line 4", table)
            self.assertIn("0x00ff", table)
            lines = self.items("queue", "peek", f"{job}.line")
            texts = [base64.b64decode(one["base64"]) for one in lines]
            self.assertEqual(texts, [b"line %d" % i for i in range(5)] + [b"\0\xff"])
            self.assertEqual([one["number"] for one in lines], list(range(6)))
            self.assertGreater(lines[0]["ageNs"], 0, "the first is timed")
        with self.subTest("a queue that consumers share, by a consumer's port; bounded"):
            work = self.items("queue", "peek", f"{job}.sink.work", "-n", "2", "--bytes", "3")
            self.assertEqual([(one["key"], one["size"], base64.b64decode(one["base64"])) for one in work],
                             [(100, 6, b"lin"), (101, 6, b"lin")])
            self.assertIn("2 of 5 messages", self.mvm("queue", "peek", f"{job}.work", "-n", "2").stderr)
        with self.subTest("a priority queue in the order in which it leaves"):
            urgent = self.items("queue", "peek", f"{job}.source[0].urgent")
            self.assertEqual([one["priority"] for one in urgent], [4, 3, 2, 1, 0])
        with self.subTest("nothing waits for go"):
            self.assertIn("is empty", self.mvm("queue", "peek", f"{job}.sink.go").stdout)
        with self.subTest("over SOAP"):
            secret = json.loads((self.world.state / "token").read_text())["token"]
            broker = zeep_client.connect(f"http://127.0.0.1:{self.world.port}", secret)[0]
            seen = broker.peek(job=job, name="line", count=3, bytes=6)
            self.assertEqual([one.data for one in seen[0].message], [b"line 0", b"line 1", b"line 2"])
            self.assertEqual((seen[0].depth, seen[0].steady), (6, True))
            zeep_client.expect_fault("invalid", broker.peek, job=job, name="line", count=0, bytes=6)
            zeep_client.expect_fault("not-found", broker.peek, job=job, name="lime", count=1, bytes=6)
        with self.subTest("wrong names say what there is"):
            for name, code, words in ((f"{job}.lime", 1, "its links are"), ("99999.line", 1, "no job 99999"),
                                      ("line", 2, "JOB.LINK")):
                wrong = self.mvm("queue", "peek", name, check=False)
                self.assertEqual(wrong.returncode, code, wrong.stderr)
                self.assertIn(words, wrong.stderr)
        after = self.top()
        for name in ("line", "work", "urgent"):
            for field in ("depth", "bytes", "enqueued", "dequeued"):
                self.assertEqual(after[name][field], before[name][field], (name, field))
            self.assertEqual(after[name]["latencySamples"], 0)
            self.assertIsNone(after[name]["latencyP99Ns"])
            self.assertEqual(after[name]["bytesEnqueued"], 32 if name == "line" else 30)

        self.put(f"{job}.sink.go", "go\n")
        wait_until(self.said(job, "emptied"), 60, "the queues to be empty")
        for counts in ("line: 6", "work: 5", "urgent: 5"):
            self.assertIn(counts, self.mvm("job", "logs", job).stdout)
        rates = {queue["link"]: queue for queue in self.items("queue", "top", "--rates")}
        for name in ("line", "work", "urgent"):
            self.assertGreater(rates[name]["latencySamples"], 0)
            self.assertGreaterEqual(rates[name]["latencyP99Ns"], rates[name]["latencyP50Ns"])
            self.assertGreater(rates[name]["latencyP50Ns"], 100_000, "they waited for go")
            self.assertEqual(rates[name]["bytesDequeued"], rates[name]["bytesEnqueued"])
            self.assertEqual(rates[name]["bytesEnqueuedPerSecond"], 0)
        self.assertIn("P99", self.mvm("queue", "top").stdout)

        for role, text in (("source", "go\n"), ("sink", "go\n"), ("idler", "go\ngo\n")):
            self.put(f"{job}.{role}.go", text)
        wait_until(lambda: self.world.json("job", "status", job)["state"] == "DONE", 60, "the job to end")
        late = self.mvm("queue", "peek", f"{job}.line", check=False)
        self.assertEqual(late.returncode, 1)
        self.assertIn("has ended", late.stderr)

    def test_what_waits_is_drained(self):
        path = self.world.folder / "drained.xml"
        path.write_text(JOB)
        job = self.mvm("submit", "--detach", "--parsable", path).stdout.strip()
        wait_until(self.said(job, "filled"), 60, "the queues to be full")
        # Its consumer is busy elsewhere: the first might be in its hands, so it stays, and counts among the three.
        line = self.mvm("queue", "drain", f"{job}.line", "-n", "3", "--print")
        self.assertEqual(line.stdout, "line 1\nline 2\n")
        self.assertIn("2 messages drained", line.stderr)
        self.assertIn("has yet to pass over", self.mvm("queue", "drain", f"{job}.line").stderr)
        kept = self.world.folder / "kept"
        work = self.items("queue", "drain", f"{job}.source.work", "-n", "2", "--to", kept)
        self.assertEqual([(one["drained"], one["bytes"]) for one in work], [(2, 12)])
        self.assertEqual(len(kept.read_text().splitlines()), 2)
        urgent = self.items("queue", "drain", f"{job}.urgent", "--print")
        self.assertEqual([one["priority"] for one in urgent], [4, 3, 2, 1, 0])
        with self.subTest("nothing is taken where it is misspelt, or cannot be written"):
            for arguments, code in (((f"{job}.lime",), 1), (("line",), 2), ((f"{job}.work", "--to", "/none/at/all"), 1)):
                self.assertEqual(self.mvm("queue", "drain", *arguments, check=False).returncode, code)
        top = self.top()
        for name, depth, drained in (("line", 4, 2), ("work", 3, 2), ("urgent", 0, 5)):
            self.assertEqual((top[name]["depth"], top[name]["drained"], top[name]["dropped"]), (depth, drained, drained), name)
            self.assertEqual(top[name]["enqueued"], depth + drained)
        # Their streams end where there are no more.
        for role in ("source", "sink"):
            self.put(f"{job}.{role}.go", "go\n")
        wait_until(self.said(job, "emptied"), 60, "the queues to be empty")
        for counts in ("line: 4", "work: 3", "urgent: 0"):
            self.assertIn(counts, self.mvm("job", "logs", job).stdout)
        for role, text in (("sink", "go\n"), ("idler", "go\ngo\n")):
            self.put(f"{job}.{role}.go", text)
        wait_until(lambda: self.world.json("job", "status", job)["state"] == "DONE", 60, "the job to end")


if __name__ == "__main__":
    unittest.main()

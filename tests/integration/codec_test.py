"""Links with codecs, of the topology, of the job's policy and of the daemon's, between a container and a QEMU guest: what
arrives is whole, what passes on the lab's network is not plain, and a message that a codec refuses ends its own link with a
clear event."""
import contextlib
import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import unittest
import uuid

import world
from world import World, wait_until

MARK = uuid.uuid4().hex[:8]
PROFILE = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="codecs">
  <topology xmlns="urn:mvm:topology:1" name="four">
    <role name="source"><port name="plain" direction="out"/><port name="hidden" direction="out"/>
      <port name="raw" direction="out"/><port name="back" direction="in"/><port name="echo" direction="in"/></role>
    <role name="sink"><port name="plain" direction="in"/><port name="hidden" direction="in"/>
      <port name="raw" direction="in"/><port name="back" direction="out"/><port name="echo" direction="out"/></role>
    <link name="plain" from="source.plain" to="sink.plain"/>
    <link name="hidden" from="source.hidden" to="sink.hidden" codec="zstd:3"/>
    <link name="raw" from="source.raw" to="sink.raw" codec="neutral"/>
    <link name="echo" from="sink.echo" to="source.echo" codec="neutral"/>
    <link name="back" from="sink.back" to="source.back" codec="neutral" transport="tls"/>
  </topology>
  <program role="source">
    <source name="source.c"><![CDATA[
#include <mvm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
int main(void) {
  static char text[8192];
  if (mvm_attach() < 0) return 90;
  int plain = mvm_port("plain", 0), hidden = mvm_port("hidden", 0), raw = mvm_port("raw", 0), back = mvm_port("back", 0);
  for (int i = 0; i < 200; ++i) {
    for (size_t at = 0; at + 16 < sizeof text; at += 16) sprintf(text + at, "%s-MARK  ", "plain");
    if (mvm_enqueue(plain, text, sizeof text, NULL) < 0) return 91;
    for (size_t at = 0; at + 16 < sizeof text; at += 16) sprintf(text + at, "%s-MARK ", "hidden");
    if (mvm_enqueue(hidden, text, sizeof text, NULL) < 0) return 92;
  }
  mvm_port_done(plain);
  mvm_port_done(hidden);
  mvm_enqueue(raw, "no typed message", 16, NULL);
  if (mvm_dequeue(mvm_port("echo", 0), text, sizeof text, NULL) != MVM_PEERDEAD) return 94;
  mvm_opts options = MVM_OPTS_INIT;
  options.timeout_ns = MVM_MS(20000);
  int64_t got = mvm_dequeue(back, text, sizeof text, &options);
  if (got < 0) return 93;
  mvm_unpacker message;
  uint32_t plains = 0, hiddens = 0;
  int32_t end = 0;
  mvm_unpack_init(&message, text, (size_t)got);
  mvm_unpack_u32(&message, &plains);
  mvm_unpack_u32(&message, &hiddens);
  mvm_unpack_i32(&message, &end);
  printf("%u plain, %u hidden, raw ended with %d, unpacking %d\\n", plains, hiddens, end, message.status);
  while ((got = mvm_enqueue(raw, "x", 1, &options)) == MVM_OK) {}
  printf("raw's producer learns %d\\n", (int)got);
  fflush(stdout);
  sleep(2);  // the lab's own log goes with the lab
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O1 source.c -o source $(pkg-config --cflags --libs mvm)"/>
    <run>./source</run>
  </program>
  <program role="sink">
    <source name="sink.c"><![CDATA[
#include <mvm.h>
#include <string.h>
static unsigned count(int port, const char* words) {
  static char text[8192];
  unsigned whole = 0;
  while (mvm_dequeue(port, text, sizeof text, NULL) == sizeof text)
    whole += strncmp(text, words, strlen(words)) == 0 && strncmp(text + 8160, words, strlen(words)) == 0;
  return whole;
}
int main(void) {
  if (mvm_attach() < 0) return 90;
  char text[64];
  mvm_enqueue(mvm_port("echo", 0), "not typed either", 16, NULL);
  mvm_packer message;
  mvm_pack_init(&message, text, sizeof text);
  mvm_pack_u32(&message, count(mvm_port("plain", 0), "plain" "-MARK  "));
  mvm_pack_u32(&message, count(mvm_port("hidden", 0), "hidden" "-MARK "));
  mvm_pack_i32(&message, (int)mvm_dequeue(mvm_port("raw", 0), text + 32, 32, NULL));
  if (mvm_enqueue(mvm_port("back", 0), text, message.size, NULL) < 0) return 91;
  return mvm_detach() < 0;
}
]]></source>
    <build command="gcc -O1 sink.c -o sink $(pkg-config --cflags --libs mvm)"/>
    <run>./sink</run>
  </program>
  <machines role="source" driver="lxc" image="host" count="1" memory="256MiB"/>
  <machines role="sink" driver="qemu" image="qemu-debian" count="1" memory="256MiB"/>
  <limit walltime="3m" retries="0"/>
  <policy xmlns="urn:mvm:policy:1" name="guarded" kind="links" component="links-codecs">
    <option name="between-domains" value="checksum encrypt"/><option name="links" value="hidden"/></policy>
</job>
""".replace("MARK", MARK)
PEERDEAD = -7


class Listener:
    """Counts how often each of some words passes on any network device. (The job's sources, which pass too, do not spell
    them as a whole.)"""

    def __init__(self, *words):
        self.found = {word: 0 for word in words}
        self.raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 20)
        self.raw.settimeout(0.2)
        self.over = False
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over:
            with contextlib.suppress(TimeoutError):
                frame = self.raw.recv(1 << 17)
                for word in self.found:
                    self.found[word] += frame.count(word.encode())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        self.thread.join()
        self.raw.close()


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Codecs(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        folder = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="mvm-codec-")))
        os.chmod(folder, 0o755)
        subprocess.run([world.SOURCE / "packaging/make-qemu-image", folder / "image"], check=True, capture_output=True,
                       timeout=120)
        self.place = World(("lxc", "qemu"), options=["--qemu-image", str(folder / "image"),
                                                      "--links", "links-codecs", "--links-option", "links=back",
                                                      "--links-option",
                                                      "between-domains=encrypt:chacha20-poly1305"])
        self.stack.enter_context(self.place)
        self.place.start()

    def child_log(self):
        """What the lab's child on the host says."""
        return "".join(path.read_text(errors="replace") for path in self.place.state.glob("labs/*/child.log"))

    def test_between_a_container_and_a_guest(self):
        place = self.place
        profile = place.folder / "codecs.xml"
        profile.write_text(PROFILE)
        with Listener(f"plain-{MARK}", f"hidden-{MARK}") as listener:
            job = place.mvm("submit", profile, "--detach", "--parsable").stdout.strip()
            links = wait_until(lambda: place.json("link", "list")["items"], 60, "no links")
            wait_until(lambda: "link.failed" in self.child_log(), 90, f"the link does not fail: {self.child_log()}")
            log = self.child_log()
            wait_until(lambda: place.json("job", "status", job)["state"] in ("DONE", "FAILED"), 120, "it does not end")
        shown = {link["link"]: (link["transport"], link["codec"]) for link in links}
        self.assertEqual(shown, {"plain": ("tcp", ""), "hidden": ("tcp", "zstd:3 checksum encrypt"),
                                 "raw": ("tcp", "neutral"), "echo": ("tcp", "neutral"), "back": ("tcp+tls", "neutral encrypt:chacha20-poly1305")})
        self.assertEqual([link["link"] for link in links if link["forced"]], ["back"])
        logs = place.mvm("job", "logs", job).stdout
        self.assertIn(f"200 plain, 200 hidden, raw ended with {PEERDEAD}, unpacking 0", logs,
                      place.json("job", "status", job))
        self.assertIn(f"raw's producer learns {PEERDEAD}", logs)

        # The cable: the plain link shows that the listener sees, the other that there is nothing to see.
        self.assertGreater(listener.found[f"plain-{MARK}"], 1000)
        self.assertEqual(listener.found[f"hidden-{MARK}"], 0)

        # The event, of the host's proxy and of the guest's, and no key in any log.
        events = place.mvm("events").stdout
        for words in (r"link\.failed.* raw: neutral: .*typed encoding.*told by host h1",
                      r"link\.failed.* echo: neutral: .*typed encoding.*told by node sink-0"):
            self.assertRegex(events, words)
        self.assertRegex(log, r"link\.failed .*codecs=neutral .*typed encoding")
        self.assertIsNone(re.search(r"\bkey\W{1,5}[0-9a-f]{64}", log + place.log_tail(100000)))
        place.expect_nothing_left()


class Names(unittest.TestCase):
    def test_a_misspelt_codec_is_a_fault_of_the_file(self):
        with tempfile.TemporaryDirectory(prefix="mvm-codec-") as folder:
            profile = pathlib.Path(folder) / "wrong.xml"
            profile.write_text(PROFILE.replace('"zstd:3"', '"zsdt:3"'))
            done = subprocess.run([world.MVM, "validate", profile], capture_output=True, text=True, timeout=30)
        self.assertEqual(done.returncode, 2)
        self.assertRegex(done.stdout + done.stderr, r"wrong\.xml:9:\d+: error: unknown codec 'zsdt', .*did you mean zstd\?")


if __name__ == "__main__":
    unittest.main(argv=sys.argv)

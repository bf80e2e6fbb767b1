"""An image whose compiler is not the host's: one source, two images, and each binary tells who compiled it."""
import os
import subprocess
import unittest

import world
from world import World

IMAGE = """<?xml version="1.0"?>
<image xmlns="urn:mvm:image:1" name="unlike" kind="tree" drivers="lxc" root="ROOT">
  <toolchain compiler="g++" version="VERSION"/>
</image>
"""

JOB = """<?xml version="1.0"?>
<job xmlns="urn:mvm:job:1" name="compilers">
  <topology xmlns="urn:mvm:topology:1" name="two"><role name="on-host"/><role name="on-tree"/></topology>
  PROGRAMS
  <machines role="on-host" driver="lxc" image="host" count="1" memory="256MiB"/>
  <machines role="on-tree" driver="lxc" image="images/unlike.xml" count="1" memory="512MiB"/>
  <stage out="compiler.txt" from="on-host[0]"/>
  <stage out="compiler.txt" from="on-tree[0]"/>
</job>
"""

PROGRAM = """<program role="ROLE">
    <source name="who.cpp"><![CDATA[
#include <mvm.h>
#include <fstream>
int main() {
  if (mvm_attach() < 0) return 90;
  std::ofstream("compiler.txt") << __VERSION__ << "\\n";
  return mvm_detach() < 0;
}
]]></source>
    <build command="g++ who.cpp -o who $(pkg-config --cflags --libs mvm)"/>
    <run>./who</run>
  </program>"""


def version(*command):
    return subprocess.run([*command, "g++", "-dumpfullversion"], capture_output=True, text=True, check=True).stdout.strip()


@unittest.skipUnless(os.geteuid() == 0, "needs root: makes containers")
class TreeImage(unittest.TestCase):
    def test_each_node_compiles_with_its_own_compiler(self):
        tree = world.BUILD / "tests/tree-image"
        made = subprocess.run([world.SOURCE / "packaging/make-tree-image", tree, "--compiler", "g++-11"],
                              capture_output=True, text=True, check=False)
        if made.returncode != 0:
            self.skipTest(f"no package registry to be reached: {made.stderr.strip()}")
        ours, theirs = version(), version("chroot", tree / "root")
        self.assertNotEqual(ours, theirs, "the tree's compiler must be another one")
        with World(("lxc",)) as place:
            images = place.folder / "images"
            images.mkdir()
            (images / "unlike.xml").write_text(IMAGE.replace("ROOT", str(tree / "root")).replace("VERSION", theirs))
            place.options = ["--images", images]
            place.start()
            job = place.folder / "job.xml"
            job.write_text(JOB.replace("PROGRAMS", "\n  ".join(PROGRAM.replace("ROLE", role)
                                                               for role in ("on-host", "on-tree"))))
            results = place.folder / "results"
            place.mvm("submit", job, "--wait", "--out", results)
            found = {path.parent.name: path.read_text().split()[0] for path in results.glob("*/compiler.txt")}
            self.assertEqual(found, {"on-host[0]": ours, "on-tree[0]": theirs})
            builds = place.json("build", "status")["items"]
            self.assertEqual(len({build["key"] for build in builds}), 2, "one source, two images: two binaries")
            place.expect_nothing_left()


if __name__ == "__main__":
    unittest.main()

"""The kernels of a lab through the product: plug-ins, the registry, and a distributed virtual machine of its nodes."""
import subprocess
import unittest

from world import BUILD, World, wait_until

LAB = """<?xml version="1.0"?>
<lab xmlns="urn:mvm:lab:1" name="trio">
  <machines name="node" driver="process" count="3" memory="64MiB"/>
</lab>
"""


class KernelsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        repository, key = cls.world.folder / "repository", cls.world.folder / "key"
        public = cls.world.mvm("plugin", "keygen", key).stdout.strip()
        cls.world.mvm("plugin", "publish", repository, BUILD / "tests/actors/plain.2.1.0.so", "--key", key)
        cls.served = f"http://127.0.0.1:{cls.world.port}/plugins/"
        cls.world.start("--plugins", repository, "--plugin-repository", cls.served, "--plugin-key", public)
        file = cls.world.folder / "lab.xml"
        file.write_text(LAB)
        cls.lab = cls.world.mvm("lab", "create", file, "--parsable").stdout.strip()
        wait_until(lambda: sum(row["state"] == "up" for row in cls.world.json("vm", "list", cls.lab)["items"]) == 3, 30,
                   "three nodes run")

    @classmethod
    def tearDownClass(cls):
        cls.world.mvm("lab", "destroy", cls.lab)
        cls.world.expect_nothing_left()

    def members(self):
        [machine] = self.world.json("dvm", "conf", self.lab, "blue")["items"]
        return {member["kernel"]: member for member in machine["members"]}

    def test_the_registry_keeps_what_is_put(self):
        self.world.mvm("kernel", "load", "registry", "--on", self.lab)
        try:
            self.world.mvm("reg", "put", f"{self.lab}/node-0", "motd", "hello")
            self.assertEqual(self.world.mvm("reg", "get", f"{self.lab}/node-0", "motd").stdout.strip(), "hello")
            self.assertIn("motd", self.world.mvm("reg", "ls", f"{self.lab}/node-0", "m*").stdout)
            self.assertIn("motd", self.world.mvm("reg", "watch", f"{self.lab}/node-0", "m*", "--once").stdout)
            self.world.mvm("reg", "del", f"{self.lab}/node-0", "motd")
            gone = self.world.mvm("reg", "get", f"{self.lab}/node-0", "motd", check=False)
            self.assertEqual(gone.returncode, 1, gone.stderr)
            self.assertIn("registry", self.world.mvm("plugin", "tree", self.lab).stdout)
        finally:
            self.world.mvm("kernel", "unload", "registry", "--on", self.lab)

    def test_nodes_keep_one_registry_together(self):
        reg = lambda verb, *words, **more: self.world.mvm("reg", verb, *words, **more)
        reg("serve", self.lab, "node-0", "node-1")
        try:
            reg("put", f"{self.lab}/node-0", "motd", "hello")
            self.assertEqual(reg("get", f"{self.lab}/node-1", "motd").stdout.strip(), "hello")
            reg("serve", self.lab)  # the third joins
            self.assertEqual(reg("get", f"{self.lab}/node-2", "motd").stdout.strip(), "hello")
            members = self.world.json("reg", "members", self.lab)["items"]
            self.assertEqual([row["state"] for row in members], ["serves"] * 3, members)
            other = reg("serve", self.lab, "--provider", "etcd", "--etcd", "http://127.0.0.1:1", check=False)
            self.assertEqual(other.returncode, 5, other.stderr)
            reg("leave", self.lab, "node-0")
            reg("put", f"{self.lab}/node-1", "after", "x")
            self.assertEqual(reg("get", f"{self.lab}/node-2", "after").stdout.strip(), "x")
            gone = reg("get", f"{self.lab}/node-0", "motd", check=False)
            self.assertIn("mvm reg serve", gone.stderr)
        finally:
            for node in ("node-0", "node-1", "node-2"):
                reg("leave", self.lab, node, "--force", check=False)
        self.assertNotIn("registry", [row["name"] for row in self.world.json("plugin", "list", self.lab)["items"]])

    def test_what_one_kernel_cannot_load_none_loads(self):
        refused = self.world.mvm("kernel", "load", "no-such-plugin", "--on", self.lab, check=False)
        self.assertEqual(refused.returncode, 5, refused.stderr)
        self.assertNotIn("no-such-plugin", self.world.mvm("plugin", "list", self.lab).stdout)

    def test_plug_ins_come_from_a_repository_that_the_daemon_serves(self):
        for wish in (f"{self.served}x86_64/plain.2.1.0.so", "urn:mvm:plugin:plain@2"):
            self.world.mvm("kernel", "load", wish, "--on", self.lab)
            names = [row["name"] for row in self.world.json("plugin", "list", self.lab)["items"]]
            self.assertEqual(names.count("plain"), 3, wish)
            self.world.mvm("kernel", "unload", "plain", "--on", self.lab)
        refused = self.world.mvm("kernel", "load", "urn:mvm:plugin:nothing", "--on", self.lab, check=False)
        self.assertEqual(refused.returncode, 5, refused.stderr)
        self.assertIn("found in no repository", refused.stdout)
        for path, code in (("index.json", "200"), ("../key", "403"), ("x86_64/none.so", "404")):
            said = subprocess.run(["curl", "-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", self.served + path],
                                  capture_output=True, text=True, timeout=30, check=True)
            self.assertEqual(said.stdout, code, path)

    def test_nodes_form_a_machine_and_leave_it(self):
        made = self.world.mvm("dvm", "create", self.lab, "blue")
        self.assertIn("password", (made.stdout + made.stderr).lower())
        try:
            members = wait_until(lambda: len(self.members()) == 3 and self.members(), 20, "three kernels belong to it")
            self.assertEqual(set(members), {"node-0", "node-1", "node-2"})
            self.assertEqual(sum(member["server"] for member in members.values()), 1)
            again = self.world.mvm("dvm", "create", self.lab, "blue", check=False)
            self.assertNotEqual(again.returncode, 0)
            self.world.mvm("dvm", "remove", self.lab, "blue", "node-2")
            wait_until(lambda: self.members().get("node-2", {}).get("state") is None, 20, "one has left")
            self.world.mvm("dvm", "add", self.lab, "blue", "node-2")
            wait_until(lambda: self.members().get("node-2", {}).get("state") == "present", 20, "it is back")
        finally:
            self.world.mvm("dvm", "halt", self.lab, "blue")
        self.assertEqual(self.world.json("dvm", "conf", self.lab)["items"], [])
        self.assertNotIn("dvm", [row["name"] for row in self.world.json("plugin", "list", self.lab)["items"]])


if __name__ == "__main__":
    unittest.main()

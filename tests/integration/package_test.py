"""The Debian package: made, resolvable, and what it holds runs a lab from wherever it was put."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import plugin_template
from world import BUILD, SOURCE, World


def run(*command, **more):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300, **more)
    if done.returncode != 0:
        raise AssertionError(f"{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Package(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory(prefix="mvm-package-", dir="/tmp")
        self.addCleanup(place.cleanup)
        self.folder = pathlib.Path(place.name)
        os.chmod(self.folder, 0o755)
        run("cpack", "--config", BUILD / "CPackConfig.cmake", "-B", self.folder / "made", cwd=BUILD)
        self.package, = (self.folder / "made").glob("mvm_*.deb")

    def test_it_can_be_installed_and_run(self):
        plan = run("apt-get", "-s", "-o", "Debug::NoLocking=1", "install", "--no-install-recommends", self.package)
        self.assertIn("Inst mvm ", plan)
        self.assertNotIn("\nRemv ", plan)
        depends = run("dpkg-deb", "-f", self.package, "Depends")
        for name in run(SOURCE / "packaging/packages.sh", "list", "run").split():
            self.assertIn(name, depends)

        run("dpkg-deb", "-x", self.package, self.folder / "root")
        prefix = self.folder / "root/usr"
        unit = (prefix / "lib/systemd/system/mvmd.service").read_text(encoding="utf-8")
        self.assertIn("ExecStart=/usr/bin/mvmd\n", unit)
        self.assertTrue((prefix / "bin/mvmd").exists())
        plugin_template.check(prefix, prefix / "lib/mvm/node/bin/mvm-kernel", prefix / "share/doc/mvm/examples/plugin")
        with World(installed=prefix) as place:
            place.start()
            heat = self.folder / "heat"
            shutil.copytree(prefix / "share/doc/mvm/examples/02-heat", heat)
            profile = (heat / "job.xml").read_text(encoding="utf-8")
            (heat / "job.xml").write_text(profile.replace('driver="lxc" image="host"', 'driver="process"'), encoding="utf-8")
            place.mvm("submit", heat / "job.xml", "--wait", "--out", heat / "results")
            self.assertEqual((heat / "results/heat.csv").read_text(), (heat / "expected/heat.csv").read_text())
            place.expect_nothing_left()


if __name__ == "__main__":
    unittest.main()

"""The template of docs/plugins.md against what this build installs for plug-ins (the package: package_test.py)."""
import os
import pathlib
import tempfile
import unittest

import plugin_template

SOURCE = pathlib.Path(os.environ["MVM_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["MVM_BINARY_DIR"])


class PluginTemplate(unittest.TestCase):
    def test_it_builds_outside_the_tree_and_runs(self):
        with tempfile.TemporaryDirectory(prefix="mvm-prefix-", dir="/tmp") as prefix:
            plugin_template.run("cmake", "--install", BUILD, "--component", "plugin", "--prefix", prefix)
            plugin_template.check(prefix, BUILD / "bin/mvm-kernel", SOURCE / "examples/plugin")


if __name__ == "__main__":
    unittest.main()

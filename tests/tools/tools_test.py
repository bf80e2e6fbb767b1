#!/usr/bin/env python3
"""Tests of packaging/leaks.py, packaging/packages.sh, tests/tools/count_tests.py and bench/all."""
import importlib.machinery
import importlib.util
import os
import subprocess
import sys
import tempfile
import unittest
import uuid

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.dont_write_bytecode = True


def load(path):
    loader = importlib.machinery.SourceFileLoader(os.path.basename(path).replace(".", "_"), os.path.join(ROOT, path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class Leaks(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.before = os.path.join(folder.name, "before")
        self.mark = uuid.uuid4().hex
        # Only marked processes: others work on this machine meanwhile.
        self.environment = dict(os.environ, MVM_CHECK_SHARED="1")
        self.environment.pop("MVM_CHECK_RUN", None)
        self.leaks("snapshot")

    def leaks(self, verb):
        command = [os.path.join(ROOT, "packaging", "leaks.py"), verb, self.before]
        command += [] if verb == "snapshot" else [self.mark]
        return subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, text=True, check=False)

    def test_nothing_left(self):
        done = self.leaks("report")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_a_process_and_its_descendants_are_found_and_ended(self):
        # The grandchild hides the mark; its ancestor still carries it.
        child = subprocess.Popen(["sh", "-c", "env -i sleep 1000; :"], env=dict(self.environment, MVM_CHECK_RUN=self.mark))
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        while f"{child.pid}" not in (found := self.leaks("report").stdout) or "sleep" not in found:
            pass
        self.assertIn("process: ", found)
        cleaned = self.leaks("clean")
        self.assertEqual(cleaned.returncode, 1)
        self.assertNotEqual(child.wait(10), 0)
        self.assertEqual(self.leaks("report").returncode, 0)


class CountTests(unittest.TestCase):
    def count(self, ctest, cases):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "cases"))
            for name, text in cases.items():
                with open(os.path.join(folder, "cases", name + ".xml"), "w") as file:
                    file.write(text)
            with open(os.path.join(folder, "ctest.xml"), "w") as file:
                file.write(ctest)
            return load("tests/tools/count_tests.py").count(folder)

    def test_counts_single_cases(self):
        cases = ('<testsuites><testsuite><testcase name="a" classname="A" status="run" result="completed"/>'
                 '<testcase name="b" classname="A" status="run" result="completed"><failure message="no"/></testcase>'
                 '<testcase name="c" classname="A" status="run" result="skipped"><skipped/></testcase>'
                 '<testcase name="d" classname="A" status="notrun" result="suppressed"/></testsuite></testsuites>')
        result = self.count('<testsuite><testcase name="x" status="fail"/></testsuite>', {"x": cases})
        self.assertEqual(result, (1, 1, ["x: A.b"]))

    def test_a_crash_counts_as_one_failure(self):
        result = self.count('<testsuite><testcase name="x" status="fail"/><testcase name="y" status="run"/></testsuite>', {})
        self.assertEqual(result, (1, 0, ["x"]))

    def test_a_crash_after_its_cases_passed_is_still_a_failure(self):
        cases = '<testsuites><testsuite><testcase name="a" classname="A" status="run" result="completed"/></testsuite></testsuites>'
        result = self.count('<testsuite><testcase name="x" status="fail"/></testsuite>', {"x": cases})
        self.assertEqual(result, (1, 0, ["x"]))


class Bench(unittest.TestCase):
    def test_bars(self):
        verdict = load("bench/all").verdict
        self.assertEqual(verdict("100", "-", "-"), "-")
        self.assertEqual(verdict("30", "-", "<=30"), "met")
        self.assertEqual(verdict("31", "-", "<=30"), "short")
        self.assertEqual(verdict("280", "100", "<=1.3*peer+150"), "met")
        self.assertEqual(verdict("281", "100", "<=1.3*peer+150"), "short")
        self.assertEqual(verdict("0.8", "1", ">=0.9*peer"), "short")
        with self.assertRaises(ValueError):
            verdict("1", "1", "about 3")


class Packages(unittest.TestCase):
    def run_tool(self, *words):
        return subprocess.run([os.path.join(ROOT, "packaging", "packages.sh"), *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)

    def test_lists_each_package_once(self):
        names = self.run_tool("list", "build", "run", "test", "full").stdout.split()
        self.assertGreater(len(names), 40)
        self.assertEqual(len(names), len(set(names)))

    def test_refuses_an_unknown_purpose(self):
        self.assertNotEqual(self.run_tool("list", "fun").returncode, 0)
        self.assertEqual(self.run_tool("purr", "build").returncode, 2)


if __name__ == "__main__":
    unittest.main()

"""Packed messages mean the same on every architecture: one program, built for a little-endian 64-bit PC, for
aarch64 and for the big-endian s390x, run under qemu's user emulation; what one writes, each of the others reads."""
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(os.environ["MVM_SOURCE_DIR"])
LIBMVM = SOURCE / "queuevm" / "libmvm"

# Architecture: compiler, emulator, machine and byte order in its ELF header.
ARCHITECTURES = {
    "x86-64": (["g++"], [], 62, "<"),
    "aarch64": (["aarch64-linux-gnu-g++"], ["qemu-aarch64-static"], 183, "<"),
    "s390x": (["s390x-linux-gnu-g++"], ["qemu-s390x-static"], 22, ">"),
}


def missing():
    tools = {words[0] for compiler, emulator, *_ in ARCHITECTURES.values() for words in (compiler, emulator) if words}
    return sorted(tool for tool in tools if shutil.which(tool) is None)


@unittest.skipIf(missing(), f"needs {', '.join(missing())} (packaging/packages.sh install test)")
class CrossArchitecture(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory(prefix="mvm-cross-")))
        builds = []
        for name, (compiler, *_) in ARCHITECTURES.items():
            # Static, as no other architecture's libraries are here.
            builds.append(subprocess.Popen(
                [*compiler, "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-static", f"-I{LIBMVM / 'include'}",
                 SOURCE / "tests" / "cross" / "exchange.cpp", LIBMVM / "src" / "pack.cpp",
                 LIBMVM / "src" / "strerror.cpp", "-o", cls.folder / name]))
        if any(build.wait(timeout=100) != 0 for build in builds):
            raise AssertionError("a build failed")

    def run_on(self, name, verb, file):
        emulator = ARCHITECTURES[name][1]
        return subprocess.run([*emulator, self.folder / name, verb, file], capture_output=True, text=True, timeout=60)

    def written_by(self, name):
        file = self.folder / f"{name}.message"
        done = self.run_on(name, "write", file)
        self.assertEqual(done.returncode, 0, done.stderr)
        return file

    def test_each_binary_is_of_its_own_architecture(self):
        for name, (_, _, machine, order) in ARCHITECTURES.items():
            header = (self.folder / name).read_bytes()[:20]
            self.assertEqual(header[5], 1 if order == "<" else 2, name)
            self.assertEqual(struct.unpack(order + "H", header[18:20])[0], machine, name)

    def test_what_one_writes_the_others_read(self):
        for writer in ARCHITECTURES:
            file = self.written_by(writer)
            for reader in ARCHITECTURES:
                with self.subTest(writer=writer, reader=reader):
                    done = self.run_on(reader, "read", file)
                    self.assertEqual(done.returncode, 0, done.stderr)

    def test_the_bytes_are_the_same(self):
        messages = [self.written_by(name).read_bytes() for name in ARCHITECTURES]
        self.assertGreater(len(messages[0]), 500)
        self.assertEqual(messages[0], messages[1])
        self.assertEqual(messages[0], messages[2])

    def test_a_changed_byte_is_noticed_on_each(self):
        whole = self.written_by("s390x").read_bytes()
        file = self.folder / "changed.message"
        for place in (0, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1:])
            for reader in ARCHITECTURES:
                self.assertEqual(self.run_on(reader, "read", file).returncode, 1, f"{reader} at {place}")


if __name__ == "__main__":
    unittest.main()

"""Distributed machines of real kernels, for tests and benchmarks."""

import json
import os
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import zlib


BUILD = os.environ.get("MVM_BINARY_DIR") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../build/dev")


def frame(head):
    text = json.dumps(head).encode()
    lengths = struct.pack("<II", len(text), 0)
    return b"MVM1" + lengths + struct.pack("<I", zlib.crc32(lengths)) + text


class Reply:
    def __init__(self, lines):
        self.code, self.message, self.answer = 1, "", None
        self.able, self.unable, self.failed, self.owing = [], {}, {}, []
        for line in lines.split("\n"):
            kind, _, rest = line.partition(" ")
            if kind == "code":
                self.code = int(rest)
            elif kind == "message":
                self.message = rest
            elif kind == "answer":
                self.answer = json.loads(rest)
            elif kind in ("able", "owing"):
                getattr(self, kind).append(rest)
            elif kind in ("unable", "failed"):
                name, _, why = rest.partition(" ")
                getattr(self, kind)[name] = why

    def __repr__(self):
        return f"<{self.code} {self.message} unable={self.unable} failed={self.failed}>"


class Client:
    """What libharness says, said in Python."""

    def __init__(self, path, user="ada", password="lovelace", timeout=40):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.entered = self("registerUser", user, password)

    def _get(self, size):
        data = b""
        while len(data) < size:
            piece = self.sock.recv(size - len(data))
            if not piece:
                raise ConnectionError("the kernel went away")
            data += piece
        return data

    def __call__(self, *argv):
        self.sock.sendall(frame({"argv": list(argv)}))
        lines, more = b"", True
        while more:
            header = self._get(16)
            head, blob = struct.unpack("<II", header[4:12])
            more = b'"more"' in self._get(head)
            lines += self._get(blob)
        return Reply(lines.decode())

    def close(self):
        self.sock.close()


class Kernel:
    def __init__(self, machine, name, settings):
        self.machine, self.name = machine, name
        self.folder = os.path.join(machine.folder, name)
        self.run = os.path.join(self.folder, "run")
        self.work = os.path.join(self.folder, "work")
        os.makedirs(self.run, mode=0o700)
        os.makedirs(self.work)
        self.settings = settings
        for kind in ("secret", "users"):
            path = os.path.join(self.run, "dvm." + kind)
            if kind == "secret" or machine.users:
                with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
                    out.write(machine.secret if kind == "secret" else machine.users)
        self.write_settings()
        self.process = None
        self.client = None

    def write_settings(self):
        with open(os.path.join(self.run, "dvm.json"), "w") as out:
            json.dump(self.settings, out)

    def start(self):
        log = open(os.path.join(self.folder, "log"), "ab")
        prefix = self.machine.netns(self.name) if self.machine.netns else []
        self.process = subprocess.Popen(
            prefix + [self.machine.program, "--node", f"{self.machine.vm}/{self.name}", "--run", self.run, "--work", self.work,
                      "--plugins", self.machine.plugins, "--no-default-plugins", "--plugin", "dvm", "--log", self.machine.log_level],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        return self

    @property
    def socket(self):
        return os.path.join(self.run, "harness.sock")

    def connect(self, timeout=20, timeout_answer=40, **who):
        """A client who has registered, as soon as the kernel takes one."""
        end = time.monotonic() + timeout
        while True:
            try:
                return Client(self.socket, timeout=timeout_answer, **who)
            except (OSError, ConnectionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)

    def __call__(self, *argv):
        if self.client is None:
            self.client = self.connect()
            assert self.client.entered.code == 0, self.client.entered
        try:
            return self.client(*argv)
        except OSError:
            self.client = None
            raise

    def pid(self):
        """Of the kernel's own process, the launcher's child; None while there is none."""
        try:
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as children:
                found = children.read().split()
            return int(found[0]) if found else None
        except OSError:
            return None

    def kill_kernel(self):
        pid = self.pid()
        if pid:
            os.kill(pid, signal.SIGKILL)
        self.client = None

    def kill(self):
        """The kernel and its launcher, at once."""
        pid = self.pid()
        self.process.kill()
        if pid:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()
        self.process = None
        self.client = None

    def stop(self):
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
        self.process = None
        self.client = None

    def ended(self):
        """What a launcher that nobody ended has ended with; None for one that runs."""
        return self.process.poll() if self.process else None

    def log(self):
        with open(os.path.join(self.folder, "log"), errors="replace") as text:
            return text.read()


class Machine:
    def __init__(self, vm="lab", parent=None, **settings):
        build = BUILD
        self.vm, self.netns, self.log_level = vm, None, "info"
        self.folder = tempfile.mkdtemp(prefix="dvm-", dir=parent)
        os.chmod(self.folder, 0o711)
        self.program = os.path.join(build, "bin/mvm-kernel")
        self.plugins = os.path.join(self.folder, "plugins")
        os.mkdir(self.plugins)
        shutil.copy(os.path.join(build, "lib/mvm/plugins/dvm.so"), self.plugins)
        for name in ("guest", "visitor"):
            shutil.copy(os.path.join(build, f"tests/dvm/{name}.so"), self.plugins)
        self.secret = secrets.token_hex(16)
        self.users = ""
        self.common = dict({"multicast": False}, **settings)
        self.kernels = {}

    def add(self, name, start=True, **settings):
        first = not self.kernels
        merged = dict(self.common)
        merged["found"] = "now" if first else "never"
        if not first and "seeds" not in merged and not merged.get("multicast"):
            merged["seeds"] = [next(iter(self.kernels.values())).address()]
        merged.update(settings)
        kernel = Kernel(self, name, merged)
        self.kernels[name] = kernel
        return kernel.start() if start else kernel

    def close(self):
        for kernel in self.kernels.values():
            if kernel.process:
                kernel.process.terminate()
        for kernel in self.kernels.values():
            kernel.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            # Those that have ended by themselves come last: where a report is cut, its end is kept.
            for kernel in sorted(self.kernels.values(), key=lambda one: one.ended() is not None):
                ended = kernel.ended()
                print(f"--- {kernel.name}{'' if ended is None else f' has ended with {ended}'}\n{kernel.log()[-3000:]}")
        self.close()


def address(kernel):
    return kernel("getvminfo", "self").answer["address"]


Kernel.address = address


def wait_for(condition, what, timeout=20):
    """The condition's value, once it is true."""
    end = time.monotonic() + timeout
    while True:
        try:
            value = condition()
        except OSError:
            value = None
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what}")
        time.sleep(0.02)


def present(kernel):
    members = kernel("getvminfo", "view/members").answer or []
    return sorted(one["kernel"] for one in members if one["state"] == "present")

"""A small world for tests: a private libvirtd, a daemon with a state folder of its own, the command line.

Everything lives under one temporary folder and carries a mark in its environment, so that what is left behind
can be told from what others run on the machine.
"""
import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid

SOURCE = pathlib.Path(os.environ["MVM_SOURCE_DIR"])
BUILD = pathlib.Path(os.environ["MVM_BINARY_DIR"])
MVM = BUILD / "bin/mvm"
MVMD = BUILD / "bin/mvmd"
TREE = BUILD / "stage/opt/mvm"


def wait_until(condition, seconds, what):
    """Polls a condition that nothing announces; fails loudly when the time is over."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s: {what}")
        time.sleep(0.02)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def environment_of(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def free_port():
    """A port that nobody listens on, out of the range from which the system takes those of outgoing connections:
    one of that range may be in use again before the daemon listens there."""
    for port in random.sample(range(12000, 32000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port of 127.0.0.1 is free")


def claim_subnet():
    """The second number of a 10.N.0.0/16 that no other test on this machine uses, and what must be held meanwhile."""
    for number in random.sample([n for n in range(182, 246) if n not in (213, 214)], 62):  # those two are other tests'
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0mvm-test-subnet-{number}")
            return number, claim
        except OSError:
            claim.close()
    raise AssertionError("no subnet is free")


class World:
    """One host with its daemon. Use as a context manager: leaving it ends and removes everything.

    `installed` is a prefix where the programs are installed; without, those of the build folder are tested.
    """

    def __init__(self, drivers=("process",), name="h1", options=(), netns=None, installed=None):
        self.mark = uuid.uuid4().hex
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="mvm-it-", dir="/tmp"))
        os.chmod(self.folder, 0o711)
        self.state = self.folder / "state"
        self.rings = pathlib.Path("/dev/shm") / self.folder.name
        self.drivers = drivers
        self.name = name
        self.programs = installed / "bin" if installed else BUILD / "bin"
        self.tree = [] if installed else ["--node-tree", TREE]
        self.options = list(options)
        self.netns = netns
        self.prefix = ["ip", "netns", "exec", netns] if netns else []
        self.daemon = None
        self.libvirt = {}
        self.log_level = "debug"
        self.address = "127.0.0.1"
        self.port = free_port()
        self.subnet, self.claim = claim_subnet()

    # ---- the daemon

    def environment(self):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "MVM_TEST_WORLD": self.mark,
            "MVM_CHECK_RUN": os.environ.get("MVM_CHECK_RUN", self.mark),
            "MVM_BROKER": f"http://127.0.0.1:{self.port}/",
            "MVM_TOKEN_FILE": str(self.state / "token"),
        }

    def start_libvirt(self):
        script = SOURCE / "packaging/libvirtd-private"
        place = ["--netns", self.netns] if self.netns else []
        done = subprocess.run([script, "start", self.folder / "libvirt", *place], env=self.environment(),
                              capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise AssertionError(f"libvirtd-private: {done.stderr}")
        self.libvirt = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

    def libvirtd_private(self, verb):
        subprocess.run([SOURCE / "packaging/libvirtd-private", verb, self.folder / "libvirt"],
                       env=self.environment(), check=True, capture_output=True, timeout=120)

    def start(self, *more, wait=True):
        """Starts mvmd; returns once its services answer (or, without `wait`, at once)."""
        command = [*self.prefix, self.programs / "mvmd", "--state", self.state, "--shared-memory", self.rings, "--name", self.name,
                   "--listen", f"{self.address}:{self.port}", "--log-level", self.log_level,
                   "--drivers", ",".join(self.drivers), "--subnets", f"10.{self.subnet}.0.0/16",
                   *self.tree, *self.options, *more]
        if self.libvirt:
            command += ["--libvirt-lxc", self.libvirt["LXC"], "--libvirt-qemu", self.libvirt["QEMU"]]
        self.state.mkdir(exist_ok=True)
        with open(self.folder / "mvmd.log", "ab") as log:
            self.daemon = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log,
                                           stdin=subprocess.DEVNULL)
        if wait:
            wait_until(self.answers, 60, f"mvmd does not answer; its log ends: {self.log_tail()}")

    def answers(self):
        if self.daemon.poll() is not None:
            raise AssertionError(f"mvmd ended with {self.daemon.returncode}: {self.log_tail()}")
        return self.mvm("whoami", check=False).returncode == 0

    def log_tail(self, lines=30):
        with contextlib.suppress(OSError):
            return "\n".join((self.folder / "mvmd.log").read_text(errors="replace").splitlines()[-lines:])
        return ""

    def kill(self, number=signal.SIGKILL):
        self.daemon.send_signal(number)
        return self.daemon.wait(timeout=60)

    def stop(self):
        return self.kill(signal.SIGTERM)

    # ---- the command line

    def mvm(self, *arguments, check=True, timeout=240, **more):
        done = subprocess.run([*self.prefix, self.programs / "mvm", *map(str, arguments)], env=self.environment(), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=timeout, **more)
        if check and done.returncode != 0:
            raise AssertionError(f"mvm {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}\n"
                                 f"{done.stderr}\nmvmd: {self.log_tail()}")
        return done

    def mvm_unless_it_dies(self, *arguments, timeout=60):
        """As mvm, without check; None once the daemon is dead, for which the client would wait to come back."""
        command = [*self.prefix, self.programs / "mvm", *map(str, arguments)]
        with subprocess.Popen(command, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              stdin=subprocess.DEVNULL) as client:
            try:
                wait_until(lambda: client.poll() is not None or self.daemon.poll() is not None, timeout, f"{command} hangs")
            finally:
                over = client.poll() is not None
                client.kill()
            out, errors = client.communicate()
            return subprocess.CompletedProcess(command, client.returncode, out, errors) if over else None

    def json(self, *arguments):
        return json.loads(self.mvm(*arguments, "-o", "json").stdout)

    # ---- what is left

    def processes(self):
        """pid -> command line of every process of this world but the daemon itself and libvirt's."""
        found = {}
        for entry in os.listdir("/proc"):
            if not entry.isdigit() or int(entry) == os.getpid():
                continue
            with contextlib.suppress(OSError):
                line = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                # Nodes and jobs have environments of their own, but work in our folder or name it.
                ours = (f"MVM_TEST_WORLD={self.mark}".encode() in environment_of(entry) or str(self.folder) in line
                        or os.readlink(f"/proc/{entry}/cwd").startswith(str(self.folder)))
                if not ours or not alive(entry):
                    continue
                if self.daemon is not None and int(entry) == self.daemon.pid:
                    continue
                if "libvirt" in line or "virtlogd" in line or "dnsmasq" in line:
                    continue
                found[int(entry)] = line.strip()
        return found

    def regions(self):
        """The files of memory that labs of this world share with their guests."""
        digits = hashlib.sha256(str(self.rings).encode()).hexdigest()[:8]
        return list(pathlib.Path("/dev/shm").glob(f"mvm-*-{digits}"))

    def left_over(self):
        """Everything of ended labs that still exists, as text; empty: nothing."""
        found = [f"process {pid}: {line}" for pid, line in self.processes().items()]
        labs = self.state / "labs"
        found += [f"folder {path}" for path in (labs.iterdir() if labs.is_dir() else [])]
        found += [f"ring {path}" for path in (self.rings.iterdir() if self.rings.is_dir() else [])]
        found += [f"shared memory {path}" for path in self.regions()]
        with open("/proc/mounts", encoding="utf-8") as mounts:
            found += [f"mount {line.split()[1]}" for line in mounts if str(self.state) in line]
        for kind, uri in self.libvirt.items():
            domains = subprocess.run([*self.prefix, "virsh", "-c", uri, "list", "--all", "--name"], capture_output=True, text=True,
                                     timeout=30).stdout.split()
            found += [f"{kind} domain {domain}" for domain in domains]
            networks = subprocess.run([*self.prefix, "virsh", "-c", uri, "net-list", "--all", "--name"], capture_output=True,
                                      text=True, timeout=30).stdout.split()
            found += [f"network {network}" for network in networks if network.startswith("mvm-")]
        return found

    def expect_nothing_left(self, seconds=20):
        found = []

        def clean():
            found[:] = self.left_over()
            return not found

        try:
            wait_until(clean, seconds, "things are left")
        except AssertionError as problem:
            raise AssertionError("left behind:\n" + "\n".join(found)) from problem

    def __enter__(self):
        try:
            if any(driver != "process" for driver in self.drivers):
                self.start_libvirt()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        if self.daemon is not None and self.daemon.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.daemon.terminate()
                self.daemon.wait(timeout=20)
            if self.daemon.poll() is None:
                self.daemon.kill()
                self.daemon.wait()
        if self.libvirt:
            with contextlib.suppress(Exception):
                self.libvirtd_private("stop")
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.processes(), 10, "processes do not die")
        shutil.rmtree(self.rings, ignore_errors=True)
        for region in self.regions():
            region.unlink()
        if os.environ.get("MVM_KEEP"):
            print(f"kept: {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        self.claim.close()


def ip(*arguments, check=True):
    subprocess.run(["ip", *arguments], check=check, capture_output=True, timeout=30)


class Cable:
    """Two network namespaces and the link between them."""

    def __init__(self):
        tag = uuid.uuid4().hex[:6]
        self.names = (f"mvm-a-{tag}", f"mvm-b-{tag}")
        self.addresses = ("10.77.91.1", "10.77.91.2")

    def __enter__(self):
        try:
            for name in self.names:
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "lo", "up")
            ip("link", "add", "cable", "netns", self.names[0], "type", "veth", "peer", "name", "cable", "netns",
               self.names[1])
            for name, address in zip(self.names, self.addresses):
                ip("-n", name, "address", "add", f"{address}/24", "dev", "cable")
                ip("-n", name, "link", "set", "cable", "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        for name in self.names:
            ip("netns", "del", name, check=False)

"""What the benchmarks share: a daemon of their own, alternating measurements, rows."""
import http.client
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
import xml.sax.saxutils

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))


MPI_ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")


def build_directory(program="mvmd"):
    """The build with this program; the release build where there is one: only its figures mean something."""
    for name in (os.environ.get("MVM_BUILD", ""), os.path.join(ROOT, "build", "release"), os.path.join(ROOT, "build", "dev")):
        if name and os.access(os.path.join(name, "bin", program), os.X_OK):
            if not name.endswith("release"):
                print(f"bench: measures {name}, which is no release build", file=sys.stderr)
            return name
    sys.exit(f"bench: there is no {program}; build it first: cmake --preset release && ninja -C build/release")


def built(name):
    """A program of bench/peers that the release build makes."""
    program = os.path.join(ROOT, "build", "release", "bench", "peers", name)
    if not os.access(program, os.X_OK):
        sys.exit(f"bench: there is no {name}; build it first: cmake --preset release && ninja -C build/release benches")
    return program


def row(name, ours, peer, unit, bar):
    """Prints one figure. `peer` and `bar` may be None."""
    ratio = "-" if peer is None or peer == 0 else f"{ours / peer:.3f}"
    peer = "-" if peer is None else f"{peer:.6g}"
    print("\t".join((name, f"{ours:.6g}", peer, unit, ratio, bar or "-")), flush=True)


def figures(text):
    """What processes printed as "KEY NUMBER" lines, which a log may prefix: {key: [numbers]}."""
    said = {}
    for key, number in re.findall(r"^(?:.*[ |])?([a-z_]+) (-?[0-9.]+)[ \t]*$", text, re.M):
        said.setdefault(key, []).append(float(number))
    return said


def alternate(rounds, ours, peer):
    """Medians of both, measured in turn; each is a function that returns a number."""
    first, second = [], []
    for _ in range(rounds):
        first.append(ours())
        second.append(peer())
    return statistics.median(first), statistics.median(second)


def repetitions(usual):
    """How often each figure is measured, where the command line does not say."""
    return int(os.environ.get("MVM_BENCH_REPETITIONS", usual))


def wanted(name):
    """Is this row asked for? No arguments: all are."""
    return len(sys.argv) < 2 or any(name.startswith(word) for word in sys.argv[1:])


ENVELOPE = ('<?xml version="1.0" encoding="UTF-8"?>'
            '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" xmlns:b="urn:mvm:broker:1" '
            'xmlns:t="urn:mvm:types:1"><s:Body>{body}</s:Body></s:Envelope>')


class Broker:
    """One keep-alive connection to the broker's service."""

    def __init__(self, settings):
        url = urllib.parse.urlsplit(settings["MVM_BROKER"])
        with open(settings["MVM_TOKEN_FILE"]) as file:
            secret = json.load(file)["token"]
        self.connection = http.client.HTTPConnection(url.hostname, url.port, timeout=60)
        self.path = url.path.rstrip("/") + "/broker"
        self.headers = {"Content-Type": "text/xml; charset=utf-8", "Authorization": f"Bearer {secret}"}

    def call(self, operation, body):
        self.connection.request("POST", self.path, ENVELOPE.format(body=f"<b:{operation}>{body}</b:{operation}>").encode(),
                                dict(self.headers, SOAPAction=f'"urn:mvm:broker:1#{operation}"'))
        answer = self.connection.getresponse()
        text = answer.read().decode()
        if answer.status != 200:
            sys.exit(f"bench: {operation}: {text[:2000]}")
        return text

    def submit(self, profile, lab=""):
        lab = f"<t:lab>{lab}</t:lab>" if lab else ""
        text = self.call("submit", f"<b:request><t:profile>{xml.sax.saxutils.escape(profile)}</t:profile>{lab}"
                                   f"<t:request>{uuid.uuid4().hex}</t:request></b:request>")
        return re.search(r"<[^>]*job>([^<]+)<", text)[1]

    def unfinished(self):
        return len(re.findall(r"<[^/>]*:state>", self.call("jobs", "<b:endedToo>false</b:endedToo>")))


class Daemon:
    """An all-in-one daemon of the benchmark's own, in a temporary folder. Use it in a `with` statement."""

    def __init__(self, drivers, arguments=()):
        self.drivers, self.arguments, self.broker = drivers, list(arguments), None

    def __enter__(self):
        self.folder = tempfile.mkdtemp(prefix="mvm-bench.", dir="/tmp")
        os.chmod(self.folder, 0o711)
        self.memory = os.path.join("/dev/shm", os.path.basename(self.folder))
        command = [os.path.join(ROOT, "packaging", "all-in-one"), "start", self.folder, "--build", build_directory(),
                   "--port", "0", "--drivers", self.drivers, "--private", "--", "--shared-memory", self.memory,
                   *self.arguments]
        try:
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        except subprocess.CalledProcessError:
            log = os.path.join(self.folder, "mvmd.log")
            if os.path.exists(log):
                with open(log) as file:
                    sys.stderr.write("".join(file.readlines()[-5:]))
            self.__exit__()
            sys.exit("bench: the daemon did not start")
        self.settings = dict(line.split("=", 1) for line in said.split())
        self.environment = dict(os.environ, **self.settings)
        return self

    def __exit__(self, *_):
        subprocess.run([os.path.join(ROOT, "packaging", "all-in-one"), "stop", self.folder], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.memory, ignore_errors=True)

    def mvm(self, *arguments):
        """Standard output of one command; ends the benchmark where it fails."""
        done = subprocess.run([self.settings["MVM"], *arguments], env=self.environment, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, cwd=self.folder, check=False)
        if done.returncode != 0:
            sys.stderr.write(done.stdout + done.stderr)
            sys.exit(f"bench: mvm {' '.join(arguments)} ended with exit code {done.returncode}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.mvm(*arguments, "-o", "json"))

    def pid(self):
        with open(os.path.join(self.folder, "state", "lock")) as file:
            return int(file.read())

    def file(self, name, text):
        """Writes a file into the daemon's folder; returns its path."""
        path = os.path.join(self.folder, name)
        with open(path, "w") as out:
            out.write(text)
        return path

    def job_ended(self, job):
        """Waits for a job's end; ends the benchmark where it failed. It looks seldom: the peer's launcher sleeps, and what
        a look takes of the cores is missing where the job computes."""
        if self.broker is None:
            self.broker = Broker(self.settings)
        time.sleep(0.1)
        while self.broker.unfinished() > 0:  # one connection: a program a look would be measured too
            time.sleep(0.1)
        state = self.json("job", "status", job)["state"]
        if state != "DONE":
            sys.exit(f"bench: job {job} {state}: {self.mvm('job', 'why', job)}\n{self.mvm('job', 'logs', job)}")

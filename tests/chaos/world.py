"""Hosts for chaos tests: network namespaces on a bridge, all in namespaces of their own, with processes that are killed and links
that are cut. Everything made here is removed by close(), on failure too. Needs root."""

import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading


def run(*words, check=True):
    return subprocess.run(words, check=check, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class World:
    """`hosts` namespaces at 10.77.0.1, .2, ..., joined by a bridge in one more; a folder for what the processes write."""

    def __init__(self, hosts):
        self.prefix = f'mvmx{os.getpid()}'
        self.switch = f'{self.prefix}s'
        self.hosts = list(range(1, hosts + 1))
        self.processes = []
        self.folder = tempfile.mkdtemp(prefix='mvm-chaos-')
        self.made = []
        try:
            self._make(self.switch)
            self._in(self.switch, 'ip', 'link', 'add', 'br0', 'type', 'bridge')
            self._in(self.switch, 'ip', 'link', 'set', 'br0', 'up')
            for host in self.hosts:
                name = self.name(host)
                self._make(name)
                run('ip', 'link', 'add', 'eth0', 'netns', name, 'type', 'veth', 'peer', 'name', f'p{host}', 'netns', self.switch)
                self._in(self.switch, 'ip', 'link', 'set', f'p{host}', 'master', 'br0', 'up')
                self._in(name, 'ip', 'addr', 'add', f'{self.address(host)}/24', 'dev', 'eth0')
                self._in(name, 'ip', 'link', 'set', 'eth0', 'up')
                self._in(name, 'ip', 'link', 'set', 'lo', 'up')
        except BaseException:
            self.close()
            raise

    def name(self, host):
        return f'{self.prefix}h{host}'

    @staticmethod
    def address(host):
        return f'10.77.0.{host}'

    def _make(self, name):
        run('ip', 'netns', 'add', name)
        self.made.append(name)

    @staticmethod
    def _in(name, *words):
        return run('ip', 'netns', 'exec', name, *words)

    def cut(self, host):
        """No packet comes or goes: the host's port at the bridge is down."""
        self._in(self.switch, 'ip', 'link', 'set', f'p{host}', 'down')

    def heal(self, host):
        self._in(self.switch, 'ip', 'link', 'set', f'p{host}', 'up')

    def spawn(self, host, words, log):
        process = Process(['ip', 'netns', 'exec', self.name(host), *words], log)
        self.processes.append(process)
        return process

    def close(self):
        for process in self.processes:
            process.kill()
        for name in reversed(self.made):
            run('ip', 'netns', 'del', name, check=False)
        self.made = []
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Process:
    """A program that is driven by lines "VERB TOKEN ..." and answers each with a line that begins with the same two words."""

    def __init__(self, words, log):
        self.log = open(log, 'ab')
        self.popen = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)
        self.lock = threading.Lock()
        self.next = 1
        self.waiting = {}
        self.first = queue.Queue()
        self.ended = None  # what it said of its own end
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        try:
            for line in self.popen.stdout:
                words = line.rstrip('\n').split(' ', 2)
                if words[0] == 'ended':
                    self.ended = words[2]
                elif words[0] == 'ready':
                    self.first.put(words[1:])
                else:
                    with self.lock:
                        waiting = self.waiting.pop(words[1], None)
                    if waiting is not None:
                        waiting.put(words[2] if len(words) > 2 else '')
        except ValueError:
            pass
        with self.lock:
            for waiting in self.waiting.values():
                waiting.put(None)
            self.waiting = {}
        self.first.put(None)

    def ready(self, seconds=60):
        """What it says at first; nothing where it ended instead."""
        try:
            return self.first.get(timeout=seconds)
        except queue.Empty:
            return None

    def ask(self, verb, *rest, seconds=8):
        """The rest of the answer; nothing where none came."""
        answer = queue.Queue()
        with self.lock:
            token = str(self.next)
            self.next += 1
            self.waiting[token] = answer
        try:
            self.popen.stdin.write(' '.join([verb, token, *map(str, rest)]) + '\n')
            self.popen.stdin.flush()
            return answer.get(timeout=seconds)
        except (OSError, ValueError, queue.Empty):
            return None

    def alive(self):
        return self.popen.poll() is None

    def pause(self):
        self.popen.send_signal(signal.SIGSTOP)

    def resume(self):
        self.popen.send_signal(signal.SIGCONT)

    def kill(self):
        """kill -9, and waits: from here on its death is a fact."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        try:
            self.popen.stdin.close()
        except OSError:
            pass
        self.log.close()

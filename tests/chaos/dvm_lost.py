#!/usr/bin/env python3
"""A lost kernel is known to all within two beats: killed with its launcher, stopped, and cut off with its host, of which one kernel holds the log.
Every other kernel's own copy of the status has to name it in time.

dvm_lost.py [--beat MS]"""

import argparse
import os
import signal
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../componentvm/dvm")]
from machine import Machine, present, wait_for  # noqa: E402
from world import World  # noqa: E402

HOSTS, KERNELS, VOTERS = 3, 6, 3
GIVE_UP = 10  # beats


class Lateness(threading.Thread):
    """How late this machine's scheduler is: the worst that a thread which sleeps 5 ms has seen since it was last asked."""

    def __init__(self):
        super().__init__(daemon=True)
        self.worst, self.done = 0.0, threading.Event()

    def run(self):
        while not self.done.is_set():
            before = time.monotonic()
            time.sleep(0.005)
            self.worst = max(self.worst, time.monotonic() - before - 0.005)

    def ask(self):
        worst, self.worst = self.worst, 0.0
        return worst


def lost_ones(kernel):
    return {one["kernel"] for one in kernel("getvminfo", "view/members").answer if one["state"] == "lost"}


def learn(survivors, victims, beat, lateness, lose):
    """Has the victims lost; when each survivor knows it, in beats, and how many there are to be for this machine's scheduler."""
    lateness.ask()
    begin = time.monotonic()
    lose()
    took = {}
    while len(took) < len(survivors) and time.monotonic() - begin < GIVE_UP * beat:
        for kernel in survivors:
            if kernel.name not in took and victims <= lost_ones(kernel):
                took[kernel.name] = (time.monotonic() - begin) / beat
        time.sleep(0.002)
    # Three threads in turn have to run until a kernel knows, and the test's own until it sees that.
    allowed = 2 + 0.1 + 4 * lateness.ask() / beat
    late = [one.name for one in survivors if took.get(one.name, GIVE_UP) > allowed]
    said = ", ".join(f"{name} {value:.2f}" for name, value in sorted(took.items()))
    print(f"{'+'.join(sorted(victims))}: known after {said} beats; allowed {allowed:.2f}", flush=True)
    return [f"{name} did not know in time that {sorted(victims)} are lost" for name in late]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--beat", type=int, default=400)
    options = options.parse_args()
    beat = options.beat / 1000
    faults = []
    lateness = Lateness()
    lateness.start()
    with World(HOSTS) as world, Machine(vm="chaos", voters=VOTERS, **{"beat-ms": options.beat}) as machine:
        host = {f"k{i}": 1 + i % HOSTS for i in range(1, KERNELS + 1)}
        machine.netns = lambda name: ["ip", "netns", "exec", world.name(host[name])]
        k1, k2, k3 = [machine.add(f"k{i}", listen=f"{world.address(host[f'k{i}'])}:0") for i in (1, 2, 3)]
        wait_for(lambda: sum(one["holds-log"] for one in k1("getvminfo", "members").answer) == VOTERS, "these three hold the log", 60)
        k4, k5, k6 = [machine.add(f"k{i}", listen=f"{world.address(host[f'k{i}'])}:0") for i in (4, 5, 6)]
        wait_for(lambda: all(len(present(one)) == KERNELS for one in (k1, k2, k3, k4, k5, k6)), "all are there", 60)
        assert k1("getvminfo", "self").answer["server"] == "k1"

        faults += learn([k1, k2, k3, k4, k6], {"k5"}, beat, lateness, k5.kill)
        stopped = k4.pid()
        try:
            faults += learn([k1, k2, k3, k6], {"k4", "k5"}, beat, lateness, lambda: os.kill(stopped, signal.SIGSTOP))
        finally:
            os.kill(stopped, signal.SIGCONT)
        wait_for(lambda: all("k4" in present(kernel) for kernel in (k1, k2, k3, k6)), "the stopped one is back")
        try:
            faults += learn([k1, k2, k4], {"k3", "k5", "k6"}, beat, lateness, lambda: world.cut(1))
        finally:
            world.heal(1)
        wait_for(lambda: len(present(k1)) == KERNELS - 1, "the cut ones are back", 30)
    lateness.done.set()
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

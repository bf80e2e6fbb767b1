#!/usr/bin/env python3
"""A distributed machine of kernels on three network namespaces as hosts: kernels, launchers and the status server are killed,
hosts are cut off, under commands and updates. At the end: every acknowledged update is there, every all-or-none command
happened at all its kernels or at none, and all kernels have the same status, made of the same events. A good share of the
commands has to have been committed: where all abort, nothing is proved.

dvm_chaos.py [--seconds N] [--seed N] [--pace SECONDS] [--runs N]"""

import argparse
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../componentvm/dvm")]
from machine import Machine, present, wait_for  # noqa: E402
from world import World  # noqa: E402

HOSTS, KERNELS, VOTERS = 3, 6, 5
COMMITTED = 0.3  # the least share of the commands that were answered; at a faster pace most may abort
ATTEMPTS = 3  # at a command that kernels were not able to carry out


class Client(threading.Thread):
    """One that asks one kernel after another; only it writes its key."""

    def __init__(self, number, kernels, stop, seed):
        super().__init__()
        self.number, self.kernels, self.stop, self.rng = number, kernels, stop, random.Random(seed)
        self.count, self.acknowledged = 0, 0
        self.outcomes = {}
        self.commands = {}  # id -> what was answered
        self.records = {}  # id -> what the status said of it when it was finished

    def note(self, what):
        self.outcomes[what] = self.outcomes.get(what, 0) + 1

    def run(self):
        while not self.stop.is_set():
            kernel = self.rng.choice(self.kernels)
            client = None
            try:
                client = kernel.connect(timeout=1, timeout_answer=15)
                for _ in range(self.rng.randint(1, 8)):
                    self.update(client)
                    if self.number == 0 and not self.stop.is_set():
                        self.command(client)
            except OSError:
                self.note("unknown")
            finally:
                if client is not None:
                    client.close()
            self.stop.wait(0.02)

    def update(self, client):
        self.count += 1
        reply = client("state", "put", "chaos", f"c{self.number}", str(self.count))
        if reply.code == 0:
            self.acknowledged = self.count
        self.note(f"put {reply.code}")

    def command(self, client):
        """All-or-none: at all kernels, at one or two, or at those that are there. Again, where some turned out not to be able."""
        aim = self.rng.choice(("all", "some", "able", "able"))
        chosen = set(self.rng.sample([kernel.name for kernel in self.kernels], self.rng.randint(1, 2)))
        for _ in range(ATTEMPTS):
            status = client("getvminfo", "view/status").answer
            self.collect(status)
            loaded = {one["name"]: "guest" in one["services"] for one in status["members"] if not one["lost"]}
            aimed = {name: has for name, has in loaded.items() if aim != "some" or name in chosen}
            if not aimed:
                return
            # Of those that are there and have it, or of those that have it not: what most of them allow.
            verb = "unload" if 2 * sum(aimed.values()) > len(aimed) else "load"
            able = [name for name, has in aimed.items() if has == (verb == "unload")]
            reply = client(verb, "guest", "all" if aim == "all" else ",".join(able), "all-or-none", "--deadline=2000")
            self.note(f"{verb} {aim} {reply.code}")
            if reply.answer:
                self.commands[reply.answer["id"]] = reply.answer["outcome"]
            if reply.code != 5 or self.stop.wait(0.1):
                return

    def collect(self, status):
        """The status remembers the last commands only."""
        for one in status["commands"]:
            if one["phase"] == "finished" and not one["owing"]:
                self.records[one["id"]] = one


class Nemesis:
    def __init__(self, world, kernels, seed):
        self.world, self.kernels, self.rng = world, kernels, random.Random(seed)
        self.cut, self.down, self.done = [], [], {}

    def step(self):
        choice = self.rng.choice(("kernel", "kernel", "server", "launcher", "restart", "restart", "cut", "heal", "heal"))
        running = [one for one in self.kernels if one.process]
        if choice == "kernel":
            self.rng.choice(running).kill_kernel()
        elif choice == "server":
            servers = [one for one in running if self.is_server(one)]
            if not servers:
                return
            servers[0].kill_kernel()
        elif choice == "launcher" and len(self.down) < 1:
            victim = self.rng.choice(running)
            victim.kill()
            self.down.append(victim)
        elif choice == "restart" and self.down:
            self.down.pop().start()
        elif choice == "cut" and not self.cut:
            self.cut.append(self.rng.choice(self.world.hosts))
            self.world.cut(self.cut[0])
        elif choice == "heal" and self.cut:
            self.world.heal(self.cut.pop())
        else:
            return
        self.done[choice] = self.done.get(choice, 0) + 1

    @staticmethod
    def is_server(kernel):
        try:
            client = kernel.connect(timeout=0.2, timeout_answer=1)
            about = client("getvminfo", "self").answer
            client.close()
            return about["live"] and about["server"] == kernel.name
        except OSError:
            return False

    def end(self):
        for host in self.cut:
            self.world.heal(host)
        for kernel in self.down:
            kernel.start()


def mapped(kernel):
    with open(f"/proc/{kernel.pid()}/maps") as maps:
        return "/guest.so" in maps.read()


def quiet(kernels):
    """The status that all kernels have, once nothing moves any more."""

    def same():
        if any(len(present(kernel)) != len(kernels) for kernel in kernels):
            return None
        views = [kernel("getvminfo", "view/status").answer for kernel in kernels]
        if any(view != views[0] for view in views):
            return None
        moving = [one for one in views[0]["commands"] if one["phase"] != "finished" or one["owing"]]
        return None if moving else views[0]

    try:
        return wait_for(same, "all kernels have the same status, and nothing moves", 90)
    except AssertionError:
        for kernel in kernels:
            try:
                print(kernel.name, kernel("getvminfo", "self").answer, present(kernel))
            except OSError as failure:
                print(kernel.name, failure)
        raise


def check(status, kernels, clients, share):
    faults = []
    states = status["states"].get("chaos", {})
    for client in clients:
        value = int(states.get(f"c{client.number}", 0))
        if not client.acknowledged <= value <= client.count:
            faults.append(f"client {client.number}: {client.acknowledged} was acknowledged, {value} is there")
    clients[0].collect(status)
    records = clients[0].records
    for ident, said in clients[0].commands.items():
        if ident not in records:
            faults.append(f"{ident} was said to be {said}, and is not on record")
    # Done at all of its kernels, or at none: what the committed ones amount to is what each kernel has.
    due = {kernel.name: False for kernel in kernels}
    for command in sorted(records.values(), key=lambda one: one["number"]):
        outcome = "committed" if command["committed"] else "aborted"
        said = clients[0].commands.get(command["id"])
        if said not in (None, outcome):
            faults.append(f"{command['id']} was said to be {said}, and is {outcome}")
        if command["committed"] and (command["failed"] or command["unable"]):
            faults.append(f"{command['id']} was committed, and yet: {command['failed']} {command['unable']}")
        if command["committed"]:
            due.update(dict.fromkeys(command["participants"], command["verb"] == "load"))
    held = {one["name"]: "guest" in one["services"] for one in status["members"]}
    real = {kernel.name: mapped(kernel) for kernel in kernels}
    if held != due or real != due:
        faults.append(f"the commands amount to {due}, the status says {held}, the kernels have {real}")
    outcomes = list(clients[0].commands.values())
    committed = outcomes.count("committed")
    print(f"{committed} of {len(outcomes)} answered commands were committed")
    if share > 0 and committed < max(1, share * len(outcomes)):
        faults.append(f"only {committed} of {len(outcomes)} commands were committed: that proves little")
    # Events of one number are one event, whoever tells of it.
    events = {}
    for kernel in kernels:
        for one in kernel("getvminfo", "events").answer:
            if events.setdefault(one["number"], one["event"]) != one["event"]:
                faults.append(f"event {one['number']} is not the same everywhere")
    return faults


def show(kernels):
    """What the kernels did at last, and the last events that each of them still tells of."""
    for kernel in kernels:
        print(f"--- {kernel.name}")
        print("\n".join(kernel.log().splitlines()[-80:]))
        for one in kernel("getvminfo", "events").answer[-60:]:
            print(one["number"], one["event"])


def run(options, seed):
    print(f"seed {seed}", flush=True)
    with World(HOSTS) as world, Machine(vm="chaos", voters=VOTERS) as machine:
        host = {f"k{i}": 1 + i % HOSTS for i in range(1, KERNELS + 1)}
        machine.netns = lambda name: ["ip", "netns", "exec", world.name(host[name])]
        kernels = [machine.add(name, listen=f"{world.address(host[name])}:0") for name in host]
        wait_for(lambda: all(len(present(kernel)) == KERNELS for kernel in kernels), "all are there", 60)
        wait_for(lambda: sum(one["holds-log"] for one in kernels[0]("getvminfo", "members").answer) >= VOTERS, "the log is held", 60)
        stop = threading.Event()
        clients = [Client(number, kernels, stop, seed + number) for number in range(4)]
        nemesis = Nemesis(world, kernels, seed)
        for one in clients:
            one.start()
        try:
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                time.sleep(nemesis.rng.uniform(0.1, 1.0) * options.pace)
                nemesis.step()
        finally:
            stop.set()
            nemesis.end()
            for one in clients:
                one.join()
        for kernel in kernels:
            kernel.client = None
        faults = check(quiet(kernels), kernels, clients, COMMITTED if options.pace >= 1 else 0)
        print("troubles:", nemesis.done)
        for client in clients:
            print(f"client {client.number}: {client.acknowledged} of {client.count} acknowledged last,", client.outcomes)
        for kernel in kernels:
            for line in kernel.log().splitlines():
                if " error " in line:
                    print(f"{kernel.name}: {line}")
        if faults:
            show(kernels)
        for fault in faults:
            print("FAULT:", fault)
        return 1 if faults else 0


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--seed", type=int, default=int(time.time()))
    options.add_argument("--pace", type=float, default=1.0, help="between two troubles, at most (default: 1)")
    options.add_argument("--runs", type=int, default=1, help="one after the other, each with a seed of its own")
    options = options.parse_args()
    # Many short lives of machines find more than a long one: each begins, and each comes to rest.
    return 1 if any(run(options, options.seed + i) for i in range(options.runs)) else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Chaos for a replicated group: members on three hosts are killed, stopped, replaced and cut off under a stream of updates and reads;
then every claim of componentvm/replica is checked against the history. At the end confirmed deaths take all but the last member.

    replica_chaos.py MEMBER_PROGRAM [--seconds S] [--seed N] [--members M] [--keep FOLDER]
"""

import argparse
import os
import random
import shutil
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from history import History, check, same_order, self_test  # noqa: E402
from world import World  # noqa: E402

BEAT = 100
SECRET = '0123456789abcdef0123456789abcdef'


class Member:
    """A copy: its number and folder stay over its lives, each a process."""

    def __init__(self, group, number, host):
        self.group, self.number, self.host = group, number, host
        self.address = f'{World.address(host)}:{7000 + number}'
        self.folder = f'{group.world.folder}/m{number}'
        self.process = None
        self.life = 0
        self.gone = False  # this copy never comes back
        self.killed = True  # by us

    def kill(self):
        if self.running():
            self.killed = True
        self.process.kill()

    def start(self):
        if not self.killed:
            raise RuntimeError(f'member {self.number} ended by itself, with {self.process.popen.poll()}')
        process = self.group.world.spawn(self.host, [self.group.program, str(self.number), self.address, self.folder, 'chaos', SECRET,
                                                     str(BEAT)], f'{self.group.world.folder}/m{self.number}.log')
        said = process.ready()
        if said is None:
            raise RuntimeError(f'member {self.number} did not start')
        self.life = int(said[0])
        self.process = process
        self.killed = False

    def running(self):
        return self.process is not None and self.process.alive()

    def info(self):
        said = self.process.ask('info') if self.running() else None
        if said is None:
            return None
        leads, active, term, epoch, applied, leader = map(int, said.split())
        return {'leads': leads, 'active': active, 'term': term, 'epoch': epoch, 'applied': applied, 'leader': leader}

    def __str__(self):
        return f'{self.number}@{self.address}'


class Group:
    def __init__(self, world, program, members):
        self.world, self.program = world, program
        self.members = [Member(self, number, world.hosts[number % len(world.hosts)]) for number in range(1, members + 1)]
        self.next = members + 1
        for member in self.members:
            member.start()
        for member in self.members:
            if member.process.ask('bootstrap', *self.members) != 'ok':
                raise RuntimeError('bootstrap was refused')
        self.deaths = []

    def copies(self):
        return [member for member in self.members if not member.gone]

    def running(self):
        return [member for member in self.copies() if member.running()]

    def leader(self):
        for member in self.running():
            info = member.info()
            if info and info['leads']:
                return member
        return None

    def bury(self, member):
        """The process has ended, its host saw it: everybody who can be reached is told, now and later."""
        self.deaths.append((member.number, member.life))

    def tell_deaths(self):
        for member in self.running():
            for number, life in self.deaths:
                member.process.ask('dead', number, life, seconds=1)

    def replace(self, member):
        """A new copy takes the place of one that is gone."""
        fresh = Member(self, self.next, member.host)
        self.next += 1
        fresh.start()
        fresh.process.ask('join', *self.running())
        self.members.append(fresh)
        return fresh

    def quiet(self, seconds, what):
        """All copies run, act, and have applied the same."""
        end = time.monotonic() + seconds
        state = None
        while time.monotonic() < end:
            state = [member.info() for member in self.copies()]
            if all(state) and all(one['active'] for one in state) and len({(one['applied'], one['epoch'], one['leader']) for one in state}) == 1 \
                    and state[0]['leader']:
                return
            self.tell_deaths()
            for member in self.copies():
                if not member.running() and not member.killed:
                    member.start()  # which says what is wrong
                if member.running() and member.process.ended:
                    raise RuntimeError(f'member {member.number} says its part is over: {member.process.ended}')
            time.sleep(0.05)
        raise RuntimeError(f'{what}: not quiet within {seconds} s: {dict(zip(map(str, self.copies()), state or []))}')


def client(name, group, history, keys, stop, seed):
    rng = random.Random(seed)
    count = 0
    while not stop.is_set():
        living = group.running()
        if not living:
            time.sleep(0.01)
            continue
        process = rng.choice(living).process
        key = rng.choice(keys)
        if rng.random() < 0.7:
            count += 1
            value = f'{name}.{count}'

            def update():
                said = process.ask('set', key, value)
                # No answer: the process died, or was stopped, or its answer comes too late.
                return (said.split(' ', 1)[0] if said else 'unknown'), value
            history.record(name, 'set', key, update)
        else:
            def read():
                said = process.ask('get', key)
                words = said.split(' ', 1) if said else ['unknown']
                return words[0], (words[1] if len(words) > 1 and words[0] == 'ok' else '')
            history.record(name, 'get', key, read)


class Nemesis:
    """One trouble at a time begins; several may last at once."""

    def __init__(self, group, seed):
        self.group, self.rng = group, random.Random(seed)
        self.cut = set()
        self.stopped = set()
        self.done = {}

    def note(self, what):
        self.done[what] = self.done.get(what, 0) + 1

    def step(self):
        group, rng = self.group, self.rng
        choice = rng.choice(['kill', 'kill leader', 'bury', 'bury', 'cut', 'heal', 'heal', 'heal', 'pause', 'resume', 'resume', 'restart',
                             'restart', 'restart'])
        running = [member for member in group.running() if member not in self.stopped]
        if choice in ('kill', 'kill leader', 'bury') and running:
            member = rng.choice(running)
            if choice == 'kill leader':
                member = group.leader() or member
                if member in self.stopped:
                    return
            member.kill()
            # A copy that is buried for good: one at a time, and never where more are down or some cut off, for those may lack what it has.
            whole = not self.cut and not self.stopped and len(running) + 1 >= len(group.copies())
            if choice == 'bury' and whole and len(running) >= 4:
                member.gone = True
                group.bury(member)
                group.tell_deaths()
                group.replace(member)
            self.note(choice if choice != 'bury' or member.gone else 'kill')
        elif choice == 'cut' and len(self.cut) < len(group.world.hosts) - 1:
            host = rng.choice([one for one in group.world.hosts if one not in self.cut])
            self.cut.add(host)
            group.world.cut(host)
            self.note('cut')
        elif choice == 'heal' and self.cut:
            host = self.cut.pop()
            group.world.heal(host)
        elif choice == 'pause' and running:
            member = rng.choice(running)
            member.process.pause()
            self.stopped.add(member)
            self.note('pause')
        elif choice == 'resume' and self.stopped:
            self.stopped.pop().process.resume()
        elif choice == 'restart':
            down = [member for member in group.copies() if not member.running()]
            if down:
                rng.choice(down).start()
                self.note('restart')

    def end(self):
        for host in set(self.cut):
            self.group.world.heal(host)
        self.cut.clear()
        for member in self.stopped:
            if member.running():
                member.process.resume()
        self.stopped.clear()
        for member in self.group.copies():
            if not member.running():
                member.start()


def journal_of(member):
    file = f'{member.folder}.journal'
    said = member.process.ask('dump', file)
    if said is None:
        raise RuntimeError(f'member {member.number} tells no journal')
    with open(file, encoding='utf-8') as lines:
        return [(int(line.split(' ', 1)[0]), line.rstrip('\n').split(' ', 1)[1]) for line in lines]


def shrink(group, history):
    """Confirmed deaths, the leader's first, down to the last; the last majority dies at once."""
    while len(group.running()) > 1:
        living = group.running()
        leader = group.leader()
        victims = [leader or living[0]]
        if len(living) == 3:
            victims = living[:2]
        for member in victims:
            member.kill()
            member.gone = True
            group.bury(member)
        group.tell_deaths()
        begun = time.monotonic()
        survivor = group.running()[0]
        count = 0
        while True:
            value = f'last.{len(history.calls)}'

            def update():
                said = survivor.process.ask('set', 'k0', value)
                return (said.split(' ', 1)[0] if said else 'unknown'), value
            if history.record('last', 'set', 'k0', update) == 'ok':
                break
            count += 1
            if count > 30:
                raise RuntimeError(f'{len(group.running())} survivors do not go on: {[member.info() for member in group.running()]}')
        print(f'{len(living)} -> {len(group.running())} members: the next update after {1000 * (time.monotonic() - begun):.0f} ms')
        group.quiet(30, 'after a death')


def main():
    options = argparse.ArgumentParser()
    options.add_argument('program')
    options.add_argument('--seconds', type=float, default=8)
    options.add_argument('--seed', type=int, default=int(time.time()))
    options.add_argument('--members', type=int, default=5)
    options.add_argument('--keep')
    options = options.parse_args()
    self_test()
    print(f'seed {options.seed}')
    history = History()
    world = World(3)
    try:
        group = Group(world, options.program, options.members)
        group.quiet(30, 'at the beginning')
        nemesis = Nemesis(group, options.seed)
        stop = threading.Event()
        keys = [f'k{number}' for number in range(5)]
        clients = [threading.Thread(target=client, args=(f'c{number}', group, history, keys, stop, options.seed + number)) for number in range(4)]
        for one in clients:
            one.start()
        try:
            end = time.monotonic() + options.seconds
            while time.monotonic() < end:
                time.sleep(nemesis.rng.uniform(0.05, 0.6))
                group.tell_deaths()
                nemesis.step()
        finally:
            stop.set()
            for one in clients:
                one.join()
        nemesis.end()
        group.quiet(60, 'after the troubles')
        before = {str(member): journal_of(member) for member in group.copies()}
        faults = same_order(before)
        shrink(group, history)
        last = journal_of(group.running()[0])
        faults += same_order({**before, 'the last': last})
        faults += check(history.calls, [command for _, command in last])
        outcomes = {}
        for call in history.calls:
            outcomes[f'{call.kind} {call.outcome}'] = outcomes.get(f'{call.kind} {call.outcome}', 0) + 1
        print('troubles:', nemesis.done)
        print('calls:', outcomes)
        for fault in faults[:20]:
            print('FAULT', fault)
        if not outcomes.get('set ok') or not outcomes.get('get ok'):
            faults.append('nothing was acknowledged')
        return 1 if faults else 0
    finally:
        if options.keep:
            shutil.copytree(world.folder, options.keep, dirs_exist_ok=True)
        world.close()


if __name__ == '__main__':
    sys.exit(main())

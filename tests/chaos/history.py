"""What clients saw, and whether it can have been so.

Updates have values of their own, and the group's members tell the order in which they applied them, so that nothing is searched:
every claim below is a comparison of two numbers."""

import threading
import time
from collections import namedtuple

# kind: 'set' or 'get'; outcome: 'ok', 'no' (surely not done), 'unknown'; value of a get: what was read, '' for nothing
Call = namedtuple('Call', 'client kind key value start end outcome')


class History:
    def __init__(self):
        self.lock = threading.Lock()
        self.calls = []

    def record(self, client, kind, key, call):
        """Runs call() -> (outcome, value) and writes down when it began and ended."""
        start = time.monotonic()
        outcome, value = call()
        with self.lock:
            self.calls.append(Call(client, kind, key, value, start, time.monotonic(), outcome))
        return outcome


def same_order(journals):
    """Each journal, a list of (index, command), is a prefix of the longest. Returns faults."""
    faults = []
    longest = max(journals.values(), key=len, default=[])
    for name, journal in journals.items():
        for place, (mine, theirs) in enumerate(zip(journal, longest)):
            if mine != theirs:
                faults.append(f'{name} has {mine} at place {place}, another {theirs}')
                break
    for place in range(1, len(longest)):
        if longest[place - 1][0] >= longest[place][0]:
            faults.append(f'indexes do not rise at place {place}')
    return faults


def check(calls, order):
    """`order`: the commands "KEY VALUE" as the group applied them in the end. Returns the faults found, none where all is well."""
    faults = []
    place = {}
    for number, command in enumerate(order, start=1):
        if command in place:
            faults.append(f'"{command}" is there twice, at {place[command]} and {number}')
        place[command] = number
    begun = {f'{call.key} {call.value}': call.start for call in calls if call.kind == 'set'}
    for command in order:
        if command not in begun:
            faults.append(f'"{command}" is there, and nobody asked for it')

    by_key = {}
    for call in calls:
        if call.kind == 'set':
            number = place.get(f'{call.key} {call.value}', 0)
            if call.outcome == 'ok' and number == 0:
                faults.append(f'lost: "{call.key} {call.value}" was acknowledged')
            if call.outcome == 'no' and number != 0:
                faults.append(f'"{call.key} {call.value}" was surely not done, and is there')
            if call.outcome == 'ok' and number:
                by_key.setdefault(call.key, []).append((call.start, call.end, number, call))
        elif call.outcome == 'ok':
            number = place.get(f'{call.key} {call.value}', 0) if call.value else 0
            if call.value and number == 0:
                faults.append(f'read "{call.key} {call.value}", which is not there')
            elif call.value and begun[f'{call.key} {call.value}'] > call.end:
                faults.append(f'read "{call.key} {call.value}" before it was asked for')
            by_key.setdefault(call.key, []).append((call.start, call.end, number, call))

    # Registers are linearizable where places never fall from one call to another that began after it had ended: the order is
    # known, a read stands right behind the update it saw.
    for key, seen in by_key.items():
        ends = sorted(seen, key=lambda one: one[1])
        highest, who, at = 0, None, 0
        for start, _, number, call in sorted(seen, key=lambda one: one[0]):
            while at < len(ends) and ends[at][1] < start:
                if ends[at][2] > highest:
                    highest, who = ends[at][2], ends[at][3]
                at += 1
            if number < highest:
                faults.append(f'{key}: {call.kind} of place {number} began at {start:.3f}, after {who.kind} of place {highest} had ended at {who.end:.3f}')
    return faults


def self_test():
    """The checker finds what is planted."""
    def call(kind, key, value, start, end, outcome='ok'):
        return Call('c', kind, key, value, start, end, outcome)
    good = [call('set', 'k', '1', 0, 1), call('get', 'k', '1', 2, 3), call('set', 'k', '2', 2, 4, 'unknown'), call('get', 'k', '1', 3.5, 5),
            call('get', 'k', '2', 6, 7), call('set', 'k', '3', 8, 9, 'no')]
    assert check(good, ['k 1', 'k 2']) == []
    assert check(good, ['k 2'])                                                        # lost
    assert check(good, ['k 1', 'k 2', 'k 2'])                                          # doubled
    assert check(good, ['k 1', 'k 2', 'k 3'])                                          # done although refused
    assert check(good, ['k 1', 'k 2', 'k 9'])                                          # invented
    assert check(good + [call('get', 'k', '1', 8, 9)], ['k 1', 'k 2'])                 # stale read
    assert check(good, ['k 2', 'k 1'])                                                 # against real time
    assert check(good + [call('get', 'k', '', 1.5, 1.8)], ['k 1', 'k 2'])              # read nothing after an update
    assert same_order({'a': [(1, 'x'), (2, 'y')], 'b': [(1, 'x')]}) == []
    assert same_order({'a': [(1, 'x'), (2, 'y')], 'b': [(1, 'y')]})

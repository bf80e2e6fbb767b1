#!/usr/bin/env python3
"""Two-phase commit with a kernel or the status server killed at each named place: done everywhere or nowhere.

dvm_crash_test.py [--all]"""

import concurrent.futures
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from machine import Machine, present, wait_for  # noqa: E402

SERVER = ["prepare", "decide-commit", "tell", "answer", "finish"]
KERNEL = ["hold", "vote", "carry-out", "acknowledge"]
# What ./check has time for: around the decision, and one of each kind of kernel's step.
SHORT = ["decide-commit:before", "decide-commit:after", "tell:before", "tell:after", "hold:after", "vote:after", "carry-out:before",
         "acknowledge:before"]
ALL = [f"{name}:{phase}" for name in SERVER + KERNEL + ["decide-abort"] for phase in ("before", "after")]


def mapped(kernel):
    """True where the plug-in is in the kernel's memory."""
    pid = kernel.pid()
    with open(f"/proc/{pid}/maps") as maps:
        return "/guest.so" in maps.read()


def settle(kernels, ident):
    """The command's record, once it is finished everywhere and all are back."""

    def done():
        for kernel in kernels:
            if len(present(kernel)) != len(kernels):
                return None
        found = [one for one in kernels[1]("getvminfo", "commands").answer if one["id"] == ident]
        return found[0] if found and found[0]["phase"] == "finished" and not found[0]["owing"] else None

    try:
        return wait_for(done, "the command has come to its end", 30)
    except AssertionError as late:
        raise AssertionError(f"{late}: {kernels[1]('getvminfo', 'commands').answer}, {[present(k) for k in kernels]}") from late


def at(point):
    """One command, with a death at that place. What is wrong, or nothing."""
    aborts = point.startswith("decide-abort")
    server = point.split(":")[0] in SERVER or aborts
    with Machine(voters=3, **{"beat-ms": 100}) as machine:
        kernels = [machine.add(f"k{i}", **({"crash-at": point} if (i == 1) == server and i in (1, 4) else {})) for i in range(1, 5)]
        k2 = kernels[1]
        wait_for(lambda: all(len(present(kernel)) == 4 for kernel in kernels), "all are there", 60)
        wait_for(lambda: sum(one["holds-log"] for one in k2("getvminfo", "members").answer) == 3, "three hold the log", 60)
        if aborts:
            open(os.path.join(kernels[2].work, "no-guest"), "w").close()
        victim = kernels[0 if server else 3]
        before = victim.pid()
        reply = k2("load", "guest", "all", "all-or-none")
        if reply.code not in (0, 5):
            return f"answered {reply}"
        wait_for(lambda: victim.pid() not in (None, before), "somebody died", 60)
        record = settle(kernels, reply.answer["id"])
        has = [mapped(kernel) for kernel in kernels]
        said = [name for name in k2("getvminfo", "services").answer.get("guest", [])]
        if record["outcome"] != ("committed" if reply.code == 0 else "aborted"):
            return f"answered {reply.code}, and the record says {record['outcome']}"
        if set(has) != {reply.code == 0}:
            return f"answered {reply.code}, and the plug-in is loaded in {has}"
        if len(said) != (4 if reply.code == 0 else 0):
            return f"answered {reply.code}, and the status says {said}"
        if (aborts or point in ("hold:before", "hold:after", "vote:before")) and reply.code == 0:
            return "committed, and yet somebody was not able"
        # Nothing is left held: the next command finds everybody able.
        if aborts:
            os.unlink(os.path.join(kernels[2].work, "no-guest"))
        again = k2("unload" if reply.code == 0 else "load", "guest", "all", "all-or-none")
        if again.code != 0:
            return f"afterwards: {again}"
    return None


def tried(point):
    try:
        return at(point)
    except (AssertionError, OSError) as failure:
        return str(failure)


def main():
    points = ALL if "--all" in sys.argv else sys.argv[1:] or SHORT
    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for point, found in zip(points, pool.map(tried, points)):
            print(f"{point:22} {found or 'ok'}", flush=True)
            wrong += found is not None
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""Tells what a run left behind on this machine.

  leaks.py snapshot FILE            remembers what is there now
  leaks.py report FILE MARK         prints what is new since then, one a line; exit code 1 when there is any
  leaks.py clean FILE MARK          ends and removes it, and prints it

MARK is the value of the variable MVM_CHECK_RUN in the run's environment: a process that carries it, or
descends from one that does, is the run's. With MVM_CHECK_SHARED=1 (others use the machine for the same
kind of work) only such processes count, not what merely appeared meanwhile.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import time

DAEMONS = ("mvmd", "mvm-kernel", "libvirtd", "virtlogd", "libvirt_lxc", "qemu-system-", "virtiofsd", "dnsmasq")


def read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def processes():
    """pid -> (start time, parent, name, marks) of every process that is not a zombie."""
    found = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        stat = read(f"/proc/{entry}/stat").decode(errors="replace")
        if not stat:
            continue
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        if fields[0] == "Z":
            continue
        found[int(entry)] = (int(fields[19]), int(fields[1]), name)
    return found


def marked(pid, mark, table):
    while pid > 1 and pid in table:
        if f"MVM_CHECK_RUN={mark}".encode() in read(f"/proc/{pid}/environ").split(b"\0"):
            return True
        pid = table[pid][1]
    return False


def links():
    return sorted(os.listdir("/sys/class/net"))


def mounts():
    found = []
    for line in read("/proc/self/mountinfo").decode(errors="replace").splitlines():
        found.append(line.split()[4])
    return found


def entries(directory):
    try:
        return sorted(os.path.join(directory, name) for name in os.listdir(directory))
    except OSError:
        return []


def rules():
    """The firewall's rules for interfaces that are not there: program, table, chain and the rule."""
    there = links()
    found = []
    for program in ("iptables", "ip6tables"):
        if not shutil.which(program):
            continue
        for table in ("filter", "nat", "mangle"):
            said = subprocess.run([program, "-w", "-t", table, "-S"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                  check=False).stdout
            for line in said.splitlines():
                words = line.split()
                names = [words[at + 1] for at, word in enumerate(words[:-1]) if word in ("-i", "-o")]
                if words[0] == "-A" and any(name not in there and not name.endswith("+") for name in names):
                    found.append(f"{program} {table} {line[3:]}")
    return found


def look():
    return {
        "processes": {str(pid): value[0] for pid, value in processes().items()},
        "links": links(),
        "mounts": mounts(),
        "netns": entries("/run/netns"),
        "shared memory": entries("/dev/shm/mvm") + [p for p in entries("/dev/shm") if "mvm" in p],
        "runtime": entries("/run/mvm"),
        "rules": rules(),
    }


def new_things(before, mark):
    """(kind, name) of all that is new and counts."""
    shared = os.environ.get("MVM_CHECK_SHARED") == "1"
    table = processes()
    mine = os.getpid()
    ancestors = set()
    pid = mine
    while pid in table:
        ancestors.add(pid)
        pid = table[pid][1]
    found = []
    for pid, (start, _parent, name) in sorted(table.items()):
        if before["processes"].get(str(pid)) == start or pid in ancestors:
            continue
        is_daemon = any(name.startswith(prefix[:15]) for prefix in DAEMONS)
        if marked(pid, mark, table) or (is_daemon and not shared):
            found.append(("process", pid, name))
    if shared:
        return found
    now = look()
    for kind in ("links", "mounts", "netns", "shared memory", "runtime", "rules"):
        for name in now[kind]:
            if name not in before[kind] and name != "/dev/shm/mvm":
                found.append((kind, name, ""))
    return found


def clean(found):
    pids = [pid for kind, pid, _name in found if kind == "process"]
    for sig in (signal.SIGTERM, signal.SIGKILL):
        for pid in pids:
            try:
                os.kill(pid, sig)
            except OSError:
                pass
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline and any(pid in processes() for pid in pids):
            time.sleep(0.05)
    for kind, name, _rest in reversed(found):
        if kind == "mounts":
            subprocess.run(["umount", "-l", name], check=False, stderr=subprocess.DEVNULL)
        elif kind == "links":
            subprocess.run(["ip", "link", "delete", name], check=False, stderr=subprocess.DEVNULL)
        elif kind == "netns":
            subprocess.run(["ip", "netns", "delete", os.path.basename(name)], check=False, stderr=subprocess.DEVNULL)
        elif kind == "rules":
            program, table, *rule = name.split()
            subprocess.run([program, "-w", "-t", table, "-D", *rule], check=False, stderr=subprocess.DEVNULL)
        elif kind in ("shared memory", "runtime"):
            if os.path.isdir(name):
                shutil.rmtree(name, ignore_errors=True)
            else:
                try:
                    os.unlink(name)
                except OSError:
                    pass


def main():
    if len(sys.argv) < 3 or sys.argv[1] not in ("snapshot", "report", "clean"):
        print(__doc__, file=sys.stderr)
        return 2
    if sys.argv[1] == "snapshot":
        with open(sys.argv[2], "w") as file:
            json.dump(look(), file)
        return 0
    with open(sys.argv[2]) as file:
        before = json.load(file)
    found = new_things(before, sys.argv[3])
    for kind, name, rest in found:
        print(f"{kind}: {name} {rest}".rstrip())
    if sys.argv[1] == "clean":
        clean(found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

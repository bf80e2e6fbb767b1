"""python3-zeep and the services Kernels, Registry and Dvm of a running broker: zeep_kernels.py URL TOKEN LAB"""
import sys
import time

import requests
import zeep


def registry(url, session, lab):
    """The registry of a node's kernel, once that has loaded it."""
    client = zeep.Client(f"{url}/registry?wsdl", transport=zeep.Transport(session=session))
    service, target = client.service, {"lab": lab, "node": "node-1"}
    item = {"name": "motd", "flag": ["persistent"], "index": 0, "lease": 0, "encoding": "text", "value": b"hello"}
    try:
        service.put(target, item)
        raise AssertionError("no registry was loaded")
    except zeep.exceptions.Fault as fault:
        assert "mvm kernel load registry" in fault.message, fault.message
    kernels = zeep.Client(f"{url}/kernels?wsdl", transport=zeep.Transport(session=session)).service
    outcome = kernels.command({"verb": "load", "targets": {"lab": lab, "node": ["node-1"]}, "allOrNone": True,
                               "plugin": ["registry"]})
    assert outcome.committed, outcome
    placed = service.put(target, item)
    assert placed.index == 0 and placed.revision == 1, placed
    ask = {"name": "motd", "index": 0, "flag": [], "waitMs": 0}
    found = service.get(target, ask)
    assert found.value == b"hello" and found.encoding == "text", found
    assert found.info.owner.startswith("user/") and found.info.flag == ["persistent"], found
    listing = service.list(target, "m*", "", 0, 100)
    assert [info.name for info in listing.info] == ["motd"], listing
    events = service.watch(target, 0, "*", 1000)
    assert [event.info.name for event in events.event] == ["motd"] and events.cursor == 1, events
    service.erase(target, ask)
    events = service.watch(target, events.cursor, "*", 1000)
    assert [event.deleted for event in events.event] == [True], events

    outcome = service.serve(target, ["node-0", "node-1"], {"provider": "raft", "endpoint": [], "prefix": ""})
    assert outcome.committed and len(outcome.answer) == 2, outcome
    members = service.members(target)
    assert sorted(one.state for one in members if one.provider == "raft") == ["serves", "serves"], members
    assert sum(one.leader for one in members) == 1, members
    for node in ("node-1", "node-0"):
        service.leave({"lab": lab, "node": node}, False)
    try:
        service.confirmLost(target, 4711)
        raise AssertionError("nobody keeps a registry")
    except zeep.exceptions.Fault as fault:
        assert "replicated" in fault.message, fault.message


def until(what, condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


def machine(url, session, lab):
    """The nodes' kernels become one distributed virtual machine, and part again."""
    client = zeep.Client(f"{url}/dvm?wsdl", transport=zeep.Transport(session=session))
    service, target = client.service, {"lab": lab, "name": "blue"}

    def members():
        [shown] = service.conf(target)
        return sorted(member.name for member in shown.member if not member.lost)

    assert not service.conf({"lab": lab, "name": ""})
    made = service.create(target, ["node-0", "node-1"])
    assert made.committed and made.user and made.password, made
    until("both belong to it", lambda: members() == ["node-0", "node-1"])
    [shown] = service.conf(target)
    assert shown.server in members() and shown.trouble in ("", None), shown
    try:
        service.create(target, [])
        raise AssertionError("a machine that is there already")
    except zeep.exceptions.Fault as fault:
        assert "blue" in fault.message, fault.message
    assert service.remove(target, "node-1").committed
    until("one has left", lambda: members() == ["node-0"])
    assert service.add(target, "node-1").committed
    until("it is back", lambda: members() == ["node-0", "node-1"])
    assert service.halt(target).committed
    assert not service.conf({"lab": lab, "name": ""})


def main():
    url, token, lab = sys.argv[1:]
    session = requests.Session()
    session.headers["Authorization"] = "Bearer " + token
    client = zeep.Client(f"{url}/kernels?wsdl", transport=zeep.Transport(session=session))
    kernels = client.service.kernels({"lab": lab, "node": []})
    assert len(kernels) == 2, kernels
    for kernel in kernels:
        assert kernel.trouble in ("", None), kernel.trouble
        names = [plugin.name for plugin in kernel.plugin]
        assert "job" in names, names
        assert kernel.pool.maximum >= 4, kernel.pool

    # What no kernel has: nowhere, and each says why.
    outcome = client.service.command({"verb": "load", "targets": {"lab": lab}, "allOrNone": True, "plugin": ["no-such"]})
    assert not outcome.committed and len(outcome.answer) == 2, outcome
    for answer in outcome.answer:
        assert not answer.able and "no-such" in answer.reason, answer
    # A core service stays.
    outcome = client.service.command({"verb": "unload", "targets": {"lab": lab, "node": ["node-0"]}, "allOrNone": False,
                                      "plugin": ["job"]})
    assert not outcome.committed and "core service" in outcome.answer[0].reason, outcome

    changed = client.service.adjustPools({"lab": lab}, {"minimum": -1, "maximum": 21, "queue": -1, "idleMs": -1})
    assert [kernel.pool.maximum for kernel in changed] == [21, 21], changed
    try:
        client.service.command({"verb": "load", "targets": {"lab": "none"}, "allOrNone": True, "plugin": ["x"]})
        raise AssertionError("a lab that is not there")
    except zeep.exceptions.Fault as fault:
        assert "none" in fault.message, fault.message
    registry(url, session, lab)
    machine(url, session, lab)
    print("kernels reached")


if __name__ == "__main__":
    main()

"""Calls a service by its WSDL alone: desk_zeep.py URL TOKEN"""
import sys

import requests
import zeep

session = requests.Session()
session.headers["Authorization"] = "Bearer " + sys.argv[2]
client = zeep.Client(sys.argv[1], transport=zeep.Transport(session=session, timeout=30, operation_timeout=30))
desk = client.service
assert desk.add(40, 2) == 42
assert desk.add(-(2**31), 0) == -(2**31)
guest = {"name": "Ada <&> Zoë", "age": 36, "bags": {"item": ["blue", "röt"]}, "stamp": b"\0\1\2"}
said = desk.welcome(guest)
assert (said.name, said.age, said.bags.item, said.stamp) == (guest["name"], 36, ["blue", "röt"], b"\0\1\2"), said
guest["bags"] = {"item": []}
assert not desk.welcome(guest).bags or not desk.welcome(guest).bags.item
guest["name"] = "nobody"
try:
    desk.welcome(guest)
    raise SystemExit("no fault")
except zeep.exceptions.Fault as fault:
    assert fault.message == "Full", fault.message
    full = client.get_element("{urn:mvm:rmix:Desk:2}exception.Full").parse(fault.detail[0], client.wsdl.types)
    assert full.beds == -5, full
desk.ring(3)
assert desk.rings() == 3
assert desk.measure({"item": [1.5, float("inf"), -0.0]}) == [1.5, float("inf"), -0.0]
try:
    desk.add(2**40, 1)
    raise SystemExit("no fault")
except zeep.exceptions.Fault as fault:
    assert "expected int32" in fault.message, fault.message
print("good")

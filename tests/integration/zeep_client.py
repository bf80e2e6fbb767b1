#!/usr/bin/python3
"""A foreign SOAP client, built from the published WSDL alone, drives a broker from source to result.

  zeep_client.py URL TOKEN PROFILE SOURCE [--set p=v]... [--result NAME] [--expect TEXT] [--ca FILE]

PROFILE is a job or lab file. Where it says @DIGEST@, the SHA-256 of SOURCE (an archive) is put, which is
uploaded first. The job is submitted and followed to its end; its output goes to standard output, and the
named result file after it. Exit code 0 when the job ended as DONE and held what was expected.
"""
import argparse
import hashlib
import sys

import requests
import zeep
from zeep.transports import Transport


def fault_detail(fault):
    """The machine-readable part of a fault: code, and (file, line, column, message) of each diagnostic."""
    space = {"t": "urn:mvm:types:1"}
    detail = fault.detail.find(".//t:Fault", space)
    if detail is None:
        raise SystemExit(f"a fault without our detail: {fault}")
    diagnostics = [tuple(one.findtext(f"t:{name}", namespaces=space) for name in ("file", "line", "column", "message"))
                   for one in detail.findall("t:diagnostic", space)]
    return detail.findtext("t:code", namespaces=space), diagnostics


def expect_fault(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except zeep.exceptions.Fault as fault:
        found, diagnostics = fault_detail(fault)
        assert found == code, f"fault {found}, expected {code}"
        return diagnostics
    raise SystemExit(f"expected fault {code}, but the call went through")


def connect(url, token, ca=None):
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    session.verify = ca or True
    transport = Transport(session=session, timeout=30, operation_timeout=60)
    return (zeep.Client(f"{url}/broker?wsdl", transport=transport).service,
            zeep.Client(f"{url}/store?wsdl", transport=transport).service)


def upload(store, content):
    digest = hashlib.sha256(content).hexdigest()
    missing = store.missingBlobs(digest=[digest]) or []
    if digest in missing:
        store.putBlob(digest=digest, data=content)
    assert not store.missingBlobs(digest=[digest]), "the store lost what it was given"
    return digest


def download(store, digest):
    content, end = b"", False
    while not end:
        part = store.getBlobPart(digest=digest, offset=len(content), length=1 << 20)
        content += part.data or b""
        end = part.end
    assert hashlib.sha256(content).hexdigest() == digest, "the result arrived damaged"
    return content


def follow(broker, job):
    """Prints the job's output as it comes; returns its last state."""
    cursor, output = 0, b""
    while True:
        page = broker.logs(job=job, process="", cursor=cursor, waitMs=5000)
        for piece in page.piece or []:
            output += piece.data or b""
            sys.stdout.buffer.write(piece.data or b"")
            sys.stdout.buffer.flush()
        cursor = page.cursor
        if page.ended:
            break
    detail = broker.job(id=job)
    while detail.job.state not in ("DONE", "FAILED", "CANCELLED"):
        detail = broker.waitJob(id=job, state=detail.job.state, waitMs=5000)
    return detail, output


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("token")
    parser.add_argument("profile")
    parser.add_argument("source")
    parser.add_argument("--set", action="append", default=[], metavar="P=V")
    parser.add_argument("--result", help="result file to fetch")
    parser.add_argument("--expect", help="text that output or result must hold")
    parser.add_argument("--ca", help="authority of the broker's certificate")
    args = parser.parse_args()

    broker, store = connect(args.url, args.token, args.ca)
    who = broker.whoami()
    print(f"user {who.user}, role {who.role}, broker {who.broker} {who.version}", file=sys.stderr)
    expect_fault("refused", connect(args.url, "0" * 64, args.ca)[0].whoami)
    expect_fault("not-found", broker.job, id="no-such-job")

    with open(args.source, "rb") as file:
        digest = upload(store, file.read())
    with open(args.profile, encoding="utf-8") as file:
        profile = file.read().replace("@DIGEST@", digest)
    request = {"profile": profile, "file": args.profile,
               "setting": [dict(zip(("name", "value"), one.split("=", 1))) for one in args.set]}
    for one in broker.validate(request=request) or []:
        raise SystemExit(f"{one.file}:{one.line}:{one.column}: {one.message}")
    job = broker.submit(request=request)
    print(f"job {job}", file=sys.stderr)
    detail, output = follow(broker, job)
    print(f"job {job} ended as {detail.job.state}: {detail.job.reason}", file=sys.stderr)
    found = output
    for result in broker.results(id=job) or []:
        if result.name == args.result:
            content = download(store, result.digest)
            sys.stdout.buffer.write(content)
            found += content
            break
    else:
        if args.result:
            raise SystemExit(f"no result {args.result}")
    if args.expect and args.expect.encode() not in found:
        raise SystemExit(f"the output does not hold {args.expect!r}")
    return 0 if detail.job.state == "DONE" else 1


if __name__ == "__main__":
    sys.exit(main())

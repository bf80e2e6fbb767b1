#!/usr/bin/env python3
"""Counts single test cases of one or more ctest runs.

  count_tests.py DIRECTORY...

Each DIRECTORY holds ctest.xml (ctest --output-junit) and cases/*.xml, one file from each GoogleTest
program (GTEST_OUTPUT=xml:cases/). A test that wrote no cases, or failed although none of its cases
did (a crash, a time-out, a script), counts as one. Prints `passed failed skipped`, then the names
of what failed, one a line.
"""
import os
import sys
import xml.etree.ElementTree as ElementTree


def gtest_cases(directory):
    """program -> (passed, skipped, [failed names])"""
    found = {}
    folder = os.path.join(directory, "cases")
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else []:
        try:
            root = ElementTree.parse(os.path.join(folder, name)).getroot()
        except ElementTree.ParseError:
            continue
        program = name[: -len(".xml")]
        passed, skipped, failed = found.get(program, (0, 0, []))
        for case in root.iter("testcase"):
            if case.get("status") == "notrun":
                continue
            if case.find("failure") is not None:
                failed.append(f"{case.get('classname')}.{case.get('name')}")
            elif case.get("result") == "skipped":
                skipped += 1
            else:
                passed += 1
        found[program] = (passed, skipped, failed)
    return found


def count(directory):
    passed, skipped, failures = 0, 0, []
    cases = gtest_cases(directory)
    for test in ElementTree.parse(os.path.join(directory, "ctest.xml")).getroot().iter("testcase"):
        name, status = test.get("name"), test.get("status")
        ok, left_out, failed = cases.get(name, (0, 0, []))
        passed += ok
        skipped += left_out
        failures += [f"{name}: {one}" for one in failed]
        if status == "run":
            passed += 0 if name in cases else 1
        elif status in ("notrun", "disabled") or test.find("skipped") is not None:
            skipped += 1
        elif not failed:
            failures.append(name)
    return passed, skipped, failures


def main():
    passed, skipped, failures = 0, 0, []
    for directory in sys.argv[1:]:
        ok, left_out, failed = count(directory)
        passed += ok
        skipped += left_out
        failures += failed
    print(passed, len(failures), skipped)
    for name in failures:
        print(name)


if __name__ == "__main__":
    main()

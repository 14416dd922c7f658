#!/usr/bin/env python3
"""Runs a part of the tests and closes with one line of counts: "N passed, N failed, N skipped".

usage: tools/run_tests.py ctest BUILD_DIR [--jobs N] [ctest argument...]
       tools/run_tests.py python FOLDER             (unittest, files *_test.py)
       tools/run_tests.py pytest PYTHON FOLDER [pytest argument...]
       tools/run_tests.py total                     (the counts of all parts since `total` was last printed)

A GoogleTest executable counts as the cases in it; any other test of ctest as one. What was skipped is listed with the
reason that the test gave. The counts are also left in build/test-counts/, which `total` adds up.
"""
import json
import os
import shutil
import subprocess
import sys
import unittest
import xml.etree.ElementTree as xml
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COUNTS = ROOT / "build" / "test-counts"


def line_of(counts):
    return f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"


def cases_of(suite_file):
    """The outcome ("passed", "failed", "skipped") and name of every case of a JUnit or GoogleTest file, with words."""
    for case in xml.parse(suite_file).getroot().iter("testcase"):
        name = f"{case.get('classname', '')}.{case.get('name')}"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail":
            yield "failed", name, ""
        elif skipped is not None or case.get("status") in ("notrun", "disabled"):
            words = "" if skipped is None else skipped.get("message") or skipped.text or ""
            yield "skipped", name, " ".join(words.split())
        else:
            yield "passed", name, ""


def count(cases, counts):
    for outcome, name, words in cases:
        counts[outcome] += 1
        if outcome == "skipped":
            print(f"skipped: {name}: {words or 'no reason given'}")


def count_ctest(junit, gtest_folder):
    """Counts of a ctest run: by case where the test left a GoogleTest file, else one a test."""
    counts = Counter()
    for outcome, name, words in cases_of(junit):
        name = name.rsplit(".", 1)[-1]
        file = gtest_folder / f"{name}.xml"
        if not file.is_file():
            count([(outcome, name, words)], counts)
            continue
        before = counts["failed"]
        count(cases_of(file), counts)
        if outcome == "failed" and counts["failed"] == before:
            counts["failed"] += 1  # it ended badly after its cases
    return counts


def run_ctest(build, arguments):
    results = Path(build).resolve() / "test-results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    junit = results / "ctest.junit"
    done = subprocess.run(["ctest", "--test-dir", build, "--output-on-failure", "--no-tests=error",
                           "--output-junit", str(junit), *arguments],
                          env={**os.environ, "GTEST_OUTPUT": f"xml:{results}/"})
    return count_ctest(junit, results) if junit.is_file() else Counter(), done.returncode


def run_python(folder):
    suite = unittest.defaultTestLoader.discover(folder, pattern="*_test.py")
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=1).run(suite)
    failed, skipped = len(result.failures) + len(result.errors), len(result.skipped)
    return Counter(passed=result.testsRun - failed - skipped, failed=failed, skipped=skipped), int(failed > 0)


def run_pytest(python, folder, arguments):
    results = ROOT / "build" / "test-results"
    results.mkdir(parents=True, exist_ok=True)
    junit = results / "pytest.junit"
    junit.unlink(missing_ok=True)
    done = subprocess.run([python, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder, f"--junitxml={junit}", *arguments])
    counts = Counter()
    if junit.is_file():
        count(cases_of(junit), counts)
    return counts, done.returncode


def total():
    counts = Counter()
    for file in sorted(COUNTS.glob("*.json")):
        counts.update(json.loads(file.read_text()))
        file.unlink()
    print(line_of(counts))
    return 1 if counts["failed"] or not counts["passed"] else 0


def main(argv):
    if argv[1:] == ["total"]:
        return total()
    if len(argv) < 3 or argv[1] not in ("ctest", "python", "pytest"):
        sys.exit(__doc__)
    kind, where, rest = argv[1], argv[2], argv[3:]
    if kind == "ctest":
        counts, code = run_ctest(where, rest)
    elif kind == "python":
        counts, code = run_python(where)
    else:
        counts, code = run_pytest(where, rest[0], rest[1:])
    COUNTS.mkdir(parents=True, exist_ok=True)
    label = f"{kind}-{where if kind != 'pytest' else rest[0]}".replace("/", "_")
    (COUNTS / f"{label}.json").write_text(json.dumps(counts))
    print(line_of(counts), flush=True)
    if code == 0 and counts["failed"]:
        code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))

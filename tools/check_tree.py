#!/usr/bin/env python3
"""Looks through the tracked files for what never belongs in them.

usage: tools/check_tree.py [ROOT]

Absolute paths of a machine that somebody built on, host names of package registries, merge markers, and Python files
that do not compile. Prints one line a finding; the exit code says whether there were any.
"""
import re
import subprocess
import sys
from pathlib import Path

# What is looked for -> what to say. Fixtures are data, so they are looked through for nothing but paths and hosts.
FORBIDDEN = {
    re.compile(r"(?<![\w.$}~-])/(?:home|root|work|farm|Users)/\w"): "an absolute path of one machine",
    re.compile(r"pypi\.org|pythonhosted\.|deb\.debian\.|registry\.npmjs|crates\.io"): "the host of a package registry",
    re.compile(r"^(?:<{7}|>{7}) ", re.MULTILINE): "a merge marker",
}


def tracked_files(root):
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], check=True, capture_output=True, text=True)
    return [name for name in listed.stdout.split("\0") if name and (Path(root) / name).is_file()]


def text_of(path):
    """The file's text, or None when it is binary."""
    data = path.read_bytes()
    return None if b"\0" in data else data.decode("utf-8", "replace")


def findings_in(name, text):
    for pattern, what in FORBIDDEN.items():
        for match in pattern.finditer(text):
            yield f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {what} ({match.group(0).strip()})"
    if name.endswith(".py"):
        try:
            compile(text, name, "exec")
        except SyntaxError as error:
            yield f"{name}:{error.lineno}: does not compile: {error.msg}"


def findings(root):
    found = []
    for name in tracked_files(root):
        text = text_of(Path(root) / name)
        if text is not None:
            found.extend(findings_in(name, text))
    return found


def main(argv):
    found = findings(argv[1] if len(argv) > 1 else Path(__file__).resolve().parent.parent)
    print("\n".join(found) if found else "tree: no paths or hosts of one machine, all Python files compile")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

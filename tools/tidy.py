#!/usr/bin/env python3
"""clang-tidy over the project's sources, fast enough to run every time.

usage: tools/tidy.py [--build build/tidy] [--jobs N] [--budget SECONDS] [--base REF] [FILE...]

Three things make it so: LibTorch's headers are read once, into a precompiled header that clang-tidy shares; a file
that was clean and has not changed since (neither it, nor a project header that it includes, nor the checks) is not
looked at again; and the files run in parallel. Sources without LibTorch come first, then what was changed last.
When the budget is over the files that were not reached are listed, and the exit code is 0 if those reached are clean.
--base REF looks only at files that differ from where REF and HEAD parted, and at what includes them.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Debian 12's security updates carry it. Versions before 21 match every declaration of the system headers too: 40 s a
# file that includes torch.h, where this one takes 5.
TIDY, CLANG = "clang-tidy-22", "clang-22"
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)


def check_needs(build):
    """Ends with one line where something is missing that the run would fail without."""
    for tool in (TIDY, CLANG, "g++", "git"):
        if shutil.which(tool) is None:
            sys.exit(f"tidy: {tool} is not installed; run tools/setup.sh, or install what tools/packages.txt lists")
    if not (build / "compile_commands.json").is_file():
        sys.exit(f"tidy: no compile_commands.json in {build}; run cmake --preset tidy, or make lint")


def git_lines(*command):
    return [line for line in run("git", "-C", ROOT, *command, check=True).stdout.splitlines() if line]


class Source:
    """One entry of compile_commands.json."""

    def __init__(self, entry):
        self.path = Path(entry["file"])
        self.name = self.path.relative_to(ROOT).as_posix()
        self.flags = []
        words = iter(shlex.split(entry["command"])[1:])
        for word in words:
            if word == "-o":
                next(words)
            elif word != "-c" and word != entry["file"]:
                self.flags.append(word)
        self.libtorch = any("csrc/api/include" in flag for flag in self.flags)

    def project_files(self, memo={}):
        """The file and every project file it includes, directly or not."""
        found, pending = set(), [self.path]
        while pending:
            path = pending.pop()
            if path in found:
                continue
            found.add(path)
            if path not in memo:
                names = INCLUDE.findall(path.read_text())
                places = [place / name for name in names for place in (ROOT, path.parent)]
                memo[path] = [place for place in places if place.is_file()]
            pending.extend(memo[path])
        return sorted(found)


def sources(build):
    entries = json.loads((build / "compile_commands.json").read_text())
    found = {}
    for entry in entries:
        if Path(entry["file"]).is_relative_to(build):
            continue  # generated
        source = Source(entry)
        found.setdefault(source.name, source)
    return list(found.values())


def changed_since(base):
    parted = git_lines("merge-base", base, "HEAD")[0]
    return set(git_lines("diff", "--name-only", parted)) | set(git_lines("ls-files", "--others", "--exclude-standard"))


def newest_first(names):
    """`names`, those committed last (or not yet) first."""
    log = git_lines("log", "--format=", "--name-only")
    age = {name: place for place, name in reversed(list(enumerate(log)))}
    changed = set(git_lines("diff", "--name-only", "HEAD"))
    return sorted(names, key=lambda name: (-1 if name in changed else age.get(name, -1), name))


class Tidy:
    def __init__(self, build):
        self.build = build
        self.cache = build / "clean"
        self.cache.mkdir(exist_ok=True)
        config = (ROOT / ".clang-tidy").read_bytes()
        self.salt = config + run(TIDY, "--version", check=True).stdout.encode()
        # g++'s omp.h, as clang's own is in no package that the build needs. Alone, so that nothing else of g++ is seen.
        self.omp = build / "omp"
        self.omp.mkdir(exist_ok=True)
        header = Path(run("g++", "-print-file-name=include/omp.h", check=True).stdout.strip())
        (self.omp / "omp.h").write_text(header.read_text())
        self.pch = None

    def make_pch(self, flags):
        """Precompiles LibTorch's headers with the flags that all of its users have."""
        header, out = self.build / "tidy_pch.h", self.build / "tidy_pch.pch"
        header.write_text("#include <ATen/ATen.h>\n#include <nlohmann/json.hpp>\n")
        done = run(CLANG, "-x", "c++-header", *flags, "-isystem", self.omp, header, "-o", out)
        if done.returncode:
            sys.exit("tidy: LibTorch's headers do not compile:\n" + done.stderr)
        self.pch = out

    def mark(self, source):
        """The file whose being there says that `source`, as it is, was found clean."""
        digest = hashlib.sha256(self.salt + " ".join(source.flags).replace(str(ROOT), "").encode())
        for path in source.project_files():
            digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
        return self.cache / digest.hexdigest()

    def check(self, source):
        """The complaints about one source; empty when it is clean."""
        extra = ["-isystem", self.omp] + (["-include-pch", self.pch] if source.libtorch else [])
        done = run(TIDY, "--quiet", source.path, "--", *source.flags, *extra)
        return "" if done.returncode == 0 else (done.stdout + done.stderr).strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build/tidy")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--budget", type=float, default=600, help="seconds")
    parser.add_argument("--base", help="look only at what changed since this commit")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    start = time.monotonic()

    check_needs(args.build)
    tidy = Tidy(args.build.resolve())
    known = {source.name: source for source in sources(tidy.build)}
    wanted = [os.path.relpath(file, ROOT) for file in args.files] or list(known)
    for name in wanted:
        if name not in known:
            sys.exit(f"tidy: {name} is not compiled by this build")
    if args.base:
        changed = {ROOT / name for name in changed_since(args.base)}
        wanted = [name for name in wanted if changed & set(known[name].project_files())]
    todo = [known[name] for name in newest_first(wanted) if not tidy.mark(known[name]).exists()]
    todo.sort(key=lambda source: source.libtorch)
    libtorch = [source for source in todo if source.libtorch]
    if libtorch:
        common = set.intersection(*(set(source.flags) for source in libtorch))
        # -isystem and its folder are two words; the folder is common when it is.
        tidy.make_pch([flag for flag in libtorch[0].flags if flag in common])

    late, bad = [], 0

    def work(source):
        if time.monotonic() - start > args.budget:
            return None
        return tidy.check(source)

    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for source, complaints in zip(todo, pool.map(work, todo)):
            if complaints is None:
                late.append(source.name)
            elif complaints:
                bad += 1
                print(complaints, flush=True)
            else:
                tidy.mark(source).touch()
    if late:
        print(f"tidy: not checked this time, {args.budget:.0f} s were over: {' '.join(late)}")
    print(f"tidy: {len(wanted)} files, {len(wanted) - len(todo)} clean and unchanged since an earlier run, "
          f"{len(todo) - len(late)} checked in {time.monotonic() - start:.0f} s, {bad} with complaints, "
          f"{len(late)} not checked")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())

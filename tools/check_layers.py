#!/usr/bin/env python3
"""Holds the order of the folders of trireme/: each uses only those above it in ORDER.

usage: tools/check_layers.py [ROOT]

Also holds that base, io and text stay free of LibTorch (directly and through what they include), that libraries which
must be seen by one file only are, that every include names a file that exists, that no headers include each other
in a circle, and that every folder has its README.md. Prints one line a finding; the exit code says whether there were any.
"""
import re
import sys
from pathlib import Path

ORDER = """base device kernels io text data comm nn models tasks optim parallel plan checkpoint elastic train
           serve launch cuda cli""".split()
WITHOUT_LIBTORCH = {"base", "io", "text"}
PLUG_IN = {"cuda"}  # loaded at run time, so nobody includes it
# LibTorch ships another fmt than spdlog wants, and only a part of Gloo's headers may be used.
IN_ONE_FILE_ONLY = ("spdlog/", "gloo/")
LIBTORCH = ("torch/", "ATen/", "c10/", "caffe2/")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def includes(text):
    """The (line, name) of every include in `text`."""
    return [(text.count("\n", 0, match.start()) + 1, match.group(2)) for match in INCLUDE.finditer(text)]


class Tree:
    """The C++ files of trireme/, by path relative to the root, with what each includes."""

    def __init__(self, root):
        files = sorted(path for suffix in ("h", "inl", "cc") for path in (root / "trireme").rglob("*." + suffix))
        self.root = root
        self.includes = {path.relative_to(root).as_posix(): includes(path.read_text()) for path in files}

    def folder(self, name):
        parts = name.split("/")
        return parts[1] if len(parts) > 2 else None

    def own(self, name):
        """The project's files that `name` includes, with the line."""
        return [(line, other) for line, other in self.includes.get(name, []) if other.startswith("trireme/")]


def check_order(tree):
    for name in tree.includes:
        folder = tree.folder(name)
        if folder is None:
            continue
        if folder not in ORDER:
            yield f"{name}: folder '{folder}' has no place in tools/check_layers.py's order"
            continue
        for line, other in tree.own(name):
            used = tree.folder(other)
            if used in PLUG_IN and folder not in PLUG_IN:
                yield f"{name}:{line}: includes {other}, but {used}/ is a plug-in that nobody includes"
            elif used in ORDER and ORDER.index(used) > ORDER.index(folder):
                yield f"{name}:{line}: {folder}/ includes {other}, but {used}/ stands below it"


def check_exist(tree):
    for name in tree.includes:
        for line, other in tree.own(name):
            if other not in tree.includes:
                yield f"{name}:{line}: includes {other}, which does not exist"


def check_without_libtorch(tree):
    for name in tree.includes:
        if tree.folder(name) not in WITHOUT_LIBTORCH:
            continue
        way = {name: name}  # file -> how it was reached
        pending = [name]
        while pending:
            current = pending.pop()
            for line, other in tree.includes.get(current, []):
                if other.startswith(LIBTORCH):
                    yield f"{current}:{line}: includes {other}, but {way[current]} must do without LibTorch"
                elif other.startswith("trireme/") and other not in way:
                    way[other] = f"{way[current]} (through {other})" if current == name else way[current]
                    pending.append(other)


def check_one_file_only(tree):
    for library in IN_ONE_FILE_ONLY:
        users = [name for name, found in tree.includes.items() if any(other.startswith(library) for _, other in found)]
        for name in users if len(users) > 1 else []:
            yield f"{name}: includes {library}, which one file only may do; so do: {', '.join(users)}"


def check_circles(tree):
    done = set()

    def visit(name, trail):
        if name in trail:
            yield "include circle: " + " -> ".join(trail[trail.index(name):] + [name])
        elif name not in done:
            for _, other in tree.own(name):
                yield from visit(other, trail + [name])
            done.add(name)

    for name in tree.includes:
        yield from visit(name, [])


def check_readmes(tree):
    for folder in sorted({tree.folder(name) for name in tree.includes} - {None}):
        if not (tree.root / "trireme" / folder / "README.md").is_file():
            yield f"trireme/{folder}: no README.md"


CHECKS = (check_order, check_exist, check_without_libtorch, check_one_file_only, check_circles, check_readmes)


def findings(root):
    tree = Tree(Path(root))
    return [finding for check in CHECKS for finding in check(tree)]


def main(argv):
    root = argv[1] if len(argv) > 1 else Path(__file__).resolve().parent.parent
    found = findings(root)
    print("\n".join(found) if found else "layers: every folder uses only those above it")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))

"""tools/check_tree.py: what it finds in a text, and that it reads the files that git tracks."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_tree  # noqa: E402


class CheckTreeTest(unittest.TestCase):
    def findings(self, text, name="a.md"):
        return list(check_tree.findings_in(name, text))

    def test_path_of_one_machine(self):
        path = "/" + "home/somebody/x"
        self.assertEqual([f"a.md:2: an absolute path of one machine ({path[:7]})"], self.findings("\nsee " + path))

    def test_relative_and_system_paths_are_fine(self):
        self.assertEqual([], self.findings("docs/home/x ../work/y $DIR/root/z /usr/lib /tmp/x /dev/shm ~/work/q"))

    def test_registry_host(self):
        self.assertEqual(1, len(self.findings("from https://" + "pypi" + ".org/simple")))

    def test_merge_marker(self):
        self.assertEqual(["a.md:1: a merge marker (" + "<" * 7 + ")"], self.findings("<" * 7 + " HEAD\n"))

    def test_python_that_does_not_compile(self):
        self.assertEqual(["a.py:2: does not compile: invalid syntax"], self.findings("\nx = = 1\n", "a.py"))

    def test_reads_tracked_files_and_skips_binary_ones(self):
        with tempfile.TemporaryDirectory() as root:
            path = "/" + "home/me"
            Path(root, "a.txt").write_text(path)
            Path(root, "untracked.txt").write_text(path)
            Path(root, "b.bin").write_bytes(b"\0" + path.encode())
            for command in (["init", "-q"], ["add", "a.txt", "b.bin"]):
                subprocess.run(["git", "-C", root, *command], check=True)
            self.assertEqual([f"a.txt:1: an absolute path of one machine ({path[:7]})"], check_tree.findings(root))


if __name__ == "__main__":
    unittest.main()

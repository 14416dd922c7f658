"""tools/tidy.py: what it says where it cannot run."""
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

TIDY = Path(__file__).resolve().parents[2] / "tools/tidy.py"


class TidyTest(unittest.TestCase):
    def refusal(self, folder, tools):
        for tool in tools:
            (Path(folder) / tool).symlink_to("/bin/true")
        done = subprocess.run([sys.executable, TIDY, "--build", folder], env={"PATH": folder},
                              capture_output=True, text=True)
        self.assertEqual(1, done.returncode, done.stderr)
        return done.stderr

    def test_a_missing_tool_is_named_with_what_installs_it(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual("tidy: clang-22 is not installed; run tools/setup.sh, or install what "
                             "tools/packages.txt lists\n", self.refusal(folder, ["clang-tidy-22"]))

    def test_a_folder_that_is_not_configured(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(f"tidy: no compile_commands.json in {folder}; run cmake --preset tidy, or make lint\n",
                             self.refusal(folder, ["clang-tidy-22", "clang-22", "g++", "git"]))

    def test_the_tools_it_runs_are_among_the_packages(self):
        packages = {line.split()[0] for line in (TIDY.parent / "packages.txt").read_text().splitlines() if line}
        self.assertLessEqual({"clang-tidy-22", "clang-22", "g++", "git"}, packages)


if __name__ == "__main__":
    unittest.main()

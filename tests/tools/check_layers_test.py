"""tools/check_layers.py on small trees, one for each thing that it must find."""
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import check_layers  # noqa: E402


class CheckLayersTest(unittest.TestCase):
    def findings(self, files, without_readme=()):
        """What is found in a tree of `files` (path below trireme/ -> text), every folder with its README.md."""
        with tempfile.TemporaryDirectory() as root:
            for name, text in files.items():
                path = Path(root, "trireme", name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                if path.parent.name not in without_readme:
                    path.parent.joinpath("README.md").touch()
            return check_layers.findings(root)

    def test_clean_tree_has_no_findings(self):
        self.assertEqual([], self.findings({
            "base/error.h": "#include <string>\n",
            "comm/world.h": '#include <ATen/ATen.h>\n#include "trireme/base/error.h"\n',
            "comm/world.cc": '#include "trireme/comm/world.h"\n#include <gloo/x.h>\n',
        }))

    def test_use_of_a_lower_folder(self):
        self.assertEqual(
            ["trireme/base/a.h:2: base/ includes trireme/comm/b.h, but comm/ stands below it"],
            self.findings({"base/a.h": '#pragma once\n#include "trireme/comm/b.h"\n', "comm/b.h": ""}))

    def test_unknown_folder(self):
        self.assertEqual(["trireme/misc/a.h: folder 'misc' has no place in tools/check_layers.py's order"],
                         self.findings({"misc/a.h": ""}))

    def test_nobody_includes_the_plug_in(self):
        self.assertEqual(
            ["trireme/cli/a.cc:1: includes trireme/cuda/b.h, but cuda/ is a plug-in that nobody includes"],
            self.findings({"cli/a.cc": '#include "trireme/cuda/b.h"\n', "cuda/b.h": ""}))

    def test_missing_include(self):
        self.assertEqual(["trireme/io/a.h:1: includes trireme/io/gone.h, which does not exist"],
                         self.findings({"io/a.h": '#include "trireme/io/gone.h"\n'}))

    def test_libtorch_in_a_pure_folder(self):
        self.assertEqual(["trireme/text/a.cc:1: includes ATen/ATen.h, but trireme/text/a.cc must do without LibTorch"],
                         self.findings({"text/a.cc": "#include <ATen/ATen.h>\n"}))

    def test_libtorch_through_another_header(self):
        found = self.findings({"text/a.cc": '#include "trireme/device/b.h"\n', "device/b.h": "#include <c10/x.h>\n"})
        self.assertEqual(["trireme/device/b.h:1: includes c10/x.h, but trireme/text/a.cc (through trireme/device/b.h) "
                          "must do without LibTorch"], found)

    def test_spdlog_in_two_files(self):
        found = self.findings({"base/a.cc": "#include <spdlog/spdlog.h>\n", "base/b.cc": "#include <spdlog/fmt.h>\n"})
        self.assertEqual(2, len(found))
        self.assertIn("one file only", found[0])

    def test_circle(self):
        self.assertEqual(["include circle: trireme/io/a.h -> trireme/io/b.h -> trireme/io/a.h"],
                         self.findings({"io/a.h": '#include "trireme/io/b.h"\n', "io/b.h": '#include "trireme/io/a.h"\n'}))

    def test_folder_without_readme(self):
        self.assertEqual(["trireme/io: no README.md"], self.findings({"io/a.h": ""}, without_readme={"io"}))

    def test_commented_include_is_none(self):
        self.assertEqual([], self.findings({"base/a.h": '// #include "trireme/comm/b.h"\n'}))

    def test_order_agrees_with_cmake(self):
        """CMake adds the folders in the same order."""
        root = Path(__file__).resolve().parents[2]
        line = next(line for line in root.joinpath("trireme/CMakeLists.txt").read_text().splitlines()
                    if line.startswith("set(folders "))
        folders = line[len("set(folders "):-1].split()
        self.assertEqual([name for name in check_layers.ORDER if name in folders], folders)


if __name__ == "__main__":
    unittest.main()

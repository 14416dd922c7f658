"""tools/run_tests.py: how tests are counted."""
import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import run_tests  # noqa: E402

CTEST = """<testsuite>
  <testcase name="io_test" classname="io_test" status="{io}"/>
  <testcase name="dist_test" classname="dist_test" status="run"/>
</testsuite>"""
GTEST = """<testsuites><testsuite name="Io">
  <testcase name="a" status="run" classname="Io"/>
  <testcase name="b" status="run" classname="Io"><failure message="no"/></testcase>
  <testcase name="c" status="run" classname="Io"><skipped message="file.cc:3&#x0A;no GPU"/></testcase>
</testsuite></testsuites>"""


class CountTest(unittest.TestCase):
    def count(self, io_status, gtest):
        """The counts of a ctest run of two tests, and what was printed; io_test left the file `gtest`, if any."""
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as printed:
            Path(folder, "ctest.junit").write_text(CTEST.format(io=io_status))
            if gtest:
                Path(folder, "io_test.xml").write_text(gtest)
            counts = run_tests.count_ctest(Path(folder, "ctest.junit"), Path(folder))
            return run_tests.line_of(counts), printed.getvalue()

    def test_cases_of_googletest_count_one_each(self):
        line, printed = self.count("fail", GTEST)
        self.assertEqual("2 passed, 1 failed, 1 skipped", line)
        self.assertEqual("skipped: Io.c: file.cc:3 no GPU\n", printed)

    def test_executable_that_crashes_before_its_report_is_one_failure(self):
        self.assertEqual("1 passed, 1 failed, 0 skipped", self.count("fail", None)[0])

    def test_bad_end_after_good_cases_is_a_failure(self):
        good = '<testsuites><testsuite><testcase name="a" status="run"/></testsuite></testsuites>'
        self.assertEqual("2 passed, 1 failed, 0 skipped", self.count("fail", good)[0])
        self.assertEqual("2 passed, 0 failed, 0 skipped", self.count("run", good)[0])


if __name__ == "__main__":
    unittest.main()

"""The installed package: a project outside the tree finds it, builds against it and runs."""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import unittest

BUILD = pathlib.Path(os.environ["TRIREME_BUILD"])


def run(*command, check=True, **options):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_"))}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=250, env=env, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}\n{done.stdout}\n{done.stderr}")
    return done


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-install-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder, True)
        run("cmake", "--install", BUILD, "--prefix", cls.folder / "installed")
        cls.prefix = cls.folder / "moved"  # the package names no place of its own
        (cls.folder / "installed").rename(cls.prefix)

    def configure(self, build, *flags, check=True):
        return run("cmake", "-G", "Ninja", "-S", self.prefix / "share/trireme/examples", "-B", build,
                   f"-DCMAKE_PREFIX_PATH={self.prefix}", "-DCMAKE_BUILD_TYPE=Release", *flags, check=check)

    def test_program_runs_and_no_program_headers_are_there(self):
        self.assertRegex(run(self.prefix / "bin/trireme", "--version").stdout, r"^trireme \d")
        self.assertTrue((self.prefix / "include/trireme/parallel/data_parallel.h").is_file())
        self.assertFalse((self.prefix / "include/trireme/cli").exists())

    def test_a_project_outside_builds_and_trains(self):
        self.configure(self.folder / "build")
        run("cmake", "--build", self.folder / "build", "--target", "ddp_custom_module")
        program = self.folder / "build/ddp_custom_module"
        done = run(self.prefix / "bin/trireme", "launch", "-n", "2", "--", program, "--steps", "60")
        losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]
        self.assertEqual(len(losses), 4)
        self.assertLess(losses[-1], 0.5 * losses[0])
        self.assertGreater(float(re.search(r"accuracy ([\d.]+)", done.stdout)[1]), 0.8)
        # Its own answer to MKL's question, and one OpenMP run time.
        self.assertIn("mkl_serv_intel_cpu_true", run("nm", "-D", "--defined-only", program).stdout)
        openmp = {line.split()[0] for line in run("ldd", program).stdout.splitlines() if "omp" in line}
        self.assertEqual(len(openmp), 1, openmp)

    def test_a_libtorch_that_is_not_there_is_said(self):
        done = self.configure(self.folder / "without", "-DTRIREME_LIBTORCH=/nowhere", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("No LibTorch in /nowhere", " ".join(done.stderr.split()))

    def test_another_minor_version_is_refused(self):
        project = self.folder / "newer"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(
            "cmake_minimum_required(VERSION 3.25)\nproject(newer CXX)\nfind_package(trireme 99.0 REQUIRED)\n")
        done = run("cmake", "-G", "Ninja", "-S", project, "-B", project / "build", f"-DCMAKE_PREFIX_PATH={self.prefix}",
                   check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("99.0", done.stderr)


if __name__ == "__main__":
    unittest.main()

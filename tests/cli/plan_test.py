"""`trireme bench machine` and `trireme plan`: from a measured machine to a table, with nothing started."""

import json
import unittest

from program import ProgramTest, run


class Plan(ProgramTest):
    """One measured machine for all tests; a BERT of 2 heads (ProgramTest's)."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        import tempfile
        cls.scratch = tempfile.TemporaryDirectory()
        cls.machine = cls.scratch.name + "/machine.json"
        done = run("bench", "machine", "--quick", "--report", cls.machine)
        assert done.returncode == 0, done.stderr
        cls.said = done.stdout

    @classmethod
    def tearDownClass(cls):
        cls.scratch.cleanup()
        super().tearDownClass()

    def plan(self, *arguments):
        report = self.folder / "plan.json"
        report.unlink(missing_ok=True)
        done = run("plan", self.config, "--device", self.machine, "--report", report, *arguments)
        return done, json.loads(report.read_text()) if report.exists() else None

    def test_the_machine_is_measured(self):
        with open(self.machine) as file:
            report = json.load(file)
        self.assertEqual(report["command"], "bench machine")
        machine = report["metrics"]
        self.assertEqual(machine["compute"][0]["ranks"], 2)
        for row in machine["compute"]:
            for dtype in ("fp32", "bf16"):
                rates = row["dtypes"][dtype]["products"]["linear"]["gflops"]
                self.assertGreater(max(rates), 1)
                self.assertGreater(min(rates), 0)
        links = {(link["path"], link["op"]): link for link in machine["links"]}
        for path in ("arena", "staged", "network"):
            self.assertEqual({op for of_path, op in links if of_path == path},
                             {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"})
        # Shared memory beats TCP, or something is not what it says.
        self.assertLess(links["arena", "all_reduce"]["times"]["us"][-1], links["network", "all_reduce"]["times"]["us"][-1])
        self.assertIn("GFLOP/s", self.said)

    def test_a_layout_is_planned_and_then_trained(self):
        done, report = self.plan("--world", "2", "--set", "parallel.zero=1")
        self.assertEqual(done.returncode, 0, done.stderr)
        planned = report["metrics"]
        self.assertIn("dp=2 zero=1", done.stdout)
        self.assertEqual(len(planned["stages"]), 1)
        self.assertGreater(planned["step_s"], 0)
        self.assertGreater(planned["traffic"]["dp"]["bytes"], 0)
        trained, measured = self.train("--set", "parallel.zero=1", ranks=2)
        self.assertEqual(trained.returncode, 0, trained.stderr)
        peak = max(measured["metrics"]["peak_rss_bytes"])
        # So small a model is the process alone.
        self.assertLess(abs(planned["peak_rss_bytes"] / peak - 1), 0.5)

    def test_the_search_says_what_runs_and_why_others_do_not(self):
        done, report = self.plan("--world", "2", "--search", "--set", "parallel.tp=2", "--length", "40")
        self.assertEqual(done.returncode, 0, done.stderr)
        found = report["metrics"]
        times = [plan["step_s"] for plan in found["best"]]
        self.assertEqual(times, sorted(times))
        self.assertIn("more stages than layers", found["illegal"])
        self.assertIn("the layout asked for", done.stdout)

    def test_layouts_that_cannot_run_are_refused_as_training_refuses_them(self):
        done, _ = self.plan("--world", "2", "--set", "parallel.pp=2", "--set", "parallel.zero=3")
        self.expect_error(done, 2, "parallel.zero", "ZeRO stage 3")
        done, report = self.plan("--world", "2", "--search", "--set", "parallel.pp=2", "--set", "parallel.zero=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("cannot run: --set parallel.zero=3: parallel.zero", done.stdout)
        self.expect_error(self.plan("--world", "2", "--set", "parallel.dp=3")[0], 2, "parallel.dp")

    def test_a_machine_file_is_read_strictly(self):
        with open(self.machine) as file:
            report = json.load(file)
        report["metrics"]["compte"] = report["metrics"].pop("compute")
        broken = self.folder / "machine.json"
        broken.write_text(json.dumps(report))
        self.expect_error(run("plan", self.config, "--device", broken), 2, "compute", "compte")
        self.expect_error(run("plan", self.config, "--device", self.folder / "none.json"), 2, "none.json")


if __name__ == "__main__":
    unittest.main()

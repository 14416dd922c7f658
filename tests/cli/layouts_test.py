"""Layouts from the command line: runs, and layouts that cannot run: one line, before any weight is loaded."""

import pathlib
import unittest

from program import PROGRAM, ProgramTest, run

SCHEDULE = """micro_batches,{count}
0,{first}
1,{second}
"""


def one_after_the_other(count):
    """Each micro-batch forward and backward before the next."""
    return ",".join(f"F{m},BW{m}" for m in range(count))


class Layouts(ProgramTest):
    def launch(self, ranks, *settings):
        return self.train(*(part for setting in settings for part in ("--set", setting)), ranks=ranks)

    def runs(self, ranks, *settings):
        done, report = self.launch(ranks, *settings)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done, report

    def fails(self, ranks, *words, settings):
        # Weights that nobody can read: layouts are refused before.
        (self.model / "model.safetensors").write_bytes(b"")
        done, report = self.launch(ranks, *settings)
        self.assertEqual(done.returncode, 2, done.stderr)
        self.assertIsNone(report)
        for word in words:
            self.assertIn(word, done.stderr)

    def test_every_axis_gives_the_losses_of_one_process(self):
        few = ["train.steps=3", "checkpoint.dir=", "data.micro_batch_tokens=64"]
        _, one = self.runs(1, *few)
        for ranks, settings in ((2, ["parallel.tp=2"]),
                                (2, ["parallel.pp=2"]),
                                (2, ["parallel.cp=2"]),
                                (4, ["parallel.tp=2", "parallel.pp=2", "parallel.sequence_parallel=true"]),
                                (4, ["parallel.cp=2", "parallel.zero=1"])):
            _, many = self.runs(ranks, *few, *settings)
            for a, b in zip(one["metrics"]["loss"], many["metrics"]["loss"], strict=True):
                self.assertAlmostEqual(a, b, delta=1e-4, msg=str(settings))

    def test_the_example_of_a_model_of_ones_own(self):
        program = pathlib.Path(PROGRAM).parent / "hybrid_transformer"
        if not program.exists():
            self.skipTest("examples are not built")
        outputs = set()
        for ranks, flags in ((1, []), (2, ["--tp", "2"]), (2, ["--pp", "2"]),
                             (4, ["--tp", "2", "--pp", "2"]), (4, ["--pp", "2", "--zero", "1"])):
            done = run("launch", "-n", ranks, "--", program, "--steps", 26, *flags)
            self.assertEqual(done.returncode, 0, done.stderr)
            outputs.add(done.stdout)
        self.assertEqual(len(outputs), 1, outputs)
        self.assertIn("step 26: loss", outputs.pop())

    def test_layouts_that_cannot_run(self):
        self.fails(2, "parallel.pp", "does not divide", settings=["parallel.pp=3"])
        self.fails(3, "parallel.tp", "attention heads", "1, 2, 4", settings=["parallel.tp=3"])
        self.fails(4, "parallel.pp", "layers", settings=["parallel.pp=4"])
        self.fails(2, "parallel.zero", "zero = 2", settings=["parallel.pp=2", "parallel.zero=3"])
        self.fails(2, "parallel.schedule", "1f1b", settings=["parallel.pp=2", "parallel.schedule=1f1d"])
        self.fails(2, "parallel.schedule", "pp is 1", settings=["parallel.schedule=1f1b"])
        self.fails(2, "parallel.order", "pp,dp,cp,tp", settings=["parallel.order=pp,dp"])
        self.fails(2, "parallel.cp_method", "ulysses", settings=["parallel.cp=2", "parallel.cp_method=ulyses"])

    def test_fewer_micro_batches_than_stages_is_said(self):
        done, _ = self.runs(2, "train.steps=1", "parallel.pp=2", "data.global_batch_samples=1", "checkpoint.dir=")
        self.assertIn("1 micro-batch over 2 pipeline stages", done.stderr)

    def test_a_schedule_from_a_file(self):
        file = self.folder / "schedule.csv"
        settings = ["train.steps=2", "checkpoint.dir=", "parallel.pp=2", "data.micro_batch_tokens=64"]
        _, usual = self.runs(2, *settings)
        # As many micro-batches as the run's steps have.
        for count in range(1, 20):
            row = one_after_the_other(count)
            file.write_text(SCHEDULE.format(count=count, first=row, second=row))
            done, report = self.launch(2, *settings, f"parallel.schedule={file}")
            if done.returncode == 0:
                self.assertEqual(report["metrics"]["loss"], usual["metrics"]["loss"])
                break
            self.assertIn("micro-batches", done.stderr)
        else:
            self.fail("no number of micro-batches fits")
        file.write_text(SCHEDULE.format(count=2, first="F0,F1,BW1,BW0", second="F0,BW0,F1,BW1"))
        self.fails(2, "schedule.csv", "[BW1]", settings=settings + [f"parallel.schedule={file}"])
        file.write_text("nonsense")
        self.fails(2, "schedule.csv", settings=settings + [f"parallel.schedule={file}"])


if __name__ == "__main__":
    unittest.main()

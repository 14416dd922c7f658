"""Wrong input and broken runs: the exit code and one line that says what, where and what to do."""

import json
import os
import pathlib
import signal
import subprocess
import time
import unittest

from program import PROGRAM, ProgramTest, environment, run, squad


class WrongInput(ProgramTest):
    def fails(self, *words, arguments=(), code=2):
        done, report = self.train(*arguments)
        self.expect_error(done, code, *words)
        self.assertIsNone(report)

    def test_missing_files(self):
        self.expect_error(run("train", self.folder / "none.toml"), 2, "none.toml")
        self.fails("gone.json", arguments=["--set", f"data.train={self.folder}/gone.json"])
        self.fails("gone.json", arguments=["--set", f"data.dev={self.folder}/gone.json"])
        self.fails("nomodel", arguments=["--set", f"model.path={self.folder}/nomodel"])
        self.expect_error(run("predict", self.folder / "nomodel", "--question", "a", "--context", "b"), 2, "nomodel")
        self.expect_error(run("data", "tokenize", "--tokenizer", self.folder), 2, self.folder)
        (self.model / "vocab.txt").unlink()
        self.fails("vocab.txt")

    def test_truncated_weights(self):
        weights = self.model / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
        self.fails("model.safetensors")
        weights.write_bytes(b"")
        self.fails("model.safetensors")
        weights.unlink()
        self.fails("model.safetensors")

    def test_squad_with_wrong_offsets(self):
        data = json.loads((self.folder / "train.json").read_text())
        data["data"][0]["paragraphs"][4]["qas"][0]["answers"][0]["answer_start"] += 1
        (self.folder / "train.json").write_text(json.dumps(data))
        self.fails("train.json", "q4-0", "answer_start")

    def test_empty_data_set(self):
        (self.folder / "train.json").write_text(json.dumps({"version": "v2.0", "data": []}))
        self.fails("train.json", "no question")
        (self.folder / "train.json").write_text("")
        self.fails("train.json")
        (self.folder / "train.json").write_text('{"data": [')
        self.fails("train.json:1")

    def test_question_longer_than_the_window(self):
        (self.folder / "train.json").write_text(json.dumps(squad([("the cat sat", [("where is the cat " * 12, "cat")])])))
        self.fails("q0-0", "40")

    def test_vocabulary_that_does_not_fit_the_model(self):
        with (self.model / "vocab.txt").open("a") as file:
            file.write("extra1\nextra2\n")
        self.fails("63", "61")

    def test_weights_of_another_model(self):
        config = json.loads((self.model / "config.json").read_text())
        config["intermediate_size"] = 64
        (self.model / "config.json").write_text(json.dumps(config))
        self.fails("intermediate.dense", "[64, 32]")

    def test_configuration(self):
        self.fails("--set", "train.stpes", "did you mean 'train.steps'", arguments=["--set", "train.stpes=5"])
        self.fails("optim.lr", arguments=["--set", "optim.lr=fast"])
        self.fails("optim.lr", arguments=["--set", "optim.lr=-1"])
        self.fails("max_length", "40 positions", arguments=["--set", "data.max_length=64"])
        self.fails("parallel.tp", arguments=["--set", "parallel.tp=2"])
        self.fails("parallel.zero", arguments=["--set", "parallel.zero=4"])
        self.fails("parallel.dp", "1 rank", arguments=["--set", "parallel.dp=2"])
        self.fails("comm.backend", arguments=["--set", "comm.backend=nccl"])
        self.write_config("[extra]\nkey = 1\n")
        line = self.config.read_text().splitlines().index("[extra]") + 1
        self.fails(f"run.toml:{line}", "extra")
        self.config.write_text("[train\n")
        self.fails("run.toml:1")

    def test_resume_from_nothing_or_from_another_run(self):
        self.fails("nowhere", arguments=["--resume", self.folder / "nowhere"])
        done, _ = self.train("--set", "train.stop_at=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.fails("optim.lr", arguments=["--resume", self.folder / "checkpoints", "--set", "optim.lr=0.5"])


    def test_outputs_that_cannot_be_written_are_refused_before_the_work(self):
        missing = self.folder / "missing/out.json"
        data = ["--data", self.folder / "dev.json"]
        texts = self.folder / "texts.txt"
        texts.write_text("the cat\n")
        one = ["--question", "a", "--context", "b"]
        for command, options in ((["train", self.config], ["--report", "--ledger"]),
                                 (["eval", self.model, *data], ["--report", "--predictions", "--null-odds"]),
                                 (["predict", self.model, *data], ["--report", "--output", "--null-odds"]),
                                 (["predict", self.model, *one], ["--report"]),
                                 (["doctor"], ["--report"]),
                                 (["demo", "--model", self.model, "--folder", self.folder / "made"], ["--report"]),
                                 (["data", "inspect", self.folder / "dev.json"], ["--report"]),
                                 (["data", "synth", self.folder / "made"], ["--report"]),
                                 (["data", "tokenize", "--tokenizer", self.model, texts], ["--report"]),
                                 (["import", self.model, self.folder / "made"], ["--report"]),
                                 (["export", self.model, self.folder / "made"], ["--report"]),
                                 (["serve", self.model, "--port", 0], ["--report"]),
                                 (["launch"], ["--report"])):
            for option in options:
                tail = ["--", "train", self.config] if command == ["launch"] else []
                done = run(*command, option, missing, *tail)
                self.expect_error(done, 2, option, missing, "No such file or directory")
                self.assertEqual(done.stdout, "")
        for name in ("checkpoints", "made"):
            self.assertFalse((self.folder / name).exists(), name)
        self.fails("--ledger", "is a folder", arguments=["--ledger", self.folder])
        done = run("launch", "-n", 2, "--", "train", self.config, "--report", missing)
        self.expect_error(done, 2, missing)  # rank 0 says it, once
        self.assertEqual(run("doctor", "--report", "/dev/null").returncode, 0)

    def test_default_output_that_cannot_be_written(self):
        (self.folder / "predictions.json").mkdir()
        done = subprocess.run([PROGRAM, "predict", self.model, "--data", self.folder / "dev.json"], cwd=self.folder,
                              env=environment(), capture_output=True, text=True)
        self.expect_error(done, 2, "--output", "is a folder")

    def test_options_that_would_be_ignored(self):
        one = ["predict", self.model, "--question", "a", "--context", "b"]
        self.expect_error(run(*one, "--output", self.folder / "o.json"), 2, "--output", "--data")
        self.expect_error(run(*one, "--null-odds", self.folder / "o.json"), 2, "--null-odds", "--data")
        many = ["predict", self.model, "--data", self.folder / "dev.json", "--output", self.folder / "o.json"]
        self.expect_error(run(*many, "--n-best", 3), 2, "--n-best", "--question")
        self.expect_error(run(*many, "--question", "a", "--context", "b"), 2, "--question", "--data")
        self.expect_error(run("predict", self.model), 2, "--question", "--data")
        self.expect_error(run("predict", self.model, "--question", "a"), 2, "--context")
        demo = ["demo", "--model", self.model, "--folder", self.folder / "made", "--data", self.folder / "dev.json"]
        self.expect_error(run(*demo, "--questions", 20), 2, "--questions", "--data")

    def test_options_out_of_range(self):
        self.expect_error(run("launch", "--node-rank", -1, "--", "train", self.config), 2, "--node-rank")
        self.expect_error(run("import", self.model, self.folder / "made", "--seed", -1), 2, "--seed")
        inspect = ["data", "inspect", self.folder / "dev.json"]
        self.expect_error(run(*inspect, "--max-length", 1 << 32), 2, "--max-length")
        self.expect_error(run(*inspect, "--doc-stride", -1), 2, "--doc-stride")
        self.expect_error(run("eval", self.model, *inspect[2:], "--no-answer-threshold", "inf"), 2, "--no-answer-threshold")

    def test_names_that_the_file_system_refuses(self):
        name = "n" * 300
        self.expect_error(run("predict", name, "--question", "a", "--context", "b"), 2, name)
        self.expect_error(run("demo", "--model", name, "--folder", self.folder / "made"), 2, name, "--model")

    def test_model_configuration_of_another_name(self):
        (self.model / "tiny.json").write_text((self.model / "config.json").read_text())
        self.config.write_text(self.config.read_text().replace(f'path = "{self.model}"', f'config = "{self.model}/tiny.json"'))
        self.fails("run.toml:3", "model.config", "tiny.json", "config.json")


class BrokenRuns(ProgramTest):
    def start(self, *arguments, ranks=2, **kwargs):
        return subprocess.Popen([PROGRAM, "launch", "-n", str(ranks), "--", "train", str(self.config), *arguments],
                                env=environment(), stderr=subprocess.PIPE, text=True, **kwargs)

    def wait_for(self, process, text):
        seen = ""
        for line in process.stderr:
            seen += line
            if text in line:
                return seen
        self.fail(f"ended without '{text}':\n{seen}")

    def ranks_of(self, launcher):
        children = pathlib.Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        return sorted(int(pid) for pid in children)

    def expect_flight(self, folder, victim, errors):
        """Dumps of the survivors give the verdict that was said, and name the victim."""
        dumps = sorted(folder.iterdir())
        self.assertEqual([d.name for d in dumps], ["flight-rank0.json"])
        report = self.folder / "flight.json"
        done = run("doctor", "--flight", *dumps, "--report", report)
        self.assertEqual(done.returncode, 0, done.stderr)
        verdict, *table = done.stdout.splitlines()
        self.assertIn(f"error: {verdict}; rank 0", errors)
        self.assertIn(f"rank 1 (host ", verdict)
        self.assertIn(f"pid {victim})", verdict)
        self.assertTrue(any(row.startswith("  rank 0: ") for row in table), table)
        self.assertIn("no dump of rank 1", table[-1])
        self.assertEqual(json.loads(report.read_text())["metrics"]["ranks_without_dump"], [1])

    def test_what_is_no_flight_dump_is_refused(self):
        broken = self.folder / "flight-rank0.json"
        self.expect_error(run("doctor", "--flight", broken), 2, broken)
        broken.write_text('{"format": "trireme flight 1", "rank": 0}')
        self.expect_error(run("doctor", "--flight", broken), 2, broken, "time")
        broken.write_text("{")
        self.expect_error(run("doctor", "--flight", broken), 2, broken, "not valid JSON")

    def test_a_folder_for_dumps_that_cannot_be_made_is_refused(self):
        (self.folder / "file").write_text("")
        done, _ = self.train("--set", f"comm.flight_dir={self.folder}/file/flight")
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"{self.folder}/file", done.stderr)

    def test_a_rank_killed_in_mid_step_is_named_at_once(self):
        process = self.start("--set", "train.steps=100000")
        self.wait_for(process, "step 1/")
        victim = self.ranks_of(process)[1]
        began = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 1, errors)
        self.assertLess(time.monotonic() - began, 10)
        self.assertIn("rank 1", errors)
        self.assertIn("signal 9", errors)
        self.assertIn(str(victim), errors)
        self.expect_flight(self.folder / "checkpoints" / "flight", victim, errors)

    def test_a_stopped_rank_is_named_at_the_deadline(self):
        process = self.start("--set", "train.steps=100000", "--set", "checkpoint.dir=", "--set", "comm.timeout_s=3",
                             "--set", f"comm.flight_dir={self.folder}/dumps")
        self.wait_for(process, "step 1/")
        victim = self.ranks_of(process)[1]
        os.kill(victim, signal.SIGSTOP)
        self.addCleanup(lambda: os.path.exists(f"/proc/{victim}") and os.kill(victim, signal.SIGKILL))
        _, errors = process.communicate(timeout=90)
        self.assertEqual(process.returncode, 1, errors)
        self.assertIn(str(victim), errors)
        self.expect_flight(self.folder / "dumps", victim, errors)

    def test_a_loss_that_is_not_finite_stops_with_step_and_cause(self):
        done, _ = self.train("--set", "optim.lr=1e30", "--set", "optim.clip_norm=0", "--set", "train.steps=40")
        self.expect_error(done, 1, "step")

    def test_disk_full_while_saving(self):
        if os.geteuid() != 0:
            self.skipTest("mounting a small file system needs root")
        disk = self.folder / "disk"
        disk.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], capture_output=True).returncode:
            self.skipTest("a tmpfs cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk])
        done, report = self.train("--set", f"checkpoint.dir={disk}/c", "--set", "checkpoint.every=2", ranks=2)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("No space left on device", done.stderr)
        self.assertIn(str(disk), done.stderr)
        self.assertIsNone(report)
        self.assertEqual([p.name for p in (disk / "c").iterdir()], ["step-00000002"])  # the first fitted, and stays
        self.assertEqual(run("eval", disk / "c", "--data", self.folder / "dev.json").returncode, 0)


if __name__ == "__main__":
    unittest.main()

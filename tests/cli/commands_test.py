"""Every command once, as a user would give it, and the promises that only the whole program can break."""

import json
import shutil
import signal
import subprocess
import threading
import unittest
import urllib.request

from program import PROGRAM, ProgramTest, environment, run, small_data


class Commands(ProgramTest):
    def test_version_help_and_wrong_spellings(self):
        self.assertRegex(run("--version").stdout, r"^trireme \d+\.\d+\.\d+ \(\S+\)\n$")
        for command in ([], ["train"], ["data", "synth"], ["launch"], ["serve"]):
            self.assertEqual(run(*command, "--help").returncode, 0)
        self.expect_error(run("trian"), 2, "trian", "did you mean 'train'")
        self.expect_error(run(), 2, "subcommand")
        self.expect_error(run("train"), 2, "config")
        self.expect_error(run("train", "x.toml", "--reprot", "f"), 2, "--reprot")
        self.expect_error(run("eval", self.model), 2, "--data")

    def test_a_schedule_is_shown_written_read_back_and_refused(self):
        file, report = self.folder / "s.csv", self.folder / "report.json"
        first = run("schedule", "1f1b", "--stages", 2, "--micro-batches", 4, "--csv", file, "--report", report)
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertIn("rank 1 | .   F0  BW0 --- F1", first.stdout)
        metrics = json.loads(report.read_text())["metrics"]
        self.assertAlmostEqual(metrics["bubble"], 1 / 5)
        self.assertEqual(metrics["peak_activation"], [2, 1])
        trace = self.folder / "trace.json"
        again = run("schedule", file, "--trace", trace)
        self.assertEqual(again.stdout, first.stdout)
        self.assertTrue(any(e["name"] == "BW3" for e in json.loads(trace.read_text())["traceEvents"]))
        file.write_text(file.read_text().replace("1,F0,BW0,F1,BW1", "1,F0,BW0,BW1,F1"))
        refused = run("schedule", file)
        self.expect_error(refused, 2, "s.csv: rank 1, action 3 (BW1): F1 must come before it")
        self.assertIn("[BW1]", refused.stdout)
        self.expect_error(run("schedule", "1f1bb"), 2, "did you mean '1f1b'?")

    def test_print_config_can_be_read_back(self):
        first = run("train", self.config, "--print-config", "--set", "optim.lr=0.25")
        self.assertEqual(first.returncode, 0, first.stderr)
        self.assertIn("lr = 0.25", first.stdout)
        copy = self.folder / "copy.toml"
        copy.write_text(first.stdout)
        self.assertEqual(run("train", copy, "--print-config").stdout, first.stdout)

    def test_training_is_the_same_on_one_two_and_three_ranks(self):
        losses = {}
        for ranks in (1, 2, 3):
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
            done, report = self.train(ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(report["world"]["size"], ranks)
            metrics = report["metrics"]
            losses[ranks] = metrics["loss"]
            self.assertEqual(len(metrics["loss"]), 12)
            self.assertEqual(len(metrics["peak_rss_bytes"]), ranks)
            self.assertEqual(len(metrics["ranks"]), ranks)
            for of_rank in metrics["ranks"]:
                self.assertGreater(of_rank["compute_s"], 0)
                self.assertEqual(of_rank["wait_s"] > 0, ranks > 1)
            self.assertGreater(metrics["real_tokens_per_s"], 0)
            for key in ("em", "f1", "has_ans_f1", "no_ans_f1"):
                self.assertIn(key, metrics["eval"])
        for ranks in (2, 3):
            self.assertLess(abs(losses[1][0] - losses[ranks][0]), 1e-5)
            for one, many in zip(losses[1], losses[ranks]):
                self.assertLess(abs(one - many), 1e-4)
        self.assertLess(losses[1][-1], losses[1][0])

    def test_resume_is_bit_exact(self):
        _, whole = self.train("--set", "train.precision=bf16")
        shutil.rmtree(self.folder / "checkpoints")
        done, _ = self.train("--set", "train.precision=bf16", "--set", "train.stop_at=5")
        self.assertEqual(done.returncode, 0, done.stderr)
        done, resumed = self.train("--set", "train.precision=bf16", "--resume", self.folder / "checkpoints")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(whole["metrics"]["loss"], resumed["metrics"]["loss"])
        self.assertEqual(whole["metrics"]["eval"], resumed["metrics"]["eval"])

    def test_sigterm_saves_and_resume_goes_on(self):
        _, whole = self.train("--set", "train.steps=400")
        shutil.rmtree(self.folder / "checkpoints")
        report = self.folder / "interrupted.json"
        process = subprocess.Popen([PROGRAM, "launch", "-n", "2", "--", "train", str(self.config), "--set", "train.steps=400",
                                    "--report", str(report)], env=environment(), stderr=subprocess.PIPE, text=True)
        seen = ""
        for line in process.stderr:  # the first progress line: training has begun
            seen += line
            if "step 1/400" in line:
                break
        process.send_signal(signal.SIGTERM)
        _, rest = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 3, seen + rest)
        stopped = json.loads(report.read_text())["metrics"]["loss"]
        self.assertGreater(len(stopped), 0)
        self.assertLess(len(stopped), 400)
        done, resumed = self.train("--set", "train.steps=400", "--resume", self.folder / "checkpoints", ranks=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        losses = resumed["metrics"]["loss"]
        self.assertEqual(losses[:len(stopped)], stopped)
        self.assertEqual(len(losses), 400)
        self.assertLess(abs(losses[-1] - whole["metrics"]["loss"][-1]), 1e-2)

    def test_checkpoint_predicts_evaluates_exports_and_serves(self):
        done, report = self.train("--set", "train.steps=30", ranks=2)
        self.assertEqual(done.returncode, 0, done.stderr)
        checkpoints = self.folder / "checkpoints"
        scores = self.folder / "scores.json"
        done = run("eval", checkpoints, "--data", self.folder / "dev.json", "--report", scores)
        self.assertEqual(done.returncode, 0, done.stderr)  # windows as long as the model has positions
        self.assertRegex(done.stdout, r"all +16 ")
        done = run("eval", self.config, "--set", f"model.path={checkpoints}", "--report", scores,
                   "--predictions", self.folder / "p.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        evaluated = json.loads(scores.read_text())["metrics"]["eval"]
        self.assertAlmostEqual(evaluated["f1"], report["metrics"]["eval"]["f1"], places=4)
        self.assertEqual(len(json.loads((self.folder / "p.json").read_text())), 16)

        exported = self.folder / "exported"
        self.assertEqual(run("export", checkpoints, exported).returncode, 0)
        for name in ("config.json", "model.safetensors", "vocab.txt"):
            self.assertTrue((exported / name).exists(), name)
        self.expect_error(run("export", checkpoints, exported), 2, exported)
        written = self.folder / "export.json"
        self.assertEqual(run("export", checkpoints, exported, "--replace", "--report", written).returncode, 0)
        metrics = json.loads(written.read_text())["metrics"]
        self.assertLess(metrics["tensor_bytes"], (exported / "model.safetensors").stat().st_size)
        done = run("import", self.model, self.folder / "imported", "--report", written)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(written.read_text())["metrics"], {**metrics, "drawn": [], "left_out": []})

    def test_eval_options_override_the_configuration(self):
        """The same predictions with an option as with its key, and others than without."""
        def predictions(model, *options):
            done = run("eval", model, *options, "--predictions", self.folder / "p.json", "--report", self.folder / "r.json")
            self.assertEqual(done.returncode, 0, done.stderr)
            return json.loads((self.folder / "p.json").read_text())

        usual = predictions(self.config)
        self.assertEqual(len(usual), 16)
        self.assertEqual(len(predictions(self.config, "--answerable-only")), 11)
        never = predictions(self.config, "--no-answer-threshold", 1e6)
        always = predictions(self.config, "--no-answer-threshold", -1e6)
        self.assertTrue(all(never.values()))
        self.assertFalse(any(always.values()))
        never_abstain = ["--no-answer-threshold", 1e6]
        for option, key, value in (("--max-answer-tokens", "eval.max_answer_tokens", 1), ("--n-best-size", "eval.n_best", 3)):
            short = predictions(self.config, *never_abstain, option, value)
            self.assertNotEqual(short, never)
            self.assertEqual(short, predictions(self.config, *never_abstain, "--set", f"{key}={value}"))
        predictions(self.config, "--micro-batch-tokens", 64)
        self.assertEqual(json.loads((self.folder / "r.json").read_text())["config"]["data"]["micro_batch_tokens"], 64)

    def test_predict_counts_characters_of_broken_text_as_the_tokenizer_does(self):
        context = "the \udcff\udcfe cat sat in \udcff the house"  # bytes that are no UTF-8
        seen = "the \ufffd\ufffd cat sat in \ufffd the house"
        report = self.folder / "p.json"
        done = run("predict", self.model, "--question", "what \udcff sat", "--context", context, "--n-best", 20,
                   "--report", report)
        self.assertEqual(done.returncode, 0, done.stderr)
        spans = json.loads(report.read_text())["metrics"]["n_best"]
        self.assertTrue(any(span["start"] > 6 for span in spans))
        for span in spans:
            self.assertEqual(seen[span["start"]:span["end"]], span["answer"])

    def test_a_model_configuration_in_the_working_folder(self):
        """model.config = "config.json": no folder in the name."""
        text = self.config.read_text().replace(f'path = "{self.model}"', 'config = "config.json"')
        self.config.write_text(text)
        done = subprocess.run([PROGRAM, "train", self.config, "--set", "train.steps=1"], cwd=self.model, env=environment(),
                              capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_launch_reports_beside_its_command(self):
        ours, ranks = self.folder / "launch.json", self.folder / "train.json.report"
        command = ["train", self.config, "--set", "train.steps=2"]
        done = run("launch", "-n", 2, "--report", ours, "--", *command, "--report", ranks)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(ranks.read_text())["command"], "train")
        report = json.loads(ours.read_text())
        self.assertEqual((report["command"], report["config"]["ranks"], report["metrics"]["exit_code"]), ("launch", 2, 0))
        self.assertGreater(report["timings"]["run_s"], 0)
        ours.unlink()
        done = run("launch", "--report", ours, "--", *command, "--set", "optim.lr=-1")
        self.expect_error(done, 2, "optim.lr")
        self.assertEqual(json.loads(ours.read_text())["metrics"]["exit_code"], 2)

    def test_demo_keeps_to_folders_of_its_own(self):
        mine = self.folder / "mine"
        (mine / "checkpoints/step-00000001").mkdir(parents=True)
        (mine / "train.json").write_text(json.dumps(small_data(20)))
        before = (mine / "train.json").read_bytes()
        demo = ["demo", "--model", self.model, "-n", 1, "--epochs", 1, "--precision", "fp32"]
        done = run(*demo, "--data", mine / "train.json", "--folder", mine)
        self.expect_error(done, 2, mine, "--folder")
        self.assertEqual((mine / "train.json").read_bytes(), before)
        self.assertTrue((mine / "checkpoints/step-00000001").is_dir())
        made = self.folder / "made"
        for _ in range(2):  # again in its own folder
            done = run(*demo, "--data", mine / "train.json", "--folder", made)
            self.expect_error(done, 2, "40 positions")  # the tiny model: the demo came as far as training
        self.assertEqual(len(json.loads((made / "train.json").read_text())["data"][0]["paragraphs"]), 16)
        self.expect_error(run(*demo, "--data", made / "train.json", "--folder", made), 2, made / "train.json", "--folder")

    def test_data_commands(self):
        made = self.folder / "made"
        report = self.folder / "synth.json"
        done = run("data", "synth", made, "--train", 40, "--dev", 10, "--seed", 5, "--report", report)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(report.read_text())["metrics"]["dev_bytes"], (made / "dev.json").stat().st_size)
        again = self.folder / "again"
        run("data", "synth", again, "--train", 40, "--dev", 10, "--seed", 5)
        for name in ("train.json", "dev.json"):
            self.assertEqual((made / name).read_bytes(), (again / name).read_bytes())
        done = run("data", "inspect", made / "train.json", "--report", self.folder / "i.json")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("40", done.stdout)
        done = run("data", "tokenize", "--tokenizer", self.model, "--report", report, stdin="the cat\n\nred")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        self.assertEqual([row["tokens"] for row in rows], [["the", "cat"], [], ["red"]])
        self.assertEqual(json.loads(report.read_text())["metrics"]["texts"], 3)
        self.assertEqual(rows[0]["offsets"], [[0, 3], [4, 7]])
        done = run("data", "tokenize", "--tokenizer", self.model, "--special", stdin="cat")
        self.assertEqual(json.loads(done.stdout)["tokens"], ["[CLS]", "cat", "[SEP]"])

    def test_bench_allreduce_reports_every_path(self):
        report = self.folder / "bench.json"
        done = run("bench", "allreduce", "--ranks", 3, "--bytes", "4K,100K", "--seconds", "0.01", "--pool", "4M", "--report", report)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(report.read_text())["metrics"]["results"]
        self.assertEqual({(r["backend"], r["path"]) for r in rows},
                         {("gloo", "staged"), ("shm", "staged"), ("shm", "arena"), ("loop", "arena")})
        self.assertEqual({r["bytes"] for r in rows}, {4096, 102400})
        self.assertTrue(all(r["time_us"] > 0 and r["ranks"] == 3 and r["dtype"] == "fp32" for r in rows))
        self.expect_error(run("bench", "allreduce", "--bytes", "4X"), 2, "--bytes 4X", "64K")
        self.expect_error(run("bench", "allreduce", "--backends", "mpi"), 2, "mpi", "gloo, shm")
        self.expect_error(run("bench", "allreduce", "--dtype", "fp8"), 2, "fp8", "bf16")

    def test_doctor_reports(self):
        report = self.folder / "doctor.json"
        done = run("doctor", "--report", report)
        self.assertEqual(done.returncode, 0, done.stderr)
        facts = json.loads(report.read_text())["metrics"]
        self.assertIn(facts["isa"], ("plain", "avx2", "avx512"))
        self.assertTrue(facts["mkl_answer"])
        self.assertGreater(facts["gemm_fp32_gflops"], 0)


class Server(ProgramTest):
    """A served model, asked over HTTP; a wide model, since windows have their usual length here."""

    def setUp(self):
        super().setUp()
        config = json.loads((self.model / "config.json").read_text())
        config["max_position_embeddings"] = 512
        wide = self.folder / "wide.json"
        wide.mkdir()
        (wide / "config.json").write_text(json.dumps(config))
        shutil.copy(self.model / "vocab.txt", wide)
        self.write_config()
        text = self.config.read_text().replace(f'path = "{self.model}"', f'config = "{wide}/config.json"')
        self.config.write_text(text)
        done, _ = self.train("--set", "train.steps=3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.server = subprocess.Popen([PROGRAM, "serve", str(self.folder / "checkpoints"), "--port", "0", "--threads", "1",
                                        "--report", str(self.folder / "served.json")],
                                       env=environment(), stderr=subprocess.PIPE, text=True)
        self.addCleanup(self.stop)
        lines = []
        watchdog = threading.Timer(60, self.server.kill)
        watchdog.start()
        for line in self.server.stderr:
            lines.append(line)
            if line.startswith("ready"):
                break
        watchdog.cancel()
        self.assertTrue(lines and lines[-1].startswith("ready"), lines)
        self.url = lines[-1].split()[2].removesuffix("/v1/qa")

    def stop(self):
        if self.server.poll() is None:
            self.server.kill()
            self.server.wait()
        self.server.stderr.close()

    def post(self, body):
        request = urllib.request.Request(self.url + "/v1/qa", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def test_answers_and_drains(self):
        with urllib.request.urlopen(self.url + "/v2/health/ready", timeout=10) as answer:
            self.assertEqual(answer.status, 200)
        context = "the red cat sat in the house"
        status, answer = self.post({"question": "what sat", "context": context, "n_best": 3})
        self.assertEqual(status, 200)
        self.assertEqual(len(answer["n_best"]), 3)
        for span in answer["n_best"]:
            self.assertEqual(context[span["start"]:span["end"]], span["answer"])
        status, many = self.post({"question": ["what sat", "who ran"], "context": [context, context * 40]})
        self.assertEqual(status, 200)
        for key in ("score", "no_answer_score"):
            self.assertAlmostEqual(many["answers"][0][key], answer[key], places=5)  # alone or in a batch
        self.assertEqual(self.post({"question": "what"})[0], 400)
        status, refused = self.post({"question": "cat " * 400, "context": context})
        self.assertEqual(status, 400)
        self.assertIn("384", json.dumps(refused))
        # 252 tokens of question leave a step of 1: a window for nearly each character of this context.
        status, refused = self.post({"question": "cat " * 252, "context": "\u732b" * 262144})
        self.assertEqual(status, 400)
        self.assertIn("262016 windows", json.dumps(refused))
        self.server.send_signal(signal.SIGTERM)
        self.assertEqual(self.server.wait(timeout=30), 0)
        report = json.loads((self.folder / "served.json").read_text())
        self.assertEqual(report["metrics"], {"queries_answered": 3, "queries_refused": 2, "drained": True})
        self.assertGreater(report["timings"]["uptime_s"], 0)

    def test_port_in_use(self):
        port = self.url.rsplit(":", 1)[1]
        self.expect_error(run("serve", self.folder / "checkpoints", "--port", port), 2, port)


if __name__ == "__main__":
    unittest.main()

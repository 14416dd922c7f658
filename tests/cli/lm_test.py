"""Language modelling as a user meets it: data prepare, train, eval, generate, and being killed in between."""

import json
import random
import shutil
import signal
import subprocess
import unittest

from program import PROGRAM, SOURCE, ProgramTest, environment, run

WORDS = "the old bridge was mended by Ann Fuller in 1871 and nobody in Brackwell knew why".split()


def documents(count, seed):
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(1, 60))) + "." for _ in range(count)]


class LanguageModel(ProgramTest):
    """A folder with a GPT-2 (360 tokens, 1 layer) from scratch, corpus.jsonl and lm.toml."""

    def setUp(self):
        super().setUp()
        self.gpt2 = self.folder / "gpt2"
        self.gpt2.mkdir()
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(SOURCE / "tests/golden/tokenizers/gpt2_merges" / name, self.gpt2 / name)
        (self.gpt2 / "config.json").write_text(json.dumps({
            "model_type": "gpt2", "vocab_size": 360, "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 2,
            "bos_token_id": 359, "eos_token_id": 359}))
        self.corpus = self.folder / "corpus.jsonl"
        self.write_corpus(self.corpus, documents(120, seed=1))
        self.config = self.folder / "lm.toml"
        self.config.write_text(f"""
[model]
config = "{self.gpt2}/config.json"
[data]
train = "{self.folder}/corpus"
split = 0.1
max_length = 32
global_batch_samples = 5
micro_batch_tokens = 64
[train]
task = "lm"
steps = 12
seed = 3
[optim]
lr = 3e-3
[checkpoint]
dir = "{self.folder}/checkpoints"
""")

    def write_corpus(self, path, texts):
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def prepare(self, *arguments, prefix="corpus"):
        report = self.folder / "prepare.json"
        done = run("data", "prepare", self.corpus, "--tokenizer", self.gpt2, "--output-prefix", self.folder / prefix,
                   "--report", report, *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(report.read_text())["metrics"]

    def shard(self, prefix):
        return [(self.folder / f"{prefix}.{end}").read_bytes() for end in ("bin", "idx")]

    def test_from_text_to_text(self):
        made = self.prepare()
        self.assertEqual(made["documents"], 120)
        inspected = run("data", "inspect", self.folder / "corpus", "--tokenizer", self.gpt2)
        self.assertIn("uint16", inspected.stdout)
        self.assertIn(documents(1, seed=1)[0][:30], inspected.stdout)
        losses = {}
        for ranks in (1, 2):
            shutil.rmtree(self.folder / "checkpoints", ignore_errors=True)
            done, report = self.train(ranks=ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            losses[ranks] = report["metrics"]["loss"]
            self.assertIn("perplexity", report["metrics"]["eval"])
        for one, two in zip(losses[1], losses[2]):
            self.assertLess(abs(one - two), 1e-4)
        self.assertLess(losses[1][-1], losses[1][0])

        checkpoint = self.folder / "checkpoints"
        scored = self.folder / "eval.json"
        for arguments in ([self.config, "--set", f"model.path={checkpoint}"], [checkpoint, "--data", self.folder / "corpus"]):
            done = run("eval", *arguments, "--report", scored)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("perplexity", done.stdout)
        done = run("eval", self.config, "--set", f"model.path={checkpoint}", "--report", scored)
        again = json.loads(scored.read_text())["metrics"]["eval"]
        self.assertAlmostEqual(again["loss"], report["metrics"]["eval"]["loss"], places=5)
        self.assertEqual(again["tokens"], report["metrics"]["eval"]["tokens"])

        done = run("generate", checkpoint, "--prompt", "the old bridge", "--max-new-tokens", 12, "--seed", 4,
                   "--do-sample", "--report", scored)
        self.assertEqual(done.returncode, 0, done.stderr)
        sample = json.loads(scored.read_text())["metrics"]["samples"][0]
        self.assertEqual(done.stdout, "the old bridge" + sample["text"] + "\n")
        prompt_file = self.folder / "prompt.txt"
        prompt_file.write_text("the old bridge")
        same = run("generate", checkpoint, "--prompt-file", prompt_file, "--max-new-tokens", 12, "--seed", 4, "--do-sample")
        self.assertEqual(same.stdout, done.stdout)

    def test_every_sample_once_an_epoch_and_resume_is_bit_exact(self):
        self.prepare()
        ledger = self.folder / "ledger.jsonl"
        epochs = ["--set", "train.epochs=2", "--set", "model.hidden_dropout=0.1", "--set", "model.attention_dropout=0.1"]
        done, whole = self.train(*epochs, "--ledger", ledger)
        self.assertEqual(done.returncode, 0, done.stderr)
        samples = [s for line in ledger.read_text().splitlines() for s in json.loads(line)["samples"]]
        half = len(samples) // 2
        self.assertEqual(sorted(samples[:half]), list(range(half)))
        self.assertEqual(sorted(samples[half:]), list(range(half)))
        shutil.rmtree(self.folder / "checkpoints")
        stop = len(whole["metrics"]["loss"]) // 2 + 1  # in the second epoch
        done, _ = self.train(*epochs, "--set", f"train.stop_at={stop}")
        self.assertEqual(done.returncode, 0, done.stderr)
        done, resumed = self.train(*epochs, "--resume", self.folder / "checkpoints")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(resumed["metrics"]["loss"], whole["metrics"]["loss"])
        self.assertEqual(resumed["metrics"]["eval"], whole["metrics"]["eval"])

        self.write_corpus(self.corpus, documents(120, seed=2))  # other text of another corpus
        self.prepare()
        done, _ = self.train(*epochs, "--resume", self.folder / "checkpoints")
        self.assertNotEqual(done.returncode, 0)

    def test_a_killed_prepare_goes_on_to_the_same_bytes(self):
        self.write_corpus(self.corpus, documents(60000, seed=5))
        self.prepare(prefix="whole")
        command = [PROGRAM, "data", "prepare", self.corpus, "--tokenizer", self.gpt2, "--output-prefix",
                   self.folder / "cut", "--save-every", "0", "--workers", "2"]
        draw = random.Random(1)
        state = self.folder / "cut.partial/state.json"
        kills = 0
        for _ in range(30):
            process = subprocess.Popen(list(map(str, command)), env=environment(), stderr=subprocess.DEVNULL)
            try:
                process.wait(timeout=draw.uniform(0.05, 1.0))
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        else:
            self.assertEqual(run(*command[1:]).returncode, 0)
        self.assertGreater(kills, 0)
        self.assertEqual(self.shard("cut"), self.shard("whole"))
        self.assertFalse(state.exists())

    def test_blends_and_lists(self):
        self.prepare()
        self.write_corpus(self.corpus, documents(30, seed=9))
        self.prepare(prefix="other")
        both = f"{self.folder}/corpus, {self.folder}/other"
        done, listed = self.train("--set", f"data.train={both}")
        self.assertEqual(done.returncode, 0, done.stderr)
        shutil.rmtree(self.folder / "checkpoints")
        done, blend = self.train("--set", f"data.train={self.folder}/corpus:1, {self.folder}/other:3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertNotEqual(listed["metrics"]["loss"], blend["metrics"]["loss"])
        self.assertEqual(listed["metrics"]["eval"]["tokens"], blend["metrics"]["eval"]["tokens"])

    def test_errors_say_what_to_do(self):
        self.expect_error(self.train()[0], 2, "corpus.bin", "trireme data prepare")
        self.expect_error(self.train("--set", f"data.train={self.corpus}")[0], 2, "not tokenised", "data prepare")
        self.prepare()
        self.expect_error(self.train("--set", "data.max_length=64")[0], 2, "data.max_length", "32 positions")
        self.expect_error(self.train("--set", "data.answerable_only=true")[0], 2, "data.answerable_only", "qa")
        self.expect_error(self.train("--set", f"data.dev={self.folder}/corpus")[0], 2, "data.split")
        self.expect_error(self.train("--set", "train.task=lmm")[0], 2, "train.task")
        config = json.loads((self.gpt2 / "config.json").read_text())
        (self.gpt2 / "config.json").write_text(json.dumps({**config, "vocab_size": 100}))
        self.expect_error(self.train()[0], 2, "360 tokens", "100")
        prefix = self.folder / "x"
        bad = self.folder / "bad.jsonl"
        bad.write_text('{"text": "fine"}\n{"text": \n')
        options = ["--tokenizer", self.gpt2, "--output-prefix", prefix]
        self.expect_error(run("data", "prepare", bad, *options), 2, "bad.jsonl:2", "--skip-bad")
        self.assertEqual(run("data", "prepare", bad, "--skip-bad", *options).returncode, 0)
        bad.write_text('{"body": "fine"}\n')
        self.expect_error(run("data", "prepare", bad, *options), 2, "bad.jsonl:1", "'text' is missing")
        self.assertEqual(run("data", "prepare", bad, "--json-key", "body", *options).returncode, 0)
        bad.write_bytes(b'{"text": "\xff"}\n')
        self.expect_error(run("data", "prepare", bad, *options), 2, "bad.jsonl:1")
        bad.write_text("")
        self.expect_error(run("data", "prepare", bad, *options), 2, "no document")
        self.expect_error(run("data", "prepare", self.folder / "none.jsonl", *options), 2, "none.jsonl")
        self.expect_error(run("generate", self.model, "--prompt", "x"), 2, "model_type")
        self.expect_error(run("generate", self.gpt2), 2, "--prompt")


if __name__ == "__main__":
    unittest.main()

"""What the tests of the built program share: a tiny model, tiny data, a way to run commands."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("TRIREME", str(SOURCE / "build/release/trireme"))
WORDS = ["red", "blue", "cat", "dog", "house", "tree", "is", "the", "in", "where", "what", "who", "a", "sat", "ran"]


def environment(**changes):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("RANK", "WORLD_SIZE", "LOCAL_", "MASTER_", "OMP_"))}
    env["OMP_NUM_THREADS"] = "1"
    env.update(changes)
    return env


def run(*arguments, timeout=120, env=None, stdin=None):
    """The finished process; its output is text."""
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                          env=env or environment(), input=stdin)


def squad(paragraphs):
    """paragraphs: [(context, [(question, answer text or None)])]"""
    out = []
    for number, (context, questions) in enumerate(paragraphs):
        qas = []
        for place, (question, answer) in enumerate(questions):
            answers = [] if answer is None else [{"text": answer, "answer_start": context.index(answer)}]
            qas.append({"id": f"q{number}-{place}", "question": question, "answers": answers,
                        "is_impossible": answer is None})
        out.append({"context": context, "qas": qas})
    return {"version": "v2.0", "data": [{"title": "t", "paragraphs": out}]}


def small_data(count, shift=0):
    paragraphs = []
    for i in range(count):
        a, b = WORDS[(i + shift) % 6], WORDS[(i * 5 + shift + 3) % 6]
        context = f"the {a} sat in the {b} " + "is a tree " * (i % 4)
        paragraphs.append((context, [(f"what sat in the {b}", a), ("who ran", None if i % 3 else b)]))
    return squad(paragraphs)


class ProgramTest(unittest.TestCase):
    """A folder with a model (61 words, 2 layers), train.json, dev.json and run.toml."""

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-cli-"))
        self.addCleanup(shutil.rmtree, self.folder, True)
        self.model = self.folder / "model"
        self.model.mkdir()
        golden = SOURCE / "tests/golden/bert/qa"
        for name in ("config.json", "model.safetensors"):
            shutil.copy(golden / name, self.model / name)
        vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        vocabulary += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"] + [f"w{i}" for i in range(15)]
        (self.model / "vocab.txt").write_text("\n".join(vocabulary[:61]) + "\n")
        (self.folder / "train.json").write_text(json.dumps(small_data(30)))
        (self.folder / "dev.json").write_text(json.dumps(small_data(8, shift=2)))
        self.config = self.folder / "run.toml"
        self.write_config()

    def write_config(self, extra=""):
        self.config.write_text(f"""
[model]
path = "{self.model}"
[data]
train = "{self.folder}/train.json"
dev = "{self.folder}/dev.json"
max_length = 40
doc_stride = 8
global_batch_samples = 7
micro_batch_tokens = 128
[train]
steps = 12
seed = 3
[optim]
lr = 1e-3
[checkpoint]
dir = "{self.folder}/checkpoints"
{extra}""")

    def train(self, *arguments, ranks=1, timeout=120, env=None):
        """A training run; (finished process, report or None)."""
        report = self.folder / "report.json"
        report.unlink(missing_ok=True)
        command = ["train", self.config, "--report", report, *arguments]
        if ranks > 1:
            command = ["launch", "-n", ranks, "--", *command]
        done = run(*command, timeout=timeout, env=env)
        return done, json.loads(report.read_text()) if report.exists() else None

    def expect_error(self, done, code, *words):
        """One line, the exit code, and every word in it."""
        self.assertEqual(done.returncode, code, done.stderr)
        lines = [line for line in done.stderr.splitlines() if line.startswith("trireme: error:")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(str(word), lines[0])
        self.assertNotIn("terminate called", done.stderr)

"""The README's commands, run as they are written, and the keys and targets that it names."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest

from program import PROGRAM, SOURCE, environment

README = (SOURCE / "README.md").read_text()
INLINE = [code for code in re.findall(r"`([^`\n]+)`", README) if "..." not in code]
SHOWN = [line.strip() for line in README.splitlines() if line.startswith("    ")]
PRETRAINED = SOURCE / ".deps/models/minilm-l6"


def port_that_is_free():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Readme(unittest.TestCase):
    def in_folder(self, folder, command):
        """The finished shell command, `trireme` being the program under test."""
        with tempfile.TemporaryDirectory() as bin_folder:
            pathlib.Path(bin_folder, "trireme").symlink_to(PROGRAM)
            env = environment(PATH=f"{bin_folder}:{os.environ['PATH']}")
            done = subprocess.run(command.replace("build/release/trireme", "trireme"), shell=True, cwd=folder, env=env,
                                  capture_output=True, text=True, timeout=250)
        self.assertEqual(done.returncode, 0, f"{command}\n{done.stderr}")
        return done

    def code_is_of(self, page, *sources):
        """Every C++ block of the page stands, up to blanks, in one of the sources."""
        texts = [" ".join((SOURCE / source).read_text().split()) for source in sources]
        blocks = re.findall(r"```cpp\n(.*?)```", (SOURCE / page).read_text(), re.DOTALL)
        self.assertTrue(blocks)
        for block in blocks:
            code = " ".join(block.split())
            self.assertTrue(any(code in text for text in texts), f"{page}: not in {sources}:\n{block}")

    def test_code_is_compiled_code(self):
        example = " ".join((SOURCE / "examples/ddp_custom_module.cc").read_text().split())
        for line in re.search(r"```cpp\n(.*?)```", README, re.DOTALL)[1].splitlines():
            self.assertIn(" ".join(line.split()), example)
        self.code_is_of("docs/distribute-your-own-module.md", "tests/parallel/guide_test.cc",
                        "examples/hybrid_transformer.cc")

    def test_make_targets_exist(self):
        targets = {code.split()[1] for code in INLINE + SHOWN if re.fullmatch(r"make [a-z-]+", code)}
        self.assertIn("demo", targets)
        offered = set(re.findall(r"^([a-z-]+):.*## ", (SOURCE / "Makefile").read_text(), re.MULTILINE))
        self.assertEqual(targets - offered, set())

    def test_keys_exist(self):
        done = self.in_folder(SOURCE, "trireme train configs/qa-minilm.toml --print-config")
        keys, section = set(), ""
        for line in done.stdout.splitlines():
            if found := re.fullmatch(r"\[(\w+)\]", line):
                section = found[1]
            elif found := re.match(r"(\w+) =", line):
                keys.add(f"{section}.{found[1]}")
        named = {found[1] for code in INLINE if (found := re.match(r"((?:data|checkpoint|log|train|eval|optim|parallel|comm)\.\w+)", code))}
        self.assertIn("checkpoint.keep", named)
        self.assertEqual(named - keys, set())

    def test_commands_run_as_written(self):
        if not PRETRAINED.is_dir():
            self.skipTest("needs the pretrained model that `make setup` brings")
        folder = pathlib.Path(tempfile.mkdtemp(prefix="trireme-readme-"))
        self.addCleanup(shutil.rmtree, folder, True)
        # What a reader has: a clone, data, texts.
        (folder / "configs").mkdir()
        for name in ("qa-minilm.toml", "gpt2-tiny.toml"):
            shutil.copy(SOURCE / "configs" / name, folder / "configs")
        shutil.copytree(SOURCE / "configs/gpt2-tiny", folder / "configs/gpt2-tiny")
        (folder / "data/gpt2-bpe").mkdir(parents=True)
        for name in ("vocab.json", "merges.txt"):
            shutil.copy(SOURCE / "tests/golden/tokenizers/gpt2_merges" / name, folder / "data/gpt2-bpe")
        (folder / "corpus.jsonl").write_text("".join(f'{{"text": "The old bridge, number {i}."}}\n' for i in range(200)))
        (folder / ".deps/models").mkdir(parents=True)
        (folder / ".deps/models/minilm-l6").symlink_to(PRETRAINED.resolve())
        (folder / "build").mkdir()
        (folder / "build/release").symlink_to(pathlib.Path(PROGRAM).parent)
        (folder / "texts.txt").write_text("Who built it?\nAnn Fuller, in 1871.\n")
        # The names that README leaves to the reader, in the commands that have one.
        synth = "trireme data synth FOLDER"
        names = {
            synth: {"FOLDER": ". --train 40 --dev 10"},
            "trireme data inspect FILE": {"FILE": "train.json"},
            "trireme export CHECKPOINT FOLDER": {"FOLDER": "exported"},
            "trireme import FOLDER OUT": {"FOLDER": ".deps/models/minilm-l6", "OUT": "imported"},
            "trireme data tokenize --tokenizer FOLDER texts.txt": {"FOLDER": ".deps/models/minilm-l6"},
            "trireme COMMAND --help": {"COMMAND": "train"},
            "trireme data inspect PREFIX": {"PREFIX": "data/corpus"},
        }
        commands = [code for code in SHOWN + INLINE
                    if re.match(r"(build/release/)?trireme ", code) and code != "trireme launch -n N"]
        self.assertIn(synth, commands)
        commands.remove(synth)
        ran = []
        for command in [synth, *commands]:
            if command.startswith("trireme serve"):
                continue  # below, with the question that is asked of it
            written = command
            for name, value in {"CHECKPOINT": "runs/qa-minilm", **names.get(command, {})}.items():
                written = re.sub(rf"\b{name}\b", value, written)
            if "configs/gpt2-tiny.toml" in written:
                written += " --set train.steps=2 --set data.global_batch_samples=2"
            if "questions.json" in written:
                shutil.copy(folder / "dev.json", folder / "questions.json")
            ran.append((command, self.in_folder(folder, written)))
        outputs = {command: done.stdout for command, done in ran}
        self.assertEqual(len(json.loads((folder / "predictions.json").read_text())), 10)
        self.assertIn("perplexity", outputs["trireme eval runs/gpt2-tiny --data data/corpus"])
        self.assertIn("F1", outputs["trireme eval CHECKPOINT --data dev.json"])
        self.assertEqual(len(outputs["trireme data tokenize --tokenizer FOLDER texts.txt"].splitlines()), 2)
        for made in ("exported", "imported"):
            self.assertTrue((folder / made / "model.safetensors").is_file(), made)
        self.serve_and_ask(folder)

    def serve_and_ask(self, folder):
        serve = next(line for line in SHOWN if line.startswith("trireme serve"))
        ask = next(line for line in SHOWN if line.startswith("curl"))
        self.assertIn("--port 8080", serve)
        self.assertIn("localhost:8080", ask)
        port = str(port_that_is_free())
        arguments = serve.replace("CHECKPOINT", "runs/qa-minilm").replace("8080", port).split()[1:]
        server = subprocess.Popen([PROGRAM, *arguments], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
        try:
            self.assertTrue(any(line.startswith("ready") for line in server.stderr), "the server never said that it is ready")
            answer = json.loads(self.in_folder(folder, ask.replace("8080", port)).stdout)
        finally:
            server.send_signal(signal.SIGTERM)
            server.communicate(timeout=60)
        self.assertEqual(server.returncode, 0)
        context = json.loads(re.search(r"-d '(.*)'", ask)[1])["context"]
        self.assertEqual(context[answer["start"]:answer["end"]], answer["answer"])
        promised = re.search(r"answers `(\{.*?\})`", README)[1]
        self.assertEqual(sorted(answer), sorted(re.findall(r'"(\w+)":', promised)))


if __name__ == "__main__":
    unittest.main()

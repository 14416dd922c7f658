"""From SQuAD files to scores: windows and labels, decoding, the metric, beside plain Python over PyPI `tokenizers`."""

import json
import random
import subprocess

import pytest
import qa_oracle
import torch
import transformers
from conftest import BUILD

PROBE = BUILD / "trireme_data_probe"


def probe(*arguments):
    done = subprocess.run([str(PROBE), *map(str, arguments)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def expect_same_windows(file, minilm):
    questions = qa_oracle.read_questions(file)
    expected = qa_oracle.windows(questions, minilm / "tokenizer.json")
    got = [json.loads(line) for line in probe("windows", file, minilm).splitlines()]
    assert len(got) == len(expected)
    for ours, theirs in zip(got, expected):
        assert ours["id"] == theirs["id"]
        assert ours["ids"] == theirs["ids"], ours["id"]
        assert (ours["start"], ours["end"]) == (theirs["start"], theirs["end"]), ours["id"]
        assert [tuple(o) for o in ours["offsets"]] == [o for o in theirs["offsets"] if o is not None], ours["id"]
        assert ours["context_begin"] == theirs["types"].index(1)
    return len(got)


@pytest.mark.parametrize("part, windows", [("train", 4377), ("dev", None)])
def test_windows_of_squad(minilm, shared_data, part, windows):
    count = expect_same_windows(shared_data / "squad2" / f"{part}.json", minilm)
    print(f"{part}: {count} windows, all the same")
    assert windows is None or count == windows


def test_windows_of_generated_questions(trireme, minilm, tmp_path):
    trireme.run("data", "synth", tmp_path / "data", "--train", 1500, "--dev", 300, "--seed", 11)
    for part in ("train", "dev"):
        expect_same_windows(tmp_path / "data" / f"{part}.json", minilm)


def test_long_contexts_are_cut_alike(trireme, minilm, tmp_path):
    """Contexts of up to eight windows, the answer anywhere, at the edges of windows too."""
    draw = random.Random(5)
    words = ["river", "Fuller", "bridge", "mended", "1871", "İstanbul", "naïve", "中国", "🚀", "co-op", "U.S.", "the"]
    paragraphs = []
    for number in range(60):
        context = " ".join(draw.choice(words) for _ in range(draw.randint(1, 1500)))
        starts = [0] + [i + 1 for i, c in enumerate(context) if c == " "]
        questions = []
        for place in range(5):
            a = draw.choice(starts)
            text = " ".join(context[a:].split(" ")[:draw.randint(1, 8)])
            questions.append({"id": f"{number}-{place}", "question": " who mended it?" * draw.randint(1, 6),
                              "answers": [{"text": text, "answer_start": a}], "is_impossible": False})
        paragraphs.append({"context": context, "qas": questions})
    file = tmp_path / "long.json"
    file.write_text(json.dumps({"version": "v2.0", "data": [{"title": "t", "paragraphs": paragraphs}]}))
    assert expect_same_windows(file, minilm) > 600


def test_predictions_and_scores(trireme, minilm, tmp_path):
    """A model that has learnt a little: `trireme predict` against transformers' logits and decoding in Python."""
    trireme.run("data", "synth", tmp_path / "data", "--train", 300, "--dev", 60)
    config = tmp_path / "run.toml"
    config.write_text(f'''
[model]
path = "{minilm}"
[data]
train = "{tmp_path}/data/train.json"
answerable_only = true
global_batch_samples = 16
[train]
steps = 40
[optim]
lr = 3e-4
[checkpoint]
dir = "{tmp_path}/checkpoints"
''')
    trireme.run("train", config)
    folder, dev = tmp_path / "checkpoints" / "step-00000040", tmp_path / "data" / "dev.json"
    questions = qa_oracle.read_questions(dev)
    features = qa_oracle.windows(questions, minilm / "tokenizer.json")
    model = transformers.BertForQuestionAnswering.from_pretrained(folder, dtype=torch.float32).eval()
    logits = []
    for feature in features:
        with torch.no_grad():
            out = model(input_ids=torch.tensor([feature["ids"]]), token_type_ids=torch.tensor([feature["types"]]))
        logits.append((out.start_logits[0].numpy(), out.end_logits[0].numpy()))
    expected = qa_oracle.decode(questions, features, logits)
    predictions = tmp_path / "predictions.json"
    report = trireme.report("eval", folder, "--data", dev, "--predictions", predictions)
    assert json.loads(predictions.read_text()) == expected
    assert len(set(expected.values())) > 5
    scores = qa_oracle.score(questions, expected)
    for name, value in scores.items():
        assert report["metrics"]["eval"][name] == pytest.approx(value, abs=1e-9), name


def test_metric_of_invented_answers(shared_data, tmp_path):
    file = shared_data / "squad2" / "dev.json"
    questions = qa_oracle.read_questions(file)
    draw = random.Random(2)
    answers = {}
    for name, _, context, gold in questions:
        words = context.split(" ")
        begin = draw.randrange(len(words))
        answers[name] = draw.choice(["", gold[0]["text"] if gold else "", " ".join(words[begin:begin + 4]),
                                     "The " + gold[-1]["text"].upper() + "!" if gold else "A"])
    predictions = tmp_path / "predictions.json"
    predictions.write_text(json.dumps(answers))
    got = json.loads(probe("score", file, predictions))
    for name, value in qa_oracle.score(questions, answers).items():
        assert got[name] == pytest.approx(value, abs=1e-9), name

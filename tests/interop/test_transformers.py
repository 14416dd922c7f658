"""Hugging Face's transformers and this program: folders both ways, and the same training, step by step."""

import json
import shutil

import numpy as np
import pytest
import qa_oracle
import torch
import transformers

STEPS, BATCH = 20, 8


@pytest.fixture(autouse=True)
def one_process():
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()


def config_text(model, data, checkpoints):
    return f"""
[model]
path = "{model}"
attention_dropout = 0.0
hidden_dropout = 0.0
[data]
train = "{data}"
global_batch_samples = {BATCH}
[train]
steps = {STEPS}
precision = "fp32"
[optim]
lr = 3e-4
warmup_ratio = 0.1
weight_decay = 0.01
clip_norm = 1.0
[checkpoint]
dir = "{checkpoints}"
"""


@pytest.fixture
def trained(trireme, minilm, tmp_path):
    """20 steps without dropout from MiniLM on generated questions: (report, samples of each step, data, checkpoint)."""
    trireme.run("data", "synth", tmp_path / "data", "--train", 400, "--dev", 20)
    data = tmp_path / "data" / "train.json"
    config = tmp_path / "run.toml"
    config.write_text(config_text(minilm, data, tmp_path / "checkpoints"))
    ledger = tmp_path / "ledger.jsonl"
    report = trireme.report("train", config, "--ledger", ledger)
    steps = [json.loads(line) for line in ledger.read_text().splitlines()]
    return report, steps, data, tmp_path / "checkpoints" / f"step-{STEPS:08d}"


def same_training_in_transformers(start, minilm, data, steps):
    """The losses of the same batches, a window at a time so that nothing is padded."""
    torch.manual_seed(0)
    model = transformers.BertForQuestionAnswering.from_pretrained(
        start, dtype=torch.float32, attn_implementation="eager", hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0)
    model.train()
    plain = [p for n, p in model.named_parameters() if n.endswith("bias") or "LayerNorm" in n]
    decay = [p for n, p in model.named_parameters() if not (n.endswith("bias") or "LayerNorm" in n)]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                                  lr=3e-4)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, round(0.1 * STEPS), STEPS)
    features = qa_oracle.windows(qa_oracle.read_questions(data), minilm / "tokenizer.json")
    losses = []
    for step in steps:
        total = 0.0
        for index in step["samples"]:
            window = features[index]
            loss = model(input_ids=torch.tensor([window["ids"]]), token_type_ids=torch.tensor([window["types"]]),
                         start_positions=torch.tensor([window["start"]]),
                         end_positions=torch.tensor([window["end"]])).loss
            (loss / len(step["samples"])).backward()
            total += loss.item() / len(step["samples"])
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(total)
    return losses


def test_training_is_hugging_faces_training(trireme, minilm, trained, tmp_path):
    report, steps, data, _ = trained
    assert len(steps) == STEPS and all(len(step["samples"]) == BATCH for step in steps)
    start = tmp_path / "start"  # MiniLM with the head that the seed draws: where both begin
    trireme.run("import", minilm, start, "--seed", report["config"]["train"]["seed"])
    expected = same_training_in_transformers(start, minilm, data, steps)
    difference = np.abs(np.array(expected) - np.array(report["metrics"]["loss"]))
    print("largest difference of the first 20 losses:", difference.max())
    assert difference.max() < 1e-4


def our_logits_rank_answers(trireme, folder, question, context):
    """The candidates of `trireme predict` by span: {(start, end): score}."""
    report = trireme.report("predict", folder, "--question", question, "--context", context, "--n-best", 100,
                            "--n-best-size", 1000)
    return {(c["start"], c["end"]): c["score"] for c in report["metrics"]["n_best"]}, report["metrics"]["null_score"]


def expect_same_logits(trireme, ours, theirs, tokenizer_folder):
    """Scores of spans, start logit + end logit, are the same to 1e-5 of their size."""
    question, context = "Who mended the old bridge?", "Ann Fuller mended the old bridge in Brackwell in 1871."
    model = transformers.BertForQuestionAnswering.from_pretrained(theirs, dtype=torch.float32,
                                                                  attn_implementation="eager").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tokenizer_folder)
    inputs = tokenizer(question, context, return_tensors="pt", return_offsets_mapping=True)
    offsets = inputs.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        out = model(**inputs)
    start, end = out.start_logits[0].numpy(), out.end_logits[0].numpy()
    place = {}
    for i, kind in enumerate(inputs["token_type_ids"][0].tolist()):
        if kind == 1 and offsets[i] != [0, 0]:
            place[offsets[i][0], "start"], place[offsets[i][1], "end"] = i, i
    spans, null = our_logits_rank_answers(trireme, ours, question, context)
    assert len(spans) > 50
    scale = max(1.0, np.abs(start).max(), np.abs(end).max())
    for (first, last), score in spans.items():
        assert abs(start[place[first, "start"]] + end[place[last, "end"]] - score) < 2e-5 * scale
    assert abs(start[0] + end[0] - null) < 2e-5 * scale


def test_exported_folder_loads_in_transformers(trireme, minilm, trained, tmp_path):
    checkpoint = trained[3]
    exported = tmp_path / "exported"
    trireme.run("export", checkpoint, exported)
    model, info = transformers.BertForQuestionAnswering.from_pretrained(exported, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    expect_same_logits(trireme, exported, exported, exported)
    expect_same_logits(trireme, checkpoint, checkpoint, checkpoint)  # a checkpoint is such a folder, too
    sharded = tmp_path / "sharded"
    trireme.run("export", checkpoint, sharded, "--max-shard-gb", 0.02)
    assert (sharded / "model.safetensors.index.json").exists()
    again = transformers.BertForQuestionAnswering.from_pretrained(sharded)
    for a, b in zip(model.parameters(), again.parameters()):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_folder_saved_by_transformers_loads_here(trireme, minilm, tmp_path, dtype):
    torch.manual_seed(3)
    model = transformers.BertForQuestionAnswering.from_pretrained(minilm, dtype=torch.float32)
    with torch.no_grad():
        model.qa_outputs.weight.normal_(0, 0.3)
    saved = tmp_path / "saved"
    model.to(dtype).save_pretrained(saved)
    transformers.AutoTokenizer.from_pretrained(minilm).save_pretrained(saved)
    expect_same_logits(trireme, saved, saved, saved)


def test_vocab_txt_alone_is_enough(trireme, minilm, tmp_path):
    folder = tmp_path / "plain"
    trireme.run("import", minilm, folder)
    (folder / "tokenizer.json").unlink()
    if not (folder / "vocab.txt").exists():
        vocabulary = json.loads((minilm / "tokenizer.json").read_text())["model"]["vocab"]
        (folder / "vocab.txt").write_text("\n".join(sorted(vocabulary, key=vocabulary.get)) + "\n")
    shutil.rmtree(tmp_path / "again", ignore_errors=True)
    trireme.run("import", folder, tmp_path / "again")
    expect_same_logits(trireme, folder, folder, minilm)

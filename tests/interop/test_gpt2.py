"""GPT-2 from raw text to generated text beside tokenizers, numpy and Hugging Face's transformers."""
import json
import shutil
import struct

import numpy as np
import pytest
import torch
import transformers
from conftest import ROOT
from tokenizers import ByteLevelBPETokenizer

GOLDEN = ROOT / "tests" / "golden"
CONTEXT, STEPS, BATCH = 32, 20, 3
WORDS = "the old bridge was mended by Ann Fuller in 1871 and nobody in Brackwell knew why".split()


@pytest.fixture(autouse=True)
def one_process():
    torch.set_num_threads(2)
    transformers.logging.set_verbosity_error()


@pytest.fixture
def gpt2(tmp_path):
    """A folder with a GPT-2 of random weights for the small tokenizer of the golden cases."""
    folder = tmp_path / "gpt2"
    torch.manual_seed(5)
    for name in ("vocab.json", "merges.txt"):
        folder.mkdir(exist_ok=True)
        shutil.copy(GOLDEN / "tokenizers" / "gpt2_merges" / name, folder / name)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    end = vocabulary["<|endoftext|>"]
    config = transformers.GPT2Config(vocab_size=len(vocabulary), n_positions=48, n_embd=32, n_layer=2, n_head=4,
                                     initializer_range=0.2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
                                     bos_token_id=end, eos_token_id=end)
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def texts(count, seed):
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 60))) + rng.choice([".", "\n", "?! \u00e9"]) for _ in range(count)]


def write_jsonl(path, documents):
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in documents))
    return path


def read_shard(prefix):
    """The documents of PREFIX.bin, by a reader of its own: Megatron-LM's layout."""
    index = prefix.with_name(prefix.name + ".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\0\0"
    version, code, sequences, documents = struct.unpack("<QBQQ", index[9:34])
    assert version == 1
    dtype = {4: np.int32, 8: np.uint16}[code]
    lengths = np.frombuffer(index, np.int32, sequences, 34)
    pointers = np.frombuffer(index, np.int64, sequences, 34 + lengths.nbytes)
    bounds = np.frombuffer(index, np.int64, documents, 34 + lengths.nbytes + pointers.nbytes)
    assert len(index) == 34 + lengths.nbytes + pointers.nbytes + bounds.nbytes
    assert bounds.tolist() == list(range(sequences + 1))
    data = prefix.with_name(prefix.name + ".bin").read_bytes()
    return [np.frombuffer(data, dtype, n, p).tolist() for n, p in zip(lengths, pointers)]


def oracle(folder, text):
    tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return tokenizer.encode(text).ids + [tokenizer.token_to_id("<|endoftext|>")]


def test_prepared_shards_are_megatrons_and_the_tokens_tokenizers(trireme, gpt2, tmp_path):
    documents = texts(50, seed=1)
    source = write_jsonl(tmp_path / "a.jsonl", documents)
    report = trireme.report("data", "prepare", source, "--tokenizer", gpt2, "--output-prefix", tmp_path / "corpus")
    expected = [oracle(gpt2, text) for text in documents]
    assert read_shard(tmp_path / "corpus") == expected
    assert report["metrics"]["documents"] == 50
    assert report["metrics"]["tokens"] == sum(map(len, expected))


def test_prepares_shakespeare_with_gpt2s_vocabulary(trireme, shared_data, tmp_path):
    source, tokenizer = shared_data / "text" / "tinyshakespeare.txt", shared_data / "gpt2-bpe"
    trireme.run("data", "prepare", source, "--tokenizer", tokenizer, "--output-prefix", tmp_path / "whole")
    (whole,) = read_shard(tmp_path / "whole")
    assert whole == oracle(tokenizer, source.read_text())
    trireme.run("data", "prepare", source, "--tokenizer", tokenizer, "--output-prefix", tmp_path / "parts",
                "--text-document", "paragraph")
    paragraphs = [p for p in source.read_text().strip("\n").split("\n\n") if p.strip()]
    parts = read_shard(tmp_path / "parts")
    assert len(parts) == len(paragraphs)
    for i in range(0, len(parts), 97):
        assert parts[i] == oracle(tokenizer, paragraphs[i])


def run_config(gpt2, prefix, checkpoints):
    return f"""
[model]
path = "{gpt2}"
[data]
train = "{prefix}"
max_length = {CONTEXT}
global_batch_samples = {BATCH}
[train]
task = "lm"
steps = {STEPS}
[optim]
lr = 3e-3
beta2 = 0.95
schedule = "constant"
weight_decay = 0.1
[checkpoint]
dir = "{checkpoints}"
"""


@pytest.fixture
def trained(trireme, gpt2, tmp_path):
    """20 steps on one long document: (report, samples of each step, its tokens, checkpoint)."""
    source = tmp_path / "long.txt"
    source.write_text(" ".join(texts(40, seed=2)))
    prefix = tmp_path / "long"
    trireme.run("data", "prepare", source, "--tokenizer", gpt2, "--output-prefix", prefix)
    config, ledger = tmp_path / "run.toml", tmp_path / "ledger.jsonl"
    config.write_text(run_config(gpt2, prefix, tmp_path / "checkpoints"))
    report = trireme.report("train", config, "--ledger", ledger)
    steps = [json.loads(line)["samples"] for line in ledger.read_text().splitlines()]
    (tokens,) = read_shard(prefix)
    return report, steps, tokens, tmp_path / "checkpoints" / f"step-{STEPS:08d}"


def open_model(folder):
    return transformers.GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")


def summed_loss(model, tokens, begin, end):
    """Over the tokens behind those of [begin, end), as far as there are any; and how many."""
    window, following = tokens[begin:end], tokens[begin + 1:end + 1]
    logits = model(input_ids=torch.tensor([window])).logits[0, :len(following)]
    return torch.nn.functional.cross_entropy(logits, torch.tensor(following), reduction="sum"), len(following)


def test_training_is_hugging_faces_training(gpt2, trained):
    report, steps, tokens, _ = trained
    model = open_model(gpt2).train()
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
         {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}], lr=3e-3, betas=(0.9, 0.95))
    expected = []
    for samples in steps:
        parts = [summed_loss(model, tokens, i * CONTEXT, (i + 1) * CONTEXT) for i in samples]
        loss = sum(part for part, _ in parts) / sum(count for _, count in parts)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        expected.append(loss.item())
    assert len(steps) == STEPS
    difference = np.abs(np.array(expected) - np.array(report["metrics"]["loss"]))
    print("largest difference of the first 20 losses:", difference.max())
    assert difference.max() < 1e-4


def test_checkpoints_open_in_transformers_and_score_alike(trireme, gpt2, trained, tmp_path):
    checkpoint = trained[3]
    model = open_model(checkpoint).eval()
    documents = texts(12, seed=3)
    trireme.run("data", "prepare", write_jsonl(tmp_path / "dev.jsonl", documents), "--tokenizer", gpt2,
                "--output-prefix", tmp_path / "dev")
    shard = [d for d in read_shard(tmp_path / "dev")]
    # Windows of the model's 48 positions cut the documents' stream; each piece is a sequence.
    total, count, at = 0.0, 0, 0
    with torch.no_grad():
        for tokens in shard:
            begin = 0
            while begin < len(tokens):
                end = min(len(tokens), begin + 48 - at % 48)
                if min(end, len(tokens) - 1) > begin:
                    part, predicted = summed_loss(model, tokens, begin, end)
                    total, count = total + part.item(), count + predicted
                at, begin = at + end - begin, end
    scores = trireme.report("eval", checkpoint, "--data", tmp_path / "dev")["metrics"]["eval"]
    assert scores["tokens"] == count == sum(len(d) - 1 for d in shard)
    assert abs(scores["loss"] - total / count) < 1e-5
    assert abs(scores["perplexity"] - np.exp(total / count)) < 1e-4 * np.exp(total / count)


def test_export_and_import_keep_the_logits(trireme, gpt2, trained, tmp_path):
    trireme.run("export", trained[3], tmp_path / "exported")
    trireme.run("import", tmp_path / "exported", tmp_path / "imported")
    tokens = torch.tensor([trained[2][:40]])
    with torch.no_grad():
        logits = [open_model(f).eval()(input_ids=tokens).logits for f in (trained[3], tmp_path / "exported",
                                                                          tmp_path / "imported")]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])


@pytest.mark.parametrize("prompt", ["the old bridge", "Ann", "in 1871 and nobody knew"])
def test_greedy_generation_is_transformers(trireme, gpt2, prompt):
    metrics = trireme.report("generate", gpt2, "--prompt", prompt, "--max-new-tokens", 25)["metrics"]
    ids = oracle(gpt2, prompt)[:-1]
    model = open_model(gpt2).eval()
    with torch.no_grad():
        out = model.generate(torch.tensor([ids]), max_new_tokens=25, do_sample=False, attention_mask=None,
                             pad_token_id=model.config.eos_token_id)
    assert metrics["samples"][0]["tokens"] == out[0, len(ids):].tolist()
    assert metrics["prompt_tokens"] == len(ids)


def test_sampling_frequencies_are_transformers(trireme, gpt2):
    """The first token of many samples, under temperature, top-k and top-p, against the warpers' probabilities."""
    ids = oracle(gpt2, "the old bridge")[:-1]
    with torch.no_grad():
        scores = open_model(gpt2).eval()(input_ids=torch.tensor([ids])).logits[:, -1]
    for warper in (transformers.TemperatureLogitsWarper(1.5), transformers.TopKLogitsWarper(12),
                   transformers.TopPLogitsWarper(0.8)):
        scores = warper(torch.tensor([ids]), scores)
    expected = torch.softmax(scores[0], 0).numpy()
    count = 4000
    metrics = trireme.report("generate", gpt2, "--prompt", "the old bridge", "--max-new-tokens", 1, "--num-samples",
                             count, "--temperature", 1.5, "--top-k", 12, "--top-p", 0.8)["metrics"]
    found = np.bincount([s["tokens"][0] for s in metrics["samples"]], minlength=len(expected)) / count
    assert set(np.flatnonzero(found)) <= set(np.flatnonzero(expected))
    assert np.abs(found - expected).max() < 0.03

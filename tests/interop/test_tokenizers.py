"""Our tokenizer and PyPI `tokenizers`: the same ids, offsets, tokens, types and decoded texts, everywhere; and the speed.

Needs the test binary tokenize_probe in TRIREME_BUILD_DIR, default build/release.
"""
import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from tokenizers import Tokenizer, normalizers

import tokenizer_oracles as oracles

ROOT = Path(__file__).resolve().parents[2]
PROBE = Path(os.environ.get("TRIREME_BUILD_DIR", ROOT / "build" / "release")) / "tokenize_probe"
SEED, GENERATED = 20260, 20_000
PASSES = 3  # of which the best counts, ours and theirs


@pytest.fixture(scope="session")
def generated():
    return oracles.generated_texts(GENERATED, SEED)


def probe(folder, lines, *options, code=0):
    assert PROBE.exists(), f"{PROBE} is not built (make build)"
    done = subprocess.run([PROBE, "--tokenizer", folder, "-", *options], input=lines, capture_output=True)
    assert done.returncode == code, done.stderr.decode()
    return done.stderr.decode() if code else done.stdout.decode()


def ours(folder, texts):
    """Each text (or pair of texts) encoded and decoded by the probe."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    # A JSON text may hold U+2028 and the like: \n alone ends a line.
    return [json.loads(line) for line in probe(folder, lines.encode(), "--json").split("\n")[:-1]]


def theirs(oracle, text):
    encoding = oracle.encode(*([text] if isinstance(text, str) else text))
    # Not encoding.tokens: an added token has the text there that it was found as, with the white space around it.
    tokens = [oracle.id_to_token(i) for i in encoding.ids]
    return {"ids": encoding.ids, "offsets": [list(o) for o in encoding.offsets], "tokens": tokens,
            "type_ids": encoding.type_ids, "special_mask": encoding.special_tokens_mask,
            "decoded": oracle.decode(encoding.ids, skip_special_tokens=True)}


def assert_same(folder, oracle, texts):
    """Fails with the first text whose encodings differ, and the number of them."""
    oracle.no_truncation()
    oracle.no_padding()
    results = ours(folder, texts)
    assert len(results) == len(texts)
    different = [(text, mine, other) for text, mine in zip(texts, results) if mine != (other := theirs(oracle, text))]
    if different:
        text, mine, other = different[0]
        keys = [k for k in other if mine[k] != other[k]]
        pytest.fail(f"{len(different)} of {len(texts)} differ; first {text!r}:\n" + "\n".join(
            f"{k}\n  ours   {mine[k]}\n  theirs {other[k]}" for k in keys))


def pairs_of(texts):
    return [list(pair) for pair in zip(texts[::2], texts[1::2])]


@pytest.fixture(scope="session", params=["tokenizer.json", "vocab.txt", "vocab.json and merges.txt"])
def published(request, minilm, tmp_path_factory):
    """A published tokenizer: its folder as we read it, and the same made by `tokenizers`."""
    folder = tmp_path_factory.mktemp("published")
    if request.param == "tokenizer.json":
        shutil.copy(minilm / "tokenizer.json", folder)
        return folder, Tokenizer.from_file(str(folder / "tokenizer.json"))
    if request.param == "vocab.txt":
        shutil.copy(minilm / "vocab.txt", folder)
        return folder, oracles.bert_from_vocab(folder / "vocab.txt")
    data = request.getfixturevalue("shared_data")
    return data / "gpt2-bpe", oracles.gpt2_from_merges(data / "gpt2-bpe")


def test_squad(published, shared_data):
    texts = oracles.squad_texts(shared_data)
    assert len(texts) > 5_243  # questions, and their contexts
    assert_same(*published, texts)


def test_tinyshakespeare(published, shared_data):
    texts = oracles.shakespeare_texts(shared_data)
    assert len(texts) > 40_000
    assert_same(*published, texts)


def test_generated_texts(published, generated):
    assert_same(*published, generated)


def test_pairs(published, generated):
    assert_same(*published, pairs_of(generated[:2000]))


def test_bytes_that_are_not_utf8(published, tmp_path):
    """Lines of raw bytes, read as Python reads them; without and with special tokens."""
    folder, oracle = published
    rng = oracles.random.Random(SEED)
    # Half of the bytes are such that open or go on a sequence; \n would end the line.
    lines = [bytes(rng.choice((rng.randrange(11, 256), rng.choice(b"a \x80\xbf\xc2\xe0\xed\xa0\xf0\x9f\xf4\xff")))
                   for _ in range(rng.randrange(30))) for _ in range(5000)]
    file = tmp_path / "lines"
    file.write_bytes(b"\n".join(lines) + b"\xff")  # a last line without \n
    lines[-1] += b"\xff"
    for special in (False, True):
        done = subprocess.run([PROBE, "--tokenizer", folder, file, *(["--special"] if special else [])],
                              capture_output=True, check=True)
        results = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
        assert len(results) == len(lines)
        for line, result in zip(lines, results):
            e = oracle.encode(line.decode("utf-8", "replace"), add_special_tokens=special)
            assert result == {"ids": e.ids, "offsets": [list(o) for o in e.offsets], "tokens": e.tokens}, line


@pytest.mark.parametrize("config", [
    {"do_lower_case": False}, {"do_lower_case": False, "strip_accents": True}, {"strip_accents": False},
    {"tokenize_chinese_chars": False}])
def test_options_of_vocab_txt(minilm, generated, tmp_path, config):
    shutil.copy(minilm / "vocab.txt", tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    names = {"do_lower_case": "lowercase", "tokenize_chinese_chars": "handle_chinese_chars"}
    options = {names.get(k, k): v for k, v in config.items()}
    assert_same(tmp_path, oracles.bert_from_vocab(minilm / "vocab.txt", **options), generated[:5000])


def test_every_component(minilm, generated, tmp_path):
    texts = generated[:3000]
    for i, (name, oracle) in enumerate(oracles.component_tokenizers(texts, minilm / "vocab.txt").items()):
        print(name)  # shown when it fails
        assert_same(oracles.save(oracle, tmp_path / str(i)), oracle, texts + pairs_of(texts[:400]))


@pytest.mark.parametrize("normalizer", [
    normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(),
    normalizers.StripAccents()], ids=lambda n: type(n).__name__)
def test_every_code_point_normalised(tmp_path, normalizer):
    oracle = oracles.bytes_only(normalizer)
    assert_same(oracles.save(oracle, tmp_path), oracle, list(oracles.every_code_point()))


def test_every_code_point_in_gpt2_pattern(tmp_path):
    oracle = oracles.kinds_shown()
    assert_same(oracles.save(oracle, tmp_path), oracle, [f"a{c}1 {c}" for c in oracles.every_code_point()])


@pytest.mark.parametrize("lowercase", [True, False])
def test_every_code_point_in_bert(tmp_path, lowercase):
    oracle = oracles.characters_wordpiece(lowercase=lowercase)
    assert_same(oracles.save(oracle, tmp_path), oracle, [f"a{c}b" for c in oracles.every_code_point()])


def test_every_code_point_beside_a_single_word_token(tmp_path):
    oracle = oracles.bytes_only()
    oracle.add_tokens([oracles.AddedToken("<w>", single_word=True, normalized=False),
                       oracles.AddedToken("<l>", lstrip=True, normalized=False)])
    texts = [text for c in oracles.every_code_point() for text in (f"{c}<w>", f"{c}<l>")]
    assert_same(oracles.save(oracle, tmp_path), oracle, texts)


@pytest.mark.parametrize("name", oracles.unsupported_tokenizers())
def test_unsupported_components_are_named(tmp_path, name):
    folder = oracles.save(oracles.unsupported_tokenizers()[name], tmp_path)
    message = probe(folder, b"", code=2)
    assert str(folder / "tokenizer.json") in message and name in message, message
    assert "support" in message and message.count("\n") == 1, message


def test_the_command_says_the_same(trireme, minilm, tmp_path):
    file = tmp_path / "texts"
    file.write_bytes("Hello wörld!\n\n日本 \r\nlast".encode() + b"\xff")
    for special in ([], ["--special"]):
        done = trireme.run("data", "tokenize", "--tokenizer", minilm, file, *special)
        assert done.stdout == probe(minilm, file.read_bytes(), *special)
        assert done.stdout.count("\n") == 4


def best_seconds(encode, passes):
    best = float("inf")
    for _ in range(passes):
        start = time.perf_counter()
        encode()
        best = min(best, time.perf_counter() - start)
    return best


@pytest.mark.parametrize("data", ["squad", "shakespeare"])
def test_speed(published, shared_data, data):
    """One thread, texts in memory, with special tokens: at least twice as fast as the better of their two ways."""
    assert os.environ["TOKENIZERS_PARALLELISM"] == "false"
    folder, oracle = published
    texts = oracles.squad_texts(shared_data) if data == "squad" else oracles.shakespeare_texts(shared_data)[1:]
    lines = "".join(json.dumps(text) + "\n" for text in texts).encode()
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    mine = json.loads(probe(folder, lines, "--time", str(PASSES)))["seconds"]
    loop = best_seconds(lambda: [oracle.encode(text) for text in texts], PASSES)
    batch = best_seconds(lambda: oracle.encode_batch(texts), PASSES)
    print(f"{data}: ours {megabytes / mine:.1f} MB/s, encode {megabytes / loop:.2f}, encode_batch {megabytes / batch:.2f}: "
          f"{min(loop, batch) / mine:.1f}x")
    assert min(loop, batch) >= 2 * mine

"""Writes tokenizers/: small tokenizers as folders of every kind that we read, and in cases.json texts and what PyPI
`tokenizers` makes of them.

    pip install tokenizers==0.23.3
    python make_tokenizers.py
"""
import json
import shutil
import sys
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = Path(__file__).resolve().parent / "tokenizers"
LEARNT_FROM = """
The trireme had three banks of oars, and a hundred and seventy rowers pulled together to the sound of a flute.
Who steered the ship? The helmsman did, with two broad oars at the stern; he didn't sleep, and they're all still there.
In 480 before our era the fleet of Athens won at Salamis. There were 371 ships or 378, and the strait was narrow.
A rower's cushion, an oar, a loop of leather: that is all he carried from one harbour to another.
Rowing is hard; rowing together is harder, and the slowest rower sets the speed of the ship.
""" * 3
TEXTS = [
    "", " ", "\n", "The trireme", "the  trireme had\tthree\n\nbanks  ", "Who steered the ship?", "rowers'", "he didn't, they're",
    "I'LL'll", "In 480 there were 371-378 ships.", "naïve e\u0301\u0323 a\u0308o Straße İstanbul ΟΔΟΣ", "日本語と한국어 中",
    "👩‍👩‍👧‍👦 🇩🇪👍🏽", "\u0000con\u200btrol\ufffd\ufeff\u00ad\u0085x", "\u00a0\u3000blank\u2028s", "[MASK]the[SEP] [mask]",
    "the<s>x</s> <mask> a", "a<pad>", "row" * 40, "q" * 101, "``«ships»''—…", "½ ² ٣ Ⅳ", "हिन्दी ไทย שָׁלוֹם", "ﬁn \u1100\u1161\u11a8",
    "\U0001d15e\U0002f800\U0010ffff", "rowing!!! (harder)", "\u0903\u0323\u0301x",
]
PAIRS = [["Who steered?", "The helmsman did."], ["", ""], ["ship", ""], ["", "日本 [SEP]"], [" a", " a "]]


def wordpiece():
    characters = sorted(set(LEARNT_FROM.lower() + "日本ναυςé👍") - set(" \n"))
    words = sorted({w.strip(".,:;?'") for w in LEARNT_FROM.lower().split()} - {"trireme", "rowing", "harder", "rowers"})
    pieces = ["tri", "row", "hard", "ro", "##ers", "##reme", "##ing", "##er", "##s", "##n't"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, *("##" + c for c in characters), *words, *pieces]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(t, tokenizer.token_to_id(t)) for t in ("[CLS]", "[SEP]")])
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def byte_level(normalizer=None, prefix_space=False, alphabet=True, special=("<s>", "</s>"), **model):
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.train_from_iterator([LEARNT_FROM], trainers.BpeTrainer(
        vocab_size=360, show_progress=False, special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def roberta():
    tokenizer = byte_level(prefix_space=True)
    ends = [(t, tokenizer.token_to_id(t)) for t in ("</s>", "<s>")]
    tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=True)
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


def cased():
    tokenizer = wordpiece()
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=True, handle_chinese_chars=False)
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.add_tokens([AddedToken("rower", single_word=True), AddedToken("é", normalized=True, rstrip=True)])
    tokenizer.enable_truncation(8)  # to be ignored, as the padding
    tokenizer.enable_padding(length=12)
    return tokenizer


def cases(tokenizer):
    tokenizer.no_truncation()
    tokenizer.no_padding()
    result = []
    for text in TEXTS + PAIRS:
        e = tokenizer.encode(*([text] if isinstance(text, str) else text))
        plain = tokenizer.encode(*([text] if isinstance(text, str) else text), add_special_tokens=False)
        result.append({"text": text, "ids": e.ids, "offsets": [list(o) for o in e.offsets], "type_ids": e.type_ids,
                       "special_mask": e.special_tokens_mask, "plain_ids": plain.ids,
                       "decoded": tokenizer.decode(e.ids, skip_special_tokens=True)})
    return result


def write(name, tokenizer, files=None):
    folder = OUT / name
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    if files == "vocab.txt":
        vocab = tokenizer.get_vocab()
        (folder / files).write_text("".join(t + "\n" for t in sorted(vocab, key=vocab.get)))
    elif files is not None:
        tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    if files is not None:
        (folder / "tokenizer.json").unlink()
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases(tokenizer))
    (folder / "cases.json").write_text(f"[\n{lines}\n]\n")


def main():
    if OUT.exists():
        shutil.rmtree(OUT)
    write("wordpiece", wordpiece())
    write("wordpiece_vocab_txt", wordpiece(), "vocab.txt")
    write("wordpiece_cased_added", cased())
    write("roberta", roberta())
    write("gpt2_merges", byte_level(special=["<|endoftext|>"]), "vocab.json, merges.txt")
    write("bpe_nfkc_lower", byte_level(normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])))
    write("bpe_unknown_fused", byte_level(alphabet=False, special=["<unk>"], unk_token="<unk>", fuse_unk=True))
    write("bpe_bytes_missing", byte_level(alphabet=False))


if __name__ == "__main__":
    sys.exit(main())

"""Tokenizers made with PyPI `tokenizers` for every component that we read, and the texts to compare them on."""
import json
import random
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers.implementations import ByteLevelBPETokenizer

SURROGATES = range(0xD800, 0xE000)
# One of each kind in which the Unicode of tokenizers is hard to get right.
SPECIMENS = (
    "\u0000\u0001\t\n\u000b\f\r\u001c\u001f \u007f\u0085\u00a0\u00ad\u1680\u180e\u2000\u2007\u200b\u200c\u200d\u200e"
    "\u2028\u2029\u202f\u205f\u2060\u3000\ufeff\ufffd\ufffe\uffff\ue000\U000e0001\U000f0000\U0010ffff"
    "\u0300\u0301\u0307\u0308\u0323\u0327\u0328\u0345\u0903\u093c\u094d\u09be\u0b3e\u1161\u11a8\u302a\u302e\u3099\u309a"
    "\U0001d165\U0001d16d\U00011133\U00011127\u0130\u0131\u01c5\u03a3\u03c2\u1e9e\u00df\ufb01\ufb03\u2126\u212b\u00c5"
    "\u1100\uac00\ud7a3\u4e00\u3400\uf900\U0002f800\U00020000\U0002b820\u3042\u30ab\uff21\uff76\uff9e"
    "\u00bd\u00b2\u0663\u2163\u3007\U0001d7d8'\u2019!`^_~\u00a7\u2014\u3001\u166d\U000111c9\u1734\u1885\ua9bd\u1cf2"
    "\U0001f600\U0001f1e9\U0001f3fd\u2764\ufe0f")
WORDS = ("the", "Trireme", "don't", "I'LL", "we've", "naïve", "Straße", "ΟΔΟΣ", "Привет", "שָׁלוֹם", "हिन्दी", "ไทย",
         "日本語", "한국어", "e\u0301\u0323a\u0328\u0301", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "3.14", "x" * 99, "y" * 101, "é" * 100, "un" * 60,
         "[MASK]", "[CLS]x", "<|endoftext|>", "  ", "\n\n", " \t ", "##ing", "'s", "Ġ", "...", "\u3000")


def generated_texts(count, seed):
    """Texts over all planes: words, specimens, and code points from everywhere, glued with and without blanks."""
    rng = random.Random(seed)
    planes = ((0, 0x7F), (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x1FFF), (0x2000, 0x2FFF), (0x3000, 0x9FFF),
              (0xA000, 0xFFFF), (0x10000, 0x1FFFF), (0x1F300, 0x1FAFF), (0x20000, 0x3FFFF), (0x40000, 0x10FFFF))

    def part():
        kind = rng.random()
        if kind < 0.35:
            return rng.choice(WORDS)
        if kind < 0.6:
            return rng.choice(SPECIMENS)
        first, last = rng.choice(planes)
        c = rng.randint(first, last)
        return "" if c in SURROGATES else chr(c) * rng.choice((1, 1, 1, 2, 5))

    return ["".join(part() + rng.choice(("", "", " ")) for _ in range(rng.randint(0, 24))) for _ in range(count)]


def squad_texts(shared_data):
    texts = []
    for name in ("train", "dev"):
        for article in json.loads((shared_data / "squad2" / f"{name}.json").read_text("utf-8"))["data"]:
            for paragraph in article["paragraphs"]:
                texts.append(paragraph["context"])
                texts += [qa["question"] for qa in paragraph["qas"]]
    return texts


def shakespeare_texts(shared_data):
    """The whole text, and each of its lines."""
    text = (shared_data / "text" / "tinyshakespeare.txt").read_bytes().decode("utf-8", "replace")
    return [text, *text.split("\n")]


def every_code_point():
    """Planes with characters, and of the others each block's ends."""
    for c in range(0x110000):
        block = c & 0xFF
        if c not in SURROGATES and (c < 0x40000 or 0xE0000 <= c < 0xE1000 or block in (0, 0xFF)):
            yield chr(c)


def bert_template(tokenizer):
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    return processors.TemplateProcessing(single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
                                         special_tokens=[("[CLS]", cls), ("[SEP]", sep)])


def bert_from_vocab(vocab_txt, **normalizer):
    """What a folder with vocab.txt alone means."""
    tokenizer = Tokenizer(models.WordPiece.from_file(str(vocab_txt), unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    tokenizer.post_processor = bert_template(tokenizer)
    tokenizer.decoder = decoders.WordPiece()
    return tokenizer


def gpt2_from_merges(folder):
    """What a folder with vocab.json and merges.txt means."""
    tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    return tokenizer


def bytes_only(normalizer=None):
    """A token a byte: its ids show what a normalizer makes of a text, bit for bit."""
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return tokenizer


def byte_char(byte):
    """The character that stands for a byte in a byte-level vocabulary."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return chr(byte) if byte in printable else chr(0x100 + sum(b not in printable for b in range(byte)))


def kinds_shown():
    """Byte-level BPE whose ids show how GPT-2's pattern sees the character in "aX1 X": merges join `a` and a first
    byte (X is a letter), a last byte and `1` (a number), a blank and a first byte (no white space)."""
    lead = [byte_char(b) for b in [*range(0x80), *range(0xC2, 0xF5)]]
    last = [byte_char(b) for b in range(0xC0)]
    merges = dict.fromkeys([*(("a", c) for c in lead), *((c, "1") for c in last), *(("Ġ", c) for c in lead)])
    vocab = {c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for pair in merges:
        vocab.setdefault("".join(pair), len(vocab))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer


def characters_wordpiece(**normalizer):
    """WordPiece with all assigned characters as tokens: ids show what BERT's normalizer and splitter make of a text."""
    characters = [chr(c) for c in range(0x21, 0x32000) if c not in SURROGATES and not chr(c).isspace()]
    vocab = {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}
    for c in characters:
        vocab[c] = len(vocab)
        vocab["##" + c] = len(vocab)
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(**normalizer)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer


def trained_bpe(texts, normalizer=None, alphabet=True, **model):
    """A small byte-level BPE learnt from texts; without the alphabet, bytes that they lack are unknown."""
    tokenizer = Tokenizer(models.BPE(**model))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = [s for s in ("<s>", "</s>", model.get("unk_token")) if s]
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=800, show_progress=False, special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if alphabet else []))
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def component_tokenizers(texts, vocab_txt):
    """Named tokenizers that between them use every component and option of a tokenizer.json that we read."""
    made = {}

    roberta = trained_bpe(texts)
    roberta.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    ends = [(t, roberta.token_to_id(t)) for t in ("</s>", "<s>")]
    roberta.post_processor = processors.RobertaProcessing(*ends, trim_offsets=True, add_prefix_space=True)
    roberta.add_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    made["roberta, prefix space, trimmed"] = roberta

    trimmed = trained_bpe(texts, normalizer=normalizers.NFC())
    trimmed.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True, add_prefix_space=False),
        processors.TemplateProcessing(single="<s> $A </s>", pair="<s> $A </s> $B:1 </s>:1", special_tokens=[
            ("<s>", trimmed.token_to_id("<s>")), ("</s>", trimmed.token_to_id("</s>"))])])
    made["sequence of trim and template, NFC"] = trimmed

    made["no pattern, ignore_merges"] = trained_bpe(texts, ignore_merges=True)
    made["no pattern, ignore_merges"].pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made["bytes missing, no unknown"] = trained_bpe(texts[:40], alphabet=False)
    made["bytes missing, unknown"] = trained_bpe(texts[:40], alphabet=False, unk_token="<unk>")
    made["bytes missing, unknown fused"] = trained_bpe(texts[:40], alphabet=False, unk_token="<unk>", fuse_unk=True)

    added = bert_from_vocab(vocab_txt)
    added.add_tokens([AddedToken("Trireme", normalized=True), AddedToken("the", single_word=True, normalized=False),
                      AddedToken("naïve", single_word=True, normalized=True), AddedToken("...", lstrip=True),
                      AddedToken("日本", rstrip=True, normalized=False), AddedToken("!", lstrip=True, rstrip=True)])
    made["added tokens"] = added

    bert = bert_from_vocab(vocab_txt)
    ends = [(t, bert.token_to_id(t)) for t in ("[SEP]", "[CLS]")]
    bert.post_processor = processors.BertProcessing(*ends)
    bert.decoder = decoders.WordPiece(cleanup=False)
    made["BertProcessing"] = bert

    steps = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Replace("ss", "ß!"),
             normalizers.Strip()]
    sequence = bert_from_vocab(vocab_txt)
    sequence.normalizer = normalizers.Sequence(steps)
    made["sequence of normalizers"] = sequence
    for name, normalizer in (("NFD", normalizers.NFD()), ("NFKC", normalizers.NFKC()), ("strip", normalizers.Strip()),
                             ("replace", normalizers.Replace("the", "a longer the")), ("lower", normalizers.Lowercase())):
        made[f"bytes, {name}"] = bytes_only(normalizer)
    return made


def unsupported_tokenizers():
    """Tokenizers that we refuse: what must be named in the message, and the tokenizer."""
    def bpe(**parts):
        tokenizer = bytes_only()
        for key, value in parts.items():
            setattr(tokenizer, key, value)
        return tokenizer
    return {
        "Metaspace": bpe(pre_tokenizer=pre_tokenizers.Metaspace()),
        "Unigram": Tokenizer(models.Unigram([("a", 0.0)])),
        "WordLevel": Tokenizer(models.WordLevel({"a": 0}, unk_token="a")),
        "Nmt": bpe(normalizer=normalizers.Sequence([normalizers.NFC(), normalizers.Nmt()])),
        "Regex": bpe(normalizer=normalizers.Replace(Regex("a+"), "b")),
        "Fuse": bpe(decoder=decoders.Fuse()),
        "Split": bpe(pre_tokenizer=pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex("a"), "isolated"), pre_tokenizers.ByteLevel(use_regex=False)])),
        "byte_fallback": Tokenizer(models.BPE(vocab={"a": 0}, merges=[], byte_fallback=True)),
    }


def save(tokenizer, folder):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder

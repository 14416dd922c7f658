"""Writes squad_metric.json: answers and whole data sets with the scores that the official SQuAD 2.0
rules give them, computed by transformers 4's copy of the official script (5.x has none).

    pip download --no-deps transformers==4.57.1
    python make_squad_metric.py transformers-4.57.1-py3-none-any.whl
"""
import json, os, random, sys, types, zipfile


def official(wheel):
    text = zipfile.ZipFile(wheel).read("transformers/data/metrics/squad_metrics.py").decode()
    text = text[:text.index("def get_final_text")].replace("from ...", "# from ...")
    module = types.ModuleType("squad_metrics")
    exec(text.replace("logger = ", "# logger = "), module.__dict__)
    return module


PIECES = [
    "the", "The", "THE", "a", "A", "an", "An", "theatre", "another", "answer", "Paris", "paris", "U.S.", "don't",
    "rock-n-roll", "C++", "1,000", "3.14", "50%", "$5", "(the)", "the-end", "a_b", "_a_", "«a»", "“the”", "a.", "‘an’",
    "é", "É", "the\u0301", "a\u0301n", "ÄPFEL", "ß", "ẞ", "İstanbul", "ΌΔΟΣ", "ΟΔΥΣΣΕΥΣ", "Σ", "ǅ", "ﬁ", "the²", "½a",
    "a½", "Ⅷ", "a①", "中国", "a中", "中 the 国", "ａ", "Ａｎ", "한국", "мир", "Мир", "🚀", "a🚀", "the🚀an", "—", "a—an",
    "\u200bthe", "the\u00ad", "a\u0660", "ก", "\u0915\u093fa", "\U00010400", "\U0001D400", "", "?", "!!", "`a`", "~",
]
SPACES = [" ", "  ", "\t", "\n", "\u00a0", "\u2003", "\u3000", "\x1f", "\x85", "\u2028", "\u200b", "\ufeff", "\u180e"]


def answer(rng):
    out = rng.choice(["", "", "", " "])
    for _ in range(rng.randint(0, 5)):
        out += rng.choice(PIECES) + (rng.choice(SPACES) if rng.random() < 0.4 else " ")
    return out if rng.random() < 0.5 else out.strip()


def near(rng, text):
    """A prediction that shares words with the text."""
    words = text.split(" ")
    kind = rng.random()
    if kind < 0.3:
        return text.upper() if rng.random() < 0.5 else text
    if kind < 0.6:
        return " ".join(w for w in words if rng.random() < 0.7)
    if kind < 0.8:
        return " ".join(words + [rng.choice(PIECES)])
    return answer(rng)


def data_set(rng, official_script, questions, threshold):
    examples, texts, odds = [], {}, {}
    for i in range(questions):
        golds = [] if rng.random() < 0.35 else [answer(rng) or "x" for _ in range(rng.randint(1, 4))]
        qid = f"q{i:03}"
        examples.append(types.SimpleNamespace(qas_id=qid, answers=[{"text": g} for g in golds]))
        texts[qid] = near(rng, rng.choice(golds)) if golds else ("" if rng.random() < 0.3 else answer(rng))
        odds[qid] = rng.choice([rng.gauss(-1 if golds else 1, 3), float(rng.randint(-3, 3))])  # with ties
    scores = official_script.squad_evaluate(examples, texts, odds, threshold)
    return dict(threshold=threshold, scores=scores,
                questions=[dict(id=e.qas_id, golds=[a["text"] for a in e.answers], text=texts[e.qas_id],
                                null_odds=odds[e.qas_id]) for e in examples])


def main():
    script = official(sys.argv[1])
    rng = random.Random(20)
    pairs = []
    for _ in range(400):
        gold = answer(rng)
        text = near(rng, gold)
        pairs.append([gold, text, script.normalize_answer(gold), script.compute_exact(gold, text),
                      script.compute_f1(gold, text)])
    sets = [data_set(rng, script, n, t) for n, t in ((1, 0.0), (40, 0.0), (60, 1.5), (60, -2.0), (80, 1e9), (80, -1e9))]
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "squad_metric.json")
    with open(path, "w") as f:
        json.dump(dict(pairs=pairs, sets=sets), f, separators=(",", ":"))
        f.write("\n")


main()

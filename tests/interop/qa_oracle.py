"""Extractive question answering as Hugging Face's example does it, in plain Python over PyPI `tokenizers`:
questions, windows and labels, n-best decoding, the official scores."""

import collections
import json
import re
import string

from tokenizers import Tokenizer


def read_questions(file):
    """(id, question, context, answers) of each question."""
    return [(qa["id"], qa["question"].lstrip(), paragraph["context"], [] if qa.get("is_impossible") else qa["answers"])
            for article in json.loads(file.read_text())["data"]
            for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def windows(questions, tokenizer_file, max_length=384, stride=128):
    """A dict for each window: id, ids, types, offsets (of context tokens; else None), start, end."""
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, stride=stride, strategy="only_second")
    out = []
    for name, question, context, answers in questions:
        first = tokenizer.encode(question, context)
        for window in [first, *first.overflowing]:
            offsets = [o if s == 1 else None for o, s in zip(window.offsets, window.sequence_ids)]
            inside = [i for i, o in enumerate(offsets) if o is not None]
            start = end = 0
            if answers:
                a, b = answers[0]["answer_start"], answers[0]["answer_start"] + len(answers[0]["text"])
                if inside and offsets[inside[0]][0] <= a and offsets[inside[-1]][1] >= b:
                    start = max(i for i in inside if offsets[i][0] <= a)
                    end = min(i for i in inside if offsets[i][1] >= b)
            out.append({"id": name, "ids": window.ids, "types": window.type_ids, "offsets": offsets, "start": start,
                        "end": end})
    return out


def decode(questions, features, logits, n_best=20, max_answer=30):
    """{id: answer}; "" where the lowest [CLS] score over the windows beats every span. logits: (start, end) arrays."""
    answers = {}
    best = {name: (-float("inf"), "") for name, *_ in questions}
    null = {name: float("inf") for name, *_ in questions}
    contexts = {name: context for name, _, context, _ in questions}
    for feature, (start, end) in zip(features, logits):
        name, offsets = feature["id"], feature["offsets"]
        null[name] = min(null[name], float(start[0]) + float(end[0]))
        for i in sorted(range(len(start)), key=lambda k: -start[k])[:n_best]:
            for j in sorted(range(len(end)), key=lambda k: -end[k])[:n_best]:
                if offsets[i] is None or offsets[j] is None or j < i or j - i + 1 > max_answer:
                    continue
                score = float(start[i]) + float(end[j])
                if score > best[name][0]:
                    best[name] = score, contexts[name][offsets[i][0]:offsets[j][1]]
    for name, (score, text) in best.items():
        answers[name] = "" if null[name] > score else text
    return answers


def normalize(text):
    text = "".join(c for c in text.lower() if c not in set(string.punctuation))
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def f1(gold, predicted):
    gold, predicted = normalize(gold).split(), normalize(predicted).split()
    if not gold or not predicted:
        return float(gold == predicted)
    same = sum((collections.Counter(gold) & collections.Counter(predicted)).values())
    return 2 * same / (len(gold) + len(predicted))


def score(questions, answers):
    """Percent: em, f1, and each over the questions with and those without an answer."""
    rows = []
    for name, _, _, gold in questions:
        texts = [a["text"] for a in gold if normalize(a["text"])] or [""]
        rows.append((bool(gold), max(float(normalize(t) == normalize(answers[name])) for t in texts),
                     max(f1(t, answers[name]) for t in texts)))

    def mean(chosen, column):
        return 100 * sum(row[column] for row in chosen) / max(1, len(chosen))
    has, no = [r for r in rows if r[0]], [r for r in rows if not r[0]]
    return {"em": mean(rows, 1), "f1": mean(rows, 2), "has_ans_em": mean(has, 1), "has_ans_f1": mean(has, 2),
            "no_ans_em": mean(no, 1), "no_ans_f1": mean(no, 2)}

"""Small random BERTs with their inputs, logits, losses and all gradients, as Hugging Face's transformers computes them.

    python tests/golden/make_bert.py tests/golden/bert

Writes one folder a case: config.json, model.safetensors, expected.safetensors (inputs: input_ids, attention_mask,
token_type_ids [B, L] and labels; outputs: logits, loss, grad.<parameter>). Needs torch, transformers, safetensors, numpy.
"""

import pathlib
import sys

import torch
from model_case import move_vectors, save_case
from transformers import BertConfig, BertForPreTraining, BertForQuestionAnswering, BertForSequenceClassification

CASES = {
    "qa": (BertForQuestionAnswering, dict(num_attention_heads=4)),
    "qa-one-head": (BertForQuestionAnswering, dict(num_attention_heads=1, num_hidden_layers=1)),
    "qa-odd-heads": (BertForQuestionAnswering, dict(num_attention_heads=3, hidden_size=30, type_vocab_size=3)),
    "classify": (BertForSequenceClassification, dict(num_attention_heads=2, num_labels=3)),
    "pretrain-tied": (BertForPreTraining, dict(num_attention_heads=4, tie_word_embeddings=True)),
    "pretrain-untied": (BertForPreTraining, dict(num_attention_heads=4, tie_word_embeddings=False)),
}
LENGTHS = [19, 7, 1, 32]


def main(folder):
    for name, (cls, changes) in CASES.items():
        torch.manual_seed(sum(map(ord, name)))
        settings = dict(vocab_size=61, hidden_size=32, num_hidden_layers=2, intermediate_size=48,
                        max_position_embeddings=40, initializer_range=0.2)
        config = BertConfig(**{**settings, **changes})
        model = cls(config).eval()
        move_vectors(model)
        rows, longest = len(LENGTHS), max(LENGTHS)
        # No id 0: Hugging Face leaves the padding token without a gradient, and packed batches have none.
        inputs = dict(input_ids=torch.randint(1, 61, (rows, longest)),
                      token_type_ids=torch.randint(0, config.type_vocab_size, (rows, longest)),
                      attention_mask=(torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long())
        labels = {}
        if cls is BertForQuestionAnswering:
            labels["start_positions"] = torch.tensor([torch.randint(0, n, ()).item() for n in LENGTHS])
            labels["end_positions"] = torch.tensor([torch.randint(0, n, ()).item() for n in LENGTHS])
        elif cls is BertForSequenceClassification:
            labels["labels"] = torch.randint(0, 3, (rows,))
        else:
            words = torch.full((rows, longest), -100)
            for row, n in enumerate(LENGTHS):
                words[row, :n:3] = torch.randint(0, 61, words[row, :n:3].shape)
            labels["labels"] = words
            labels["next_sentence_label"] = torch.randint(0, 2, (rows,))
        expected = {**inputs, **labels}
        if cls is BertForQuestionAnswering:
            # A row at a time: Hugging Face's span loss counts padding among the candidates, packed batches have none.
            loss, logits = 0.0, torch.zeros(rows, longest, 2)
            for row, n in enumerate(LENGTHS):
                out = model(**{k: v[row:row + 1, :n] for k, v in inputs.items()},
                            **{k: v[row:row + 1] for k, v in labels.items()})
                loss = loss + out.loss / rows
                logits[row, :n] = torch.stack([out.start_logits[0], out.end_logits[0]], -1).detach()
            expected["logits"] = logits
        else:
            out = model(**inputs, **labels)
            loss = out.loss
        loss.backward()
        expected["loss"] = loss
        if cls is BertForSequenceClassification:
            expected["logits"] = out.logits
        elif cls is BertForPreTraining:
            expected["logits"] = out.prediction_logits
            expected["next_logits"] = out.seq_relationship_logits
        save_case(pathlib.Path(folder) / name, model, expected)


if __name__ == "__main__":
    main(sys.argv[1])

"""Small random GPT-2s with their inputs, logits, losses and all gradients, as Hugging Face's transformers computes them.

    python tests/golden/make_gpt2.py tests/golden/gpt2

Writes one folder a case: config.json, model.safetensors, expected.safetensors (inputs: input_ids, attention_mask [B, L];
outputs: logits, loss (of each next token), grad.<parameter>). Needs torch, transformers, safetensors.
"""

import pathlib
import sys

import torch
from model_case import move_vectors, save_case
from transformers import GPT2Config, GPT2LMHeadModel

CASES = {
    "tied": {},
    "untied": dict(tie_word_embeddings=False),
    "one-head": dict(n_head=1, n_layer=1),
    "odd-sizes": dict(n_embd=30, n_head=3, n_inner=50, vocab_size=67),
}
LENGTHS = [19, 7, 1, 32]


def main(folder):
    for name, changes in CASES.items():
        torch.manual_seed(sum(map(ord, name)))
        settings = dict(vocab_size=61, n_positions=40, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2,
                        bos_token_id=0, eos_token_id=0)
        config = GPT2Config(**{**settings, **changes})
        model = GPT2LMHeadModel(config).eval()
        move_vectors(model)
        longest = max(LENGTHS)
        ids = torch.randint(0, config.vocab_size, (len(LENGTHS), longest))
        mask = (torch.arange(longest) < torch.tensor(LENGTHS)[:, None]).long()
        logits = model(input_ids=ids, attention_mask=mask).logits
        labels = ids.masked_fill(mask == 0, -100)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        expected = {"input_ids": ids, "attention_mask": mask, "logits": logits, "loss": loss}
        save_case(pathlib.Path(folder) / name, model, expected)


if __name__ == "__main__":
    main(sys.argv[1])

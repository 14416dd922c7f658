"""What the makers of model fixtures share."""

import json
import pathlib

import torch
from safetensors.torch import save_file


def move_vectors(model):
    """Biases and norms away from 0 and 1, so that every term counts."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)


def save_case(folder, model, expected):
    """config.json, model.safetensors and expected.safetensors, the last with the gradients that the model has."""
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:  # an untied BERT has a bias that nothing uses
            expected["grad." + name] = parameter.grad
    target = pathlib.Path(folder)
    model.save_pretrained(target)
    save_file({k: v.detach().contiguous() for k, v in expected.items()}, target / "expected.safetensors")
    (target / "generation_config.json").unlink(missing_ok=True)
    settings = json.loads((target / "config.json").read_text())
    (target / "config.json").write_text(json.dumps(settings, indent=1) + "\n")

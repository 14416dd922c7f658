"""Writes optim/optim.json: learning-rate schedules of transformers and AdamW steps of PyTorch.

    python tests/golden/make_optim.py        # torch 2.11, transformers 5.24
"""
import json
import os

import torch
from transformers import optimization as hf


def curve(make, steps):
    """The factor at each step, as a scheduler in a training loop gives it."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    values = []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return values


def schedules():
    cases = []
    for total, warmup in ((20, 0), (20, 1), (37, 5), (10, 10), (1, 0)):
        cases += [
            {"kind": "linear", "total": total, "warmup": warmup, "decay": 0, "factors": curve(
                lambda o: hf.get_linear_schedule_with_warmup(o, warmup, total), total + 2)},
            {"kind": "cosine", "total": total, "warmup": warmup, "decay": 0, "factors": curve(
                lambda o: hf.get_cosine_schedule_with_warmup(o, warmup, total), total)},
            {"kind": "constant", "total": total, "warmup": warmup, "decay": 0, "factors": curve(
                lambda o: hf.get_constant_schedule_with_warmup(o, warmup), total + 2)},
        ]
    for total, warmup, decay in ((30, 4, 6), (30, 0, 30), (12, 3, 9)):
        cases.append({"kind": "wsd", "total": total, "warmup": warmup, "decay": decay, "factors": curve(
            lambda o: hf.get_wsd_schedule(o, warmup, decay, num_training_steps=total), total + 2)})
    return cases


def adamw():
    torch.manual_seed(3)
    params = [torch.nn.Parameter(torch.randn(n)) for n in (70, 9)]
    groups = [{"params": [params[0]], "weight_decay": 0.1, "lr": 0.01},
              {"params": [params[1]], "weight_decay": 0.0, "lr": 0.02}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-6)
    case = {"initial": [p.tolist() for p in params], "gradients": [], "norms": [], "params": []}
    for step in range(6):
        for p in params:
            p.grad = torch.randn(p.numel()) * (3.0 if step % 2 else 0.01)
        case["gradients"].append([p.grad.tolist() for p in params])
        case["norms"].append(torch.nn.utils.clip_grad_norm_(params, 1.0).item())
        optimizer.step()
        case["params"].append([p.tolist() for p in params])
    return case


if __name__ == "__main__":
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "optim", "optim.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        json.dump({"schedules": schedules(), "adamw": adamw()}, f)
        f.write("\n")

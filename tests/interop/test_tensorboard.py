"""The event files of a run, in TensorBoard's own reader."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def config_text(minilm, folder):
    return f'''
[model]
path = "{minilm}"
[data]
train = "{folder}/data/train.json"
dev = "{folder}/data/dev.json"
global_batch_samples = 4
[train]
steps = 6
[optim]
lr = 1e-4
[eval]
every = 3
[checkpoint]
dir = "{folder}/checkpoints"
[log]
tensorboard = "{folder}/board"
'''


def test_scalars_of_a_run_that_was_resumed(trireme, minilm, tmp_path):
    trireme.run("data", "synth", tmp_path / "data", "--train", 60, "--dev", 12)
    config = tmp_path / "run.toml"
    config.write_text(config_text(minilm, tmp_path))
    trireme.run("train", config, "--set", "train.stop_at=4")
    report = trireme.report("train", config, "--resume", tmp_path / "checkpoints")
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    tags = board.Tags()["scalars"]
    print("tags:", ", ".join(tags))
    losses = board.Scalars("train/loss")
    assert [event.step for event in losses] == list(range(1, 7))
    for event, loss in zip(losses, report["metrics"]["loss"]):
        assert event.value == pytest.approx(loss, rel=1e-6)
    assert {"train/lr", "train/grad_norm", "train/real_tokens_per_s", "eval/f1", "eval/em"} <= set(tags)
    scores = board.Scalars("eval/f1")
    assert scores[-1].step == 6
    assert scores[-1].value == pytest.approx(report["metrics"]["eval"]["f1"], rel=1e-6)

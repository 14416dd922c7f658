"""Our files in the official `safetensors` reader, its files here, and the same files refused by both."""

import json
import random
import struct
import subprocess

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import BUILD

PROBE = BUILD / "trireme_io_probe"
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
          "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool}


def probe(*arguments, code=0):
    done = subprocess.run([str(PROBE), *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert code is None or done.returncode == code, done.stderr + done.stdout
    return done


def tensors_of(seed):
    draw = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    out = {}
    for name, dtype in DTYPES.items():
        for shape in [(), (0,), (3,), (2, 0, 5), tuple(draw.randint(1, 7) for _ in range(draw.randint(1, 4)))]:
            values = torch.randint(0, 2 if dtype == torch.bool else 100, shape, generator=generator)
            out[f"{name}.{'x'.join(map(str, shape)) or 'scalar'}"] = values.to(dtype)
    return out


def as_bytes(tensor):
    return tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""


@pytest.mark.parametrize("seed", range(5))
def test_official_files_here_and_back(tmp_path, seed):
    tensors = tensors_of(seed)
    official, ours = tmp_path / "official.safetensors", tmp_path / "ours.safetensors"
    metadata = {"format": "pt", "naïve": "中国 \" \\ \n"}
    safetensors.torch.save_file(tensors, official, metadata=metadata)
    listed = json.loads(probe("list", official).stdout)
    assert listed["metadata"] == metadata
    assert {t["name"] for t in listed["tensors"]} == set(tensors)
    for entry in listed["tensors"]:
        tensor = tensors[entry["name"]]
        assert DTYPES[entry["dtype"]] == tensor.dtype
        assert entry["shape"] == list(tensor.shape)
        assert bytes.fromhex(entry["bytes"]) == as_bytes(tensor), entry["name"]
    probe("copy", official, ours)
    with safetensors.safe_open(ours, framework="pt") as file:
        assert file.metadata() == metadata
        assert set(file.keys()) == set(tensors)
        for name in file.keys():
            assert torch.equal(file.get_tensor(name), tensors[name]), name
            assert file.get_tensor(name).dtype == tensors[name].dtype


def test_sharded_folders_load(tmp_path):
    tensors = {f"w{i}": torch.randn(i + 1, 16) for i in range(40)}
    file, folder = tmp_path / "all.safetensors", tmp_path / "sharded"
    safetensors.torch.save_file(tensors, file)
    probe("shard", file, folder, 8 << 10)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"]) == set(tensors)
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in tensors.values())
    assert len(set(index["weight_map"].values())) > 3
    for name, shard in index["weight_map"].items():
        with safetensors.safe_open(folder / shard, framework="pt") as opened:
            assert torch.equal(opened.get_tensor(name), tensors[name])


def file_of(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


MALFORMED = {
    "empty": b"",
    "short": b"\x01\x00",
    "no header": struct.pack("<Q", 0),
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "huge header": struct.pack("<Q", 1 << 62) + b"{}",
    "not JSON": file_of(b"{nope"),
    "no object": file_of(b"[1]"),
    "bad UTF-8": file_of(b'{"a\xff": 1}'),
    "overlap": file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
    "hole": file_of({"a": entry(), "b": entry(offsets=(12, 20))}, bytes(20)),
    "out of range": file_of({"a": entry(offsets=(0, 8))}, bytes(4)),
    "backwards": file_of({"a": entry(offsets=(8, 0))}, bytes(8)),
    "size mismatch": file_of({"a": entry(shape=(3,))}, bytes(8)),
    "shape overflows": file_of({"a": entry(shape=(1 << 40, 1 << 40))}, bytes(8)),
    "unknown dtype": file_of({"a": entry(dtype="F31")}, bytes(8)),
    "bytes left over": file_of({"a": entry()}, bytes(9)),
    "negative shape": file_of({"a": entry(shape=(-2,))}, bytes(8)),
    "key missing": file_of({"a": {"dtype": "F32", "shape": [2]}}, bytes(8)),
}


@pytest.mark.parametrize("what", MALFORMED)
def test_malformed_files_are_refused_by_both(tmp_path, what):
    file = tmp_path / "bad.safetensors"
    file.write_bytes(MALFORMED[what])
    with pytest.raises(Exception):
        with safetensors.safe_open(file, framework="pt"):
            pass
    done = probe("list", file, code=2)
    assert "bad.safetensors" in json.loads(done.stdout)["error"]


def test_mutated_files_are_read_alike(tmp_path):
    """What the official reader takes, ours takes with the same content; what it refuses, ours refuses."""
    draw = random.Random(7)
    good = safetensors.torch.save({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4, dtype=torch.int8)})
    files = []
    for number in range(400):
        bad = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            bad[draw.randrange(len(bad) - 28)] = draw.choice(b'0123456789{}[]":,abFI \x00\xff')
        files.append(tmp_path / f"{number}.safetensors")
        files[-1].write_bytes(bad)
    lines = [json.loads(line) for line in probe("list", *files, code=None).stdout.splitlines()]
    assert len(lines) == len(files)
    taken = 0
    for file, ours in zip(files, lines):
        try:
            with safetensors.safe_open(file, framework="np") as opened:
                theirs = {name: np.asarray(opened.get_tensor(name)) for name in opened.keys()}
        except Exception:
            assert "error" in ours, file
            continue
        if "error" in ours:  # stricter than the official reader: a key twice, by name
            assert "twice" in ours["error"], (file, ours["error"])
            continue
        taken += 1
        assert {t["name"]: t["bytes"] for t in ours["tensors"]} == {n: v.tobytes().hex() for n, v in theirs.items()}
    print(f"{taken} of {len(files)} mutated files were taken by both")
    assert 0 < taken < len(files)

"""What the interop tests share: the built binary, the pretrained model, the data, a free port."""
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TRIREME_BUILD_DIR", ROOT / "build" / "release"))
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is fetched while tests run
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


class Trireme:
    """The built binary."""

    def __init__(self, binary, scratch):
        self.binary, self.scratch = binary, scratch

    def run(self, *arguments, code=0, timeout=300, **options):
        """Runs `trireme ARGUMENTS`, which must exit with `code`; returns the CompletedProcess with its text."""
        done = subprocess.run([str(self.binary), *map(str, arguments)], capture_output=True, text=True, timeout=timeout,
                              **options)
        assert done.returncode == code, f"trireme {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}"
        return done

    def report(self, *arguments, **options):
        """Runs `trireme ARGUMENTS --report FILE` and returns the object in the file."""
        file = self.scratch / "report.json"
        file.unlink(missing_ok=True)
        self.run(*arguments, "--report", file, **options)
        return json.loads(file.read_text())


@pytest.fixture
def trireme(tmp_path):
    binary = BUILD / "trireme"
    assert binary.is_file(), f"{binary} is not built (make build)"
    return Trireme(binary, tmp_path)


@pytest.fixture(scope="session")
def minilm():
    """The folder of the pretrained MiniLM-L6 that set-up fetched."""
    folder = ROOT / ".deps" / "models" / "minilm-l6"
    assert (folder / "model.safetensors").is_file(), f"no model in {folder} (make setup)"
    return folder


@pytest.fixture(scope="session")
def shared_data():
    """SQuAD 2.0 and other text that is not part of the repository."""
    folder = Path(os.environ.get("TRIREME_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no data in {folder} (set TRIREME_SHARED_DATA)")
    return folder


@pytest.fixture
def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

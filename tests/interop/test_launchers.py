"""The ranks started by launchers that are not ours: torchrun (PyTorch's elastic agent) and Open MPI's mpirun; and our
launcher on a terminal.

Needs the test binaries comm_rank and launch_main (built with the tests) in TRIREME_BUILD_DIR, default build/release.
"""
import os
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("TRIREME_BUILD_DIR", ROOT / "build" / "release"))
RANK = BUILD / "comm_rank"
LAUNCHER = BUILD / "launch_main"

pytestmark = pytest.mark.skipif(not RANK.exists(), reason=f"{RANK} is not built")

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node=3"]
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "3"]


def command_of(launcher):
    if launcher == "mpirun":
        if shutil.which("mpirun") is None:
            pytest.skip("no mpirun on this machine (Debian: openmpi-bin)")
        return MPIRUN
    return TORCHRUN + ([] if launcher == "torchrun" else ["--standalone"])


def environment(**more):
    env = {k: v for k, v in os.environ.items() if k not in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")}
    env.update(PYTHONDONTWRITEBYTECODE="1", TEST_JOIN_TIMEOUT_S="60", **more)
    return env


def run(launcher, *mode, **more):
    return subprocess.run([*command_of(launcher), RANK, *mode], env=environment(**more), text=True,
                          capture_output=True, timeout=150)


@pytest.mark.parametrize("launcher", ["torchrun", "torchrun --standalone", "mpirun"])
def test_ranks_meet(launcher):
    done = run(launcher, "sum")
    assert done.returncode == 0, done.stdout + done.stderr
    for rank in range(3):
        assert f"rank {rank} of 3 local {rank} of 3 threads 1 sum 6" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
def test_a_torch_module_trains_on_three_ranks(launcher):
    done = subprocess.run([*command_of(launcher), BUILD / "ddp_custom_module", "--zero", "1", "--steps", "60"],
                          env=environment(), text=True, capture_output=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]
    assert len(losses) == 4 and losses[-1] < 0.5 * losses[0], done.stdout


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
def test_a_rank_that_skips_a_collective_is_named(launcher):
    done = run(launcher, "skip", TEST_TIMEOUT_S="1.5")
    assert done.returncode != 0
    assert re.search(r"error: rank 2 \(host .*has not reached all_reduce #2 of world", done.stderr), done.stderr


@pytest.mark.parametrize("launcher", ["torchrun", "mpirun"])
def test_a_killed_rank_is_named_by_the_survivors(launcher):
    job = subprocess.Popen([*command_of(launcher), RANK, "loop-all"], env=environment(), text=True,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        pids = {}
        deadline = time.monotonic() + 120
        while len(pids) < 3 and time.monotonic() < deadline:
            ready = re.search(r"ready (\d) (\d+)", job.stdout.readline())
            if ready:
                pids[int(ready[1])] = int(ready[2])
        assert len(pids) == 3
        os.kill(pids[2], signal.SIGKILL)
        _, err = job.communicate(timeout=60)
    finally:
        job.kill()
        job.wait()
    assert f"rank 2 (host {os.uname().nodename}, pid {pids[2]}) died" in err, err
    assert job.returncode != 0


def test_a_port_in_use_under_mpirun_is_an_input_error():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        done = run("mpirun", "sum", MASTER_PORT=str(port))
    assert done.returncode == 2, done.stdout + done.stderr
    assert re.search(rf"error: port {port} on 127.0.0.1 is in use; .*MASTER_PORT", done.stderr), done.stderr


def read_terminal(terminal, seconds):
    """What is there within the time; empty when the terminal's last process has gone."""
    assert select.select([terminal], [], [], seconds)[0], f"nothing on the terminal for {seconds} s"
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""


def test_control_c_on_a_terminal_saves_and_ends_the_job():
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a job in the background has it ignored, and ignored it stays
        os.execve(LAUNCHER, [str(LAUNCHER), "2", "-", str(RANK), "loop-all"], environment())
    said = b""
    pids = {}
    try:
        while len(pids) < 2:
            more = read_terminal(terminal, 60)
            assert more, said
            said += more
            pids = {m[1]: int(m[2]) for m in re.finditer(rb"ready (\d) (\d+)\r", said)}
        os.write(terminal, b"\x03")
        while more := read_terminal(terminal, 60):
            said += more
    except BaseException:
        os.kill(pid, signal.SIGKILL)  # its ranks die with it
        os.waitpid(pid, 0)
        raise
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 3, said
    assert b"trireme launch: SIGINT: waiting for the ranks to save and stop" in said, said
    for rank in pids.values():
        with pytest.raises(ProcessLookupError):
            os.kill(rank, 0)

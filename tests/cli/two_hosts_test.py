"""Two hosts as two network namespaces, ranks 0, 1 | 2, 3, with a link of 1 Gbit/s each way between them."""

import json
import os
import shutil
import subprocess
import unittest

from program import PROGRAM, ProgramTest, environment

NAMES = [f"trireme-{os.getpid()}-{side}" for side in "ab"]
ADDRESSES = ["10.213.77.1", "10.213.77.2"]


def missing():
    if os.geteuid() != 0:
        return "needs root to make network namespaces"
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            return f"needs the program {tool} (Debian: iproute2)"
    probe = subprocess.run(["ip", "netns", "add", NAMES[0] + "-probe"], capture_output=True, text=True)
    if probe.returncode != 0:
        return f"cannot make network namespaces here: {probe.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", NAMES[0] + "-probe"], check=True)
    return ""


@unittest.skipIf(missing(), missing())
class TwoHosts(ProgramTest):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.remove_hosts)

        def ip(*words):
            subprocess.run(["ip", *words], check=True)

        for name in NAMES:
            ip("netns", "add", name)
        ip("link", "add", "link0", "netns", NAMES[0], "type", "veth", "peer", "name", "link0", "netns", NAMES[1])
        for name, address in zip(NAMES, ADDRESSES):
            ip("-n", name, "addr", "add", f"{address}/24", "dev", "link0")
            for device in ("lo", "link0"):
                ip("-n", name, "link", "set", device, "up")
            subprocess.run(["tc", "-n", name, "qdisc", "add", "dev", "link0", "root", "tbf", "rate", "1gbit", "burst",
                            "256kb", "latency", "50ms"], check=True)

    def remove_hosts(self):
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], check=False)

    def launch(self, *command, timeout=200):
        """The command as 2 ranks on each host; the finished launchers, host 0's first."""
        env = environment(TRIREME_JOB_TOKEN="two-hosts")
        running = []
        for number in (1, 0):
            words = ["ip", "netns", "exec", NAMES[number], PROGRAM, "launch", "-n", "2", "--nnodes", "2", "--node-rank",
                     str(number), "--rdzv-endpoint", f"{ADDRESSES[0]}:29577", "--", *map(str, command)]
            running.insert(0, subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        done = []
        for process in running:
            out, err = process.communicate(timeout=timeout)
            done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
        return done

    def test_shared_memory_in_the_host_and_the_network_between(self):
        report = self.folder / "bench.json"
        done = self.launch("bench", "allreduce", "--bytes", "32M", "--backends", "gloo,shm", "--seconds", "0.6", "--pool", "256M", "--report",
                           report)
        self.assertEqual([d.returncode for d in done], [0, 0], done[0].stderr + done[1].stderr)
        result = json.loads(report.read_text())
        self.assertEqual(result["world"]["backend"], "shm+gloo")
        self.assertEqual(result["world"]["hosts"], [[0, 1], [2, 3]])
        times = {(r["backend"], r["path"]): r["time_us"] for r in result["metrics"]["results"]}
        # A host sends the 32 MiB once; flat, its link carries half as much again. Bounds for a busy machine.
        self.assertGreater(times["gloo", "staged"] / times["shm", "arena"], 1.15, times)
        self.assertLess(times["shm", "arena"], 1.5e6 * (32 << 20) * 8 / 1e9, times)

    def test_training_is_that_of_one_process(self):
        _, alone = self.train()
        report = self.folder / "hosts.json"
        done = self.launch("train", self.config, "--report", report, "--set", "checkpoint.dir=")
        self.assertEqual([d.returncode for d in done], [0, 0], done[0].stderr + done[1].stderr)
        result = json.loads(report.read_text())
        self.assertEqual(result["world"]["backend"], "shm+gloo")
        for mine, theirs in zip(result["metrics"]["loss"], alone["metrics"]["loss"], strict=True):
            self.assertAlmostEqual(mine, theirs, delta=1e-4)


if __name__ == "__main__":
    unittest.main()

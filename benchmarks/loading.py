"""Memory and time of loading a model to train, whole and in parts: ``python benchmarks/loading.py``.

One process that loads SmolLM2-135M whole, in float32, and two ranks that read half of it each. Measured is each process's own memory
(unique set size), looked at every ten milliseconds, less what it had with everything imported and a tiny model loaded.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

MIB = 2**20


class Peak(threading.Thread):
    """The most memory of this process's own since it was started."""

    def __init__(self) -> None:
        import psutil

        super().__init__(daemon=True)
        self._process, self.running = psutil.Process(), True
        self.before = self.most = self.now()

    def now(self) -> int:
        """Bytes that would be free without this process."""
        return int(self._process.memory_full_info().uss)

    def run(self) -> None:
        while self.running:
            self.most = max(self.most, self.now())
            time.sleep(0.01)


def measure() -> None:
    """One process; prints its numbers."""
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from rltoolkit.model import SmolLM2, Tiny
    from rltoolkit.policy.loading import load_policy
    from rltoolkit.policy.sharded_loading import load_without_weights, read_weights

    ranks = int(os.environ.get("WORLD_SIZE", 1))
    model = Path(SmolLM2()(0))
    load_policy(Path(Tiny(skill_steps=0, habit_steps=0)(0)))
    if ranks > 1:
        dist.init_process_group("gloo")
    watch, start = Peak(), time.perf_counter()
    watch.start()
    if ranks == 1:
        policy = load_policy(model)
    else:
        parts = load_without_weights(model)
        assert parts is not None
        policy = parts
        mesh = init_device_mesh("cpu", (ranks,))
        for part in (*policy.decoder_layers, policy):
            fully_shard(part, mesh=mesh)
        read_weights(policy, torch.device("cpu"))
    seconds = time.perf_counter() - start
    watch.running = False
    peak, kept = ((each - watch.before) / MIB for each in (watch.most, watch.now()))
    print(f"{ranks} rank(s): at most {peak:.0f} MiB while it loads, {kept:.0f} MiB afterwards, {seconds:.1f} s", flush=True)
    if ranks > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        for start in ([sys.executable], two):
            subprocess.run([*start, __file__, "--measure"], check=True, stderr=subprocess.DEVNULL)

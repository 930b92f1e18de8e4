"""Memory of a weight sync on two ranks that hold half of the weights each: ``python benchmarks/gather.py``.

SmolLM2-135M in float32, sharded with FSDP2. The weights are gathered all at once, as an engine in the trainer's process would have
them, and in buckets, as ``weight_transfer`` sends them to servers: into files, and into the bodies of requests that go nowhere.
Measured as in loading.py: each process's own memory beyond what it had before, looked at every ten milliseconds.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from loading import MIB, Peak

BUCKET_MIB = 32


def measure() -> None:
    """One rank; prints its numbers."""
    import torch
    import torch.distributed as dist
    from torch import Tensor
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    from rltoolkit.model import SmolLM2
    from rltoolkit.policy.sharded_loading import load_without_weights, read_weights
    from rltoolkit.weight_transfer import HTTP, SharedFile, WeightTransfer

    dist.init_process_group("gloo")
    policy = load_without_weights(Path(SmolLM2()(0)))
    assert policy is not None
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    for part in (*policy.decoder_layers, policy):
        fully_shard(part, mesh=mesh)
    read_weights(policy, torch.device("cpu"))

    def at_once(weights: Iterator[tuple[str, Tensor]]) -> None:
        dict(weights)

    def through(transfer: WeightTransfer) -> Callable[[Iterator[tuple[str, Tensor]]], None]:
        def send(weights: Iterator[tuple[str, Tensor]]) -> None:
            if dist.get_rank() == 0:
                sender = transfer()
                for call in sender.calls(weights):
                    for _ in call.body:
                        pass
                sender.close()
            for _ in weights:
                pass

        return send

    ways = {name: through(kind(bucket_mib=BUCKET_MIB)) for name, kind in (("shared_file", SharedFile), ("http", HTTP))}
    ways |= {"at once": at_once}
    through(HTTP(bucket_mib=1))(policy.hf_weights())  # whatever is made once
    for name, send in ways.items():
        ctypes.CDLL(None).malloc_trim(0)  # what was freed counts as free
        dist.barrier()
        watch, start = Peak(), time.perf_counter()
        watch.start()
        send(policy.hf_weights())
        seconds = time.perf_counter() - start
        watch.running = False
        watch.join()
        print(f"{name}: rank {dist.get_rank()} at most {(watch.most - watch.before) / MIB:.0f} MiB, {seconds:.1f} s", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure()
    else:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, "--measure"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)

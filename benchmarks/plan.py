"""What ``rltoolkit.plan`` says of a trainer's memory, against what a process takes: ``python benchmarks/plan.py``.

Each row is a process of its own. It loads the policy, makes AdamW and computes two updates on rows that fill a micro-batch, every token
of them trained on. Measured is the largest resident memory, looked at every millisecond, less what the process had before it loaded
the model. On one CPU, in float32: no FSDP, no copy in another dtype.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time

TINY = ("preset=laptop", "model.skill_steps=0", "model.habit_steps=0")
SETTINGS = (
    (*TINY, "trainer.micro_batch_tokens=8192"),
    (*TINY, "trainer.micro_batch_tokens=32768"),
    (*TINY, "trainer.micro_batch_tokens=32768", "trainer.recompute=layer"),
    ("preset=smollm2", "trainer.compute_dtype=float32", "trainer.micro_batch_tokens=1024"),
    ("preset=smollm2", "trainer.compute_dtype=float32", "trainer.micro_batch_tokens=4096"),
    ("preset=smollm2", "trainer.compute_dtype=float32", "trainer.micro_batch_tokens=4096", "lora.rank=16"),
    ("preset=smollm2", "trainer.compute_dtype=float32", "trainer.micro_batch_tokens=4096", "trainer.recompute=layer"),
)


class Peak(threading.Thread):
    """Looks at this process's resident memory until it is stopped."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.going = True

    def run(self) -> None:
        """Until ``going`` is False."""
        import psutil

        process = psutil.Process()
        while self.going:
            self.bytes = max(self.bytes, process.memory_info().rss)
            time.sleep(0.001)


def measure(overrides: list[str]) -> None:
    """One row of the table."""
    import psutil
    import torch

    import rltoolkit
    from rltoolkit.plan import Machine, make_plan
    from rltoolkit.training.loading import load_model, load_trained_policy

    run = rltoolkit.load(*overrides)
    plan = make_plan(run, Machine(gpu=None, host=None))
    path = load_model(run)
    trainer, length = run.config.trainer, run.longest_row
    torch.ones(8, requires_grad=True).sum().backward()  # start the threads of autograd
    before = psutil.Process().memory_info().rss
    peak = Peak()
    peak.start()
    policy = load_trained_policy(run, path)
    optimizer = torch.optim.AdamW([each for each in policy.parameters() if each.requires_grad], fused=True)
    input_ids = torch.randint(plan.shape.vocabulary, (trainer.micro_batch_tokens // length, length))
    mask = torch.ones_like(input_ids, dtype=torch.bool)
    mask[:, 0] = False
    for _ in range(2):
        optimizer.zero_grad()
        for _ in range(2):  # the second micro-batch finds gradients there
            policy(input_ids, mask).log_probs.mean().backward()
        optimizer.step()
    peak.going = False
    peak.join()
    measured, planned = peak.bytes - before, plan.trainer.update
    name = " ".join(override for override in overrides if not override.startswith(("trainer.compute_dtype", "model.")))
    print(f"| {name} | {planned / 2**20:,.0f} | {measured / 2**20:,.0f} | {planned / measured:.2f} |")


def main() -> None:
    """All settings, or the one whose overrides are given."""
    overrides = argparse.ArgumentParser(description=__doc__).parse_known_args()[1]
    if overrides:
        measure(overrides)
        return
    print("| overrides | planned, MiB | measured, MiB | planned / measured |\n|---|---:|---:|---:|", flush=True)
    for setting in SETTINGS:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}  # what is freed is given back
        subprocess.run([sys.executable, __file__, *setting], check=True, env=environment)


if __name__ == "__main__":
    main()

"""Log-probs without the full logits: peak memory and time of the head's forward and backward, against the plain path.

    python benchmarks/chunked_head.py

Vocabulary 151,936, width 896 (Qwen2.5-0.5B's head), 4,096 response tokens, float32. Every measurement is a process of its own;
memory is the peak of the resident set above what stood before the forward pass. Paths are interleaved, medians of the repetitions.
"""

from __future__ import annotations

import csv
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

VOCABULARY, WIDTH, TOKENS = 151_936, 896, 4096
REPETITIONS = 2
PATHS = ("plain", "chunks of 2**25", "chunks of 2**26", "chunks of 2**27")


def main() -> None:
    """Print the table and write chunked_head.csv."""
    measured: dict[str, list[dict[str, float]]] = {path: [] for path in PATHS}
    for _ in range(REPETITIONS):
        for path in PATHS:
            done = subprocess.run([sys.executable, __file__, path], capture_output=True, text=True, check=True)
            measured[path].append(json.loads(done.stdout.splitlines()[-1]))
    plain = {name: statistics.median(each[name] for each in measured["plain"]) for name in ("gib", "seconds")}
    rows = []
    for path, repetitions in measured.items():
        gib, seconds = (statistics.median(each[name] for each in repetitions) for name in ("gib", "seconds"))
        rows.append({"path": path, "peak_gib": f"{gib:.2f}", "seconds": f"{seconds:.2f}",
                     "memory_ratio": f"{gib / plain['gib']:.3f}", "time_ratio": f"{seconds / plain['seconds']:.2f}"})  # fmt: skip
        print("  ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print("goals: memory ratio at most 0.25, time ratio at most 1.5")


def measure(path: str) -> dict[str, float]:
    """One forward and backward; what a parameter's gradient takes is part of both paths."""
    import torch
    from torch import nn

    from rltoolkit.policy.head import head_statistics

    torch.manual_seed(0)
    head = nn.Linear(WIDTH, VOCABULARY, bias=False)
    states = torch.randn(TOKENS, WIDTH, requires_grad=True)
    targets = torch.randint(VOCABULARY, (TOKENS,))
    advantages = torch.randn(TOKENS)
    head_statistics(states[:8], targets[:8], head, 1.0, chunk_logits=2**26)  # starts the thread pools
    before, start = _peak_gib(), time.perf_counter()
    if path == "plain":
        log_softmax = head(states).log_softmax(-1)
        log_probs = log_softmax.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
        with torch.no_grad():
            (-(log_softmax.exp() * log_softmax).sum(-1)).mean()
    else:
        log_probs, _ = head_statistics(states, targets, head, 1.0, chunk_logits=2 ** int(path.rpartition("**")[2]))
    (log_probs * advantages).sum().backward()
    return {"seconds": time.perf_counter() - start, "gib": _peak_gib() - before}


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1]))) if len(sys.argv) > 1 else main()

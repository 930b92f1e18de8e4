"""Orchestration: a whole rollout step of the laptop preset against its bare parts.

    python benchmarks/rollout_step.py [overrides]

The run's own step (refill, rewards, shaping, advantages, scoring, 16 optimizer steps under FSDP2, weight sync and its check, logs)
is timed by the clock of metrics.csv. The bare parts are the same number of tokens sampled by the same engine, and forward and
backward with AdamW on the same rows without Lightning, FSDP, scoring, rewards, filters or logs. Both in one session, interleaved.
"""

from __future__ import annotations

import csv
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hydra import compose as hydra_compose
from hydra import initialize_config_module

import rltoolkit.__main__  # noqa: F401  (quiets the libraries)
from rltoolkit import compose
from rltoolkit.model.loading import encode, load_policy, load_tokenizer
from rltoolkit.rollout_batch import row_lengths
from rltoolkit.training.run import encode_problems, load_problems, start_engine, training_sampling

STEPS = 4
REPETITIONS = 2
BASE = ["+experiment=grpo", f"trainer.max_steps={16 * STEPS}", "evaluation.every=0", "evaluation.problems=1", "evaluation.k=1"]


def main() -> None:
    """Print the table and write rollout_step.csv."""
    overrides = [*BASE, *sys.argv[1:]]
    rows = []
    for repetition in range(REPETITIONS):
        ours = statistics.median(time_run(overrides))
        generation, update = time_parts(overrides)
        rows.append({"repetition": repetition, "rollout_step": ours, "generation": generation, "update": update,
                     "ratio": ours / (generation + update)})  # fmt: skip
        print("  ".join(f"{name} {value:.3f}" for name, value in rows[-1].items()), flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    print(f"median ratio {statistics.median(row['ratio'] for row in rows):.2f}; goal at most 1.3")


def time_run(overrides: list[str]) -> list[float]:
    """Seconds of each rollout step of a real run but the first, which warms caches up."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "rltoolkit", *overrides, f"hydra.run.dir={folder}"], check=True, capture_output=True
        )
        with (Path(folder) / "metrics.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
    ends = {int(row["rollout_step"]): float(row["seconds"]) for row in table}
    return [ends[step] - ends[step - 1] for step in sorted(ends)[1:]]


def time_parts(overrides: list[str]) -> tuple[float, float]:
    """Median seconds of sampling one rollout step, and of forward, backward and AdamW on its mini-batches."""
    import torch

    compose.publish()
    with initialize_config_module("rltoolkit.conf", version_base=None):
        cfg = hydra_compose("config", overrides=overrides)
    components, _ = compose.validate(cfg)
    model_path = components.model(cfg.seed)
    tokenizer, policy = load_tokenizer(model_path), load_policy(model_path)
    train_problems, _ = load_problems(cfg, components)
    problems = encode_problems(train_problems, lambda each: encode(tokenizer, each.messages, components.model.chat), 24)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True)
    engine = start_engine(cfg, components, model_path)
    generation, update = [], []
    for step in range(STEPS):
        first = step * cfg.prompts_per_step
        chunk = [problem.tokens for problem in problems[first : first + cfg.prompts_per_step]]
        start = time.perf_counter()
        rollouts = engine.generate(chunk, cfg.group_size, training_sampling(cfg), list(range(first, first + len(chunk))))
        generation.append(time.perf_counter() - start)
        start = time.perf_counter()
        for rows in rollouts.select("input_ids", "response_mask").reshape(-1).split(cfg.mini_batch_size):
            longest = int(row_lengths(rows).max())
            policy(rows["input_ids"][:, :longest], rows["response_mask"][:, :longest]).log_probs.sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        update.append(time.perf_counter() - start)
    engine.close()
    return statistics.median(generation[1:]), statistics.median(update[1:])


if __name__ == "__main__":
    main()

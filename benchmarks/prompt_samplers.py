"""What a prompt sampler costs, and what it saves on simulated pass rates.

    python benchmarks/prompt_samplers.py [--output FILE.csv]    # quarter of a minute

First table: ``order`` and ``observe`` of one rollout step, and the size of the state in a checkpoint. A step needs P = 512 groups,
may sample 5,120 and does sample 1,000; before it, twenty such steps were observed. Processor time, medians of five.

Second table: groups sampled for each one kept by dynamic sampling, in stream order and without surplus, and the share of the task
that was ever asked: 4,000 problems, P = 128, steps 101 to 200 (about seven passes with ``shuffled``). Each of 16 responses is right
with probability 1 / (1 + exp(-x - t / 100)) in rollout step t, x normal with mean -0.5 and standard deviation 2.5. So the policy
learns at a steady pace whatever is asked: what a sampler saves here it saves by guessing right. Only a training run shows what
it teaches.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rltoolkit import registry
from rltoolkit.prompt_sampler import LearningPromptSampler
from rltoolkit.prompt_sampler._unlearned import learning

P, G, LIMIT, SAMPLED = 512, 16, 5120, 1000
SIZES = (17_000, 1_000_000)


def make(name: str, prompts_per_step: int) -> LearningPromptSampler:
    """A registered sampler; those that learn nothing are driven as the collector does it."""
    fields = registry.get("prompt_sampler", name).__dataclass_fields__
    return learning(
        registry.build("prompt_sampler", name, **({"prompts_per_step": prompts_per_step} if "prompts_per_step" in fields else {}))
    )


class Policy:
    """Answers each problem with a pass rate that rises from step to step."""

    def __init__(self, size: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._x = self._random.normal(-0.5, 2.5, size)

    def correct(self, problems: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """Right responses of G."""
        return self._random.binomial(G, 1 / (1 + np.exp(-self._x[problems] - step / 100)))


def cost(name: str, size: int, steps: int = 25) -> dict[str, Any]:
    """Of one rollout step, on a state that has seen some."""
    sampler, policy = make(name, P), Policy(size, seed=0)
    state, milliseconds = sampler.start(size, 0), {"order": list[float](), "observe": list[float]()}
    for step in range(steps):
        start = time.process_time()
        order = sampler.order(state, LIMIT)
        ordered = time.process_time()
        problems = order[:SAMPLED]
        correct = policy.correct(problems, step)
        observing = time.process_time()
        state = sampler.observe(state, problems, correct, np.full(len(problems), G))
        milliseconds["order"].append(1e3 * (ordered - start))
        milliseconds["observe"].append(1e3 * (time.process_time() - observing))
    megabytes = sum(array.nbytes for array in state.values()) / 1e6
    return {
        "prompts": size,
        **{name: statistics.median(times[20:]) for name, times in milliseconds.items()},
        "megabytes": megabytes,
    }


def simulated(name: str, size: int, prompts_per_step: int, steps: int) -> dict[str, float]:
    """Groups sampled for each one kept in the last half of the steps, and the share of the problems asked."""
    sampler, policy = make(name, prompts_per_step), Policy(size, seed=1)
    state, asked, sampled, kept = sampler.start(size, 0), np.zeros(size, dtype=bool), 0, 0
    for step in range(steps):
        order = sampler.order(state, 10 * prompts_per_step)
        correct = policy.correct(order, step)
        mixed = (correct > 0) & (correct < G)
        end = np.searchsorted(np.cumsum(mixed), prompts_per_step) + 1  # the step ends with the P-th group kept
        asked[order[:end]] = True
        state = sampler.observe(state, order[:end], correct[:end], np.full(len(order[:end]), G))
        if step >= steps // 2:
            sampled, kept = sampled + len(order[:end]), kept + int(mixed[:end].sum())
    return {"groups_per_kept_group": sampled / max(kept, 1), "asked": asked.mean()}


def main() -> None:
    """Print both tables; write them to a file where one is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path)
    arguments = parser.parse_args()
    rows = []
    for name in registry.names("prompt_sampler"):
        row: dict[str, Any] = {"sampler": name}
        for size in SIZES:
            measured = cost(name, size)
            row |= {f"{key}_{size}": round(measured[key], 2) for key in ("order", "observe", "megabytes")}
        row |= {key: round(float(value), 3) for key, value in simulated(name, size=4000, prompts_per_step=128, steps=200).items()}
        print("  ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        rows.append(row)
    if arguments.output:
        with arguments.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()

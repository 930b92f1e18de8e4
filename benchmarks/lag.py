"""Sampling that runs ahead against sampling in turn: the collector and its thread are real, the engine and training only take time.

    python benchmarks/lag.py [--steps 8] [--seconds 4]

The engine finishes the 32 groups of a rollout step one after another, half of them rejected; training sleeps, as a process does that
waits for its GPU. ``sampling`` and ``training`` are their seconds for a rollout step. Without lag a step takes their sum; with it, at
best, the larger of the two, and the run once the smaller, while nothing is ready or nothing is left to sample. ``of_ideal`` is the
time of the whole run over that.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from refill import make_collector, simulated_group
from tensordict import TensorDict

from rltoolkit.collector import LaggedCollector
from rltoolkit.rollout_engine.base import Sampling

PROMPTS = 32
RATIOS = ((1, 4), (1, 2), (1, 1), (2, 1), (4, 1))
"""sampling : training"""


class PacedEngine:
    """Finishes a group every ``seconds``, every other one without a right response."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.version = seconds, 0

    @contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[PacedEngine]:
        """See ``RolloutEngine.stream``."""
        self.waiting: list[int] = []
        self.due = time.perf_counter()
        yield self

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``."""

    def submit(self, keys: Sequence[int], prompts: object = (), seeds: object = (), first: int = 0) -> None:
        """See ``RolloutStream.submit``."""
        self.waiting += keys

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict]:
        """See ``RolloutStream.next_finished``. The pace does not slip when the collector is late."""
        key = self.waiting.pop(0)
        self.due += self.seconds
        time.sleep(max(self.due - time.perf_counter(), 0.0))
        return [key], simulated_group(key % 2 == 0, self.version).unsqueeze(0)


def seconds_of_a_run(lag: int, sampling: float, training: float, steps: int) -> float:
    """Of so many rollout steps, each of which takes these seconds on either side."""
    engine = PacedEngine(sampling / (2 * PROMPTS))
    collector = make_collector(engine, PROMPTS, carry_surplus=False)
    ahead = LaggedCollector(collector, lag=lag, rollout_steps=steps, in_background=True)
    start = time.perf_counter()
    for version in range(1, steps + 1):
        ahead.accept(ahead.sample())
        time.sleep(training)
        ahead.settle()
        engine.version = version
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=8, help="rollout steps of a run")
    parser.add_argument("--seconds", type=float, default=4.0, help="of sampling and training a rollout step together")
    chosen = parser.parse_args()
    rows = []
    for parts in RATIOS:
        sampling, training = (chosen.seconds * part / sum(parts) for part in parts)
        ideal = chosen.steps * max(sampling, training) + min(sampling, training)
        in_turn, ahead = (seconds_of_a_run(lag, sampling, training, chosen.steps) for lag in (0, 1))
        rows.append(
            {
                "sampling": f"{sampling:.3g}",
                "training": f"{training:.3g}",
                "in_turn": f"{in_turn:.2f}",
                "ahead": f"{ahead:.2f}",
                "ideal": f"{ideal:.2f}",
                "of_ideal": f"{ahead / ideal:.3f}",
            }
        )
        print(rows[-1], flush=True)
    with Path(__file__).with_suffix(".csv").open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    main()

"""The command line as a user runs it, on a model whose warm start takes seconds."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = [
    "model.skill_steps=20", "model.habit_steps=5", "prompts_per_step=8", "group_size=4", "mini_batch_size=16",
    "evaluation.problems=8", "evaluation.k=2", "evaluation.every=0", "collector.at_limit=fill_with_rejected",
    "collector.max_generation_batches=2", "trainer.checkpoint_every=1",
]  # fmt: skip

# Hardly one answer in a hundred is right after so short a warm start. With 16 responses to each of three prompts that ask for small
# sums, a group in five has a right one and is kept, so a rollout step goes on sampling until it has its three.
REFILL = [
    "+experiment=dapo", "task.max_operands=2", "task.max_operand=4", "task.eval_size=4", "prompts_per_step=3", "group_size=16",
    "mini_batch_size=24", "collector.max_generation_batches=20", "sampling.max_new_tokens=24", "cache_length=18",
]  # fmt: skip


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def command(cache):
    """``command(*overrides) -> CompletedProcess`` of ``python -m rltoolkit`` in a process of its own."""

    def run(*overrides: object, module: str = "rltoolkit", small: bool = True, start: bool = False, **options):
        arguments = [sys.executable, "-m", module, *(SMALL if small else []), *map(str, overrides)]
        environment = {**os.environ, "RLTOOLKIT_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
        if start:
            return subprocess.Popen(
                arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
            )
        return subprocess.run(arguments, env=environment, capture_output=True, text=True, check=False, timeout=600, **options)

    return run


def assert_refill_was_at_work(rows: list[dict[str, str]]) -> None:
    """Of a run with ``REFILL``: every group trained on passed the filter, others did not, and some were left for a later step."""
    assert all(row["kept_groups"] == "3" and row["filled_groups"] == "0" for row in rows)
    assert sum(int(row["rejected_all_wrong"]) for row in rows) > 0
    assert sum(int(row["carried_in"]) for row in rows) > 0


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))

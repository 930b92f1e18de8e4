"""What the benchmarks share: a real run of rltoolkit in a process of its own, timed by its metrics.csv."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rltoolkit.command_line import prepare

prepare([])  # quiets the libraries

UNEVALUATED = ["evaluation.every=0", "evaluation.problems=1", "evaluation.k=1"]


def rollout_steps(overrides: Sequence[str]) -> list[dict[str, float]]:
    """Seconds and tokens of each rollout step of a run but the first, which warms caches up.

    ``seconds`` is the run's own clock, which stops for evaluations and checkpoints; the other entries that begin with it are
    its parts.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rltoolkit", *overrides, f"hydra.run.dir={folder}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{' '.join(command)}\nfailed:\n{(done.stdout + done.stderr)[-3000:]}")
        with (Path(folder) / "metrics.csv").open(newline="") as file:
            table = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    steps: dict[float, list[dict[str, float]]] = {}
    for row in table:
        steps.setdefault(row["rollout_step"], []).append(row)
    ends = [rows[-1]["seconds"] for rows in steps.values()]
    return [
        {
            "seconds": end - before,
            "seconds_generation": rows[0]["seconds_generation"],
            "seconds_score": rows[0]["seconds_score"],
            "seconds_updates": sum(row["seconds_update"] for row in rows),
            "seconds_sync": rows[-1]["seconds_sync"],
            "seconds_parity": rows[-1]["seconds_parity"],
            "generated_tokens": rows[0]["generated_tokens"],
            "response_length": rows[0]["sampled_response_length"],
        }
        for before, end, rows in zip(ends, ends[1:], list(steps.values())[1:], strict=False)
    ]


def write_csv(script: str, rows: list[dict]) -> None:
    """Write the rows beside the script that measured them."""
    with Path(script).with_suffix(".csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)

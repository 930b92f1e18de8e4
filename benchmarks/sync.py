"""Weights to the engine and the check that they arrived: seconds, and the share of a rollout step.

    python benchmarks/sync.py

SmolLM2-135M, rollout steps of 8 x 8 responses with one update, from the columns of metrics.csv: vLLM in the trainer's process
(weights pass by reference) and in one of its own (through a file in shared memory).
"""

from __future__ import annotations

import statistics

from real_run import UNEVALUATED, rollout_steps, write_csv

STEPS = 5
BASE = ["+experiment=grpo", "preset=smollm2", f"trainer.max_steps={STEPS}", "trainer.checkpoint_every=1000", *UNEVALUATED]


def main() -> None:
    """Print the table and write sync.csv."""
    rows = []
    for process in ("in-process", "subprocess"):
        steps = rollout_steps([*BASE, f"rollout_engine.subprocess={process == 'subprocess'}"])
        row: dict[str, object] = {"engine": process}
        names = ("seconds_sync", "seconds_parity", "seconds")
        sync, parity, whole = (statistics.median(step[name] for step in steps) for name in names)
        row |= {
            "sync": round(sync, 3),
            "parity": round(parity, 3),
            "step": round(whole, 2),
            "parity_share": round(parity / whole, 4),
        }
        rows.append(row)
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    write_csv(__file__, rows)
    print("goals: sync below 1 s, parity below 2 % of a step")


if __name__ == "__main__":
    main()

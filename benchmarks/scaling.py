"""How a rollout step's time grows with its tokens: 1k to 64k of them.

    python benchmarks/scaling.py

The laptop preset with ever more prompts in a rollout step, one update each, at learning rate 0, so that lengths stay what they
are. ``generated_tokens`` are sampled ones; prompts come on top of them. A step that costs the same for each token has the same
last column.
"""

from __future__ import annotations

import statistics

from real_run import UNEVALUATED, rollout_steps, write_csv

STEPS = 4
PROMPTS = (16, 64, 256, 1000)
"""in a rollout step, 8 responses of about 8 tokens to each"""


def main() -> None:
    """Print the table and write scaling.csv."""
    rows = []
    for prompts in PROMPTS:
        steps = rollout_steps([
            "+experiment=grpo", f"prompts_per_step={prompts}", f"mini_batch_size={8 * prompts}", f"trainer.max_steps={STEPS}",
            "optimizer.learning_rate=0", "trainer.checkpoint_every=1000", "trainer.old_log_probs=trainer", *UNEVALUATED,
        ])  # fmt: skip
        row = {name: statistics.median(step[name] for step in steps) for name in steps[0]}
        row |= {"prompts": prompts, "milliseconds_per_token": 1000 * row["seconds"] / row["generated_tokens"]}
        rows.append(row)
        print("  ".join(f"{name} {value:.4g}" for name, value in row.items()), flush=True)
    write_csv(__file__, rows)


if __name__ == "__main__":
    main()

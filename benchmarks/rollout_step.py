"""Orchestration: a whole rollout step against its bare parts, on the same tokens.

    python benchmarks/rollout_step.py [--cases laptop ...]

The step is the run's own: refill, rewards, advantages, scoring of old log-probs, optimizer steps under Lightning, weight sync and
its check, logs. The bare parts are the same prompts sampled by the same engine with the same seeds, and forward, backward, gradient
clipping and AdamW on the same mini-batches, in a loop of a few lines. The learning rate is 0, so that both sample the same
responses in every step. Sides take turns; each measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

from real_run import UNEVALUATED, rollout_steps, write_csv

STEPS = 5
STILL = [*UNEVALUATED, "optimizer.learning_rate=0", "optimizer.weight_decay=0", "trainer.checkpoint_every=1000"]
CASES = {
    "laptop, 16 updates": ["+experiment=grpo", f"trainer.max_steps={16 * STEPS}"],
    "laptop, 16 updates, old log-probs from the engine": [
        "+experiment=grpo", f"trainer.max_steps={16 * STEPS}", "trainer.old_log_probs=engine"],
    "laptop, 1 update": ["+experiment=grpo", "mini_batch_size=512", f"trainer.max_steps={STEPS}"],
    "SmolLM2-135M, 1 update": ["+experiment=grpo", "preset=smollm2", f"trainer.max_steps={STEPS}"],
}  # fmt: skip


def main() -> None:
    """Print the table and write rollout_step.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repetitions", type=int, default=2)
    parser.add_argument("--bare", help=argparse.SUPPRESS)  # the bare parts of one case, in a process of their own
    asked = parser.parse_args()
    if asked.bare:
        print(json.dumps(time_parts([*CASES[asked.bare], *STILL])))
        return
    rows = []
    for repetition in range(asked.repetitions):
        for case in asked.cases:
            ours = rollout_steps([*CASES[case], *STILL])
            done = subprocess.run([sys.executable, __file__, "--bare", case], capture_output=True, text=True, check=True)
            bare = json.loads(done.stdout.splitlines()[-1])
            if bare["tokens"] != [step["generated_tokens"] for step in ours]:
                sys.exit(f"{case}: the bare engine sampled {bare['tokens']} tokens, the run {ours}")
            row = {"case": case, "repetition": repetition}
            row |= {name: statistics.median(step[name] for step in ours) for name in ours[0]}
            row |= {name: statistics.median(bare[name]) for name in ("bare_sampling", "bare_updates")}
            row["ratio"] = row["seconds"] / (row["bare_sampling"] + row["bare_updates"])
            rows.append(row)
            print("  ".join(f"{name} {value:.3f}" if isinstance(value, float) else str(value) for name, value in row.items()))
            write_csv(__file__, rows)
    for case in asked.cases:
        ratio = statistics.median(row["ratio"] for row in rows if row["case"] == case)
        print(f"{case}: median ratio {ratio:.2f}; goal at most 1.10")


def time_parts(overrides: list[str]) -> dict[str, list[float]]:
    """Seconds of sampling each rollout step but the first, and of forward, backward and AdamW on its mini-batches."""
    import torch
    from lightning.fabric.utilities.seed import seed_everything

    import rltoolkit
    from rltoolkit.collector import PromptStream
    from rltoolkit.policy.loading import load_policy
    from rltoolkit.training.loading import encode, load_model, load_problems, start_engine

    run = rltoolkit.load(*overrides)
    config = run.config
    seed_everything(config.seed, verbose=False)
    model_path = load_model(run)
    policy = load_policy(model_path)
    if config.trainer.compute_dtype == "bfloat16":
        policy = policy.bfloat16()
    problems = encode(run, load_problems(run, run.components.task, "train"), model_path, "training")
    stream = PromptStream(problems, run.components.prompt_sampler, config.seed)
    stream.begin_step(stream.start(), 0, STEPS * config.prompts_per_step)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.0, weight_decay=0.0, fused=True)
    engine = start_engine(run, model_path)
    budget = max(config.trainer.micro_batch_tokens // (config.sampling.max_prompt_tokens + config.sampling.max_new_tokens), 1)
    times: dict[str, list[float]] = {"bare_sampling": [], "bare_updates": [], "tokens": []}
    for step in range(STEPS):
        positions = range(step * config.prompts_per_step, (step + 1) * config.prompts_per_step)
        prompts = [stream.problem_at(position).tokens for position in positions]
        start = time.perf_counter()
        seeds = [stream.seed_at(position) for position in positions]
        rollouts = engine.generate(prompts, config.group_size, config.sampling.sampling, seeds)
        sampled = time.perf_counter()
        for rows in rollouts.select("input_ids", "response_mask").reshape(-1).split(config.mini_batch_size):
            for part in rows.split(max(budget, config.group_size)):
                policy(part["input_ids"], part["response_mask"], config.sampling.temperature).log_probs.sum().backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        times["bare_sampling"].append(sampled - start)
        times["bare_updates"].append(time.perf_counter() - sampled)
        times["tokens"].append(int(rollouts["response_mask"].sum()))
    engine.close()
    return {name: values[1:] for name, values in times.items()}


if __name__ == "__main__":
    main()

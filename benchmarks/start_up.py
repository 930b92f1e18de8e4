"""How long it takes until something happens: imports, help, the first rollout step.

    python benchmarks/start_up.py

Each command is a process of its own; medians of three.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

from real_run import UNEVALUATED, write_csv

REPETITIONS = 3
TRAIN = ["+experiment=grpo", "mini_batch_size=512", "trainer.max_steps=1", *UNEVALUATED]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import one component": ["-c", "from rltoolkit.clip_strategy import ClipHigher"],
    "python -m rltoolkit --help": ["-m", "rltoolkit", "--help"],
    "a value out of range is refused": ["-m", "rltoolkit", "clip_strategy=clip_higher", "clip_strategy.epsilon_low=2"],
    "a component that is not there is refused": ["-m", "rltoolkit", "clip_strategy=clip_hihger"],
    "vLLM started, one rollout step sampled and trained, bare": [__file__, "--bare"],
    "a run of one rollout step, transformers engine": ["-m", "rltoolkit", *TRAIN, "rollout_engine=transformers"],
    "a run of one rollout step, vLLM": ["-m", "rltoolkit", *TRAIN],
}


def main() -> None:
    """Print the table and write start_up.csv."""
    if "--bare" in sys.argv:
        sample_and_update()
        return
    rows = []
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(REPETITIONS):
            with tempfile.TemporaryDirectory() as folder:
                own = [f"hydra.run.dir={folder}"] if "+experiment=grpo" in arguments else []
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments, *own], check="refused" not in name, capture_output=True)
                seconds.append(time.perf_counter() - start)
        rows.append({"what": name, "seconds": round(statistics.median(seconds), 2)})
        print(f"{name:60}  {rows[-1]['seconds']:6.2f} s", flush=True)
    write_csv(__file__, rows)
    seconds_of = {row["what"]: row["seconds"] for row in rows}
    ratio = seconds_of["a run of one rollout step, vLLM"] / seconds_of["vLLM started, one rollout step sampled and trained, bare"]
    print(f"a run of one rollout step with vLLM takes {ratio:.2f} times its bare parts; goal at most 1.3")


def sample_and_update() -> None:
    """The bare parts of the last command: no Lightning, no collector, no files; the same prompts, tokens and update."""
    import torch

    import rltoolkit
    from rltoolkit.collector import PromptStream
    from rltoolkit.policy.loading import load_policy
    from rltoolkit.training.loading import encode, load_model, load_problems, start_engine

    run = rltoolkit.load(*TRAIN)
    config, model_path = run.config, load_model(run)
    problems = encode(run, load_problems(run, run.components.task, "train"), model_path, "training")
    stream = PromptStream(problems, run.components.prompt_sampler, config.seed)
    stream.begin_step(stream.start(), 0, config.prompts_per_step)
    engine, policy = start_engine(run, model_path), load_policy(model_path)
    positions = range(config.prompts_per_step)
    prompts = [stream.problem_at(position).tokens for position in positions]
    seeds = [stream.seed_at(position) for position in positions]
    rollouts = engine.generate(prompts, config.group_size, config.sampling.sampling, seeds)
    optimizer = torch.optim.AdamW(policy.parameters(), fused=True)
    for rows in rollouts.select("input_ids", "response_mask").reshape(-1).split(64):
        policy(rows["input_ids"], rows["response_mask"]).log_probs.sum().backward()
    optimizer.step()
    engine.close()


if __name__ == "__main__":
    main()

"""Against a peer: one training step of rltoolkit and one of TRL's GRPOTrainer, on the CPU.

    python3 -m venv build/trl && build/trl/bin/python -m pip install -r benchmarks/trl/requirements.txt
    python benchmarks/trl_step.py --trl-python build/trl/bin/python [--cases tiny] [--repetitions 3] [--steps 2]

Both sides train the same model on the same prompts in the same order, with the same verifier, group size, token limit and learning
rate: GRPO's advantages, the token-mean loss, epsilon 0.2, no KL, one AdamW step without weight decay for each batch of P x G
responses. A step is all of it: generation, rewards, scoring, forward and backward, AdamW, and for rltoolkit the weights' way to the
engine and the check that they arrived. Tokens are sampled on both sides, so lengths differ by chance; the table shows them.

- rltoolkit is the real command line; its clock is the column ``seconds`` of metrics.csv (generation, update, sync and its check).
- TRL samples with transformers' ``generate``, its default: its vLLM server takes its weights over NCCL, which a CPU has not. Its
  clock runs from the end of one optimizer step to the end of the next. It has what was fastest for it here: no gradient
  checkpointing (on by default; costs a second forward), micro-batches as in CASES (SmolLM2: 1 to 8 rows took the same time, 16
  more), no scoring pass (aligned batches need none), no continuous batching (several times slower on the tiny model).
- In bfloat16 both keep float32 master weights and compute in bfloat16 (FSDP2's mixed precision; autocast). TRL is also measured
  with bfloat16 weights and nothing else, which saves the casts and keeps no master weights.
- ``smollm2_48_tokens`` trains a copy of the model whose end-of-sequence token is one that it was never trained on and that it
  gives a probability of about 1e-8, so that every response has exactly 48 tokens on both sides; the column "length" proves it.

Every measurement is a process of its own with one warm-up step, the sides take turns, and medians are printed. Run it on a quiet
machine: threads that wait for a busy core made TRL's steps up to ten times slower. All steps go to trl_step.csv; those of cases
that are not measured this time stay there, and in the table.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from itertools import groupby, product
from pathlib import Path
from typing import Any, NamedTuple

from real_run import UNEVALUATED, rollout_steps, write_csv

import rltoolkit
from rltoolkit.component import name_of
from rltoolkit.model.smollm2_135m import SmolLM2
from rltoolkit.policy.loading import load_tokenizer
from rltoolkit.training.loading import encode, load_model, load_problems

HERE = Path(__file__).parent
Row = dict[str, Any]

COMMON = [
    "loss_aggregator=token_mean", "optimizer.learning_rate=1e-6", "optimizer.weight_decay=0", "optimizer.warmup_optimizer_steps=0",
    "optimizer.warmup_rollout_steps=0", "trainer.checkpoint_every=1000", *UNEVALUATED,
]  # fmt: skip
SMOLLM2 = ["preset=smollm2", "group_size=8"]
MEASURED = ("seconds", "response_length", "generated_tokens")
FLOAT32 = ["rollout_engine.dtype=float32", "trainer.compute_dtype=float32"]


TRL = {"weights": "float32", "autocast": False, "micro_batch": 2}


class Case(NamedTuple):
    """What is trained: a run of rltoolkit as overrides, from which TRL's settings are read off."""

    overrides: list[str]
    systems: dict[str, list[str] | Row]
    """rltoolkit's as further overrides, TRL's as settings of trl/grpo_step.py"""
    steps: int = 2
    """measured in each process"""
    endless: bool = False
    """train the copy of SmolLM2 that never samples its end-of-sequence token"""


CASES = {
    "smollm2_float32": Case(
        [*SMOLLM2, *FLOAT32, "prompts_per_step=8", "mini_batch_size=64", "sampling.max_new_tokens=192"],
        {"rltoolkit": [], "TRL": TRL},
    ),
    "smollm2_bfloat16": Case(
        [*SMOLLM2, "prompts_per_step=8", "mini_batch_size=64", "sampling.max_new_tokens=192"],
        {"rltoolkit": [], "TRL, autocast": TRL | {"autocast": True}, "TRL, bfloat16 weights": TRL | {"weights": "bfloat16"}},
    ),
    "smollm2_48_tokens": Case(
        [*SMOLLM2, *FLOAT32, "prompts_per_step=4", "mini_batch_size=32", "sampling.max_new_tokens=48"],
        {"rltoolkit": [], "TRL": TRL},
        endless=True,
    ),
    "tiny": Case(
        ["preset=laptop", "mini_batch_size=512", "model.warm_start_seed=0"],  # the same model for all seeds
        {
            "rltoolkit": [],
            "rltoolkit, transformers engine": ["rollout_engine=transformers"],
            "TRL": TRL | {"micro_batch": 128},
        },
        steps=5,
    ),
}


def main() -> None:
    """Measure, write trl_step.csv as it grows, print the table."""
    arguments = parse_arguments()
    rows = [row for row in earlier_rows() if row["case"] not in arguments.cases]
    with tempfile.TemporaryDirectory() as scratch:
        for repetition, name in product(range(arguments.repetitions), arguments.cases):
            case = CASES[name]
            steps = arguments.steps or case.steps
            overrides = [*case.overrides, *COMMON, f"seed={repetition}", f"trainer.max_steps={steps + 1}"]
            if case.endless:
                overrides += ["model=hf", f"model.name_or_path={endless_copy(Path(scratch, 'endless'))}"]
            systems = list(case.systems.items())
            for system, own in systems if repetition % 2 == 0 else reversed(systems):
                if isinstance(own, list):
                    measured = [{name: step[name] for name in MEASURED} for step in rollout_steps([*overrides, *own])]
                else:
                    measured = time_trl(arguments.trl_python, trl_settings(overrides) | own)
                key = {"case": name, "system": system, "repetition": repetition}
                rows += [{**key, "step": step, **row} for step, row in enumerate(measured, start=1)]
                write_csv(__file__, rows)
                print(f"{repetition}  {name:18}  {system:30}  {median(measured, 'seconds'):7.2f} s a step", flush=True)
    print_table(rows)


def earlier_rows() -> list[Row]:
    """What trl_step.csv holds, where there is one."""
    path = Path(__file__).with_suffix(".csv")
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [
            {name: value if name in ("case", "system") else float(value) for name, value in row.items()}
            for row in csv.DictReader(file)
        ]


def time_trl(python: Path, settings: Row) -> list[Row]:
    """The same of GRPOTrainer."""
    paths = {"PYTHONPATH": str(HERE.parent), "HF_HUB_OFFLINE": "1"}
    return json.loads(run([str(python), str(HERE / "trl" / "grpo_step.py")], json.dumps(settings), paths).splitlines()[-1])


def trl_settings(overrides: list[str]) -> Row:
    """What a run of rltoolkit with these overrides trains on, for TRL: numbers, model, and its prompts in their order."""
    run = rltoolkit.load(*overrides)
    config, components, chat = run.config, run.components, run.components.model.chat
    model_path, problems = load_model(run), load_problems(run, run.components.task, "train")
    encoded = encode(run, problems, model_path, "training")
    order = components.prompt_sampler(len(encoded), 0, config.seed)[: run.plan.rollout_steps * config.prompts_per_step].tolist()

    def prompt(messages: Iterable[tuple[str, str]]) -> Any:
        return [{"role": role, "content": text} for role, text in messages] if chat else "".join(text for _, text in messages)

    return {
        "model_path": str(model_path),
        "seed": config.seed,
        "prompts_per_step": config.prompts_per_step,
        "group_size": config.group_size,
        "max_new_tokens": config.sampling.max_new_tokens,
        "learning_rate": config.optimizer.learning_rate,
        "gradient_clip": config.optimizer.gradient_clip,
        "reward_function": name_of(components.reward_function),
        "problems": [{"prompt": prompt(problems[encoded[i].index].messages), "answer": encoded[i].answer} for i in order],
        "prompt_tokens": [encoded[i].tokens for i in order],
    }


def endless_copy(directory: Path) -> Path:
    """SmolLM2 with another end-of-sequence token: one that it was never trained on."""
    if not directory.exists():
        directory.mkdir()
        source = SmolLM2()(seed=0)
        tokenizer = load_tokenizer(source)
        tokenizer.eos_token = "<filename>"
        tokenizer.save_pretrained(directory)
        for name in ("config.json", "generation_config.json"):
            settings = json.loads((source / name).read_text()) | {"eos_token_id": tokenizer.eos_token_id}
            (directory / name).write_text(json.dumps(settings))
        (directory / "model.safetensors").symlink_to(source / "model.safetensors")
    return directory


def run(command: list[str], stdin: str = "", environment: dict[str, str] | None = None) -> str:
    """Standard output of a command; a failure ends the benchmark with what it wrote last."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, env={**os.environ, **(environment or {})})
    if done.returncode:
        sys.exit(f"{' '.join(command)}\nfailed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def median(rows: Iterable[Row], column: str) -> float:
    """Of one column."""
    return statistics.median(row[column] for row in rows)


def print_table(rows: list[Row]) -> None:
    """Medians over all steps; the ratio to rltoolkit is the median of the repetitions' own ratios."""
    print(f"\n{'case':18}  {'system':30}  {'s/step':>7}  {'ratio':>6}  {'length':>6}  {'tokens':>6}")
    for case, system in dict.fromkeys((row["case"], row["system"]) for row in rows):
        mine, ours = ([row for row in rows if (row["case"], row["system"]) == (case, one)] for one in (system, "rltoolkit"))
        ratio = statistics.median(
            median(theirs, "seconds") / median((row for row in ours if row["repetition"] == repetition), "seconds")
            for repetition, theirs in groupby(mine, lambda row: row["repetition"])
        )
        print(
            f"{case:18}  {system:30}  {median(mine, 'seconds'):7.2f}  {ratio:6.2f}  "
            f"{median(mine, 'response_length'):6.1f}  {median(mine, 'generated_tokens'):6.0f}"
        )


def parse_arguments() -> argparse.Namespace:
    """The command line; says how to make TRL's environment where there is none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl-python", type=Path, default=Path("build/trl/bin/python"), help="Python of TRL's environment")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, help="measured steps of each process, instead of the case's own number")
    arguments = parser.parse_args()
    found = arguments.trl_python.exists() and not subprocess.run([arguments.trl_python, "-c", "import trl"], stderr=-3).returncode
    if not found:
        parser.exit(
            2, f"--trl-python {arguments.trl_python}: no Python with TRL there. To make one:\n{__doc__.splitlines()[2]}\n"
        )
    return arguments


if __name__ == "__main__":
    main()

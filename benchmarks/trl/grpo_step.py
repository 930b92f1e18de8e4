"""TRL's side of trl_step.py: a few steps of GRPOTrainer, timed from the end of one optimizer step to the end of the next.

Runs in TRL's own environment, with rltoolkit's reward functions (which need torch alone) on PYTHONPATH. Reads the settings as
JSON from standard input, and writes one row for each measured step as JSON to standard output, on the last line.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from itertools import pairwise
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from rltoolkit import registry


class Clock(TrainerCallback):
    """Notes when every optimizer step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Everything since the last one belongs to this step: prompts, generation, rewards, forward, backward, AdamW."""
        self.ends.append(time.perf_counter())


class CorrectAnswer:
    """The verifier that the other side uses; it sees every completion, so it counts their tokens as well."""

    __name__ = "correct_answer"

    def __init__(self, name: str) -> None:
        self.verify = registry.build("reward_function", name)
        self.lengths: list[list[int]] = []

    def __call__(self, completions: list, completion_ids: list[list[int]], answer: list[str], **_: Any) -> list[float]:
        """+1 or -1 for each completion."""
        self.lengths.append([len(ids) for ids in completion_ids])
        texts = [each if isinstance(each, str) else each[0]["content"] for each in completions]
        return self.verify(texts, answer).reward.tolist()


def main() -> None:
    """One process: a warm-up step, then the measured ones."""
    settings = json.load(sys.stdin)
    responses = settings["prompts_per_step"] * settings["group_size"]
    clock, reward = Clock(), CorrectAnswer(settings["reward_function"])
    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=settings["model_path"],
            processing_class=AutoTokenizer.from_pretrained(settings["model_path"], padding_side="left"),
            reward_funcs=reward,
            train_dataset=Dataset.from_list(settings["problems"]),
            callbacks=[clock],
            args=GRPOConfig(
                output_dir=folder,
                seed=settings["seed"],
                use_cpu=True,
                # the same work: one generation batch is one optimizer step, no KL, no schedule, AdamW without decay
                num_generations=settings["group_size"],
                max_completion_length=settings["max_new_tokens"],
                max_steps=len(settings["problems"]) // settings["prompts_per_step"],
                shuffle_dataset=False,
                num_iterations=1,
                beta=0.0,
                learning_rate=settings["learning_rate"],
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=settings["gradient_clip"],
                model_init_kwargs={"dtype": settings["weights"]},
                bf16=settings["autocast"],
                # what suits TRL best: no recomputation (its default), and micro-batches of the size that was fastest
                gradient_checkpointing=False,
                per_device_train_batch_size=settings["micro_batch"],
                gradient_accumulation_steps=responses // settings["micro_batch"],
                use_transformers_continuous_batching=settings.get("continuous", False),
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
            ),
        )
        asked = trainer._tokenize_prompts([problem["prompt"] for problem in settings["problems"]])[0]
        if asked != settings["prompt_tokens"]:
            sys.exit("TRL does not encode the prompts to the tokens that rltoolkit trains on")
        trainer.train()
    rows = [
        {"seconds": end - start, "response_length": sum(lengths) / len(lengths), "generated_tokens": sum(lengths)}
        for (start, end), lengths in zip(pairwise(clock.ends), reward.lengths[1:], strict=True)
    ]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()

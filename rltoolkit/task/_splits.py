"""Splits: training and evaluation problems that never share a prompt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rltoolkit.task.base import Problem, Split


def hold_out(problems: Sequence[Problem], eval_size: int | None, split: Split, seed: int, name: str) -> list[Problem]:
    """``eval_size`` different prompts (None: a tenth of them), or for ``train`` all problems with another prompt.

    A hash of the seed and the prompt decides which are held out, so the order of the rows does not matter. Prompts that differ
    only in white space count as one.

    Raises:
        ValueError: nothing was held out to evaluate on, or nothing would be left to train on.
    """
    by_prompt: dict[str, Problem] = {}
    for problem in problems:
        by_prompt.setdefault(prompt_key(problem), problem)
    if eval_size is None:
        eval_size = max(1, len(by_prompt) // 10)
    if eval_size >= len(by_prompt):
        raise ValueError(f"task.eval_size={eval_size}: must be less than the {len(by_prompt):,} different prompts (task={name})")
    held_out = sorted(by_prompt, key=lambda key: hashlib.sha256(f"{seed}:{key}".encode()).digest())[:eval_size]
    if split == "train":
        return without(problems, [by_prompt[key] for key in held_out], name)
    if not held_out:
        raise ValueError(f"task.eval_size=0: must be at least 1 to evaluate on this task (task={name})")
    return [by_prompt[key] for key in held_out]


def without(problems: Sequence[Problem], others: Sequence[Problem], name: str) -> list[Problem]:
    """The problems whose prompt is not among the others' (white space aside). Raises ValueError where none is left."""
    taken = {prompt_key(problem) for problem in others}
    left = [problem for problem in problems if prompt_key(problem) not in taken]
    if not left:
        raise ValueError(f"task.path: every training problem is also an evaluation problem (task={name})")
    return left


def prompt_key(problem: Problem) -> str:
    """What makes two prompts the same for a split: their words, white space aside."""
    return "\n".join(f"{message.role}: {' '.join(message.content.split())}" for message in problem.messages)

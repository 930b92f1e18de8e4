"""Warm start: supervised learning that gives the tiny model a skill and a habit, so that there is something to reinforce.

Phase 1 teaches the skill: mostly scratchpads. Phase 2 sets the habit: it goes on with the same data, but the first token, which decides
the style, is weighted by

    weight = prior of the style / its share of the data

so that the model comes to begin each style as often as the prior says, while it goes on practising the good one.

Config: ``model=tiny``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch

from rltoolkit import arithmetic

if TYPE_CHECKING:
    from torch import Tensor

    from rltoolkit.policy.policy import PolicyModel

STYLES = ("direct", "scratchpad", "junk")
_MICRO_BATCHES = 4
_WARMUP_STEPS = 50


class Problems(NamedTuple):
    """What is to be calculated: see ``arithmetic.draw_expression``."""

    max_operands: int = 6
    max_operand: int = 12
    limit: int = 50


@dataclass(frozen=True, kw_only=True)
class Phase:
    """One stretch of supervised learning.

    Args:
        name: what the progress bar says.
        steps: optimizer steps.
        learning_rate: the peak, after a short linear rise; a cosine takes it to 0.
        shares: how much of the data each style makes up.
        priors: how often the model shall begin each style; None leaves the shares as they are.
        rambling: the share of scratchpads that repeat a step.
        persistence: probability of repeating it once more, each time.
        problems: what the demonstrations solve.
        batch_size: demonstrations in a step.
    """

    name: str
    steps: int
    learning_rate: float
    shares: Mapping[str, float]
    priors: Mapping[str, float] | None = None
    rambling: float
    persistence: float
    problems: Problems = field(default_factory=Problems)
    batch_size: int = 64


@dataclass(frozen=True)
class Demonstration:
    """A prompt, a response to it, and how much the response's first token weighs."""

    prompt: str
    response: str
    first_weight: float


def demonstrations(phase: Phase, max_response: int, seed: int) -> Iterator[Demonstration]:
    """Endless demonstrations on problems that are not held out, cut off at ``max_response`` characters."""
    rng = random.Random(f"{phase.name} {seed}")
    priors = phase.priors or phase.shares
    operands, problems = range(2, phase.problems.max_operands + 1), phase.problems
    for expression in arithmetic.draw_expressions(
        rng, operands, held_out=False, max_operand=problems.max_operand, limit=problems.limit
    ):
        style = rng.choices(STYLES, [phase.shares[style] for style in STYLES])[0]
        if style == "direct":
            response = arithmetic.direct(expression)
        elif style == "junk":
            response = arithmetic.junk(expression, max_response)
        elif rng.random() < phase.rambling:
            response = arithmetic.rambling(expression, rng, phase.persistence)
        else:
            response = arithmetic.scratchpad(expression)
        yield Demonstration(expression.prompt, response[:max_response], priors[style] / phase.shares[style])


def train(policy: PolicyModel, token_ids: Mapping[str, int], phase: Phase, *, max_response: int, seed: int) -> Iterator[float]:
    """Run a phase in place; yields the mean loss per token after each step.

    Args:
        policy: the model, float32.
        token_ids: the id of each character.
        phase: what to learn.
        max_response: characters after which a response is cut off.
        seed: decides the data.
    """
    optimizer = torch.optim.AdamW(policy.parameters(), betas=(0.9, 0.99), weight_decay=0.01)
    stream = demonstrations(phase, max_response, seed)
    for step in range(phase.steps):
        optimizer.param_groups[0]["lr"] = phase.learning_rate * _schedule(step, phase.steps)
        batch = [next(stream) for _ in range(phase.batch_size)]
        total_tokens = sum(len(one.response) for one in batch)
        loss = 0.0
        for micro_batch in _by_length(batch):
            input_ids, weights = _collate(micro_batch, token_ids)
            log_probs = policy(input_ids, weights > 0).log_probs
            micro_loss = -(weights * log_probs).sum() / total_tokens
            micro_loss.backward()
            loss += micro_loss.item()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield loss


def _schedule(step: int, steps: int) -> float:
    """Fraction of the peak learning rate."""
    return min(1.0, (step + 1) / _WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _by_length(batch: list[Demonstration]) -> list[list[Demonstration]]:
    """Slices of the batch in order of length: their gradients add up to the batch's, with half of the padding."""
    ordered = sorted(batch, key=lambda one: len(one.prompt) + len(one.response))
    size = math.ceil(len(ordered) / _MICRO_BATCHES)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def _collate(batch: list[Demonstration], token_ids: Mapping[str, int]) -> tuple[Tensor, Tensor]:
    """input_ids [N, T] and the weight of each token's loss [N, T], 0 on prompts and padding."""
    longest = max(len(one.prompt) + len(one.response) for one in batch)
    input_ids, weights = torch.zeros(len(batch), longest, dtype=torch.int64), torch.zeros(len(batch), longest)
    for row, one in enumerate(batch):
        start, end = len(one.prompt), len(one.prompt) + len(one.response)
        input_ids[row, :end] = torch.tensor([token_ids[character] for character in one.prompt + one.response])
        weights[row, start:end] = 1.0
        weights[row, start] = one.first_weight
    return input_ids, weights

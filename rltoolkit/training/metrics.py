"""What the sampled responses of a rollout step look like: the numbers for metrics.csv."""

from __future__ import annotations

import re

import torch

from rltoolkit.collector import CollectedStep
from rltoolkit.rollout_batch import text_list

REFLECTION = re.compile(
    r"\b(wait|hold on|let me (?:check|re-?check|verify|double-check|re-?think|re-?consider)|re-?check|double-check|"
    r"on second thought|"
    r"i made a mistake|that'?s not right|actually, no)\b",
    re.IGNORECASE,
)
"""Phrases of reconsideration, after the paper's section 4.4 on reflective behaviour."""


def rollout_metrics(step: CollectedStep) -> dict[str, float]:
    """Means over all sampled responses of a rollout step, those of rejected groups included."""
    sampled, lengths = step.sampled, step.sampled["response_length"].double()
    correct = sampled["correct"].double()
    texts = text_list(sampled, "response_text")
    percentiles = torch.quantile(lengths, torch.tensor([0.1, 0.5, 0.9], dtype=lengths.dtype)).tolist()
    group_accuracy = correct.mean(1)
    return {
        "accuracy": float(correct.mean()),
        "reward": float(sampled["reward"].mean()),
        "response_length": float(lengths.mean()),
        "response_length_max": float(lengths.max()),
        **{f"response_length_p{p}": value for p, value in zip((10, 50, 90), percentiles, strict=True)},
        "truncated": float(sampled["truncated"].double().mean()),
        "zero_variance_groups": float(((group_accuracy == 0) | (group_accuracy == 1)).double().mean()),
        "reflection_rate": sum(bool(REFLECTION.search(text)) for text in texts) / len(texts),
        "policy_age": float(sampled["policy_version"].max() - step.rollouts["policy_version"].double().mean()),
        **({"reward_kl": float(step.rollouts["reward_kl"].mean())} if "reward_kl" in step.rollouts else {}),
        **step.counters.metrics(),
    }

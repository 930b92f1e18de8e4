"""What the responses of a rollout step look like: the numbers for metrics.csv."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from tensordict import TensorDict

from rltoolkit.collector import CollectedStep
from rltoolkit.rollout_batch import text_list


def rollout_metrics(step: CollectedStep, version: int, reflection_phrases: Sequence[str] = ()) -> dict[str, float]:
    """The columns of a rollout step, without its clocks: see ``rltoolkit.columns``. Means over nothing are left out.

    ``version`` is that of the policy which the step is going to train.
    """
    kept = step.rollouts
    return {
        **{f"sampled_{name}": value for name, value in _of_groups(step.sampled).items()},
        **{f"sampled_{name}": value for name, value in _of_responses(step.sampled, reflection_phrases).items()},
        **{f"kept_{name}": value for name, value in _of_groups(kept).items()},
        "kept_policy_age": float(version - kept["policy_version"].double().mean()),
        **({"kept_reward_kl": float(kept["reward_kl"].mean())} if "reward_kl" in kept else {}),
        **({"kept_teacher_kl": _teacher_kl(kept)} if "teacher_log_probs" in kept else {}),
        **step.counters.metrics(),
    }


def _of_groups(rollouts: TensorDict) -> dict[str, float]:
    """What is asked of the sampled and of the kept groups alike, [P, G]."""
    correct = rollouts["correct"]
    return {
        "accuracy": _mean(correct),
        "all_correct": _mean(correct.all(1)),
        "all_wrong": _mean(~correct.any(1)),
        "reward": _mean(rollouts["reward"]),
        "response_length": _mean(rollouts["response_length"]),
        "truncated": _mean(rollouts["truncated"]),
    }


def _of_responses(rollouts: TensorDict, reflection_phrases: Sequence[str]) -> dict[str, float]:
    """What tells more about how the policy answers, by right and wrong, [P, G]."""
    correct, lengths = rollouts["correct"], rollouts["response_length"].double()
    percentiles = torch.quantile(lengths, torch.tensor([0.1, 0.5, 0.9], dtype=lengths.dtype)).tolist()
    metrics = {
        "pass_at_k": _mean(correct.any(1)),
        "response_length_max": float(lengths.max()),
        **{f"response_length_p{p}": value for p, value in zip((10, 50, 90), percentiles, strict=True)},
    }
    by_response = {"response_length": lengths}
    if reflection_phrases:
        found = map(reflection_pattern(reflection_phrases).search, text_list(rollouts, "response_text"))
        by_response["reflection"] = torch.tensor([match is not None for match in found]).view(correct.shape)
        metrics["reflection"] = _mean(by_response["reflection"])
    for name, values in by_response.items():
        for verdict, chosen in (("right", values[correct]), ("wrong", values[~correct])):
            if len(chosen):
                metrics[f"{name}_{verdict}"] = _mean(chosen)
    return metrics


def _teacher_kl(rollouts: TensorDict) -> float:
    """Mean of log pi - log pi_teacher over the sampled tokens."""
    return _mean((rollouts["rollout_log_probs"] - rollouts["teacher_log_probs"])[rollouts["response_mask"]])


def reflection_pattern(phrases: Sequence[str]) -> re.Pattern[str]:
    """Finds any of the phrases as whole words, in upper or lower case."""
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, phrases))})(?!\w)", re.IGNORECASE)


def _mean(values: torch.Tensor) -> float:
    return float(values.double().mean())

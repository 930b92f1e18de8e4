"""Styles: the ways of answering that a task tells apart, and how often the policy goes each of them.

    sampled_style_<name>             share of the sampled responses in this style
    sampled_style_<name>_truncated   share of the sampled responses in this style that the length limit cut off

Length, entropy and accuracy do not say *which* strategy spreads. Only the task can: it may have

    styles: Sequence[str]              the names
    style(response: str) -> str        one of them, from the text alone

A label from the task, and not a pattern in the configuration: whether the steps of a scratchpad are right takes arithmetic.
A task without labels has no such columns.
"""

from __future__ import annotations

from tensordict import TensorDict

from rltoolkit.rollout_batch import text_list
from rltoolkit.task.base import Task


def style_metrics(task: Task, sampled: TensorDict) -> dict[str, float]:
    """The columns of sampled groups [P, G] with ``response_text`` and ``truncated``; every style has its two, also where none is."""
    names, style = getattr(task, "styles", ()), getattr(task, "style", None)
    if style is None:
        return {}
    found = [style(text) for text in text_list(sampled, "response_text")]
    cut_off = [name for name, truncated in zip(found, sampled["truncated"].reshape(-1).tolist(), strict=True) if truncated]
    shares = {f"sampled_style_{name}": found.count(name) / len(found) for name in names}
    return shares | {f"sampled_style_{name}_truncated": cut_off.count(name) / len(found) for name in names}

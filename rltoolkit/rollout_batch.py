"""The one vocabulary of rollouts: a TensorDict of batch size [P, G].

P prompts (groups), G responses for each, T tokens in the longest prompt + response. A group operation is a reduction over
dim 1. Rows are right-padded; index t of every per-token key speaks of token t.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from tensordict import NonTensorStack, TensorDict
    from torch import Tensor


class Key(NamedTuple):
    """One entry of a rollout batch; ``dtype`` is torch's name for it, None marks text."""

    shape: str
    dtype: str | None
    writer: str
    meaning: str


KEYS: dict[str, Key] = {
    "input_ids": Key("P G T", "int64", "engine", "prompt, then response"),
    "response_mask": Key("P G T", "bool", "engine", "True on sampled tokens (end-of-sequence included)"),
    "rollout_log_probs": Key("P G T", "float32", "engine", "log-prob of token t under the policy that sampled it"),
    "kept_ids": Key("P G W", "int32", "engine under a sampling mask", "tokens that top-p and top-k kept; see sampling_mask.py"),
    "kept_counts": Key("P G T", "int32", "engine under a sampling mask", "how many of them are those of token t"),
    "response_length": Key("P G", "int64", "engine", "sampled tokens"),
    "truncated": Key("P G", "bool", "engine", "stopped by the length limit, not by end-of-sequence"),
    "policy_version": Key("P G", "int64", "engine", "version of the weights that sampled it"),
    "response_text": Key("P G", None, "engine", "the response, special tokens left out"),
    "prompt_index": Key("P G", "int64", "collector", "row of the task"),
    "carried": Key("P G", "bool", "collector", "sampled in an earlier rollout step, by an older policy"),
    "answer": Key("P G", None, "collector", "the task's reference answer"),
    "correct": Key("P G", "bool", "reward function", "the verifier's verdict; nothing rewrites it"),
    "reward": Key("P G", "float32", "reward function, then shapers", "what is optimised"),
    "reward_parts": Key("P G", "float32", "collector", "by name: the verifier's reward, and what each shaper added to it"),
    "reward_kl": Key("P G", "float32", "training", "KL of the response to the reference, where the reward pays for it"),
    "teacher_log_probs": Key("P G T", "float32", "training", "under the teacher, where the advantage estimator has one"),
    "loss_mask": Key("P G T", "bool", "collector, then shapers", "tokens that train"),
    "advantage": Key("P G", "float32", "advantage estimator", "[P, G], or [P, G, T] where tokens differ"),
}
"""The entries of rollouts [P, G]."""

ROWS: dict[str, Key] = {
    "group_index": Key("N", "int64", "training", "which of the step's prompts the row answers"),
    "logged": Key("N", "int64", "training", "the row's line in the rollout file; -1 where it has none"),
    "old_log_probs": Key("N T", "float32", "training", "under the policy that the ratio is taken to; see old_log_probs.py"),
    "scored_in_update": Key("N", "bool", "training", "True where the update's own log-probs are the old ones"),
    "weights": Key("N T", "float64", "training", "the loss aggregator's weight of each token in the whole optimizer step"),
    "selected": Key("N T", "bool", "training", "tokens that a clip strategy of scope step picked"),
    "reference_log_probs": Key("N T", "float32", "training", "under the reference, where the KL penalty needs it"),
}
"""What training adds when it flattens rollouts into rows, N = P G; the entries of ``KEYS`` that an update reads come along."""


def text_entry(rows: Sequence[Sequence[str]]) -> NonTensorStack:
    """A [P, G] entry of strings."""
    from tensordict import NonTensorStack  # not at the top: it takes two seconds, and most readers of this file never need it

    return NonTensorStack.from_list([list(row) for row in rows])


def text_list(rollouts: TensorDict, key: str) -> list[str]:
    """The P * G strings under ``key``, row after row."""
    return [text for group in rollouts.get(key).tolist() for text in group]


def with_entries(rollouts: TensorDict, **entries: Tensor) -> TensorDict:
    """A shallow copy in which ``entries`` replace or join the others; tensors are shared, ``rollouts`` is not changed."""
    # Not copy(): it rebuilds every string, which takes half a second for 8,192 responses.
    return rollouts.exclude(*entries).update(entries)


def stack_groups(groups: Iterable[TensorDict]) -> TensorDict:
    """Stack P groups, each of batch size [G], into [P, G]; per-token entries are cut or padded to the longest row of all."""
    return torch.stack(_equally_wide(list(groups)))


def join_groups(parts: Iterable[TensorDict]) -> TensorDict:
    """One group [G] of parts of it, each of batch size [n]; per-token entries are cut or padded likewise."""
    joined: TensorDict = torch.cat(_equally_wide(list(parts)))
    return joined


def rows(rollouts: TensorDict) -> TensorDict:
    """The P * G responses as the rows [N] of an optimizer step: text stays behind, ``group_index`` says whose prompt a row answers.

    Rows of one group stay next to each other, so ``rows(rollouts).split(k * G)`` are mini-batches of k whole groups.
    """
    prompts, group_size = rollouts.batch_size
    tensors = rollouts.exclude(*(name for name, key in KEYS.items() if key.dtype is None))
    group_index = torch.arange(prompts, device=rollouts.device).unsqueeze(1).expand(prompts, group_size)
    return with_entries(tensors, group_index=group_index).reshape(-1)


def row_lengths(rollouts: TensorDict) -> Tensor:
    """Tokens of prompt + response in each row, shape of the batch: the position of the last sampled token, plus one."""
    mask = rollouts["response_mask"]
    positions = torch.arange(1, mask.shape[-1] + 1, device=mask.device)
    return (mask * positions).amax(-1)


def _equally_wide(groups: list[TensorDict]) -> list[TensorDict]:
    longest = max(int(row_lengths(group).max()) for group in groups)
    cut = [_with_width(group, "T", longest) for group in groups]
    if "kept_counts" in groups[0]:
        cut = [_with_width(group, "W", max(int(each["kept_counts"].sum(-1).max()) for each in groups)) for group in cut]
    return cut


def _with_width(group: TensorDict, dimension: str, width: int) -> TensorDict:
    """The group with entries whose shape ends in ``dimension`` cut or padded with 0 to ``width``."""
    # keys() is spelled out because a TensorDict iterates over its batch
    names = [name for name in group.keys() if name in KEYS and KEYS[name].shape.endswith(dimension)]  # noqa: SIM118
    return with_entries(
        group,
        **{name: torch.nn.functional.pad(group[name][..., :width], (0, max(0, width - group[name].shape[-1]))) for name in names},
    )

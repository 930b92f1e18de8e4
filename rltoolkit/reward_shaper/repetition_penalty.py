"""Repetition penalty: repeated n-grams of tokens lower the reward.

    R' = R - factor * (1 - distinct n-grams / n-grams)

over the n-grams of the response's token ids; a response shorter than n has none and pays nothing.

Source: Yeo et al., arXiv:2502.03373, the n-gram repetition penalty (there a penalty on each repeated token, here its
share over the response, since rewards are one number for each). Config: ``reward_shaper=[repetition_penalty]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


@register("reward_shaper", "repetition_penalty")
@dataclass(frozen=True, kw_only=True)
class RepetitionPenalty:
    """Exact: no two different n-grams count as one.

    Args:
        ngram: n in tokens, at least 1; small n punishes ordinary language.
        factor: the penalty in the limit where all n-grams are the same, at least 0.
    """

    changes_reward: ClassVar[bool] = True
    ngram: int = 40
    factor: float = 1.0

    def __post_init__(self) -> None:
        check(self, "ngram", self.ngram >= 1, "at least 1")
        check(self, "factor", self.factor >= 0, "at least 0")

    def __call__(self, rollouts: TensorDict) -> TensorDict:
        """rollouts [P, G] with ``input_ids``, ``response_mask`` and ``reward`` -> the same with a new ``reward``."""
        rows = zip(rollouts["input_ids"].flatten(0, 1), rollouts["response_mask"].flatten(0, 1), strict=True)
        repeated = torch.tensor([self._repeated_share(ids[mask]) for ids, mask in rows]).view(rollouts.batch_size)
        return with_entries(rollouts, reward=rollouts["reward"] - self.factor * repeated.to(rollouts["reward"]))

    def _repeated_share(self, ids: Tensor) -> float:
        count = len(ids) - self.ngram + 1
        if count <= 0:
            return 0.0
        # Windows of raw bytes are exact and hash faster than tuples of numbers.
        raw, size = ids.cpu().numpy().tobytes(), ids.element_size()
        distinct = len({raw[size * start : size * (start + self.ngram)] for start in range(count)})
        return 1 - distinct / count

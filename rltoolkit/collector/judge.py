"""What a response is worth, and whether its group is worth training on: verifier, shapers, filters."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from rltoolkit.collector.prompt_stream import EncodedProblem
from rltoolkit.component import name_of
from rltoolkit.reward_function.base import RewardFunction
from rltoolkit.reward_shaper.base import RewardShaper
from rltoolkit.rollout_batch import text_entry, text_list
from rltoolkit.sampler_filter.base import SamplerFilter

if TYPE_CHECKING:
    from tensordict import TensorDict


class Judge:
    """Of one rollout step: it counts what the step has cost the verifier.

    Args:
        reward_function, reward_shapers, sampler_filters: the components.
    """

    def __init__(
        self,
        reward_function: RewardFunction,
        reward_shapers: Sequence[RewardShaper],
        sampler_filters: Sequence[SamplerFilter],
    ) -> None:
        self._reward_function, self._reward_shapers, self._sampler_filters = reward_function, reward_shapers, sampler_filters
        self._failures_before = getattr(reward_function, "failures", 0)
        self.seconds = 0.0
        """that this process waited for the reward function"""

    @property
    def failures(self) -> int:
        """Checks that crashed or ran into a limit, where the reward function keeps count of them."""
        return int(getattr(self._reward_function, "failures", 0) - self._failures_before)

    def verify(self, rollouts: TensorDict, problems: Sequence[EncodedProblem]) -> TensorDict:
        """Responses [P, n] to P problems with verdict, reward and loss mask, before any shaper."""
        shape = rollouts.batch_size
        answers = [[problem.answer] * shape[1] for problem in problems]
        start = time.perf_counter()
        verdict = self._reward_function(text_list(rollouts, "response_text"), [answer for row in answers for answer in row])
        self.seconds += time.perf_counter() - start
        return rollouts.update(
            {
                "answer": text_entry(answers),
                "prompt_index": torch.tensor([problem.index for problem in problems]).unsqueeze(1).expand(shape).contiguous(),
                "correct": verdict.correct.reshape(shape),
                "reward": verdict.reward.reshape(shape),
                "loss_mask": rollouts["response_mask"].clone(),
            }
        )

    def shape_and_filter(self, group: TensorDict) -> tuple[TensorDict, bool]:
        """A verified group [n] after all shapers, with what each of them made of the reward, and whether it passes every filter."""
        rollouts = group.unsqueeze(0)
        parts = {name_of(self._reward_function): rollouts["reward"].clone()}
        for shaper in self._reward_shapers:
            before = rollouts["reward"].clone()
            rollouts = shaper(rollouts)
            parts[name_of(shaper)] = rollouts["reward"] - before
        rollouts["reward_parts"] = parts
        keep = all(bool(sampler_filter(rollouts)) for sampler_filter in self._sampler_filters)
        return rollouts[0], keep

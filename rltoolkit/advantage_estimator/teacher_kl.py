"""On-policy distillation: a token is worth as much as a teacher finds it likelier than the policy that sampled it.

    A_t = c (log pi_teacher(t) - log pi(t)) + B

t are the response's tokens, log pi(t) what the engine reported while it sampled, B the response's advantage by another estimator, or 0.
Over the policy's own tokens the mean of -A_t / c is KL(pi || teacher), so the policy learns where it goes itself, from every token,
right or wrong. A token answers for itself alone: what it leads to is seen to at the tokens after it (a discount of 0).

The teacher must know the same tokens. Its logits are divided by ``sampling.temperature``, as the policy's are, and where top-p or top-k
cut the policy off it is normalised over the same tokens.

Source: Lu and Thinking Machines Lab, "On-policy distillation", 2025; GKD, arXiv:2306.13649, section 3 (on-policy data, reverse KL);
MiniLLM, arXiv:2306.08543, section 2.2 (the single-step part of its gradient).
Config: ``advantage_estimator=teacher_kl advantage_estimator.teacher=DIR``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from rltoolkit import registry
from rltoolkit.component import check, label

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor

    from rltoolkit.advantage_estimator.base import AdvantageEstimator


@registry.register("advantage_estimator", "teacher_kl")
@dataclass(frozen=True, kw_only=True)
class TeacherKL:
    """Every token has an advantage of its own.

    Args:
        teacher: a directory, or a name on the Hugging Face hub. Each rank holds its part, in ``trainer.compute_dtype``.
        coefficient: c, above 0. Alone it hardly matters, since AdamW takes the scale out of a gradient; with ``added_to`` it
            weighs the teacher against the reward.
        added_to: the name of the estimator that gives B, with its defaults: group_normalized, leave_one_out, ...; null for B = 0, and
            the reward is measured only.
    """

    teacher: str = ""
    coefficient: float = 1.0
    added_to: str | None = None

    def __post_init__(self) -> None:
        check(self, "coefficient", self.coefficient > 0, "above 0")
        check(self, "added_to", self.added_to != "teacher_kl", "another estimator")
        if self.added_to is not None:
            registry.get("advantage_estimator", self.added_to)

    @property
    def min_group_size(self) -> int:
        """That of ``added_to``; alone it compares nothing."""
        return self._base.min_group_size if self._base else 1

    @property
    def reads_reward(self) -> bool:
        """Whether ``added_to`` does."""
        return self._base is not None and self._base.reads_reward

    def __call__(self, rollouts: TensorDict) -> Tensor:
        """rollouts [P, G] with ``rollout_log_probs`` and ``teacher_log_probs`` -> float32 [P, G, T], 0 where nothing was sampled.

        Raises:
            ValueError: the teacher's log-probs are missing, of another shape, or not finite on sampled tokens.
        """
        mask, own = rollouts["response_mask"], rollouts["rollout_log_probs"]
        teacher = rollouts.get("teacher_log_probs", None)
        if teacher is None or teacher.shape != own.shape:
            found = "is missing" if teacher is None else f"has shape {list(teacher.shape)}"
            raise ValueError(
                f"{label(self)}: 'teacher_log_probs' {found}, expected {list(own.shape)}, as 'rollout_log_probs' has"
            )
        if not teacher[mask].isfinite().all():
            raise ValueError(f"{label(self)}: 'teacher_log_probs' must be finite on sampled tokens")
        advantage = torch.where(mask, self.coefficient * (teacher - own), 0.0).float()
        if self._base is None:
            return advantage
        base = self._base(rollouts)
        return advantage + torch.where(mask, base if base.ndim == 3 else base.unsqueeze(-1), 0.0)

    @property
    def _base(self) -> AdvantageEstimator | None:
        return None if self.added_to is None else registry.build("advantage_estimator", self.added_to)

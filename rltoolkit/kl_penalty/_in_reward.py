"""KL in the reward: the divergence from the reference lowers the response's reward, instead of joining the loss.

    R' = R - beta * sum over the response's tokens of KL_t

The penalty's estimate is taken once, at the log-probs of the sampled tokens under the policy that sampled them, before advantages
are computed; no gradient flows through it. With k1 the sum is log pi(response) - log pi_ref(response).

All tokens of a response share the sum, because a response has one advantage here. In REINFORCE++ the KL of a token lowers the
return of this token and of those before it. The expected policy gradient is the same: what came before a token is a baseline.

Source: InstructGPT, arXiv:2203.02155, eq. 2; RLOO, arXiv:2402.14740.
Config: ``kl_in_reward=true kl_penalty=k1 kl_penalty.coefficient=0.01``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from rltoolkit.kl_penalty.base import KLPenalty
from rltoolkit.rollout_batch import with_entries

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


def subtract_kl(rollouts: TensorDict, reference_log_probs: Tensor, penalty: KLPenalty) -> TensorDict:
    """Rollouts with a lower ``reward``, and with ``reward_kl`` [P, G], the KL summed over each response in nats.

    Args:
        rollouts: [P, G] with ``reward`` and ``rollout_log_probs``.
        reference_log_probs: [P, G, T].
        penalty: estimates the KL of each token.

    Raises:
        ValueError: the reference's log-probs have another shape than the rollouts', or are not finite on sampled tokens.
    """
    mask, log_probs = rollouts["response_mask"], rollouts["rollout_log_probs"]
    if reference_log_probs.shape != log_probs.shape:
        raise ValueError(
            f"subtract_kl: reference_log_probs is {list(reference_log_probs.shape)}, expected {list(log_probs.shape)}"
        )
    if not reference_log_probs[mask].isfinite().all():
        raise ValueError("subtract_kl: reference_log_probs must be finite on sampled tokens")
    shape = (-1, mask.shape[-1])
    kl = penalty(log_probs.reshape(shape), torch.where(mask, reference_log_probs, log_probs).reshape(shape)).reshape(mask.shape)
    response_kl = torch.where(mask, kl, 0.0).sum(-1)
    return with_entries(rollouts, reward=rollouts["reward"] - penalty.coefficient * response_kl, reward_kl=response_kl)

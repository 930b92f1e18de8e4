"""KL in the reward: what a response pays, by hand."""

import math

import pytest
import torch
from tensordict import TensorDict

from rltoolkit.kl_penalty import K1, K3, subtract_kl

LN2 = math.log(2)


def rollouts() -> TensorDict:
    """One prompt, two responses of two and one tokens after one prompt token."""
    return TensorDict(
        {
            "response_mask": torch.tensor([[[False, True, True], [False, True, False]]]),
            "rollout_log_probs": torch.tensor([[[0.0, -LN2, -LN2], [0.0, -2 * LN2, 0.0]]]),
            "reward": torch.tensor([[1.0, -1.0]]),
        },
        batch_size=[1, 2],
    )


# what stands off the mask is ignored, infinities included
REFERENCE = torch.tensor([[[math.inf, -2 * LN2, -LN2], [7.0, -LN2, math.nan]]])


def test_k1_takes_the_log_ratio_of_the_whole_response():
    # row 0: (-ln2 + 2 ln2) + (-ln2 + ln2) = ln2; row 1: -2 ln2 + ln2 = -ln2. beta 0.5.
    paid = subtract_kl(rollouts(), REFERENCE, K1(coefficient=0.5))["reward"]
    torch.testing.assert_close(paid, torch.tensor([[1 - 0.5 * LN2, -1 + 0.5 * LN2]]))


def test_k3_is_never_negative():
    # d = log pi - log pi_ref; k3 = exp(-d) - 1 + d. Row 0: d = ln2: 1/2 - 1 + ln2, then d = 0: 0. Row 1: d = -ln2: 2 - 1 - ln2
    paid = subtract_kl(rollouts(), REFERENCE, K3(coefficient=1.0))["reward"]
    torch.testing.assert_close(paid, torch.tensor([[1 - (LN2 - 0.5), -1 - (1 - LN2)]]))


def test_the_rollouts_given_stay_as_they_are():
    given = rollouts()
    subtract_kl(given, REFERENCE, K1(coefficient=0.5))
    assert given["reward"].tolist() == [[1.0, -1.0]]


def test_bad_references_are_refused():
    with pytest.raises(ValueError, match=r"reference_log_probs is \[1, 2, 2\], expected \[1, 2, 3\]"):
        subtract_kl(rollouts(), REFERENCE[..., 1:], K1())
    with pytest.raises(ValueError, match="finite on sampled tokens"):
        subtract_kl(rollouts(), REFERENCE + math.nan, K1())

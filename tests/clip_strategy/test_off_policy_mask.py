import math

import pytest

from rltoolkit.clip_strategy import ClipHigher, OffPolicyMask

# -(log 1/4 + log 1) / 2 = log 2 = 0.69 nats a token
DRIFTED = [0.25, 1.0]


def test_a_negative_response_that_has_drifted_away_is_out(evaluate):
    # 0.69 > 0.5: neither token has a loss or a gradient, not even the second, whose own ratio is 1
    result = evaluate(OffPolicyMask(delta=0.5), ratio=DRIFTED, advantage=[-1.0] * 2)
    assert (result.loss, result.gradient) == ([0.0, 0.0], [0.0, 0.0])
    assert (result.low, result.high) == ([True, True], [False, False])


def test_less_drift_is_left_to_the_clip(evaluate):
    # 0.69 < 0.7: the first token is clipped at the floor, +0.8, without a gradient; the second keeps r = 1, +1
    result = evaluate(OffPolicyMask(delta=0.7), ratio=DRIFTED, advantage=[-1.0] * 2)
    assert (result.loss, result.gradient) == (pytest.approx([0.8, 1.0]), pytest.approx([0.0, 1.0]))
    assert result.low == [True, False]


def test_a_positive_response_stays_however_far_it_has_drifted(evaluate):
    # -min(r A, ...) = -r for A = 1: -1/4 and -1, with those gradients
    result = evaluate(OffPolicyMask(delta=0.5), ratio=DRIFTED, advantage=[1.0] * 2)
    assert (result.loss, result.gradient) == (pytest.approx([-0.25, -1.0]), pytest.approx([-0.25, -1.0]))


def test_a_response_that_became_likelier_stays(evaluate):
    result = evaluate(OffPolicyMask(delta=0.0), ratio=[4.0, 1.0], advantage=[-1.0] * 2)
    assert result.loss == pytest.approx([4.0, 1.0])


def test_the_length_counts_trained_tokens(evaluate):
    # log 4 = 1.39 over one token; over two it would be 0.69, within the bound
    result = evaluate(OffPolicyMask(delta=1.0), ratio=DRIFTED, advantage=[-1.0] * 2, mask=[True, False])
    assert result.loss == [0.0, 0.0]
    assert result.low == [True, False]


def test_without_a_bound_it_is_clip_higher(evaluate):
    for advantage in (1.0, -1.0):
        inputs = {"ratio": [0.01, 0.9, 3.0], "advantage": [advantage] * 3}
        assert evaluate(OffPolicyMask(delta=math.inf), **inputs) == evaluate(ClipHigher(), **inputs)


@pytest.mark.parametrize(("field", "value"), [("epsilon_low", 1.0), ("epsilon_high", -0.1), ("delta", -0.1)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=off_policy_mask\)"):
        OffPolicyMask(**{field: value})

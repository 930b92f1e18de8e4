import math

import pytest

from rltoolkit.clip_strategy import CISPO


def test_truncated_tokens_keep_a_gradient(evaluate):
    # weights: r 4 -> 2, r 0.25 -> 0.5, r 1 -> 1; loss -w A log p with p = 0.1 r; gradient -w A
    result = evaluate(CISPO(epsilon_low=0.5, epsilon_high=1.0), ratio=[4.0, 0.25, 1.0], advantage=[1.0, -1.0, 1.0])
    assert result.loss == pytest.approx([-2 * math.log(0.4), 0.5 * math.log(0.025), -math.log(0.1)])
    assert result.gradient == pytest.approx([-2.0, 0.5, -1.0])
    assert result.high == [True, False, False]
    assert result.low == [False, True, False]


def test_there_is_no_floor_by_default(evaluate):
    # r 0.001 stays 0.001, and counts as -0.001 A
    result = evaluate(CISPO(), ratio=[0.001], advantage=[1.0])
    assert result.gradient == pytest.approx([-0.001])
    assert not any(result.low)


@pytest.mark.parametrize(("field", "value"), [("epsilon_low", 1.5), ("epsilon_high", -1.0)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=cispo\)"):
        CISPO(**{field: value})

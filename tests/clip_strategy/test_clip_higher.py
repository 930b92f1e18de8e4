import pytest

from rltoolkit.clip_strategy import ClipHigher


def test_the_ceiling_is_further_than_the_floor(evaluate):
    # A>0, r 1.25 < 1.28: kept, -1.25 | A>0, r 1.3: -1.28, no gradient | A<0, r 1.3: the min keeps r, +1.3
    # A<0, r 0.7: +0.8, no gradient | A>0, r 0.7: the min keeps r, -0.7
    result = evaluate(ClipHigher(), ratio=[1.25, 1.3, 1.3, 0.7, 0.7], advantage=[1.0, 1.0, -1.0, -1.0, 1.0])
    assert result.loss == pytest.approx([-1.25, -1.28, 1.3, 0.8, -0.7])
    assert result.gradient == pytest.approx([-1.25, 0.0, 1.3, 0.0, -0.7])
    assert result.high == [False, True, False, False, False]
    assert result.low == [False, False, False, True, False]


def test_a_rare_token_may_grow_further_than_under_the_symmetric_clip(evaluate):
    # the paper's example, section 3.1: with 0.2 a token of probability 0.01 stops at 0.012, with 0.28 at 0.0128
    result = evaluate(ClipHigher(epsilon_low=0.2, epsilon_high=0.28), ratio=[1.25], advantage=[1.0], old_probability=0.01)
    assert result.gradient == pytest.approx([-1.25])


@pytest.mark.parametrize(("field", "value"), [("epsilon_low", 1.0), ("epsilon_low", -0.1), ("epsilon_high", -0.1)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=clip_higher\)"):
        ClipHigher(**{field: value})

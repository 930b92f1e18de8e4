import pytest

from rltoolkit.clip_strategy import GSPO


def test_the_response_has_one_ratio(evaluate):
    # s = (2 * 0.5 * 1)^(1/3) = 1: each token's loss is -A s = -3
    # the row's sum is -3 A s, and d s / d log p_t = s / 3, so each token's gradient is -3 * 3 * 1/3 = -3
    result = evaluate(GSPO(), ratio=[2.0, 0.5, 1.0], advantage=[3.0] * 3)
    assert result.loss == pytest.approx([-3.0] * 3)
    assert result.gradient == pytest.approx([-3.0] * 3)


def test_all_tokens_are_clipped_together(evaluate):
    # s = (4 * 1)^(1/2) = 2. A>0: above the ceiling 1.5, no token has a gradient, not even the one with r = 1
    # A<0: the min keeps s, +2 each; the row's sum 2 s has the gradient 2 * s / 2 = 2 for each token
    strategy = GSPO(epsilon_low=0.5, epsilon_high=0.5)
    up = evaluate(strategy, ratio=[4.0, 1.0], advantage=[1.0] * 2)
    assert (up.loss, up.gradient, up.high) == (pytest.approx([-1.5] * 2), [0.0, 0.0], [True, True])
    down = evaluate(strategy, ratio=[4.0, 1.0], advantage=[-1.0] * 2)
    assert (down.loss, down.gradient, down.high) == (pytest.approx([2.0] * 2), pytest.approx([2.0] * 2), [False, False])


def test_the_length_counts_trained_tokens(evaluate):
    # the second token is masked: s = 4^(1/1) = 4, not (4 * 9)^(1/2)
    result = evaluate(GSPO(epsilon_high=9.0), ratio=[4.0, 9.0], advantage=[1.0] * 2, mask=[True, False])
    assert result.loss == pytest.approx([-4.0, 0.0])
    assert result.gradient == pytest.approx([-4.0, 0.0])


@pytest.mark.parametrize(("field", "value"), [("epsilon_low", 1.0), ("epsilon_high", -0.1)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=gspo\)"):
        GSPO(**{field: value})

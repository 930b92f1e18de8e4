import pytest

from rltoolkit.clip_strategy import GSPOToken


def test_each_token_has_the_response_ratio_and_its_own_gradient(evaluate):
    # s = (4 * 1)^(1/2) = 2 for both tokens: loss -s A_t, gradient -s A_t, with an advantage for each token
    result = evaluate(GSPOToken(epsilon_high=9.0), ratio=[4.0, 1.0], advantage=[-1.0, -2.0])
    assert result.loss == pytest.approx([2.0, 4.0])
    assert result.gradient == pytest.approx([2.0, 4.0])


def test_the_clip_looks_at_the_response_ratio(evaluate):
    # s = 2 > 1.5: the token with r = 1 and A > 0 is clipped as well, the one with A < 0 is not
    result = evaluate(GSPOToken(epsilon_high=0.5), ratio=[4.0, 1.0, 2.0], advantage=[1.0, 1.0, -1.0])
    assert result.loss == pytest.approx([-1.5, -1.5, 2.0])
    assert result.gradient == pytest.approx([0.0, 0.0, 2.0])
    assert result.high == [True, True, False]


@pytest.mark.parametrize(("field", "value"), [("epsilon_low", 1.0), ("epsilon_high", -0.1)])
def test_range(field, value):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}={value}: .* \(clip_strategy=gspo_token\)"):
        GSPOToken(**{field: value})

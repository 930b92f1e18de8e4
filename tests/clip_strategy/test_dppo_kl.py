import pytest

from rltoolkit.clip_strategy import DPPOKL


def test_drops_what_diverged_too_far_outwards(evaluate):
    # 0.5 -> 0.75: 0.5 ln(0.5/0.75) + 0.5 ln(0.5/0.25) = (-0.405465 + 0.693147) / 2 = 0.143841 > 0.05
    # 0.5 -> 0.6: (ln(0.5/0.6) + ln(0.5/0.4)) / 2 = (-0.182322 + 0.223144) / 2 = 0.020411 < 0.05
    # 0.5 -> 0.25: the same divergence as 0.75, by symmetry; dropped for A<0, and on the way back for A>0
    ratio, advantage = [1.5, 1.5, 1.2, 0.5, 0.5], [1.0, -1.0, 1.0, -1.0, 1.0]
    result = evaluate(DPPOKL(delta=0.05), ratio, advantage, old_probability=0.5)
    assert result.loss == pytest.approx([0.0, 1.5, -1.2, 0.0, -0.5])
    assert result.gradient == pytest.approx([0.0, 1.5, -1.2, 0.0, -0.5])
    assert result.high == [True, False, False, False, False]
    assert result.low == [False, False, False, True, False]


def test_the_bound_lies_at_the_divergence(evaluate):
    # 0.020411 for 0.5 -> 0.6, see above
    kept = evaluate(DPPOKL(delta=0.02042), ratio=[1.2], advantage=[1.0], old_probability=0.5)
    dropped = evaluate(DPPOKL(delta=0.02041), ratio=[1.2], advantage=[1.0], old_probability=0.5)
    assert (kept.high, dropped.high) == ([False], [True])


def test_certain_tokens_stay_finite(evaluate):
    # 1 -> 1 has not moved: kept | 0.5 -> 1 diverges without limit: dropped | 1 -> 0.5: log 2 = 0.69, dropped
    result = evaluate(DPPOKL(), ratio=[1.0, 2.0, 0.5], advantage=[1.0, 1.0, -1.0], old_probability=[1.0, 0.5, 1.0])
    assert result.gradient == pytest.approx([-1.0, 0.0, 0.0])


def test_range():
    with pytest.raises(ValueError, match=r"clip_strategy.delta=-0.1: must be at least 0 \(clip_strategy=dppo_kl\)"):
        DPPOKL(delta=-0.1)

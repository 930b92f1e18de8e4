import pytest

from rltoolkit.clip_strategy import Symmetric


def test_clips_only_what_moves_further_out(evaluate):
    # A>0: r 1.25 is above 1.2, -1.2, no gradient | A<0: the min keeps r, +1.25
    # A<0: r 0.75 is below 0.8, +0.8 * 2, no gradient | A>0: the min keeps r, -0.75 * 2
    # where r is kept, d(-r A) / d log_probs = -r A, the loss itself
    result = evaluate(Symmetric(epsilon=0.2), ratio=[1.25, 1.25, 0.75, 0.75], advantage=[1.0, -1.0, -2.0, 2.0])
    assert result.loss == pytest.approx([-1.2, 1.25, 1.6, -1.5])
    assert result.gradient == pytest.approx([0.0, 1.25, 0.0, -1.5])
    assert result.high == [True, False, False, False]
    assert result.low == [False, False, True, False]


def test_a_ratio_on_the_bound_keeps_its_gradient(evaluate):
    # epsilon 0: the bounds are 1 and 1, and exp(0) is exactly on both
    result = evaluate(Symmetric(epsilon=0.0), ratio=[1.0, 1.0], advantage=[3.0, -3.0])
    assert result.gradient == pytest.approx([-3.0, 3.0])
    assert not any(result.low + result.high)


@pytest.mark.parametrize("epsilon", [-0.1, 1.0])
def test_range(epsilon):
    with pytest.raises(ValueError, match=r"clip_strategy.epsilon=.*: must be in \[0, 1\) \(clip_strategy=symmetric\)"):
        Symmetric(epsilon=epsilon)

import pytest

from rltoolkit.clip_strategy import NoClip


def test_every_ratio_counts_in_full(evaluate):
    # -r A, and d r / d log_probs = r
    result = evaluate(NoClip(), ratio=[5.0, 0.1], advantage=[1.0, -2.0])
    assert result.loss == pytest.approx([-5.0, 0.2])
    assert result.gradient == pytest.approx([-5.0, 0.2])
    assert not any(result.low + result.high)

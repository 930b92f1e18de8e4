import math

import pytest

from rltoolkit.clip_strategy import OnPolicy


def test_the_ratio_does_not_enter(evaluate):
    # p = 0.1 * 2 = 0.2: -A log 0.2, gradient -A, whatever the ratio
    result = evaluate(OnPolicy(), ratio=[2.0, 2.0], advantage=[1.0, -3.0])
    assert result.loss == pytest.approx([-math.log(0.2), 3 * math.log(0.2)])
    assert result.gradient == pytest.approx([-1.0, 3.0])

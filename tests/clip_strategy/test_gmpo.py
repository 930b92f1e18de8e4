import math

import pytest

from rltoolkit.clip_strategy import GMPO

E = math.e


def test_an_outlier_is_clipped_and_the_others_keep_their_gradient(evaluate):
    # log r = (1, 0), A = 1: (min(1, 0.4) + 0) / 2 = 0.2, loss -e^0.2 for each token
    # the row's sum is -2 e^0.2, and d(mean) / d log p = 1/2 for the second token only: -e^0.2
    result = evaluate(GMPO(), ratio=[E, 1.0], advantage=[1.0, 1.0])
    assert result.loss == pytest.approx([-math.exp(0.2)] * 2)
    assert result.gradient == pytest.approx([0.0, -math.exp(0.2)])
    assert result.high == [True, False]


def test_the_floor_holds_for_negative_advantages_only(evaluate):
    # log r = (-1, 0). A = -1: (-0.4 + 0) / 2 = -0.2, loss e^-0.2 | A = 1: (-1 + 0) / 2 = -0.5, loss -e^-0.5
    down = evaluate(GMPO(), ratio=[1 / E, 1.0], advantage=[-1.0, -1.0])
    assert (down.loss, down.low) == (pytest.approx([math.exp(-0.2)] * 2), [True, False])
    up = evaluate(GMPO(), ratio=[1 / E, 1.0], advantage=[1.0, 1.0])
    assert (up.loss, up.low) == (pytest.approx([-math.exp(-0.5)] * 2), [False, False])


@pytest.mark.parametrize("field", ["epsilon_low", "epsilon_high"])
def test_range(field):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}=-0.1: must be at least 0 \(clip_strategy=gmpo\)"):
        GMPO(**{field: -0.1})

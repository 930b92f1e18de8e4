import pytest

from rltoolkit.clip_strategy import DualClip


def test_an_exploded_ratio_is_capped_for_negative_advantages(evaluate):
    # A<0, r 4 > c = 3: 3 * 2 instead of 4 * 2, no gradient | A<0, r 2 < 3: kept, +2
    # A>0, r 4: the ceiling 1.28 | A<0, r 0.5: the floor, +0.8
    result = evaluate(DualClip(c=3.0), ratio=[4.0, 2.0, 4.0, 0.5], advantage=[-2.0, -1.0, 1.0, -1.0])
    assert result.loss == pytest.approx([6.0, 2.0, -1.28, 0.8])
    assert result.gradient == pytest.approx([0.0, 2.0, 0.0, 0.0])
    assert result.low == [True, False, False, True]
    assert result.high == [False, False, True, False]


def test_range():
    with pytest.raises(ValueError, match=r"clip_strategy.c=1.0: must be above 1 \(clip_strategy=dual_clip\)"):
        DualClip(c=1.0)

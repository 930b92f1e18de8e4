import pytest

from rltoolkit.clip_strategy import DPPOTV


def test_drops_what_moved_too_much_probability_outwards(evaluate):
    # 0.5 -> 0.7: +0.2 > 0.15, A>0 dropped, A<0 comes back, +1.4
    # 0.5 -> 0.3: -0.2 < -0.15, A<0 dropped, A>0 comes back, -0.6 | 0.01 -> 0.05: +0.04 is allowed although r = 5
    result = evaluate(
        DPPOTV(delta=0.15),
        ratio=[1.4, 1.4, 0.6, 0.6, 5.0],
        advantage=[1.0, -1.0, -1.0, 1.0, 1.0],
        old_probability=[0.5, 0.5, 0.5, 0.5, 0.01],
    )
    assert result.loss == pytest.approx([0.0, 1.4, 0.0, -0.6, -5.0])
    assert result.gradient == pytest.approx([0.0, 1.4, 0.0, -0.6, -5.0])
    assert result.high == [True, False, False, False, False]
    assert result.low == [False, False, True, False, False]


def test_a_shift_on_the_bound_is_kept(evaluate):
    # delta 0 and no shift at all
    assert evaluate(DPPOTV(delta=0.0), ratio=[1.0, 1.0], advantage=[1.0, -1.0]).gradient == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize("delta", [-0.1, 1.1])
def test_range(delta):
    with pytest.raises(ValueError, match=rf"clip_strategy.delta={delta}: .* \(clip_strategy=dppo_tv\)"):
        DPPOTV(delta=delta)

import pytest

from rltoolkit.clip_strategy import SAPO


def test_the_gate_closes_smoothly(evaluate):
    # sigmoid(1) = 0.7310585786. A = 1, tau 1, r 2: -4 * 0.7310585786 = -2.9242343145
    # gradient -4 sigmoid'(1) r = -4 * (0.7310585786 * 0.2689414214) * 2 = -1.5728954660, less than the ratio's -2
    result = evaluate(SAPO(), ratio=[2.0], advantage=[1.0])
    assert result.loss == pytest.approx([-2.9242343145])
    assert result.gradient == pytest.approx([-1.5728954660])
    assert not any(result.low + result.high)


def test_each_sign_of_the_advantage_has_its_temperature(evaluate):
    # r 1: sigmoid(0) = 1/2 and sigmoid'(0) = 1/4. A = 1, tau 4: -4/4 / 2 = -0.5 | A = -1, tau 2: 4/2 / 2 = 1
    # the gradient is -A 4/tau * tau/4 = -A for both
    result = evaluate(SAPO(tau_pos=4.0, tau_neg=2.0), ratio=[1.0, 1.0], advantage=[1.0, -1.0])
    assert result.loss == pytest.approx([-0.5, 1.0])
    assert result.gradient == pytest.approx([-1.0, 1.0])


@pytest.mark.parametrize("field", ["tau_pos", "tau_neg"])
def test_range(field):
    with pytest.raises(ValueError, match=rf"clip_strategy.{field}=0.0: must be above 0 \(clip_strategy=sapo\)"):
        SAPO(**{field: 0.0})

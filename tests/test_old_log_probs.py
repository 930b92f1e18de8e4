"""Whose log-probs an update's ratio is taken to."""

import math

import pytest
import torch
from tensordict import TensorDict

import rltoolkit
from rltoolkit import old_log_probs
from rltoolkit.errors import ConfigError
from rltoolkit.importance_correction import TIS, NoCorrection
from rltoolkit.old_log_probs import before_updates, require_source_fits, source, within_update

ROLLOUT = [[-1.0, -2.0], [-3.0, -4.0], [-5.0, -6.0]]
SCORED = [[-1.1, -2.1], [-3.5, -4.5], [-5.1, -6.1]]
NOW = [[-1.2, -2.2], [-2.5, -4.0], [-5.2, -6.2]]
"""log-probs of the policy within an update, after it has moved"""


def rows() -> TensorDict:
    """Three rows of two tokens; the second was carried over from an earlier rollout step."""
    carried = torch.tensor([False, True, False])
    return TensorDict({"carried": carried, "rollout_log_probs": torch.tensor(ROLLOUT)}, batch_size=[3])


def score(rows: TensorDict) -> torch.Tensor:
    return torch.tensor(SCORED)


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ("trainer", [SCORED[0], ROLLOUT[1], SCORED[2]]),
        ("engine", ROLLOUT),
        ("update", [NOW[0], ROLLOUT[1], NOW[2]]),
    ],
)
def test_the_three_sources_and_carried_rows_under_each(taken, expected):
    batch = rows()
    before_updates(batch, taken, score)
    now = torch.tensor(NOW, requires_grad=True)
    old = within_update(batch, now)
    assert torch.equal(old, torch.tensor(expected))
    assert not old.requires_grad
    # a policy that has moved since it sampled the carried row starts at the ratio exp(-2.5 - -3.0) = 1.65, which the clip sees;
    # scored by today's policy it would start at 1
    assert (now - old).exp()[1, 0].item() == pytest.approx(math.exp(0.5))
    assert (now - old).exp()[1, 1].item() == 1.0  # -4.0 then and now


def test_only_the_trainer_scores():
    def no_scoring(rows):
        raise AssertionError

    for taken in ("engine", "update"):
        before_updates(rows(), taken, no_scoring)
    with pytest.raises(AssertionError):
        before_updates(rows(), "trainer", no_scoring)


def test_what_an_update_scores_itself_starts_at_ratio_one():
    batch = rows()
    before_updates(batch, old_log_probs.UPDATE, score)
    assert batch["scored_in_update"].tolist() == [True, False, True]
    now = torch.tensor(NOW, requires_grad=True)
    ratio = (now - within_update(batch, now)).exp()
    assert ratio[[0, 2]].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    ratio[0].sum().backward()
    assert now.grad[0].tolist() == [1.0, 1.0]  # d exp(x - stop(x)) / dx = 1: still a policy gradient


def test_the_engines_log_probs_are_copied():
    batch = rows()
    before_updates(batch, "engine", score)
    batch["old_log_probs"][0, 0] = 7.0
    assert batch["rollout_log_probs"][0, 0] == -1.0


@pytest.mark.parametrize(
    ("asked", "updates", "taken"),
    [
        ("auto", 2, "trainer"),
        ("auto", 1, "update"),  # the update's own log-probs are those before it
        ("trainer", 1, "trainer"),
        ("engine", 2, "engine"),
        ("engine", 1, "engine"),
    ],
)
def test_whose_log_probs_a_run_takes(asked, updates, taken):
    assert source(asked, updates) == taken


def test_a_correction_has_nothing_to_compare_where_the_engines_log_probs_are_the_old_ones():
    message = (
        r"trainer\.old_log_probs=engine: importance_correction=tis .* would find no difference; set importance_correction=none"
    )
    with pytest.raises(ValueError, match=message):
        require_source_fits("engine", TIS())
    with pytest.raises(ConfigError, match=message):
        rltoolkit.load("trainer.old_log_probs=engine", "importance_correction=tis")
    require_source_fits("engine", NoCorrection())
    require_source_fits("trainer", TIS())

"""Comparing the engine's log-probs with the trainer's."""

from __future__ import annotations

import pytest
import torch

from rltoolkit.rollout_engine import StaleWeights, parity_gap, require_parity

ENGINE = [torch.tensor([-1.0, -2.0]), torch.tensor([-0.5])]


def test_the_gap_is_measured_over_all_tokens():
    # |-1 - -1.25| = 0.25, |-2 - -2| = 0, |-0.5 - -0.875| = 0.375: mean 0.625 / 3
    gap = parity_gap(ENGINE, [torch.tensor([-1.25, -2.0]), torch.tensor([-0.875])])
    assert gap.mean == pytest.approx(0.625 / 3)
    assert gap.largest == 0.375


def test_a_gap_within_the_tolerance_is_returned():
    assert require_parity(ENGINE, ENGINE, tolerance=0.0, version=3) == (0.0, 0.0)


# only the last of three tokens differs: by 0.75, 0.25 on average
@pytest.mark.parametrize(("other", "gap"), [(-1.25, "0.25 on average and 0.75 at most"), (float("nan"), "inf on average")])
def test_a_larger_gap_is_an_error_that_names_it(other, gap):
    with pytest.raises(StaleWeights, match=rf"version 3 .* by {gap}.*: 0.1\)"):
        require_parity(ENGINE, [ENGINE[0], torch.tensor([other])], tolerance=0.1, version=3)

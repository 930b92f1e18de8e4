from itertools import combinations
from math import sqrt

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rltoolkit.advantage_estimator import GroupNormalized, PassAtK


def test_closed_form(make_rollouts):
    # G = 4, one correct, k = 2. W = 3: C(3,2) / C(4,2) = 3/6, so S = 1/2 and D = 1/2
    # A_correct = (1/2) / (1/2) = 1;  C(2,1) / C(3,1) = 2/3, A_wrong = (1/2 - 2/3) / (1/2) = -1/3
    rollouts = make_rollouts(reward=[[0.0] * 4], correct=[[True, False, False, False]])
    assert PassAtK(k=2)(rollouts).tolist() == [pytest.approx([1, -1 / 3, -1 / 3, -1 / 3])]


def test_nothing_is_left_to_gain_once_every_subset_passes(make_rollouts):
    # k = 2: with one wrong response every pair holds a correct one; all wrong and all correct have no difference either
    correct = [[True, True, True, False], [False] * 4, [True] * 4]
    assert not PassAtK(k=2)(make_rollouts(reward=[[0.0] * 4] * 3, correct=correct)).any()


@given(correct=st.lists(st.booleans(), min_size=2, max_size=7), k=st.integers(1, 4))
def test_it_is_the_mean_over_all_subsets_of_k(make_rollouts, correct, k):
    k = min(k, len(correct))
    subsets = list(combinations(range(len(correct)), k))
    passes = [float(any(correct[i] for i in subset)) for subset in subsets]
    share = sum(passes) / len(passes)
    deviation = sqrt(share * (1 - share))
    expected = [0.0] * len(correct)
    if deviation > 0:
        for i in range(len(correct)):
            own = [(one - share) / deviation for subset, one in zip(subsets, passes, strict=True) if i in subset]
            expected[i] = sum(own) / len(own)
    found = PassAtK(k=k)(make_rollouts(reward=[[0.0] * len(correct)], correct=[correct]))
    assert found.tolist() == [pytest.approx(expected, abs=1e-6)]


def test_k_of_1_is_group_normalized(make_rollouts):
    rollouts = make_rollouts(reward=[[1.0, 0.0, 0.0, 1.0, 1.0]])
    torch.testing.assert_close(PassAtK(k=1)(rollouts), GroupNormalized(bessel=False, eps=1e-12)(rollouts))


def test_excluded_rows_are_in_no_subset(make_rollouts):
    # the four counted rows are those of the closed form above
    rollouts = make_rollouts(
        reward=[[0.0] * 5], correct=[[True, False, False, False, True]], trained=[[True, True, True, True, False]]
    )
    assert PassAtK(k=2, exclude_masked=True)(rollouts).tolist() == [pytest.approx([1, -1 / 3, -1 / 3, -1 / 3, 0])]


def test_k_beyond_the_group_is_refused(make_rollouts):
    assert PassAtK(k=4).min_group_size == 4
    with pytest.raises(ValueError, match="advantage_estimator=pass_at_k: group size 3 is too small, at least 4 is needed"):
        PassAtK(k=4)(make_rollouts(reward=[[1.0, 0.0, 0.0]]))
    with pytest.raises(ValueError, match=r"advantage_estimator.k=0: .* \(advantage_estimator=pass_at_k\)"):
        PassAtK(k=0)

import pytest
import torch
from rltoolkit_example.truncation_limit import TruncationLimit
from tensordict import TensorDict

from rltoolkit import registry


def groups(*truncated, size):
    """Rollouts [P, G] of which group p has truncated[p] truncated responses, the last ones."""
    flags = torch.tensor([[i >= size - count for i in range(size)] for count in truncated])
    return TensorDict({"truncated": flags}, batch_size=flags.shape)


def test_a_group_at_the_limit_is_kept():
    # of four responses 0, 1, 2, 3, 4 are truncated: fractions 0, 0.25, 0.5, 0.75, 1
    rollouts = groups(0, 1, 2, 3, 4, size=4)
    assert TruncationLimit(max_fraction=0.5)(rollouts).tolist() == [True, True, True, False, False]
    assert TruncationLimit(max_fraction=0.0)(rollouts).tolist() == [True, False, False, False, False]
    assert TruncationLimit(max_fraction=1.0)(rollouts).all()


@pytest.mark.parametrize("count", range(11))
def test_the_fraction_is_the_number_as_written(count):
    # 0.1, 0.3 and 0.7 have no exact binary form; count of 10 must still be at the limit count / 10, and count + 1 beyond it
    limit = TruncationLimit(max_fraction=float(f"{count / 10:.1f}"))
    assert limit(groups(count, min(count + 1, 10), size=10)).tolist() == [True, count == 10]


@pytest.mark.parametrize("max_fraction", [-0.1, 1.1])
def test_range(max_fraction):
    message = rf"sampler_filter.truncation_limit.max_fraction={max_fraction}: must be in \[0, 1\]"
    with pytest.raises(ValueError, match=message):
        TruncationLimit(max_fraction=max_fraction)


def test_the_entry_point_makes_it_known_by_name():
    assert registry.build("sampler_filter", "truncation_limit", max_fraction=0.25) == TruncationLimit(max_fraction=0.25)

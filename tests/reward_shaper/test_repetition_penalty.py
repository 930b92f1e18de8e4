import pytest

from rltoolkit.reward_shaper import RepetitionPenalty


def test_share_of_repeated_ngrams(make_rollouts):
    # n = 2.  1 2 3 4: pairs 12 23 34, all distinct: 0
    #         1 2 1 2: pairs 12 21 12, 2 of 3 distinct: 1/3
    #         5 5 5 5: pairs 55 55 55, 1 of 3 distinct: 2/3
    #         9:       no pair: 0
    rollouts = make_rollouts(reward=[[1.0, 1.0, 1.0, 1.0]], token=[[[1, 2, 3, 4], [1, 2, 1, 2], [5, 5, 5, 5], [9]]])
    shaped = RepetitionPenalty(ngram=2, factor=0.5)(rollouts)
    assert shaped["reward"].tolist() == [pytest.approx([1.0, 1 - 0.5 / 3, 1 - 1.0 / 3, 1.0])]


def test_windows_begin_at_tokens(make_rollouts):
    # 256 and 1 are shifted copies of each other's bytes; as tokens 256 1 256 holds two pairs, both distinct
    rollouts = make_rollouts(reward=[[0.0]], token=[[[256, 1, 256]]])
    assert RepetitionPenalty(ngram=2)(rollouts)["reward"].tolist() == [[0.0]]


@pytest.mark.parametrize(("field", "value"), [("ngram", 0), ("factor", -1.0)])
def test_ranges(field, value):
    with pytest.raises(
        ValueError, match=rf"reward_shaper.repetition_penalty.{field}={value}: .* \(reward_shaper=repetition_penalty\)"
    ):
        RepetitionPenalty(**{field: value})

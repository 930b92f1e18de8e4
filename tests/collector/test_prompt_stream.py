"""Positions of the stream: every problem once in a pass, and a seed of its own for each."""

from rltoolkit.collector.prompt_stream import EncodedProblem, PromptStream
from rltoolkit.prompt_sampler import Sequential, Shuffled

PROBLEMS = [EncodedProblem(tokens=[row], answer=str(row), index=row) for row in range(3)]


def test_passes_follow_upon_each_other():
    stream = PromptStream(PROBLEMS, Sequential(), seed=0)
    assert [stream.problem_at(position).index for position in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_a_position_has_its_problem_in_whatever_order_it_is_asked():
    asked = PromptStream(PROBLEMS, Shuffled(), seed=1)
    forwards = [asked.problem_at(position).index for position in range(30)]
    backwards = [asked.problem_at(position).index for position in reversed(range(30))]
    assert forwards == backwards[::-1]
    passes = [forwards[start : start + 3] for start in range(0, 30, 3)]
    assert all(sorted(each) == [0, 1, 2] for each in passes)
    assert len({tuple(each) for each in passes}) > 1


def test_seeds_differ_between_positions_and_runs_and_stay_below_63_bits():
    one, other = (PromptStream(PROBLEMS, Sequential(), seed=seed) for seed in (3, 4))
    seeds = [stream.seed_at(position) for stream in (one, other) for position in range(2000)]
    assert len(set(seeds)) == 4000
    assert max(seeds) < 2**62

"""From an engine to a samples file: problem by problem, as they finish, those that are there already left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rltoolkit.collector.prompt_stream import EncodedProblem
from rltoolkit.evaluation import problem_seeds
from rltoolkit.evaluations.samples import Sample, SampleFile
from rltoolkit.reward_function.base import RewardFunction, extractor_of
from rltoolkit.rollout_batch import text_list
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling

if TYPE_CHECKING:
    from tensordict import TensorDict

IN_FLIGHT = 64
"""Problems that the engine holds at once."""


def sample_problems(
    engine: RolloutEngine,
    problems: Sequence[EncodedProblem],
    reward_function: RewardFunction,
    file: SampleFile,
    *,
    k: int,
    sampling: Sampling,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    progress: Callable[[int], None] = lambda done: None,
) -> None:
    """Sample each problem that the file lacks k times, judge the responses and append them.

    Response g to problem p is drawn with a seed of (seed, p, g) alone, the same that ``rltoolkit.evaluation.evaluate`` draws it with,
    so neither interruptions nor the order in which problems finish change it. Several ranks deal the problems out among themselves.
    ``progress`` is told the number of problems done, as far as this rank knows.
    """
    seeds = problem_seeds(seed, len(problems))
    waiting = [row for row in range(len(problems)) if problems[row].index not in file.groups][rank::world_size]
    if not waiting:
        return
    with engine.stream(k, sampling) as stream:
        in_flight = 0
        while waiting or in_flight:
            batch, waiting = waiting[: IN_FLIGHT - in_flight], waiting[IN_FLIGHT - in_flight :]
            if batch:
                stream.submit(batch, [problems[row].tokens for row in batch], [seeds[row] for row in batch])
            finished = stream.next_finished()
            assert finished is not None  # without a timeout it waits
            rows, rollouts = finished
            for group in judged(rollouts, [problems[row] for row in rows], reward_function):
                file.append(group)
            in_flight += len(batch) - len(rows)
            progress(len(file.groups))


def judged(rollouts: TensorDict, problems: Sequence[EncodedProblem], reward_function: RewardFunction) -> list[list[Sample]]:
    """The k responses [P, k] to each of P problems, with the verifier's verdict."""
    k, texts, extract = rollouts.shape[1], text_list(rollouts, "response_text"), extractor_of(reward_function)
    correct = reward_function(texts, [problem.answer for problem in problems for _ in range(k)]).correct.tolist()
    tokens, truncated = (rollouts[name].flatten().tolist() for name in ("response_length", "truncated"))
    return [
        [
            Sample(
                problem.index,
                at - start,
                tokens[at],
                texts[at],
                extract(texts[at]) if extract else None,
                correct[at],
                truncated[at],
            )
            for at in range(start, start + k)
        ]
        for start, problem in zip(range(0, len(texts), k), problems, strict=True)
    ]

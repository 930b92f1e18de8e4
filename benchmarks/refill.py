"""Continuous refill against generation in rounds, on a simulated engine; and what the collector itself costs.

    python benchmarks/refill.py [--slots 512] [--seed 0]
    python benchmarks/refill.py --groups 100000

The engine of the first table has a number of slots, each of which samples one token of one response in a decode step; waiting
responses take free slots in turn. Lengths are log-normal, between prompts and within a group, and cut at 8,192 tokens; a group
is accepted by chance, whatever its length. Ways to collect P groups:

    continuous   the collector: a rejected group's successor is submitted while the others run, surplus is carried
    no_carry     the same with carry_surplus=False: what runs when P groups are kept is dropped
    rounds       as many groups as the recent acceptance rate says are missing, wait for all of them, until P are kept; surplus
                 is carried
    batches      P groups, wait for all of them, until P are kept; surplus is thrown away (verl's way)

``groups`` and ``tokens`` are what was generated, as a multiple of the fewest groups that hold as many accepted ones, in stream
order, as were trained on or carried out of the last step. ``lost`` and ``carried`` are groups for each one trained on. Times are
for a rollout step, but for the first, before which the acceptance rate is not known.

The second table runs the real collector over ever more groups and takes the simulation's own time out.
"""

from __future__ import annotations

import argparse
import csv
import heapq
import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict

from rltoolkit.advantage_estimator import GroupCentered
from rltoolkit.collector import Collector
from rltoolkit.collector.prompt_stream import EncodedProblem, PromptStream
from rltoolkit.collector.refill import Refill
from rltoolkit.prompt_sampler import Sequential
from rltoolkit.reward_function import ExactMatch
from rltoolkit.rollout_batch import text_entry
from rltoolkit.rollout_engine.base import Sampling
from rltoolkit.sampler_filter import DynamicSampling

GROUP = 16
MEDIAN_LENGTH, SPREAD, LONGEST = 1000, 0.5, 8192
"""Tokens; the spread is the standard deviation of log-lengths, once between prompts and once within a group."""
PROMPTS_AND_STEPS = ((8, 49), (32, 17), (128, 5), (512, 3))
ACCEPTANCE = (0.1, 0.3, 0.5, 0.7, 0.9)


class SimulatedEngine:
    """Continuous batching in decode steps instead of seconds."""

    def __init__(self, slots: int, acceptance: float, seed: int) -> None:
        self.slots, self.acceptance, self.seed = slots, acceptance, seed
        self.now, self.tokens = 0.0, 0.0
        self.version = 0
        self.own_seconds = 0.0

    def accepted(self, position: int) -> bool:
        """The verdict on a group, a function of its position."""
        return random.Random(f"{self.seed} verdict {position}").random() < self.acceptance

    def lengths(self, position: int) -> list[float]:
        """Tokens of each response."""
        draw = random.Random(f"{self.seed} length {position}").gauss
        of_prompt = draw(math.log(MEDIAN_LENGTH), SPREAD)
        return [min(round(math.exp(draw(of_prompt, SPREAD))), LONGEST) for _ in range(GROUP)]

    @contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[SimulatedEngine]:
        """See ``RolloutEngine.stream``."""
        self.waiting: list[tuple[int, int]] = []
        self.first_waiting = 0
        self.running: list[tuple[float, int, int]] = []  # end, key, length
        self.missing: dict[int, int] = {}
        yield self
        self.tokens -= sum(end - self.now for end, _, _ in self.running)  # dropped before their end

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``."""

    def submit(
        self, keys: Sequence[int], prompts: Sequence[Sequence[int]] = (), seeds: Sequence[int] = (), first: int = 0
    ) -> None:
        """See ``RolloutStream.submit``."""
        start = time.process_time()
        for key in keys:
            lengths = self.lengths(key)
            self.missing[key] = len(lengths)
            self.waiting += [(length, key) for length in lengths]
        self._fill_slots()
        self.own_seconds += time.process_time() - start

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict]:
        """See ``RolloutStream.next_finished``; time does not run out in a simulation."""
        start = time.process_time()
        key = self.run_to_next()
        rollouts = simulated_group(self.accepted(key), self.version).unsqueeze(0)
        self.own_seconds += time.process_time() - start
        return [key], rollouts

    def run_to_next(self) -> int:
        """Let time pass until a group is finished."""
        while True:
            self.now, key, _ = heapq.heappop(self.running)
            self._fill_slots()
            self.missing[key] -= 1
            if not self.missing[key]:
                return key

    def _fill_slots(self) -> None:
        free = self.slots - len(self.running)
        for length, key in self.waiting[self.first_waiting : self.first_waiting + free]:
            heapq.heappush(self.running, (self.now + length, key, length))
            self.first_waiting += 1
            self.tokens += length


def simulated_group(accepted: bool, version: int) -> TensorDict:
    """A group of one-token responses: half of them right if it is to be accepted, else none."""
    return TensorDict(
        {
            "input_ids": torch.zeros(GROUP, 2, dtype=torch.int64),
            "response_mask": torch.tensor([[False, True]] * GROUP),
            "rollout_log_probs": torch.zeros(GROUP, 2),
            "response_length": torch.ones(GROUP, dtype=torch.int64),
            "truncated": torch.zeros(GROUP, dtype=torch.bool),
            "policy_version": torch.full((GROUP,), version),
            "response_text": text_entry([["yes" if accepted and g % 2 else "no" for g in range(GROUP)]])[0],
        },
        batch_size=GROUP,
    )


def make_collector(engine: SimulatedEngine, prompts: int, **refill: Any) -> Collector:
    return Collector(
        engine=engine,
        prompts=PromptStream([EncodedProblem(tokens=[0], answer="yes", index=0)], Sequential(), seed=0),
        reward_function=ExactMatch(),
        reward_shapers=[],
        sampler_filters=[DynamicSampling()],
        advantage_estimator=GroupCentered(),
        prompts_per_step=prompts,
        group_size=GROUP,
        sampling=Sampling(),
        refill=Refill(max_generation_batches=100, **refill),
    )


class Step(NamedTuple):
    """Groups, but for ``time`` in decode steps."""

    generated: int
    lost: int
    carried_in: int
    carried_out: int
    time: float


def collected(engine: SimulatedEngine, prompts: int, steps: int, **refill: Any) -> list[Step]:
    """Continuous refill: the collector itself."""
    collector, results = make_collector(engine, prompts, **refill), []
    for engine.version in range(steps):
        start, it = engine.now, collector.collect().counters
        generated = it.generated_groups + (0 if collector.refill.carry_surplus else it.dropped_groups)
        results.append(Step(generated, it.dropped_groups, it.carried_in, it.carried_out, engine.now - start))
    return results


def in_rounds(engine: SimulatedEngine, prompts: int, steps: int, by_rate: bool) -> list[Step]:
    """Rounds sized by the acceptance rate, surplus carried; or whole batches, surplus thrown away."""
    results, position, surplus, recent = [], 0, 0, 1.0
    for _ in range(steps):
        start, first, kept, accepted = engine.now, position, surplus, 0
        while kept < prompts:
            rate = (prompts * recent + accepted) / (prompts + position - first)
            size = math.ceil((prompts - kept) / max(rate, 0.01)) if by_rate else prompts
            with engine.stream(GROUP, Sampling()) as stream:
                stream.submit(range(position, position + size))
                for _ in range(size):
                    stream.run_to_next()
            new = sum(engine.accepted(each) for each in range(position, position + size))
            position, kept, accepted = position + size, kept + new, accepted + new
        generated, carried, lost = position - first, surplus, 0 if by_rate else kept - prompts
        recent += 0.5 * (accepted / generated - recent) if generated else 0.0
        surplus = kept - prompts if by_rate else 0
        results.append(Step(generated, lost, carried, surplus, engine.now - start))
    return results


WAYS: dict[str, Callable[[SimulatedEngine, int, int], list[Step]]] = {
    "continuous": lambda engine, prompts, steps: collected(engine, prompts, steps),
    "no_carry": lambda engine, prompts, steps: collected(engine, prompts, steps, carry_surplus=False),
    "rounds": lambda engine, prompts, steps: in_rounds(engine, prompts, steps, by_rate=True),
    "batches": lambda engine, prompts, steps: in_rounds(engine, prompts, steps, by_rate=False),
}


def compare(slots: int, seed: int) -> Iterator[dict[str, Any]]:
    """One row for each number of prompts, acceptance rate and way."""
    for prompts, steps in PROMPTS_AND_STEPS:
        for acceptance in ACCEPTANCE:
            time_of_batches = 0.0
            for way in reversed(WAYS):
                engine = SimulatedEngine(slots, acceptance, seed)
                results = WAYS[way](engine, prompts, steps)
                trained = prompts * steps
                fewest = fewest_groups(engine, trained + results[-1].carried_out)
                time_of_step = sum(step.time for step in results[1:]) / (steps - 1)
                time_of_batches = time_of_batches or time_of_step
                yield {
                    "prompts": prompts,
                    "acceptance": acceptance,
                    "way": way,
                    "groups": sum(step.generated for step in results) / fewest,
                    "tokens": engine.tokens / sum(sum(engine.lengths(position)) for position in range(fewest)),
                    "lost": sum(step.lost for step in results) / trained,
                    "carried": sum(step.carried_in for step in results) / trained,
                    "decode_steps": time_of_step,
                    "time_of_batches": time_of_step / time_of_batches,
                }


def fewest_groups(engine: SimulatedEngine, accepted: int) -> int:
    """Length of the shortest beginning of the stream with so many accepted groups."""
    groups = (position + 1 for position in itertools.count() if engine.accepted(position))
    return next(itertools.islice(groups, accepted - 1, None))


def own_cost(groups: int, slots: int) -> Iterator[tuple[int, float]]:
    """(groups generated, the collector's milliseconds of processor time for each) of rollout steps up to about so many groups."""
    for size in (groups // 100, groups // 10, groups):
        engine = SimulatedEngine(slots, 0.5, 0)
        collector = make_collector(engine, max(size // 2, 1))
        start = time.process_time()
        generated = collector.collect().counters.generated_groups
        yield generated, 1e3 * (time.process_time() - start - engine.own_seconds) / generated


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=512, help="responses sampled at the same time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--groups", type=int, help="time the collector itself on so many groups, and write no file")
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.groups:
        print(f"{'groups':>8} {'ms per group':>13}")
        for generated, milliseconds in own_cost(options.groups, options.slots):
            print(f"{generated:8} {milliseconds:13.3f}", flush=True)
        return
    print("   P  acceptance  way         groups  tokens   lost  carried  decode steps  of batches")
    rows = []
    for row in compare(options.slots, options.seed):
        rows.append(row)
        print(
            "{prompts:4} {acceptance:11.1f}  {way:10} {groups:7.3f} {tokens:7.3f} {lost:6.3f} {carried:8.3f} {decode_steps:13.0f} "
            "{time_of_batches:11.3f}".format(**row),
            flush=True,
        )
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(
            {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )


if __name__ == "__main__":
    main()

"""An engine that answers from a table, and collectors on it."""

import threading
from contextlib import contextmanager

import numpy as np
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

SAMPLING = Sampling(max_new_tokens=4)


class TableEngine:
    """Answers prompt [p] as ``right[p]`` says, whatever the seed; the version is set from outside.

    ``right[p]`` is a string of verdicts, "ynny", or for groups of two the number of right ones, which come first.
    ``pick`` says which of the groups in flight finish next, at first those that were submitted first. ``log`` is what happened.
    """

    def __init__(self, right):
        self.right = [each if isinstance(each, str) else ("y" * each).ljust(2, "n") for each in right]
        self.version, self.pick, self.log = 0, lambda running: running[:1], []

    @contextmanager
    def stream(self, group_size, sampling):
        self.size, self.running = group_size, {}
        yield self
        self.log.append(("drop", list(self.running)))

    def sleep(self):
        self.log.append(("sleep", []))

    def submit(self, keys, prompts, seeds, first=0):
        self.log.append(("submit", list(keys)))
        self.running |= {key: (prompt[0], seed, first) for key, prompt, seed in zip(keys, prompts, seeds, strict=True)}

    def next_finished(self, timeout=None):
        keys = self.pick(list(self.running))
        self.log.append(("finish", keys))
        return (keys, torch.stack([self.group(*self.running.pop(key)) for key in keys])) if keys else None

    def group(self, row, seed, first):
        numbers = range(first, first + self.size)
        mask = torch.tensor([[False, True, True]] * self.size)
        return TensorDict(
            {
                "input_ids": torch.tensor([[row, seed % 97, g] for g in numbers]),
                "response_mask": mask,
                "rollout_log_probs": torch.where(mask, -1.0, 0.0),
                "response_length": torch.full((self.size,), 2),
                "truncated": torch.zeros(self.size, dtype=torch.bool),
                "policy_version": torch.full((self.size,), self.version),
                "response_text": text_entry([["yes" if self.right[row][g] == "y" else "no" for g in numbers]])[0],
            },
            batch_size=self.size,
        )


def make(right, *, prompts=2, group=2, world=1, rank=0, gather=lambda item: [item], kept_of_judged=None, sampler=None, **refill):
    problems = [EncodedProblem(tokens=[row], answer="yes", index=row) for row in range(len(right))]
    collector = Collector(
        engine=TableEngine(right),
        prompts=PromptStream(problems, sampler or Sequential(), seed=3),
        reward_function=ExactMatch(),
        reward_shapers=[],
        sampler_filters=[DynamicSampling()],
        advantage_estimator=GroupCentered(),
        prompts_per_step=prompts,
        group_size=group,
        sampling=SAMPLING,
        refill=Refill(**refill),
        rank=rank,
        world_size=world,
        all_gather=gather,
    )
    if kept_of_judged is not None:
        accepted, judged = kept_of_judged
        collector.load_state_dict({**collector.state_dict(), "accepted": accepted, "judged": judged})
    return collector


def make_ranks(right, world, **settings):
    """Collectors that exchange objects as ranks do, each to be used in a thread of its own."""
    items, barrier = [None] * world, threading.Barrier(world)

    def gather(rank, item):
        items[rank] = item
        barrier.wait()
        everyone = list(items)
        barrier.wait()
        return everyone

    return [
        make(right, world=world, rank=rank, gather=lambda item, rank=rank: gather(rank, item), **settings)
        for rank in range(world)
    ]


def kept(step):
    return step.rollouts["prompt_index"][:, 0].tolist()


def shuffled(generator):
    """Any groups in flight finish next, now and then none in time."""
    return lambda running: generator.sample(running, generator.randint(0, min(3, len(running))))


def plain(value):
    """A state with lists for its arrays, to be compared."""
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray) else value


def outcome(collector, steps=4):
    """Everything a few rollout steps hand to training, and what is known and carried after the last."""
    outcomes = []
    for version in range(steps):
        collector.engine.version = version
        step = collector.collect()
        outcomes.append((kept(step), step.rollouts["input_ids"].tolist(), step.sampled["prompt_index"].tolist(), step.counters))
    state = collector.state_dict()
    return outcomes, [group["position"] for group in state.pop("carried")], plain(state)

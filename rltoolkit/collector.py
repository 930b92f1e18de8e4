"""The collector: prompts -> rollouts -> rewards -> shaping -> filter and refill -> advantages.

Prompts form one endless stream; its order is a function of the seed alone. Position i of the stream has a problem and a
random seed of its own, so the groups kept in a rollout step, the first P in stream order that pass the filters, are a function
of (seed, policy): the number of ranks and the engine's batching do not matter. Groups kept beyond P are carried to the next
step together with their policy version, or their prompts are sampled again (``carry_surplus=False``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

import torch
from tensordict import TensorDict

from rltoolkit.rollout_batch import stack_groups, text_entry, text_list
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling

ACCEPTANCE_MEMORY = 0.5
"""Weight of the newest rollout step in the running acceptance rate that sizes the first request of the next one."""


class AtLimit(Enum):
    """What to do when the generation limit of a rollout step is reached before P groups are kept."""

    RAISE = "raise"
    TRAIN_PARTIAL = "train_partial"
    FILL_WITH_REJECTED = "fill_with_rejected"


@dataclass(kw_only=True)
class Refill:
    """How a rollout step is refilled when sampler filters reject groups (config key ``collector``)."""

    max_generation_batches: int = 10
    """at most this many times P groups are generated in one rollout step"""
    at_limit: AtLimit = AtLimit.TRAIN_PARTIAL
    carry_surplus: bool = True
    """kept groups beyond P go to the next step; False: their prompts are sampled again"""
    max_carried_age: int = 1
    """rollout steps after which a carried group is dropped"""


class GenerationLimit(RuntimeError):
    """The generation limit was reached before P groups were kept; the message says what was rejected and why."""


@dataclass(frozen=True, kw_only=True)
class EncodedProblem:
    """A prompt as token ids, with its reference answer and its row in the task."""

    tokens: list[int]
    answer: str
    index: int


@dataclass
class Counters:
    """What one rollout step cost and what became of its groups."""

    generated_groups: int = 0
    kept_groups: int = 0
    rejected_all_correct: int = 0
    rejected_all_wrong: int = 0
    rejected_other: int = 0
    carried_in: int = 0
    carried_out: int = 0
    dropped_groups: int = 0
    filled_groups: int = 0
    generation_rounds: int = 0
    generated_tokens: int = 0
    trained_tokens: int = 0

    @property
    def acceptance_rate(self) -> float:
        """Share of the generated groups that passed the filters."""
        rejected = self.rejected_all_correct + self.rejected_all_wrong + self.rejected_other
        return 1 - rejected / self.generated_groups if self.generated_groups else 1.0


@dataclass
class CollectedStep:
    """One rollout step, ready to train on: [P, G] rollouts with advantages, and its counters.

    ``sampled`` holds every group generated in the step, rejected ones included: what accuracy, length and truncation are
    measured on, since the kept groups are a biased sample of the policy.
    """

    rollouts: TensorDict
    sampled: TensorDict
    counters: Counters
    seconds: float
    """wall time of sampling, verifying, shaping and filtering"""


@dataclass
class _Group:
    position: int
    rollouts: TensorDict  # [G]
    keep: bool


@dataclass
class _State:
    """What has to survive a restart."""

    position: int = 0
    rollout_step: int = 0
    acceptance_rate: float = 1.0
    carried: list[_Group] = field(default_factory=list)


class Collector:
    """Makes one rollout step after another.

    Args:
        engine: samples responses.
        problems: the encoded training problems.
        prompt_sampler: the order of each pass over them.
        reward_function, reward_shapers, sampler_filters, advantage_estimator: the components.
        prompts_per_step: P. group_size: G.
        rank, world_size, all_gather: the groups of a request are dealt to the ranks in turn; ``all_gather`` collects one
            Python object from each rank, in the order of the ranks.
        adjust: changes the kept rollouts [P, G] before their advantages are computed (KL in the reward).
        on_progress: called with (kept groups, groups needed) after every request.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        problems: Sequence[EncodedProblem],
        prompt_sampler: Callable[[int, int, int], torch.Tensor],
        reward_function: Any,
        reward_shapers: Sequence[Any],
        sampler_filters: Sequence[Any],
        advantage_estimator: Any,
        prompts_per_step: int,
        group_size: int,
        sampling: Sampling,
        seed: int,
        refill: Refill | None = None,
        rank: int = 0,
        world_size: int = 1,
        all_gather: Callable[[Any], list[Any]] = lambda item: [item],
        adjust: Callable[[TensorDict], TensorDict] = lambda rollouts: rollouts,
        on_progress: Callable[[int, int], None] = lambda kept, needed: None,
    ) -> None:
        self.engine = engine
        self.problems = problems
        self.prompt_sampler = prompt_sampler
        self.reward_function = reward_function
        self.reward_shapers = reward_shapers
        self.sampler_filters = sampler_filters
        self.advantage_estimator = advantage_estimator
        self.prompts_per_step = prompts_per_step
        self.group_size = group_size
        self.sampling = sampling
        self.seed = seed
        self.refill = refill or Refill()
        self.rank, self.world_size, self.all_gather = rank, world_size, all_gather
        self.adjust = adjust
        self.on_progress = on_progress
        self._state = _State()
        self._order: tuple[int, list[int]] = (-1, [])

    @property
    def rollout_step(self) -> int:
        """Rollout steps collected so far."""
        return self._state.rollout_step

    def collect(self) -> CollectedStep:
        """The next rollout step. Nothing changes in the collector's state if generation is interrupted.

        Raises:
            GenerationLimit: under ``at_limit=raise``, or when not a single group was kept.
        """
        start, state, counters = time.perf_counter(), self._state, Counters()
        kept = [group for group in state.carried if self._age(group) <= self.refill.max_carried_age]
        counters.carried_in, counters.dropped_groups = len(kept), len(state.carried) - len(kept)
        generated: list[_Group] = []
        position, limit = state.position, self.refill.max_generation_batches * self.prompts_per_step
        while len(kept) < self.prompts_per_step and len(generated) < limit:
            size = min(self._request_size(self.prompts_per_step - len(kept), generated), limit - len(generated))
            groups = self._generate(range(position, position + size))
            position += size
            generated += groups
            kept += [group for group in groups if group.keep]
            counters.generation_rounds += 1
            self.on_progress(min(len(kept), self.prompts_per_step), self.prompts_per_step)
        self._count(counters, generated)
        chosen, surplus = kept[: self.prompts_per_step], kept[self.prompts_per_step :]
        if len(chosen) < self.prompts_per_step:
            chosen = self._at_limit(chosen, generated, counters)
        if surplus and not self.refill.carry_surplus:
            counters.dropped_groups += len(surplus)
            position, surplus = surplus[0].position, []
        counters.carried_out = len(surplus)
        counters.kept_groups = len(chosen)
        rollouts = self.adjust(stack_groups(group.rollouts for group in chosen))
        rollouts["advantage"] = self.advantage_estimator(rollouts)
        counters.trained_tokens = int(rollouts["loss_mask"].sum())
        if generated:
            rate = counters.acceptance_rate
            state.acceptance_rate += ACCEPTANCE_MEMORY * (rate - state.acceptance_rate)
        state.position, state.carried = position, surplus
        state.rollout_step += 1
        sampled = stack_groups(group.rollouts for group in (generated or chosen))
        return CollectedStep(rollouts=rollouts, sampled=sampled, counters=counters, seconds=time.perf_counter() - start)

    def state_dict(self) -> dict[str, Any]:
        """Stream position, carried groups and running acceptance rate."""
        return {**vars(self._state), "carried": [vars(group) for group in self._state.carried]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken."""
        self._state = _State(**{**state, "carried": [_Group(**group) for group in state["carried"]]})

    def _request_size(self, needed: int, generated: list[_Group]) -> int:
        """As many groups as the recent acceptance rate says are needed for the missing ones."""
        prior = self.prompts_per_step
        accepted = sum(group.keep for group in generated) + prior * self._state.acceptance_rate
        rate = accepted / (len(generated) + prior)
        return math.ceil(needed / max(rate, 1 / self.refill.max_generation_batches))

    def _generate(self, positions: range) -> list[_Group]:
        """Sample, verify, shape and judge the groups at these positions of the stream, shared among the ranks."""
        mine = list(positions)[self.rank :: self.world_size]
        shares = self.all_gather(self._generate_here(mine) if mine else [])
        return sorted((group for share in shares for group in share), key=lambda group: group.position)

    def _generate_here(self, positions: list[int]) -> list[_Group]:
        problems = [self.problem_at(position) for position in positions]
        seeds = [self.seed_at(position) for position in positions]
        rollouts = self.engine.generate([problem.tokens for problem in problems], self.group_size, self.sampling, seeds)
        answers = [[problem.answer] * self.group_size for problem in problems]
        verdict = self.reward_function(text_list(rollouts, "response_text"), [answer for row in answers for answer in row])
        shape = (len(problems), self.group_size)
        rollouts["answer"] = text_entry(answers)
        rollouts["prompt_index"] = torch.tensor([problem.index for problem in problems]).unsqueeze(1).expand(shape).contiguous()
        rollouts["correct"] = verdict.correct.reshape(shape)
        rollouts["reward"] = verdict.reward.reshape(shape)
        rollouts["loss_mask"] = rollouts["response_mask"].clone()
        for shaper in self.reward_shapers:
            rollouts = shaper(rollouts)
        keep = torch.ones(len(problems), dtype=torch.bool)
        for sampler_filter in self.sampler_filters:
            keep &= sampler_filter(rollouts)
        return [_Group(*row) for row in zip(positions, rollouts.unbind(0), keep.tolist(), strict=True)]

    def problem_at(self, position: int) -> EncodedProblem:
        """The problem at a position of the stream."""
        epoch, offset = divmod(position, len(self.problems))
        if self._order[0] != epoch:
            self._order = (epoch, self.prompt_sampler(len(self.problems), epoch, self.seed).tolist())
        return self.problems[self._order[1][offset]]

    def seed_at(self, position: int) -> int:
        """The random seed of a position: splitmix64 of (run seed, position), cut to 62 bits so that seed + g stays an int64."""
        mixed = (self.seed * 0x9E3779B97F4A7C15 + position * 0xD1B54A32D192ED03 + 0x2545F4914F6CDD1D) & (2**64 - 1)
        for multiplier, shift in ((0xBF58476D1CE4E5B9, 30), (0x94D049BB133111EB, 27)):
            mixed = ((mixed ^ (mixed >> shift)) * multiplier) & (2**64 - 1)
        return (mixed ^ (mixed >> 31)) >> 2

    def _age(self, group: _Group) -> int:
        """Rollout steps since the group was sampled: its version is the rollout step that sampled it."""
        return self._state.rollout_step - int(group.rollouts["policy_version"].min())

    def _at_limit(self, chosen: list[_Group], generated: list[_Group], counters: Counters) -> list[_Group]:
        rejected = (
            f"{counters.rejected_all_correct} all-correct, {counters.rejected_all_wrong} all-wrong, "
            f"{counters.rejected_other} for other reasons"
        )
        if self.refill.at_limit is AtLimit.FILL_WITH_REJECTED:
            spare = [group for group in generated if not group.keep][: self.prompts_per_step - len(chosen)]
            counters.filled_groups = len(spare)
            return chosen + spare
        if self.refill.at_limit is AtLimit.RAISE or not chosen:
            raise GenerationLimit(
                f"kept {len(chosen)} of prompts_per_step={self.prompts_per_step} groups after generating {len(generated)} "
                f"(collector.max_generation_batches={self.refill.max_generation_batches}); rejected: {rejected}. Make the task "
                "easier or harder, raise the limit, or set collector.at_limit=TRAIN_PARTIAL or FILL_WITH_REJECTED"
            )
        return chosen

    def _count(self, counters: Counters, generated: list[_Group]) -> None:
        counters.generated_groups = len(generated)
        counters.generated_tokens = sum(int(group.rollouts["response_length"].sum()) for group in generated)
        for group in generated:
            if group.keep:
                continue
            correct = group.rollouts["correct"]
            if bool(correct.all()):
                counters.rejected_all_correct += 1
            elif not bool(correct.any()):
                counters.rejected_all_wrong += 1
            else:
                counters.rejected_other += 1


def counter_metrics(counters: Counters) -> dict[str, float]:
    """Counters and the ratios that follow from them, for the log."""
    trained = max(counters.trained_tokens, 1)
    return {
        **asdict(counters),
        "acceptance_rate": counters.acceptance_rate,
        "generated_per_trained_token": counters.generated_tokens / trained,
    }

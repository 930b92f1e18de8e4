"""The collector: prompts -> rollouts -> rewards -> shaping -> filter and refill -> advantages.

Prompts form one endless stream (``prompt_stream``), of which each position has a problem and a random seed of its own, fixed when the
rollout step begins. So the groups kept in a step, the first P in stream order that pass the filters, are a function of (seed, policy):
the number of ranks, the engine's batching and the order in which groups finish do not matter. What the step's groups have shown,
rejected ones included, is told to the prompt sampler when the step has ended, in stream order, on every rank.

Groups kept beyond P are carried to the next step together with their policy version. With ``carry_surplus=False`` a step ends with
its last group instead: whatever was submitted beyond it is dropped, and its prompts are sampled again, or others if the prompt sampler
has learned better.

Groups are verified and filtered as they finish, while the others are being sampled, and ``Schedule`` says at once which
positions come next. With ``collector.pilot_size`` a group that looks hopeless after its first responses is not finished; see ``pilot``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch

from rltoolkit.advantage_estimator.base import AdvantageEstimator
from rltoolkit.collector.counters import Counters
from rltoolkit.collector.judge import Judge
from rltoolkit.collector.pilot import GroupsInFlight
from rltoolkit.collector.prompt_stream import PromptStream
from rltoolkit.collector.refill import AT_LIMIT, Refill
from rltoolkit.collector.schedule import Decision, Schedule
from rltoolkit.collector.step import CollectedStep, CollectorState, Group
from rltoolkit.errors import RunFailed
from rltoolkit.reward_function.base import RewardFunction
from rltoolkit.reward_shaper.base import RewardShaper
from rltoolkit.rollout_batch import stack_groups
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling
from rltoolkit.sampler_filter.base import SamplerFilter

if TYPE_CHECKING:
    from tensordict import TensorDict

ACCEPTANCE_MEMORY = 0.5
"""Weight of earlier rollout steps in the acceptance rate; halves with every step."""
EXCHANGE_SECONDS = 0.2
"""Seconds between two exchanges of decisions among ranks. Exchanging after every group would make all ranks wait for the slowest."""
LOGGED_KEYS = ("response_length", "truncated", "policy_version", "prompt_index", "correct", "reward", "response_text")
"""What of every sampled group is kept for the log; its tokens are not."""
LOGGED_REJECTED = 4
"""Rejected groups of a rollout step that are kept for the log with their tokens."""


class GenerationLimit(RunFailed):
    """The generation limit was reached before P groups were kept; the message says what was rejected and why."""


class Collector:
    """Makes one rollout step after another.

    Args:
        engine: samples responses, then sleeps until it is asked for more.
        prompts: the stream of training problems.
        reward_function, reward_shapers, sampler_filters, advantage_estimator: the components.
        prompts_per_step: P. group_size: G.
        rank, world_size, all_gather: positions are dealt to the ranks in turn; ``all_gather`` collects one Python object from
            each rank, in the order of the ranks.
        adjust: changes the kept rollouts [P, G] before their advantages are computed (KL in the reward, a teacher's log-probs).
        on_progress: called with (kept groups, groups needed) as groups finish.

    Raises:
        ValueError: ``refill.pilot_size`` does not divide ``group_size``.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        prompts: PromptStream,
        reward_function: RewardFunction,
        reward_shapers: Sequence[RewardShaper] = (),
        sampler_filters: Sequence[SamplerFilter] = (),
        advantage_estimator: AdvantageEstimator,
        prompts_per_step: int,
        group_size: int,
        sampling: Sampling,
        refill: Refill | None = None,
        rank: int = 0,
        world_size: int = 1,
        all_gather: Callable[[Any], list[Any]] = lambda item: [item],
        adjust: Callable[[TensorDict], TensorDict] = lambda rollouts: rollouts,
        on_progress: Callable[[int, int], None] = lambda kept, needed: None,
    ) -> None:
        self.engine = engine
        self.prompts = prompts
        self.reward_function = reward_function
        self.reward_shapers = reward_shapers
        self.sampler_filters = sampler_filters
        self.advantage_estimator = advantage_estimator
        self.prompts_per_step = prompts_per_step
        self.group_size = group_size
        self.sampling = sampling
        self.refill = refill or Refill()
        self._pilot_size = self.refill.pilot_of(group_size)
        self.rank, self.world_size, self.all_gather = rank, world_size, all_gather
        self.adjust = adjust
        self.on_progress = on_progress
        # before the first step: P groups, all of them kept
        self._state = CollectorState(accepted=float(prompts_per_step), judged=float(prompts_per_step), prompts=prompts.start())

    @property
    def rollout_step(self) -> int:
        """Rollout steps collected so far."""
        return self._state.rollout_step

    def collect(self) -> CollectedStep:
        """The next rollout step. Raises what ``sample`` raises."""
        step = self.sample()
        self.accept(step)
        return step

    def sample(self) -> CollectedStep:
        """What the next rollout step is; the collector itself does not change until it is given to ``accept``.

        So a signal that ends this call at any point loses nothing: the same step will be sampled again. Raises what ``draw`` raises.
        """
        return self.finish(self.draw())

    def draw(self, on_progress: Callable[[int, int], None] | None = None) -> CollectedStep:
        """The next rollout step before ``finish``: all that needs the engine, and nothing that needs the policy.

        Args:
            on_progress: instead of the collector's own. It is called at least every ``EXCHANGE_SECONDS`` while groups are in flight,
                as far as the engine heeds a timeout; what it raises ends the sampling.

        Raises:
            GenerationLimit: under ``at_limit=raise``, or when not a single group was kept.
            EveryPromptSolved: more groups are needed, and the prompt sampler has no prompt left.
        """
        start, state, counters = time.perf_counter(), self._state, Counters()
        judge = Judge(self.reward_function, self.reward_shapers, self.sampler_filters)
        kept = [group for group in state.carried if state.rollout_step - group.sampled_in <= self.refill.max_carried_age]
        counters.carried_in, counters.dropped_groups = len(kept), len(state.carried) - len(kept)
        generated, abandoned = self._sample(self.prompts_per_step - len(kept), judge, on_progress or self.on_progress)
        self.engine.sleep()  # ``adjust`` may need its memory for a reference model, the updates need it in any case
        counters.dropped_groups += abandoned
        counters.verifier_failures = sum(self.all_gather(judge.failures))
        kept += [group for group in generated if group.keep]
        self._count(counters, generated)
        chosen, surplus = kept[: self.prompts_per_step], kept[self.prompts_per_step :]
        if len(chosen) < self.prompts_per_step:
            chosen = self._at_limit(chosen, generated, counters)
        counters.carried_out = len(surplus)
        counters.kept_groups, counters.trained_responses = len(chosen), len(chosen) * self.group_size
        rollouts = stack_groups(group.rollouts for group in chosen)
        is_carried = torch.tensor([group.sampled_in < state.rollout_step for group in chosen])
        rollouts["carried"] = is_carried.unsqueeze(1).expand(rollouts.batch_size).contiguous()
        counters.trained_tokens = int(rollouts["loss_mask"].sum())
        rejected = (group for group in generated if not group.keep)
        return CollectedStep(
            rollouts=rollouts,
            sampled=torch.stack([group.rollouts.select(*LOGGED_KEYS)[: self._pilot_size] for group in generated or chosen]),
            counters=counters,
            seconds=time.perf_counter() - start,
            seconds_verification=judge.seconds,
            rejected=tuple(islice(rejected, counters.filled_groups, counters.filled_groups + LOGGED_REJECTED)),
            state_after=CollectorState(
                position=state.position + len(generated),
                rollout_step=state.rollout_step + 1,
                accepted=ACCEPTANCE_MEMORY * state.accepted + sum(group.keep for group in generated),
                judged=ACCEPTANCE_MEMORY * state.judged + len(generated),
                carried=tuple(surplus),
                prompts=self.prompts.observe(
                    state.prompts,
                    [int(group.rollouts["correct"].sum()) for group in generated],
                    [len(group.rollouts) for group in generated],
                ),
            ),
        )

    def finish(self, step: CollectedStep) -> CollectedStep:
        """The step that ``draw`` returned, adjusted and with advantages: ready to train on. What it is given does not change."""
        start = time.perf_counter()
        rollouts = self.adjust(step.rollouts.copy())
        rollouts["advantage"] = self.advantage_estimator(rollouts)
        return replace(step, rollouts=rollouts, seconds=step.seconds + time.perf_counter() - start)

    def accept(self, step: CollectedStep) -> None:
        """Go on behind a step that ``sample`` or ``draw`` returned."""
        self._state = step.state_after

    def metrics(self, step: CollectedStep | None = None) -> dict[str, float]:
        """What the prompt sampler has to say after a rollout step; where none is given, after the last one that was accepted."""
        return self.prompts.metrics((step.state_after if step is not None else self._state).prompts)

    def state_dict(self) -> dict[str, Any]:
        """Stream position, carried groups, recent acceptance, and what is known of the prompts."""
        carried = [vars(group) for group in self._state.carried]
        return {**vars(self._state), "carried": carried, "prompts": self.prompts.state_dict(self._state.prompts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where ``state_dict`` was taken. Raises ConfigError for the state of another task or prompt sampler."""
        carried = tuple(Group(**group) for group in state["carried"])
        prompts = self.prompts.load_state_dict(state.get("prompts", {}))
        self._state = CollectorState(**{**state, "carried": carried, "prompts": prompts})

    def _sample(self, needed: int, judge: Judge, on_progress: Callable[[int, int], None]) -> tuple[list[Group], int]:
        """The next groups of the stream, ``needed`` of them kept unless the limit is reached, shared among the ranks.

        The second value counts the groups beyond them that were submitted and dropped.
        """
        first, carry = self._state.position, self.refill.carry_surplus
        limit = self.refill.max_generation_batches * self.prompts_per_step * self.group_size if needed > 0 else 0
        self.prompts.begin_step(
            self._state.prompts,
            first,
            limit // self._pilot_size,
            agree=lambda order: self.all_gather(order if self.rank == 0 else None)[0],
        )
        schedule = Schedule(
            needed=needed,
            limit=limit,
            group_size=self.group_size,
            accepted=self._state.accepted,
            judged=self._state.judged,
            head_start=self.refill.head_start,
            lowest_rate=1 / self.refill.max_generation_batches,
        )
        groups: list[Group] = []
        with self.engine.stream(self._pilot_size, self.sampling) as stream:
            in_flight = GroupsInFlight(
                stream,
                self.prompts,
                judge,
                group_size=self.group_size,
                pilot_size=self._pilot_size,
                sampled_in=self._state.rollout_step,
            )
            in_flight.submit(self._share(schedule.start(), first))
            while schedule.in_flight and (carry or not schedule.complete):
                finished = self._next_groups(in_flight)
                groups += finished
                shares = self.all_gather(
                    [Decision(group.position - first, group.keep, len(group.rollouts)) for group in finished]
                )
                in_flight.submit(self._share(schedule.add(decision for share in shares for decision in share), first))
                missing = max(needed - schedule.accepted, 0)
                on_progress(self.prompts_per_step - missing, self.prompts_per_step)
        taken = schedule.settled if schedule.complete and not carry else schedule.submitted
        shares = self.all_gather([group for group in groups if group.position < first + taken])
        generated = sorted((group for share in shares for group in share), key=lambda group: group.position)
        return generated, schedule.submitted - taken

    def _share(self, offsets: range, first: int) -> list[int]:
        """This rank's positions among those that the schedule submits."""
        return [first + offset for offset in offsets if (first + offset) % self.world_size == self.rank]

    def _next_groups(self, in_flight: GroupsInFlight) -> list[Group]:
        """This rank's next judged groups; with other ranks, those that finish before the next exchange."""
        deadline, groups = time.monotonic() + EXCHANGE_SECONDS, list[Group]()
        while len(in_flight):
            groups += in_flight.next_judged(timeout=max(deadline - time.monotonic(), 0.0))
            if time.monotonic() >= deadline or (groups and self.world_size == 1):
                break
        return groups

    def _at_limit(self, chosen: list[Group], generated: list[Group], counters: Counters) -> list[Group]:
        rejected = (
            f"{counters.rejected_all_correct} all-correct, {counters.rejected_all_wrong} all-wrong, "
            f"{counters.rejected_other} for other reasons"
        )
        if self.refill.at_limit == "fill_with_rejected":
            spare = [group for group in generated if not group.keep][: self.prompts_per_step - len(chosen)]
            counters.filled_groups = len(spare)
            return chosen + spare
        if self.refill.at_limit == "raise" or not chosen:
            possible = AT_LIMIT[1:2] if self.refill.pilot_size else AT_LIMIT[1:]  # a rejected pilot cannot fill a step
            others = " or ".join(choice for choice in possible if choice != self.refill.at_limit)
            raise GenerationLimit(
                f"kept {len(chosen)} of prompts_per_step={self.prompts_per_step} groups after generating {len(generated)} "
                f"(collector.max_generation_batches={self.refill.max_generation_batches}); rejected: {rejected}. Make the task "
                f"easier or harder, {f'raise the limit, or set collector.at_limit={others}' if others else 'or raise the limit'}"
            )
        return chosen

    def _count(self, counters: Counters, generated: list[Group]) -> None:
        counters.generated_groups = len(generated)
        counters.generated_responses = sum(len(group.rollouts) for group in generated)
        counters.generated_tokens = sum(int(group.rollouts["response_length"].sum()) for group in generated)
        fates = Counter(group.fate for group in generated)
        counters.rejected_all_correct, counters.rejected_all_wrong = fates["all_correct"], fates["all_wrong"]
        counters.rejected_other = fates["other"]

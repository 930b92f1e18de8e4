"""Laboratories: one question each, and the quantities in which its answer must show. A technique of the paper has one each.

    python -m rltoolkit +experiment=lab_clip_higher -m

trains each arm with the same seeds; the report then compares every arm with one of them, seed by seed. What a laboratory looks at
is made of the columns of curves.csv and results.csv (``rltoolkit.columns``) and stands here, one entry for each; ``lab_report`` makes
table and figure of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rltoolkit.report.runs import Run, column, last
from rltoolkit.report.statistics import first_reach, height_at, mean_height

Curve = tuple[np.ndarray, np.ndarray]
"""x, ascending, and y: one point for each rollout step"""
CurveOf = Callable[[Run], Curve]
NumberOf = Callable[[Run], float]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a run; ``unit`` is how it is printed, ``against`` the arm that the others are compared with, if not the first."""

    title: str
    of: NumberOf
    unit: str = ".1%"
    against: str | None = None


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One curve of a run; in percent where ``percent``."""

    title: str
    y: str
    of: CurveOf
    x: str = "optimizer steps"
    percent: bool = True


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What is varied and what is looked at."""

    title: str
    arms: Mapping[str, str]
    """The overrides that make an arm, ``key=value`` or several of them, and what a reader calls it"""
    measures: tuple[Measure, ...]
    """the first one is the mechanism's own, which the figure shows for each seed"""
    panels: tuple[Panel, ...]


def curve(*names: str, x: str = "optimizer_step") -> CurveOf:
    """The sum of some columns over another one."""
    return lambda run: (column(run.steps, x), np.sum([column(run.steps, name) for name in names], axis=0))


def mean_of(of: CurveOf) -> NumberOf:
    """A curve's mean height over the run."""
    return lambda run: mean_height(*of(run))


def end_of(of: CurveOf) -> NumberOf:
    """The mean over the last quarter of the rollout steps: what came out, less noisy than the last point."""

    def end(run: Run) -> float:
        _, y = of(run)
        values = y[np.isfinite(y)]
        return float(values[-max(1, len(values) // 4) :].mean()) if len(values) else np.nan

    return end


def until(of: CurveOf, level: float) -> NumberOf:
    """The first x at which a curve is at a level; where it never is, the last x: at least so many."""

    def first(run: Run) -> float:
        x, y = of(run)
        reached = first_reach(x, y, level)
        return reached if np.isfinite(reached) or not len(x) else float(x[-1])

    return first


def at_accuracy(of: CurveOf, accuracy: float) -> NumberOf:
    """A curve where the sampled accuracy first is at a level, so that policies are compared that are equally far."""
    return lambda run: height_at(*of(run), first_reach(*ACCURACY(run), accuracy))


def per_trained(what: str) -> NumberOf:
    """Responses or tokens that were sampled for each one trained on, over the whole run."""

    def ratio(run: Run) -> float:
        generated, trained = (np.nansum(column(run.steps, f"{stage}_{what}")) for stage in ("generated", "trained"))
        return float(generated / trained) if trained else np.nan

    return ratio


def held_out_by_tokens(run: Run) -> Curve:
    """avg@k over the tokens that were sampled until then."""
    return column(run.evaluations, "generated_tokens_total"), column(run.evaluations, "avg_at_k")


def cut_off_of_the_wrong(run: Run) -> float:
    """The share of wrong responses, each with its reward of -1, that were right as far as they came."""
    return mean_of(curve("sampled_style_sound_truncated"))(run) / (1 - mean_of(ACCURACY)(run))


def held_out(run: Run) -> float:
    """avg@k at the end."""
    return last(run.evaluations, "avg_at_k")


ACCURACY, ACCURACY_BY_TOKENS = curve("sampled_accuracy"), curve("sampled_accuracy", x="generated_tokens_total")
TRUNCATED, LENGTH, ENTROPY = curve("sampled_truncated"), curve("sampled_response_length"), curve("entropy")
JUNK, DIRECT = curve("sampled_style_junk"), curve("sampled_style_direct")
SCRATCHPADS = curve("sampled_style_sound", "sampled_style_rambling", "sampled_style_flawed")
ZERO_VARIANCE = curve("kept_all_correct", "kept_all_wrong")

ACCURACY_PANEL = Panel(title="Accuracy", y="right responses (%)", of=ACCURACY)
LENGTH_PANEL = Panel(title="Response length", y="mean length (tokens)", of=LENGTH, percent=False)
TRUNCATED_PANEL = Panel(title="Cut off", y="truncated (%)", of=TRUNCATED)

NO_FILTER = "no filter (GRPO)"
TOKENS_OF_ALL = 300_000
"""Tokens that every run of the prompt selection samples: even without a filter, 512 optimizer steps take more."""

LABORATORIES: dict[str, Laboratory] = {
    "lab_clip_higher": Laboratory(
        title="Clip-Higher: how soon a rare good strategy spreads",
        arms={f"clip_strategy.epsilon_high={value}": f"ceiling {1 + value:g}" for value in (0.2, 0.28, 0.5, 5.0)},
        measures=(
            Measure(title="steps until half are scratchpads", of=until(SCRATCHPADS, 0.5), unit=".0f"),
            Measure(title="scratchpads at the end", of=end_of(SCRATCHPADS)),
            Measure(title="entropy at 30 % accuracy", of=at_accuracy(ENTROPY, 0.3), unit=".3f"),
            Measure(title="probability of up-clipped", of=mean_of(curve("clipped_high_probability")), unit=".3f"),
            Measure(title="accuracy at the end", of=end_of(ACCURACY)),
        ),
        panels=(
            Panel(title="The rare strategy", y="scratchpads (%)", of=SCRATCHPADS),
            Panel(title="Entropy", y="entropy (nats)", of=ENTROPY, percent=False),
            ACCURACY_PANEL,
        ),
    ),
    "lab_token_level_loss": Laboratory(
        title="Token-Level Loss: how fast long junk goes",
        arms={
            "loss_aggregator=sequence_mean": "sequence mean (GRPO)",
            "loss_aggregator=token_mean": "token mean (DAPO)",
            "loss_aggregator=fixed_length": "fixed length (Dr. GRPO)",
        },
        measures=(
            Measure(title="junk, mean over the run", of=mean_of(JUNK)),
            Measure(title="junk at the end", of=end_of(JUNK)),
            Measure(title="direct answers at the end", of=end_of(DIRECT)),
            Measure(title="accuracy at the end", of=end_of(ACCURACY)),
        ),
        panels=(Panel(title="Long junk", y="junk (%)", of=JUNK), LENGTH_PANEL, ACCURACY_PANEL),
    ),
    "lab_dynamic_sampling": Laboratory(
        title="Dynamic Sampling: groups that teach nothing",
        arms={"sampler_filter=[]": "without", "sampler_filter=[dynamic_sampling]": "dynamic sampling"},
        measures=(
            Measure(title="zero-variance groups trained on", of=mean_of(ZERO_VARIANCE)),
            Measure(title="gradient noise (std / mean)", of=mean_of(curve("gradient_noise")), unit=".2f"),
            Measure(title="accuracy, mean over the run", of=mean_of(ACCURACY)),
            Measure(title="accuracy at the end", of=end_of(ACCURACY)),
            Measure(title="tokens until 50 % accuracy", of=until(ACCURACY_BY_TOKENS, 0.5), unit=",.0f"),
        ),
        panels=(
            Panel(title="Groups that teach nothing", y="zero-variance groups (%)", of=ZERO_VARIANCE),
            ACCURACY_PANEL,
            Panel(title="Accuracy by cost", y="right responses (%)", of=ACCURACY_BY_TOKENS, x="generated tokens"),
        ),
    ),
    "lab_overlong_filtering": Laboratory(
        title="Overlong Filtering: sound reasoning that the limit cuts short",
        arms={
            "advantage_estimator.exclude_masked=false, reward_shaper=[]": "without",
            "advantage_estimator.exclude_masked=false, reward_shaper=[overlong_filtering]": "filtered from loss",
            "advantage_estimator.exclude_masked=true, reward_shaper=[overlong_filtering]": "also from mean, std",
            "advantage_estimator.exclude_masked=true, reward_shaper=[]": "without, again",
        },
        measures=(
            Measure(title="scratchpads at the end", of=end_of(SCRATCHPADS)),
            Measure(title="truncated at the end", of=end_of(TRUNCATED)),
            Measure(title="sound and cut off, of the wrong", of=cut_off_of_the_wrong),
            Measure(title="held-out accuracy, with room", of=held_out),
        ),
        panels=(Panel(title="Step by step", y="scratchpads (%)", of=SCRATCHPADS), TRUNCATED_PANEL, ACCURACY_PANEL),
    ),
    "lab_soft_punishment": Laboratory(
        title="Soft Overlong Punishment: rambling into the limit",
        arms={"reward_shaper=[]": "without", "reward_shaper=[soft_overlong_punishment]": "soft punishment"},
        measures=(
            Measure(title="truncated, mean over the run", of=mean_of(TRUNCATED)),
            Measure(title="response length, mean over the run", of=mean_of(LENGTH), unit=".1f"),
            Measure(title="accuracy, mean over the run", of=mean_of(ACCURACY)),
            Measure(title="accuracy at the end", of=end_of(ACCURACY)),
        ),
        panels=(TRUNCATED_PANEL, LENGTH_PANEL, ACCURACY_PANEL),
    ),
    "lab_lag": Laboratory(
        title="Sampling ahead: what the age of the samples costs",
        arms={f"collector.max_lag={lag}": f"{lag} steps ahead" if lag else "in turn" for lag in (0, 1, 4)},
        measures=(
            Measure(title="held-out accuracy at the end", of=held_out),
            Measure(title="accuracy, mean over the run", of=mean_of(ACCURACY)),
            Measure(title="age of the samples at the end", of=end_of(curve("kept_policy_age")), unit=".1f"),
            Measure(title="mean |rho - 1|", of=mean_of(curve("mismatch")), unit=".3f"),
        ),
        panels=(ACCURACY_PANEL, Panel(title="Entropy", y="entropy (nats)", of=ENTROPY, percent=False), TRUNCATED_PANEL),
    ),
    "prompt_selection": Laboratory(
        title="Which prompts are worth sampling",
        arms={
            "+ablation=plain_dynamic_sampling": "dynamic sampling",
            "+ablation=naive_grpo": NO_FILTER,
            "+ablation=prompts_retire_solved": "solved retire",
            "+ablation=prompts_greso": "GRESO",
            "+ablation=prompts_thompson": "Thompson",
            "+ablation=prompts_predicted_dynamics": "predicted dynamics",
            "+ablation=prompts_difficulty_pools": "difficulty pools",
            "+ablation=prompts_pilot": "pilots",
        },
        measures=(
            Measure(title="responses sampled for each one trained on", of=per_trained("responses"), unit=".2f"),
            Measure(title="tokens sampled for each one trained on", of=per_trained("tokens"), unit=".2f"),
            Measure(title="groups that pass the filter, at the end", of=end_of(curve("acceptance_rate"))),
            Measure(title="different prompts asked", of=lambda run: last(run.steps, "prompts_asked"), unit=".0f"),
            Measure(title="held-out accuracy after all steps", of=held_out),
            Measure(
                title=f"held-out accuracy, mean up to {TOKENS_OF_ALL:,} tokens",
                of=lambda run: mean_height(*held_out_by_tokens(run), stop=TOKENS_OF_ALL),
                against=NO_FILTER,
            ),
            Measure(
                title=f"held-out accuracy at {TOKENS_OF_ALL:,} tokens",
                of=lambda run: height_at(*held_out_by_tokens(run), TOKENS_OF_ALL),
                against=NO_FILTER,
            ),
        ),
        panels=(
            Panel(title="Groups that pass", y="acceptance (%)", of=curve("acceptance_rate")),
            Panel(title="Held-out accuracy by cost", y="avg@4 (%)", of=held_out_by_tokens, x="generated tokens"),
            Panel(title="Coverage", y="different prompts asked", of=curve("prompts_asked"), percent=False),
        ),
    ),
}
"""By the name of their experiment."""

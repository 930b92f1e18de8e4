"""Laboratories: one technique of the paper each, and the quantity in which its mechanism must show.

    python -m rltoolkit +experiment=lab_clip_higher -m

trains each arm with the same seeds; the report then compares every arm with the first one, seed by seed. What a laboratory
measures comes from the columns of curves.csv and results.csv (``rltoolkit.columns``) and stands here, in one entry for each;
``lab_report`` makes table and figure of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from rltoolkit.report.runs import Run, column, last
from rltoolkit.report.statistics import first_reach, height_at, mean_height

Curve = tuple[np.ndarray, np.ndarray]
"""x, ascending, and y"""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number of a run; ``unit`` is how it is printed."""

    title: str
    of: Callable[[Run], float]
    unit: str = ".1%"


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One curve of a run; in percent where ``percent``."""

    title: str
    y: str
    of: Callable[[Run], Curve]
    x: str = "optimizer steps"
    percent: bool = True


@dataclass(frozen=True, kw_only=True)
class Laboratory:
    """What is varied and what is looked at."""

    title: str
    arms: Mapping[str, str]
    """``key=value`` as in a run's label, and what a reader calls it; the first one is what the others are compared with"""
    measures: tuple[Measure, ...]
    """the first one is the mechanism's own, which the figure shows for each seed"""
    panels: tuple[Panel, ...]


def over_steps(run: Run, *names: str) -> Curve:
    """The sum of some columns over the optimizer steps."""
    return column(run.steps, "optimizer_step"), np.sum([column(run.steps, name) for name in names], axis=0)


def over_tokens(run: Run, name: str) -> Curve:
    """A column over the tokens sampled for training."""
    return column(run.steps, "generated_tokens_total"), column(run.steps, name)


def scratchpads(run: Run) -> Curve:
    """The share of responses that calculate step by step, well or badly."""
    return over_steps(run, *(f"sampled_style_{name}" for name in ("sound", "rambling", "flawed")))


def zero_variance(run: Run) -> Curve:
    """The share of groups trained on that are all right or all wrong."""
    return over_steps(run, "kept_all_correct", "kept_all_wrong")


def mean(curve: Curve) -> float:
    """Mean height over the run."""
    return mean_height(*curve)


def end(curve: Curve) -> float:
    """Mean of the last quarter of the rollout steps: what came out, less noisy than the last point."""
    values = curve[1][np.isfinite(curve[1])]
    return float(values[-max(1, len(values) // 4) :].mean()) if len(values) else np.nan


def steps_until(curve: Curve, level: float) -> float:
    """The first x at which a curve is at ``level``; where it never is, the last x: at least so many."""
    reached = first_reach(*curve, level)
    return reached if np.isfinite(reached) or not len(curve[0]) else float(curve[0][-1])


def at_accuracy(run: Run, name: str, accuracy: float) -> float:
    """A column where the sampled accuracy first reaches a level, so that policies are compared that are equally far."""
    return height_at(*over_steps(run, name), first_reach(*over_steps(run, "sampled_accuracy"), accuracy))


ACCURACY = Measure(title="accuracy at the end", of=lambda run: end(over_steps(run, "sampled_accuracy")))
HELD_OUT = Measure(title="held-out accuracy", of=lambda run: last(run.evaluations, "avg_at_k"))
ACCURACY_PANEL = Panel(title="Accuracy", y="right responses (%)", of=lambda run: over_steps(run, "sampled_accuracy"))

LABORATORIES: dict[str, Laboratory] = {
    "lab_clip_higher": Laboratory(
        title="Clip-Higher: how soon a rare good strategy spreads",
        arms={
            "clip_strategy.epsilon_high=0.2": "epsilon_high 0.2",
            "clip_strategy.epsilon_high=0.28": "epsilon_high 0.28",
            "clip_strategy.epsilon_high=0.5": "epsilon_high 0.5",
        },
        measures=(
            Measure(title="steps until half are scratchpads", of=lambda run: steps_until(scratchpads(run), 0.5), unit=".0f"),
            Measure(title="entropy at 40 % accuracy (nats)", of=lambda run: at_accuracy(run, "entropy", 0.4), unit=".3f"),
            Measure(
                title="probability of up-clipped tokens",
                of=lambda run: float(np.nanmean(column(run.steps, "clipped_high_probability"))),
                unit=".3f",
            ),
            ACCURACY,
        ),
        panels=(
            Panel(title="The rare strategy", y="scratchpads (%)", of=scratchpads),
            Panel(title="Entropy", y="entropy (nats)", of=lambda run: over_steps(run, "entropy"), percent=False),
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
            Measure(title="junk, mean over the run", of=lambda run: mean(over_steps(run, "sampled_style_junk"))),
            Measure(title="junk at the end", of=lambda run: end(over_steps(run, "sampled_style_junk"))),
            Measure(title="direct answers at the end", of=lambda run: end(over_steps(run, "sampled_style_direct"))),
            ACCURACY,
        ),
        panels=(
            Panel(title="Long junk", y="junk (%)", of=lambda run: over_steps(run, "sampled_style_junk")),
            Panel(
                title="Response length",
                y="mean length (tokens)",
                of=lambda run: over_steps(run, "sampled_response_length"),
                percent=False,
            ),
            ACCURACY_PANEL,
        ),
    ),
    "lab_dynamic_sampling": Laboratory(
        title="Dynamic Sampling: groups that teach nothing",
        arms={"sampler_filter=[]": "without", "sampler_filter=[dynamic_sampling]": "dynamic sampling"},
        measures=(
            Measure(title="zero-variance groups trained on", of=lambda run: mean(zero_variance(run))),
            Measure(title="gradient noise (std / mean of the norm)", of=lambda run: mean(over_steps(run, "gradient_noise")), unit=".2f"),
            Measure(title="accuracy, mean over steps", of=lambda run: mean(over_steps(run, "sampled_accuracy"))),
            Measure(title="tokens until 50 % accuracy", of=lambda run: steps_until(over_tokens(run, "sampled_accuracy"), 0.5), unit=",.0f"),
        ),
        panels=(
            Panel(title="Groups that teach nothing", y="zero-variance groups (%)", of=zero_variance),
            ACCURACY_PANEL,
            Panel(
                title="Accuracy by cost",
                y="right responses (%)",
                of=lambda run: over_tokens(run, "sampled_accuracy"),
                x="generated tokens",
            ),
        ),
    ),
    "lab_overlong_filtering": Laboratory(
        title="Overlong Filtering: sound reasoning that the limit cuts short",
        arms={"reward_shaper=[]": "without", "reward_shaper=[overlong_filtering]": "overlong filtering"},
        measures=(
            Measure(
                title="sound and cut off, of the wrong ones",
                of=lambda run: mean(over_steps(run, "sampled_style_sound_truncated")) / (1 - mean(over_steps(run, "sampled_accuracy"))),
            ),
            Measure(title="scratchpads at the end", of=lambda run: end(scratchpads(run))),
            Measure(title="truncated at the end", of=lambda run: end(over_steps(run, "sampled_truncated"))),
            Measure(title="held-out accuracy, with room", of=lambda run: last(run.evaluations, "avg_at_k")),
        ),
        panels=(
            Panel(title="Step by step", y="scratchpads (%)", of=scratchpads),
            Panel(title="Cut off", y="truncated (%)", of=lambda run: over_steps(run, "sampled_truncated")),
            ACCURACY_PANEL,
        ),
    ),
    "lab_soft_punishment": Laboratory(
        title="Soft Overlong Punishment: rambling into the limit",
        arms={"reward_shaper=[]": "without", "reward_shaper=[soft_overlong_punishment]": "soft punishment"},
        measures=(
            Measure(title="truncated, mean over the run", of=lambda run: mean(over_steps(run, "sampled_truncated"))),
            Measure(
                title="response length at the end", of=lambda run: end(over_steps(run, "sampled_response_length")), unit=".1f"
            ),
            ACCURACY,
        ),
        panels=(
            Panel(title="Cut off", y="truncated (%)", of=lambda run: over_steps(run, "sampled_truncated")),
            Panel(
                title="Response length",
                y="mean length (tokens)",
                of=lambda run: over_steps(run, "sampled_response_length"),
                percent=False,
            ),
            ACCURACY_PANEL,
        ),
    ),
}
"""By the name of their experiment."""

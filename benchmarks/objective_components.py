"""What a component costs beside the same formula written inline in torch.

    python benchmarks/objective_components.py [--rows 512] [--tokens 1024] [--repetitions 21] [--output FILE.csv]

Both sides compute the same outputs from the same inputs, forward and backward where there is a gradient, on one CPU thread.
The two are run in turn, so that a noisy machine slows both; the table shows medians and their ratio.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rltoolkit import registry
from rltoolkit.loss_aggregator import Totals
from rltoolkit.objective import ObjectiveOutput, PolicyObjective

GROUP = 16
"""Responses to one prompt."""


class Step(NamedTuple):
    """One optimizer step: every per-token tensor is [N, T]."""

    log_probs: Tensor
    old_log_probs: Tensor
    rollout_log_probs: Tensor
    advantages: Tensor
    mask: Tensor
    groups: Tensor


class Case(NamedTuple):
    """One line of the table."""

    kind: str
    name: str
    component: Callable[[], object]
    inline: Callable[[], object]


def random_step(rows: int, tokens: int) -> Step:
    generator = torch.Generator().manual_seed(0)
    log_probs = -1 - torch.rand(rows, tokens, generator=generator)
    old_log_probs = log_probs + 0.2 * torch.randn(rows, tokens, generator=generator)
    lengths = torch.randint(tokens // 4, tokens + 1, (rows, 1), generator=generator)
    return Step(
        log_probs.requires_grad_(),
        old_log_probs,
        old_log_probs + 0.05 * torch.randn(rows, tokens, generator=generator),
        torch.randn(rows, 1, generator=generator).expand(rows, tokens).contiguous(),
        torch.arange(tokens) < lengths,
        torch.arange(rows) // GROUP,
    )


# --- the formulas, inline ------------------------------------------------------------------------------------------------


def surrogate(r: Tensor, a: Tensor, m: Tensor, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    return -torch.min(r * a, r.clamp(low, high) * a) * m, (r < low) & (a < 0) & m, (r > high) & (a > 0) & m


def unmarked(loss: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return loss * m, torch.zeros_like(m), torch.zeros_like(m)


def dual_clip(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r = (lp - old).exp()
    loss = -torch.min(r * a, r.clamp(0.8, 1.28) * a)
    loss = torch.where(a < 0, torch.min(loss, -3.0 * a), loss)
    return loss * m, ((r < 0.8) | (r > 3.0)) & (a < 0) & m, (r > 1.28) & (a > 0) & m


def cispo(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r = (lp - old).exp().detach()
    return -r.clamp(0.0, 5.0) * a * lp * m, (r < 0.0) & m, (r > 5.0) & m


def gspo(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = (((lp - old) * m).sum(-1, keepdim=True) / m.sum(-1, keepdim=True)).exp()
    return surrogate(s, a, m, 1 - 3e-4, 1 + 4e-4)


def gspo_token(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = (((lp - old) * m).sum(-1, keepdim=True) / m.sum(-1, keepdim=True)).exp().detach()
    return surrogate(s * (lp - lp.detach()).exp(), a, m, 1 - 3e-4, 1 + 4e-4)


def gmpo(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d = lp - old
    bounded = torch.where(a > 0, d.clamp(max=0.4), d.clamp(min=-0.4)) * m
    s = (bounded.sum(-1, keepdim=True) / m.sum(-1, keepdim=True)).exp()
    return -s * a * m, (d < -0.4) & (a < 0) & m, (d > 0.4) & (a > 0) & m


def sapo(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    r, tau = (lp - old).exp(), torch.where(a > 0, 1.0, 1.05)
    return unmarked(-torch.sigmoid(tau * (r - 1)) * 4 / tau * a, m)


def dppo_tv(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    shift = lp.detach().exp() - old.exp()
    low, high = (shift < -0.15) & (a < 0) & m, (shift > 0.15) & (a > 0) & m
    return -(lp - old).exp() * a * (m & ~low & ~high), low, high


def dppo_kl(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    p, q = old.exp(), lp.detach().exp()
    far = (p * (p / q).log() + (1 - p) * ((1 - p).clamp(min=1e-8) / (1 - q).clamp(min=1e-8)).log()) > 0.05
    low, high = far & (q < p) & (a < 0) & m, far & (q > p) & (a > 0) & m
    return -(lp - old).exp() * a * (m & ~low & ~high), low, high


def covariance(lp: Tensor, a: Tensor, m: Tensor) -> Tensor:
    lp, count = lp.detach(), m.sum()
    return (lp - (lp * m).sum() / count) * (a - (a * m).sum() / count)


def largest(scores: Tensor, allowed: Tensor, count: int) -> Tensor:
    order = scores.masked_fill(~allowed, -torch.inf).flatten().argsort(descending=True, stable=True)
    chosen = torch.zeros(scores.numel(), dtype=torch.bool)
    chosen[order[:count]] = True
    return chosen.view_as(scores) & allowed


def clip_cov(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cov = covariance(lp, a, m)
    chosen = largest(cov, m & (cov >= 1) & (cov <= 5), int(2e-4 * m.sum()))
    return -(lp - old).exp() * a * (m & ~chosen), chosen & (a < 0), chosen & (a > 0)


def kl_cov(lp: Tensor, old: Tensor, a: Tensor, m: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    d, chosen = lp - old, largest(covariance(lp, a, m), m, int(2e-4 * m.sum()))
    return unmarked(-d.exp() * a + d.abs() * chosen, m)


CLIP: dict[str, Callable[..., Any]] = {
    "symmetric": lambda lp, old, a, m: surrogate((lp - old).exp(), a, m, 0.8, 1.2),
    "clip_higher": lambda lp, old, a, m: surrogate((lp - old).exp(), a, m, 0.8, 1.28),
    "dual_clip": dual_clip,
    "cispo": cispo,
    "gspo": gspo,
    "gspo_token": gspo_token,
    "gmpo": gmpo,
    "sapo": sapo,
    "dppo_tv": dppo_tv,
    "dppo_kl": dppo_kl,
    "clip_cov": clip_cov,
    "kl_cov": kl_cov,
    "no_clip": lambda lp, old, a, m: unmarked(-(lp - old).exp() * a, m),
    "on_policy": lambda lp, old, a, m: unmarked(-a * lp, m),
}


def prompt_token_mean(loss: Tensor, m: Tensor, groups: Tensor) -> Tensor:
    sums, counts = ((x * m).sum(-1).view(-1, GROUP).sum(-1) for x in (loss, torch.ones_like(loss)))
    return (sums / counts).mean()


AGGREGATE: dict[str, Callable[..., Any]] = {
    "token_mean": lambda loss, m, groups: (loss * m).sum() / m.sum(),
    "prompt_token_mean": prompt_token_mean,
    "sequence_mean": lambda loss, m, groups: ((loss * m).sum(-1) / m.sum(-1)).mean(),
    "sequence_sum": lambda loss, m, groups: (loss * m).sum(-1).mean(),
    "fixed_length": lambda loss, m, groups: (loss * m).sum() / (len(m) * 20_480),
}

PENALTY: dict[str, Callable[..., Any]] = {
    "none": lambda lp, ref: torch.zeros_like(lp),
    "k1": lambda lp, ref: lp - ref,
    "k2": lambda lp, ref: 0.5 * (lp - ref) ** 2,
    "k3": lambda lp, ref: (ref - lp).exp() - (ref - lp) - 1,
}


def row_rho(old: Tensor, rollout: Tensor, m: Tensor) -> Tensor:
    return ((old - rollout) * m).sum(-1, keepdim=True).exp()


def within(rho: Tensor, low: float, high: float, m: Tensor) -> Tensor:
    return rho * (m & (rho >= low) & (rho <= high))


CORRECT: dict[str, Callable[..., Any]] = {
    "none": lambda old, rollout, m: m.float(),
    "tis": lambda old, rollout, m: (old - rollout).exp().clamp(max=2.0) * m,
    "sequence_tis": lambda old, rollout, m: row_rho(old, rollout, m).clamp(max=2.0) * m,
    "sequence_mask": lambda old, rollout, m: within(row_rho(old, rollout, m), 0.0, 2.0, m),
    "icepop": lambda old, rollout, m: within((old - rollout).exp(), 0.2, 5.0, m),
}


def dapo(step: Step) -> tuple[Tensor, list[Tensor]]:
    """The default objective with everything it reports."""
    lp, old, rollout, a, m, _ = step
    d, delta = (lp - old) * m, (old - rollout) * m
    r, rho = d.exp(), delta.exp()
    loss, low, high = surrogate(r, a, m, 0.8, 1.28)
    with torch.no_grad():
        gap = (rho - 1).abs()
        sums = [low, high, lp.exp() * m, r * m, r - 1 - d, rho - 1 - delta, gap]
        metrics = [x.sum(dtype=torch.float64) for x in sums] + [(r * m).amax(), gap.amax()]
    return loss.sum() / m.sum(), metrics


# --- measuring -----------------------------------------------------------------------------------------------------------


def cases(step: Step) -> Iterator[Case]:
    log_probs, old, rollout, advantages, mask, groups = step
    arguments = {
        "clip_strategy": (log_probs, old, advantages, mask),
        "loss_aggregator": (log_probs, mask, groups),
        "kl_penalty": (log_probs, old),
        "importance_correction": (old, rollout, mask),
    }
    formulas = {"clip_strategy": CLIP, "loss_aggregator": AGGREGATE, "kl_penalty": PENALTY, "importance_correction": CORRECT}
    for kind, inline in formulas.items():
        for name, formula in inline.items():
            component = registry.build(kind, name)
            yield Case(
                kind,
                name,
                partial(forward_and_backward, log_probs, component, *arguments[kind]),
                partial(forward_and_backward, log_probs, formula, *arguments[kind]),
            )
    yield Case(
        "objective",
        "dapo",
        partial(forward_and_backward, log_probs, composed, step),
        partial(forward_and_backward, log_probs, dapo, step),
    )


def composed(step: Step) -> ObjectiveOutput:
    """What ``dapo`` computes, by the components."""
    objective = PolicyObjective(
        clip_strategy=registry.build("clip_strategy", "clip_higher"),
        loss_aggregator=registry.build("loss_aggregator", "token_mean"),
        kl_penalty=registry.build("kl_penalty", "none"),
        importance_correction=registry.build("importance_correction", "none"),
    )
    return objective(
        log_probs=step.log_probs,
        old_log_probs=step.old_log_probs,
        advantages=step.advantages,
        mask=step.mask,
        weights=objective.loss_aggregator.weights(step.mask, Totals.of(step.mask)),
        rollout_log_probs=step.rollout_log_probs,
    )


def forward_and_backward(log_probs: Tensor, function: Callable[..., Any], *arguments: Any) -> Any:
    result = function(*arguments)
    loss = result[0] if isinstance(result, tuple) else result
    return torch.autograd.grad(loss.sum(), log_probs) if loss.requires_grad else result


def measure(case: Case, repetitions: int) -> dict[str, Any]:
    """Medians in milliseconds over interleaved repetitions, after one call of each that shows they agree."""
    torch.testing.assert_close(case.component(), case.inline())
    timings: dict[str, list[float]] = {"component": [], "inline": []}
    for _ in range(repetitions):
        for side, function in (("component", case.component), ("inline", case.inline)):
            start = time.perf_counter()
            function()
            timings[side].append(1e3 * (time.perf_counter() - start))
    component, inline = (statistics.median(timings[side]) for side in ("component", "inline"))
    ratio = statistics.median(c / i for c, i in zip(timings["component"], timings["inline"], strict=True))
    return {"kind": case.kind, "name": case.name, "component_ms": component, "inline_ms": inline, "ratio": ratio}


LINE = "{kind:22} {name:18} {component_ms:12.2f} {inline_ms:10.2f} {ratio:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--repetitions", type=int, default=21)
    parser.add_argument("--output", type=Path, default=Path(__file__).with_suffix(".csv"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    step = random_step(options.rows, options.tokens)
    size = f"{options.rows} x {options.tokens} tokens"
    print(f"{size}, float32, 1 thread, medians of {options.repetitions} repetitions, torch {torch.__version__}")
    print(f"{'kind':22} {'name':18} {'component ms':>12} {'inline ms':>10} {'ratio':>6}")
    results = []
    for case in cases(step):
        results.append(measure(case, options.repetitions))
        print(LINE.format(**results[-1]), flush=True)
    with options.output.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(results[0]))
        writer.writeheader()
        writer.writerows({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in results)


if __name__ == "__main__":
    main()

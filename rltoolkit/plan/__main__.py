"""What a run needs, before anything is loaded: batch sizes, parameters, memory, time.

    python -m rltoolkit.plan preset=paper +experiment=dapo
    python -m rltoolkit.plan preset=single_gpu --gpu-gib 24
    python -m rltoolkit.plan preset=paper --sampling-rate 2500 --training-rate 1200 --mean-response 6000

Takes the overrides of ``python -m rltoolkit``. Says what does not fit first, and the overrides with which it would.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from typing import TYPE_CHECKING

from rltoolkit.command_line import check_choices, prepare, report_errors

if TYPE_CHECKING:
    from rich.table import Table

    from rltoolkit.plan import Plan

ASSUMED_GPU_GIB = 80.0


def main() -> None:
    """Command line. Exits with 1 where the run does not fit."""
    parser = argparse.ArgumentParser(
        "python -m rltoolkit.plan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--gpu-gib", type=float, help="memory of a GPU; without it this machine's, or 80 where it has none")
    parser.add_argument("--host-gib", type=float, help="main memory of a node; without it this machine's, for a run on the CPU")
    parser.add_argument("--sampling-rate", type=float, help="tokens a second that one engine samples, as measured")
    parser.add_argument("--training-rate", type=float, help="tokens a second that one rank trains on, as measured")
    parser.add_argument("--mean-response", type=float, help="tokens; without it the response limit")
    options, overrides = parser.parse_known_args(prepare(sys.argv[1:]))
    with report_errors():
        check_choices(overrides)
        sys.exit(show(overrides, options))


def show(overrides: list[str], options: argparse.Namespace) -> int:
    """Print the plan. Returns the exit status."""
    from rich.console import Console

    from rltoolkit.plan import Machine, make_plan, this_machine
    from rltoolkit.plan.fit import GIB, gpus_needed, remedies, servers, uses_gpu
    from rltoolkit.run import compose

    run = compose.load(*overrides)
    here, on_gpu = this_machine(run), uses_gpu(run)
    gpu = options.gpu_gib * GIB if options.gpu_gib else here.gpu or ASSUMED_GPU_GIB * GIB
    host = options.host_gib * GIB if options.host_gib else None if on_gpu and here.gpu is None else here.host
    machine = Machine(gpu=gpu if on_gpu else None, host=host)
    plan = make_plan(run, machine)
    console = Console()
    for table in (batches(plan, options), parameters(plan), memory(plan), verdicts(plan)):
        console.print(table)
    if on_gpu:
        count = gpus_needed(plan, machine)
        fits = f"it fits on {count}" if count else "more of them alone do not make it fit"
        beside = ", beside those of the servers" if count and servers(run) else ""
        console.print(f"GPUs of {gpu / GIB:g} GiB: {fits}{beside}")
    if plan.first_missing is None:
        console.print("It fits.")
        return 0
    console.print(f"Does not fit: {plan.first_missing.what}.", style="bold")
    found = remedies(overrides, machine)
    console.print(f"This would fit: {' '.join(found)}" if found else "No override known here makes it fit.")
    return 1


def batches(plan: Plan, options: argparse.Namespace) -> Table:
    """What a rollout step consists of, and how long it takes where rates are given."""
    from rltoolkit.plan.fit import servers

    run = plan.run
    config, sampling, ranks = run.config, run.config.sampling, run.config.trainer.world_size
    responses, steps = run.plan.responses_per_step, run.plan.rollout_steps
    length = options.mean_response or sampling.max_new_tokens
    tokens = responses * length
    table = _table("rollout step")
    table.add_row("responses", f"{config.prompts_per_step:,} prompts x {config.group_size}", f"{responses:,}")
    table.add_row("optimizer steps", f"of {config.mini_batch_size:,} responses", f"{run.plan.optimizer_steps_per_rollout}")
    table.add_row("rollout steps", f"{config.trainer.max_steps:,} optimizer steps", f"{steps:,}")
    table.add_row("tokens", f"responses of {length:,.0f}", f"{tokens:,.0f}")
    table.add_row("on each rank", f"{ranks} of them", f"{tokens / ranks:,.0f}")
    if options.sampling_rate and options.training_rate:
        sampled, trained = (
            tokens / (options.sampling_rate * (len(servers(run)) or ranks)),
            tokens / (options.training_rate * ranks),
        )
        table.add_row("sampling", f"{options.sampling_rate:,.0f} tokens/s each", f"{sampled:,.0f} s")
        table.add_row("training", f"{options.training_rate:,.0f} tokens/s each", f"{trained:,.0f} s")
        slower, faster = max(sampled, trained), min(sampled, trained)
        seconds = steps * slower + faster if run.samples_in_background else steps * (sampled + trained)
        table.add_row("the whole run", "without rejected groups", f"{seconds / 3600:,.1f} h")
    return table


def parameters(plan: Plan) -> Table:
    """Where they are."""
    shape = plan.shape
    inside = shape.parameters - shape.outside
    table = _table("parameters")
    table.add_row("decoder layers", f"{shape.layers} layers", f"{inside / 1e6:,.2f} M")
    table.add_row("embeddings, head, norm", f"{shape.vocabulary:,} tokens x {shape.hidden:,}", f"{shape.outside / 1e6:,.2f} M")
    table.add_row("all", f"trained: {shape.trained / 1e6:,.2f} M", f"{shape.parameters / 1e6:,.2f} M")
    return table


def memory(plan: Plan) -> Table:
    """Of one rank and its engine."""
    trainer, engine, settings = plan.trainer, plan.engine, plan.run.config.trainer
    why = {
        "weights": "float32, sharded",
        "gradients": "float32, sharded",
        "optimizer": "two moments, float32, sharded",
        "reference": f"{settings.compute_dtype}, sharded",
        "teacher": f"{settings.compute_dtype}, sharded",
        "gathered": "whole layers, and a gradient not yet spread",
        "activations": f"{settings.micro_batch_tokens:,} tokens"
        + (", layers computed again" if settings.recompute == "layer" else ""),
        "head": "chunks of logits",
    }
    table = _table(f"memory of each of {settings.world_size} rank(s), GiB")
    for field in dataclasses.fields(trainer):
        if value := getattr(trainer, field.name):
            table.add_row(field.name, why[field.name], _gib(value))
    table.add_row("an update", "all of it", _gib(trainer.update), end_section=True)
    table.add_row("engine's weights", "", _gib(engine.weights))
    room = f"{engine.at_once} of the longest responses at once" if engine.kv_cache > 0 else "the weights leave no room"
    table.add_row("keys and values", room, _gib(max(0.0, engine.kv_cache)))
    table.add_row("the longest response", f"{plan.run.longest_row:,} tokens", _gib(engine.response))
    return table


def verdicts(plan: Plan) -> Table:
    """Each thing that has to fit."""
    table = _table("has to fit, GiB", "needs", "there is")
    for need in plan.needs:
        there = "not known" if need.available is None else _gib(need.available)
        table.add_row(need.what, _gib(need.needed), there, style="bold" if need.missing else None)
    return table


def _table(title: str, *columns: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", show_header=bool(columns), box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("", *(columns or ("", ""))):
        table.add_column(name, justify="right" if len(table.columns) == 2 or (columns and name) else "left")
    return table


def _gib(value: float) -> str:
    gib = value / 2**30
    return f"{gib:,.1f}" if abs(gib) >= 10 else f"{gib:.4f}" if abs(gib) < 0.01 else f"{gib:.2f}"


if __name__ == "__main__":
    main()

"""One run, from its configuration to a finished folder: the table of contents of training."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
from lightning.pytorch.loggers import Logger
from rich.console import Console

from rltoolkit.errors import ConfigError
from rltoolkit.plan import require_fit
from rltoolkit.policy.compiled import require_compiler
from rltoolkit.policy.loading import load_tokenizer
from rltoolkit.report import write_run_figures, write_viewer
from rltoolkit.run.config import TrainerConfig
from rltoolkit.run.folder import RunFolder, newest_checkpoint
from rltoolkit.run.process import is_first_process
from rltoolkit.run.run import Run
from rltoolkit.training import ranks
from rltoolkit.training.checkpoints import Checkpoints
from rltoolkit.training.data import RolloutData
from rltoolkit.training.evaluator import Evaluator
from rltoolkit.training.interrupts import Interrupts
from rltoolkit.training.loading import (
    HeldOut,
    encode,
    fetch_teacher,
    load_model,
    load_problems,
    load_reference,
    load_teacher,
    load_trained_policy,
    on_cpu,
    save_model_files,
)
from rltoolkit.training.logged_figures import log_figures
from rltoolkit.training.loop import Loop
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.progress import display_for
from rltoolkit.training.rollout_files import RolloutFiles
from rltoolkit.training.run_log import RunLog
from rltoolkit.training.strategy import ShardedStrategy
from rltoolkit.training.summary import summary_table
from rltoolkit.training.weight_sync import WeightSync


class Result(NamedTuple):
    """How a run ended."""

    status: str
    """finished, or interrupted"""
    signal: int
    """the number of the signal that interrupted it, 0 if none did"""
    folder: Path
    """metrics.csv, evaluations.csv, rollouts/, figures/, run.json"""
    checkpoint: Path | None
    """the newest one"""
    best_checkpoint: Path | None
    """the one with the highest held-out accuracy"""


def train(run: Run, folder: Path | str, console: Console | None = None) -> Result:
    """Train to the end, or on from the newest checkpoint in the folder; a run that is finished there is left alone.

    Args:
        run: what to train.
        folder: where everything is written; made if it is not there.
        console: is told what happens; where not given, the terminal.

    Raises:
        ConfigError: this machine, the folder or the data do not fit the run.
        EngineDied, StaleWeights, NotFinite, NothingToTrain, GenerationLimit, CheckpointError, RankLost: what happened; the last
            checkpoint stands.
    """
    console = console or Console(quiet=not is_first_process())
    quiet_lightning()
    require_fit(run)
    ranks.join()
    home = RunFolder(Path(ranks.agree(Path(folder).absolute)), run)
    start = ranks.agree(home.open)
    try:
        if start.finished:
            console.print(f"{home.path}: this run is finished; nothing to do")
            return _result("finished", 0, home.path)
        home.write("running")
        loggers = [_made(logger, home.path) for logger in run.config.logger.values()]
        with ranks.naming_lost_ranks():
            received = fit(run, home.path, start.checkpoint, console, loggers)
        home.write("interrupted" if received else "finished")
    except ConfigError as error:
        home.write("failed", error=f"{type(error).__name__}: {error}")  # a folder that was there before keeps it
        home.discard()
        raise
    except BaseException as error:
        status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        home.write(status, error=f"{type(error).__name__}: {error}")
        raise
    finally:
        home.close()
    if received:
        result = _result("interrupted", received, home.path)
        where = "continues from the checkpoint just written" if result.checkpoint else "starts anew: no optimizer step was done"
        # all at once: a launcher that sees one process end like this kills the others
        ranks.agree(lambda: console.print(f"interrupted; the same command {where}"))
        return result
    if is_first_process():
        log_figures(loggers, write_run_figures(home.path), step=run.config.trainer.max_steps)
        if any((home.path / "rollouts").glob("step_*.jsonl")):
            write_viewer(home.path)
    console.print(f"finished; metrics, evaluations, figures, responses (viewer.html) and checkpoints are in {home.path}")
    return _result("finished", 0, home.path)


def fit(run: Run, folder: Path, checkpoint: Path | None, console: Console, loggers: Sequence[Logger]) -> int:
    """Load what the run needs and let the loop go. Returns the number of the signal that ended it early, 0 if none did."""
    config = run.config
    if config.trainer.compile:
        _require_compiler(config.trainer)
    training = load_problems(run, run.components.task, "train")
    held_out = {name: load_problems(run, task, "eval") for name, task in run.components.held_out.items()}
    teacher_path = fetch_teacher(run)  # first: making the model may take minutes
    model_path = load_model(run)
    problems = encode(run, training, model_path, "training")
    evaluated = [
        HeldOut(name, encode(run, those, model_path, f"held-out {name}"), run.verifiers[name]) for name, those in held_out.items()
    ]
    module = PolicyModule(
        policy=load_trained_policy(run, model_path),
        objective=run.objective,
        optimizer=config.optimizer,
        warmup_optimizer_steps=run.plan.warmup_optimizer_steps,
        temperature=config.sampling.temperature,
        micro_batch_tokens=config.trainer.micro_batch_tokens,
        compute_dtype=config.trainer.compute_dtype,
        max_skipped_steps=config.trainer.max_skipped_steps,
        reference=load_reference(run, model_path) if run.needs_reference else None,
        reference_every=config.reference_every,
        reward_penalty=run.reward_penalty,
        teacher=load_teacher(run, teacher_path, model_path) if teacher_path else None,
    )
    save_model_files(model_path, folder)
    console.print(summary_table(run, module.policy, folder, checkpoint))

    interrupts = Interrupts()
    run_log = RunLog(folder, reflection_phrases=config.trainer.reflection_phrases, task=run.components.task)
    rollout_files = RolloutFiles(folder, every=config.trainer.log_rollouts_every, tokenizer=load_tokenizer(model_path))
    sync = WeightSync(config.trainer.largest_sync_gap)
    display = display_for(console, config.trainer.max_steps)
    data = RolloutData(
        run=run,
        problems=problems,
        model_path=model_path,
        module=module,
        run_log=run_log,
        rollout_files=rollout_files,
        sync=sync,
        display=display,
        interrupts=interrupts,
    )
    evaluator = Evaluator(
        folder, held_out=evaluated, config=config.evaluation, run_log=run_log, interrupts=interrupts, console=console,
    )  # fmt: skip
    loop = Loop(
        data=data, module=module, sync=sync, run_log=run_log, rollout_files=rollout_files, display=display,
        evaluator=evaluator, checkpoints=Checkpoints(folder, keep=config.trainer.keep_checkpoints), interrupts=interrupts,
        checkpoint_every=config.trainer.checkpoint_every,
    )  # fmt: skip
    try:
        make_trainer(run, folder, loop, loggers).fit(module, datamodule=data, ckpt_path=checkpoint)
    finally:
        data.close()
    return interrupts.received


def _require_compiler(settings: TrainerConfig) -> None:
    try:
        require_compiler("cpu" if on_cpu(settings) else "cuda")
    except ValueError as error:
        raise ConfigError(str(error)) from error


def make_trainer(run: Run, folder: Path, loop: Loop, loggers: Sequence[Logger]) -> L.Trainer:
    """A Lightning trainer with FSDP2 over all processes; gloo on CPUs."""
    settings = run.config.trainer
    strategy = ShardedStrategy(
        data_parallel_size=settings.world_size,
        tensor_parallel_size=1,
        process_group_backend="gloo" if on_cpu(settings) else None,
    )
    return L.Trainer(
        accelerator="cpu" if on_cpu(settings) else settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        max_steps=-1,  # RolloutData ends the run
        max_epochs=-1,
        callbacks=[loop],
        logger=list(loggers) or False,
        profiler=_made(run.config.profiler, folder) if run.config.profiler else None,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def quiet_lightning() -> None:
    """Keep Lightning's advice off the terminal, unless asked for; each of its loggers sets its own level when it is imported."""
    if os.environ.get("RLTOOLKIT_VERBOSE") != "1":
        for name in ("lightning", "lightning.pytorch", "lightning.fabric"):
            logging.getLogger(name).setLevel(logging.ERROR)


def _made(node: dict[str, Any], folder: Path) -> Any:
    """The object that a config node describes: its class under ``_target_``, ``{folder}`` in a text the run's folder."""
    module, _, name = node["_target_"].rpartition(".")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    for key, value in arguments.items():
        if isinstance(value, str):
            arguments[key] = value.replace("{folder}", str(folder))
    return getattr(importlib.import_module(module), name)(**arguments)


def _result(status: str, signal: int, folder: Path) -> Result:
    best = folder / "checkpoints" / "best"
    return Result(status, signal, folder, newest_checkpoint(folder), best.resolve() if best.exists() else None)

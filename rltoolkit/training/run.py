"""One run, from a checked configuration to a finished folder: the table of contents of training."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import lightning as L
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from tensordict import TensorDict

from rltoolkit.collector import CollectedStep
from rltoolkit.evaluation import Evaluation, evaluate
from rltoolkit.kl_penalty import subtract_kl
from rltoolkit.policy.loading import encode, load_tokenizer
from rltoolkit.rollout_engine.base import RolloutEngine, Sampling
from rltoolkit.run.compose import Components
from rltoolkit.run.config import OptimizerConfig, TrainerConfig
from rltoolkit.run.plan import StepPlan
from rltoolkit.task.base import Problem
from rltoolkit.training.checkpoints import Checkpoints, newest_checkpoint
from rltoolkit.training.data import RolloutData
from rltoolkit.training.evaluator import Evaluator
from rltoolkit.training.interrupts import Interrupts
from rltoolkit.training.parts import (
    collector_factory,
    encode_problems,
    load_problems,
    load_reference,
    load_trained_policy,
    on_cpu,
)
from rltoolkit.training.plan_table import plan_table
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.progress import ProgressBar, ProgressLines
from rltoolkit.training.run_log import RunLog
from rltoolkit.training.strategy import ShardedStrategy
from rltoolkit.training.weight_sync import WeightSync

if "RLTOOLKIT_VERBOSE" not in os.environ:
    for chatty in ("lightning", "lightning.pytorch", "lightning.fabric"):  # each sets its own level when it is imported
        logging.getLogger(chatty).setLevel(logging.ERROR)

EVALUATION_SEED = 2024
"""Every evaluation draws with the same seeds, so that two evaluations differ by their policies only."""


def train(cfg: DictConfig, components: Components, plan: StepPlan, folder: Path, console: Console) -> int:
    """Train to the end, or on from the newest checkpoint in the folder.

    Returns:
        The number of the signal that ended the run early, 0 if it finished.

    Raises:
        ConfigError: a prompt or answer problem that only the data shows (missing file, empty task).
        EngineDied, StaleWeights, NotFinite, GenerationLimit, CheckpointError: what happened; the last checkpoint stands.
    """
    train_problems, held_out = load_problems(cfg, components)
    model_path = components.model(cfg.seed)
    tokenizer = load_tokenizer(model_path)

    def encode_problem(problem: Problem) -> list[int]:
        return encode(tokenizer, problem.messages, components.model.chat)

    problems = encode_problems(train_problems, encode_problem, cfg.sampling.max_prompt_tokens)
    module = PolicyModule(
        policy=load_trained_policy(cfg, components, model_path),
        objective=components.objective,
        optimizer=cast(OptimizerConfig, OmegaConf.to_object(cfg.optimizer)),
        settings=cast(TrainerConfig, OmegaConf.to_object(cfg.trainer)),
        warmup_optimizer_steps=plan.warmup_optimizer_steps,
        temperature=cfg.sampling.temperature,
        reference=load_reference(cfg, model_path) if components.needs_reference else None,
    )
    save_model_files(model_path, folder)
    resumed_from = newest_checkpoint(folder)
    console.print(plan_table(cfg, components, plan, module.policy, folder, resumed_from))

    interrupts, sync = Interrupts(), WeightSync(cfg.trainer.sync_tolerance)
    run_log = RunLog(folder, rollouts_every=cfg.trainer.log_rollouts_every, sync_metrics=lambda: sync.metrics)
    bar = ProgressBar(run_log) if console.is_terminal else None

    def on_collected(step: CollectedStep) -> None:
        run_log.on_collected(step, data.collector.rollout_step)
        sync.remember_probe(step.rollouts)

    def annotate(rows: TensorDict) -> TensorDict:
        with run_log.scoring():
            if plan.old_log_probs == "engine":
                rows["old_log_probs"] = rows["rollout_log_probs"]
            elif plan.old_log_probs == "trainer":
                rows["old_log_probs"] = module.score(rows)
        return rows

    def pay_kl(rollouts: TensorDict) -> TensorDict:
        if components.reward_penalty is None:
            return rollouts
        rows = rollouts.select("input_ids", "response_mask").reshape(-1)
        reference = module.score(rows, mask_key="response_mask", reference=True)
        return subtract_kl(rollouts, reference.reshape(rollouts["response_mask"].shape), components.reward_penalty)

    data = RolloutData(
        make_collector=collector_factory(cfg, components, problems, model_path, pay_kl, bar),
        mini_batch_size=cfg.mini_batch_size,
        seed=cfg.seed,
        annotate=annotate,
        on_collected=on_collected,
        interrupts=interrupts,
    )
    evaluator = Evaluator(
        folder,
        every=cfg.evaluation.every,
        run=lambda engine: evaluate_policy(cfg, components, engine, encode_problem, held_out),
        log=run_log,
        interrupts=interrupts,
        announce=lambda step, result: announce_evaluation(console, f"after {step} optimizer steps", result),
    )
    checkpoints = Checkpoints(
        folder,
        every=cfg.trainer.checkpoint_every,
        keep=cfg.trainer.keep_checkpoints,
        best_step=lambda: evaluator.best_step,
    )
    progress = bar or ProgressLines(run_log, console)
    # in the order in which they act on the end of a mini-batch
    callbacks: list[L.Callback] = [interrupts, sync, run_log, progress, evaluator, checkpoints]
    trainer = make_trainer(cfg, folder, callbacks)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resumed_from)
    finally:
        interrupts.restore()
        if hasattr(data, "collector"):
            data.collector.engine.close()
    return interrupts.received


def evaluate_policy(
    cfg: DictConfig,
    components: Components,
    engine: RolloutEngine,
    encode_problem: Callable[[Problem], list[int]],
    held_out: list[Problem],
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """avg@k, pass@k and cons@k of the engine's policy, under the protocol of the config key ``evaluation``."""
    asked = cfg.evaluation
    return evaluate(
        engine,
        encode_problem,
        held_out,
        components.reward_function,
        k=asked.k,
        sampling=Sampling(temperature=asked.temperature, top_p=asked.top_p, max_new_tokens=asked.max_new_tokens),
        seed=EVALUATION_SEED,
        progress=progress,
    )


def announce_evaluation(console: Console, what: str, result: Evaluation) -> None:
    """One line for each evaluation."""
    average = result.avg_at_k
    console.print(
        f"held-out, {what}: avg@{result.k} {average.value:.3f} [{average.low:.3f}, {average.high:.3f}]  "
        f"pass@{result.k} {result.pass_at_k.value:.3f}  cons@{result.k} {result.cons_at_k.value:.3f}  "
        f"truncated {result.truncated:.3f}",
        highlight=False,
    )


def make_trainer(cfg: DictConfig, folder: Path, callbacks: list[L.Callback]) -> L.Trainer:
    """A Lightning trainer with FSDP2 over all processes; gloo on CPUs."""
    settings = cfg.trainer
    strategy = ShardedStrategy(
        data_parallel_size=settings.devices * settings.num_nodes,
        tensor_parallel_size=1,
        process_group_backend="gloo" if on_cpu(settings) else None,
    )
    return L.Trainer(
        accelerator="cpu" if on_cpu(settings) else settings.accelerator,
        devices=settings.devices,
        num_nodes=settings.num_nodes,
        strategy=strategy,
        max_steps=settings.max_steps,
        max_epochs=-1,
        callbacks=callbacks,
        logger=[instantiate(logger) for logger in cfg.logger.values()] or False,
        profiler=instantiate(cfg.profiler) or None,
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=any(isinstance(callback, ProgressBar) for callback in callbacks),
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def save_model_files(model_path: Path, folder: Path) -> None:
    """Put the model's config and tokenizer beside the checkpoints, so that a run's folder is enough to evaluate or export it."""
    target = folder / "model"
    target.mkdir(parents=True, exist_ok=True)
    for source in model_path.iterdir():
        if source.is_file() and source.suffix in {".json", ".txt", ".model", ".jinja"} and "index" not in source.name:
            (target / source.name).write_bytes(source.read_bytes())

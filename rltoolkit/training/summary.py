"""The one table at the start of a run: every batch size, derived; the components; where the files go."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from rltoolkit import old_log_probs
from rltoolkit.component import name_of
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.run.run import Run


def summary_table(run: Run, policy: PolicyModel, folder: Path, resumed_from: Path | None) -> Table:
    """What is about to happen, in numbers."""
    config, components, plan, trainer = run.config, run.components, run.plan, run.config.trainer
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    trainable = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    kl = f"kl {name_of(components.kl_penalty)}{' in the reward' if config.kl_in_reward else ''}"
    if config.reference_every:
        kl += f" to the policy of up to {config.reference_every} optimizer steps ago"
    source = old_log_probs.source(trainer.old_log_probs, plan.optimizer_steps_per_rollout)
    lag = f", {config.collector.max_lag} ahead of training" if config.collector.max_lag else ""
    if lag and not run.samples_in_background:
        lag += " but in turn with it"
    limit = f", {config.verifier_timeout:g} s for each check" if config.verifier_timeout is not None else ""
    rows = {
        "model": f"{name_of(components.model)}, {parameters / 1e6:.2f}M parameters ({trainable / 1e6:.2f}M trained), "
        f"{trainer.compute_dtype}{', logits in float32' if trainer.logits_are_wider else ''}, {trainer.world_size} process(es)",
        "task": f"{name_of(components.task)}, verified by {name_of(components.reward_function)}{limit}",
        "held out": _held_out(run),
        "rollout step": f"{config.prompts_per_step} prompts x {config.group_size} responses = {plan.responses_per_step}, "
        f"at most {config.sampling.max_new_tokens} tokens each, sampled by {name_of(components.rollout_engine)}{lag}",
        "mini-batch": f"{config.mini_batch_size} responses -> {plan.optimizer_steps_per_rollout} optimizer steps a rollout step",
        "micro-batch": f"{trainer.micro_batch_tokens} tokens",
        "length of the run": f"{trainer.max_steps} optimizer steps = {plan.rollout_steps} rollout steps, "
        f"warm-up {plan.warmup_optimizer_steps} optimizer steps",
        "rollouts": f"prompts {name_of(components.prompt_sampler)}; "
        + _joined(components.reward_shaper, "no shaper")
        + "; "
        + _joined(components.sampler_filter, "no filter"),
        "objective": f"{name_of(components.advantage_estimator)}; {name_of(components.clip_strategy)}, "
        f"{name_of(components.loss_aggregator)}, {kl}, correction {name_of(components.importance_correction)}; "
        f"old log-probs of the {source}",
        "files": str(folder),
    }
    if run.teacher is not None:
        rows["teacher"] = run.teacher.name_or_path
    if resumed_from is not None:
        rows["continues from"] = resumed_from.name
    table = Table(show_header=False, title=f"rltoolkit  seed {config.seed}", title_justify="left")
    for name, text in rows.items():
        table.add_row(f"[bold]{name}", text)
    return table


def _held_out(run: Run) -> str:
    """The tasks of evaluations, with who judges them where it is somebody else than in training."""
    judges = {task: name_of(verifier) for task, verifier in run.verifiers.items() if verifier is not run.verifier}
    tasks = [f"{task}, verified by {judges[task]}" if task in judges else task for task in run.components.held_out]
    k = run.config.evaluation.k
    return f"{'; '.join(tasks)}; {k} responses to each of at most {run.config.evaluation.problems} problems"


def _joined(components: tuple[object, ...], none: str) -> str:
    return " + ".join(map(name_of, components)) or none

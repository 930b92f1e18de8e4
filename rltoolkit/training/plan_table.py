"""The one table at the start of a run: every batch size, derived; the components; where the files go."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.table import Table

from rltoolkit.policy.policy import PolicyModel
from rltoolkit.run.compose import Components
from rltoolkit.run.plan import StepPlan


def plan_table(
    cfg: DictConfig, components: Components, plan: StepPlan, policy: PolicyModel, folder: Path, resumed_from: Path | None
) -> Table:
    """What is about to happen, in numbers."""
    objective, trainer = components.objective, cfg.trainer
    parameters = sum(parameter.numel() for parameter in policy.parameters())
    trainable = sum(parameter.numel() for parameter in policy.parameters() if parameter.requires_grad)
    ranks = trainer.devices * trainer.num_nodes
    parts = (objective.clip_strategy, objective.loss_aggregator, objective.kl_penalty, objective.importance_correction)
    clip, aggregator, penalty, correction = (component_name(part) for part in parts)
    in_reward = components.reward_penalty
    kl = f"kl {penalty}" if in_reward is None else f"kl {component_name(in_reward)} in the reward"
    rows = {
        "model": f"{components.model.name}, {parameters / 1e6:.2f}M parameters ({trainable / 1e6:.2f}M trained), "
        f"{trainer.compute_dtype}, {ranks} process(es)",
        "task": f"{components.task.name}, verified by {components.reward_function.name}",
        "rollout step": f"{cfg.prompts_per_step} prompts x {cfg.group_size} responses = {plan.responses_per_step}, "
        f"at most {cfg.sampling.max_new_tokens} tokens each, sampled by {components.rollout_engine.name}",
        "mini-batch": f"{cfg.mini_batch_size} responses -> {plan.optimizer_steps_per_rollout} optimizer steps a rollout step",
        "micro-batch": f"{trainer.micro_batch_tokens} tokens",
        "length of the run": f"{trainer.max_steps} optimizer steps = {plan.rollout_steps} rollout steps, "
        f"warm-up {plan.warmup_optimizer_steps} optimizer steps",
        "rollouts": _joined(components.reward_shapers, "no shaper") + "; " + _joined(components.sampler_filters, "no filter"),
        "objective": f"{components.advantage_estimator.name}; {clip}, {aggregator}, {kl}, correction {correction}; "
        f"old log-probs of the {plan.old_log_probs}",
        "files": str(folder),
    }
    if resumed_from is not None:
        rows["continues from"] = resumed_from.name
    table = Table(show_header=False, title=f"rltoolkit  seed {cfg.seed}", title_justify="left")
    for name, text in rows.items():
        table.add_row(f"[bold]{name}", text)
    return table


def component_name(component: object) -> str:
    """The name under which a component is registered."""
    return getattr(component, "name", type(component).__name__)


def _joined(components: tuple[object, ...], none: str) -> str:
    return " + ".join(map(component_name, components)) or none

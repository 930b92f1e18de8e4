"""Contradictions between the keys of a run, refused with the numbers before anything loads."""

from __future__ import annotations

from collections.abc import Sequence

from rltoolkit import registry
from rltoolkit.component import key as config_key
from rltoolkit.component import label, name_of
from rltoolkit.errors import ConfigError
from rltoolkit.old_log_probs import require_source_fits
from rltoolkit.run.components import Components
from rltoolkit.run.config import RunConfig
from rltoolkit.run.plan import step_plan


def validate(config: RunConfig, components: Components) -> None:
    """Raise ConfigError where two keys cannot both hold; what a single key may be, its own class checks."""
    step_plan(config)
    _validate_group_size(config, components)
    _validate_kl_penalty(config, components)
    _validate_what_reads_the_reward(config, components)
    _validate_teacher(components)
    _validate_lengths(config, components)
    _validate_sampling_mask(config, components)
    _validate_held_out(config, components)
    _validate_weight_transfer(components)
    try:
        require_source_fits(config.trainer.old_log_probs, components.importance_correction, config.collector.max_lag)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _validate_group_size(config: RunConfig, components: Components) -> None:
    try:
        config.collector.pilot_of(config.group_size)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    comparing: Sequence[object] = (components.advantage_estimator, *components.sampler_filter)
    for component in comparing:
        smallest = getattr(component, "min_group_size", 1)
        if config.group_size < smallest:
            raise ConfigError(
                f"group_size={config.group_size}: {label(component)} compares the responses to one prompt, "
                f"so group_size must be at least {smallest}"
            )


def _validate_kl_penalty(config: RunConfig, components: Components) -> None:
    if components.kl_penalty.reference == "model":
        return
    for key, value in (("kl_in_reward", config.kl_in_reward), ("reference_every", config.reference_every)):
        if value:
            setting = f"{key}={str(value).lower()}"
            raise ConfigError(
                f"{setting} needs a KL penalty to a reference model: {label(components.kl_penalty)} has none; choose k1, k2 or k3"
            )


def _validate_what_reads_the_reward(config: RunConfig, components: Components) -> None:
    """Refuse whatever changes the reward where the advantages follow from the verdicts alone."""
    estimator = components.advantage_estimator
    if getattr(estimator, "reads_reward", True):
        return
    because = f"{label(estimator)} reads the verdicts, not the reward, so"
    if config.kl_in_reward:
        raise ConfigError(
            f"kl_in_reward=true: {because} the KL would change no advantage; set kl_in_reward=false, and the penalty joins the loss"
        )
    idle = [name_of(shaper) for shaper in components.reward_shaper if getattr(shaper, "changes_reward", True)]
    if idle:
        rest = ",".join(name for name in map(name_of, components.reward_shaper) if name not in idle)
        raise ConfigError(
            f"reward_shaper=[{','.join(idle)}]: {because} this would change no advantage; set reward_shaper=[{rest}], or choose "
            "another advantage_estimator"
        )


def _validate_teacher(components: Components) -> None:
    estimator = components.advantage_estimator
    if getattr(estimator, "teacher", None) == "":
        raise ConfigError(f"{config_key(estimator, 'teacher')} is empty: name a directory or a hub name ({label(estimator)})")


def _validate_lengths(config: RunConfig, components: Components) -> None:
    sampling, context = config.sampling, components.model.context_length()
    for key, response in (
        ("sampling.max_new_tokens", sampling.max_new_tokens),
        ("evaluation.max_new_tokens", config.evaluation.max_new_tokens),
    ):
        total = sampling.max_prompt_tokens + response
        if context is not None and total > context:
            raise ConfigError(
                f"sampling.max_prompt_tokens={sampling.max_prompt_tokens} + {key}={response} = {total} tokens: "
                f"longer than the model's context of {context} tokens"
            )
    longest = sampling.max_prompt_tokens + sampling.max_new_tokens
    if config.trainer.micro_batch_tokens < longest:
        raise ConfigError(
            f"trainer.micro_batch_tokens={config.trainer.micro_batch_tokens}: must hold one whole row, "
            f"sampling.max_prompt_tokens + sampling.max_new_tokens = {longest} tokens"
        )


def _validate_sampling_mask(config: RunConfig, components: Components) -> None:
    """Refuse top-p and top-k in training where the engine cannot say which tokens they kept."""
    sampling, engine = config.sampling, components.rollout_engine
    if not sampling.cuts_off or getattr(engine, "gives_sampling_mask", False):
        return
    setting = f"sampling.top_p={sampling.top_p}" if sampling.top_p < 1 else f"sampling.top_k={sampling.top_k}"
    raise ConfigError(
        f"{setting}: {label(engine)} does not say which tokens it kept, and without them the ratio of new to old probabilities is "
        "biased; set sampling.top_p=1.0 sampling.top_k=0, or rollout_engine=transformers (evaluation.top_p is free)"
    )


def _validate_held_out(config: RunConfig, components: Components) -> None:
    """Refuse tasks of one name, which results could not be told apart by, and verifiers of tasks that are not evaluated."""
    names = [name_of(task) for task in components.eval_task]
    if len(set(names)) < len(names):
        raise ConfigError(f"eval_task=[{','.join(names)}]: each must have a name of its own")
    for task, verifier in config.evaluation.verifiers.items():
        if task not in components.held_out:
            known = ", ".join(components.held_out)
            raise ConfigError(f"evaluation.verifiers.{task}={verifier}: {task} is not evaluated; the held-out tasks are {known}")
        registry.get("reward_function", verifier)


def _validate_weight_transfer(components: Components) -> None:
    """Refuse servers that the weights cannot get to."""
    try:
        components.weight_transfer.require_reach(getattr(components.rollout_engine, "urls", ()))
    except ValueError as error:
        raise ConfigError(str(error)) from error

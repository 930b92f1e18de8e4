"""Every file in conf/ composes; what cannot run is refused with the key, the value and what is allowed."""

from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_module
from omegaconf import DictConfig

from rltoolkit import registry
from rltoolkit.command_line import check_choices
from rltoolkit.component import name_of
from rltoolkit.errors import ConfigError
from rltoolkit.report.rows import ROWS
from rltoolkit.run import compose, config_dirs
from rltoolkit.run.compose import load

CONF = Path(__file__).parents[2] / "conf"


def options(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def composed(*overrides: str) -> DictConfig:
    compose.publish()
    with initialize_config_module("rltoolkit.conf", version_base=None):
        return hydra_compose("config", overrides=list(overrides))


@pytest.mark.parametrize("preset", options("preset"))
def test_every_preset_composes_and_its_numbers_agree(preset):
    run = load(f"preset={preset}")
    config = run.config
    assert run.plan.optimizer_steps_per_rollout == config.prompts_per_step * config.group_size // config.mini_batch_size
    assert config.evaluation.max_new_tokens == config.sampling.max_new_tokens  # unless it is set
    assert config.trainer.largest_sync_gap == {"float32": 1e-3, "bfloat16": 0.2}[config.trainer.compute_dtype]


@pytest.mark.parametrize("preset", ["laboratory", "laptop", "smollm2", "single_gpu"])
@pytest.mark.parametrize("other", ["task=json_lines task.path=rows.jsonl", "task=countdown", "model=tiny", "model=smollm2_135m"])
def test_a_presets_settings_of_its_own_task_and_model_leave_with_them(preset, other):
    choices = [f"preset={preset}", "reward_function=integer_answer", "rollout_engine.dtype=float32", *other.split()]
    kind, name = choices[3].split("=")
    limits = ["sampling.max_prompt_tokens=24", "sampling.max_new_tokens=64"]  # what the context of model=tiny holds
    assert name_of(getattr(load(*choices, *limits).components, kind)) == name


def test_the_laboratorys_model_learns_the_problems_of_its_task():
    def sizes(*overrides):
        model = load("preset=laboratory", *overrides).components.model
        return model.max_operands, model.max_operand, model.limit

    assert sizes() == (4, 5, 10)  # conf/task/laboratory.yaml
    assert sizes("task.limit=20") == (4, 5, 20)
    assert sizes("task=json_lines", "task.path=rows.jsonl") == (4, 5, 10)  # those of no other task


@pytest.mark.parametrize(
    ("experiment", "chosen"),
    [
        ("grpo", ("symmetric", "sequence_mean", [], [])),
        ("dapo", ("clip_higher", "token_mean", ["overlong_filtering", "soft_overlong_punishment"], ["dynamic_sampling"])),
        ("scale_rl", ("cispo", "prompt_token_mean", [], ["dynamic_sampling"])),
        ("dapo_released", ("clip_higher", "token_mean", ["soft_overlong_punishment"], ["dynamic_sampling"])),
    ],
)
def test_what_the_experiments_choose(experiment, chosen):
    parts = load(f"+experiment={experiment}").components
    lists = [name_of(each) for each in parts.reward_shaper], [name_of(each) for each in parts.sampler_filter]
    assert (name_of(parts.clip_strategy), name_of(parts.loss_aggregator), *lists) == chosen


SWEEPS = ("dapo_ablation", "dapo_ablation_smollm2", "dapo_leave_one_out", "prompt_selection")
"""Experiments whose own key is Hydra's."""
NEEDED = {"on_policy_distillation": ["advantage_estimator.teacher=anything"]}
"""What only the user can say."""


@pytest.mark.parametrize("group", ["experiment", "ablation"])
def test_every_option_of_a_group_composes(group):
    for name in options(group):
        if name not in SWEEPS:
            run = load(f"+{group}={name}", *NEEDED.get(name, []))
            assert run.stamps[group] == name


@pytest.mark.parametrize("logger", options("logger"))
def test_a_logger_is_told_the_folder_of_the_run(logger):
    chosen = load(f"logger={logger}").config.logger
    assert [list(node.values()).count("{folder}") for node in chosen.values()] == ([] if logger == "none" else [1])


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_component_is_an_option(kind):
    for name in registry.names(kind):
        choice = f"{kind}=[{name}]" if kind in registry.SEVERAL else f"{kind}={name}"
        cfg = composed(choice)
        node = cfg[kind][name] if kind in registry.SEVERAL else cfg[kind]
        assert node._target_.endswith(registry.get(kind, name).__qualname__)


def test_the_paper_preset_holds_the_papers_numbers():
    run = load("preset=paper")
    plan, config = run.plan, run.config
    # 512 prompts x 16 responses = 8,192; mini-batches of 512 -> 16 updates; warm-up 20 rollout steps = 320 updates
    assert (plan.responses_per_step, plan.optimizer_steps_per_rollout, plan.warmup_optimizer_steps) == (8192, 16, 320)
    assert (config.sampling.max_new_tokens, config.cache_length, config.optimizer.learning_rate) == (20480, 4096, 1e-6)


def test_each_row_changes_exactly_one_thing():
    def components(row):
        cfg = composed(f"+ablation={row}")
        kinds = (
            "prompt_sampler",
            "advantage_estimator",
            "clip_strategy",
            "loss_aggregator",
            "kl_penalty",
            "importance_correction",
        )
        chosen = {kind: cfg[kind]._target_ for kind in kinds}
        several = {kind: tuple(cfg[kind]) for kind in registry.SEVERAL}
        return chosen | several | {"collector.pilot_size": cfg.collector.pilot_size}

    rows = {row: components(row) for row in ROWS}
    assert rows.keys() <= set(options("ablation"))
    for row, known in ROWS.items():
        if known.before is not None:
            assert sum(rows[row][kind] != rows[known.before][kind] for kind in rows[row]) == 1, row
    assert rows["dynamic_sampling"]["sampler_filter"] == ("dynamic_sampling",)
    # the other reading of the fourth row ends where leaving filtering out of DAPO does
    replaced, left_out = rows["soft_replaces_filtering_token_level"], rows["without_overlong_filtering"]
    assert [kind for kind in replaced if replaced[kind] != left_out[kind]] == ["sampler_filter"]


def test_length_based_shapers_follow_the_runs_own_limit():
    shaper = load("+experiment=dapo", "sampling.max_new_tokens=40", "cache_length=10").components.reward_shaper[1]
    assert (shaper.max_length, shaper.cache_length) == (40, 10)


@pytest.mark.parametrize("preset", ["laptop", "smollm2", "paper"])
def test_a_field_that_is_only_called_like_a_token_limit_keeps_its_default(preset):
    # characters of an expression, not tokens of a response
    assert load(f"preset={preset}", "reward_function=countdown").components.reward_function.max_length == 200


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["mini_batch_size=48"], r"mini_batch_size=48 must divide prompts_per_step x group_size = 64 x 8 = 512"),
        (["group_size=1", "mini_batch_size=64"], r"group_size=1: advantage_estimator=group_normalized .* at least 2"),
        (["collector.pilot_size=3"], r"collector\.pilot_size=3: must be a proper divisor of group_size=8 \(2, 4\), or 0"),
        (["sampling.top_p=0.9"], r"sampling\.top_p=0\.9: rollout_engine=vllm does not say which tokens it kept"),
        (["sampling.top_k=20"], r"sampling\.top_k=20: rollout_engine=vllm does not say"),
        (["rollout_engine=transformers", "sampling.top_p=1.5"], r"sampling\.top_p=1\.5: must be in \(0, 1\]"),
        (["+experiment=dapo", "cache_length=64"], r"reward_shaper\.soft_overlong_punishment\.cache_length=64: must be"),
        (["sampling.max_new_tokens=5000"], r"longer than the model's context of \d+ tokens"),
        (["clip_strategy=clip_higher", "clip_strategy.epsilon_low=1.5"], r"clip_strategy\.epsilon_low=1\.5: must be in \[0, 1\)"),
        (["trainer.micro_batch_tokens=50"], r"trainer\.micro_batch_tokens=50: must hold one whole row"),
        (["trainer.max_steps=0"], r"trainer\.max_steps=0: must be greater than 0"),
        (["optimizer.warmup_rollout_steps=3"], r"set one of them"),
        (["kl_in_reward=true"], r"kl_in_reward=true needs a KL penalty to a reference model: kl_penalty=none"),
        (["kl_in_reward=true", "kl_penalty=sampler_drift"], r"kl_penalty=sampler_drift has none; choose k1, k2 or k3"),
        (["reference_every=400"], r"reference_every=400 needs a KL penalty to a reference model: kl_penalty=none"),
        (
            ["kl_in_reward=true", "kl_penalty=k1", "advantage_estimator=max_rl"],
            r"kl_in_reward=true: advantage_estimator=max_rl reads the verdicts",
        ),
        (
            ["+experiment=dapo", "advantage_estimator=max_rl"],
            r"reward_shaper=\[soft_overlong_punishment\]: advantage_estimator=max_rl .* set reward_shaper=\[overlong_filtering\]",
        ),
        (["verifier_timeout=0"], r"^verifier_timeout=0\.0: must be greater than 0"),
        (["trainer.log_rollouts_every=-1"], r"trainer\.log_rollouts_every=-1: must be at least 0"),
        (["evaluation.top_p=0"], r"evaluation\.top_p=0\.0: must be in \(0, 1\]"),
        (["collector.at_limit=stop"], r"collector\.at_limit=stop: must be one of raise, train_partial, fill_with_rejected"),
        (["lora.rank=-1"], r"lora\.rank=-1: must be at least 0"),
        (["sampling.max_prompt_tokens=???"], r"sampling\.max_prompt_tokens must be given"),
        (["trainer.old_log_probs=vllm"], r"trainer\.old_log_probs=vllm: must be one of auto, trainer, engine"),
        (
            ["trainer.old_log_probs=engine", "importance_correction=tis"],
            r"trainer\.old_log_probs=engine: importance_correction=tis .* would find no difference",
        ),
        (
            ["preset=r1_zero", "eval_task=[]"],
            r"eval_task\.aime_2024 has settings but is not chosen: eval_task=\[aime_2024\] chooses it",
        ),
        # gradients of 1 / (tokens of the step) underflow in float16 without loss scaling
        (["trainer.compute_dtype=float16"], r"trainer\.compute_dtype=float16: must be one of float32, bfloat16"),
    ],
)
def test_contradictions_are_refused_with_the_numbers(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(*overrides)


def test_a_folder_of_ones_own_is_looked_into(tmp_path, monkeypatch):
    (tmp_path / "preset").mkdir()
    (tmp_path / "preset" / "half.yaml").write_text("# @package _global_\ndefaults: [laptop, _self_]\nprompts_per_step: 32\n")
    monkeypatch.setenv(config_dirs.VARIABLE, "")
    config_dirs.add(str(tmp_path))
    check_choices(["preset=half"])
    assert load("preset=half").config.prompts_per_step == 32
    with pytest.raises(registry.UnknownName, match="Did you mean half"):
        check_choices(["preset=hlaf"])
    config_dirs.add(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=r"--config-dir=.*missing: there is no such folder"):
        load("preset=half")


def test_what_shapes_the_mask_alone_goes_with_verdicts():
    load("reward_shaper=[overlong_filtering]", "advantage_estimator=max_rl")

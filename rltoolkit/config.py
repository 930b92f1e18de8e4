"""The typed schema of a run's configuration: every key that is not a component.

Components (``clip_strategy``, ``task``, ``model``, ...) are not listed here with their fields: their files are their config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from rltoolkit.collector import Refill


class ConfigError(ValueError):
    """A configuration that cannot run; the message names the key, the value and what is allowed."""


@dataclass
class SamplingConfig:
    """How responses are sampled for training."""

    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = MISSING  # L_max
    max_prompt_tokens: int = MISSING  # longer prompts are left out, and counted


@dataclass
class OptimizerConfig:
    """AdamW, linear warm-up, then constant."""

    learning_rate: float = 1e-6
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.1
    gradient_clip: float = 1.0  # on the global norm
    warmup_optimizer_steps: int = 0  # at most one of the two is set
    warmup_rollout_steps: int = 0


@dataclass
class TrainerConfig:
    """Where and how long to train."""

    max_steps: int = MISSING  # optimizer steps
    accelerator: str = "auto"  # auto, cpu, gpu
    devices: int = 1  # processes on each node
    num_nodes: int = 1
    micro_batch_tokens: int = MISSING  # rows x longest row of one forward and backward
    compute_dtype: str = "float32"  # of forward and backward; master weights and optimizer stay in float32
    # trainer: scored before the updates of a rollout step; engine: those of the rollouts; auto: the trainer's, but where a rollout
    # step makes a single optimizer step they are the ones of the update itself, which needs no scoring
    old_log_probs: str = "auto"
    max_skipped_steps: int = 3  # non-finite steps in a row before the run stops
    checkpoint_every: int = 1  # rollout steps
    keep_checkpoints: int = 2
    log_rollouts_every: int = 1  # rollout steps between two samples of responses in rollouts/
    sync_tolerance: float = 1e-3  # largest accepted mean log-prob gap between engine and trainer after a weight sync


@dataclass
class EvaluationConfig:
    """Held-out evaluation during and after training."""

    every: int = MISSING  # rollout steps; 0: only at the end
    problems: int = MISSING  # at most this many
    k: int = MISSING  # responses for each problem
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = MISSING


@dataclass
class HardwareConfig:
    """What a preset needs; checked before anything loads."""

    min_gpus: int = 0
    min_memory_gib: float = 0.0


@dataclass
class RunConfig:
    """The whole configuration of one run."""

    seed: int = 0
    verbose: bool = False
    prompts_per_step: int = MISSING  # P
    group_size: int = MISSING  # G
    mini_batch_size: int = MISSING  # responses in one optimizer step
    cache_length: int = MISSING  # L_cache in tokens, the default of the length-based shapers
    entropy_coefficient: float = 0.0
    verifier_timeout: float | None = None  # wall seconds of a check; any reward function then runs in processes of its own
    kl_in_reward: bool = False  # kl_penalty lowers the reward before advantages are computed, instead of joining the loss
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    collector: Refill = field(default_factory=Refill)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    hardware: HardwareConfig = field(default_factory=HardwareConfig)
    logger: dict[str, Any] = field(default_factory=dict)
    profiler: Any = None
    task: Any = MISSING
    eval_task: Any = None  # None: the eval split of ``task``
    prompt_sampler: Any = MISSING
    model: Any = MISSING
    rollout_engine: Any = MISSING
    reward_function: Any = MISSING
    reward_shaper: dict[str, Any] = field(default_factory=dict)
    sampler_filter: dict[str, Any] = field(default_factory=dict)
    advantage_estimator: Any = MISSING
    clip_strategy: Any = MISSING
    loss_aggregator: Any = MISSING
    kl_penalty: Any = MISSING
    importance_correction: Any = MISSING

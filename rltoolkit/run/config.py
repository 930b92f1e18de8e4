"""The typed configuration of a run: every key that is not a component's.

Components (``clip_strategy``, ``task``, ``model``, ...) are not listed here with their fields: their files are their config.
Hydra composes these classes as its schema; ``run/compose.py`` turns the result into instances of them, once, and nothing behind
it knows Hydra. An instance whose values are out of range cannot be made; what two keys must agree on is in ``validate.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from omegaconf import II, MISSING

from rltoolkit.collector.refill import Refill
from rltoolkit.component import check
from rltoolkit.policy.lora import LoRA
from rltoolkit.rollout_engine.base import Sampling

REFLECTION_PHRASES = (
    "wait", "hold on", "let me check", "let me recheck", "let me re-check", "let me double-check", "let me verify", "let me rethink",
    "let me reconsider", "recheck", "re-check", "double-check", "on second thought", "i made a mistake", "that's not right",
    "actually, no",
)  # fmt: skip
"""Words of reconsideration, after the paper's section 4.4 on reflective behaviour."""


def _require_positive(section: object, *fields: str) -> None:
    for name in fields:
        value = getattr(section, name)
        if not _unset(value):
            check(section, name, value > 0, "greater than 0")


def _require_not_negative(section: object, *fields: str) -> None:
    for name in fields:
        check(section, name, getattr(section, name) >= 0, "at least 0")


def _require_choice(section: object, field_name: str, allowed: tuple[str, ...]) -> None:
    check(section, field_name, getattr(section, field_name) in allowed, f"one of {', '.join(allowed)}")


def _unset(value: object) -> bool:
    """Whether Hydra has yet to fill a value in: missing, or a reference to another key."""
    return value is None or isinstance(value, str)


@dataclass(kw_only=True)
class SamplingConfig:
    """How responses are sampled for training."""

    section: ClassVar[str] = "sampling"

    temperature: float = 1.0  # divides the logits, in the trainer too
    top_p: float = 1.0  # below 1 for engines that say which tokens they kept: the trainer normalises over those, too
    top_k: int = 0  # 0: no limit; else likewise
    max_new_tokens: int = MISSING  # longest response (L_max); one that gets there is truncated
    max_prompt_tokens: int = MISSING  # longer prompts are left out, and counted

    def __post_init__(self) -> None:
        _require_positive(self, "temperature", "max_new_tokens", "max_prompt_tokens")
        _require_not_negative(self, "top_k")
        check(self, "top_p", 0 < self.top_p <= 1, "in (0, 1]")

    @property
    def cuts_off(self) -> bool:
        """Whether some tokens are left out of the distribution that is sampled from."""
        return self.top_p < 1 or self.top_k > 0

    @property
    def sampling(self) -> Sampling:
        """What the engine is asked for."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            sampling_mask=self.cuts_off,
            max_new_tokens=self.max_new_tokens,
        )


@dataclass(kw_only=True)
class OptimizerConfig:
    """AdamW, linear warm-up, then constant."""

    section: ClassVar[str] = "optimizer"

    learning_rate: float = 1e-6  # after the warm-up
    betas: tuple[float, float] = (0.9, 0.999)  # decay of the two moments
    weight_decay: float = 0.1  # decoupled
    gradient_clip: float = 1.0  # on the global norm
    warmup_optimizer_steps: int = 0  # linear warm-up; at most one of the two is set
    warmup_rollout_steps: int = 0  # the same, counted in rollout steps

    def __post_init__(self) -> None:
        _require_positive(self, "gradient_clip")
        _require_not_negative(self, "learning_rate", "weight_decay", "warmup_optimizer_steps", "warmup_rollout_steps")
        if self.warmup_optimizer_steps and self.warmup_rollout_steps:
            raise ValueError(
                f"optimizer.warmup_optimizer_steps={self.warmup_optimizer_steps} and optimizer.warmup_rollout_steps="
                f"{self.warmup_rollout_steps}: set one of them, the warm-up counts either optimizer or rollout steps"
            )


@dataclass(kw_only=True)
class TrainerConfig:
    """Where and how long to train."""

    section: ClassVar[str] = "trainer"

    max_steps: int = MISSING  # optimizer steps
    accelerator: str = "auto"  # auto, cpu, gpu
    devices: int = 1  # processes on each node
    num_nodes: int = 1  # machines, each with as many processes
    micro_batch_tokens: int = MISSING  # rows x longest row of one forward and backward
    compute_dtype: str = "float32"  # or bfloat16; of forward and backward: master weights and optimizer stay in float32
    # of the logits: auto is compute_dtype; float32 brings bfloat16 trainers and engines closer (MiniMax-M1, ScaleRL)
    head_dtype: str = "auto"
    memory_check: bool = True  # refuse a run that rltoolkit.plan expects not to fit this machine
    recompute: str = "none"  # or layer: keep only each decoder layer's input for the backward pass, and compute the layer again
    compile: bool = False  # torch.compile of each decoder layer: time a few steps of yours; not tried on a GPU
    old_log_probs: str = "auto"  # auto, trainer, engine: whose log-probs the ratio is taken to (training/old_log_probs.py)
    # steps in a row that are not finite, or rollout steps without a trained token, before the run stops
    max_skipped_steps: int = 3
    checkpoint_every: int = 1  # rollout steps
    keep_checkpoints: int = 2  # the newest ones; the best one stays beside them
    log_rollouts_every: int = 1  # rollout steps between two samples of responses in rollouts/; 0 writes none
    # counted in the responses, as whole words; [] counts none
    reflection_phrases: list[str] = field(default_factory=lambda: list(REFLECTION_PHRASES))
    # largest accepted mean log-prob gap between engine and trainer after a weight sync; null: 1e-3, or 0.2 in bfloat16, in which
    # engine and trainer round differently
    sync_tolerance: float | None = None

    def __post_init__(self) -> None:
        _require_positive(
            self, "max_steps", "devices", "num_nodes", "micro_batch_tokens", "max_skipped_steps", "checkpoint_every",
            "keep_checkpoints", "sync_tolerance",
        )  # fmt: skip
        _require_not_negative(self, "log_rollouts_every")
        _require_choice(self, "accelerator", ("auto", "cpu", "gpu"))
        _require_choice(self, "recompute", ("none", "layer"))
        _require_choice(self, "old_log_probs", ("auto", "trainer", "engine"))
        # float16 is missing on purpose: token weights are 1 / tokens of the step, and its gradients underflow without loss scaling
        _require_choice(self, "compute_dtype", ("float32", "bfloat16"))
        _require_choice(self, "head_dtype", ("auto", "float32"))

    @property
    def largest_sync_gap(self) -> float:
        """``sync_tolerance``, or what follows from the precision."""
        if self.sync_tolerance is not None:
            return self.sync_tolerance
        return 1e-3 if self.compute_dtype == "float32" else 0.2

    @property
    def logits_are_wider(self) -> bool:
        """Whether logits are in float32 and the rest is not."""
        return self.head_dtype == "float32" != self.compute_dtype

    @property
    def world_size(self) -> int:
        """Processes in all."""
        return self.devices * self.num_nodes


@dataclass(kw_only=True)
class EvaluationConfig:
    """Held-out evaluation during and after training."""

    section: ClassVar[str] = "evaluation"

    every: int = MISSING  # rollout steps; 0: only at the end
    problems: int = MISSING  # at most this many
    k: int = MISSING  # responses for each problem
    temperature: float = 1.0  # of held-out responses
    top_p: float = 1.0  # of held-out responses; the paper evaluates with 0.7
    max_new_tokens: int = II("sampling.max_new_tokens")  # the length limit of held-out responses
    # task -> the reward function that judges it, where it is another one than in training:
    # +evaluation.verifiers.math_500=math_verify
    verifiers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _require_positive(self, "problems", "k", "temperature", "max_new_tokens")
        if not _unset(self.every):
            _require_not_negative(self, "every")
        check(self, "top_p", 0 < self.top_p <= 1, "in (0, 1]")

    @property
    def sampling(self) -> Sampling:
        """What the engine is asked for."""
        return Sampling(temperature=self.temperature, top_p=self.top_p, max_new_tokens=self.max_new_tokens)


@dataclass(kw_only=True)
class RunConfig:
    """The configuration of one run, its components left out."""

    section: ClassVar[str] = ""

    seed: int = 0  # of prompts, sampling, warm starts and adapters
    prompts_per_step: int = MISSING  # groups that a rollout step trains on (P)
    group_size: int = MISSING  # responses to each prompt (G)
    mini_batch_size: int = MISSING  # responses in one optimizer step
    cache_length: int = MISSING  # L_cache in tokens, the default of the length-based shapers
    entropy_coefficient: float = 0.0  # the loss is less by this times the mean entropy of trained tokens; DAPO: 0
    verifier_timeout: float | None = None  # wall seconds of a check; any reward function then runs in processes of its own
    kl_in_reward: bool = False  # kl_penalty lowers the reward before advantages are computed, instead of joining the loss
    reference_every: int = 0  # optimizer steps after which the reference of the KL penalty becomes a copy of the policy; 0: never
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    collector: Refill = field(default_factory=Refill)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    lora: LoRA = field(default_factory=LoRA)  # adapters only, for any model: lora.rank=16
    logger: dict[str, Any] = field(default_factory=dict)  # name -> a Lightning logger as {_target_: class, argument: value}
    profiler: dict[str, Any] = field(default_factory=dict)  # a Lightning profiler, likewise; empty: none

    def __post_init__(self) -> None:
        _require_positive(self, "prompts_per_step", "group_size", "mini_batch_size", "cache_length", "verifier_timeout")
        _require_not_negative(self, "seed", "entropy_coefficient", "reference_every")

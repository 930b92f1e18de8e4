"""Transformers: sampling with Hugging Face's own model, for machines without vLLM.

One forward per token for all unfinished responses; finished ones leave the batch, and their keys and values with them.
Source: none. Config: ``rollout_engine=transformers``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rltoolkit.component import check, follows
from rltoolkit.registry import register
from rltoolkit.rollout_engine.base import HEAD_DTYPES, RolloutEngine


@register("rollout_engine", "transformers")
@dataclass(frozen=True, kw_only=True)
class Transformers:
    """Starts engines that sample with transformers.

    Args:
        dtype: of weights and activations; ``auto`` is float32 on the CPU and bfloat16 on a GPU.
        head_dtype: of the logits; ``auto`` is that of the activations, the other choice ``float32``. As in the trainer, unless set.
        device: where the engine runs; ``auto`` is the GPU if there is one.
        max_num_seqs: responses sampled at the same time; bounds the memory for keys and values.
    """

    gives_sampling_mask: ClassVar[bool] = True

    dtype: str = "auto"
    head_dtype: str = follows("trainer.head_dtype", "auto")
    device: str = "auto"
    max_num_seqs: int = 256

    def __post_init__(self) -> None:
        check(self, "head_dtype", self.head_dtype in HEAD_DTYPES, f"one of {', '.join(HEAD_DTYPES)}")
        check(self, "max_num_seqs", self.max_num_seqs >= 1, "at least 1")

    def __call__(self, *, model_path: Path, max_length: int, seed: int) -> RolloutEngine:
        """Load the model; see ``RolloutEngineSpec``. ``seed`` is not used: every response has a stream of its own."""
        from rltoolkit.rollout_engine._transformers import TransformersEngine  # choosing an engine needs no torch

        return TransformersEngine(
            Path(model_path), device=self.device, dtype=self.dtype, float32_head=self.head_dtype == "float32",
            max_num_seqs=self.max_num_seqs, max_length=max_length,
        )  # fmt: skip

    def cache_bytes(self, *, gpu: float | None, weights: float, response: float) -> float:
        """Memory for keys and values: as much as ``max_num_seqs`` responses take, of ``response`` bytes at most."""
        return self.max_num_seqs * response

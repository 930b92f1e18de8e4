"""The settings that a vLLM engine has wherever it runs: in the trainer's process, in one of its own, behind a server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rltoolkit.component import check, follows
from rltoolkit.rollout_engine.base import HEAD_DTYPES

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class VLLMSettings:
    """What vLLM is started with.

    Args:
        dtype: of weights and activations; ``auto`` is float32 on the CPU and bfloat16 on a GPU.
        head_dtype: of the logits; ``auto`` is that of the activations, the other choice ``float32``. As in the trainer, unless set.
        max_num_seqs: responses sampled at the same time.
        kv_cache_gib: memory for keys and values on the CPU, in GiB.
        gpu_memory_utilization: share of the GPU's memory that the engine may take, in (0, 1]. A trainer on the same GPU keeps
            16 bytes a parameter there, also while the engine samples; raise it for an engine that has a GPU to itself.
        tensor_parallel_size: GPUs that one engine is spread over.
        enforce_eager: run without compiling or capturing the model; None is yes on the CPU, no on a GPU.
    """

    dtype: str = "auto"
    head_dtype: str = follows("trainer.head_dtype", "auto")
    max_num_seqs: int = 512
    kv_cache_gib: float = 1.0
    gpu_memory_utilization: float = 0.5
    tensor_parallel_size: int = 1
    enforce_eager: bool | None = None

    def __post_init__(self) -> None:
        check(self, "head_dtype", self.head_dtype in HEAD_DTYPES, f"one of {', '.join(HEAD_DTYPES)}")
        check(self, "max_num_seqs", self.max_num_seqs >= 1, "at least 1")
        check(self, "kv_cache_gib", self.kv_cache_gib > 0, "above 0")
        check(self, "gpu_memory_utilization", 0 < self.gpu_memory_utilization <= 1, "in (0, 1]")
        check(self, "tensor_parallel_size", self.tensor_parallel_size >= 1, "at least 1")

    @property
    def dtype_here(self) -> str:
        """``dtype``, or what ``auto`` is on this machine."""
        return ("bfloat16" if torch.cuda.is_available() else "float32") if self.dtype == "auto" else self.dtype

    def cache_bytes(self, *, gpu: float | None, weights: float, response: float) -> float:
        """Memory for keys and values: ``kv_cache_gib`` on the CPU, on a GPU of ``gpu`` bytes what ``weights`` leave of the share."""
        if gpu is None:
            return self.kv_cache_gib * GIB
        return self.gpu_memory_utilization * gpu - weights / self.tensor_parallel_size

    def model_arguments(self, model_path: Path, max_length: int, seed: int) -> dict[str, Any]:
        """The settings in vLLM's own vocabulary, for the device of this machine: what responses and weights depend on."""
        on_gpu = torch.cuda.is_available()
        device: dict[str, Any] = {"gpu_memory_utilization": self.gpu_memory_utilization}
        if not on_gpu:
            # After a partial prefill vLLM rewinds a request's random generator, which fails on the CPU: prefill in one piece.
            prefill = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, max_length + 1)}
            device = {"kv_cache_memory_bytes": int(self.kv_cache_gib * GIB), **prefill}
        return {
            "model": str(model_path),
            "dtype": self.dtype_here,
            **({"hf_overrides": {"head_dtype": "float32"}} if self.head_dtype == "float32" else {}),
            "max_model_len": max_length + 1,  # scoring a sequence of max_length tokens samples one more
            "max_num_seqs": self.max_num_seqs,
            "tensor_parallel_size": self.tensor_parallel_size,
            "enforce_eager": not on_gpu if self.enforce_eager is None else self.enforce_eager,
            "logprobs_mode": "processed_logprobs",  # after temperature and top-p: what was sampled from
            "worker_extension_cls": "rltoolkit.rollout_engine._vllm.worker.WeightReload",
            "disable_log_stats": True,
            "seed": seed,
            **device,
        }

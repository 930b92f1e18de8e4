"""vLLM: continuous batching with paged key-value memory, in the trainer's process or in one of its own.

On the CPU the engine shares the trainer's process by default: weights pass by reference and it starts in seconds. Install
the extra ``cpu`` or ``gpu``. Source: vLLM, arXiv:2309.06180. Config: ``rollout_engine=vllm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rltoolkit.component import check
from rltoolkit.registry import register
from rltoolkit.rollout_engine.base import RolloutEngine

GIB = 2**30


@register("rollout_engine", "vllm")
@dataclass(frozen=True, kw_only=True)
class VLLM:
    """Starts vLLM engines.

    Args:
        dtype: of weights and activations; ``auto`` is float32 on the CPU and bfloat16 on a GPU.
        max_num_seqs: responses sampled at the same time.
        kv_cache_gib: memory for keys and values on the CPU, in GiB.
        gpu_memory_utilization: share of the GPU's memory that the engine may take, in (0, 1]. A trainer on the same GPU keeps
            16 bytes a parameter there, also while the engine samples; raise it for an engine that has a GPU to itself.
        tensor_parallel_size: GPUs that one engine is spread over.
        enforce_eager: run without compiling or capturing the model; None is yes on the CPU, no on a GPU.
        sleep: on a GPU, move weights to main memory and drop the cache while the trainer updates; for an engine that has a GPU
            to itself, switch it off.
        subprocess: put the engine in processes of its own. Its start takes longer and weights travel through shared memory, or
            stay on the GPU where both can reach them; an engine that crashes is then started again, once in a rollout step.
    """

    dtype: str = "auto"
    max_num_seqs: int = 512
    kv_cache_gib: float = 1.0
    gpu_memory_utilization: float = 0.5
    tensor_parallel_size: int = 1
    enforce_eager: bool | None = None
    sleep: bool = True
    subprocess: bool = False

    def __post_init__(self) -> None:
        check(self, "max_num_seqs", self.max_num_seqs >= 1, "at least 1")
        check(self, "kv_cache_gib", self.kv_cache_gib > 0, "above 0")
        check(self, "gpu_memory_utilization", 0 < self.gpu_memory_utilization <= 1, "in (0, 1]")
        check(self, "tensor_parallel_size", self.tensor_parallel_size >= 1, "at least 1")

    def __call__(self, *, model_path: Path, max_length: int, seed: int) -> RolloutEngine:
        """Start an engine; see ``RolloutEngineSpec``. Raises ImportError where vLLM is not installed."""
        from rltoolkit.rollout_engine._restarting import RestartingEngine
        from rltoolkit.rollout_engine._vllm.engine import VLLMEngine  # choosing an engine needs no torch

        arguments = self.engine_arguments(model_path, max_length, seed)

        def start() -> RolloutEngine:
            return VLLMEngine(arguments, max_length=max_length, subprocess=self.subprocess, sleep=self.sleep)

        return RestartingEngine(start) if self.subprocess else start()

    def cache_bytes(self, *, gpu: float | None, weights: float, response: float) -> float:
        """Memory for keys and values: ``kv_cache_gib`` on the CPU, on a GPU of ``gpu`` bytes what ``weights`` leave of the share."""
        if gpu is None:
            return self.kv_cache_gib * GIB
        return self.gpu_memory_utilization * gpu - weights / self.tensor_parallel_size

    def engine_arguments(self, model_path: Path, max_length: int, seed: int) -> dict[str, Any]:
        """The settings in vLLM's own vocabulary, for the device of this machine."""
        on_gpu = torch.cuda.is_available()
        device: dict[str, Any] = {"gpu_memory_utilization": self.gpu_memory_utilization, "enable_sleep_mode": self.sleep}
        if on_gpu and self.tensor_parallel_size == 1:
            device["device_ids"] = [torch.cuda.current_device()]  # the trainer's, not the first one for every rank
        if not on_gpu:
            # After a partial prefill vLLM rewinds a request's random generator, which fails on the CPU: prefill in one piece.
            prefill = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, max_length + 1)}
            device = {"kv_cache_memory_bytes": int(self.kv_cache_gib * GIB), **prefill}
        return {
            "model": str(model_path),
            "dtype": ("bfloat16" if on_gpu else "float32") if self.dtype == "auto" else self.dtype,
            "max_model_len": max_length + 1,  # scoring a sequence of max_length tokens samples one more
            "max_num_seqs": self.max_num_seqs,
            "tensor_parallel_size": self.tensor_parallel_size,
            "enforce_eager": not on_gpu if self.enforce_eager is None else self.enforce_eager,
            "logprobs_mode": "processed_logprobs",  # after temperature and top-p: what was sampled from
            "skip_tokenizer_init": True,
            "worker_extension_cls": "rltoolkit.rollout_engine._vllm.worker.WeightReload",
            "disable_log_stats": True,
            "use_tqdm_on_load": False,
            "seed": seed,
            **device,
        }

"""vLLM: continuous batching with paged key-value memory, in the trainer's process or in one of its own.

On the CPU the engine shares the trainer's process by default: weights pass by reference and it starts in seconds. Install
the extra ``cpu`` or ``gpu``. Source: vLLM, arXiv:2309.06180. Config: ``rollout_engine=vllm``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from rltoolkit.registry import register
from rltoolkit.rollout_engine._settings import VLLMSettings
from rltoolkit.rollout_engine.base import RolloutEngine


@register("rollout_engine", "vllm")
@dataclass(frozen=True, kw_only=True)
class VLLM(VLLMSettings):
    """Starts vLLM engines; what ``VLLMSettings`` says of them holds, too.

    Args:
        sleep: on a GPU, move weights to main memory and drop the cache while the trainer updates; for an engine that has a GPU
            to itself, switch it off.
        subprocess: put the engine in processes of its own. Its start takes longer and weights travel through shared memory, or
            stay on the GPU where both can reach them; an engine that crashes is then started again, once in a rollout step.
    """

    sleep: bool = True
    subprocess: bool = False

    def __call__(self, *, model_path: Path, max_length: int, seed: int) -> RolloutEngine:
        """Start an engine; see ``RolloutEngineSpec``. Raises ImportError where vLLM is not installed."""
        from rltoolkit.rollout_engine._restarting import RestartingEngine
        from rltoolkit.rollout_engine._vllm.engine import VLLMEngine  # choosing an engine needs no torch

        arguments = self.engine_arguments(model_path, max_length, seed)

        def start() -> RolloutEngine:
            return VLLMEngine(arguments, max_length=max_length, subprocess=self.subprocess, sleep=self.sleep)

        return RestartingEngine(start) if self.subprocess else start()

    def engine_arguments(self, model_path: Path, max_length: int, seed: int) -> dict[str, Any]:
        """The settings in vLLM's own vocabulary, for the device of this machine."""
        device: dict[str, Any] = {"enable_sleep_mode": self.sleep} if torch.cuda.is_available() else {}
        if torch.cuda.is_available() and self.tensor_parallel_size == 1:
            device["device_ids"] = [torch.cuda.current_device()]  # the trainer's, not the first one for every rank
        model = self.model_arguments(model_path, max_length, seed)
        return {**model, "skip_tokenizer_init": True, "use_tqdm_on_load": False, **device}

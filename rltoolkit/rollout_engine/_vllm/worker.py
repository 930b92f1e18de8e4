"""vLLM's side of the engine: what runs in its workers, how weights get there, and how the trainer learns of a process's end."""

from __future__ import annotations

import contextlib
import multiprocessing.connection
import os
import pickle
import threading
import time
from collections.abc import Iterable
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rltoolkit.rollout_engine._vllm.process_state import Decorated, undecorate
from rltoolkit.weights_file import read_weights


class WeightReload:
    """Mixed into vLLM's worker: replaces the weights of the live model."""

    model_runner: Any
    vllm_config: Any

    def replace_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Load tensors under their checkpoint names, through the model's own loader (fused and sharded weights included)."""
        from vllm.config import set_current_vllm_config

        model = self.model_runner.get_model()
        with set_current_vllm_config(self.vllm_config):
            forget_packed_experts(model)
            self.model_runner.reload_weights(weights_iterator=iter(weights), is_checkpoint_format=True)
            refresh_head(model)

    def undecorate(self, decorated: Iterable[Decorated]) -> None:
        """Take vLLM's decorations off transformers' classes; for a worker in the trainer's process."""
        undecorate(decorated, self.model_runner.get_model())

    def replace_weights_from(self, path: str) -> None:
        """The same, from a folder that ``WeightsFile`` wrote."""
        self.replace_weights(read_weights(Path(path)))

    def end_with_trainer(self, trainer: int, engine: int) -> None:
        """End the engine when the trainer is gone; the arguments are process ids."""
        threading.Thread(target=_end_with_trainer, args=(trainer, engine), name="rollout-engine-end", daemon=True).start()

    def replace_weights_by_handle(self, handles: bytes) -> None:
        """The same, read from the trainer's GPU memory; see ``memory_handles``."""
        self.replace_weights(pickle.loads(handles))
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # the trainer may change them when this returns


def refresh_head(model: torch.nn.Module) -> None:
    """Pack the head again: tied to the embeddings it is not reloaded, and on the CPU it keeps a packed copy of the old weights."""
    head: Any = getattr(model, "lm_head", None)
    if hasattr(head, "cpu_linear"):
        head.quant_method.process_weights_after_loading(head)


def forget_packed_experts(model: torch.nn.Module) -> None:
    """Let vLLM pack a mixture's experts again when they are reloaded.

    Its CPU kernel computes with packed experts. vLLM packs them when it makes the kernel, and makes it once: a reload would write plain
    weights where packed ones are expected. Without a kernel it makes a new one, and packs.
    """
    for module in model.modules():
        method: Any = getattr(module, "quant_method", None)
        experts = getattr(getattr(method, "moe_kernel", None), "fused_experts", None)
        if type(experts).__module__.endswith(".cpu_moe"):
            method.moe_kernel = None


def _end_with_trainer(trainer: int, engine: int) -> None:
    """Wait until the engine's process is no longer the trainer's child, then end it and this worker.

    A trainer that is killed (SIGKILL, out of memory) tells nobody, and vLLM would keep its memory for ever.
    """
    import psutil  # vLLM brings it

    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(engine)
        while process.ppid() == trainer:
            time.sleep(1)
        process.kill()
    os._exit(1)


def watched_processes(core: Any) -> list[Any]:
    """The engine's processes. When one ends, pending calls to it raise an error.

    vLLM's synchronous client notices that its process was killed, but leaves a pending ``step`` or call waiting for ever.
    """
    processes = core.resources.engine_manager.processes

    def wake_waiters() -> None:
        multiprocessing.connection.wait([process.sentinel for process in processes])
        core.resources.engine_dead = True  # vLLM refuses new calls from here on, so the loop below sees all pending ones
        dead = RuntimeError("the engine's process ended")
        core.outputs_queue.put_nowait(dead)
        for answer in list(core.utility_results.values()):
            if not answer.done():
                answer.set_exception(dead)

    threading.Thread(target=wake_waiters, name="rollout-engine-watch", daemon=True).start()
    return processes


def memory_handles(weights: Iterable[tuple[str, Tensor]]) -> bytes:
    """CUDA's handles of the tensors' memory (torch's reductions), from which another process of this machine reads them.

    The tensors must live until it has. vLLM's own transfer sends the same handles, but only where all processes let pickles in
    (VLLM_ALLOW_INSECURE_SERIALIZATION), and it needs a collective of all ranks, of which one may be restarting its engine.
    """
    import torch.multiprocessing  # noqa: F401 - teaches the pickler

    return bytes(ForkingPickler.dumps([(name, tensor.detach()) for name, tensor in weights]))

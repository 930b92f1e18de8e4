"""What a server's workers can do beyond those of an engine that the trainer owns; ``python -m rltoolkit.serve`` puts it in.

``weight_transfer=http`` sends weights through vLLM's weight-transfer protocol. vLLM's own backends for it need a GPU; the one here
takes the weights out of the requests themselves.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor
from vllm.config import set_current_vllm_config
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from rltoolkit.rollout_engine._vllm.worker import WeightReload, forget_packed_experts, refresh_head


class ServerWorker(WeightReload):
    """Mixed into the worker of a server."""

    _weight_update_active: bool
    """vLLM's: between the first and the last phase of its protocol"""

    def settings(self) -> dict[str, Any]:
        """What a trainer has to know of a server before it samples there, by the names of vLLM's flags."""
        model = self.vllm_config.model_config
        return {
            "vocabulary": model.get_vocab_size(),
            "max-model-len": model.max_model_len,
            "dtype": str(model.dtype).removeprefix("torch."),
            "hf-overrides": {"head_dtype": str(model.head_dtype).removeprefix("torch.")},
            "logprobs-mode": model.logprobs_mode,
        }

    def abandon_weight_update(self) -> None:
        """Leave a transfer that stopped half-way behind, so that the next can begin; without one, nothing.

        The weights are then neither the old nor the new ones.
        """
        with set_current_vllm_config(self.vllm_config):
            finalize_layerwise_reload(self.model_runner.get_model(), self.vllm_config.model_config)
        self._weight_update_active = False


@dataclass
class HTTPInit(WeightTransferInitInfo):
    """The first phase has nothing to connect."""


@dataclass
class HTTPUpdate(WeightTransferUpdateInfo):
    """A bucket of weights: for each its name, dtype, shape, and its bytes as base64."""

    names: list[str]
    dtype_names: list[str]
    shapes: list[list[int]]
    data: list[str]

    def tensors(self) -> list[tuple[str, Tensor]]:
        """The weights. Raises ValueError where bytes are missing."""
        each = zip(self.names, self.dtype_names, self.shapes, self.data, strict=True)
        return [(name, _tensor(dtype, shape, data)) for name, dtype, shape, data in each]


class HTTPEngine(WeightTransferEngine[HTTPInit, HTTPUpdate]):
    """The receiving end of ``weight_transfer=http``."""

    init_info_cls = HTTPInit
    update_info_cls = HTTPUpdate

    def init_transfer_engine(self, init_info: HTTPInit) -> None:
        """Nothing to connect."""

    def start_weight_update(self) -> None:
        """From now on the model collects weights, and packs a layer when it has all of it."""
        self._missing = {name for name, _ in self.model.named_parameters()}
        forget_packed_experts(self.model)
        initialize_layerwise_reload(self.model)

    def update_weights(self, update_info: dict[str, Any]) -> None:
        """Take one bucket. Not vLLM's, which waits for an accelerator."""
        self.receive_weights(self.parse_update_info(update_info))

    def receive_weights(self, update_info: HTTPUpdate) -> None:
        """Take one bucket."""
        model: Any = self.model
        loaded: set[str] | None = model.load_weights(update_info.tensors())
        self._missing = set() if loaded is None else self._missing - loaded  # a few models do not say

    def finish_weight_update(self) -> None:
        """Put everything to use. Raises ValueError where a parameter was not among the buckets."""
        if self._missing:
            raise ValueError(f"{len(self._missing)} parameters were not sent, {min(self._missing)} among them")
        finalize_layerwise_reload(self.model, self.model_config)
        refresh_head(self.model)
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def shutdown(self) -> None:
        """Nothing to disconnect."""


def _tensor(dtype: str, shape: list[int], data: str) -> Tensor:
    flat = torch.frombuffer(bytearray(b64decode(data)), dtype=getattr(torch, dtype)) if data else torch.empty(0)
    if flat.numel() != prod(shape):
        raise ValueError(f"a weight of shape {shape} came with {flat.numel()} values")
    return flat.view(shape)


WeightTransferEngineFactory.register_engine("rltoolkit_http", HTTPEngine)

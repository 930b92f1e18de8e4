"""vLLM servers: sampling over HTTP, on this machine or on others, with vLLM's own parallelism behind each address.

``python -m rltoolkit.serve``, with the run's overrides, starts one; each serves one run at a time. Weights travel by
``weight_transfer``. The same seeds give the same responses as with ``rollout_engine=vllm``, whichever server samples them, so the run
goes on with the others when one is lost; one that comes back is used again when it has the current weights. An API key, where the
servers ask for one, is read from RLTOOLKIT_SERVER_KEY. Source: vLLM, arXiv:2309.06180. Config: ``rollout_engine=vllm_server``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

from rltoolkit.component import check, key
from rltoolkit.registry import build, register
from rltoolkit.rollout_engine._settings import VLLMSettings
from rltoolkit.rollout_engine.base import RolloutEngine

if TYPE_CHECKING:
    from rltoolkit.weight_transfer.base import WeightTransfer


@register("rollout_engine", "vllm_server")
@dataclass(frozen=True, kw_only=True)
class VLLMServer(VLLMSettings):
    """Connects to servers. With what ``VLLMSettings`` holds ``python -m rltoolkit.serve`` starts one.

    Args:
        urls: addresses of the servers. Groups are spread over them in turn.
        timeout: seconds without an answer after which a server counts as lost. Long responses are no silence: the server is asked
            every few seconds whether it lives.
        max_in_flight: groups that each server is given at the same time; the others wait here.
    """

    takes_weight_transfer: ClassVar[bool] = True
    samples_in_background: ClassVar[bool] = True

    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    timeout: float = 60.0
    max_in_flight: int = 128
    gpu_memory_utilization: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "timeout", self.timeout > 0, "above 0")
        check(self, "max_in_flight", self.max_in_flight >= 1, "at least 1")
        check(self, "urls", bool(self.urls) and len(set(self.urls)) == len(self.urls), "one or more different addresses")
        for url in self.urls:
            parts = urlsplit(url)
            if "@" in parts.netloc:  # never shown: it holds a secret
                raise ValueError(f"{key(self, 'urls')}: a key does not belong into an address; set RLTOOLKIT_SERVER_KEY")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{key(self, 'urls')}={url}: must be an address such as http://127.0.0.1:8000")

    def __call__(
        self, *, model_path: Path, max_length: int, seed: int, weight_transfer: WeightTransfer | None = None
    ) -> RolloutEngine:
        """Connect; see ``RolloutEngineSpec``. ``seed`` is not used: every response has a stream of its own.

        Args:
            weight_transfer: how weights get to the servers; where not given, ``weight_transfer=shared_file``.

        Raises:
            ValueError: the weights cannot get there.
            ConfigError: a server does not answer, lacks a flag, or serves another run.
        """
        from rltoolkit.rollout_engine._server.engine import VLLMServerEngine  # choosing an engine needs no torch

        transfer: WeightTransfer = weight_transfer or build("weight_transfer", "shared_file")
        transfer.require_reach(self.urls)
        return VLLMServerEngine(self, Path(model_path), max_length, transfer)

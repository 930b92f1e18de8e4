"""Rollout engines: a live copy of the policy that samples responses."""

from rltoolkit.rollout_engine._parity import StaleWeights, parity_gap, require_parity
from rltoolkit.rollout_engine.base import EngineDied, RolloutEngine, RolloutEngineSpec, RolloutStream, Sampling
from rltoolkit.rollout_engine.transformers import Transformers
from rltoolkit.rollout_engine.vllm import VLLM
from rltoolkit.rollout_engine.vllm_server import VLLMServer

__all__ = [
    "VLLM",
    "EngineDied",
    "RolloutEngine",
    "RolloutEngineSpec",
    "RolloutStream",
    "Sampling",
    "StaleWeights",
    "Transformers",
    "VLLMServer",
    "parity_gap",
    "require_parity",
]

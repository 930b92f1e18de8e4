"""Clip strategies: how far one optimizer step may move the probability of a sampled token."""

from rltoolkit.clip_strategy.base import ClipStrategy, StepClipStrategy, TokenLoss
from rltoolkit.clip_strategy.clip_higher import ClipHigher
from rltoolkit.clip_strategy.symmetric import Symmetric

__all__ = ["ClipHigher", "ClipStrategy", "StepClipStrategy", "Symmetric", "TokenLoss"]

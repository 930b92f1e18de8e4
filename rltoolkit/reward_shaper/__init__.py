"""Reward shapers: they change rewards, or which tokens train, after the verdict."""

from rltoolkit.reward_shaper.base import RewardShaper
from rltoolkit.reward_shaper.linear_length_penalty import LinearLengthPenalty
from rltoolkit.reward_shaper.overlong_filtering import OverlongFiltering
from rltoolkit.reward_shaper.repetition_penalty import RepetitionPenalty
from rltoolkit.reward_shaper.soft_overlong_punishment import SoftOverlongPunishment
from rltoolkit.reward_shaper.verdict_weights import VerdictWeights

__all__ = [
    "LinearLengthPenalty",
    "OverlongFiltering",
    "RepetitionPenalty",
    "RewardShaper",
    "SoftOverlongPunishment",
    "VerdictWeights",
]

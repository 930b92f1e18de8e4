"""Reward shapers: what else, besides the verdict, a response's reward and its trained tokens depend on."""

from rltoolkit.reward_shaper.base import RewardShaper
from rltoolkit.reward_shaper.linear_length_penalty import LinearLengthPenalty
from rltoolkit.reward_shaper.overlong_filtering import OverlongFiltering
from rltoolkit.reward_shaper.repetition_penalty import RepetitionPenalty
from rltoolkit.reward_shaper.soft_overlong_punishment import SoftOverlongPunishment

__all__ = ["LinearLengthPenalty", "OverlongFiltering", "RepetitionPenalty", "RewardShaper", "SoftOverlongPunishment"]

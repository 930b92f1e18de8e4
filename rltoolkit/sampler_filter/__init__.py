"""Sampler filters: which groups are worth training on."""

from rltoolkit.sampler_filter.accuracy_range import AccuracyRange
from rltoolkit.sampler_filter.base import SamplerFilter
from rltoolkit.sampler_filter.dynamic_sampling import DynamicSampling
from rltoolkit.sampler_filter.keep_all import KeepAll
from rltoolkit.sampler_filter.reward_spread import RewardSpread

__all__ = ["AccuracyRange", "DynamicSampling", "KeepAll", "RewardSpread", "SamplerFilter"]

"""Prompt samplers: the order in which problems are asked."""

from rltoolkit.prompt_sampler.base import PromptSampler
from rltoolkit.prompt_sampler.sequential import Sequential
from rltoolkit.prompt_sampler.shuffled import Shuffled

__all__ = ["PromptSampler", "Sequential", "Shuffled"]

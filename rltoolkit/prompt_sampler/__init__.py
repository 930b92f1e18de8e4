"""Prompt samplers: the order in which problems are asked."""

from rltoolkit.prompt_sampler.base import LearningPromptSampler, PromptSampler
from rltoolkit.prompt_sampler.difficulty_pools import DifficultyPools
from rltoolkit.prompt_sampler.greso import GRESO
from rltoolkit.prompt_sampler.predicted_dynamics import PredictedDynamics
from rltoolkit.prompt_sampler.retire_solved import RetireSolved
from rltoolkit.prompt_sampler.sequential import Sequential
from rltoolkit.prompt_sampler.shuffled import Shuffled
from rltoolkit.prompt_sampler.thompson import Thompson

__all__ = [
    "GRESO",
    "DifficultyPools",
    "LearningPromptSampler",
    "PredictedDynamics",
    "PromptSampler",
    "RetireSolved",
    "Sequential",
    "Shuffled",
    "Thompson",
]

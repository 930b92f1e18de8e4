"""Reward functions: what a response is worth, by rule."""

from rltoolkit.reward_function.base import RewardFunction, Verdict
from rltoolkit.reward_function.equation_answer import EquationAnswer
from rltoolkit.reward_function.integer_answer import IntegerAnswer

__all__ = ["EquationAnswer", "IntegerAnswer", "RewardFunction", "Verdict"]

"""Reward functions: what a response is worth, by rule."""

from rltoolkit.reward_function._time_limited import TimeLimited
from rltoolkit.reward_function.base import RewardFunction, Verdict, verdict
from rltoolkit.reward_function.countdown import Countdown
from rltoolkit.reward_function.equation_answer import EquationAnswer
from rltoolkit.reward_function.exact_match import ExactMatch
from rltoolkit.reward_function.format_and_answer import FormatAndAnswer
from rltoolkit.reward_function.integer_answer import IntegerAnswer
from rltoolkit.reward_function.math_verify import MathVerify

__all__ = [
    "Countdown",
    "EquationAnswer",
    "ExactMatch",
    "FormatAndAnswer",
    "IntegerAnswer",
    "MathVerify",
    "RewardFunction",
    "TimeLimited",
    "Verdict",
    "verdict",
]

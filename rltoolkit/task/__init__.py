"""Tasks: where prompts and their answers come from."""

from rltoolkit.task.aime_2024 import AIME2024
from rltoolkit.task.aime_2025 import AIME2025
from rltoolkit.task.base import EvaluationProtocol, Message, Problem, Split, Task
from rltoolkit.task.chat_arithmetic import ChatArithmetic
from rltoolkit.task.countdown import Countdown
from rltoolkit.task.dapo_math_17k import DAPOMath17K
from rltoolkit.task.gsm8k import GSM8K
from rltoolkit.task.integer_arithmetic import IntegerArithmetic
from rltoolkit.task.json_lines import JSONLines
from rltoolkit.task.math_500 import MATH500

__all__ = [
    "AIME2024",
    "AIME2025",
    "GSM8K",
    "MATH500",
    "ChatArithmetic",
    "Countdown",
    "DAPOMath17K",
    "EvaluationProtocol",
    "IntegerArithmetic",
    "JSONLines",
    "Message",
    "Problem",
    "Split",
    "Task",
]

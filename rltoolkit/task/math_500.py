"""MATH-500: 500 competition problems with answers of any form, in five levels of difficulty.

Answers are fractions, roots, intervals, points, words: verify them with ``reward_function=math_verify``. Evaluations give the accuracy
of each level.

Source: Lightman et al., arXiv:2305.20050, appendix C; MATH, arXiv:2103.03874; HuggingFaceH4/MATH-500 on the hub.
Config: ``task=math_500 reward_function=math_verify``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rltoolkit.registry import register
from rltoolkit.task._benchmark import Benchmark


@register("task", "math_500")
@dataclass(frozen=True, kw_only=True)
class MATH500(Benchmark):
    """For evaluation only: there is no training split.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    keep_non_integer: ClassVar[bool] = True

    dataset: str = "HuggingFaceH4/MATH-500"

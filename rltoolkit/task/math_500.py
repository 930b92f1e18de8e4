"""MATH-500: 500 competition problems with answers of any form, in five levels of difficulty.

Answers are fractions, roots, intervals, points, words: verify them with ``reward_function=math_verify``. Evaluations give the accuracy
of each level. It is evaluated as in DeepSeek-R1 (arXiv:2501.12948, section 3): temperature 0.6, top-p 0.95, at most 32,768 tokens; k,
which that paper sets between 4 and 64 by the size of the benchmark, is 4 here.

Source: Lightman et al., arXiv:2305.20050, appendix C; MATH, arXiv:2103.03874; HuggingFaceH4/MATH-500 on the hub.
Config: ``task=math_500 reward_function=math_verify``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rltoolkit.registry import register
from rltoolkit.task._benchmark import Benchmark
from rltoolkit.task.base import EvaluationProtocol


@register("task", "math_500")
@dataclass(frozen=True, kw_only=True)
class MATH500(Benchmark):
    """For evaluation only: there is no training split.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    protocol: ClassVar[EvaluationProtocol] = EvaluationProtocol(
        k=4,
        temperature=0.6,
        top_p=0.95,
        max_new_tokens=32768,
        max_prompt_tokens=2048,
        problems=500,
        reward_function="math_verify",
    )
    keep_non_integer: ClassVar[bool] = True

    dataset: str = "HuggingFaceH4/MATH-500"

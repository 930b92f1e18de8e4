"""AIME 2024: the 30 problems of both contests of 2024, on which the paper evaluates.

Reads the released evaluation file (every problem 32 times, the paper's template in place), and rows with ``problem`` and
``expected_answer`` or ``answer``. Evaluated as in the paper: 32 responses to each problem, temperature 1.0, top-p 0.7.

Source: DAPO, arXiv:2503.14476, section 4.1; BytedTsinghua-SIA/AIME-2024. Config: ``task=aime_2024``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rltoolkit.registry import register
from rltoolkit.task._benchmark import Benchmark


@register("task", "aime_2024")
@dataclass(frozen=True, kw_only=True)
class AIME2024(Benchmark):
    """For evaluation only: there is no training split.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    hub_split: ClassVar[str] = "train"

    dataset: str = "BytedTsinghua-SIA/AIME-2024"

"""AIME 2025: the 30 problems of both contests of 2025, which are younger than the paper and than the model that it trained.

Reads rows with ``problem`` and ``answer``, and the other forms that ``task=aime_2024`` reads.

Source: none; the contests of 2025, math-ai/aime25 on the hub. Config: ``task=aime_2025``.
"""

from __future__ import annotations

from dataclasses import dataclass

from rltoolkit.registry import register
from rltoolkit.task._benchmark import Benchmark


@register("task", "aime_2025")
@dataclass(frozen=True, kw_only=True)
class AIME2025(Benchmark):
    """For evaluation only: there is no training split.

    Args:
        path: a local .parquet, .jsonl or .json file; empty: read ``dataset`` from the hub.
        dataset: the hub's id.
        template: the words around ``{problem}``.
    """

    dataset: str = "math-ai/aime25"

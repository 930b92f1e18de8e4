"""The collector: from prompts to kept groups with advantages, one rollout step after another."""

from rltoolkit.collector.collector import Collector, GenerationLimit
from rltoolkit.collector.counters import Counters
from rltoolkit.collector.lagged import LaggedCollector
from rltoolkit.collector.prompt_stream import EncodedProblem, EveryPromptSolved, PromptStream, encode_problems
from rltoolkit.collector.refill import Refill
from rltoolkit.collector.step import CollectedStep

__all__ = [
    "CollectedStep",
    "Collector",
    "Counters",
    "EncodedProblem",
    "EveryPromptSolved",
    "GenerationLimit",
    "LaggedCollector",
    "PromptStream",
    "Refill",
    "encode_problems",
]

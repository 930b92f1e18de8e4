"""The collector: from prompts to kept groups with advantages, one rollout step after another."""

from rltoolkit.collector.collector import CollectedStep, Collector, GenerationLimit
from rltoolkit.collector.counters import Counters
from rltoolkit.collector.prompt_stream import EncodedProblem, PromptStream, encode_problems
from rltoolkit.collector.refill import Refill

__all__ = [
    "CollectedStep",
    "Collector",
    "Counters",
    "EncodedProblem",
    "GenerationLimit",
    "PromptStream",
    "Refill",
    "encode_problems",
]

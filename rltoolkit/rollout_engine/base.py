"""The contract of a rollout engine: token ids in, sampled responses with their log-probs out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rltoolkit.errors import RunFailed

if TYPE_CHECKING:
    from tensordict import TensorDict
    from torch import Tensor


HEAD_DTYPES = ("auto", "float32")
"""What an engine's logits may be in."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How responses are sampled; the same object rules both engines and the trainer's temperature."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """tokens to choose from, the most probable ones, of which top-p then keeps some; 0: all"""
    sampling_mask: bool = False
    """whether rollouts say which tokens top-p and top-k kept, where one of them is set: ``kept_ids`` and ``kept_counts``"""
    max_new_tokens: int = 1024


class EngineDied(RunFailed):
    """The engine's process ended or stopped answering; the message says what was running."""


class RolloutStream(Protocol):
    """Groups being sampled, to which more are added while they run.

    EngineDied comes from whichever call first finds the engine failed or closed.
    """

    def submit(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[int], first: int = 0) -> None:
        """Add one group for each prompt; it comes back under its key. Raises ValueError as ``RolloutEngine.generate`` does.

        Its responses are numbered from ``first`` on, and a number stands for a random stream: two groups of 4 with one seed, the
        second one from 4 on, hold what a group of 8 would.
        """
        ...

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict] | None:
        """Sample until a group is finished.

        Args:
            timeout: seconds after which to return without one; at least one token of each running response is sampled.

        Returns:
            The k keys of the groups that have finished since the last call, and their rollouts [k, G]; what a group holds is
            what ``generate`` returns for its prompt and seed. None when nothing is in flight, or nothing finished in time.
        """
        ...


class RolloutEngine(Protocol):
    """A live engine that holds a copy of the policy's weights.

    One that holds several has a method ``log_probs_of_each(sequence)``, too: ``log_probs`` of one sequence by the name of the copy.
    """

    def stream(self, group_size: int, sampling: Sampling) -> AbstractContextManager[RolloutStream]:
        """Sample groups of ``group_size`` (G) responses as they are submitted; leaving the context drops those unfinished.

        One stream at a time, and no other call on the engine while groups are in flight. Ctrl-C and errors of the caller
        leave the engine usable.
        """
        ...

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """Sample ``group_size`` (G) responses to each of P prompts (token ids).

        Response g to prompt p is drawn with its own random stream, a function of ``seeds[p]`` and g alone, so what is
        sampled does not depend on which prompts are sampled together.

        Returns:
            TensorDict [P, G] with the keys that ``rollout_batch.KEYS`` says the engine writes. Log-probs are those of
            the distribution that was sampled from: of the logits divided by the temperature, renormalised over the kept
            tokens where top-p or top-k left some out. Rows are right-padded with 0.

        Raises:
            ValueError: a prompt that is empty or leaves no room for a token, or not one seed for each prompt.
            EngineDied: the engine failed or is closed.
        """
        ...

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """For each sequence of n token ids, float32 [n - 1]: log-prob of token t + 1 given the tokens up to t (temperature 1)."""
        ...

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Replace the weights in memory; names are those of the Hugging Face checkpoint. Later rollouts carry ``version``."""
        ...

    def sleep(self) -> None:
        """Lend GPU memory to the trainer until the next call of any other method; nothing where there is none to lend."""
        ...

    def close(self) -> None:
        """Free the engine and end its processes; harmless when called twice."""
        ...


class RolloutEngineSpec(Protocol):
    """What is registered: the engine's settings; calling it starts a live engine.

    An engine that can write ``kept_ids`` and ``kept_counts`` has a true attribute ``gives_sampling_mask``. One that is elsewhere has a
    true attribute ``takes_weight_transfer`` and a further argument ``weight_transfer``: how weights get there. One whose stream a
    thread beside training can use has a true attribute ``samples_in_background``.
    """

    def __call__(self, *, model_path: Path, max_length: int, seed: int) -> RolloutEngine:
        """Start an engine on a Hugging Face directory; ``max_length`` is prompt + response in tokens."""
        ...

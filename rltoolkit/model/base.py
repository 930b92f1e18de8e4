"""The contract of a model: a Hugging Face directory on disk that trainer and engine both load."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class ModelSource(Protocol):
    """What is registered under ``model``.

    ``chat`` says whether prompts go through the tokenizer's chat template; without it the messages' contents are joined.
    """

    chat: bool

    def __call__(self, seed: int) -> Path:
        """Make the directory if it is not there yet (convert, warm-start; with a progress bar) and return it."""
        ...

    def context_length(self) -> int | None:
        """The longest sequence in tokens that the model takes; None if it has no limit, or it is not known before the model is made.

        Called before anything is made or downloaded; it may read a config.json.
        """
        ...

    def architecture(self) -> PretrainedConfig | None:
        """The configuration of transformers that the model has or will have, for ``rltoolkit.plan``; None if it is not known yet."""
        ...

"""Hugging Face: any causal language model that is already on this machine.

Nothing is downloaded, so that a run's start never depends on the network: fetch a model beforehand with ``hf download NAME``.

Config: ``model=hf model.name_or_path=Qwen/Qwen2.5-0.5B-Instruct``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rltoolkit.component import check
from rltoolkit.policy import loading
from rltoolkit.registry import register


@register("model", "hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """Where the model is.

    Args:
        name_or_path: a directory, or a hub name that is in the local Hugging Face cache.
        revision: branch, tag or commit of a hub name; directories have none.
        chat: whether prompts go through the chat template; False for a base model without one.
    """

    name_or_path: str = "Qwen/Qwen2.5-0.5B-Instruct"
    revision: str = "main"
    chat: bool = True

    def __post_init__(self) -> None:
        check(self, "name_or_path", bool(self.name_or_path), "a directory or a hub name")

    def __call__(self, seed: int) -> Path:
        """The model's directory; the seed changes nothing.

        Raises:
            FileNotFoundError: neither a model directory nor in the cache.
        """
        directory = Path(self.name_or_path).expanduser()
        if directory.is_dir():
            return self._with_config(directory)
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

        try:
            return self._with_config(Path(snapshot_download(self.name_or_path, revision=self.revision, local_files_only=True)))
        except (HFValidationError, LocalEntryNotFoundError):
            raise FileNotFoundError(
                f"model.name_or_path={self.name_or_path!r} (hf): neither a directory nor in the local Hugging Face cache; "
                f"to fetch it: hf download {self.name_or_path} --revision {self.revision}"
            ) from None

    def context_length(self) -> int | None:
        """Tokens; None where the model is not on this machine yet."""
        try:
            return loading.context_length(self(seed=0))
        except FileNotFoundError:
            return None

    def _with_config(self, directory: Path) -> Path:
        if not (directory / "config.json").is_file():
            raise FileNotFoundError(f"model.name_or_path={self.name_or_path!r} (hf): no config.json in {directory}")
        return directory

"""Hugging Face: any causal language model, from a directory or from the hub.

A hub name is taken from the local Hugging Face cache; what is not there is downloaded, with a progress bar. With HF_HUB_OFFLINE=1
nothing is ever downloaded.

Source: none. Config: ``model=hf model.name_or_path=Qwen/Qwen2.5-0.5B-Instruct``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rltoolkit.component import check, key, label
from rltoolkit.model._published import published
from rltoolkit.policy import loading
from rltoolkit.registry import register

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_WEIGHTS = ("*.safetensors", "*.bin")  # in order of preference: a repository with the first needs no other
_OTHER_FORMATS = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.ot", "*.pt", "*.pth", "onnx/*", "original/*"]


class ModelMissing(FileNotFoundError):
    """A model is not to be had; ``why`` says it without naming the key."""

    def __init__(self, source: HuggingFace, why: str) -> None:
        super().__init__(f"{key(source, 'name_or_path')}={source.name_or_path}: {why} ({label(source)})")
        self.why = why


@register("model", "hf")
@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """Where the model is.

    Args:
        name_or_path: a directory, or a name on the Hugging Face hub.
        revision: branch, tag or commit of a hub name; directories have none.
        chat: whether prompts go through the chat template; False for a base model without one.
    """

    name_or_path: str = "Qwen/Qwen2.5-0.5B-Instruct"
    revision: str = "main"
    chat: bool = True

    def __post_init__(self) -> None:
        check(self, "name_or_path", bool(self.name_or_path), "a directory or a hub name")

    def __call__(self, seed: int) -> Path:
        """The model's directory, downloaded if need be; the seed changes nothing.

        Raises:
            ModelMissing: no such directory, no model in it, or a hub name that is not in the cache and cannot be downloaded.
        """
        directory = Path(self.name_or_path).expanduser()
        if not directory.is_dir():
            directory = self._cached() or self._downloaded()
        elif not (directory / "config.json").is_file():
            raise self._missing(f"no config.json in {directory}")
        if not _has_weights(directory):
            raise self._missing(f"no weights (*.safetensors, *.bin) in {directory}, or not all of them")
        return directory

    def context_length(self) -> int | None:
        """Tokens; None where the config is not to be had or sets no limit."""
        architecture = self.architecture()
        return None if architecture is None else loading.context_length(architecture)

    def architecture(self) -> PretrainedConfig | None:
        """Reads config.json and nothing else, also from the hub; of models that are listed in ``_published.py`` not even that."""
        try:
            path = self._config_on_disk()
            return loading.read_architecture(path) if path else published(self.name_or_path) or self._config_on_the_hub()
        except (OSError, ValueError):
            return None  # loading the model will say what is wrong

    def _config_on_disk(self) -> Path | None:
        directory = Path(self.name_or_path).expanduser()
        return directory / "config.json" if directory.is_dir() else self._cached_file("config.json")

    def _config_on_the_hub(self) -> PretrainedConfig:
        from huggingface_hub import hf_hub_download

        with self._hub():
            return loading.read_architecture(Path(hf_hub_download(self.name_or_path, "config.json", revision=self.revision)))

    def _cached_file(self, name: str) -> Path | None:
        from huggingface_hub import try_to_load_from_cache
        from huggingface_hub.errors import HFValidationError

        try:
            found = try_to_load_from_cache(self.name_or_path, name, revision=self.revision)
        except HFValidationError:
            return None
        return Path(found) if isinstance(found, str) else None

    def _cached(self) -> Path | None:
        """The directory of a hub name in the local cache, if all of the model is there: then a run never asks the network."""
        config = self._cached_file("config.json")
        return config.parent if config is not None and _has_weights(config.parent) else None

    def _downloaded(self) -> Path:
        from huggingface_hub import snapshot_download

        with self._hub():
            for wanted in _WEIGHTS:
                others = [pattern for pattern in _WEIGHTS if pattern != wanted]
                path = snapshot_download(self.name_or_path, revision=self.revision, ignore_patterns=[*_OTHER_FORMATS, *others])
                if _has_weights(Path(path)):
                    break
        return Path(path)

    @contextmanager
    def _hub(self) -> Iterator[None]:
        """Around a download: with a progress bar, and with one error that names the key for whatever goes wrong."""
        from huggingface_hub import constants
        from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        if self.name_or_path.startswith(("/", ".", "~")):
            raise self._missing("no such directory")
        quiet = are_progress_bars_disabled()
        if quiet:
            enable_progress_bars()
        try:
            yield
        except HFValidationError:
            raise self._missing("neither a directory nor a hub name") from None
        except GatedRepoError:
            raise self._missing("the hub gives this model to users who have accepted its terms: hf auth login") from None
        except RepositoryNotFoundError:
            raise self._missing("neither a directory nor a model on the hub (private ones need: hf auth login)") from None
        except RevisionNotFoundError:
            raise self._missing(f"the hub has no revision {key(self, 'revision')}={self.revision}") from None
        except Exception as error:  # the hub's client raises its transport's own errors
            if constants.HF_HUB_OFFLINE:
                why = "not in the local Hugging Face cache, and HF_HUB_OFFLINE forbids to download it"
            else:
                why = f"not in the local Hugging Face cache, and the download failed ({_first_line(error)})"
            raise self._missing(why) from error
        finally:
            if quiet:
                disable_progress_bars()

    def _missing(self, why: str) -> ModelMissing:
        return ModelMissing(self, why)


def _has_weights(directory: Path) -> bool:
    """Whether all weights are there: every shard that an index lists, or a file that needs none."""
    import json

    for index in [*directory.glob("*.safetensors.index.json"), *directory.glob("*.bin.index.json")]:
        shards = set(json.loads(index.read_text())["weight_map"].values())
        if all((directory / shard).exists() for shard in shards):
            return True
    files = [file for pattern in _WEIGHTS for file in directory.glob(pattern)]
    return any(file.exists() and "-of-" not in file.name for file in files)


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0]

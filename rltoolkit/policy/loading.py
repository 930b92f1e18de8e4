"""Loading: from a Hugging Face directory on disk to a policy, a tokenizer and token ids. Nothing here uses the network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from rltoolkit.policy.policy import PolicyModel


def quiet_transformers() -> ModuleType:
    """The transformers package with its progress bars and advice switched off: the one place that does so."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return transformers


def load_policy(path: Path, attention: str = "sdpa", dtype: str = "float32") -> PolicyModel:
    """The model of a directory, on the CPU, with weights of ``dtype`` and an ``attention`` implementation of transformers or ours.

    Raises:
        ValueError: the architecture is no causal LM of transformers, or ``PolicyModel`` would be wrong about it; the message names it.
    """
    from rltoolkit.policy.attention import VARLEN, suits, use_varlen
    from rltoolkit.policy.policy import PolicyModel
    from rltoolkit.policy.verify import verified_layout

    transformers = quiet_transformers()
    causal_lm_config(path)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path,
        dtype=dtype,
        attn_implementation=None if attention in ("sdpa", VARLEN) else attention,  # sdpa where the model knows it, else its own
        local_files_only=True,
    )
    if attention == VARLEN and suits(model):
        use_varlen(model)
    return PolicyModel(model, layout=verified_layout(model))


def causal_lm_config(path: Path) -> PretrainedConfig:
    """What the config.json of a directory says. Raises ValueError where transformers has no causal LM for it."""
    transformers = quiet_transformers()
    config: PretrainedConfig = transformers.AutoConfig.from_pretrained(path, local_files_only=True)
    if type(config) not in transformers.AutoModelForCausalLM._model_mapping:
        raise ValueError(f"{path}: transformers has no causal language model for its model_type {config.model_type!r}")
    return config


def best_attention(device_type: str, compute_dtype: str) -> str:
    """The attention to train with: on GPUs one that needs no padding, flash-attn's or torch's own; neither computes in float32."""
    from rltoolkit.policy.attention import VARLEN, kernel_runs_here

    if device_type != "cuda" or compute_dtype == "float32":
        return "sdpa"
    if quiet_transformers().utils.is_flash_attn_2_available():
        return "flash_attention_2"
    return VARLEN if kernel_runs_here() else "sdpa"


def load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a directory."""
    return quiet_transformers().AutoTokenizer.from_pretrained(path, local_files_only=True)


def read_architecture(config_file: Path) -> PretrainedConfig:
    """What a config.json says."""
    return quiet_transformers().AutoConfig.from_pretrained(config_file.parent, local_files_only=True)


def context_length(architecture: PretrainedConfig) -> int | None:
    """The longest sequence in tokens that a model takes; None where its configuration sets no limit.

    Of a multimodal model it is that of its language model. Recurrent models have no limit.
    """
    config = architecture.get_text_config()
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    return next((getattr(config, name) for name in names if getattr(config, name, None)), None)


def encode(tokenizer: PreTrainedTokenizerBase, messages: Sequence[tuple[str, str]], chat: bool) -> list[int]:
    """Token ids of a prompt, up to where the response begins.

    Args:
        tokenizer: any Hugging Face tokenizer.
        messages: (role, content) for each turn.
        chat: whether the turns go through the chat template; without it their contents are joined, and no special
            token is added.

    Raises:
        ValueError: ``chat`` without a template.
    """
    if not chat:
        return tokenizer.encode("".join(content for _, content in messages), add_special_tokens=False)
    if tokenizer.chat_template is None:
        raise ValueError(f"{tokenizer.name_or_path} has no chat template: use a model with one, or set model.chat=false")
    turns = [{"role": role, "content": content} for role, content in messages]
    return list(tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False))

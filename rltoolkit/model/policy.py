"""The policy: log-probs and entropies of chosen tokens, without ever holding the full logits.

    log_probs[t] = log softmax(h[t-1] W^T / temperature)[token t]
    entropy[t]   = -sum over the vocabulary of p log p,   p = softmax(h[t-1] W^T / temperature)

h are the backbone's hidden states, W the head (maybe tied to the embeddings). With 150,000 entries in the vocabulary the logits
of one batch would outweigh the model, so only tokens under the mask go through the head, a chunk at a time, and each chunk
is computed again in the backward pass instead of being kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rltoolkit.model.layout import LAYOUTS, default_layout
from rltoolkit.model.lora import merged_weights

_PREFIX = "causal_lm."
_LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TokenStatistics(NamedTuple):
    """Both [N, T], float32 (float64 for a float64 model), exactly 0 off the mask, differentiable."""

    log_probs: Tensor
    """log-prob of token t given the tokens before it"""
    entropy: Tensor
    """entropy in nats of the distribution that token t was drawn from"""


class PolicyModel(nn.Module):
    """A Hugging Face causal language model that answers one question: how likely were these tokens?

    Under FSDP2, shard each of ``decoder_layers`` and then this module: its own parameters (embeddings, final norm, head) are
    then whole while its forward runs.

    Args:
        causal_lm: a transformers causal LM.
        chunk_tokens: tokens whose logits are held at a time.
        layout: how rows lie in sequences, a name of ``layout.LAYOUTS``; None takes the one that suits the model.

    Raises:
        ValueError: the architecture changes its logits after the head (soft-capping, scaling), which would be missed here.
    """

    def __init__(self, causal_lm: nn.Module, *, chunk_tokens: int = 2048, layout: str | None = None) -> None:
        super().__init__()
        for name in _LOGIT_TRANSFORMS:
            value = getattr(causal_lm.config, name, None)
            if value not in (None, 1.0):
                raise ValueError(f"{type(causal_lm).__name__} changes its logits after the head ({name}={value}): not supported")
        self.causal_lm: Any = causal_lm  # transformers' own interface beyond nn.Module
        self.chunk_tokens = chunk_tokens
        self.layout = LAYOUTS[layout or default_layout(causal_lm.config)]

    @property
    def decoder_layers(self) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return self.causal_lm.get_decoder().layers

    def forward(
        self, input_ids: Tensor, mask: Tensor, temperature: float = 1.0, entropy_gradient: bool = True
    ) -> TokenStatistics:
        """Statistics of the tokens under the mask.

        Rows are right-padded; attention is causal, so what stands after a row's last asked-for token cannot matter.

        Args:
            input_ids: [N, T] int64; any valid id as padding.
            mask: [N, T] bool, the tokens asked for; False on the first token of every row, which nothing predicts.
            temperature: divides the logits.
            entropy_gradient: False where nothing is trained on the entropy, which saves memory.
        """
        rows = self.layout.arrange(input_ids, mask)
        hidden = self.causal_lm.get_decoder()(
            input_ids=rows.input_ids,
            position_ids=rows.position_ids,
            attention_mask=rows.attention_mask,
            use_cache=False,  # with a cache transformers would not see that packed rows are separate
        ).last_hidden_state
        asked = mask[:, 1:]
        states = hidden.flatten(0, 1).index_select(0, rows.place[:, :-1][asked])
        targets = input_ids[:, 1:][asked]
        head = self.causal_lm.get_output_embeddings()
        statistics = head_statistics(
            states, targets, head, temperature, chunk_tokens=self.chunk_tokens, entropy_gradient=entropy_gradient
        )
        where = F.pad(asked, (1, 0))
        log_probs, entropy = (values.new_zeros(mask.shape).masked_scatter(where, values) for values in statistics)
        return TokenStatistics(log_probs, entropy)

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(name in the Hugging Face checkpoint, whole tensor), a tied head once, adapters merged; a collective under FSDP2."""
        for name, weight in merged_weights(self):
            yield hugging_face_name(name), weight


def hugging_face_name(parameter_name: str) -> str:
    """The checkpoint's name of a ``PolicyModel`` parameter."""
    return parameter_name.removeprefix(_PREFIX)


def head_statistics(
    states: Tensor,
    targets: Tensor,
    head: nn.Linear,
    temperature: float,
    *,
    chunk_tokens: int,
    entropy_gradient: bool = False,
) -> tuple[Tensor, Tensor]:
    """states [n, width], targets [n] -> log-probs [n] and entropies [n], ``chunk_tokens`` logits at a time."""
    # A single chunk's logits are held once either way, and without gradients nothing is kept: recomputing would only cost.
    recompute = torch.is_grad_enabled() and len(states) > chunk_tokens
    chunks = []
    for chunk in zip(states.split(chunk_tokens), targets.split(chunk_tokens), strict=True):
        arguments = (*chunk, head, temperature, entropy_gradient)
        chunks.append(
            checkpoint(_chunk_statistics, *arguments, use_reentrant=False) if recompute else _chunk_statistics(*arguments)
        )
    log_probs, entropies = (torch.cat(parts) for parts in zip(*chunks, strict=True))
    return log_probs, entropies


def _chunk_statistics(
    states: Tensor, targets: Tensor, head: nn.Linear, temperature: float, entropy_gradient: bool
) -> tuple[Tensor, Tensor]:
    """One chunk, in float32 even where the weights are in bfloat16."""
    logits = F.linear(states, head.weight, head.bias)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_softmax = (logits / temperature if temperature != 1 else logits).log_softmax(-1)
    log_probs = log_softmax.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    with torch.set_grad_enabled(entropy_gradient and torch.is_grad_enabled()):
        entropies = -torch.einsum("nv,nv->n", log_softmax.exp(), log_softmax)
    return log_probs, entropies

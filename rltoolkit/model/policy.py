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

_PREFIX = "causal_lm."
_LOGIT_TRANSFORMS = ("final_logit_softcapping", "logit_scale", "logits_scaling")


class TokenStatistics(NamedTuple):
    """Both [N, T] float32, exactly 0 off the mask, differentiable."""

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

    Raises:
        ValueError: the architecture changes its logits after the head (soft-capping, scaling), which would be missed here.
    """

    def __init__(self, causal_lm: nn.Module, *, chunk_tokens: int = 2048) -> None:
        super().__init__()
        for name in _LOGIT_TRANSFORMS:
            value = getattr(causal_lm.config, name, None)
            if value not in (None, 1.0):
                raise ValueError(f"{type(causal_lm).__name__} changes its logits after the head ({name}={value}): not supported")
        self.causal_lm: Any = causal_lm  # transformers' own interface beyond nn.Module
        self.chunk_tokens = chunk_tokens

    @property
    def decoder_layers(self) -> nn.ModuleList:
        """The transformer blocks, first to last."""
        return self.causal_lm.get_decoder().layers

    def forward(
        self, input_ids: Tensor, mask: Tensor, temperature: float = 1.0, position_ids: Tensor | None = None
    ) -> TokenStatistics:
        """Statistics of the tokens under the mask.

        Rows are right-padded and attention is causal, so padding cannot reach a real token and no attention mask is needed.

        Args:
            input_ids: [N, T] int64; any valid id as padding.
            mask: [N, T] bool, the tokens asked for; False on the first token of every row, which nothing predicts.
            temperature: divides the logits.
            position_ids: [1, T] for rows packed into one, restarting from 0 where each row starts.
        """
        hidden = self.causal_lm.get_decoder()(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
        asked = mask[:, 1:]
        states, targets = hidden[:, :-1][asked], input_ids[:, 1:][asked]
        head = self.causal_lm.get_output_embeddings()
        # A single chunk's logits are held once either way, and without gradients nothing is kept: recomputing would only cost.
        recompute = torch.is_grad_enabled() and len(states) > self.chunk_tokens
        chunks = [
            checkpoint(_chunk_statistics, *chunk, head, temperature, use_reentrant=False)
            if recompute
            else _chunk_statistics(*chunk, head, temperature)
            for chunk in zip(states.split(self.chunk_tokens), targets.split(self.chunk_tokens), strict=True)
        ]
        where = F.pad(asked, (1, 0))
        blank = torch.zeros(mask.shape, dtype=torch.float32, device=hidden.device)
        log_probs, entropy = (blank.masked_scatter(where, torch.cat(parts)) for parts in zip(*chunks, strict=True))
        return TokenStatistics(log_probs, entropy)

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(name in the Hugging Face checkpoint, parameter), a tied head once; DTensors under FSDP2."""
        for name, parameter in self.named_parameters():
            yield hugging_face_name(name), parameter.detach()


def hugging_face_name(parameter_name: str) -> str:
    """The checkpoint's name of a ``PolicyModel`` parameter."""
    return parameter_name.removeprefix(_PREFIX)


def _chunk_statistics(states: Tensor, targets: Tensor, head: nn.Linear, temperature: float) -> tuple[Tensor, Tensor]:
    """states [n, width], targets [n] -> log-probs [n] and entropies [n], in float32 whatever the weights are."""
    logits = F.linear(states, head.weight, head.bias).float() / temperature
    log_softmax = logits.log_softmax(-1)
    log_probs = log_softmax.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return log_probs, -(log_softmax.exp() * log_softmax).sum(-1)

"""The policy: log-probs and entropies of chosen tokens, without ever holding the full logits.

    log_probs[t] = log softmax(h[t-1] W^T / temperature)[token t]
    entropy[t]   = -sum over the vocabulary of p log p,   p = softmax(h[t-1] W^T / temperature)

h are the backbone's hidden states, W the head (maybe tied to the embeddings). ``policy/layout.py`` lays the rows out; only tokens
under the mask go through the head, in ``policy/head.py``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rltoolkit.checkpoint_format import to_checkpoint
from rltoolkit.policy.attention import lengths_for_kernel
from rltoolkit.policy.backbone import decoder_layers
from rltoolkit.policy.head import head_statistics
from rltoolkit.policy.layout import LAYOUTS, default_layout
from rltoolkit.policy.lora import like, merged_weights
from rltoolkit.sampling_mask import SamplingMask

_PREFIX = "causal_lm."
_LOGIT_TRANSFORMS = (
    "final_logit_softcapping",
    "logit_scale",
    "logits_scaling",
    "logits_soft_cap",
    "lm_head_multiplier",
    "output_multiplier",
)


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
        chunk_logits: logits held at a time; 2**26 are 256 MiB in float32.
        layout: how rows lie in sequences, a name of ``layout.LAYOUTS``; None takes the one that the model's config suggests.
            ``verify.verified_layout`` tests it.

    Raises:
        ValueError: the architecture changes its logits after the head (soft-capping, scaling), which would be missed here.
    """

    unread: Path | None = None
    """where the weights are still to be read from (``sharded_loading``); until then parameters are on the meta device"""
    float32_head = False
    """logits in float32 where the rest computes in bfloat16"""

    def __init__(self, causal_lm: Any, *, chunk_logits: int = 2**26, layout: str | None = None) -> None:
        super().__init__()
        for name in _LOGIT_TRANSFORMS:
            value = getattr(causal_lm.config.get_text_config(), name, None)
            if value not in (None, 1.0):
                raise ValueError(f"{type(causal_lm).__name__} changes its logits after the head ({name}={value}): not supported")
        self.causal_lm = causal_lm
        self.chunk_logits = chunk_logits
        self.layout = LAYOUTS[layout or default_layout(causal_lm.config)]

    @property
    def decoder_layers(self) -> nn.ModuleList:
        """The transformer blocks, first to last. Raises ValueError where the architecture keeps them in no list."""
        return decoder_layers(self.causal_lm)

    def forward(
        self, input_ids: Tensor, mask: Tensor, temperature: float = 1.0, sampling_mask: SamplingMask | None = None
    ) -> TokenStatistics:
        """Statistics of the tokens under the mask.

        Rows are right-padded; attention is causal, so what stands after a row's last asked-for token cannot matter.

        Args:
            input_ids: [N, T] int64; any valid id as padding.
            mask: [N, T] bool, the tokens asked for; False on the first token of every row, which nothing predicts.
            temperature: divides the logits.
            sampling_mask: of the N rows; log-probs and entropies are then those of the distributions over the kept tokens.
        """
        rows = self.layout.arrange(input_ids, mask)
        hidden = self.causal_lm.get_decoder()(
            input_ids=rows.input_ids,
            position_ids=rows.position_ids,
            attention_mask=rows.attention_mask,
            use_cache=False,  # with a cache transformers would not see that packed rows are separate
            **({} if rows.lengths is None else lengths_for_kernel(rows.lengths)),
        ).last_hidden_state
        asked = mask[:, 1:]
        states = hidden.flatten(0, 1).index_select(0, rows.place[:, :-1][asked])
        targets = input_ids[:, 1:][asked]
        head = self.causal_lm.get_output_embeddings()
        where = F.pad(asked, (1, 0))
        kept = None if sampling_mask is None else sampling_mask.of_tokens(where)
        statistics = head_statistics(
            states, targets, head, temperature, chunk_logits=self.chunk_logits, kept=kept, in_float32=self.float32_head
        )
        log_probs, entropy = (values.new_zeros(mask.shape).masked_scatter(where, values) for values in statistics)
        return TokenStatistics(log_probs, entropy)

    @torch.no_grad()
    def copy_weights(self, other: PolicyModel) -> None:
        """Take over the weights of a policy of the same architecture, its adapters merged; a collective where that one is sharded."""
        own = self.state_dict()
        for name, weight in merged_weights(other):
            own[name].copy_(like(weight, own[name]))

    def hf_weights(self) -> Iterator[tuple[str, Tensor]]:
        """(name, whole tensor) as ``save_pretrained`` would write them, adapters merged; a collective under FSDP2.

        Experts that transformers keeps in one tensor come one by one; a tied head comes once, as the embeddings.
        """
        weights = ((name.removeprefix(_PREFIX), weight) for name, weight in merged_weights(self))
        return to_checkpoint(self.causal_lm, weights)

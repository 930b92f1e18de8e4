"""Sampling masks: which tokens top-p and top-k left to choose from, and so what a sampled token's probability was.

    pi(v) = exp(z_v) / sum over w in K_t of exp(z_w)   for v in K_t, 0 elsewhere;   z = logits / temperature

The engine samples token t from this distribution, whose support K_t it decided on. A trainer that normalises over the whole
vocabulary calls the same token less likely, by the probability that K_t holds: the ratio of new to old starts below 1, more so the
more was cut off. With K_t replayed, both speak of one distribution, and the ratio is 1 until the weights change. K_t stays as it
was sampled; only the probabilities within move.

K_t has one token here and a thousand there, so the sets of a row lie one after the other:

    kept_ids     [..., W] int32: the ids of K_t of the first sampled token, then of the second, and so on; 0 up to W
    kept_counts  [..., T] int32: how many ids are token t's; 0 where nothing was sampled

Source: DeepSeek-V3.2, arXiv:2512.02556, section 3.1 (keep sampling mask). Config: ``sampling.top_p=0.95``, ``sampling.top_k=50``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tensordict import TensorDict

KEYS = ("kept_ids", "kept_counts")
"""The entries of rollouts and of rows that hold a sampling mask, where sampling was cut off."""


class SamplingMask(NamedTuple):
    """The sets K_t of N rows."""

    ids: Tensor
    """[N, W] int32"""
    counts: Tensor
    """[N, T] int32"""

    @classmethod
    def of_rows(cls, rows: TensorDict) -> SamplingMask | None:
        """What the rows [N] hold; None where they were sampled from whole distributions."""
        return cls(*(rows[key] for key in KEYS)) if KEYS[0] in rows else None

    def of_tokens(self, asked: Tensor) -> KeptSets:
        """The sets of the tokens under ``asked`` [N, T] bool, row after row."""
        filled = torch.arange(self.ids.shape[1], device=self.ids.device) < self.counts.sum(-1, keepdim=True)
        wanted = asked.flatten().repeat_interleave(self.counts.flatten())
        return KeptSets(self.ids[filled][wanted], self.counts[asked])


class KeptSets(NamedTuple):
    """The sets of n tokens."""

    ids: Tensor
    """[sum of counts] int32"""
    counts: Tensor
    """[n] int32"""

    def split(self, chunk_tokens: int) -> list[KeptSets]:
        """The sets of ``chunk_tokens`` tokens at a time."""
        counts = self.counts.split(chunk_tokens)
        ids = self.ids.split([int(chunk.sum()) for chunk in counts])
        return [KeptSets(*chunk) for chunk in zip(ids, counts, strict=True)]

    def restrict_(self, logits: Tensor) -> Tensor:
        """``logits`` [n, vocabulary] with so low a value outside the sets that a softmax makes it 0; in place.

        Not -inf, since 0 * -inf is no number, and an entropy has such terms.
        """
        token = torch.arange(len(self.counts), device=logits.device).repeat_interleave(self.counts)
        outside = torch.ones_like(logits, dtype=torch.bool)
        outside[token, self.ids.long()] = False
        return logits.masked_fill_(outside, -1e30)


def from_responses(kept: Sequence[Sequence[Tensor]], sampled: Tensor) -> dict[str, Tensor]:
    """The entries ``kept_ids`` and ``kept_counts`` of rollouts.

    Args:
        kept: for each response, row after row, the ids kept for each of its tokens.
        sampled: [P, G, T] bool, True on sampled tokens.
    """
    counts = torch.tensor([len(ids) for response in kept for ids in response], dtype=torch.int32)
    flat = [torch.cat(list(response)).int() for response in kept]
    ids = torch.nn.utils.rnn.pad_sequence(flat, batch_first=True)
    return {
        "kept_ids": ids.view(*sampled.shape[:2], -1),
        "kept_counts": torch.zeros(sampled.shape, dtype=torch.int32).masked_scatter(sampled, counts),
    }

"""What an optimizer step made of the tokens of a few rows: those that are written down for a reader.

A row is trained on in one optimizer step of its rollout step, so this is the whole story of its tokens. Nothing is held where no
row of a mini-batch is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from tensordict import TensorDict
from torch import Tensor

TOKENS = ("ratio", "entropy", "clipped_low", "clipped_high")


class TokenRecord:
    """The tokens of the rows of a mini-batch [N] that have a line in the rollout file.

    Args:
        batch: with ``logged`` [N], the lines, -1 where a row has none; without the key nothing is recorded.
    """

    def __init__(self, batch: TensorDict) -> None:
        logged = batch.get("logged", None)
        is_logged = torch.zeros(len(batch), dtype=torch.bool) if logged is None else logged >= 0
        self.rows: list[int] = [] if logged is None else logged[is_logged].tolist()
        """K lines of the rollout file"""
        if not self.rows:
            return
        self._place = torch.where(is_logged, is_logged.long().cumsum(0) - 1, -1)  # [N]: which of the K, -1 for none
        self._sampled, self._trained = batch["response_mask"][is_logged], batch["loss_mask"][is_logged]
        self._values = torch.zeros(len(TOKENS), *self._trained.shape, device=self._trained.device)

    def take(self, rows: Tensor, tokens: Mapping[str, Tensor]) -> None:
        """The ``tokens`` of ``ObjectiveOutput``, [n, t] each, of a micro-batch that holds these rows of the batch."""
        if not self.rows or not len(rows):
            return
        place = self._place[rows]
        for number, name in enumerate(TOKENS):
            if name in tokens:
                self._values[number, place[place >= 0], : tokens[name].shape[1]] = tokens[name][place >= 0].float()

    def over_ranks(self, total: Callable[[Tensor], Tensor]) -> None:
        """Bring the ranks' shares together: each row is on one of them and zero on the others; a collective."""
        if self.rows:
            self._values = total(self._values)

    def lists(self) -> Iterator[tuple[int, dict[str, list[float | None]]]]:
        """(line, name -> value for each token of the response) of each row.

        ``clipped`` is -1 for a token that was clipped low, 1 for one that was clipped high, else 0. ``ratio`` and ``entropy`` are None
        where a token did not train.
        """
        values, sampled, trained = self._values.cpu(), self._sampled.cpu(), self._trained.cpu()
        for index, row in enumerate(self.rows):
            places = sampled[index].nonzero()
            response = slice(int(places[0]), int(places[-1]) + 1)
            ratio, entropy, low, high = values[:, index, response].tolist()
            keep = trained[index, response].tolist()
            yield (
                row,
                {
                    "ratio": [value if trains else None for value, trains in zip(ratio, keep, strict=True)],
                    "entropy": [value if trains else None for value, trains in zip(entropy, keep, strict=True)],
                    "clipped": [int(up) - int(down) for down, up in zip(low, high, strict=True)],
                },
            )

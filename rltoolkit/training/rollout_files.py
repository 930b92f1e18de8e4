"""rollouts/: some groups of a rollout step as they were sampled, and what their update made of every token.

    step_00007.jsonl      one line for each response: prompt, tokens, log-probs, verdict, reward with its parts, advantage, fate
    updates_00007.jsonl   one line for each of them that was trained on: ratio, entropy and clipping of its tokens

A response's line in the first file is its ``row`` in the second. ``fate`` says what became of its group: ``kept``; ``filled``, trained
on although a filter rejected it; or ``all_correct``, ``all_wrong``, ``other``, why it was rejected. A rejected pilot has as many lines
as it has responses, and its fate speaks of those. The first groups in stream order are written, so they are a fair sample of what
was kept, and of what was rejected; only the tokens of the former are trained on, so the latter have no entropies.
``rltoolkit.report.viewer.records`` reads both files.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tensordict import TensorDict

from rltoolkit.collector import CollectedStep
from rltoolkit.rollout_batch import row_lengths, text_list
from rltoolkit.training.token_record import TokenRecord

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GROUPS = 12
"""The most kept groups in a file; rejected ones come on top, as many as the collector hands out."""
TOKENS = 2**15
"""Sampled tokens after which no further group is written; the first one always is. A token takes about 40 bytes."""
_FIELDS = ("prompt_index", "policy_version", "correct", "reward", "response_length", "truncated")


class RolloutFiles:
    """Writes rollouts/ as a run goes on; files only grow, so a reader may come at any time.

    Args:
        folder: the run's folder.
        every: rollout steps between two files; 0 writes none.
        tokenizer: turns tokens into text.
    """

    def __init__(self, folder: Path, *, every: int, tokenizer: PreTrainedTokenizerBase) -> None:
        self.folder = folder / "rollouts"
        self.every = every
        self.tokenizer = tokenizer
        self._writes = False

    def open(self, *, optimizer_step: int, rollout_step: int) -> None:
        """Begin to write; a continued run drops what it will make again. For the first process alone."""
        self._writes = True
        for path in self.folder.glob("*_*.jsonl"):
            step = int(path.stem.rpartition("_")[2])
            if step > rollout_step:
                path.unlink()
            elif step == rollout_step and path.stem.startswith("updates"):
                lines = path.read_text().splitlines(keepends=True)
                path.write_text("".join(line for line in lines if _is_before(line, optimizer_step)))

    def collected(self, step: CollectedStep, rollout_step: int) -> int:
        """Write a new rollout step's responses. Returns how many of its first groups have a line each; the same on every rank."""
        if not self.every or (rollout_step - 1) % self.every:
            return 0
        groups = _within_budget(step.rollouts["response_length"][:GROUPS].sum(1).tolist())
        if self._writes:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self._path("step", rollout_step)
            partial = path.with_suffix(".partial")
            partial.write_text("".join(json.dumps(line) + "\n" for line in self._lines(step, groups)))
            partial.replace(path)
        return groups

    def updated(self, record: TokenRecord | None, *, optimizer_step: int, rollout_step: int) -> None:
        """Write what an optimizer step has made of the rows of the rollout step that stand in its file."""
        if record is None or not record.rows or not self._writes:
            return
        with self._path("updates", rollout_step).open("a") as file:
            for row, tokens in record.lists():
                line = {"row": row, "optimizer_step": optimizer_step} | {name: _numbers(tokens[name]) for name in tokens}
                file.write(json.dumps(line) + "\n")

    def _path(self, what: str, rollout_step: int) -> Path:
        return self.folder / f"{what}_{rollout_step:05d}.jsonl"

    def _lines(self, step: CollectedStep, groups: int) -> Iterator[dict[str, Any]]:
        filled_from = len(step.rollouts) - step.counters.filled_groups
        for place in range(groups):
            yield from self._group(step.rollouts[place], place, "kept" if place < filled_from else "filled")
        rejected = _within_budget(int(group.rollouts["response_length"].sum()) for group in step.rejected)
        for place, group in enumerate(step.rejected[:rejected], start=groups):
            yield from self._group(group.rollouts, place, group.fate)

    def _group(self, rollouts: TensorDict, place: int, fate: str) -> Iterator[dict[str, Any]]:
        """The lines of one group [G]."""
        fields = {name: rollouts[name].tolist() for name in _FIELDS}
        parts = {name: values.tolist() for name, values in rollouts["reward_parts"].items()}
        texts, answers = (text_list(rollouts.unsqueeze(0), name) for name in ("response_text", "answer"))
        for row in range(len(texts)):
            mask = rollouts["response_mask"][row]
            start, end = int(mask.int().argmax()), int(row_lengths(rollouts[row]))
            ids = rollouts["input_ids"][row].tolist()
            line: dict[str, Any] = {"group": place, "fate": fate} | {name: values[row] for name, values in fields.items()}
            line["reward"] = _number(line["reward"])
            line["reward_parts"] = _reward_parts({name: values[row] for name, values in parts.items()}, fields["reward"][row])
            if "advantage" in rollouts.keys():  # noqa: SIM118 - over keys, not the batch
                line["advantage"] = _advantage(rollouts["advantage"][row], start, end)
            yield line | {
                "answer": answers[row],
                "prompt": _decoded(self.tokenizer, ids[:start]),
                "response": texts[row],
                "tokens": token_texts(self.tokenizer, ids[start:end]),
                "log_probs": _numbers(rollouts["rollout_log_probs"][row, start:end].tolist()),
            }


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[str]:
    """The text that each token adds. A character whose bytes lie in several tokens belongs to the last of them.

    Each token is decoded behind the one before it, since tokenizers write a word at the start of a text without its space.
    """
    texts: list[str] = []
    anchor, read = 0, 0  # the token before, and the first one whose text is still missing
    for end in range(1, len(ids) + 1):
        before = _decoded(tokenizer, ids[anchor:read])
        text = _decoded(tokenizer, ids[anchor:end])[len(before) :]
        unfinished = (
            text.endswith("\N{REPLACEMENT CHARACTER}") and end < len(ids) and end - read < 4
        )  # UTF-8 takes four bytes at most
        texts.append("" if unfinished else text)
        if not unfinished:
            anchor, read = read, end
    return texts


def _decoded(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    return str(tokenizer.decode(ids)) if ids else ""


def _within_budget(tokens: Iterable[int]) -> int:
    """How many of the first groups, of so many sampled tokens each, are written."""
    totals = list(accumulate(tokens))
    return max(1, sum(total <= TOKENS for total in totals))


def _reward_parts(parts: dict[str, float], reward: float) -> dict[str, float | None]:
    """What each shaper changed, where it changed something; the KL is what the trainer took off afterwards."""
    first, *shapers = parts
    rest = reward - sum(parts.values())
    changed = {first: parts[first]} | {name: parts[name] for name in shapers if parts[name]}
    return {name: _number(value) for name, value in (changed | ({"kl_in_reward": rest} if abs(rest) > 1e-6 else {})).items()}


def _advantage(advantage: Any, start: int, end: int) -> float | list[float | None] | None:
    return _number(float(advantage)) if advantage.ndim == 0 else _numbers(advantage[start:end].tolist())


def _numbers(values: Iterable[float | None]) -> list[float | None]:
    return [_number(value) for value in values]


def _number(value: float | None) -> float | None:
    """Four significant digits; JSON knows neither nan nor infinity."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")


def _is_before(line: str, optimizer_step: int) -> bool:
    """Whether a line is whole (a process that was killed may leave half of one) and not of a later optimizer step."""
    try:
        return line.endswith("\n") and int(json.loads(line)["optimizer_step"]) <= optimizer_step
    except (ValueError, KeyError):
        return False

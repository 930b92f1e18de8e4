"""The responses that a run wrote down, read back from its folder rollouts/.

A run may be going on: files that are not there yet, lines that are not whole yet and fields that an older version did not write are
passed over. ``training/rollout_files.py`` says what the files hold.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

FATES = {
    "kept": "trained on",
    "filled": "rejected, but trained on: the generation limit was reached",
    "all_correct": "rejected: all right",
    "all_wrong": "rejected: all wrong",
    "other": "rejected by a filter",
}
"""What became of a response's group."""


@dataclass(kw_only=True)
class Response:
    """One response. Lists hold a value for each token, None where there is none (``ratio`` and ``entropy``: it did not train)."""

    rollout_step: int
    row: int
    """its line in the rollout file"""
    group: int = 0
    """responses of one rollout step to one prompt share it"""
    fate: str = "kept"
    prompt_index: int = -1
    policy_version: int = -1
    correct: bool = False
    truncated: bool = False
    reward: float | None = None
    reward_parts: dict[str, float | None] = field(default_factory=dict)
    """by name: the verifier's reward, and what was added to it"""
    advantage: float | list[float | None] | None = None
    response_length: int = 0
    answer: str = ""
    prompt: str = ""
    response: str = ""
    tokens: list[str] = field(default_factory=list)
    log_probs: list[float | None] = field(default_factory=list)
    """under the policy that sampled"""
    optimizer_step: int | None = None
    """the one that trained on it"""
    ratio: list[float | None] = field(default_factory=list)
    entropy: list[float | None] = field(default_factory=list)
    clipped: list[int] = field(default_factory=list)
    """-1 clipped low, 1 clipped high"""

    @property
    def pieces(self) -> Sequence[str]:
        """The tokens, or the whole text where they were not written down."""
        return self.tokens or [self.response]

    def at(self, name: str, place: int) -> float | None:
        """``probability``, ``entropy``, ``ratio``, ``clipped`` or ``advantage`` of a token; None where it has none."""
        values = self.log_probs if name == "probability" else getattr(self, name)
        value = values if not isinstance(values, list) else values[place] if place < len(values) else None
        return math.exp(value) if name == "probability" and value is not None else value


_NAMES = {each.name for each in fields(Response)}


def rollout_files(run_dir: Path) -> list[Path]:
    """The files that hold a run's responses, in the order of its rollout steps."""
    return sorted((Path(run_dir) / "rollouts").glob("step_*.jsonl"))


def read_rollouts(run_dir: Path) -> list[Response]:
    """All responses of a run. Raises FileNotFoundError where it has written none."""
    files = rollout_files(run_dir)
    if not files:
        raise FileNotFoundError(f"no responses in {run_dir}: no rollouts/step_*.jsonl (trainer.log_rollouts_every=0 writes none)")
    return [response for file in files for response in read_rollout_step(file)]


def read_rollout_step(file: Path) -> list[Response]:
    """The responses of one rollout step, with what their update made of them as far as it has come."""
    step = int(file.stem.rpartition("_")[2])
    updates = {line["row"]: line for line in _lines(file.with_name(file.name.replace("step_", "updates_", 1))) if "row" in line}
    responses: list[Response] = []
    for row, line in enumerate(_lines(file)):
        known = {name: value for name, value in (line | updates.get(row, {})).items() if name in _NAMES}
        response = Response(**{**known, "rollout_step": step, "row": row})
        if "group" not in line and responses:  # an older file: responses to one prompt follow each other
            before = responses[-1]
            response.group = before.group + (before.prompt_index != response.prompt_index)
        responses.append(response)
    return responses


def visible(text: str, line_break: str = "⏎\n") -> str:
    """Untrusted text as a terminal may print it: what would move the cursor, hide or turn round other text shows its number instead."""
    return "".join(_shown(character, line_break) for character in text)


def _shown(character: str, line_break: str) -> str:
    if character.isprintable():
        return character
    if character == "\n":
        return line_break
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else f"⟨U+{code:04X}⟩"


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        return
    for text in file.read_text(encoding="utf-8", errors="replace").split("\n"):  # not splitlines: U+2028 is no end of a line
        try:
            line = json.loads(text)
        except json.JSONDecodeError:  # still being written
            continue
        if isinstance(line, dict):
            yield line


@dataclass(frozen=True)
class Filter:
    """Which responses to show; empty values let everything through."""

    step: int | None = None
    correct: bool | None = None
    truncated: bool | None = None
    fate: str = ""
    text: str = ""

    def __call__(self, response: Response) -> bool:
        """Whether a response passes."""
        asked: Sequence[tuple[Any, Callable[[], bool]]] = (
            (self.step, lambda: response.rollout_step == self.step),
            (self.correct, lambda: response.correct == self.correct),
            (self.truncated, lambda: response.truncated == self.truncated),
            (self.fate or None, lambda: response.fate == self.fate),
            (
                self.text or None,
                lambda: self.text.lower() in f"{response.prompt}\n{response.response}\n{response.answer}".lower(),
            ),
        )
        return all(passes() for value, passes in asked if value is not None)

"""The responses of an evaluation on disk: samples.jsonl, one line each, and asked.json, what they answer.

A problem's k lines are on disk (fsync) before it counts as done. What a kill in the middle of a write leaves is cut off when the file
is opened again, and the problem is sampled anew, with its own seeds; so an interrupted evaluation ends as an uninterrupted one does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rltoolkit.errors import ConfigError, RunFailed


class Sample(NamedTuple):
    """One response."""

    problem: int
    """row of the task"""
    sample: int
    """0 to k - 1"""
    tokens: int
    """its length, end-of-sequence included"""
    text: str
    answer: str | None
    """what the verifier found in it; None where it finds nothing, or extracts no answers"""
    correct: bool
    truncated: bool
    """the length limit stopped it"""


class SampleFile:
    """The responses of one model, by problem, k of each.

    Args:
        folder: made if it is not there.
        asked: what decides the responses and verdicts, as values of JSON, ``k`` among them.
        rank: of several processes that share the problems. Each appends to a file of its own, and the first one, which opens before
            the others and closes after them, collects what is there.

    Raises:
        ConfigError: another program writes there, or the folder holds an evaluation that was asked otherwise.
        RunFailed: a line that is not a sample.
    """

    def __init__(self, folder: Path, asked: Mapping[str, Any], rank: int = 0) -> None:
        from filelock import FileLock, Timeout

        self._folder, self._k, self._is_first = folder, int(asked["k"]), rank == 0
        self.path = folder / ("samples.jsonl" if rank == 0 else f"samples_{rank}.jsonl")
        self._lock = FileLock(folder / ".lock")
        if rank > 0:
            self.groups = self._read()
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"--output: another evaluation is writing to {folder}") from None
        try:
            _require_same(folder / "asked.json", json.loads(json.dumps(asked)))
            self.groups = self._read()
        except BaseException:
            self._lock.release()
            raise
        self._rewrite()

    def append(self, group: Sequence[Sample]) -> None:
        """Write the k responses to one problem."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_lines(group))
            file.flush()
            os.fsync(file.fileno())
        self.groups[group[0].problem] = list(group)

    def close(self) -> None:
        """Collect what all processes have written, sorted by problem, and let another program write; only the first one does."""
        if self._is_first:
            self.groups = self._read()
            self._rewrite()
            self._lock.release()

    def _read(self) -> dict[int, list[Sample]]:
        """The complete groups of all files; half a line and half a group are left out."""
        files = sorted(self._folder.glob("samples*.jsonl"))
        return {problem: group for file in files for problem, group in _groups(file).items() if len(group) == self._k}

    def _rewrite(self) -> None:
        partial = self.path.with_suffix(".partial")
        partial.write_text("".join(_lines(self.groups[problem]) for problem in sorted(self.groups)), encoding="utf-8")
        partial.replace(self.path)
        for part in self._folder.glob("samples_*.jsonl"):
            part.unlink()


def _groups(file: Path) -> dict[int, list[Sample]]:
    """The samples of each problem. Raises RunFailed for a whole line that is none."""
    content = file.read_bytes()
    groups: dict[int, list[Sample]] = {}
    for number, line in enumerate(content[: content.rfind(b"\n") + 1].splitlines(), 1):
        try:
            sample = Sample(**json.loads(line))
        except (ValueError, TypeError) as error:
            raise RunFailed(f"line {number} of {file} is not a sample: {error}") from error
        groups.setdefault(sample.problem, []).append(sample)
    return groups


def _lines(group: Sequence[Sample]) -> str:
    return "".join(json.dumps(sample._asdict()) + "\n" for sample in group)


def _require_same(file: Path, asked: dict[str, Any]) -> None:
    """Write what is asked, or compare it with what was. Raises ConfigError, which names the first field that differs."""
    if not file.exists():
        file.write_text(json.dumps(asked, indent=2))
        return
    before = json.loads(file.read_text())
    for field in dict.fromkeys([*before, *asked]):
        if before.get(field) != asked.get(field):
            raise ConfigError(
                f"--output: {file.parent} holds another evaluation: {field} was {before.get(field)}, now {asked.get(field)}. "
                "Choose another folder, or delete this one"
            )

"""The journal: one JSON line for each row that is done, written for good before the next one counts.

A line is on disk (fsync) when ``append`` returns, so a program that is killed has lost nothing that it had counted. Half a line,
which is what a kill in the middle of a write leaves, is cut off when the journal is opened; its row is done again. A lock keeps two
programs from writing at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.transform.stages import Outcome


class Journal:
    """What is known of each row, by its id, in the order in which it became known.

    Args:
        path: the file, made if it is not there.

    Raises:
        ConfigError: another program writes to it.
        RunFailed: a line that is not one of ours.
    """

    def __init__(self, path: Path) -> None:
        from filelock import FileLock, Timeout

        self._lock = FileLock(f"{path}.lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"output={path.parent}: another program is writing there") from None
        self._file = path.open("a+b")
        self._cut_half_line()
        self.outcomes = {outcome.id: outcome for outcome in self._read(path)}

    def append(self, outcomes: Sequence[Outcome]) -> None:
        """Write outcomes of rows that are not in the journal yet. Raises ValueError for one that is."""
        known = [outcome.id for outcome in outcomes if outcome.id in self.outcomes]
        if known:
            raise ValueError(f"row {known[0]} is in the journal already")
        lines = [json.dumps(dataclasses.asdict(outcome), ensure_ascii=False) + "\n" for outcome in outcomes]
        self._file.write("".join(lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())
        self.outcomes |= {outcome.id: outcome for outcome in outcomes}

    def close(self) -> None:
        """Let another program write."""
        self._file.close()
        self._lock.release()

    def _cut_half_line(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        self._file.truncate(content.rfind(b"\n") + 1)

    def _read(self, path: Path) -> list[Outcome]:
        self._file.seek(0)
        outcomes = []
        for number, line in enumerate(self._file, 1):
            try:
                outcomes.append(Outcome(**json.loads(line)))
            except (ValueError, TypeError) as error:
                raise RunFailed(f"line {number} of {path} is not a line of this journal: {error}") from error
        return outcomes

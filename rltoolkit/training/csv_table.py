"""A CSV file that grows row by row."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class CsvTable:
    """Rows with named columns; a new column makes it write the file anew.

    Args:
        path: the file; rows that are already in it stay, as far as ``keep`` says so.
        keep: which of the rows found at the start to keep (a resumed run drops those after its checkpoint).
    """

    def __init__(self, path: Path, keep: Callable[[Mapping[str, str]], bool] = lambda row: True) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        if path.exists():
            whole = path.read_text().rpartition("\n")[0]  # a process that was killed may leave half a line
            self.rows = [row for row in csv.DictReader(io.StringIO(whole)) if keep(row)]
        self.columns = list(self.rows[0]) if self.rows else []
        if path.exists():
            self._rewrite()

    def append(self, row: Mapping[str, Any]) -> None:
        """Write one row; columns it lacks stay blank."""
        self.rows.append(dict(row))
        new = [name for name in row if name not in self.columns]
        if new:
            self.columns += new
            self._rewrite()
        else:
            with self.path.open("a", newline="") as file:
                csv.DictWriter(file, self.columns).writerow(row)

    def _rewrite(self) -> None:
        partial = self.path.with_suffix(".partial")
        with partial.open("w", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            writer.writeheader()
            writer.writerows(self.rows)
        partial.replace(self.path)

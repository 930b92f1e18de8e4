"""Tables of problems: the rows of a local .parquet, .jsonl or .json file, or of a dataset on the Hugging Face hub."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rltoolkit.task.base import Message

BATCH_ROWS = 1024


class Row(NamedTuple):
    """One row of a table, and its place in the file, for error messages.

    Every method names a field, dotted where it is nested (``reward_model.ground_truth``), and the config key that chose it.
    """

    values: Mapping[str, Any]
    place: str

    def has(self, field: str) -> bool:
        """Whether the row has this top-level field."""
        return field in self.values

    def read(self, field: str, config: str = "task.path") -> Any:
        """The value of a field.

        Raises:
            ValueError: no such field; the message names it, the config key and the fields that are there.
        """
        value: Any = self.values
        for part in field.split("."):
            if not isinstance(value, Mapping) or part not in value:
                there = ", ".join(self.values)
                raise ValueError(f"{self.place} has no field '{field}' ({config}); its fields are: {there}")
            value = value[part]
        return value

    def text(self, field: str, config: str = "task.path") -> str:
        """A field as text: null is ``""``, and 73.0 is ``"73"``."""
        value = self.read(field, config)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return "" if value is None else str(value)

    def messages(self, field: str, config: str = "task.path") -> tuple[Message, ...]:
        """A prompt: a list of messages with ``role`` and ``content``, or a string, which becomes the user's only message."""
        value = self.read(field, config)
        if isinstance(value, str):
            return (Message("user", value),)
        try:
            return tuple(Message(str(turn["role"]), str(turn["content"])) for turn in value) or (Message("user", ""),)
        except (TypeError, KeyError):
            raise ValueError(f"{self.place}: '{field}' ({config}) must be a string or messages with role and content") from None


def read_rows(
    path: str, dataset: str, *, config: str = "task.path", subset: str | None = None, split: str = "train"
) -> Iterator[Row]:
    """Rows of the file ``path``, or of the hub's ``dataset`` where ``path`` is empty (``subset``, ``split``: the hub's words).

    Memory holds one batch of rows at a time.

    Raises:
        FileNotFoundError: no such file, or no dataset to be had; the message names the config key.
        ValueError: an unknown file ending, or a line that is not JSON.
    """
    if not path:
        return _hub_rows(dataset, subset, split, config)
    file = Path(path).expanduser()
    readers = {".parquet": _parquet_rows, ".jsonl": _jsonl_rows, ".json": _json_rows}
    if not file.is_file():
        raise FileNotFoundError(f"{config}={path!r}: no such file")
    if file.suffix not in readers:
        raise ValueError(f"{config}={path!r}: must end in {', '.join(readers)}")
    return readers[file.suffix](file)


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(file) as table:
        index = 0
        for batch in table.iter_batches(BATCH_ROWS):
            for values in batch.to_pylist():
                index += 1
                yield Row(values, f"row {index} of {file}")


def _jsonl_rows(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                place = f"line {number} of {file}"
                yield Row(_json_object(line, place), place)


def _json_rows(file: Path) -> Iterator[Row]:
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not JSON: {error}") from None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise ValueError(f"{file} must hold a JSON list of objects")
    for index, values in enumerate(records, 1):
        yield Row(values, f"row {index} of {file}")


def _json_object(line: str, place: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place} is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{place} must be a JSON object")
    return values


def _hub_rows(dataset: str, subset: str | None, split: str, config: str) -> Iterator[Row]:
    if not dataset:
        raise FileNotFoundError(f"{config}='': name a local file, or a hub dataset with task.dataset")
    import datasets

    try:
        table = datasets.load_dataset(dataset, subset, split=split)
    except (OSError, ValueError) as error:  # what the library raises offline and for unknown names
        raise FileNotFoundError(
            f"{config}='' and the hub's dataset task.dataset={dataset!r} cannot be read ({type(error).__name__}: {error}); "
            f"set {config} to a local file"
        ) from error
    index = 0
    for batch in table.iter(BATCH_ROWS):
        for values in zip(*batch.values(), strict=True):
            index += 1
            yield Row(dict(zip(batch, values, strict=True)), f"row {index} of {dataset}")

"""Rebuild the report of a sweep, or the figures of one run: ``python -m rltoolkit.report DIR``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rltoolkit.report import write_report, write_run_figures


def main(arguments: list[str] | None = None) -> None:
    """A folder that itself holds a run.json or a metrics.csv is a run; any other is a sweep."""
    parser = argparse.ArgumentParser(prog="python -m rltoolkit.report", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder of a sweep, or of one run")
    directory = parser.parse_args(arguments).directory
    try:
        if any((directory / name).is_file() for name in ("run.json", "metrics.csv")):
            written = write_run_figures(directory)
        else:
            written = [write_report(directory)]
    except FileNotFoundError as error:
        parser.error(str(error))
    for path in written:
        print(path)


if __name__ == "__main__":
    main()

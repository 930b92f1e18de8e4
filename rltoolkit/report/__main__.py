"""Rebuild the report of a sweep, or the figures of one run, and the page with their responses: ``python -m rltoolkit.report DIR``."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from rltoolkit.report import write_report, write_run_figures, write_viewer, write_viewers
from rltoolkit.report.viewer import rollout_files


def main(arguments: list[str] | None = None) -> int:
    """A folder that itself holds a run.json or a metrics.csv is a run; any other is a sweep. Returns 2 where there is no run."""
    parser = argparse.ArgumentParser(prog="python -m rltoolkit.report", description=__doc__)
    parser.add_argument("directory", type=Path, help="folder of a sweep, of one run, or of a sweep's published CSV files")
    directory = parser.parse_args(arguments).directory
    try:
        if any((directory / name).is_file() for name in ("run.json", "metrics.csv")):
            written = [*write_run_figures(directory), *([write_viewer(directory)] if rollout_files(directory) else [])]
        else:
            written = [*write_report(directory), *write_viewers(directory)]
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` closes the pipe early
    sys.exit(main())

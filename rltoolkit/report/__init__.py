"""Reports drawn from the files of a run: the ablation's table, and figures."""

from rltoolkit.report.ablation import write_report
from rltoolkit.report.figures import write_run_figures
from rltoolkit.report.runs import Run, find_runs, read_run
from rltoolkit.report.viewer import write_viewer, write_viewer_index, write_viewers

__all__ = [
    "Run",
    "find_runs",
    "read_run",
    "write_report",
    "write_run_figures",
    "write_viewer",
    "write_viewer_index",
    "write_viewers",
]

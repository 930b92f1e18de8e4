"""What a run's model wrote, for a browser and for a terminal."""

from rltoolkit.report.viewer.page import write_viewer, write_viewer_index, write_viewers
from rltoolkit.report.viewer.records import FATES, Filter, Response, read_rollout_step, read_rollouts, rollout_files

__all__ = [
    "FATES",
    "Filter",
    "Response",
    "read_rollout_step",
    "read_rollouts",
    "rollout_files",
    "write_viewer",
    "write_viewer_index",
    "write_viewers",
]

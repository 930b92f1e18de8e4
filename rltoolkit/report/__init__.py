"""Reports drawn from the files of a run."""

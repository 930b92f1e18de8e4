"""Which process is the first, by the variables of each launcher."""

import pytest

from rltoolkit.run.process import is_first_process


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        # torchrun: the second process of the first machine, the first one of the second machine
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "1", "LOCAL_RANK": "1"}, False),
        ({"RANK": "8", "LOCAL_RANK": "0", "GROUP_RANK": "1"}, False),
        # srun
        ({"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}, True),
        ({"SLURM_PROCID": "8", "SLURM_LOCALID": "0"}, False),
        # Lightning's launcher: the one it starts, and on a second machine the one that was started by hand there
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),
        ({"NODE_RANK": "0", "LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
    ],
)
def test_is_first_process(monkeypatch, variables, first):
    for name in ("RANK", "LOCAL_RANK", "GROUP_RANK", "SLURM_PROCID", "SLURM_LOCALID", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first

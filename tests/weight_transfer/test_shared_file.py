"""Weights in files: what a server reads is what was sent, for as long as the sender lives."""

import json
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.run.compose import load
from rltoolkit.weight_transfer import SharedFile
from rltoolkit.weights_file import WeightsFile, buckets, read_weights


def test_what_is_read_is_what_was_sent(tmp_path):
    sender = SharedFile(folder=str(tmp_path / "made" / "here"))()
    for value in (1.0, 2.0):  # the second overwrites the first
        (call,) = sender.calls(iter([("a", torch.full((3,), value)), ("b", torch.zeros(2, 2))]))
        assert call.path == "/collective_rpc"
        content = json.loads(b"".join(call.body))
        assert content["method"] == "replace_weights_from"  # of the worker
        (folder,) = content["args"]
        read = dict(read_weights(Path(folder)))
        assert list(read) == ["a", "b"]
        assert read["a"].tolist() == [value] * 3
        assert sender.again() == [call]  # they stay, for a server that comes late
    sender.close()
    assert not list((tmp_path / "made" / "here").iterdir())
    sender.close()


def test_a_bucket_has_what_fits_and_a_tensor_that_is_larger_comes_alone():
    # float32, limit 24 bytes: 8 + 16 fit, 4 more do not; 40 is too much for any
    weights = [(str(size), torch.zeros(size // 4)) for size in (8, 16, 4, 40, 12)]
    assert [list(bucket) for bucket in buckets(weights, 24)] == [["8", "16"], ["4"], ["40"], ["12"]]


def test_one_bucket_and_the_tensor_after_it_are_held_at_most():
    arrays, most = [], []  # a tensor holds the array it was made of

    def gathered():
        for size in (8, 16, 4, 40, 12):
            array = np.zeros(size // 4, dtype=np.float32)
            arrays.append(weakref.ref(array))
            most.append(sum(alive().nbytes for alive in arrays if alive() is not None))
            yield str(size), torch.from_numpy(array)
            del array

    for bucket in buckets(gathered(), 24):
        assert bucket
    # 8 | 8 16 | 8 16 and the 4 that starts the next | 4 40 | 40 12
    assert most == [8, 24, 28, 44, 52]


def test_fewer_buckets_than_before_leave_none_of_the_old_ones(tmp_path):
    file = WeightsFile(tmp_path)
    file.write([("a", torch.zeros(2)), ("b", torch.zeros(2)), ("c", torch.zeros(2))], 8)
    assert len(list(file.path.iterdir())) == 3
    file.write([("a", torch.ones(2)), ("b", torch.ones(2))], 16)
    assert {name: weight.tolist() for name, weight in read_weights(file.path)} == {"a": [1, 1], "b": [1, 1]}
    file.close()


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000", "http://localhost:1", "http://[::1]:8000"])
def test_loopback_needs_no_folder(url):
    SharedFile().require_reach([url])


@pytest.mark.parametrize("url", ["http://10.0.0.7:8000", "http://node1:8000"])
def test_servers_elsewhere_need_a_folder(url):
    with pytest.raises(ValueError, match=rf"rollout_engine\.urls={url}: .*set weight_transfer\.folder"):
        SharedFile().require_reach(["http://127.0.0.1:8000", url])
    SharedFile(folder="/shared").require_reach([url])


def test_a_run_is_refused_before_anything_loads():
    chosen = ("rollout_engine=vllm_server", "rollout_engine.urls=[http://node1:8000]")
    with pytest.raises(
        ConfigError, match=r"http://node1:8000: weight_transfer=shared_file keeps the weights in this machine's memory"
    ):
        load(*chosen)
    assert load(*chosen, "weight_transfer.folder=/shared").components.weight_transfer == SharedFile(folder="/shared")


def test_a_folder_that_cannot_be_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunFailed, match=r"weight_transfer\.folder=.*file/below: Not a directory"):
        SharedFile(folder=str(tmp_path / "file" / "below"))()


def test_choosing_one_imports_no_torch():
    program = "import sys, rltoolkit.weight_transfer; assert not {'torch', 'vllm', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

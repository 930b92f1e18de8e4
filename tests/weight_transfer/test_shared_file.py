"""Weights in a file: what a server reads is what was staged, for as long as the sender lives."""

import subprocess
import sys

import pytest
import torch

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.run.compose import load
from rltoolkit.weight_transfer import SharedFile


def test_what_is_read_is_what_was_staged(tmp_path):
    sender = SharedFile(folder=str(tmp_path / "made" / "here"))()
    for value in (1.0, 2.0):  # the second overwrites the first
        method, (path,) = sender.stage(iter([("a", torch.full((3,), value)), ("b", torch.zeros(2, 2))]))
        assert method == "replace_weights_from"  # of the worker extension
        read = torch.load(path, mmap=True)
        assert list(read) == ["a", "b"]
        assert read["a"].tolist() == [value] * 3
    sender.close()
    assert not list((tmp_path / "made" / "here").iterdir())
    sender.close()


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

"""Weights in requests: vLLM's four phases, and bodies that hold the very bytes of the tensors."""

import json
import subprocess
import sys
from base64 import b64decode

import pytest
import torch

from rltoolkit.run.compose import load
from rltoolkit.weight_transfer import HTTP
from rltoolkit.weight_transfer.http import PIECE, HTTPSender, Update


def body(call):
    return json.loads(b"".join(call.body))


def test_four_phases_with_an_update_for_each_bucket():
    sender = HTTPSender(8)
    calls = [
        (call.path, body(call)) for call in sender.calls([("a", torch.zeros(2)), ("b", torch.zeros(1)), ("c", torch.zeros(1))])
    ]
    assert [path for path, _ in calls] == [
        "/init_weight_transfer_engine", "/start_weight_update", "/update_weights", "/update_weights", "/finish_weight_update",
    ]  # fmt: skip
    assert [content["update_info"]["names"] for path, content in calls if path == "/update_weights"] == [["a"], ["b", "c"]]
    assert sender.again() == ()


def test_a_body_holds_the_bytes_of_its_tensors():
    # little-endian: 1.0 is 00 00 80 3f in float32 and 80 3f in bfloat16, its first two bytes cut off
    bucket = {"a": torch.tensor([[1.0, 0.0]]), "b": torch.tensor(1.0, dtype=torch.bfloat16)}
    info = json.loads(b"".join(Update(bucket)))["update_info"]
    assert (info["names"], info["dtype_names"], info["shapes"]) == (["a", "b"], ["float32", "bfloat16"], [[1, 2], []])
    assert [b64decode(each) for each in info["data"]] == [b"\x00\x00\x80\x3f\x00\x00\x00\x00", b"\x80\x3f"]


def test_a_body_is_the_same_each_time_it_is_sent_and_comes_in_pieces():
    tensor = torch.arange(PIECE + 5).to(torch.uint8).view(-1)[::1]
    update = Update({"a": tensor, "b": tensor[::2]})  # the second is not contiguous
    pieces = list(update)
    assert pieces == list(update)
    assert max(map(len, pieces)) == PIECE * 4 // 3
    first, second = json.loads(b"".join(pieces))["update_info"]["data"]
    assert b64decode(first) == tensor.numpy().tobytes()
    assert b64decode(second) == tensor[::2].numpy().tobytes()


def test_servers_may_be_anywhere():
    run = load("rollout_engine=vllm_server", "rollout_engine.urls=[http://node1:8000]", "weight_transfer=http")
    assert run.components.weight_transfer == HTTP()


@pytest.mark.parametrize("settings", [{"bucket_mib": 0}, {"timeout": 0}])
def test_settings_that_cannot_be_are_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=rf"weight_transfer\.{name}=0"):
        HTTP(**settings)


def test_choosing_one_imports_no_torch():
    program = "import sys, rltoolkit.weight_transfer.http; assert not {'torch', 'vllm', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)

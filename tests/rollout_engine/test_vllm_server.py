"""vLLM's server as an engine: what every engine promises, the same responses as in process, and what can happen to a server.

Two servers for the whole file. The second one is reached through a relay, too, which can be cut.
"""

from __future__ import annotations

import csv
import http.server
import json
import logging
import os
import resource
import subprocess
import sys
import threading
import time

import httpx2
import pytest
import torch

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_batch import stack_groups
from rltoolkit.rollout_engine import EngineDied, Sampling, StaleWeights, VLLMServer
from rltoolkit.rollout_engine._server.server import INCOMPLETE, UNLABELLED
from rltoolkit.rollout_engine._server.start import command
from rltoolkit.weight_transfer import HTTP, SharedFile
from rltoolkit.weight_transfer.http import HTTPSender

from .conftest import CHARACTERS, MAX_LENGTH, add, random_model, reference_log_probs, save_tokenizer
from .serving import KEY, Relay, Served, stopped
from .test_engines import (  # noqa: F401 - run here on ``engine`` below
    test_a_response_depends_on_its_seed_and_index_alone,
    test_a_response_ends_at_the_engine_s_length,
    test_an_engine_that_slept_answers_as_before,
    test_given_tokens_are_scored_as_by_the_model,
    test_impossible_requests_are_refused,
    test_log_probs_are_those_of_the_scaled_logits,
    test_neighbouring_seeds_share_no_stream,
    test_new_weights_are_in_use_at_once,
    test_rollouts_hold_what_the_engine_writes,
    test_temperature_zero_takes_the_most_probable_token,
    test_top_p_keeps_the_smallest_set_that_reaches_it,
)
from .test_stream import (  # noqa: F401
    test_groups_are_those_of_generate_under_their_keys,
    test_groups_can_be_added_while_others_run,
)

PROMPTS = [[2 + row % 9, 12, 3 + row % 5] for row in range(16)]
SEEDS = range(16)
VOCABULARY = len(CHARACTERS) + 2
SAMPLING = Sampling(max_new_tokens=40)

RUN = [
    "model=hf", "model.chat=false", "sampling.max_prompt_tokens=24", "sampling.max_new_tokens=24", "prompts_per_step=4", "group_size=4",
    "mini_batch_size=8", "cache_length=6", "trainer.max_steps=4", "trainer.log_rollouts_every=0", "evaluation.every=0",
    "evaluation.problems=2", "evaluation.k=1", "optimizer.learning_rate=0.01", "optimizer.warmup_optimizer_steps=0",
    "entropy_coefficient=0.1",
]  # fmt: skip
"""Two rollout steps on the random model, whose rows have MAX_LENGTH tokens. It is never right; the entropy bonus moves the weights."""


def sent(engine, version):
    """Give the engine the random model of this seed, as its weights of this version; returns the model."""
    model = random_model(tied=True, seed=version)
    engine.update_weights(model.state_dict().items(), version)
    return model


def drain(stream):
    while stream.next_finished():
        pass


@pytest.fixture(scope="module", autouse=True)
def api_key():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLTOOLKIT_SERVER_KEY", KEY)
        yield


@pytest.fixture(scope="module")
def servers(checkpoint, tmp_path_factory):
    """Two, which start at the same time."""
    pytest.importorskip("vllm")
    folder = tmp_path_factory.mktemp("served")
    servers = [Served([*RUN, f"model.name_or_path={checkpoint(True)}"], folder) for _ in range(2)]
    for server in servers:
        server.wait_until_ready()
    yield servers
    for server in servers:
        server.close()


@pytest.fixture(scope="module")
def served(servers):
    return servers[0]


@pytest.fixture
def relay(servers):
    relay = Relay(servers[1].port)
    yield relay
    relay.close()


@pytest.fixture
def connect(served, checkpoint):
    """``connect(urls, **settings) -> engine``; closed at the end."""
    engines = []

    def connect(urls, *, model_path=None, max_length=MAX_LENGTH, transfer=None, **settings):
        spec = VLLMServer(urls=tuple(urls), **{"timeout": 30.0, **settings})
        engine = spec(
            model_path=model_path or checkpoint(True), max_length=max_length, seed=0, weight_transfer=transfer or SharedFile()
        )
        engines.append(engine)
        return engine

    yield connect
    for engine in engines:
        engine.close()


@pytest.fixture
def engine(served, connect):
    """What the tests of every engine run on."""
    return connect([served.url])


def control(served, path, **content):
    return httpx2.post(f"{served.url}{path}", json=content, timeout=30).raise_for_status()


def label(served):
    return httpx2.get(f"{served.url}/weight_info", timeout=30).json()["weight_version"]


def test_the_same_seeds_give_the_same_responses_as_in_process(engine, vllm_engine):
    sent(engine, 1), sent(vllm_engine, 1)
    there, here = (each.generate(PROMPTS, 8, SAMPLING, SEEDS) for each in (engine, vllm_engine))
    for name in ("input_ids", "response_mask", "truncated", "policy_version"):
        assert torch.equal(there[name], here[name]), name
    # the batches that the two compute together differ, so the last bits may
    torch.testing.assert_close(there["rollout_log_probs"], here["rollout_log_probs"], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def start(checkpoint, tmp_path_factory):
    """``start(*overrides) -> (process, folder)``: the run of this file, in a process of its own."""

    def start(*overrides):
        folder = tmp_path_factory.mktemp("run")
        words = [*RUN, f"model.name_or_path={checkpoint(True)}", *overrides, f"hydra.run.dir={folder}"]
        command = [sys.executable, "-m", "rltoolkit", *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True), folder

    return start


@pytest.fixture(scope="module")
def in_process(start):
    """The metrics of that run with the engine in its process."""
    process, folder = start("rollout_engine=vllm")
    finish(process)
    rows = table(folder)
    assert len(rows) == 4
    assert float(rows[-1]["policy_movement"]) > 0.01  # the second rollout step had other weights than the first
    return rows


def there(servers):
    return "rollout_engine=vllm_server", f"rollout_engine.urls=[{','.join(server.url for server in servers)}]"


def finish(process):
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert KEY not in said
    return said


def table(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def assert_same(rows, expected):
    for row, other in zip(rows, expected, strict=True):
        for column in other:
            if not column.startswith(("seconds", "tokens_per_second", "peak_memory")) and other[column]:
                assert float(row[column]) == pytest.approx(float(other[column]), rel=1e-3, abs=1e-4), column


def test_a_run_on_two_servers_equals_the_run_in_process(servers, start, in_process):
    process, folder = start(*there(servers), "weight_transfer=http")
    finish(process)
    assert_same(table(folder), in_process)
    assert not [file for file in folder.rglob("*") if file.is_file() and KEY.encode() in file.read_bytes()]


def test_servers_that_sample_ahead_give_what_an_engine_gives_that_takes_turns_with_training(servers, start):
    ahead = ("collector.max_lag=1", "importance_correction=tis", "trainer.max_steps=6")
    rows = []
    for engine in (there(servers), ["rollout_engine=vllm"]):
        process, folder = start(*engine, *ahead)
        finish(process)
        rows.append(table(folder))
    assert [row["kept_policy_age"] for row in rows[0]] == ["0", "0", "1", "1", "1", "1"]
    assert_same(*rows)


class SmallBuckets:
    """``weight_transfer=http``, a few thousand bytes at a time: the largest tensor has 64 x 128 values, 32 KiB."""

    timeout = 60.0

    def __call__(self):
        return HTTPSender(5000)

    def require_reach(self, urls): ...


@pytest.mark.parametrize("transfer", [SharedFile(), HTTP(), SmallBuckets()], ids=lambda transfer: type(transfer).__name__)
def test_every_server_is_given_the_weights_and_shows_them(served, relay, connect, transfer):
    engine = connect([served.url, relay.url], transfer=transfer)
    sequence, model = list(range(2, 30)), sent(engine, 3)
    scores = engine.log_probs_of_each(sequence)
    assert list(scores) == [served.url, relay.url]
    for each in scores.values():
        torch.testing.assert_close(each, reference_log_probs(model, sequence), atol=1e-4, rtol=0)
    assert label(served).endswith("/3")


def test_what_a_lost_server_was_sampling_is_sampled_elsewhere_and_it_is_used_again(served, relay, connect, caplog):
    engine = connect([relay.url, served.url], timeout=10.0, max_in_flight=2)  # looks at them every 2.5 seconds
    before = engine.generate(PROMPTS, 4, SAMPLING, SEEDS)
    groups = {}
    with caplog.at_level(logging.WARNING), engine.stream(4, SAMPLING) as stream:
        stream.submit(range(16), PROMPTS, SEEDS)
        add(groups, stream.next_finished())
        relay.cut()
        while finished := stream.next_finished():
            add(groups, finished)
    after = stack_groups(groups[key] for key in range(16))
    assert torch.equal(after["input_ids"], before["input_ids"])
    assert f"{relay.url} does not answer" in caplog.text
    assert "/0) is sampled elsewhere" in caplog.text

    sent(engine, 1)  # while it is away
    assert list(engine.log_probs_of_each([2, 3])) == [served.url]
    relay.mend()
    deadline = time.monotonic() + 60
    while len(engine.log_probs_of_each([2, 3])) < 2:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.2)
    assert f"{relay.url} is back and has the weights {label(served)}" in caplog.text
    assert label(served).endswith("/1")


def test_over_http_a_server_that_was_away_waits_for_the_next_weights(served, relay, connect, caplog):
    engine = connect([relay.url, served.url], timeout=4.0, transfer=HTTP())  # looks at them every second
    relay.cut()
    sent(engine, 1)
    assert f"{relay.url} does not answer" in caplog.text
    relay.mend()
    deadline = time.monotonic() + 60
    while f"{relay.url} is back and waits for the next weights" not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.2)
    assert list(engine.log_probs_of_each([2, 3])) == [served.url]
    sent(engine, 2)
    assert list(engine.log_probs_of_each([2, 3])) == [relay.url, served.url]


def test_without_a_server_the_run_ends(relay, connect):
    engine = connect([relay.url])
    with engine.stream(2, SAMPLING) as stream:
        stream.submit(range(16), PROMPTS, SEEDS)
        relay.cut()
        with pytest.raises(EngineDied, match=f"no server is left: {relay.url} does not answer"):
            drain(stream)
    relay.mend()  # so that the engine, when it is closed, can let the server go


def test_a_server_that_hangs_is_lost_after_the_timeout_and_back_when_it_goes_on(served, connect):
    engine = connect([served.url], timeout=5.0)
    with stopped(served.processes()), engine.stream(2, SAMPLING) as stream:
        stream.submit(range(4), PROMPTS[:4], SEEDS[:4])
        with pytest.raises(EngineDied, match=r"did not answer /weight_info within 5 seconds"):
            drain(stream)
    deadline = time.monotonic() + 60
    while True:
        try:
            engine.generate(PROMPTS, 2, SAMPLING, SEEDS)
            break
        except EngineDied:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_a_server_that_was_started_anew_is_given_the_weights_again(served, connect):
    engine = connect([served.url], timeout=10.0)
    sent(engine, 2)
    control(served, "/update_weight_version", new_version=UNLABELLED)  # what a new one says
    deadline = time.monotonic() + 60
    while not label(served).endswith("/2"):
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_weights_of_somebody_else_are_never_sampled_from_unnoticed(served, connect):
    engine = connect([served.url])
    control(served, "/update_weight_version", new_version="elsewhere:1:abc/1")
    with pytest.raises(StaleWeights, match=r"holds the weights elsewhere:1:abc/1, .* another trainer uses this server"):
        engine.generate(PROMPTS[:1], 2, SAMPLING, [0])


def test_a_sync_to_a_server_that_somebody_else_has_taken_is_refused(served, connect):
    engine = connect([served.url])
    control(served, "/update_weight_version", new_version="elsewhere:1:abc/1")
    with pytest.raises(StaleWeights, match="another trainer uses this server"):
        sent(engine, 1)
    assert label(served) == "elsewhere:1:abc/1"


def test_a_second_trainer_is_refused_while_the_first_runs(served, connect):
    first = connect([served.url])
    with pytest.raises(ConfigError, match=f"{served.url}: it serves another trainer that is running"):
        connect([served.url])
    first.close()
    connect([served.url])


def test_a_server_that_a_killed_trainer_has_left_in_a_sync_is_used(served, connect):
    control(served, "/update_weight_version", new_version=f"elsewhere:1:abc/{INCOMPLETE}")
    httpx2.post(f"{served.url}/pause?mode=abort", timeout=30)
    engine = connect([served.url])
    assert (engine.generate(PROMPTS, 2, SAMPLING, SEEDS)["policy_version"] == 0).all()


class Halving(SharedFile):
    """A transfer whose file loses its second half before a server reads it, after the first time."""

    def __call__(self):
        sender, staged = super().__call__(), []

        def calls(weights):
            (call,) = send(weights)
            staged.append(call)
            if len(staged) > 1:
                (file,) = sender._file.path.iterdir()
                os.truncate(file, file.stat().st_size // 2)
            yield call

        send, sender.calls = sender.calls, calls
        return sender


class Dropping(HTTP):
    """A transfer that leaves out its first bucket, the embeddings, after the first time."""

    def __call__(self):
        sender, sent = HTTPSender(5000), []

        def calls(weights):
            sent.append(None)
            yield from (call for row, call in enumerate(send(weights)) if len(sent) == 1 or row != 2)

        send, sender.calls = sender.calls, calls
        return sender


@pytest.mark.parametrize(
    ("transfer", "message"),
    [
        (Halving(), r"/collective_rpc: .*Does the server see /dev/shm"),
        (Dropping(), "/finish_weight_update: .* parameters were not sent"),
    ],
)
def test_half_a_transfer_is_an_error_and_leaves_no_version(served, connect, transfer, message):
    engine = connect([served.url], transfer=transfer)
    with pytest.raises(RunFailed, match=f"{served.url} did not take the weights: {message}"):
        sent(engine, 1)
    assert label(served).endswith(f"/{INCOMPLETE}")
    with pytest.raises(EngineDied, match="has not got all of its weights"):
        engine.generate(PROMPTS[:1], 2, SAMPLING, [0])
    assert engine.version == 0
    engine.close()
    assert label(served) == INCOMPLETE
    assert_right_after_anything(connect([served.url]))


@pytest.mark.parametrize("transfer", [SharedFile(), SmallBuckets()], ids=lambda transfer: type(transfer).__name__)
def test_a_trainer_that_ends_in_the_middle_of_a_sync_leaves_nothing_behind(served, connect, transfer):
    engine = connect([served.url], transfer=transfer)

    def some():
        yield from list(random_model(tied=True, seed=1).state_dict().items())[:20]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.update_weights(some(), 1)
    engine.close()
    assert label(served) == INCOMPLETE
    assert_right_after_anything(connect([served.url], transfer=transfer))


def assert_right_after_anything(engine):
    """Whatever a server went through before: it holds the checkpoint's weights, and then those that it is given."""
    sequence = list(range(2, 30))
    for version in range(2):
        model = sent(engine, version) if version else random_model(tied=True, seed=0)
        torch.testing.assert_close(engine.log_probs([sequence])[0], reference_log_probs(model, sequence), atol=1e-4, rtol=0)


def test_a_full_disk_is_named(served, connect, tmp_path):
    engine = connect([served.url], transfer=SharedFile(folder=str(tmp_path)))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(RunFailed, match=r"weights could not be written to .*: .*Is the disk full\?"):
            sent(engine, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert label(served).endswith(f"/{INCOMPLETE}")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_length": 200}, "--max-model-len is 49, the run needs 201"),
        ({"dtype": "bfloat16"}, "--dtype is float32, the run needs bfloat16"),
    ],
)
def test_a_server_with_another_flag_is_refused(served, connect, settings, message):
    with pytest.raises(ConfigError, match=f"{served.url}: {message}. python -m rltoolkit.serve"):
        connect([served.url], **settings)


def test_a_server_in_float32_has_a_head_in_float32(served, connect):
    connect([served.url], head_dtype="float32")


def test_the_head_is_in_the_servers_command_line(tmp_path):
    spec = VLLMServer(dtype="bfloat16", head_dtype="float32")
    words = command(spec.model_arguments(tmp_path, 48, 0), "127.0.0.1", 8000)
    assert words[words.index("--hf-overrides") + 1] == '{"head_dtype": "float32"}'  # JSON, as vLLM reads it


def test_a_server_with_another_model_is_refused(served, connect, tmp_path):
    from transformers import Qwen2Config

    save_tokenizer(tmp_path)
    Qwen2Config(vocab_size=99).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=f"another model: its vocabulary has {VOCABULARY} tokens, the run's has 99"):
        connect([served.url], model_path=tmp_path)


def test_another_key_is_refused(served, connect, monkeypatch):
    monkeypatch.setenv("RLTOOLKIT_SERVER_KEY", "another")
    with pytest.raises(ConfigError, match="another API key than the one in RLTOOLKIT_SERVER_KEY"):
        connect([served.url])


FITS = {
    "/collective_rpc": (
        200,
        {
            "results": [
                {"vocabulary": VOCABULARY, "max-model-len": 49, "dtype": "float32", "logprobs-mode": "processed_logprobs"},
            ]
        },
    ),
    "/weight_info": (200, {"weight_version": UNLABELLED}),
}
HALF = {
    "results": [{**FITS["/collective_rpc"][1]["results"][0], "dtype": "bfloat16", "hf-overrides": {"head_dtype": "bfloat16"}}]
}
RAW = {"results": [{**FITS["/collective_rpc"][1]["results"][0], "logprobs-mode": "raw_logprobs"}]}
NO_EXTENSION = {"error": {"message": "'CPUWorker' object has no attribute 'settings'"}}


@pytest.mark.parametrize(
    ("answers", "settings", "message"),
    [
        ({}, {}, "VLLM_SERVER_DEV_MODE=1"),
        ({"/collective_rpc": (500, NO_EXTENSION)}, {}, "--worker-extension-cls"),
        ({**FITS, "/collective_rpc": (200, RAW)}, {}, "--logprobs-mode is raw_logprobs, the run needs processed_logprobs"),
        (
            {**FITS, "/collective_rpc": (200, HALF)},
            {"head_dtype": "float32"},
            "--hf-overrides is {'head_dtype': 'bfloat16'}, the run needs {'head_dtype': 'float32'}",
        ),
        ({**FITS, "/inference/v1/generate": (403, {})}, {}, "--enable-scale-out"),
    ],
)
def test_a_missing_flag_is_named(served, connect, answers, settings, message):
    """What vLLM answers without the flag, from a server that knows these answers only: a real one would take 25 seconds for each."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            status, content = answers.get(self.path, (404, {"detail": "Not Found"}))
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        do_POST = do_GET

        def log_message(self, *_): ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(ConfigError, match=message):
            connect([f"http://127.0.0.1:{server.server_port}"], **settings)
    finally:
        server.shutdown()


def test_no_server_at_all_says_how_to_start_one(served, connect, relay):
    relay.cut()
    with pytest.raises(ConfigError, match=r"does not answer .*python -m rltoolkit\.serve starts a server"):
        connect([relay.url])


@pytest.mark.parametrize(
    ("urls", "message"),
    [
        ([], "one or more different addresses"),
        (["http://a:1", "http://a:1"], "one or more different addresses"),
        (["localhost:8000"], "must be an address such as http://127.0.0.1:8000"),
        (["http://me:secret@a:1"], "^rollout_engine.urls: a key does not belong into an address; set RLTOOLKIT_SERVER_KEY$"),
    ],
)
def test_addresses_that_cannot_be_are_refused(urls, message):
    with pytest.raises(ValueError, match=message):
        VLLMServer(urls=tuple(urls))


def test_two_ranks_on_two_servers_of_which_one_is_killed_equal_the_run_in_process(servers, start, in_process):
    """The last test but one: it ends the second server."""
    process, folder = start(*there(servers), "trainer.devices=2")
    deadline = time.monotonic() + 300
    while not (folder / "metrics.csv").exists() or not table(folder):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    servers[1].kill()
    assert f"{servers[1].url} does not answer" in finish(process).replace("\n", " ")
    assert_same(table(folder), in_process)


def test_a_killed_engine_takes_its_server_along_and_serve_says_so(served, connect):
    """The last test: it ends the server."""
    engine = connect([served.url])
    with engine.stream(2, SAMPLING) as stream:
        stream.submit(range(16), PROMPTS, SEEDS)
        for process in served.processes():
            process.kill()
        with pytest.raises(EngineDied, match=f"no server is left: {served.url} does not answer"):
            drain(stream)
    assert served.process.wait(60) == 1
    assert "ended by itself" in served.log.read_text()

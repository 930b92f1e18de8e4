"""A run that cannot fit is refused by name, with overrides that were tried out."""

import sys

import pytest

import rltoolkit
from rltoolkit.errors import ConfigError
from rltoolkit.plan import Machine, make_plan, require_fit
from rltoolkit.plan.__main__ import main
from rltoolkit.plan.fit import GIB, remedies

H100 = Machine(gpu=80 * GIB, host=None)


def plan(*overrides: str, gpu: float | None = 80) -> str | None:
    """What does not fit."""
    found = make_plan(rltoolkit.load(*overrides), Machine(gpu=gpu and gpu * GIB, host=32 * GIB if gpu is None else None))
    return found.first_missing and found.first_missing.what


def test_presets():
    assert plan("+experiment=dapo", gpu=None) is None
    assert plan("preset=smollm2", gpu=None) is None
    assert plan("preset=single_gpu") is None
    assert plan("preset=single_gpu", gpu=24) == "an update of the trainer"
    assert plan("preset=one_node", "+experiment=dapo") is None
    # 61 GiB of weights in half of 80
    assert plan("preset=paper", "+experiment=dapo") == "the engine's weights and one response"
    assert plan("preset=paper", "+experiment=dapo", "rollout_engine.gpu_memory_utilization=0.9") is None
    assert plan("preset=paper", "+experiment=dapo", "trainer.recompute=none") == "an update of the trainer"
    # its reference of 61 GiB is shared out as well: half a GiB for each of 128 ranks
    assert plan("preset=r1_zero", "+experiment=r1_zero") == "the engine's weights and one response"


def test_servers_have_gpus_of_their_own_and_share_main_memory_alone():
    paper = ("preset=paper", "+experiment=dapo", "rollout_engine=vllm_server")
    # 61 GiB of weights and 6 of keys and values of the longest response, in 0.9 of 80: beside the trainer they would not fit
    assert plan(*paper) is None
    assert plan(*paper, gpu=70) == "a server's weights and one response, on each of its GPUs"
    assert plan(*paper, "rollout_engine.tensor_parallel_size=2", gpu=70) is None
    # each server on this machine holds 1.5 GiB before it loads anything, and a GiB for keys and values
    tiny = ("+experiment=dapo", "rollout_engine=vllm_server", "weight_transfer=http")
    ours, theirs = (
        make_plan(rltoolkit.load(*tiny, f"rollout_engine.urls=[{urls}]"), H100).needs[1]
        for urls in ("http://127.0.0.1:1,http://localhost:2", "http://node-1:1")
    )
    assert (ours.needed - theirs.needed) / GIB == pytest.approx(2 * 2.5, abs=0.01)


@pytest.mark.parametrize(
    ("overrides", "machine"),
    [
        (["preset=single_gpu"], Machine(gpu=24 * GIB, host=None)),
        (["preset=single_gpu", "model.name_or_path=Qwen/Qwen2.5-7B"], H100),
        (["preset=paper", "+experiment=dapo", "trainer.recompute=none"], H100),
    ],
)
def test_what_is_advised_fits_and_no_part_of_it_is_needless(overrides, machine):
    def fits(extra: list[str]) -> bool:
        return make_plan(rltoolkit.load(*overrides, *extra), machine).first_missing is None

    advised = remedies(overrides, machine)
    assert advised
    assert fits(advised)
    assert not any(fits([other for other in advised if other != each]) for each in advised)


def test_nothing_is_advised_where_nothing_helps():
    assert remedies(["preset=paper"], Machine(gpu=8 * GIB, host=None)) is None


def test_a_run_that_cannot_fit_is_refused_before_anything_is_loaded(monkeypatch, tmp_path):
    # 10 million tokens x 16.4 KB of activations a token (3 layers x 5,376 and what comes on top) are 160 GiB
    run = rltoolkit.load("+experiment=dapo", "trainer.micro_batch_tokens=10000000", "trainer.accelerator=cpu")
    with pytest.raises(ConfigError, match=r"all processes of a node need about 1\d\d.*fit: trainer\.micro_batch_tokens=\d+"):
        rltoolkit.train(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    require_fit(rltoolkit.load("trainer.micro_batch_tokens=10000000", "trainer.memory_check=false", "trainer.accelerator=cpu"))


def test_gpus_that_are_not_there():
    with pytest.raises(ConfigError, match=r"trainer\.devices=8: found \d GPUs here"):
        require_fit(rltoolkit.load("preset=paper"))


def test_the_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    rates = ["--sampling-rate", "2000", "--training-rate", "1000", "--mean-response", "5000", "--gpu-gib", "80"]
    monkeypatch.setattr(sys, "argv", ["plan", "preset=paper", "+experiment=dapo", "trainer.recompute=none", *rates])
    with pytest.raises(SystemExit) as ended:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 1
    # 8,192 responses of 5,000 tokens = 40,960,000, a 128th on each rank = 320,000: 160 s to sample, 320 s to train
    for words in ("40,960,000", "320,000", "160 s", "320 s", "Does not fit: an update of the trainer", "trainer.recompute=layer"):
        assert words in said
    # 625 rollout steps x 480 s = 83.3 h
    assert "83.3 h" in said


def test_a_run_whose_memory_nobody_knows_is_not_refused():
    class Engine:
        """Of a user's own: it says nothing of its memory."""

    run = rltoolkit.load("trainer.accelerator=cpu").replace(rollout_engine=Engine())
    with pytest.raises(ConfigError, match="does not say how much memory it takes"):
        make_plan(run, H100)
    require_fit(run)

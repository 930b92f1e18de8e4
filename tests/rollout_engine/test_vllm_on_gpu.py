"""What vLLM does on a GPU that it shares with a trainer: lend its memory, and take weights without a way through main memory."""

from __future__ import annotations

import pytest
import torch

from rltoolkit.rollout_engine import VLLM, Sampling

from .conftest import MAX_LENGTH, random_model, reference_log_probs

pytestmark = pytest.mark.gpu

SEQUENCE = list(range(2, 40))
ASKED = ([[2, 3, 4]] * 8, 4, Sampling(max_new_tokens=16), list(range(8)))


@pytest.fixture(scope="module", params=[False, True], ids=["in_process", "subprocess"])
def engine(request, checkpoint):
    pytest.importorskip("vllm")
    start = VLLM(gpu_memory_utilization=0.3, enforce_eager=True, dtype="bfloat16", subprocess=request.param)
    engine = start(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)
    yield engine
    engine.close()


def assert_holds(engine, model):
    """The engine scores a sequence as the model does in bfloat16; other random weights differ by more than 1 on average."""
    (scores,) = engine.log_probs([SEQUENCE])
    assert (scores - reference_log_probs(model.float().cpu(), SEQUENCE)).abs().mean() < 0.2


def test_a_sleeping_engine_lends_its_memory_and_wakes_up_as_it_was(engine):
    before = engine.generate(*ASKED)
    awake, whole = torch.cuda.mem_get_info()
    engine.sleep()
    engine.sleep()
    asleep, _ = torch.cuda.mem_get_info()
    assert asleep - awake > 0.2 * whole  # of the 30 % that it takes; the rest is what CUDA itself needs
    assert torch.equal(engine.generate(*ASKED)["input_ids"], before["input_ids"])


def test_a_sleeping_engine_takes_weights(engine):
    for version in (1, 2, 3):
        model = random_model(tied=True, seed=version).cuda()
        engine.sleep()
        engine.update_weights(model.state_dict().items(), version)
        assert_holds(engine, model)
    assert (engine.generate(*ASKED)["policy_version"] == 3).all()


@pytest.mark.parametrize("engine", [True], ids=["subprocess"], indirect=True, scope="module")
def test_weights_on_the_gpu_reach_another_process_without_a_file(engine):
    model = random_model(tied=True, seed=1).cuda()
    engine.update_weights(model.state_dict().items(), version=1)
    assert engine.engine._file.path.stat().st_size == 0
    assert_holds(engine, model)
    # from main memory they have to take the other way, as after a restart
    other = random_model(tied=True, seed=2)
    engine.update_weights(other.state_dict().items(), version=2)
    assert engine.engine._file.path.stat().st_size > 0
    assert_holds(engine, other)

"""The weights that were trained reach the engine, or the run says so."""

import pytest
import torch
from tensordict import TensorDict

from rltoolkit.policy.loading import load_policy
from rltoolkit.rollout_engine import StaleWeights, Transformers
from rltoolkit.rollout_engine._parity import parity_gap
from rltoolkit.training.policy_module import PolicyModule
from rltoolkit.training.weight_sync import PROBE_TOKENS, WeightSync, probe_log_probs

TOKENS = [5, 9, 2, 7, 3, 11, 4, 6]
FLOAT32, BFLOAT16 = 1e-3, 0.2
"""the tolerances of the two precisions (``TrainerConfig.largest_sync_gap``)"""


@pytest.fixture
def module(tiny_run) -> PolicyModule:
    run = tiny_run()
    return PolicyModule(
        policy=load_policy(run.components.model(0), "sdpa"), objective=run.objective, optimizer=run.config.optimizer,
        warmup_optimizer_steps=0, temperature=1.0, micro_batch_tokens=1000,
    )  # fmt: skip


@pytest.fixture
def engine(tiny_run):
    return Transformers(device="cpu")(model_path=tiny_run().components.model(0), max_length=64, seed=0)


class Deaf:
    """An engine that answers from the weights it started with, whatever it is sent."""

    def __init__(self, engine):
        self.log_probs = engine.log_probs

    def update_weights(self, weights, version):
        for _ in weights:
            pass


def rollouts(tokens=TOKENS) -> TensorDict:
    """One group of one response, whose first two tokens are the prompt."""
    mask = (torch.arange(len(tokens)) >= 2).view(1, 1, -1)
    return TensorDict({"input_ids": torch.tensor(tokens).view(1, 1, -1), "response_mask": mask}, batch_size=[1, 1])


@torch.no_grad()
def train(module: PolicyModule, nats: float) -> None:
    """Change the weights until the probe's log-probs have moved by ``nats`` on average, or hardly more."""
    before, moved = probe_log_probs(module, [TOKENS]), 0.0
    draws = torch.Generator().manual_seed(0)
    directions = [torch.randn(weight.shape, generator=draws) for weight in module.policy.parameters()]
    while moved < nats:
        for weight, direction in zip(module.policy.parameters(), directions, strict=True):
            weight += 0.02 * nats * direction
        moved = parity_gap(probe_log_probs(module, [TOKENS]), before).mean
    assert moved < 1.2 * nats


def send(sync: WeightSync, engine, module, version: int) -> None:
    sync.send(engine, module, version=version, optimizer_step=2 * version)


def test_what_was_trained_is_what_the_engine_holds(engine, module):
    sync = WeightSync(FLOAT32)
    sync.remember_probe(rollouts())
    for version in (1, 2):
        train(module, 0.01)
        send(sync, engine, module, version)
    assert (engine.version, sync.sent_at) == (2, 4)
    assert sync.metrics["sync_gap"] <= sync.metrics["sync_gap_max"] < 1e-4
    assert sync.metrics["policy_movement"] == pytest.approx(0.01, rel=0.2)  # since the first of the two
    assert sync.metrics["seconds_sync"] > 0
    assert sync.metrics["seconds_parity"] > 0
    sync.forget()
    assert sync.metrics == {}


def test_the_same_tokens_are_scored_alike_on_both_sides(engine, module):
    sequences = [TOKENS, TOKENS[:3]]
    assert parity_gap(engine.log_probs(sequences), probe_log_probs(module, sequences)).largest < 1e-5


def test_without_a_rollout_there_is_nothing_to_compare(engine, module):
    sync = WeightSync(FLOAT32)
    send(sync, engine, module, 1)
    assert set(sync.metrics) == {"seconds_sync"}


def test_an_engine_that_takes_no_weights_is_found_at_once_in_float32(engine, module):
    sync = WeightSync(FLOAT32)
    sync.remember_probe(rollouts())
    train(module, 0.01)
    with pytest.raises(StaleWeights, match=r"version 1 .* differ from the trainer's by 0\.01"):
        send(sync, Deaf(engine), module, 1)


def test_in_bfloat16_it_is_found_when_the_trainer_has_moved_and_the_engine_has_not(engine, module):
    # the gap, here 0.015, is far below the tolerance that bfloat16's rounding needs, and stays so for hundreds of steps
    sync = WeightSync(BFLOAT16)
    sync.remember_probe(rollouts())
    train(module, 0.003)
    send(sync, Deaf(engine), module, 1)
    with pytest.raises(
        StaleWeights, match=r"version 2 the trainer's log-probs have moved by 0\.01\d* .* the rollout engine's by 0:"
    ):
        train(module, 0.012), send(sync, Deaf(engine), module, 2)


def test_a_movement_below_rounding_says_nothing(engine, module):
    sync = WeightSync(BFLOAT16)
    sync.remember_probe(rollouts())
    for version in (1, 2, 3):  # 0.003 + 0.003 since the first
        train(module, 0.003)
        send(sync, Deaf(engine), module, version)
    assert 0 < sync.metrics["policy_movement"] < 0.01


def test_a_probe_that_has_moved_far_is_replaced_by_one_of_the_newest_rollout_step(engine, module):
    sync = WeightSync(FLOAT32)
    sync.remember_probe(rollouts())
    send(sync, engine, module, 1)
    sync.remember_probe(rollouts([8, 8, 8, 8]))
    assert sync.state_dict()["probe"][0] == TOKENS  # the old one is not used up
    train(module, 0.12)
    send(sync, engine, module, 2)
    assert sync.metrics["policy_movement"] > 0.1
    send(sync, engine, module, 3)
    assert sync.state_dict()["probe"][0] == [8, 8, 8, 8]
    assert sync.metrics["policy_movement"] == 0  # measured anew


def test_a_probe_is_the_row_without_its_padding_and_not_longer_than_it_need_be():
    sync = WeightSync(FLOAT32)
    padded = rollouts([*TOKENS, 0, 0])
    padded["response_mask"][..., -2:] = False
    sync.remember_probe(padded)
    assert sync.state_dict()["candidate"] == TOKENS
    sync.remember_probe(rollouts([3] * 100))
    assert sync.state_dict()["candidate"] == [3] * PROBE_TOKENS


def test_a_continued_run_makes_the_same_checks(engine, module):
    sync, twin = WeightSync(BFLOAT16), WeightSync(BFLOAT16)
    sync.remember_probe(rollouts())
    train(module, 0.003)
    send(sync, Deaf(engine), module, 1)
    twin.load_state_dict(sync.state_dict())
    train(module, 0.012)
    for each in (sync, twin):
        with pytest.raises(StaleWeights, match="have moved by"):
            send(each, Deaf(engine), module, 2)


def test_a_continued_run_makes_no_probe_that_an_uninterrupted_one_does_not_have(module, engine):
    sync = WeightSync(FLOAT32)
    sync.remember_probe(rollouts())
    sync.send(engine, module, version=0, optimizer_step=0)
    train(module, 0.15)
    sync.send(engine, module, version=1, optimizer_step=1)  # moved by more than 0.1: the probe has served
    continued = WeightSync(FLOAT32)
    continued.load_state_dict(sync.state_dict())
    continued.send_again(engine, module, version=1, optimizer_step=1)
    assert continued.sent_at == 1
    # the next rollout step gives both their next probe
    assert continued.state_dict() == sync.state_dict() == {"candidate": TOKENS, "probe": None}

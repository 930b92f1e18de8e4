"""The formulas, on numbers small enough to add up by hand."""

import dataclasses

import pytest

import rltoolkit
from rltoolkit.plan.memory import engine_memory, trainer_memory
from rltoolkit.plan.shape import Shape, shape_of
from rltoolkit.policy.lora import LoRA
from rltoolkit.run.config import TrainerConfig

SHAPE = Shape(
    parameters=1000, trained=1000, layer=300, outside=400, largest=100, layers=2, hidden=8, heads=2, kv_heads=1, head_size=4,
    intermediate=10, vocabulary=50,
)  # fmt: skip


def trainer(**settings) -> TrainerConfig:
    return TrainerConfig(**{"max_steps": 1, "micro_batch_tokens": 100, **settings})


def test_one_rank_in_float32():
    found = trainer_memory(SHAPE, trainer(), needs_reference=False)
    assert (found.weights, found.gradients, found.optimizer) == (4000, 4000, 8000)
    assert (found.reference, found.gathered) == (0, 0)
    # a norm (4 + 2 x 4) x 8 = 96; attention 4 x 2 x (2 + 1) x 4 = 96; MLP 4 x 4 x 10 = 160; a layer 2 x 96 + 96 + 160 = 448
    # two layers, the last norm, gradients in an MLP: 2 x 448 + 96 + 3 x 4 x 10 = 1112 bytes a token
    assert found.activations == 100 * 1112
    # 100 tokens x 50 logits, twice in float32, and the gradient of 50 x 8 weights
    assert found.head == 100 * 50 * 8 + 4 * 50 * 8
    assert found.update == 4000 + 4000 + 8000 + 111200 + 41600
    assert found.resident == 16000


def test_layers_that_are_computed_again_keep_their_input():
    found = trainer_memory(SHAPE, trainer(recompute="layer"), needs_reference=False)
    # two inputs 2 x 4 x 8 = 64, one layer 448, and as above 96 + 120
    assert found.activations == 100 * (64 + 448 + 96 + 120)


def test_two_ranks_in_bfloat16_share_the_state_and_gather_layers():
    found = trainer_memory(SHAPE, trainer(devices=2, compute_dtype="bfloat16"), needs_reference=True)
    assert (found.weights, found.gradients, found.optimizer) == (2000, 2000, 4000)
    assert found.reference == 2 * 1000 / 2
    # 400 outside of layers and two layers of 300, in bfloat16; the gradient of the 400, in bfloat16 and in float32
    assert found.gathered == 2 * (400 + 2 * 300) + (2 + 4) * 400
    # a norm (4 + 4) x 8 = 64; attention 2 x 2 x 3 x 4 = 48; MLP 4 x 2 x 10 = 80; a layer 2 x 64 + 48 + 80 = 256
    assert found.activations == 100 * (2 * 256 + 64 + 3 * 2 * 10)
    assert found.head == 100 * 50 * (8 + 2) + 2 * 50 * 8


def test_one_rank_in_bfloat16_keeps_a_copy_of_all_weights():
    assert trainer_memory(SHAPE, trainer(compute_dtype="bfloat16"), needs_reference=False).gathered == 2000


def test_a_teacher_is_shared_out_as_the_reference_is():
    # 600 parameters in bfloat16 on two ranks; it stays while the engine samples
    found = trainer_memory(SHAPE, trainer(devices=2, compute_dtype="bfloat16"), needs_reference=False, teacher=600)
    assert found.teacher == 600
    assert found.resident == 2000 + 2000 + 4000 + 600


def test_keys_and_values():
    # 2 x 2 layers x 1 head x 4 x 2 bytes = 32 a token; 30 tokens: 960; 10,000 bytes hold 10 such responses
    found = engine_memory(SHAPE, dtype_bytes=2, kv_cache=10_000, longest=30, max_num_seqs=64)
    assert (found.weights, found.response, found.at_once) == (2000, 960, 10)


def test_parameters_are_counted_without_the_weights():
    """Qwen2.5-7B has 7.62 billion, 6.53 of them outside the embeddings (arXiv:2412.15115 rounds to 7.6 and 6.5)."""
    run = rltoolkit.load("preset=single_gpu", "model.name_or_path=Qwen/Qwen2.5-7B")
    shape = shape_of(run.components.model.architecture(), LoRA())
    assert round(shape.parameters / 1e9, 2) == 7.62
    assert round((shape.parameters - 2 * 152064 * 3584) / 1e9, 2) == 6.53
    assert shape.trained == shape.parameters


def test_adapters_are_what_trains():
    # q, k, v, o of 64 x 64 and gate, up, down of 64 x 176, rank 2, in each of 3 layers: 3 x 2 x (4 x 128 + 3 x 240)
    architecture = rltoolkit.load().components.model.architecture()
    assert shape_of(architecture, LoRA(rank=2)).trained == 3 * 2 * (4 * 128 + 3 * 240)


@pytest.mark.parametrize(("tokens", "recompute", "measured"), [(16384, "none", 30.4), (16384, "layer", 10.5)])
def test_what_was_measured_on_an_h100(tokens, recompute, measured):
    """GiB at the peak of an update of Qwen2.5-0.5B in bfloat16, packed: benchmarks/README.md, "On one H100"."""
    run = rltoolkit.load("preset=single_gpu")
    shape = shape_of(run.components.model.architecture(), LoRA())
    settings = dataclasses.replace(run.config.trainer, micro_batch_tokens=tokens, recompute=recompute)
    planned = trainer_memory(shape, settings, needs_reference=False).update / 2**30
    assert planned == pytest.approx(measured, rel=0.15)

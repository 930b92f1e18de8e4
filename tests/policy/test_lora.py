"""LoRA: what is trained, where training starts, and the weights that everyone else gets."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model, inject_adapter_in_model
from torch import nn

from rltoolkit import registry
from rltoolkit.errors import ConfigError
from rltoolkit.policy.lora import LoRA, add_adapters, merge_adapters, merged_weights
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.run import compose

LINEAR = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
INPUT_IDS = torch.tensor([[3, 7, 1, 9, 2, 11], [5, 5, 8, 0, 6, 4]])
MASK = torch.tensor([[False, False, True, True, True, True], [False, True, True, True, True, False]])


def causal_lm(tie: bool = True) -> nn.Module:
    """Two layers; Qwen2 has biases on q, k and v, which stay as they are."""
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = Qwen2Config(vocab_size=13, num_key_value_heads=1, initializer_range=0.3, tie_word_embeddings=tie, **sizes)
    return Qwen2ForCausalLM(config).eval()


def trained(model: nn.Module) -> nn.Module:
    """Give every B, which starts at zero, some value."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def with_adapters(lora: LoRA, tie: bool = True, seed: int = 0) -> nn.Module:
    model = causal_lm(tie)
    add_adapters(model, lora, seed)
    return model


def log_probs(model: nn.Module) -> torch.Tensor:
    return PolicyModel(model)(INPUT_IDS, MASK).log_probs


def test_merge_by_hand():
    model = nn.ModuleDict({"projection": nn.Linear(2, 2)})
    inject_adapter_in_model(LoraConfig(r=1, lora_alpha=3, target_modules=["projection"]), model)
    layer = model["projection"]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        layer.bias.copy_(torch.tensor([7.0, 8.0]))
        layer.lora_A["default"].weight.copy_(torch.tensor([[10.0, 20.0]]))
        layer.lora_B["default"].weight.copy_(torch.tensor([[1.0], [-1.0]]))
    # scale = alpha / rank = 3 / 1; B A = [[10, 20], [-10, -20]]; W + 3 B A = [[1 + 30, 2 + 60], [3 - 30, 4 - 60]]
    weights = dict(merged_weights(model))
    assert weights["projection.weight"].tolist() == [[31.0, 62.0], [-27.0, -56.0]]
    assert weights["projection.bias"].tolist() == [7.0, 8.0]
    assert set(weights) == {"projection.weight", "projection.bias"}
    merge_adapters(model)
    assert model["projection"].weight.tolist() == [[31.0, 62.0], [-27.0, -56.0]]


@pytest.mark.parametrize("tie", [True, False])
def test_merged_weights_are_those_of_peft_under_the_models_own_names(tie):
    model = causal_lm(tie)
    names = [name for name, _ in model.named_parameters()]
    theirs = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, target_modules=LINEAR))
    trained(theirs)
    ours = dict(PolicyModel(theirs.base_model.model).hf_weights())
    expected = dict(theirs.merge_and_unload().named_parameters())
    assert list(ours) == list(expected) == names
    for name in names:
        torch.testing.assert_close(ours[name], expected[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("tie", [True, False])
def test_a_model_without_adapters_computes_the_same_from_the_merged_weights(tie):
    model = trained(with_adapters(LoRA(rank=3), tie))
    plain = causal_lm(tie)
    assert not torch.allclose(log_probs(plain), log_probs(model), atol=1e-2)
    plain.load_state_dict(dict(merged_weights(model)), strict=False)
    torch.testing.assert_close(log_probs(plain), log_probs(model), rtol=0, atol=1e-5)
    merged = copy.deepcopy(model)
    merge_adapters(merged)
    assert list(merged.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(log_probs(merged), log_probs(plain), rtol=0, atol=1e-5)


def test_training_starts_at_the_base_policy_exactly():
    assert torch.equal(log_probs(with_adapters(LoRA(rank=4))), log_probs(causal_lm()))


def test_only_adapters_get_gradients():
    model = trained(with_adapters(LoRA(rank=2)))
    log_probs(model).sum().backward()
    for name, parameter in model.named_parameters():
        adapts = ".lora_A." in name or ".lora_B." in name
        assert parameter.requires_grad == adapts
        assert (parameter.grad is not None and bool(parameter.grad.any())) == adapts, name


def test_every_linear_layer_of_the_decoder_or_those_asked_for():
    # widths of a layer (in + out): q 16 + 16, k and v 16 + 8 each, o 16 + 16, gate and up 16 + 32 each, down 32 + 16: 256 for
    # each rank; the head, not in a decoder layer, has none
    for lora, count in ((LoRA(rank=2), 2 * 2 * 256), (LoRA(rank=1, target_modules=("q_proj", "v_proj")), 2 * (32 + 24))):
        model = with_adapters(lora, tie=False)
        assert sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad) == count


def test_rank_0_changes_nothing():
    model = with_adapters(LoRA(rank=0))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert list(model.state_dict()) == list(causal_lm().state_dict())


def test_the_seed_decides_a_and_leaves_other_random_numbers_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    first, same, other = (dict(with_adapters(LoRA(rank=2), seed=seed).named_parameters()) for seed in (1, 1, 2))
    name = "model.layers.1.mlp.up_proj.lora_A.default.weight"
    assert torch.equal(first[name], same[name])
    assert not torch.equal(first[name], other[name])
    model = causal_lm()
    torch.manual_seed(5)
    add_adapters(model, LoRA(rank=2), seed=1)
    assert torch.equal(torch.rand(1), expected)


def test_values_that_cannot_be():
    with pytest.raises(ValueError, match=r"^lora\.rank=-1: must be at least 0"):
        LoRA(rank=-1)
    with pytest.raises(ValueError, match=r"^lora\.alpha=0: must be at least 1"):
        LoRA(rank=1, alpha=0)
    with pytest.raises(ValueError, match=r"^lora\.target_modules=\['q_proj', 'lm_head'\]: must be among down_proj, .*, v_proj"):
        with_adapters(LoRA(rank=1, target_modules=["q_proj", "lm_head"]), tie=False)


def test_a_model_without_linear_layers_is_refused():
    """GPT-2 keeps its weights in Conv1D layers."""
    from transformers import GPT2Config, GPT2LMHeadModel

    model = GPT2LMHeadModel(GPT2Config(vocab_size=12, n_embd=16, n_layer=1, n_head=2))
    with pytest.raises(ValueError, match=r"lora\.rank=2: the decoder layers of GPT2LMHeadModel have no linear layers"):
        add_adapters(model, LoRA(rank=2), seed=0)


@pytest.mark.parametrize("model", registry.names("model"))
def test_the_keys_are_the_same_for_every_model(model):
    run = compose.load(f"model={model}", "lora.rank=4", "lora.target_modules=[q_proj]")
    assert run.config.lora == LoRA(rank=4, alpha=32, target_modules=["q_proj"])
    with pytest.raises(ConfigError, match=r"lora\.rank=-1"):
        compose.load(f"model={model}", "lora.rank=-1")

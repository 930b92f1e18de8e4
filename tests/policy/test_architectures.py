"""Architectures: for each one, PolicyModel is right in the layout that it gets, or the model is refused by name."""

import logging

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from transformers import AutoModelForCausalLM

from rltoolkit.checkpoint_format import from_checkpoint
from rltoolkit.policy.backbone import decoder_layers
from rltoolkit.policy.layout import default_layout
from rltoolkit.policy.lora import LoRA, add_adapters
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.policy.verify import small_config, verified_layout

PLAIN = [
    "qwen2",
    "qwen3",
    "llama",
    "gemma",
    "olmo",
    "olmo2",
    "gpt_neox",
    "gpt2",
    "gpt_bigcode",
    "falcon",
    "opt",
    "phi",
    "stablelm",
    "glm",
    "glm4",
    "granite",
    "helium",
    "smollm3",
    "seed_oss",
    "ernie4_5",
    "apertus",
    "arcee",
    "bitnet",
    "diffllama",
    "persimmon",
    "qwen3_moe",
    "mixtral",
    "qwen2_moe",
    "olmoe",
    "phimoe",
    "flex_olmo",
    "glm4_moe",
    "ernie4_5_moe",
    "granitemoe",
    "jetmoe",
    "deepseek_v3",
    "minimax_m2",
]
WINDOWS = [
    "mistral",
    "mixtral",
    "phi3",
    "starcoder2",
    "gemma3_text",
    "olmo3",
    "exaone4",
    "cwm",
    "gpt_oss",
    "granite_swa",
    "afmoe",
    "doge",
    "gpt_neo",
    "qwen2",
    "qwen3_moe",
]
STATES = ["qwen3_next", "minimax", "lfm2", "falcon_h1", "nemotron_h", "jamba", "qwen3_5_text"]
FOUND_BY_TRYING = ["bloom", "mpt", "xglm", "gptj", "codegen"]
MOVED_POSITIONS = ["opt", "falcon"]
SMALL = {  # sizes that are this test's business, so that a hybrid's forward pass takes milliseconds
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 8},
    "nemotron_h": {"mamba_num_heads": 4, "mamba_head_dim": 8, "ssm_state_size": 8, "n_groups": 2, "chunk_size": 8},
    "qwen3_next": {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    "qwen3_5_text": {
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
    },
}


def tiny(model_type: str, **fields):
    """A random model of a few thousand parameters with weights that make every token depend on all that it sees."""
    config = small_config(transformers.AutoConfig.for_model(model_type).get_text_config())
    for name, value in {**SMALL.get(model_type, {}), **fields}.items():
        setattr(config, name, value)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    return model


def group_and_a_long_row() -> tuple[torch.Tensor, torch.Tensor]:
    """Three responses of 5, 3 and 1 tokens to a prompt of 8, and beside them a row of 4 + 9; other rows than the check's own."""
    generator = torch.Generator().manual_seed(3)
    input_ids, mask = torch.randint(64, (4, 13), generator=generator), torch.zeros(4, 13, dtype=torch.bool)
    input_ids[1:3, :8] = input_ids[0, :8]
    for row, (prompt, response) in enumerate([(8, 5), (8, 3), (8, 1), (4, 9)]):
        mask[row, prompt : prompt + response] = True
    return input_ids, mask


@torch.no_grad()
def gap(model, layout: str) -> float:
    input_ids, mask = group_and_a_long_row()
    ours = PolicyModel(model, layout=layout)(input_ids, mask).log_probs[mask]
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1]
    return (ours - logits.log_softmax(-1).gather(-1, input_ids[:, 1:, None]).squeeze(-1)[mask[:, 1:]]).abs().max().item()


@pytest.mark.parametrize("model_type", PLAIN)
def test_full_attention_shares_sequences_and_is_right(model_type):
    model = tiny(model_type)
    assert verified_layout(model) == "joint"
    assert gap(model, "joint") < 1e-5


@pytest.mark.parametrize(("heads", "key_value_heads"), [(1, 1), (2, 2), (3, 3), (2, 1), (6, 3), (16, 16)])
def test_the_small_copy_has_heads_that_fit_together(heads, key_value_heads):
    config = transformers.Qwen2Config(
        vocab_size=32, hidden_size=8 * heads, intermediate_size=16, num_hidden_layers=1, num_attention_heads=heads,
        num_key_value_heads=key_value_heads,
    )  # fmt: skip
    assert verified_layout(transformers.Qwen2ForCausalLM(config).eval()) == "joint"


@pytest.mark.parametrize("model_type", WINDOWS)
def test_windows_are_seen_whether_or_not_the_config_lists_its_layers(model_type):
    # Qwen uses its window from max_window_layers on, if at all; Mixtral and the rest have a window of 3 tokens in every layer.
    fields = {"sliding_window": 3} if model_type in ("mixtral", "phi3", "starcoder2") else {}
    if model_type.startswith("qwen"):
        fields = {"sliding_window": 3, "layer_types": ["full_attention", "sliding_attention"]}
    model = tiny(model_type, **fields)
    assert verified_layout(model) == "padded"
    assert gap(model, "padded") < 1e-5
    assert gap(model, "joint") > 0.01, "the window was not in play: this test would not see it overruled"


@pytest.mark.parametrize("model_type", STATES)
@pytest.mark.parametrize("attention", ["sdpa", "flash_attention_2"])
def test_a_state_that_goes_from_token_to_token_is_never_packed(model_type, attention):
    model = tiny(model_type)
    model.config._attn_implementation_internal = attention
    assert default_layout(model.config) == "padded"
    model.config._attn_implementation_internal = "sdpa"
    assert verified_layout(model) == "padded"
    assert gap(model, "padded") < 1e-5


@pytest.mark.parametrize("model_type", FOUND_BY_TRYING)
def test_what_the_config_does_not_tell_is_found_by_trying(model_type, caplog):
    """Position biases computed from a mask of another shape (Bloom, MPT, XGLM), masks added as numbers (GPT-J, CodeGen)."""
    model = tiny(model_type)
    assert default_layout(model.config) == "joint"
    with caplog.at_level(logging.WARNING):
        assert verified_layout(model) == "padded"
    assert f"{type(model).__name__}: the layout 'joint' cannot be used for this architecture" in caplog.text
    assert gap(model, "padded") < 1e-5


def test_falcon_with_a_position_bias_is_padded():
    model = tiny("falcon", alibi=True)
    assert verified_layout(model) == "padded"
    assert gap(model, "padded") < 1e-5


@pytest.mark.parametrize("model_type", MOVED_POSITIONS)
def test_packed_is_tried_before_flash_attention_uses_it(model_type, monkeypatch):
    """Both count positions from the attention mask or find no row boundaries: packed rows would see each other."""
    model = tiny(model_type)
    assert gap(model, "packed") > 0.1
    monkeypatch.setattr("rltoolkit.policy.verify.default_layout", lambda config: "packed")
    assert verified_layout(model) == "padded"


LOGITS = [
    ("recurrent_gemma", {}, "logits_soft_cap=30"),
    ("falcon_h1", {"lm_head_multiplier": 0.5}, "lm_head_multiplier=0.5"),
    ("cohere", {}, "logit_scale=0.0625"),
    ("granite", {"logits_scaling": 8.0}, "logits_scaling=8"),
    ("gemma2", {}, "final_logit_softcapping=30"),
    ("nanochat", {}, "final_logit_softcapping=15"),
    ("minicpm3", {}, "logits_scaling=0.125"),
]


@pytest.mark.parametrize(("model_type", "fields", "named"), LOGITS)
def test_logits_that_change_after_the_head_are_refused_by_name(model_type, fields, named):
    model = tiny(model_type, **fields)
    with pytest.raises(ValueError, match=named):
        verified_layout(model)
    with pytest.raises(ValueError, match=named):
        PolicyModel(model)


def test_a_change_of_the_logits_that_nobody_has_heard_of_is_measured():
    class Louder(transformers.Qwen2ForCausalLM):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            output.logits = 1.1 * output.logits
            return output

    with pytest.raises(ValueError, match=r"Louder \(model_type 'qwen2'\) is not supported: .*they differ by 0\.\d"):
        verified_layout(Louder(tiny("qwen2").config))


def test_a_model_whose_backbone_cannot_be_found_is_refused_by_name():
    with pytest.raises(ValueError, match=r"Llama4ForCausalLM \(model_type 'llama4_text'\) is not supported"):
        verified_layout(tiny("llama4_text"))


@pytest.mark.parametrize(("width", "heads", "key_value_heads"), [(16, 2, 1), (64, 2, 2), (36, 3, 1), (96, 6, 3), (8, 1, 1)])
def test_small_models_of_any_shape_get_the_fast_layout(width, heads, key_value_heads):
    sizes = {"hidden_size": width, "num_attention_heads": heads, "num_key_value_heads": key_value_heads}
    config = transformers.Qwen2Config(vocab_size=11, intermediate_size=20, num_hidden_layers=1, **sizes)
    assert verified_layout(transformers.Qwen2ForCausalLM(config)) == "joint"


def test_the_check_leaves_random_state_and_model_as_they_were():
    model = tiny("qwen2").train()
    before, weights = torch.get_rng_state(), [parameter.clone() for parameter in model.parameters()]
    verified_layout(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    "model_type", [*PLAIN, "gptj", "mistral", "phi3", "qwen3_next", "jamba", "minimax", "bloom", "gpt_oss", "lfm2"]
)
def test_weights_carry_the_names_that_saving_gives_them(model_type, tmp_path):
    model = tiny(model_type)
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    for source in (model, AutoModelForCausalLM.from_pretrained(tmp_path)):
        ours = list(PolicyModel(source, layout="padded").hf_weights())
        assert sorted(name for name, _ in ours) == sorted(saved)
        assert all(torch.equal(tensor, saved[name]) for name, tensor in ours)
        own = source.state_dict()
        back = dict(from_checkpoint(source, ours))
        assert all(torch.equal(own[name], tensor) for name, tensor in back.items())
        tied = set(own) - set(back)
        assert tied <= {"lm_head.weight"}


def test_experts_carry_their_names_under_fsdp2_and_beside_adapters(tmp_path, process_group):
    model = tiny("qwen3_moe")
    model.save_pretrained(tmp_path)
    saved = load_file(tmp_path / "model.safetensors")
    add_adapters(model, LoRA(rank=2), seed=0)  # B is 0: merged weights are those of before
    policy = PolicyModel(model)
    for module in (*policy.decoder_layers, policy):
        fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
    ours = dict(policy.hf_weights())
    assert ours.keys() == saved.keys()
    assert all(torch.equal(ours[name], tensor) for name, tensor in saved.items())


@pytest.mark.parametrize("model_type", ["qwen2", "gpt2", "gpt_bigcode", "falcon", "opt", "gpt_neox", "mpt"])
def test_decoder_layers_are_found_in_every_family(model_type):
    model = tiny(model_type)
    assert len(decoder_layers(model)) == model.config.num_hidden_layers

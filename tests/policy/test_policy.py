"""PolicyModel against the plain path: full logits, then log_softmax."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from rltoolkit.policy.backbone import recompute_layers
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.sampling_mask import SamplingMask

VOCABULARY = 23


def causal_lm(tie: bool = True, **config) -> nn.Module:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    model = Qwen2ForCausalLM(
        Qwen2Config(vocab_size=VOCABULARY, tie_word_embeddings=tie, initializer_range=0.5, **sizes, **config)
    )
    return model.eval()


def ragged_rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Three rows of 3 + 6, 2 + 3 and 4 + 1 tokens (prompt + response), padded to 9; the response tokens are asked for."""
    generator = torch.Generator().manual_seed(1)
    input_ids = torch.randint(VOCABULARY, (3, 9), generator=generator)
    mask = torch.zeros(3, 9, dtype=torch.bool)
    for row, (prompt, response) in enumerate([(3, 6), (2, 3), (4, 1)]):
        mask[row, prompt : prompt + response] = True
    return input_ids, mask


def plain(model: nn.Module, input_ids: torch.Tensor, mask: torch.Tensor, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    logits = model(input_ids=input_ids, use_cache=False).logits[:, :-1] / temperature
    distribution = torch.distributions.Categorical(logits=logits)
    log_probs = nn.functional.pad(distribution.log_prob(input_ids[:, 1:]), (1, 0))
    entropy = nn.functional.pad(distribution.entropy(), (1, 0))
    return log_probs * mask, entropy * mask


@pytest.mark.parametrize("sharded", [False, True])
def test_recomputed_layers_keep_less_and_have_the_same_gradients(sharded: bool, process_group: None) -> None:
    input_ids, mask = ragged_rows()
    gradients, kept = [], []
    for recompute in (False, True):
        policy = PolicyModel(causal_lm())
        if recompute:
            recompute_layers(policy.causal_lm)
        if sharded:
            for module in (*policy.decoder_layers, policy):
                fully_shard(module, mesh=init_device_mesh("cpu", (1,)))
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda it, sizes=sizes: sizes.append(it.numel()) or it, lambda it: it):
            log_probs = policy(input_ids, mask).log_probs
        log_probs.sum().backward()
        gradients.append([getattr(it.grad, "full_tensor", lambda it=it: it.grad)() for it in policy.parameters()])
        kept.append(sum(sizes))
    assert kept[1] < kept[0] / 2
    assert all(map(torch.equal, *gradients))


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("chunk_tokens", [1, 3, 2048])
def test_values_and_gradients_equal_the_full_logits_path(chunk_tokens: int, tie: bool) -> None:
    model = causal_lm(tie)
    input_ids, mask = ragged_rows()
    weights = torch.randn(mask.shape, generator=torch.Generator().manual_seed(2))

    gradients = []
    statistics = PolicyModel(model, chunk_logits=chunk_tokens * VOCABULARY)(input_ids, mask, 0.7)
    for log_probs, entropy in (statistics, plain(model, input_ids, mask, 0.7)):
        model.zero_grad()
        (weights * (log_probs + 0.5 * entropy)).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])

    log_probs, entropy = plain(model, input_ids, mask, 0.7)
    torch.testing.assert_close(statistics.log_probs, log_probs, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(statistics.entropy, entropy, rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


def test_off_the_mask_both_are_exactly_zero() -> None:
    input_ids, mask = ragged_rows()
    statistics = PolicyModel(causal_lm())(input_ids, mask, 1.0)
    assert (statistics.log_probs[~mask] == 0).all()
    assert (statistics.entropy[~mask] == 0).all()
    assert (statistics.log_probs[mask] < 0).all()


def test_an_empty_mask_gives_zeros_and_zero_gradients() -> None:
    input_ids, mask = ragged_rows()
    model = causal_lm()
    statistics = PolicyModel(model)(input_ids, torch.zeros_like(mask), 1.0)
    statistics.log_probs.sum().backward()
    assert (statistics.log_probs == 0).all()
    assert all((parameter.grad == 0).all() for parameter in model.parameters())


@pytest.mark.parametrize("padding", [0, 5])
def test_what_stands_in_the_padding_never_matters(padding: int) -> None:
    """Padding is told by the mask alone: the padding's id also occurs as a real token, as it does where pad = eos."""
    input_ids, mask = ragged_rows()
    input_ids[0, 4] = padding
    policy = PolicyModel(causal_lm())
    expected = policy(input_ids, mask, 1.0).log_probs
    for row, length in enumerate([9, 5, 5]):
        input_ids[row, length:] = padding
    torch.testing.assert_close(policy(input_ids, mask, 1.0).log_probs, expected, rtol=0, atol=1e-6)


def test_bfloat16_weights_are_normalised_in_float32() -> None:
    """The 23 probabilities of one position sum to 1 within float32's error; in bfloat16 they would miss by about 1e-2."""
    policy = PolicyModel(causal_lm().to(torch.bfloat16))
    context = torch.tensor([[3, 1, 4]]).expand(VOCABULARY, -1)
    input_ids = torch.cat([context, torch.arange(VOCABULARY)[:, None]], dim=1)
    mask = torch.zeros_like(input_ids, dtype=torch.bool)
    mask[:, 3] = True
    log_probs = policy(input_ids, mask, 1.0).log_probs[:, 3]
    assert log_probs.dtype == torch.float32
    torch.testing.assert_close(log_probs.exp().sum(), torch.tensor(1.0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("tie", [True, False])
def test_weights_carry_the_checkpoints_names_and_a_tied_head_appears_once(tie: bool) -> None:
    names = [name for name, _ in PolicyModel(causal_lm(tie)).hf_weights()]
    assert "model.embed_tokens.weight" in names
    assert ("lm_head.weight" in names) is not tie


def test_an_architecture_that_changes_its_logits_is_refused() -> None:
    with pytest.raises(ValueError, match="final_logit_softcapping=30"):
        PolicyModel(causal_lm(final_logit_softcapping=30.0))


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_are_the_same_under_fsdp2(process_group, masked) -> None:
    input_ids, mask = ragged_rows()
    # a set of the token itself and its neighbour for each token asked for
    sets = torch.stack([input_ids, (input_ids + 1) % VOCABULARY], dim=-1).flatten(1)
    sets = [row[mask_of_row.repeat_interleave(2)] for row, mask_of_row in zip(sets, mask, strict=True)]
    kept = SamplingMask(nn.utils.rnn.pad_sequence(sets, batch_first=True).int(), 2 * mask.int()) if masked else None
    one_rank = init_device_mesh("cpu", (1,))
    sharded, whole = PolicyModel(causal_lm(), chunk_logits=3 * VOCABULARY), PolicyModel(causal_lm(), chunk_logits=3 * VOCABULARY)
    for layer in sharded.decoder_layers:
        fully_shard(layer, mesh=one_rank)
    fully_shard(sharded, mesh=one_rank)
    for policy in (sharded, whole):
        policy(input_ids, mask, 0.7, kept).log_probs.sum().backward()
    for ours, plain_one in zip(sharded.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), plain_one.grad, rtol=1e-6, atol=1e-6)


def test_copied_weights_are_the_others_with_its_adapters_merged() -> None:
    from rltoolkit.policy.lora import LoRA, add_adapters

    adapted, copy = causal_lm(), PolicyModel(causal_lm())
    add_adapters(adapted, LoRA(rank=2), seed=0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # zero until it is trained
            nn.init.normal_(parameter)
    other = PolicyModel(adapted)
    input_ids, mask = ragged_rows()
    assert not torch.allclose(copy(input_ids, mask).log_probs, other(input_ids, mask).log_probs, atol=1e-3)
    copy.copy_weights(other)
    torch.testing.assert_close(copy(input_ids, mask).log_probs, other(input_ids, mask).log_probs)
    assert not any("lora_" in name for name in copy.state_dict())

"""PolicyLoss against torchrl's GRPOLoss where both define the same thing, by hand where they do not."""

import inspect
import math
import re
import subprocess
import sys
import textwrap

import pytest
import tensordict
import torch
from tensordict import TensorDict, lazy_stack
from tensordict.nn import TensorDictModule
from torch import nn
from torchrl.data import LazyStackStorage, ReplayBuffer, SamplerWithoutReplacement
from torchrl.modules.llm import TransformersWrapper
from torchrl.modules.llm.policies import Tokens
from torchrl.objectives.llm import GRPOLoss, MCAdvantage

import rltoolkit.torchrl
from rltoolkit.clip_strategy import ClipCov, ClipHigher, DualClip, NoClip, Symmetric
from rltoolkit.importance_correction import TIS
from rltoolkit.kl_penalty import K3
from rltoolkit.loss_aggregator import FixedLength, PromptTokenMean, SequenceMean, SequenceSum
from rltoolkit.model.tiny import character_tokenizer
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.torchrl import PolicyLoss

TOKENIZER = character_tokenizer()
QUERIES = ["1+2=", "1+2=", "31-45=", "31-45="]  # two prompts, two responses each


def causal_lm(seed=0):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(TOKENIZER),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        initializer_range=0.3,
        eos_token_id=TOKENIZER.eos_token_id,
        pad_token_id=TOKENIZER.pad_token_id,
        bos_token_id=None,
    )
    return Qwen2ForCausalLM(config).double().eval()


def wrapper(model, **options):
    return TransformersWrapper(model, tokenizer=TOKENIZER, input_mode="tokens", generate=False, **options)


def moved(model):
    """The model after some updates: every weight a little off."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
    return model


@pytest.fixture
def model():
    return causal_lm()


@pytest.fixture
def rollouts(model):
    """Four sampled responses of different lengths, as torchrl keeps them: a lazy stack of unpadded rows, scored by the model."""
    sampling = {"max_new_tokens": 5, "do_sample": True, "bad_words_ids": [[TOKENIZER.pad_token_id]]}
    sampler = TransformersWrapper(model, tokenizer=TOKENIZER, input_mode="tokens", generate_kwargs=sampling)
    prompts = [TensorDict(tokens=Tokens(prompt=torch.tensor(TOKENIZER(query).input_ids))) for query in QUERIES]
    torch.manual_seed(1)
    with torch.no_grad(), tensordict.set_list_to_stack(True):
        batch = sampler(lazy_stack(prompts))
        batch["log_probs"] = wrapper(model)(batch.copy())["log_probs"]
        batch["next", "ref_log_probs"] = wrapper(causal_lm(seed=2))(batch.copy())["log_probs"]
        batch["query"] = QUERIES
    batch["advantage"] = torch.tensor([1.0, -1.0, 0.5, -2.0], dtype=torch.float64).reshape(4, 1, 1)
    return batch


def lengths(rollouts, key):
    return torch.tensor([len(ids) for ids in rollouts.get(("tokens", key), as_list=True)])


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def total(output):
    return sum(value for name, value in output.items() if name.startswith("loss_"))


def padded(rollouts):
    """The same rows as dense tensors, padded on the left."""
    keys = [("tokens", "prompt"), ("tokens", "full"), ("log_probs", "full"), ("next", "ref_log_probs", "full")]
    keys += [("masks", "all_attention_mask"), ("masks", "all_assistant_mask"), "advantage"]
    rows = {key: rollouts.get(key, as_padded_tensor=True, padding_side="left", padding_value=0) for key in keys}
    return TensorDict(rows, batch_size=[4])


def with_assistant_masks(rollouts):
    """As in a conversation of many turns: the assistant said every second token."""
    for row in rollouts.unbind(0):
        row["masks", "all_assistant_mask"] = torch.arange(row["tokens", "full"].numel()) % 2 == 1
    return rollouts


@pytest.mark.parametrize(
    ("torchrls", "ours"),
    [
        ({"clip_epsilon": (0.2, 0.28)}, {"clip_strategy": ClipHigher(epsilon_low=0.2, epsilon_high=0.28)}),
        ({"clip_epsilon": 0.1}, {"clip_strategy": Symmetric(epsilon=0.1)}),
        ({"clip_epsilon": (0.2, 0.28), "aggregation": "prompt_mean"}, {"loss_aggregator": SequenceMean()}),
        ({"clip_epsilon": (0.2, 0.28), "masking_strategy": "generic"}, {"masking_strategy": "generic"}),
        ({"clip_epsilon": (0.2, 0.28), "masking_strategy": "rlhf"}, {"masking_strategy": "rlhf"}),
    ],
)
@pytest.mark.parametrize("layout", ["rows of different lengths", "padded", "packed"])
def test_equals_grpo_loss(model, rollouts, torchrls, ours, layout):
    batch = with_assistant_masks(rollouts)
    if layout == "padded":
        batch = padded(batch)
    actor = wrapper(moved(model), pad_output=layout == "padded", pad_model_input=layout != "packed")
    expected = GRPOLoss(actor, entropy_coeff=0.3, **torchrls)(batch)
    actual = PolicyLoss(actor, entropy_coefficient=0.3, **ours)(batch)
    for name in ("loss_objective", "loss_entropy", "ESS"):
        torch.testing.assert_close(getattr(actual, name), getattr(expected, name).squeeze(), msg=name)
    torch.testing.assert_close(gradients(model, total(actual)), gradients(model, total(expected)))
    assert actual.clip_fraction > 0


def test_kl_equals_grpo_loss_where_both_divide_by_the_same(model, rollouts):
    # GRPOLoss divides its KL by rows times the longest row's length, prompts and padding included
    actor = wrapper(moved(model))
    expected = GRPOLoss(actor, kl_to_ref_coeff=0.1)(rollouts).loss_kl_to_ref
    aggregator = FixedLength(max_length=int(lengths(rollouts, "full").max()))
    actual = PolicyLoss(actor, kl_penalty=K3(coefficient=0.1), loss_aggregator=aggregator)(rollouts).loss_kl_to_ref
    torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(gradients(model, actual), gradients(model, expected))


# --- by hand ---------------------------------------------------------------------------------------------------------------


class Table(nn.Module):
    """A policy without a network: log-probs and entropies of the tokens are its parameters."""

    def __init__(self, probabilities, entropy):
        super().__init__()
        self.log_probs = nn.Parameter(torch.tensor(probabilities, dtype=torch.float64).log())
        self.entropy = nn.Parameter(torch.tensor(entropy, dtype=torch.float64))

    def forward(self, tokens):
        return self.log_probs, self.entropy


def table(probabilities, entropy=None):
    entropy = torch.zeros(len(probabilities), len(probabilities[0])).tolist() if entropy is None else entropy
    return TensorDictModule(Table(probabilities, entropy), in_keys=["input_ids"], out_keys=["current_log_probs", "entropy"])


def log(*rows):
    """As torchrl's wrappers write log-probs, from probabilities."""
    return {"full": torch.tensor(rows, dtype=torch.float64).log()}


def step_of(rows=1, tokens=3, **entries):
    """A batch whose sampler gave every token probability 0.2; all tokens train, with advantage 1."""
    entries = {
        "input_ids": torch.zeros(rows, tokens, dtype=torch.int64),
        "advantage": torch.ones(rows, 1),
        "log_probs": log(*[[0.2] * tokens] * rows),
        "trained": torch.ones(rows, tokens, dtype=torch.bool),
        **entries,
    }
    return TensorDict(entries, batch_size=[rows])


def policy_loss(actor, **components):
    loss_fn = PolicyLoss(actor, **components)
    loss_fn.loss_mask_key = "trained"
    return loss_fn


@pytest.fixture
def step():
    """One row of three tokens, the last masked: ratios 2 and 0.5, rho 4 and 1, log-ratio to the reference 0 and log 2, A = 1."""
    return step_of(
        trained=torch.tensor([[True, True, False]]),
        log_probs=log([0.05, 0.4, 0.3]),
        old_log_probs=log([0.2, 0.4, torch.nan]),
        next={"ref_log_probs": log([0.4, 0.1, 0.0])},
    )


def test_every_term(step):
    # rho 4 truncated at 2, ratio 2 clipped at 1.28: 2 * -1.28; then -0.5: -3.06 | entropy 1 + 3 | k3: 0 and 1/2 + log 2 - 1
    # all over two tokens; one of them is clipped; kl_old (2 - 1 - log 2) + (0.5 - 1 + log 2); ESS 2.5^2 / (4 + 0.25) tokens
    actor = table([[0.4, 0.2, 0.1]], entropy=[[1.0, 3.0, torch.nan]])
    components = {"kl_penalty": K3(coefficient=0.1), "importance_correction": TIS(threshold=2.0), "entropy_coefficient": 0.01}
    output = policy_loss(actor, **components)(step)
    assert {name: value.item() for name, value in output.items()} == pytest.approx(
        {
            "loss_objective": -3.06 / 2,
            "loss_kl_to_ref": 0.1 * (math.log(2) - 0.5) / 2,
            "kl_to_ref": (math.log(2) - 0.5) / 2,
            "loss_entropy": -0.01 * 4 / 2,
            "entropy": 4 / 2,
            "clip_fraction": 1 / 2,
            "kl_approx": 0.5 / 2,
            "ESS": 6.25 / 4.25 / 2,
        }
    )
    total(output).backward()
    # the clipped token gets only the KL's 0.1 * (1 - 1) / 2; the other -0.5 / 2 and 0.1 * (1 - 1/2) / 2; the masked one nothing
    assert actor.module.log_probs.grad[0].tolist() == pytest.approx([0.0, -0.25 + 0.025, 0.0])


def test_the_sampler_s_log_probs_stand_in_for_old_ones(step):
    # ratios 0.4 / 0.05 = 8 and 0.2 / 0.4 = 0.5: -1.28 - 0.5
    assert policy_loss(table([[0.4, 0.2, 0.1]]))(step.exclude("old_log_probs")).loss_objective.item() == pytest.approx(-0.89)


def test_a_token_that_the_sampler_did_not_score_does_not_train():
    # torchrl's wrappers write nan where they only read. Two tokens are left: ratios 2 and 1, no clip: (-2 - 1) / 2
    batch = step_of(log_probs=log([torch.nan, 0.2, 0.2]))
    assert policy_loss(table([[0.1, 0.4, 0.2]]), clip_strategy=NoClip())(batch).loss_objective.item() == pytest.approx(-1.5)


def test_a_step_wide_strategy_takes_the_batch_for_the_step():
    # log p - mean = (1, 0), (-1, 0); A - mean = 1, -1: covariances (1, 0), (1, 0), of which half of four tokens is dropped.
    # By itself each row has A - mean = 0, so nothing would be. What is left has r = 1, loss and gradient -A, over 4 tokens.
    log_probs = torch.tensor([[-1.0, -2.0], [-3.0, -2.0]], dtype=torch.float64)
    actor = table(log_probs.exp().tolist())
    batch = step_of(2, 2, advantage=torch.tensor([1.0, -1.0]), log_probs={"full": log_probs})
    output = policy_loss(actor, clip_strategy=ClipCov(fraction=0.5))(batch)
    output.loss_objective.backward()
    assert output.clip_fraction == 0.5
    assert actor.module.log_probs.grad.tolist() == [[0.0, -0.25], [0.0, 0.25]]


@pytest.mark.parametrize(
    "group_index", [torch.tensor([4, 4, 7]), torch.tensor([[4], [4], [7]]), ["1+2=", "1+2=", "31-45="]], ids=str
)
def test_rows_of_a_prompt_are_known_by_number_or_by_text(group_index):
    # r = 1, so losses are -A. First prompt: (-1 - 1 - 1) / 3; second: +2 / 1; their mean: 0.5
    trained = torch.tensor([[True, True], [True, False], [False, True]])
    batch = step_of(3, 2, advantage=torch.tensor([1.0, 1.0, -2.0]), trained=trained)
    with tensordict.set_list_to_stack(True):
        batch["query"] = group_index
    loss_fn = policy_loss(table([[0.2, 0.2]] * 3), loss_aggregator=PromptTokenMean())
    loss_fn.set_keys(group_index="query")
    assert loss_fn(batch).loss_objective.item() == pytest.approx(0.5)


def test_a_mask_of_whole_rows():
    # the second row is filtered out: -A of the first, 2 tokens, over 1 row with tokens
    batch = step_of(2, 2, advantage=torch.tensor([1.0, 5.0]), trained=torch.tensor([True, False]))
    loss = policy_loss(table([[0.2, 0.2]] * 2), loss_aggregator=SequenceSum())(batch).loss_objective
    assert loss.item() == pytest.approx(-2.0)


def test_a_loss_mask_narrows_what_the_wrapper_masks_in(model, rollouts):
    # the weights are the sampler's, so r = 1 and losses are -A; left are the first prompt's two responses of A = 1 and A = -1
    rollouts["kept"] = torch.tensor([True, True, False, False])
    loss_fn = PolicyLoss(wrapper(model))
    loss_fn.loss_mask_key = "kept"
    first, second = (lengths(rollouts, "full") - lengths(rollouts, "prompt"))[:2].tolist()
    assert loss_fn(rollouts).loss_objective.item() == pytest.approx(-(first - second) / (first + second))


# --- keys ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 1, 1), (2, 3), (2, 3, 1)], ids=str)
def test_advantages_of_rows_or_tokens(shape):
    # r = 1: -(1 + 1 + 1 - 3 - 3 - 3) / 6
    advantage = torch.tensor([1.0, -3.0]).reshape(2, *[1] * (len(shape) - 1)).expand(shape)
    batch = step_of(2, 3, advantage=advantage)
    assert policy_loss(table([[0.2] * 3] * 2))(batch).loss_objective.item() == pytest.approx(1.0)


def test_advantages_of_tokens_are_padded_like_the_tokens(model, rollouts):
    actor = wrapper(moved(model))
    by_row = PolicyLoss(actor)(rollouts).loss_objective
    rows = rollouts.exclude("advantage").unbind(0)
    for row, whole in zip(rows, rollouts["advantage"], strict=True):
        row["advantage"] = whole.expand(row["tokens", "full"].numel(), 1)
    torch.testing.assert_close(PolicyLoss(actor)(lazy_stack(list(rows))).loss_objective, by_row)


def test_keys_can_be_renamed(model, rollouts):
    actor = wrapper(moved(model))
    rollouts["next", "log_probs"] = rollouts.pop("log_probs")
    rollouts["reference"] = rollouts.pop(("next", "ref_log_probs"))
    rollouts["scores"] = rollouts.pop("advantage")
    loss_fn = PolicyLoss(actor, kl_penalty=K3())
    renamed = {
        "sample_log_prob": ("next", "log_probs", "full"),
        "ref_log_probs": ("reference", "full"),
        "advantage": "scores",
    }
    loss_fn.set_keys(**renamed)
    assert set(loss_fn.in_keys) == {("tokens", "full"), *renamed.values()}
    assert loss_fn(rollouts).loss_kl_to_ref > 0
    with pytest.raises(ValueError, match="advantages is not an accepted tensordict key"):
        loss_fn.set_keys(advantages="scores")


@pytest.mark.parametrize("components", [{}, {"kl_penalty": K3()}], ids=str)
def test_out_keys_are_what_comes_out(model, rollouts, components):
    loss_fn = PolicyLoss(wrapper(model), **components)
    assert set(loss_fn.out_keys) == set(loss_fn(rollouts).keys())


@pytest.mark.parametrize(
    ("missing", "components", "message"),
    [
        (
            ("log_probs", "full"),
            {},
            r"sample_log_prob is missing, there is no \('log_probs', 'full'\); set_keys\(sample_log_prob=",
        ),
        ("advantage", {}, "advantage is missing, there is no 'advantage'"),
        ("old_log_probs", {"importance_correction": TIS()}, r"old_log_probs is missing, .* \('old_log_probs', 'full'\)"),
        ("next", {"kl_penalty": K3()}, "ref_log_probs is missing"),
        ("trained", {}, "no mask says which tokens train: loss_mask_key='trained' finds none in the batch"),
        (None, {"loss_aggregator": PromptTokenMean()}, "group_index is missing"),
    ],
)
def test_a_missing_key_is_named(step, missing, components, message):
    with pytest.raises(ValueError, match=message):
        policy_loss(table([[0.4, 0.2, 0.1]]), **components)(step.exclude(missing) if missing else step)


def test_missing_tokens_are_named(model, rollouts):
    loss_fn = PolicyLoss(wrapper(model))
    loss_fn.set_keys(action="chosen")
    with pytest.raises(ValueError, match="action is missing, there is no 'chosen'"):
        loss_fn(rollouts)


def test_entropy_bonus_needs_an_actor_that_knows_entropy(step):
    actor = TensorDictModule(lambda tokens: tokens + 0.0, in_keys=["input_ids"], out_keys=["current_log_probs"])
    with pytest.raises(ValueError, match=r"entropy_coefficient=0.1 needs entropy: the actor writes no 'entropy'"):
        policy_loss(actor, entropy_coefficient=0.1)(step)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_probs": {"full": torch.ones(1, 2)}}, r"has shape \[1, 2\], expected \[1, 3\], as the actor's log-probs have"),
        ({"advantage": torch.ones(1, 2)}, r"advantage 'advantage' has shape \[1, 2\], expected \[1, 1\] or \[1, 3\]"),
        ({"group_index": torch.ones(1, 2)}, r"group_index 'group_index' has shape \[1, 2\], expected \[1\]"),
    ],
)
def test_a_wrong_shape_is_named(step, change, message):
    with pytest.raises(ValueError, match=message):
        policy_loss(table([[0.4, 0.2, 0.1]]))(step.update(change))


def test_a_batch_has_one_dimension(step):
    with pytest.raises(ValueError, match=r"the batch has batch_size \[1, 1\], expected \[N\]"):
        policy_loss(table([[0.4, 0.2, 0.1]]))(step.unsqueeze(0))


def test_masking_strategies_are_torchrls(model):
    with pytest.raises(ValueError, match="masking_strategy='response': must be one of sft, rlhf, generic"):
        PolicyLoss(wrapper(model), masking_strategy="response")


# --- actors and loops ------------------------------------------------------------------------------------------------------


def test_policy_model_gives_the_same_loss_without_all_logits(model, rollouts):
    expected = PolicyLoss(wrapper(moved(model)), entropy_coefficient=0.1)(rollouts)

    def right_padded(key):
        return rollouts.get(key, as_padded_tensor=True, padding_side="right", padding_value=0)

    input_ids = right_padded(("tokens", "full"))
    position, starts, ends = torch.arange(input_ids.shape[1]), lengths(rollouts, "prompt"), lengths(rollouts, "full")
    response = (position >= starts[:, None]) & (position < ends[:, None])
    batch = TensorDict(
        {
            "input_ids": input_ids,
            "loss_mask": response,
            "rollout_log_probs": right_padded(("log_probs", "full")),
            "advantage": rollouts["advantage"].flatten(),
        },
        batch_size=[4],
    )
    actor = TensorDictModule(PolicyModel(model), in_keys=["input_ids", "loss_mask"], out_keys=["current_log_probs", "entropy"])
    loss_fn = PolicyLoss(actor, entropy_coefficient=0.1)
    loss_fn.set_keys(sample_log_prob="rollout_log_probs")
    loss_fn.loss_mask_key = "loss_mask"
    actual = loss_fn(batch)
    assert set(actual.keys()) == set(loss_fn.out_keys)
    # the norms of transformers are float32 in a float64 model too, and rows are padded on the other side
    close = {"rtol": 1e-5, "atol": 1e-6}
    torch.testing.assert_close(actual.to_tensordict(), expected.to_tensordict(), **close)
    torch.testing.assert_close(gradients(model, total(actual)), gradients(model, total(expected)), **close)


def test_a_second_wrapper_writes_the_old_log_probs(model, rollouts):
    # the trainer's weights are not the sampler's, but the update has not begun: r = 1, and the loss is the mean of -min(rho, 2) A
    actor = wrapper(moved(model))
    with torch.no_grad():
        rollouts["old_log_probs"] = wrapper(model, log_probs_key="old_log_probs")(rollouts.copy())["old_log_probs"]
    rows = zip(*(rollouts.get((key, "full"), as_list=True) for key in ("old_log_probs", "log_probs")), strict=True)
    starts, advantages = lengths(rollouts, "prompt"), rollouts["advantage"].flatten()
    losses = [
        -(old - sampled)[start:].exp().clamp(max=2.0) * advantage
        for (old, sampled), start, advantage in zip(rows, starts, advantages, strict=True)
    ]
    loss_fn = PolicyLoss(actor, importance_correction=TIS(threshold=2.0))
    assert loss_fn(rollouts).loss_objective.item() == pytest.approx(torch.cat(losses).mean().item())
    assert loss_fn.tensor_keys.old_log_probs in loss_fn.in_keys
    # without a correction they are what ratios are taken to, all the same
    assert PolicyLoss(actor)(rollouts).ESS.item() == pytest.approx(1.0)


def filled_buffer(rollouts):
    """torchrl's replay buffer: advantages are made when a prompt's group is complete, batches are drawn without replacement."""
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64).reshape(4, 1, 1)
    replay_buffer = ReplayBuffer(storage=LazyStackStorage(4), sampler=SamplerWithoutReplacement(), batch_size=2)
    replay_buffer.append_transform(MCAdvantage(grpo_size=2))
    for row, reward in zip(rollouts.exclude("advantage").unbind(0), rewards, strict=True):
        row["next"].update({"reward": reward, "done": torch.ones(1, dtype=torch.bool)})
        replay_buffer.extend(lazy_stack([row]))
    return replay_buffer


@pytest.mark.parametrize("coefficient", [0.0, 0.1])
def test_takes_the_place_of_grpo_loss_in_a_loop(rollouts, coefficient):
    def weights_after_two_steps(make_loss):
        actor = wrapper(causal_lm())
        loss_fn = make_loss(actor)
        optimizer = torch.optim.SGD(loss_fn.parameters(), lr=0.1)
        torch.manual_seed(3)
        steps = 0
        for batch in filled_buffer(rollouts.clone()):
            loss_fn(batch).mean(reduce=True).backward()
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
        assert steps == 2
        return actor.model.state_dict()

    torchrls = weights_after_two_steps(lambda actor: GRPOLoss(actor, clip_epsilon=(0.2, 0.28), entropy_coeff=coefficient))
    ours = weights_after_two_steps(lambda actor: PolicyLoss(actor, entropy_coefficient=coefficient))
    torch.testing.assert_close(ours, torchrls)
    assert any((ours[name] != weight).any() for name, weight in causal_lm().state_dict().items())


def test_the_docstring_s_loop_runs(model, rollouts):
    (code,) = re.findall(r"::\n\n(.*?)\n\n(?=\S)", inspect.getdoc(PolicyLoss), flags=re.DOTALL)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    names = {
        **vars(rltoolkit.torchrl),
        **{cls.__name__: cls for cls in (DualClip, PromptTokenMean, K3)},
        "actor": wrapper(model),
        "replay_buffer": filled_buffer(rollouts),
        "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-3),
    }
    exec(textwrap.dedent(code), names)
    assert names["loss"].loss_kl_to_ref.isfinite()
    assert any((weight != before[name]).any() for name, weight in model.state_dict().items())


def test_components_import_without_torchrl():
    probe = (
        "import sys; from rltoolkit.clip_strategy import ClipHigher; import rltoolkit.objective; print('torchrl' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "False"

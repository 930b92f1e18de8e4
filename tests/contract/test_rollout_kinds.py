"""What every component that acts on rollouts promises, plug-ins included."""

import copy
import io
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rltoolkit import registry
from rltoolkit.columns import METRICS, without_meaning
from rltoolkit.rollout_batch import KEYS, text_list, with_entries

FILTERS = registry.names("sampler_filter")
SHAPERS = registry.names("reward_shaper")
REWARDS = registry.names("reward_function")
SAMPLERS = registry.names("prompt_sampler")
LEARNING_SAMPLERS = [name for name in SAMPLERS if hasattr(registry.get("prompt_sampler", name), "observe")]

# So small that the lengths and repetitions of the rollouts below are beyond them.
SMALL = {
    "soft_overlong_punishment": {"max_length": 6, "cache_length": 4},
    "linear_length_penalty": {"max_length": 6},
    "repetition_penalty": {"ngram": 1},
    "pass_at_k": {"k": 2},
}
RIGHT = {  # (response, reference) that the rule must accept
    "countdown": ("1*2*3*4", json.dumps({"target": 24, "numbers": [1, 2, 3, 4]})),
    "equation_answer": ("40+2=42", "42"),
    "exact_match": ("42", "42"),
    "format_and_answer": ("<think>so</think><answer>42</answer>", "42"),
    "integer_answer": ("Answer: 42", "42"),
    "math_verify": (r"\boxed{42}", "42"),
}


def build(kind, name, **fields):
    return registry.build(kind, name, **SMALL.get(name, {}), **fields)


NAMES = registry.names("advantage_estimator")
EXCLUDING = [name for name in NAMES if "exclude_masked" in registry.get("advantage_estimator", name).__dataclass_fields__]
ESTIMATORS = [build("advantage_estimator", name) for name in NAMES]
ESTIMATORS_EXCLUDING = [build("advantage_estimator", name, exclude_masked=True) for name in EXCLUDING]


def title(estimator):
    """The registered name first, so that ``-k NAME`` finds a component's tests."""
    return estimator.name + ("-exclude_masked" if getattr(estimator, "exclude_masked", False) else "")


every_estimator = pytest.mark.parametrize("estimator", ESTIMATORS + ESTIMATORS_EXCLUDING, ids=title)
every_excluding_estimator = pytest.mark.parametrize("estimator", ESTIMATORS_EXCLUDING, ids=title)


def snapshot(rollouts):
    """Every entry, tensors as copies and texts as lists."""
    keys = list(rollouts.keys())
    return {key: rollouts[key].clone() if KEYS[key].dtype else text_list(rollouts, key) for key in keys}


def same(one, other):
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def assert_unchanged(rollouts, before):
    after = snapshot(rollouts)
    assert after.keys() == before.keys()
    assert [key for key in before if not same(before[key], after[key])] == []


def widened(rollouts):
    """Three more columns of padding."""
    per_token = [key for key in rollouts.keys() if KEYS[key].shape.endswith("T")]  # noqa: SIM118  (keys, not the batch)
    return with_entries(rollouts, **{key: torch.nn.functional.pad(rollouts[key], (0, 3)) for key in per_token})


PROMPT_ORDER = torch.tensor([2, 0, 1])
RESPONSE_ORDER = torch.tensor([3, 1, 0, 2])


@every_estimator
class TestAdvantageEstimator:
    def test_shape_dtype_and_input(self, estimator, mixed_rollouts):
        before = snapshot(mixed_rollouts)
        advantage = estimator(mixed_rollouts)
        assert advantage.shape[:2] == mixed_rollouts.batch_size
        assert advantage.dtype == torch.float32
        assert advantage.isfinite().all()
        assert_unchanged(mixed_rollouts, before)

    def test_order_of_prompts_and_responses_does_not_matter(self, estimator, mixed_rollouts):
        advantage = estimator(mixed_rollouts)
        torch.testing.assert_close(estimator(mixed_rollouts[PROMPT_ORDER]), advantage[PROMPT_ORDER])
        torch.testing.assert_close(estimator(mixed_rollouts[:, RESPONSE_ORDER]), advantage[:, RESPONSE_ORDER])

    def test_padding_does_not_matter(self, estimator, mixed_rollouts):
        advantage, wider = estimator(mixed_rollouts), estimator(widened(mixed_rollouts))
        assert torch.equal(wider if advantage.dim() == 2 else wider[..., :-3], advantage)

    @pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
    def test_a_reward_that_is_not_finite_is_refused_or_has_no_say(self, estimator, mixed_rollouts, bad):
        reward = mixed_rollouts["reward"].clone()
        reward[1, 2] = 2.0
        reads_reward = not torch.equal(estimator(with_entries(mixed_rollouts, reward=reward)), estimator(mixed_rollouts))
        assert reads_reward == estimator.reads_reward
        reward[1, 2] = bad
        rollouts = with_entries(mixed_rollouts, reward=reward)
        if reads_reward:
            with pytest.raises(ValueError, match=f"{estimator.name}: 'reward' must be finite, but prompt 1, response 2"):
                estimator(rollouts)
        else:
            assert torch.equal(estimator(rollouts), estimator(mixed_rollouts))

    def test_a_group_that_is_too_small_is_refused(self, estimator, make_rollouts):
        size = estimator.min_group_size
        assert estimator(make_rollouts(reward=[[1.0] * size])).isfinite().all()
        if size > 1:
            with pytest.raises(ValueError, match=f"{estimator.name}: group size {size - 1} is too small"):
                estimator(make_rollouts(reward=[[1.0] * (size - 1)]))


NOT_CENTERED = ("reinforce_plus_plus_baseline",)  # it subtracts a mean over the batch's tokens as well, see its docstring
CENTERED = [one for one in ESTIMATORS + ESTIMATORS_EXCLUDING if one.min_group_size > 1 and one.name not in NOT_CENTERED]


@pytest.mark.parametrize("estimator", CENTERED, ids=title)
def test_a_group_of_equals_gets_exactly_zero(estimator, make_rollouts):
    # 0.1 has no exact binary form, and the float32 mean of seven of them need not be 0.1
    different = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, -1.0]
    correct = [[True] * 7, [False] * 7, [reward > 0 for reward in different]]
    lengths = [[1, 2, 3, 4, 5, 6, 7]] * 3
    advantage = estimator(make_rollouts(reward=[[0.1] * 7, [0.7] * 7, different], correct=correct, response_length=lengths))
    assert not advantage[:2].any()
    assert advantage[2].all()


@every_excluding_estimator
class TestExcludeMasked:
    def test_excluded_rows_get_zero_and_have_no_say(self, estimator, mixed_rollouts):
        masked = ~mixed_rollouts["loss_mask"].any(-1)
        assert masked.sum() == 2
        advantage = estimator(mixed_rollouts)
        assert not advantage[masked].any()
        otherwise = with_entries(
            mixed_rollouts,
            reward=torch.where(masked, 99.0, mixed_rollouts["reward"]),
            correct=mixed_rollouts["correct"] ^ masked,
        )
        assert torch.equal(estimator(otherwise), advantage)

    def test_nothing_left_to_count_gives_zeros(self, estimator, make_rollouts):
        assert not estimator(make_rollouts(reward=[[1.0, -1.0, 1.0]], trained=[[False] * 3])).any()


@pytest.mark.parametrize("name", FILTERS)
class TestSamplerFilter:
    def test_shape_dtype_and_input(self, name, mixed_rollouts):
        before = snapshot(mixed_rollouts)
        keep = build("sampler_filter", name)(mixed_rollouts)
        assert keep.shape == (3,)
        assert keep.dtype == torch.bool
        assert_unchanged(mixed_rollouts, before)

    @given(groups=st.lists(st.lists(st.booleans(), min_size=4, max_size=4), min_size=1, max_size=5), data=st.data())
    @settings(deadline=None)
    def test_each_group_is_judged_alone_in_any_order(self, name, make_rollouts, groups, data):
        component = build("sampler_filter", name)
        rollouts = make_rollouts(reward=[[1.0 if one else -1.0 for one in group] for group in groups])
        keep = component(rollouts)
        order = torch.tensor(data.draw(st.permutations(range(len(groups)))))
        assert torch.equal(component(rollouts[order]), keep[order])
        assert torch.equal(component(rollouts[:, RESPONSE_ORDER]), keep)
        assert torch.equal(component(widened(rollouts)), keep)
        assert torch.equal(torch.cat([component(rollouts[p : p + 1]) for p in range(len(groups))]), keep)

    def test_it_says_whether_it_can_keep_a_group_of_one(self, name, make_rollouts):
        component = build("sampler_filter", name)
        keep = component(make_rollouts(reward=[[1.0], [0.5], [-1.0]]))
        assert keep.any() == (getattr(component, "min_group_size", 1) == 1)


@pytest.mark.parametrize("name", SHAPERS)
class TestRewardShaper:
    def test_only_reward_and_loss_mask_change_and_the_input_does_not(self, name, mixed_rollouts):
        before = snapshot(mixed_rollouts)
        shaped = build("reward_shaper", name)(mixed_rollouts)
        assert_unchanged(mixed_rollouts, before)
        after = snapshot(shaped)
        assert after.keys() == before.keys()
        changed = {key for key in before if not same(before[key], after[key])}
        assert changed
        assert changed <= {"reward", "loss_mask"}
        assert ("reward" in changed) == registry.get("reward_shaper", name).changes_reward
        assert shaped["reward"].dtype == torch.float32
        assert shaped["reward"].isfinite().all()
        assert not (shaped["loss_mask"] & ~mixed_rollouts["loss_mask"]).any()

    def test_each_response_is_shaped_alone(self, name, mixed_rollouts):
        shaper = build("reward_shaper", name)
        shaped = shaper(mixed_rollouts)
        for found, order in (
            (shaper(mixed_rollouts[PROMPT_ORDER]), (PROMPT_ORDER,)),
            (shaper(mixed_rollouts[:, RESPONSE_ORDER]), (slice(None), RESPONSE_ORDER)),
        ):
            assert torch.equal(found["reward"], shaped["reward"][order])
            assert torch.equal(found["loss_mask"], shaped["loss_mask"][order])
        wider = shaper(widened(mixed_rollouts))
        assert torch.equal(wider["reward"], shaped["reward"])
        assert torch.equal(wider["loss_mask"][..., :-3], shaped["loss_mask"])
        assert not wider["loss_mask"][..., -3:].any()


@pytest.mark.parametrize("name", REWARDS)
class TestRewardFunction:
    def test_verdicts_shapes_and_order(self, name):
        function = build("reward_function", name)
        text, answer = RIGHT.get(name, ("42", "42"))
        correct, reward = function(["no idea", text, ""], [answer] * 3)
        assert correct.dtype == torch.bool
        assert reward.dtype == torch.float32
        assert correct.shape == reward.shape == (3,)
        assert reward.isfinite().all()
        backwards = function(["", text, "no idea"], [answer] * 3)
        assert torch.equal(backwards.correct, correct.flip(0))
        assert torch.equal(backwards.reward, reward.flip(0))

    def test_no_responses_give_an_empty_verdict(self, name):
        correct, reward = build("reward_function", name)([], [])
        assert correct.shape == reward.shape == (0,)

    def test_a_missing_reference_is_refused(self, name):
        with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
            build("reward_function", name)(["1", "2"], [RIGHT.get(name, ("42", "42"))[1]])


@pytest.mark.parametrize("name", RIGHT)
def test_right_is_worth_more_than_wrong(name):
    text, answer = RIGHT[name]
    correct, reward = build("reward_function", name)([text, "no idea", ""], [answer] * 3)
    assert correct.tolist() == [True, False, False]
    assert reward[0] > reward[1:].max()


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name not in LEARNING_SAMPLERS])
@given(size=st.integers(0, 50), epoch=st.integers(0, 10**6), seed=st.integers(0, 2**63 - 1))
@settings(deadline=None)
def test_a_prompt_sampler_asks_every_problem_once_and_is_pure(name, size, epoch, seed):
    sampler = build("prompt_sampler", name)
    order = sampler(size, epoch, seed)
    assert order.dtype == torch.int64
    assert sorted(order.tolist()) == list(range(size))
    assert torch.equal(order, sampler(size, epoch, seed))


def same_state(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", LEARNING_SAMPLERS)
class TestLearningPromptSampler:
    @given(
        size=st.integers(1, 30),
        seed=st.integers(0, 2**63 - 1),
        steps=st.lists(st.lists(st.integers(0, 4), max_size=40), min_size=1, max_size=5),
    )
    @settings(deadline=None, max_examples=30)
    def test_what_it_asks_follows_from_what_it_has_seen(self, name, size, seed, steps):
        sampler = build("prompt_sampler", name)
        state, twin = sampler.start(size, seed), build("prompt_sampler", name).start(size, seed)
        for correct in steps:
            before = copy.deepcopy(state)
            order = sampler.order(state, 45)
            assert order.dtype == np.int64
            assert len(order) in (0, 45)
            assert set(order.tolist()) <= set(range(size))
            sampled = np.array(correct[: len(order)], dtype=np.int64)
            # the order does not depend on how far it is asked for
            assert np.array_equal(sampler.order(state, len(sampled)), order[: len(sampled)])
            groups = (order[: len(sampled)], sampled, np.full(len(sampled), 4))
            state = sampler.observe(before, *groups)
            assert same_state(sampler.observe(before, *groups), state)  # pure: nothing it was given has changed
            # a twin that is saved and loaded at every step
            saved = io.BytesIO()
            torch.save(dict(twin), saved)
            saved.seek(0)
            twin = sampler.observe(torch.load(saved, weights_only=False), *groups)
            assert same_state(twin, state)
            metrics = sampler.metrics(state)
            assert not without_meaning(metrics, METRICS)
            assert all(math.isfinite(value) for value in metrics.values())

    def test_at_first_every_problem_is_asked_once_in_a_pass_and_seeds_differ(self, name):
        sampler = build("prompt_sampler", name)
        first, other = (sampler.order(sampler.start(50, seed), 100).tolist() for seed in (0, 1))
        assert sorted(first[:50]) == sorted(first[50:]) == list(range(50))
        assert first != other

"""Which runs share a row, and what the row is called."""

import pytest

from rltoolkit.report._labels import labels

CLIP_HIGHER = {"_target_": "rltoolkit.clip_strategy.clip_higher.ClipHigher", "epsilon_low": 0.2, "epsilon_high": 0.28}
SYMMETRIC = {"_target_": "rltoolkit.clip_strategy.symmetric.Symmetric", "epsilon": 0.2}


def shaper(**fields):
    return {"overlong_filtering": {"_target_": "rltoolkit.reward_shaper.overlong_filtering.OverlongFiltering", **fields}}


def named(*configs, **stamps):
    """The labels of runs of these configs, in folders called a, b, ..."""
    records = {chr(ord("a") + i): {"config": config, **stamps} for i, config in enumerate(configs)}
    found = labels(records)
    return [", ".join(filter(None, found[folder])) for folder in records]


def test_seeds_and_keys_that_change_no_number_do_not_matter():
    one = {"seed": 0, "logger": {"csv": {"save_dir": "here"}}, "trainer": {"devices": 1, "max_steps": 8}}
    other = {"seed": 1, "logger": {}, "trainer": {"devices": 2, "max_steps": 8}}
    assert named(one, other, ablation="naive_grpo") == ["naive_grpo", "naive_grpo"]
    # more steps are another result
    assert named(one, {**other, "trainer": {"max_steps": 9}}, ablation="x") == [
        "x, trainer.max_steps=8",
        "x, trainer.max_steps=9",
    ]


@pytest.mark.parametrize(
    ("one", "other", "difference"),
    [
        ({"a": {"b": True}, "c": 1}, {"a": {"b": None}, "c": 1}, ("a.b=true", "a.b=null")),
        # a component's own keys follow from the choice
        ({"clip_strategy": CLIP_HIGHER}, {"clip_strategy": SYMMETRIC}, ("clip_strategy=clip_higher", "clip_strategy=symmetric")),
        (
            {"clip_strategy": CLIP_HIGHER},
            {"clip_strategy": {**CLIP_HIGHER, "epsilon_high": 0.3}},
            ("clip_strategy.epsilon_high=0.28", "clip_strategy.epsilon_high=0.3"),
        ),
        ({"reward_shaper": {}}, {"reward_shaper": shaper()}, ("reward_shaper=[]", "reward_shaper=[overlong_filtering]")),
        ({"betas": [0.9, 0.99]}, {"betas": [0.9, 0.9]}, ("betas=[0.9,0.99]", "betas=[0.9,0.9]")),
    ],
)
def test_what_differs_stands_as_one_would_type_it(one, other, difference):
    assert named(one, other, experiment="grpo") == [f"grpo, {text}" for text in difference]
    assert named(one, other) == list(difference)  # without an ablation or experiment the difference is the whole label


def test_where_many_keys_differ_the_folder_tells_runs_apart():
    one, other = dict.fromkeys("pqrs", 1), dict.fromkeys("pqrs", 2)
    assert named(one, other, one, ablation="x") == ["x, a and 1 more", "x, b", "x, a and 1 more"]
    assert named(one, other) == ["a", "b"]


def test_a_run_that_says_nothing_of_itself_is_its_folder():
    records = {"a": {}, "b": {}, "c": {"ablation": None, "config": {"seed": 1}}}
    assert labels(records) == {
        "a": ("a", ""),
        "b": ("b", ""),
        "c": ("c", ""),
    }

"""What a component is by default in a run, plug-ins included: its own defaults, but for the fields that say they follow a key."""

from dataclasses import MISSING, dataclass, fields

import pytest
from omegaconf import MISSING as REQUIRED
from omegaconf import OmegaConf

from rltoolkit import registry
from rltoolkit.component import followed_key, follows
from rltoolkit.run.compose import config_node

COMPONENTS = [registry.get(kind, name) for kind in registry.kinds() for name in registry.names(kind)]


def node_of(component):
    return OmegaConf.to_container(OmegaConf.structured(config_node(component)), resolve=False)


def own_default(field):
    value = field.default if field.default_factory is MISSING else field.default_factory()
    if value is MISSING:
        return REQUIRED
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: f"{component.kind}={component.name}")
def test_the_config_node_holds_the_components_own_defaults(component):
    expected = {
        field.name: f"${{oc.select:{followed_key(field)},{field.default}}}" if followed_key(field) else own_default(field)
        for field in fields(component)
    }
    node = node_of(component)
    assert node.pop("_target_") == f"{component.__module__}.{component.__qualname__}"
    assert node == expected


@dataclass(frozen=True, kw_only=True)
class Plugged:
    """As a plug-in may have them: one field of a name that ours follow a key with, and one that does follow a key."""

    max_length: int = 7
    cache_length: int = 5
    limit: int = follows("sampling.max_new_tokens", 20)


def test_a_field_follows_a_key_only_where_it_says_so():
    node = node_of(Plugged)
    assert (node["max_length"], node["cache_length"]) == (7, 5)
    assert node["limit"] == "${oc.select:sampling.max_new_tokens,20}"  # 20 where a configuration has no such key
    assert Plugged().limit == 20


def test_the_fields_that_follow_a_key():
    following = {
        (component.kind, component.name, field.name): followed_key(field)
        for component in COMPONENTS
        for field in fields(component)
        if followed_key(field) and component.__module__.startswith("rltoolkit.")
    }
    assert following == {
        ("reward_shaper", "linear_length_penalty", "max_length"): "sampling.max_new_tokens",
        ("reward_shaper", "soft_overlong_punishment", "max_length"): "sampling.max_new_tokens",
        ("reward_shaper", "soft_overlong_punishment", "cache_length"): "cache_length",
        ("loss_aggregator", "fixed_length", "max_length"): "sampling.max_new_tokens",
        ("model", "tiny", "max_response"): "sampling.max_new_tokens",
        ("rollout_engine", "transformers", "head_dtype"): "trainer.head_dtype",
        ("rollout_engine", "vllm", "head_dtype"): "trainer.head_dtype",
        ("rollout_engine", "vllm_server", "head_dtype"): "trainer.head_dtype",
        ("prompt_sampler", "thompson", "prompts_per_step"): "prompts_per_step",
        ("prompt_sampler", "predicted_dynamics", "prompts_per_step"): "prompts_per_step",
    }

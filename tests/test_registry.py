"""The registry: names, refusals, plug-ins."""

from dataclasses import dataclass

import pytest

from rltoolkit import registry


def test_builds_a_component_by_name():
    clip = registry.build("clip_strategy", "clip_higher", epsilon_high=0.3)
    assert (clip.epsilon_low, clip.epsilon_high) == (0.2, 0.3)


def test_unknown_name_is_answered_with_the_nearest_and_the_whole_list():
    with pytest.raises(registry.UnknownName, match=r"Did you mean clip_higher.*Available: .*symmetric"):
        registry.get("clip_strategy", "clip_hihger")


def test_unknown_kind_is_refused():
    with pytest.raises(registry.UnknownName, match=r"unknown kind 'clip_stratgy'\. Did you mean clip_strategy"):
        registry.names("clip_stratgy")


def test_a_second_component_of_one_name_is_refused_and_both_modules_named():
    with pytest.raises(ValueError, match=r"rltoolkit\.clip_strategy\.symmetric and in .*test_registry"):

        @registry.register("clip_strategy", "symmetric")
        @dataclass(frozen=True, kw_only=True)
        class Another:
            pass


@pytest.mark.parametrize("options", [{"frozen": False, "kw_only": True}, {"frozen": True, "kw_only": False}])
def test_only_frozen_keyword_only_dataclasses_register(options):
    @dataclass(**options)
    class Loose:
        epsilon: float = 0.1

    with pytest.raises(TypeError, match="frozen=True, kw_only=True"):
        registry.register("clip_strategy", "loose")(Loose)


def test_find_points_at_the_file_and_its_first_line():
    where = registry.find("clip_strategy", "clip_higher")
    assert where.file.endswith("clip_strategy/clip_higher.py")
    assert where.summary.startswith("Clip-Higher:")


def test_every_component_has_a_one_line_summary_and_a_config_line():
    for kind in registry.kinds():
        for name in registry.names(kind):
            cls = registry.get(kind, name)
            module = __import__(cls.__module__, fromlist=["__doc__"])
            assert f"{kind}=" in (module.__doc__ or ""), f"{kind}={name}: no config line in its docstring"

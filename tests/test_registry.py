"""The registry: names, refusals, plug-ins."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from rltoolkit import registry
from rltoolkit.components import describe


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


def test_the_catalogue_says_what_one_would_type_and_which_key_a_default_follows():
    shown = describe("reward_shaper", "soft_overlong_punishment")
    assert "reward_shaper.soft_overlong_punishment.max_length: int = sampling.max_new_tokens" in shown
    assert "reward_shaper.soft_overlong_punishment.factor: float = 1.0" in shown
    assert "Config: python -m rltoolkit 'reward_shaper=[soft_overlong_punishment]'" in shown
    assert "Config: python -m rltoolkit clip_strategy=symmetric" in describe("clip_strategy", "symmetric")


PLUGGED = """
from dataclasses import dataclass
from rltoolkit.registry import register

@register("{kind}", "{name}")
@dataclass(frozen=True, kw_only=True)
class Plugged:
    pass
"""


@pytest.fixture
def plug_in(tmp_path, monkeypatch):
    """``plug_in(module=source, ...)`` installs a distribution with an entry point for each module; new processes find it."""

    def install(**modules):
        for module, source in modules.items():
            (tmp_path / f"{module}.py").write_text(source)
        information = tmp_path / "plugged-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
        points = [f"my_{module} = {module}" for module in modules]
        (information / "entry_points.txt").write_text("\n".join([f"[{registry.ENTRY_POINT_GROUP}]", *points]))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)

    return install


def python(*arguments, **variables):
    environment = os.environ | variables
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=300, env=environment)


def test_one_entry_point_may_bring_several_components_and_several_may_bring_one(plug_in):
    two = PLUGGED.format(kind="kl_penalty", name="first") + PLUGGED.format(kind="loss_aggregator", name="second").replace(
        "class Plugged", "class PluggedToo"
    )
    plug_in(two=two, one=PLUGGED.format(kind="kl_penalty", name="third"))
    done = python("-c", "from rltoolkit.registry import names; print(*names('kl_penalty'), *names('loss_aggregator'))")
    assert {"first", "second", "third", "k1", "token_mean"} <= set(done.stdout.split()), done.stderr


def test_a_plug_in_that_fails_to_import_is_named_and_takes_nothing_down(plug_in):
    plug_in(broken="import not_installed", whole=PLUGGED.format(kind="kl_penalty", name="mine"))
    failure = "Plug-in 'my_broken' (broken) failed to load: ModuleNotFoundError(\"No module named 'not_installed'\")"
    done = python("-c", "from rltoolkit.registry import names; print(*names('kl_penalty'))")
    assert {"mine", "k1"} <= set(done.stdout.split())
    assert failure in done.stderr
    # the command line keeps warnings to itself, so whoever asks for a component of that plug-in is told there
    done = python("-m", "rltoolkit", "kl_penalty=of_the_broken_one")
    assert done.returncode == 2
    assert "unknown kl_penalty 'of_the_broken_one'" in done.stderr
    assert failure in " ".join(done.stderr.split())


def test_a_plug_in_cannot_take_a_name_of_ours_even_when_it_is_imported_first(plug_in):
    plug_in(thief=PLUGGED.format(kind="loss_aggregator", name="token_mean"))
    done = python(
        "-c",
        "from rltoolkit import registry as r; r.names('kl_penalty'); print(r.get('loss_aggregator', 'token_mean').__module__)",
    )
    assert done.stdout.strip() == "rltoolkit.loss_aggregator.token_mean", done.stderr
    assert "'my_thief' (thief) failed to load" in done.stderr
    assert "registered twice: in rltoolkit.loss_aggregator.token_mean and in thief" in done.stderr


JUDGE = """
from dataclasses import dataclass
from rltoolkit.registry import register
from rltoolkit.reward_function.base import verdict

@register("reward_function", "even_length")
@dataclass(frozen=True, kw_only=True)
class EvenLength:
    def __call__(self, texts, answers):
        return verdict(len(text) % 2 == 0 for text in texts)

    def extract(self, text):
        return text
"""


@pytest.fixture
def own_files(tmp_path):
    """A component in one file, a module on Python's path, and three files that cannot be loaded."""
    (tmp_path / "judge.py").write_text(JUDGE)
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "by_name.py").write_text(PLUGGED.format(kind="kl_penalty", name="mine_by_name"))
    (tmp_path / "broken.py").write_text("import not_installed")
    (tmp_path / "json.py").write_text(PLUGGED.format(kind="kl_penalty", name="hides_json"))
    (tmp_path / "not-a-name.py").write_text("")
    names = ("broken.py", "json.py", "not-a-name.py", "missing.py", "judge.py")
    plug_ins = ", ".join([*(str(tmp_path / name) for name in names), "by_name"])
    return {"RLTOOLKIT_PLUGINS": plug_ins, "PYTHONPATH": str(tmp_path / "path")}


def test_a_component_in_a_file_of_ones_own_is_listed_and_broken_files_are_named(own_files, tmp_path):
    done = python("-m", "rltoolkit.components", **own_files)
    assert done.returncode == 0, done.stderr
    assert {"even_length", "mine_by_name", "k1"} <= set(done.stdout.split())
    assert "hides_json" not in done.stdout
    warned = " ".join(done.stderr.split())
    assert f"Plug-in '{tmp_path}/broken.py' (RLTOOLKIT_PLUGINS) failed to load: ModuleNotFoundError" in warned
    assert f"'json' is the name of another module ({os.path.realpath(json.__file__)}); rename {tmp_path}/json.py" in warned
    assert f"'not-a-name' cannot be a module's name; rename {tmp_path}/not-a-name.py" in warned
    assert f"there is no file {tmp_path}/missing.py" in warned
    assert "'judge'" not in warned


def test_a_component_in_a_file_of_ones_own_is_shown_in_full(tmp_path):
    # annotations here are types, those of our own files strings
    file = tmp_path / "capped.py"
    file.write_text(PLUGGED.format(kind="kl_penalty", name="capped") + "\n    ceiling: float = 2.0\n")
    done = python("-m", "rltoolkit.components", "--plugin", str(file), "capped")
    assert "kl_penalty.ceiling: float = 2.0" in done.stdout, done.stdout + done.stderr


def test_a_file_of_ones_own_keeps_its_module_in_other_processes(own_files):
    """By the class's path, as a configuration names it; and in the worker processes of a time limit."""
    done = python(
        "-c",
        "from rltoolkit import registry; from rltoolkit.reward_function import TimeLimited; import importlib\n"
        "judge = registry.build('reward_function', 'even_length')\n"
        "print(type(judge) is importlib.import_module('judge').EvenLength)\n"
        "print(TimeLimited(function=judge, seconds=60)(['ab', 'abc'], ['', '']).correct.tolist())",
        **own_files,
    )
    assert done.stdout.split("\n")[:2] == ["True", "[True, False]"], done.stderr

"""A package of one's own: examples/plugin, installed for real beside the environment, and everything that must then know it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .conftest import table

CLIP, FILTER = "simple_policy_optimization", "truncation_limit"
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds the installed plug-in, and that the commands below have on their path."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("site")
    shutil.copytree(REPOSITORY / "examples" / "plugin", source)  # a build leaves things behind
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--target", target, source], check=True, timeout=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(target), prepend=os.pathsep)
        yield target


def pytest_outcomes(command, tmp_path, *arguments) -> list[tuple[str, str]]:
    """(test, outcome) of each test that a pytest of its own ran, by its full name."""
    report = tmp_path / "report.xml"
    command(*arguments, "-p", "no:cacheprovider", f"--junitxml={report}", module="pytest", small=False, cwd=REPOSITORY)
    cases = ElementTree.parse(report).iter("testcase")
    return [(case.get("name"), "passed" if len(case) == 0 else case[0].tag) for case in cases]


def test_the_catalogue_lists_both_and_shows_each_in_full(command, site):
    listed = command(module="rltoolkit.components", small=False)
    assert listed.returncode == 0, listed.stderr
    assert CLIP in listed.stdout
    assert FILTER in listed.stdout
    for name, expected in (
        (CLIP, ["loss = -(r A - |A|", "clip_strategy.epsilon: float = 0.2", f"Config: python -m rltoolkit clip_strategy={CLIP}"]),
        (FILTER, ["keep iff", f"sampler_filter.{FILTER}.max_fraction: float = 0.5", f"sampler_filter=[{FILTER}]"]),
    ):
        shown = command(name, module="rltoolkit.components", small=False)
        assert shown.returncode == 0, shown.stderr
        assert [text for text in [*expected, "arXiv:", str(site / "rltoolkit_example" / name)] if text not in shown.stdout] == []


def test_its_own_tests_pass_on_the_installed_package(command, site, tmp_path):
    outcomes = pytest_outcomes(command, tmp_path, REPOSITORY / "examples" / "plugin" / "tests")
    assert outcomes
    assert {outcome for _, outcome in outcomes} == {"passed"}


def test_it_keeps_the_promises_of_its_kinds(command, site, tmp_path):
    outcomes = pytest_outcomes(command, tmp_path, "tests/contract", "-k", f"{CLIP} or {FILTER}")
    assert {outcome for _, outcome in outcomes} == {"passed"}
    for name in (CLIP, FILTER):
        assert sum(name in test for test, _ in outcomes) > 1, outcomes


def test_it_trains(command, site, tmp_path):
    # after so short a warm start no answer is right; by the punishment responses of different lengths differ in their rewards
    done = command(f"clip_strategy={CLIP}", "clip_strategy.epsilon=0.25", f"sampler_filter=[{FILTER}]",
                   f"sampler_filter.{FILTER}.max_fraction=0", "reward_shaper=[soft_overlong_punishment]", "cache_length=50",
                   "rollout_engine=transformers", "trainer.max_steps=2", f"hydra.run.dir={tmp_path}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["packages"]["rltoolkit-example"] == "0.1.0"
    assert run["status"] == "finished"
    target = {name: f"rltoolkit_example.{name}" for name in (CLIP, FILTER)}
    assert run["config"]["clip_strategy"] == {"_target_": f"{target[CLIP]}.SimplePolicyOptimization", "epsilon": 0.25}
    assert run["config"]["sampler_filter"] == {FILTER: {"_target_": f"{target[FILTER]}.TruncationLimit", "max_fraction": 0.0}}
    said = " ".join(done.stdout.replace("│", " ").split())
    assert f"{CLIP}, sequence_mean" in said
    assert f"soft_overlong_punishment; {FILTER}" in said
    rows = table(tmp_path / "metrics.csv")
    assert [row["optimizer_step"] for row in rows] == ["1", "2"]
    # some groups passed and some did not, so the filter has been at work
    assert 0 < float(rows[0]["acceptance_rate"]) < 1
    assert all(float(row["gradient_norm"]) > 0 for row in rows)


def test_a_value_out_of_range_is_refused_by_name(command, site, tmp_path):
    done = command(f"clip_strategy={CLIP}", "clip_strategy.epsilon=2", f"hydra.run.dir={tmp_path}", small=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"clip_strategy.epsilon=2.0: must be in (0, 1) (clip_strategy={CLIP})" in " ".join(done.stderr.split())


def test_tab_completes_its_names(site):
    script, line = Path(sys.executable).with_name("rltoolkit"), f"rltoolkit clip_strategy={CLIP[:5]}"
    done = subprocess.run(
        [script, "-sc", "query=bash"], env={**os.environ, "COMP_LINE": line}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [f"clip_strategy={CLIP}"]

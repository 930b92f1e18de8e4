"""The command line: errors in one sentence that can be acted on, a help that fits, and no torch before there is a run."""

import json
import os
import re
import subprocess
import sys

import pytest

import rltoolkit
from rltoolkit import registry
from rltoolkit.command_line import check_choices, help_text, prepare, report_errors
from rltoolkit.run import compose
from rltoolkit.training.errors import NotFinite

from .training.conftest import TINY


@pytest.fixture
def refusal(capsys):
    """``refusal(*overrides)``: exit status and what is said of a configuration that cannot be."""

    def of(*overrides: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as left, report_errors():
            rltoolkit.load(*overrides)
        return left.value.code, " ".join(capsys.readouterr().err.split())

    return of


def test_an_unknown_key_is_told_from_one_of_a_component_that_is_not_chosen(refusal):
    assert refusal("trainer.max_step=3")[0] == 2
    assert refusal("trainer.max_step=3")[1].startswith(
        "error: unknown config key 'trainer.max_step'. Did you mean trainer.max_steps"
    )
    # symmetric has epsilon; clip_higher, which dapo chooses, has epsilon_low and epsilon_high
    assert refusal("+experiment=dapo", "clip_strategy.epsilon=2") == (
        2, "error: config key 'clip_strategy.epsilon' belongs to a component that is not chosen."
    )  # fmt: skip


def test_no_key_is_suggested_for_itself(refusal):
    compose.publish()
    component_keys = [key for key in compose.all_keys() if key.startswith(("clip_strategy.", "task.", "reward_shaper."))]
    assert len(component_keys) > 20
    for key in component_keys[::6]:
        status, said = refusal("+experiment=dapo", f"{key}=abc")
        assert (status, f"Did you mean {key}" in said, f"or {key}" in said) == (2, False, False), said


def test_a_key_can_be_typed_as_the_message_prints_it(refusal):
    _, said = refusal("+experiment=dapo", "cache_length=64")
    printed = re.search(r"reward_shaper\S+=64", said)[0]
    assert printed == "reward_shaper.soft_overlong_punishment.cache_length=64"
    run = rltoolkit.load("+experiment=dapo", printed.replace("=64", "=9"))
    assert [shaper.cache_length for shaper in run.components.reward_shaper if shaper.name == "soft_overlong_punishment"] == [9]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("clip_strategy=clip_hihger", "Did you mean clip_higher"),
        ("eval_task=gms8k", "Did you mean gsm8k"),
        ("reward_shaper=[overlong_filtering,soft_overlong]", "soft_overlong_punishment"),
        ("+experiment=dappo", "Did you mean dapo"),
        ("preset=latop", "Did you mean laptop"),
        ("task=labratory", "Did you mean laboratory"),  # a file of conf/task among the registered ones
        ("eval_task=laboratory", "unknown eval_task"),  # and not among those that are only held out
    ],
)
def test_an_unknown_choice_is_refused_with_the_nearest_names(choice, message):
    with pytest.raises(registry.UnknownName, match=message):
        check_choices([choice])


def test_what_is_no_choice_passes():
    check_choices(
        ["sampler_filter=[]", "eval_task=null", "trainer.max_steps=3", "hydra.run.dir=x", "-m", "clip_strategy=cispo,gspo"]
    )


def test_how_a_command_ends(capsys):
    def status(error: BaseException) -> int:
        with pytest.raises(SystemExit) as left, report_errors():
            raise error
        return left.value.code

    assert status(NotFinite("three steps in a row")) == 1
    assert capsys.readouterr().err == "error: NotFinite: three steps in a row\n"
    assert status(KeyboardInterrupt()) == 130
    with pytest.raises(ZeroDivisionError), report_errors():  # a bug: its traceback says more than one sentence
        raise ZeroDivisionError


def test_options_of_every_command_are_taken_out_of_its_arguments(monkeypatch, tmp_path):
    for name in ("RLTOOLKIT_VERBOSE", "RLTOOLKIT_PLUGINS", "RLTOOLKIT_CONFIG_DIRS", "HYDRA_FULL_ERROR", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "")  # put back afterwards
    monkeypatch.chdir(tmp_path)
    options = ["--plugin", "mine.py", "-m", "--plugin=package", "--verbose", "--config-dir", "mine", "--config-dir=/theirs"]
    assert prepare(["seed=1", *options]) == ["seed=1", "-m"]
    assert os.environ["RLTOOLKIT_CONFIG_DIRS"] == f"{tmp_path / 'mine'}:/theirs"  # absolute: other processes start elsewhere
    assert os.environ["RLTOOLKIT_PLUGINS"] == f"{tmp_path / 'mine.py'},package"
    assert os.environ["RLTOOLKIT_VERBOSE"] == "1"


@pytest.mark.parametrize("option", ["--plugin", "--config-dir", "--config-dir="])
def test_an_option_without_its_value_is_refused(option, capsys):
    with pytest.raises(SystemExit, match="2"):
        prepare(["seed=1", option])
    assert capsys.readouterr().err == f"error: {option.rstrip('=')} needs a value\n"


def test_help_fits_a_terminal_and_names_every_choice():
    text = help_text(80)
    assert max(map(len, text.splitlines())) <= 80
    words = set(re.findall(r"[\w]+", text))
    assert {name for kind in registry.kinds() for name in registry.names(kind)} <= words
    assert {"laptop", "dapo_ablation", "naive_grpo", "tensorboard"} <= words


IMPORT = """
import json, sys
import rltoolkit
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} & {"torch", "hydra", "omegaconf", "lightning", "vllm"})))
"""


def test_importing_the_package_costs_nothing():
    done = subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


REFUSALS = {
    "--help": 0,
    "clip_strategy=clip_hihger": 2,
    "trainer.max_step=3": 2,
    "clip_strategy.epsilon=abc": 2,
    "mini_batch_size=48": 2,
    "clip_strategy.epsilon=2": 2,
    "+experiment=dapo cache_length=64": 2,
    "sampling.top_p=0.9": 2,
    "model=hf": 2,
    "kl_in_reward=true": 2,
    "sampler_filter=[dynamic_sampling] advantage_estimator=raw group_size=1": 2,
    "trainer.old_log_probs=engine importance_correction=tis": 2,
}
REFUSE = """
import json, sys
from rltoolkit.__main__ import main
found = {}
for line in json.loads(sys.argv[1]):
    sys.argv[1:] = line.split() + ["hydra.run.dir=" + sys.argv[-1]]
    status = 0
    try:
        main()
    except SystemExit as left:
        status = left.code or 0
    found[line] = [status, type(sys.modules["torch"]).__name__]
print(json.dumps(found))
"""


def test_refusing_bad_input_and_helping_need_no_torch(tmp_path):
    # torch takes two seconds to load, and a typing error should not
    arguments = [sys.executable, "-c", REFUSE, json.dumps(list(REFUSALS)), tmp_path / "run"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {line: [status, "_Deferred"] for line, status in REFUSALS.items()}
    assert done.stderr.count("error: ") == len(REFUSALS) - 1
    assert "Traceback" not in done.stderr


def test_a_run_that_fails_says_one_sentence(tmp_path):
    # a random model answers nothing right: with dynamic sampling no group is kept
    limits = ["sampler_filter=[dynamic_sampling]", "collector.max_generation_batches=1", f"hydra.run.dir={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "rltoolkit", *TINY, *limits],
        env={**os.environ, "RLTOOLKIT_CACHE": str(tmp_path / "models")}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()  # nor Hydra's "Error executing job with overrides"
    assert line.startswith("error: GenerationLimit: kept 0 of prompts_per_step=4 groups")
    assert "Error executing job" not in done.stdout
    assert json.loads((tmp_path / "run.json").read_text())["error"].startswith("GenerationLimit: kept 0")


def test_a_line_of_the_log_is_said_once():
    code = "from rltoolkit.command_line import prepare; prepare([]); import logging; log = logging.getLogger('rltoolkit.task.x');"
    code += "[log.info(line) for line in ('4 problems', '4 problems', '1 held out')]"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split("\n") == ["4 problems", "1 held out", ""]

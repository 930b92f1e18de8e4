"""A run's folder: one run at a time, one configuration, and how it ended."""

import fcntl
import json
import subprocess
import sys
from functools import cache

import pytest

import rltoolkit
from rltoolkit.errors import ConfigError
from rltoolkit.run.folder import RunFolder, Start, complete_checkpoints, newest_checkpoint, read_run
from rltoolkit.run.run import Run


@cache
def run(*overrides: str) -> Run:
    return rltoolkit.load("+experiment=dapo", "trainer.max_steps=8", *overrides)


@pytest.fixture
def finished(tmp_path):
    """The folder of a run of 8 optimizer steps that came to its end."""
    folder = RunFolder(tmp_path / "run", run())
    assert folder.open() == Start(finished=False, checkpoint=None)
    folder.write("finished")
    folder.close()
    return folder.path


def test_run_json_says_what_was_run_and_how_it_ended(finished):
    record = read_run(finished)
    assert (record["status"], record["experiment"], record["seed"]) == ("finished", "dapo", 0)
    assert record["overrides"] == ["+experiment=dapo", "trainer.max_steps=8"]
    assert record["config"]["clip_strategy"]["epsilon_high"] == 0.28
    assert record["verifier"].startswith("equation_answer")
    assert {"rltoolkit", "torch", "hydra-core"} <= record["packages"].keys()
    assert [file.name for file in finished.glob("run*")] == ["run.json"]  # nothing partial is left
    failed = RunFolder(finished, run())
    failed.write("failed", error="NotFinite: three steps in a row")
    assert (read_run(finished)["status"], read_run(finished)["error"]) == ("failed", "NotFinite: three steps in a row")


def test_the_same_run_is_finished_and_a_longer_one_is_not(finished):
    assert RunFolder(finished, run()).open().finished
    assert not RunFolder(finished, run("trainer.max_steps=16")).open().finished
    # what computes the same may change: where it runs, how often it is saved, who is told
    assert RunFolder(finished, run("trainer.devices=2", "trainer.checkpoint_every=1", "evaluation.every=1")).open().finished


def test_a_run_that_did_not_end_goes_on_from_its_newest_checkpoint(tmp_path):
    for name in ("step_000002", "step_000010", "step_000012.partial"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    (tmp_path / "checkpoints" / "best").symlink_to("step_000002")
    folder = RunFolder(tmp_path, run())
    folder.write("interrupted")
    assert folder.open() == Start(finished=False, checkpoint=tmp_path / "checkpoints" / "step_000010")
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["step_000002", "step_000010"]
    assert newest_checkpoint(tmp_path / "elsewhere") is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=1", r"seed was 0, now 1\. Choose another folder, or delete this one"),
        ("clip_strategy.epsilon_high=0.3", r"clip_strategy\.epsilon_high was 0\.28, now 0\.3"),
        ("optimizer.learning_rate=1e-3", r"optimizer\.learning_rate was 0\.0003, now 0\.001"),
        ("clip_strategy=cispo", r"clip_strategy\._target_ was .*ClipHigher, now .*CISPO \(\d keys differ\)"),
        ("sampler_filter=[]", r"sampler_filter\.dynamic_sampling\._target_ was .*DynamicSampling, now None"),
    ],
)
def test_another_configuration_is_refused_with_the_key_and_both_values(finished, override, message):
    before = (finished / "run.json").read_text()
    for ask in (RunFolder.open, RunFolder.finished):
        with pytest.raises(ConfigError, match=message):
            ask(RunFolder(finished, run(override)))
    assert (finished / "run.json").read_text() == before


def test_another_component_of_the_same_name_and_fields_is_another_run(finished):
    class ClipHigher:
        kind, name, epsilon_low, epsilon_high = "clip_strategy", "clip_higher", 0.2, 0.28

    with pytest.raises(ConfigError, match=r"clip_strategy\._target_ was rltoolkit\.clip_strategy\.clip_higher\.ClipHigher, now "):
        RunFolder(finished, run().replace(clip_strategy=ClipHigher())).open()


HOLD = """
import sys
from pathlib import Path
import rltoolkit
from rltoolkit.run.folder import RunFolder
folder = RunFolder(Path(sys.argv[1]), rltoolkit.load("+experiment=dapo", "trainer.max_steps=8"))
folder.open()
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_do_not_share_a_folder(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )  # fmt: skip
    try:
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(ConfigError, match=r"hydra\.run\.dir=.*: another run is writing to this folder"):
            RunFolder(tmp_path, run()).open()
    finally:
        holder.kill()
        holder.communicate()
    RunFolder(tmp_path, run()).open()  # a process that was killed holds nothing


def test_a_refusal_leaves_no_lock_behind(finished):
    with pytest.raises(ConfigError):
        RunFolder(finished, run("seed=1")).open()
    with (finished / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_refused_run_takes_back_what_it_put_into_the_folder(tmp_path, finished):
    refused = RunFolder(tmp_path / "refused", run())
    refused.open()
    refused.write("failed", error="ConfigError: no GPU")
    refused.discard()
    assert not refused.path.exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    refused = RunFolder(tmp_path / "mine", run())
    refused.open()
    refused.discard()
    assert [file.name for file in refused.path.iterdir()] == ["notes.txt"]
    again = RunFolder(finished, run())  # a run was here before: its record stays
    again.open()
    again.discard()
    assert read_run(finished)["status"] == "finished"


def test_ranks_but_the_first_neither_hold_nor_write(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    folder = RunFolder(tmp_path / "run", run())
    assert folder.open() == Start(finished=False, checkpoint=None)
    folder.write("running")
    folder.close()
    assert not folder.path.exists()


def test_run_json_is_plain_json_whatever_the_components_hold(tmp_path):
    class Odd:
        """A component that is no dataclass: its class is all that can be said of it."""

        def __call__(self, texts, answers):
            raise NotImplementedError

    RunFolder(tmp_path, run().replace(reward_function=Odd())).write("running")
    assert json.loads((tmp_path / "run.json").read_text())["config"]["reward_function"]["_target_"].endswith("Odd")
    assert RunFolder(tmp_path, run().replace(reward_function=Odd())).open() == Start(False, None)

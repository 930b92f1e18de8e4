"""Bad input ends with one clear error and status 2, before a model loads and without a traceback."""

import pytest


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["clip_strategy=clip_hihger"], "Did you mean clip_higher"),
        (["preset=latop"], "Did you mean laptop"),
        (["clip_strategy.epsilon=abc"], "could not be converted to Float"),
        (["trainer.max_step=3"], "Did you mean trainer.max_steps"),
        (["task=json_lines", "task.path=/does/not/exist.jsonl"], "task.path"),
        (["mini_batch_size=48"], "mini_batch_size=48 must divide"),
        (["preset=paper"], "trainer.devices=8: found 0 GPUs here"),
    ],
)
def test_one_clear_error(command, tmp_path, overrides, message):
    done = command(*overrides, f"hydra.run.dir={tmp_path / 'run'}", small=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert not (tmp_path / "run").exists()
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stdout + done.stderr


def test_help_lists_the_choices(command):
    done = command("--help", small=False)
    assert done.returncode == 0
    assert "clip_higher" in done.stdout


def test_the_catalogue_shows_one_component_in_full(command):
    done = command("clip_higher", module="rltoolkit.components", small=False)
    assert "clip_strategy.epsilon_high: float = 0.28" in done.stdout
    assert command("clip_hihger", module="rltoolkit.components", small=False).returncode == 2

"""Which checkpoints a run leaves behind, and what it says when one cannot be written."""

from pathlib import Path

import pytest

from rltoolkit.run.folder import complete_checkpoints, newest_checkpoint
from rltoolkit.training.checkpoints import Checkpoints
from rltoolkit.training.errors import CheckpointError


def names(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def test_the_newest_are_kept_and_the_best_one_survives(fit, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)

    def save(trainer):
        checkpoints.save(trainer)
        if trainer.global_step == 2:
            checkpoints.mark_best(trainer, 2)  # it is still being written

    fit(dict.fromkeys(range(1, 6), save) | {6: checkpoints.finish}, steps=6)
    # 1 was deleted when 3 had been written; 2 stands beside the two newest, and the link points at it
    assert names(tmp_path) == ["best", "step_000002", "step_000004", "step_000005"]
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step_000002"
    assert newest_checkpoint(tmp_path).name == "step_000005"


def test_when_another_one_is_the_best_the_link_moves_and_the_former_best_goes_with_its_age(fit, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=1)

    def save_as_best(trainer):
        checkpoints.save(trainer)
        checkpoints.finish(trainer)
        checkpoints.mark_best(trainer, trainer.global_step)

    fit({1: save_as_best, 2: save_as_best, 3: checkpoints.save, 4: checkpoints.finish}, steps=4)
    assert names(tmp_path) == ["best", "step_000002", "step_000003"]
    assert (tmp_path / "checkpoints" / "best").resolve().name == "step_000002"


def test_a_step_is_saved_once(fit, tmp_path):
    checkpoints, written = Checkpoints(tmp_path, keep=2), []

    def save(trainer):
        checkpoints.save(trainer)
        checkpoints.finish(trainer)
        written.append((tmp_path / "checkpoints" / "step_000001" / "meta.pt").stat().st_mtime_ns)

    fit({1: lambda trainer: (save(trainer), save(trainer))}, steps=1)
    assert written[0] == written[1]


def test_before_the_first_optimizer_step_nothing_is_written_and_the_optimizer_is_left_alone(fit, tmp_path):
    # asked for its state, Adam would be given one by a step with zero gradients: the bias correction of step 1 would be that of 2
    checkpoints, states = Checkpoints(tmp_path, keep=2), []

    def save(trainer):
        checkpoints.save(trainer)
        checkpoints.finish(trainer)
        states.append(len(trainer.optimizers[0].state))

    module = fit({0: save}, steps=1)
    assert not (tmp_path / "checkpoints").exists()
    assert states == [0]
    # Adam's first step is the learning rate itself, 0.1
    assert module.weight.tolist() == pytest.approx([0.1] * 4)


def test_what_a_killed_run_was_writing_is_cleared_away(fit, tmp_path):
    whole, partial, link = (tmp_path / "checkpoints" / name for name in ("step_000001", "step_000002.partial", "best.partial"))
    for folder in (whole, partial):
        folder.mkdir(parents=True)
        (folder / "meta.pt").write_bytes(b"")
    link.symlink_to("step_000001")
    assert complete_checkpoints(tmp_path) == [whole]  # never taken for a whole one
    fit({0: Checkpoints(tmp_path, keep=2).clear_partial}, steps=1)
    assert names(tmp_path) == ["step_000001"]


def test_a_checkpoint_that_could_not_be_written_is_named_with_what_still_stands(fit, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)

    def blocked(trainer):
        # a folder stands where one of the checkpoint's files should be
        (tmp_path / "checkpoints" / f"step_{trainer.global_step:06d}.partial" / "meta.pt").mkdir(parents=True)
        checkpoints.save(trainer)

    with pytest.raises(CheckpointError, match=r"step_000001 could not be written: .*Is a directory; there is no earlier one"):
        fit({1: blocked}, steps=1)
    with pytest.raises(CheckpointError, match=r"step_000002 could not be written: .*Is a directory; step_000001 still stands"):
        fit({0: checkpoints.clear_partial, 1: checkpoints.save, 2: blocked}, steps=2)


def test_another_failure_keeps_the_checkpoint_that_was_being_written(fit, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)

    def fail(trainer):
        checkpoints.save(trainer)
        checkpoints.abandon(trainer)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        fit({1: fail}, steps=1)
    assert names(tmp_path) == ["step_000001"]

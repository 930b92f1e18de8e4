"""Sharded checkpoints: what comes back is what was there when the call was made."""

import pytest
import torch

from rltoolkit.training.errors import CheckpointError

# Adam under a constant gradient of -1 takes steps of exactly its learning rate: after step n every weight is 0.1 n


def test_a_checkpoint_holds_the_moment_of_the_call_though_training_goes_on(fit, tmp_path):
    path = tmp_path / "checkpoint"

    def begin(trainer):
        trainer.save_checkpoint(path)
        with torch.no_grad():
            trainer.model.weight.fill_(99.0)  # before anyone has waited for the files

    def wait(trainer):
        trainer.strategy.wait_for_checkpoint()
        assert not trainer.strategy.checkpoint_is_written()  # nothing is being written any more

    fit({2: begin, 3: wait}, steps=3)
    assert {"meta.pt", ".metadata"} < {file.name for file in path.iterdir()}
    found = []
    continued = fit({2: lambda trainer: found.append((trainer.global_step, trainer.model.weight.tolist()))},
                    steps=4, start=-7.0, checkpoint=path)  # fmt: skip
    assert found[0] == (2, pytest.approx([0.2] * 4))
    # with the optimizer's state, too: two more steps of 0.1; a new Adam's would be the same here, its count of steps not
    assert continued.weight.tolist() == pytest.approx([0.4] * 4)
    (state,) = continued.trainer.optimizers[0].state.values()
    assert int(state["step"]) == 4


def test_a_checkpoint_that_cannot_be_read_is_named_with_what_to_do(fit, tmp_path):
    path = tmp_path / "checkpoint"
    fit({1: lambda trainer: (trainer.save_checkpoint(path), trainer.strategy.wait_for_checkpoint())}, steps=1)
    for shard in path.glob("*.distcp"):
        shard.write_bytes(shard.read_bytes()[:10])
    with pytest.raises(CheckpointError, match=r"checkpoint could not be read: \w+: .*Delete it to continue from the one before"):
        fit({}, steps=2, checkpoint=path)

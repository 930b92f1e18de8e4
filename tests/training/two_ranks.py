"""What two ranks do together, each in a process of its own: torchrun --nproc-per-node 2 two_ranks.py

Each rank prints a line of JSON: its number, and what came of each scenario.
"""

import json
import os
import signal
import tempfile
import threading

import lightning as L
import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from rltoolkit.model.tiny import Tiny
from rltoolkit.policy.loading import load_policy
from rltoolkit.policy.lora import LoRA, add_adapters, whole
from rltoolkit.policy.sharded_loading import load_without_weights, read_weights
from rltoolkit.training import ranks
from rltoolkit.training.interrupts import Interrupts
from rltoolkit.training.strategy import ShardedStrategy

RANK = int(os.environ["RANK"])


def agreement() -> object:
    """The first rank decides, otherwise than the second one would; it may also refuse."""
    ranks.join()  # Lightning takes the same process group later

    def refuse() -> None:
        raise ValueError(f"rank {RANK} refuses")

    agreed = ranks.agree(lambda: f"runs/started-by-{RANK}")
    try:
        ranks.agree(refuse)
        refusal = None
    except ValueError as error:
        refusal = str(error)
    return [agreed, refusal, ranks.all_gather_objects({"rank": RANK})]


def a_model_made_by_the_second_rank() -> object:
    """The files of a model that is not in the cache yet, when the second rank happens to come first."""
    with tempfile.TemporaryDirectory() as cache:
        os.environ["RLTOOLKIT_CACHE"] = cache
        return sorted(file.name for file in Tiny(skill_steps=0, habit_steps=0)(seed=0).iterdir()) if RANK == 1 else None


def a_model_read_in_parts() -> object:
    """What differs from the model that a process loads alone, adapters included, and the share of the weights that each rank holds."""
    os.environ["RLTOOLKIT_CACHE"] = ranks.agree(tempfile.mkdtemp)
    path = Tiny(skill_steps=0, habit_steps=0)(seed=0)
    alone, dealt = load_policy(path), load_without_weights(path)
    mesh = init_device_mesh("cpu", (2,))
    for policy in (alone, dealt):
        add_adapters(policy.causal_lm, LoRA(rank=2), seed=3)
    for part in (*dealt.decoder_layers, dealt):
        fully_shard(part, mesh=mesh)
    read_weights(dealt, torch.device("cpu"))
    expected, parameters = dict(alone.named_parameters()), dict(dealt.named_parameters())
    different = [name for name, weight in parameters.items() if not torch.equal(whole(weight.detach()), expected[name])]
    held = sum(weight.to_local().numel() for weight in parameters.values())
    tied = dealt.causal_lm.get_input_embeddings().weight is dealt.causal_lm.get_output_embeddings().weight

    # a reference that is dealt out, too, follows the policy: its adapters stand in the weights
    reference = load_without_weights(path)
    for part in (*reference.decoder_layers, reference):
        fully_shard(part, mesh=mesh)
    read_weights(reference, torch.device("cpu"))
    with torch.no_grad():
        for name, weight in parameters.items():
            if "lora_B" in name:
                weight.fill_(0.5)
    reference.copy_weights(dealt)
    merged = dict(dealt.hf_weights())
    stale = [name for name, weight in reference.hf_weights() if not torch.equal(weight, merged[name])]
    return [len(expected) - len(parameters), different, held / sum(map(torch.numel, expected.values())), tied, stale]


def gathering_beside_training() -> object:
    """A thread and training exchange at the same time, neither in step with the other: what each of them got."""
    of_the_thread = ranks.gather_for_a_thread()
    got: list[object] = []

    def sample() -> None:
        for number in range(50):
            got.append(of_the_thread([RANK, number]))

    thread = threading.Thread(target=sample)
    thread.start()
    trained = [ranks.all_gather_objects(number) for number in range(30)]
    thread.join()
    return [trained == [[number] * 2 for number in range(30)], got == [[[0, number], [1, number]] for number in range(50)]]


class Steps(L.LightningModule):
    """Ten steps of nothing; the second rank alone gets a signal before the third."""

    def __init__(self, interrupts: Interrupts) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.interrupts = interrupts
        self.asked: list[bool] = []

    def configure_model(self) -> None:
        """Nothing to shard."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_train_start(self) -> None:
        self.interrupts.install(self.trainer)

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        if batch_idx == 2 and RANK == 1:
            signal.raise_signal(signal.SIGTERM)
        with self.interrupts.leaving_at_once():  # which several ranks must not do, each for itself
            pass
        self.asked.append(self.interrupts.should_stop())


def a_signal_on_one_rank() -> object:
    """When each rank stopped, and what it takes for the reason."""
    interrupts = Interrupts()
    module = Steps(interrupts)
    trainer = L.Trainer(
        accelerator="cpu", devices=2, max_steps=-1, max_epochs=1, logger=False, enable_checkpointing=False,
        strategy=ShardedStrategy(data_parallel_size=2, tensor_parallel_size=1, process_group_backend="gloo"),
        enable_progress_bar=False, enable_model_summary=False, use_distributed_sampler=False,
    )  # fmt: skip
    trainer.fit(module, DataLoader(torch.zeros(10)))
    interrupts.restore()
    return [module.asked, interrupts.received]


if __name__ == "__main__":
    answers = {"agreement": agreement(), "model": a_model_made_by_the_second_rank(), "signal": a_signal_on_one_rank()}
    answers["parts"] = a_model_read_in_parts()
    answers["thread"] = gathering_beside_training()
    os.write(1, json.dumps([RANK, answers]).encode() + b"\n")  # in one piece: both ranks write to the same pipe

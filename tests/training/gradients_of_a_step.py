"""The gradient of one optimizer step, computed by PolicyModule in many ways. A script, since ranks are processes:

python gradients_of_a_step.py OUT --devices 2 --dtype float64
"""

import argparse
from itertools import product
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from tensordict import TensorDict
from torch.utils.data import DataLoader
from transformers import StableLmConfig, StableLmForCausalLM

from rltoolkit import registry
from rltoolkit.clip_strategy import ClipHigher
from rltoolkit.importance_correction import TIS
from rltoolkit.kl_penalty import NoPenalty
from rltoolkit.loss_aggregator import LossAggregator
from rltoolkit.objective import PolicyObjective
from rltoolkit.policy.layout import LAYOUTS
from rltoolkit.policy.lora import whole
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.run.config import OptimizerConfig
from rltoolkit.training.policy_module import PolicyModule

VOCABULARY = 13
TEMPERATURE = 0.8
BUDGETS = {"one row each": 1, "a few rows each": 40, "all at once": 10**6}


def causal_lm(dtype: torch.dtype) -> StableLmForCausalLM:
    """Two layers, a tied head, and no RMSNorm, which transformers computes in float32 whatever the weights are."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = StableLmConfig(
        vocab_size=VOCABULARY, num_key_value_heads=1, initializer_range=0.3, tie_word_embeddings=True, **sizes
    )
    return StableLmForCausalLM(config).to(dtype)


def rollout_rows(dtype: torch.dtype) -> TensorDict:
    """Four groups of three; responses of 1 to 9 tokens to prompts of 2 to 8; one row and parts of another are masked."""
    generator = torch.Generator().manual_seed(1)

    def integers(low: int, high: int, *size: int) -> torch.Tensor:
        return torch.randint(low, high, size, generator=generator)

    rows, longest = 12, 17
    input_ids = torch.zeros(rows, longest, dtype=torch.int64)
    response_mask = torch.zeros(rows, longest, dtype=torch.bool)
    for group in range(4):
        prompt = integers(0, VOCABULARY, int(integers(2, 9, 1)))
        for row in range(3 * group, 3 * group + 3):
            end = len(prompt) + int(integers(1, 10, 1))
            input_ids[row, : len(prompt)] = prompt
            input_ids[row, len(prompt) : end] = integers(0, VOCABULARY, end - len(prompt))
            response_mask[row, len(prompt) : end] = True
    loss_mask = response_mask.clone()
    loss_mask[4] = False  # as overlong filtering leaves it
    loss_mask[7] &= torch.arange(longest) % 2 == 0
    noise = torch.randn(2, rows, longest, generator=generator, dtype=torch.float64).to(dtype)
    return TensorDict(
        {
            "input_ids": input_ids,
            "response_mask": response_mask,
            "loss_mask": loss_mask,
            "old_log_probs": -2.5 + 0.3 * noise[0],
            "scored_in_update": torch.zeros(rows, dtype=torch.bool),
            "rollout_log_probs": -2.5 + 0.3 * noise[1],
            "advantage": torch.randn(rows, generator=generator, dtype=torch.float64).to(dtype),
            "group_index": torch.arange(rows) // 3,
            "logged": torch.where(torch.arange(rows) % 2 == 0, 100 + torch.arange(rows), -1),
        },
        batch_size=[rows],
    )


def aggregators() -> dict[str, LossAggregator]:
    """Every registered one, with its defaults."""
    return {name: registry.build("loss_aggregator", name) for name in registry.names("loss_aggregator")}


def objective(aggregator: LossAggregator) -> PolicyObjective:
    """Clipping, weights and an entropy bonus, all of them at work."""
    return PolicyObjective(
        clip_strategy=ClipHigher(),
        loss_aggregator=aggregator,
        kl_penalty=NoPenalty(),
        importance_correction=TIS(),
        entropy_coefficient=0.01,
    )


class EveryWay(L.Callback):
    """Sets the module up for one way before each step, and takes the gradient after it."""

    def __init__(self) -> None:
        self.ways = list(product(aggregators(), LAYOUTS, BUDGETS))
        self.gradients: dict[Any, dict[str, torch.Tensor]] = {}
        self.tokens: dict[Any, dict[int, dict[str, list[float | None]]]] = {}
        """what each way records of every second row"""
        self.weights: dict[str, torch.Tensor] = {}
        """as an engine would get them after a scoring pass"""

    def on_train_batch_start(self, trainer: L.Trainer, module: PolicyModule, batch: TensorDict, index: int) -> None:
        """Aggregator, layout and budget of way number ``index``."""
        aggregator, layout, budget = self.ways[index]
        module.objective = objective(aggregators()[aggregator])
        module.policy.layout = LAYOUTS[layout]
        module.micro_batch_tokens = BUDGETS[budget]

    def on_train_batch_end(self, trainer: L.Trainer, module: PolicyModule, outputs: Any, batch: Any, index: int) -> None:
        """Whole gradients, gathered from all ranks."""
        self.gradients[self.ways[index]] = {
            name: whole(parameter.grad).clone() for name, parameter in module.policy.causal_lm.named_parameters()
        }
        self.tokens[self.ways[index]] = dict(module.token_record.lists())
        if index == 0:
            module.score(batch)
            self.weights = {name: weight.clone() for name, weight in module.full_weights()}


class Rows(L.LightningDataModule):
    """The same rows for every step."""

    def __init__(self, rows: TensorDict, steps: int) -> None:
        super().__init__()
        self.rows, self.steps = rows, steps

    def train_dataloader(self) -> DataLoader:
        return DataLoader([self.rows.clone() for _ in range(self.steps)], batch_size=None, collate_fn=lambda rows: rows)


def main() -> None:
    """Write {(aggregator, layout, budget): {parameter: gradient}} and weights after a step of learning rate 0, and tokens, to OUT."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--devices", type=int)
    parser.add_argument("--dtype")
    parser.add_argument("--compute-dtype", default="float32")
    asked = parser.parse_args()
    dtype = getattr(torch, asked.dtype)
    every_way = EveryWay()
    module = PolicyModule(
        policy=PolicyModel(causal_lm(dtype), chunk_logits=7 * VOCABULARY),
        objective=objective(aggregators()["token_mean"]),
        optimizer=OptimizerConfig(learning_rate=0.0, weight_decay=0.0, gradient_clip=1e9),
        warmup_optimizer_steps=0,
        temperature=TEMPERATURE,
        micro_batch_tokens=1,  # EveryWay sets it
        compute_dtype=asked.compute_dtype,
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=asked.devices,
        strategy=ModelParallelStrategy(data_parallel_size=asked.devices, tensor_parallel_size=1, process_group_backend="gloo"),
        max_steps=len(every_way.ways),
        callbacks=[every_way],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(module, datamodule=Rows(rollout_rows(dtype), len(every_way.ways)))
    if trainer.is_global_zero:
        torch.save((every_way.gradients, every_way.weights, every_way.tokens), asked.out)


if __name__ == "__main__":
    main()

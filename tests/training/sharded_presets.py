"""Shards the models of runs as these do, over ranks that are not real: python sharded_presets.py OVERRIDES ...

Each argument holds the overrides of a run. Parameters stay on torch's meta device, where they have shapes and no memory. Prints a line
of JSON for each run: what its first rank holds.
"""

import json
import sys
from types import SimpleNamespace

import torch
import torch.distributed as dist
import transformers
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

import rltoolkit
from rltoolkit.plan.memory import trainer_memory
from rltoolkit.plan.shape import shape_of
from rltoolkit.policy.backbone import recompute_layers
from rltoolkit.policy.policy import PolicyModel
from rltoolkit.training.policy_module import PolicyModule


def first_rank(*overrides: str) -> dict[str, object]:
    run = rltoolkit.load(*overrides)
    config, world_size = run.config, run.config.trainer.world_size
    dist.init_process_group("fake", rank=0, world_size=world_size, store=FakeStore())
    architecture = run.components.model.architecture()
    with torch.device("meta"):
        policy = PolicyModel(transformers.AutoModelForCausalLM.from_config(architecture))
    if config.trainer.recompute == "layer":
        recompute_layers(policy.causal_lm)
    module = PolicyModule(
        policy=policy,
        objective=run.objective,
        optimizer=config.optimizer,
        warmup_optimizer_steps=run.plan.warmup_optimizer_steps,
        temperature=config.sampling.temperature,
        micro_batch_tokens=config.trainer.micro_batch_tokens,
        compute_dtype=config.trainer.compute_dtype,
    )
    module._device_mesh = init_device_mesh("cpu", (world_size, 1), mesh_dim_names=("data_parallel", "tensor_parallel"))
    module.trainer = SimpleNamespace(world_size=world_size, strategy=SimpleNamespace(root_device=torch.device("meta")))
    module.configure_model()
    optimizer = module.configure_optimizers()["optimizer"]
    dist.destroy_process_group()
    parameters = list(policy.parameters())
    planned = trainer_memory(shape_of(architecture, config.lora), config.trainer, needs_reference=run.needs_reference)
    return {
        "ranks": world_size,
        "all are sharded": all(isinstance(each, DTensor) and each.is_meta for each in parameters),
        "layers sharded by themselves": sum(isinstance(layer, FSDPModule) for layer in policy.decoder_layers),
        "parameters": sum(each.numel() for each in parameters),
        "here": sum(each.to_local().numel() for each in parameters),
        "trained": sum(each.numel() for group in optimizer.param_groups for each in group["params"]),
        "planned bytes of weights": planned.weights,
    }


if __name__ == "__main__":
    for overrides in sys.argv[1:]:
        print(json.dumps(first_rank(*overrides.split())))

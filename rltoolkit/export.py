"""Write a checkpoint as a Hugging Face directory.

    python -m rltoolkit.export runs/dapo exported                               # a run: its newest checkpoint
    python -m rltoolkit.export runs/dapo/checkpoints/step_000256 exported

The directory holds weights (adapters merged), config and tokenizer, and loads in transformers and vLLM.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import warnings
from pathlib import Path

from rltoolkit.command_line import prepare, report_errors
from rltoolkit.errors import ConfigError
from rltoolkit.policy.loading import quiet_transformers
from rltoolkit.policy.lora import LoRA, add_adapters, merge_adapters
from rltoolkit.run.folder import newest_checkpoint, read_run


def export(checkpoint: Path, target: Path, dtype: str = "float32") -> Path:
    """Write ``checkpoint`` to ``target``. Raises ConfigError when it is not a checkpoint of ours, or the target is not empty."""
    import torch
    from torch.distributed import checkpoint as dcp

    from rltoolkit.policy.policy import PolicyModel

    transformers = quiet_transformers()
    model_files = checkpoint.parent.parent / "model"
    if not (checkpoint / ".metadata").is_file() or not model_files.is_dir():
        raise ConfigError(f"{checkpoint}: not a checkpoint of a run (a folder step_N in a run's checkpoints/)")
    if target.exists() and any(target.iterdir()):
        raise ConfigError(f"{target}: exists and is not empty")
    config = transformers.AutoConfig.from_pretrained(model_files, local_files_only=True)
    causal_lm = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    add_adapters(causal_lm, lora_of(checkpoint.parent.parent), seed=0)
    weights = {f"policy.{name}": tensor for name, tensor in PolicyModel(causal_lm).state_dict().items()}
    with warnings.catch_warnings(action="ignore"):  # torch warns that there is no process group; there is not meant to be one
        dcp.load({"state_dict": weights}, checkpoint_id=checkpoint)
    merge_adapters(causal_lm)
    causal_lm.to(getattr(torch, dtype)).save_pretrained(target)
    for file in model_files.iterdir():
        # save_pretrained derives a generation config from the model's config; the model's own may name more stop tokens
        if file.name == "generation_config.json" or not (target / file.name).exists():
            shutil.copy(file, target / file.name)
    return target


def lora_of(run: Path) -> LoRA:
    """The adapters of a run, by its run.json; runs from before there were any have none."""
    return LoRA(**read_run(run).get("config", {}).get("lora", {}))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m rltoolkit.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="a checkpoint of a run, or the run's folder")
    parser.add_argument("directory", type=Path, help="where it goes; must be empty, or not exist yet")
    asked = parser.parse_args(prepare(sys.argv[1:]))
    with report_errors():
        print(export(newest_checkpoint(asked.checkpoint) or asked.checkpoint, asked.directory))


if __name__ == "__main__":
    main()

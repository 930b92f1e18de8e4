"""A trainer with an engine in a subprocess, to be killed: prints the engine's process ids, then waits."""

import sys
import time
from pathlib import Path

import psutil

from rltoolkit.rollout_engine import VLLM
from tests.rollout_engine.conftest import MAX_LENGTH, random_model

if __name__ == "__main__":
    engine = VLLM(subprocess=True)(model_path=Path(sys.argv[1]), max_length=MAX_LENGTH, seed=0)
    engine.update_weights(random_model(tied=True, seed=1).state_dict().items(), version=1)
    print("processes", *(process.pid for process in psutil.Process().children(recursive=True)), flush=True)
    time.sleep(600)

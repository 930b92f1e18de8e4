"""How long it takes until something happens: imports, help, the first rollout step.

    python benchmarks/start_up.py

Each command is a process of its own; medians of three. ``torch`` is the floor of everything below it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time

from real_run import UNEVALUATED, write_csv

REPETITIONS = 3
TRAIN = ["+experiment=grpo", "mini_batch_size=512", "trainer.max_steps=1", *UNEVALUATED]
COMMANDS = {
    "import torch": ["-c", "import torch"],
    "import one component": ["-c", "from rltoolkit.clip_strategy import ClipHigher"],
    "python -m rltoolkit --help": ["-m", "rltoolkit", "--help"],
    "a run of one rollout step, transformers engine": ["-m", "rltoolkit", *TRAIN, "rollout_engine=transformers"],
    "a run of one rollout step, vLLM": ["-m", "rltoolkit", *TRAIN],
}


def main() -> None:
    """Print the table and write start_up.csv."""
    rows = []
    for name, arguments in COMMANDS.items():
        seconds = []
        for _ in range(REPETITIONS):
            with tempfile.TemporaryDirectory() as folder:
                own = [f"hydra.run.dir={folder}"] if "+experiment=grpo" in arguments else []
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments, *own], check=True, capture_output=True)
                seconds.append(time.perf_counter() - start)
        rows.append({"what": name, "seconds": round(statistics.median(seconds), 2)})
        print(f"{name:50}  {rows[-1]['seconds']:6.2f} s", flush=True)
    write_csv(__file__, rows)


if __name__ == "__main__":
    main()

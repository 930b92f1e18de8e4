"""The command line: ``python -m rltoolkit [overrides]`` trains; add ``-m`` for a sweep.

``--plugin mine.py`` loads components from a file, ``--verbose`` lets the libraries talk. Exits with 0, 1 (a run failed), 2 (bad
input), 130 or 143 (interrupted).
"""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rltoolkit.command_line import check_choices, help_text, prepare, report_errors

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from rltoolkit.run.run import Run

_jobs: list[tuple[Run, Path]] = []
"""what Hydra composed: one run and its folder, none in a sweep"""


def main() -> None:
    """Entry point."""
    arguments = prepare(sys.argv[1:])
    # argparse takes overrides in one piece only, but one writes: +experiment=dapo_ablation -m seed=0,1
    sys.argv[1:] = sorted(arguments, key=lambda argument: argument in ("-m", "--multirun"))
    with report_errors():
        if {"-h", "--help"} & set(sys.argv):
            print(help_text(shutil.get_terminal_size().columns))
            return
        import hydra

        from rltoolkit.run import compose, sweep

        check_choices(sys.argv[1:])
        compose.publish()
        sweep.register()
        hydra.main(version_base=None, config_path="pkg://rltoolkit.conf", config_name="config")(_job)()
        for run, folder in _jobs:
            # other ranks that Lightning starts repeat this command line, and must not make up a folder of their own
            sys.argv.append(f"hydra.run.dir={compose.quoted(str(folder))}")
            sys.exit(_train(run, folder))
    sys.exit(1 if sweep.failed else 0)


def _job(composed: DictConfig) -> None:
    """What Hydra gives is turned into a ``Run`` here; it trains after Hydra has returned, and nothing behind knows Hydra."""
    from hydra.core.hydra_config import HydraConfig

    from rltoolkit.run import compose

    folder = Path(HydraConfig.get().runtime.output_dir)
    with suppress(OSError):
        folder.rmdir()  # Hydra has made it; a run that is refused leaves nothing behind, and training makes it again
    with report_errors():  # Hydra prints a line of its own for errors that leave its job
        choices, overrides = compose.hydra_choices()
        run = compose.from_hydra(composed, choices, overrides)
    _jobs.append((run, folder))


def _train(run: Run, folder: Path) -> int:
    """Returns the exit status."""
    from rltoolkit.training.train import train

    result = train(run, folder)
    return 128 + result.signal if result.signal else 0


if __name__ == "__main__":
    main()

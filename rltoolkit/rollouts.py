"""Read what a run's model wrote, in the terminal, also while the run goes on.

    python -m rltoolkit.rollouts runs/dapo                       # keys and filters on the screen
    python -m rltoolkit.rollouts runs/dapo --plain --wrong       # as text, for a pipe: this is what a pipe gets in any case
    python -m rltoolkit.rollouts runs/dapo --step 7 --text wait

A sweep's folder holds several runs: give the folder of one. ``python -m rltoolkit.report`` writes the same for a browser.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Command line. Returns 2 where there is no run."""
    parser = argparse.ArgumentParser(
        prog="python -m rltoolkit.rollouts", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="folder of a run")
    parser.add_argument("--plain", action="store_true", help="print, without a screen of its own")
    parser.add_argument("--step", type=int, help="of this rollout step only")
    verdict = parser.add_mutually_exclusive_group()
    verdict.add_argument("--right", dest="correct", action="store_const", const=True, help="right ones only")
    verdict.add_argument("--wrong", dest="correct", action="store_const", const=False, help="wrong ones only")
    parser.add_argument("--truncated", action="store_const", const=True, help="truncated ones only")
    parser.add_argument("--fate", default="", help="kept, filled, all_correct, all_wrong or other")
    parser.add_argument("--text", default="", help="with this text in prompt, response or answer")
    asked = parser.parse_args(arguments)

    from rltoolkit.report.viewer.records import FATES, Filter, read_rollouts
    from rltoolkit.report.viewer.words import plain

    if asked.fate and asked.fate not in FATES:
        parser.error(f"--fate={asked.fate}: must be one of {', '.join(FATES)}")
    wanted = Filter(step=asked.step, correct=asked.correct, truncated=asked.truncated, fate=asked.fate, text=asked.text)
    if not any((asked.run / name).exists() for name in ("run.json", "metrics.csv", "rollouts")):
        print(f"error: no run in {asked.run}: neither run.json nor rollouts/", file=sys.stderr)
        return 2
    if not asked.plain and sys.stdin.isatty() and sys.stdout.isatty():
        from rltoolkit.report.viewer.terminal import Viewer

        Viewer(asked.run, wanted).run()
        return 0
    try:
        for line in plain([each for each in read_rollouts(asked.run) if wanted(each)]):
            print(line)
    except FileNotFoundError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # head, or a pager that was left
        sys.stderr.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

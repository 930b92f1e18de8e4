"""The heat map of an evaluation: problems by samples, right, wrong, or stopped by the length limit.

The three are dark, white and middle grey in luminance, so that a print without colour reads the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rltoolkit.evaluations.samples import Sample
from rltoolkit.report._plot import STYLE

KINDS = (("wrong", "#FFFFFF"), ("cut off, wrong", "#F0B48A"), ("right", "#00507D"))
MOST_NAMED = 60  # problems; more rows than that leave no room for their names


def write_heat_map(groups: Mapping[int, Sequence[Sample]], title: str, folder: Path) -> list[Path]:
    """heat_map.png and heat_map.svg; the easiest problem on top, each named by its row of the task where there is room."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    problems = sorted(groups, key=lambda problem: (-sum(each.correct for each in groups[problem]), problem))
    verdicts = [[2 if each.correct else int(each.truncated) for each in groups[problem]] for problem in problems]
    rows, k = len(problems), len(verdicts[0])
    named = rows <= MOST_NAMED
    with rc_context(STYLE):
        figure = Figure(figsize=(max(4.5, min(9, 1.6 + 0.18 * k)), max(2.2, 1.3 + rows * (0.17 if named else 0.03))))
        FigureCanvasAgg(figure)
        ax = figure.add_subplot()
        colours = ListedColormap([colour for _, colour in KINDS])
        ax.pcolormesh(verdicts, cmap=colours, vmin=-0.5, vmax=2.5, edgecolors="#CCCCCC", linewidth=0.4 if named else 0, snap=True)
        ax.set(xlim=(0, k), ylim=(rows, 0), xlabel="sample", ylabel="problems, the easiest on top")
        ax.set_title(title, loc="left", fontsize=10)
        ax.grid(False)
        ticks = list(range(0, k, max(1, k // 8)))
        ax.set_xticks([tick + 0.5 for tick in ticks], [str(tick) for tick in ticks])
        if named:
            ax.set_yticks([row + 0.5 for row in range(rows)], [str(problem) for problem in problems], fontsize=7)
            for row, verdict in enumerate(verdicts):
                share = f"{verdict.count(2) / k:.0%}".replace("%", " %")
                ax.text(k + 0.02 * k, row + 0.5, share, va="center", fontsize=7, color="#444444")
        handles = [Patch(facecolor=colour, edgecolor="#888888", label=name) for name, colour in KINDS]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        paths = [folder / "heat_map.png", folder / "heat_map.svg"]
        figure.savefig(paths[0], dpi=160)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths

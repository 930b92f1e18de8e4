"""The figures of a sweep and of a run, each as PNG and SVG; those with a number show what the paper's figure of that number shows.

Source: DAPO, arXiv:2503.14476, figures 2 to 7.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rltoolkit.report._plot import GROUPS, LOOKS, STYLE, TOKENS, Line, Look, Panel, draw, draw_groups, has
from rltoolkit.report.comparison import counted
from rltoolkit.report.rows import DAPO, NAIVE, TABLE_1, title
from rltoolkit.report.runs import Run, by_label, read_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ACCURACY = Panel(title="Held-out accuracy", y="avg_at_k", label="avg@{k} (%)", held_out=True, percent=True)
ACCURACY_BY_TOKENS = replace(ACCURACY, title="Accuracy by cost", x=TOKENS)
SAMPLED_ACCURACY = Panel(title="Sampled accuracy", y="sampled_accuracy", label="right responses (%)", percent=True)
ENTROPY = Panel(title="Entropy", y="entropy", label="entropy (nats per token)")
LENGTH = Panel(title="Response length", y="sampled_response_length", label="mean length (tokens)")
TRUNCATED = Panel(title="Truncated responses", y="sampled_truncated", label="truncated (%)", percent=True)
REWARD = Panel(title="Reward", y="sampled_reward", label="mean reward")
PROBABILITY = Panel(title="Probability", y="probability", label="mean probability of a token")
TEACHER = Panel(title="Divergence from the teacher", y="kept_teacher_kl", label="KL (nats per token)")
REFLECTION = Panel(title="Phrases of reflection", y="sampled_reflection", label="responses with one (%)", percent=True)
DIFFICULTY = "avg_at_k_difficulty_"
BY_DIFFICULTY = replace(ACCURACY, title="Accuracy by difficulty")
ALL_CORRECT = Panel(title="Groups without a wrong response", y="sampled_all_correct", label="of sampled groups (%)", percent=True)
UP_CLIPPED = Panel(title="Tokens at the ceiling", y="clipped_high_probability", label="mean probability")


Contents = dict[str, list[tuple[Panel, list[Line]]]]
"""The figures by name: panels, each with its lines."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One figure: its panels, and what each line in them is called."""

    name: str
    panels: tuple[Panel, ...]
    rows: dict[str, str] = field(default_factory=dict)
    """row -> the name at its line's end; empty: every configuration there is"""


def _pair(name: str, without: str, row: str, technique: str, *panels: Panel) -> Plan:
    """The row of Table 1 that adds a technique beside the row before it."""
    return Plan(name=name, panels=panels, rows={without: f"without\n{technique}", row: f"with\n{technique}"})


OVERVIEW = Plan(name="overview", panels=(ACCURACY, SAMPLED_ACCURACY, ENTROPY, LENGTH, TRUNCATED, ACCURACY_BY_TOKENS, TEACHER))
HELD_OUT_TASKS = "held_out_tasks"
OF_A_SWEEP = (
    _pair("figure_2_clip_higher", "overlong_filtering", "clip_higher", "clip-higher", ACCURACY, ENTROPY),
    _pair("figure_3a_all_correct", "naive_grpo", "dynamic_sampling", "DAPO", ALL_CORRECT),
    _pair("figure_3b_up_clipped", "overlong_filtering", "clip_higher", "clip-higher", UP_CLIPPED),
    _pair("figure_4_token_level_loss", "soft_overlong_punishment", "token_level_loss", "token-level\nloss", ENTROPY, LENGTH),
    _pair("figure_5_overlong_filtering", "naive_grpo", "overlong_filtering", "filtering", ACCURACY, ENTROPY),
    _pair("figure_6_dynamic_sampling", "token_level_loss", "dynamic_sampling", "dynamic\nsampling", ACCURACY, ACCURACY_BY_TOKENS),
    Plan(
        name="figure_7_dynamics",
        panels=(LENGTH, REWARD, ENTROPY, PROBABILITY),
        rows={"naive_grpo": "naive\nGRPO", "dynamic_sampling": "DAPO"},
    ),
    Plan(
        name="leave_one_out",
        panels=(ACCURACY, ACCURACY_BY_TOKENS),
        rows={
            "dynamic_sampling": "DAPO",
            "without_overlong_filtering": "without filtering",
            "without_clip_higher": "without clip-higher",
            "without_soft_overlong_punishment": "without soft punishment",
            "without_token_level_loss": "without token-level loss",
            "token_level_loss": "without dynamic sampling",
        },
    ),
    Plan(
        name="other_reading",
        panels=(ACCURACY, LENGTH),
        rows={
            "clip_higher": "filtering",
            "soft_overlong_punishment": "filtering and\nsoft punishment",
            "soft_replaces_filtering": "soft punishment",
        },
    ),
)
ANSWERS = (
    (replace(ACCURACY, label="held-out problems (%)"), {"avg_at_k": "avg@k", "pass_at_k": "pass@k"}),
    (replace(SAMPLED_ACCURACY, label="sampled groups of G (%)"), {"sampled_accuracy": "avg@G", "sampled_pass_at_k": "pass@G"}),
    (LENGTH, {"sampled_response_length_right": "right", "sampled_response_length_wrong": "wrong"}),
    (REFLECTION, {"sampled_reflection_right": "right", "sampled_reflection_wrong": "wrong"}),
)
"""How the policy answers: panels of several columns of the same runs, each with the name at its line's end."""
OF_A_RUN = (
    OVERVIEW,
    Plan(name="figure_3_clip_higher", panels=(ALL_CORRECT, UP_CLIPPED)),
    Plan(name="figure_7_dynamics", panels=(LENGTH, REWARD, ENTROPY, PROBABILITY)),
)


def write_sweep_figures(runs: list[Run], folder: Path) -> list[Path]:
    """The overview, and each figure whose rows are all there. Returns the paths of the PNGs."""
    groups = by_label(runs)
    if groups.keys() & TABLE_1.keys():
        overview = {label: runs for label, runs in groups.items() if runs[0].shared.name in TABLE_1}
        plans = [plan for plan in OF_A_SWEEP if plan.rows.keys() <= groups.keys()]
    else:
        overview, plans = groups, []
    lines = _numbered(overview)
    figures: Contents = {OVERVIEW.name: _panels(OVERVIEW, lines), HELD_OUT_TASKS: _tasks(lines)}
    figures |= {plan.name: _panels(plan, _lines(plan, groups)) for plan in plans}
    areas = {label: runs for label, runs in groups.items() if label in (NAIVE, DAPO)} or dict(list(groups.items())[:1])
    return _write(figures, areas, groups.get(DAPO, []), folder)


def write_run_figures(run_dir: Path) -> list[Path]:
    """The figures of one run, into its folder ``figures``. Returns the paths of the PNGs.

    Raises:
        FileNotFoundError: the run has neither training steps nor evaluations.
    """
    run = read_run(Path(run_dir))
    if not run.steps and not run.evaluations:
        raise FileNotFoundError(f"nothing to draw in {run_dir}: metrics.csv and evaluations.csv are missing or empty")
    line = [Line([run], Look(LOOKS[5].colour, "-", "o"), run.title)]
    figures = {plan.name: _panels(plan, line) for plan in OF_A_RUN} | {HELD_OUT_TASKS: _tasks(line)}
    return _write(figures, {run.title: [run]}, [run], Path(run_dir) / "figures")


def _write(figures: Contents, areas: dict[str, list[Run]], answering: list[Run], folder: Path) -> list[Path]:
    """The figures, the groups of each row of ``areas``, and how the runs ``answering`` do it."""
    from matplotlib import rc_context

    areas = {name: runs for name, runs in areas.items() if all(len(_complete(run)) > 1 for run in counted(runs) or runs)}
    with rc_context(STYLE):
        drawn = {
            name: _figure(contents, legend=name in (OVERVIEW.name, HELD_OUT_TASKS))
            for name, contents in (figures | {"answers": _answers(answering)}).items()
        }
        drawn |= {"groups": _areas(areas)} if areas else {}
        paths = []
        for name, figure in drawn.items():
            if figure is not None:
                folder.mkdir(parents=True, exist_ok=True)
                figure.savefig(folder / f"{name}.png", dpi=160)
                figure.set_layout_engine("none")  # places are found, which takes most of the time
                figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
                paths.append(folder / f"{name}.png")
    return paths


def _panels(plan: Plan, lines: list[Line]) -> list[tuple[Panel, list[Line]]]:
    """What a plan draws: every line in every panel."""
    return [(panel, lines) for panel in plan.panels]


def _answers(runs: list[Run]) -> list[tuple[Panel, list[Line]]]:
    """Several columns of the same runs in each panel; difficulties are the task's own."""
    difficulties = {name: name.removeprefix(DIFFICULTY) for run in runs for row in run.evaluations for name in row}
    by_difficulty = {name: label for name, label in difficulties.items() if name.startswith(DIFFICULTY)}
    return [
        (panel, [Line(runs, look, label, name) for look, (name, label) in zip(LOOKS, columns.items(), strict=False)])
        for panel, columns in (*ANSWERS, (BY_DIFFICULTY, by_difficulty))
    ]


def _tasks(lines: list[Line]) -> list[tuple[Panel, list[Line]]]:
    """A panel for each held-out task, where there are several."""
    tasks = list(dict.fromkeys(task for line in lines for run in line.runs for task in run.held_out))
    return [(replace(ACCURACY, title=task, task=task), lines) for task in tasks] if len(tasks) > 1 else []


def _figure(contents: list[tuple[Panel, list[Line]]], *, legend: bool) -> Figure | None:
    """None where not one panel has data; ``legend`` explains lines that are numbered."""
    from matplotlib.figure import Figure

    contents = [(panel, lines) for panel, lines in contents if any(has(line, panel) for line in lines)]
    if not contents:
        return None
    columns = 2 if len(contents) in (2, 4) else min(3, len(contents))
    rows = -(-len(contents) // columns)
    lines = contents[0][1]
    legend = legend and len(lines) > 1
    figure = Figure(figsize=(3.6 * columns, 2.75 * rows + (0.2 + 0.17 * -(-len(lines) // 3) if legend else 0)))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    notes = set().union(*(draw(ax, *content, _k(lines)) for content, ax in zip(contents, axes, strict=False)))
    for ax in axes[len(contents) :]:
        ax.set_axis_off()
    if notes:
        figure.supxlabel("; ".join(sorted(notes)), fontsize=6.5, color="#777777")
    if legend:
        figure.legend(*_legend(lines), loc="outside lower center", ncols=3, handlelength=4)
    return figure


def _areas(groups: dict[str, list[Run]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.0 * len(groups), 2.9))
    for ax, (name, runs) in zip(figure.subplots(1, len(groups), squeeze=False).flat, groups.items(), strict=True):
        draw_groups(ax, runs, title(name))
    return figure


def _complete(run: Run) -> list[dict[str, str]]:
    """The rollout steps that say what their groups were."""
    return [step for step in run.steps if all(step.get(name) for name in GROUPS)]


def _lines(plan: Plan, groups: dict[str, list[Run]]) -> list[Line]:
    """A row of Table 1 looks the same in every figure."""
    others = [row for row in plan.rows if row not in TABLE_1]
    known = dict(zip((*TABLE_1, *others), LOOKS, strict=False))
    return [Line(groups[row], known[row], label) for row, label in plan.rows.items()]


def _numbered(groups: dict[str, list[Run]]) -> list[Line]:
    """Lines that are called 1, 2, 3 at their ends; the legend has the names."""
    if groups.keys() <= TABLE_1.keys():
        number = {label: list(TABLE_1).index(label) for label in groups}
    else:
        number = {label: i for i, label in enumerate(groups)}
    return [Line(runs, LOOKS[number[label] % len(LOOKS)], str(number[label] + 1)) for label, runs in groups.items()]


def _legend(lines: list[Line]) -> tuple[list[Line2D], list[str]]:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, linewidth=1.8, linestyle=look.dash, marker=look.marker, markersize=4)
        for look in (line.look for line in lines)
    ]
    failed = [all(run.status == "failed" for run in line.runs) for line in lines]
    return handles, [
        f"{line.label}  {line.runs[0].title}{' (failed)' if bad else ''}" for line, bad in zip(lines, failed, strict=True)
    ]


def _k(lines: list[Line]) -> str:
    ks = {row.get("k") for line in lines for run in line.runs for row in run.evaluations} - {None, ""}
    return str(ks.pop()) if len(ks) == 1 else "k"

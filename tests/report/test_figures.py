"""Figures: what a line is made of, and that the files are drawn."""

import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from rltoolkit.report import find_runs, write_report, write_run_figures
from rltoolkit.report.__main__ import main
from rltoolkit.report._plot import LOOKS, Line, _on_one_grid, draw, running_mean
from rltoolkit.report.figures import ACCURACY, BY_DIFFICULTY, ENTROPY, OF_A_SWEEP, _answers, _areas
from rltoolkit.report.rows import ROWS


def test_the_mean_line_spans_what_all_seeds_have():
    # Common range [2, 4]. The second run is a straight line between 2 and 6: at 4 it is at its middle, 30.
    first = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 10.0, 20.0]))
    second = (np.array([2.0, 6.0]), np.array([20.0, 40.0]))
    x, values = _on_one_grid([first, second])
    assert x.tolist() == [2, 4]
    assert values.tolist() == [[10, 20], [20, 30]]


def test_the_running_mean_is_centred_and_honest_at_the_ends():
    # (0+3)/2, (0+3+6)/3, (3+6+9)/3, (6+9)/2
    assert running_mean(np.array([0.0, 3.0, 6.0, 9.0]), 3) == pytest.approx([1.5, 3, 6, 7.5])


def test_a_panel_draws_percent_of_finished_seeds(write_run, tmp_path):
    write_run("s0", [0.1, 0.3], ablation="naive_grpo", seed=0)
    write_run("s1", [0.1, 0.5], ablation="naive_grpo", seed=1)
    write_run("s2", [0.9, 0.9], ablation="naive_grpo", seed=2, status="failed")
    ax = Figure().subplots()
    notes = draw(ax, ACCURACY, [Line(find_runs(tmp_path), LOOKS[0], "naive")], "32")
    (mean,) = ax.lines
    assert mean.get_xdata().tolist() == [0, 5]
    assert mean.get_ydata() == pytest.approx([10, 40])  # (30 + 50) / 2; the failed seed's 90 does not count
    assert ax.get_ylabel() == "avg@32 (%)"
    assert notes == {"band: 95 % interval over seeds"}
    # with two seeds the interval takes in both: 30 to 50 at the end
    (band,) = ax.collections
    assert band.get_paths()[0].get_extents().y1 == pytest.approx(50)


def test_names_at_the_ends_do_not_touch(write_run, tmp_path):
    lines = []
    for i, final in enumerate((0.5, 0.501, 0.9)):
        lines.append(Line([find_runs(write_run(str(i), [0.1, final]))[0]], LOOKS[i], f"line {i}"))
    ax = Figure().subplots()
    draw(ax, ACCURACY, lines)
    heights = sorted(text.xy[1] for text in ax.texts)
    # Two ends are 0.1 points apart on an axis of about 80: their names move apart, the third stays where it is.
    assert heights[1] - heights[0] > 5
    assert heights[2] == pytest.approx(90)
    assert (heights[0] + heights[1]) / 2 == pytest.approx(50.05)


def test_areas_show_what_the_sampled_groups_were(write_run, tmp_path):
    folder = write_run("run", [0.1], ablation="dynamic_sampling")
    groups = "optimizer_step,sampled_all_correct,sampled_all_wrong,acceptance_rate\n1,0.1,0.3,0.6\n2,0.2,0.2,0.6\n"
    (folder / "metrics.csv").write_text(groups)
    (ax,) = _areas({"dynamic_sampling": find_runs(tmp_path)}).axes
    right, mixed, wrong = (area.get_paths()[0].get_extents() for area in ax.collections)
    # all right up to 20 %; all wrong from the top down to 70 %; what is mixed lies between
    assert (right.y0, right.y1) == pytest.approx((0, 20))
    assert (wrong.y0, wrong.y1) == pytest.approx((70, 100))
    assert (mixed.y0, mixed.y1) == pytest.approx((10, 80))
    assert ax.lines[0].get_ydata() == pytest.approx([60, 60])


def test_answers_are_drawn_by_the_difficulties_that_the_task_names(write_run, tmp_path):
    write_run("run", [0.1, 0.3], avg_at_k_difficulty_2=0.5, avg_at_k_difficulty_hard=0.25)
    contents = {panel.title: lines for panel, lines in _answers(find_runs(tmp_path))}
    assert [line.label for line in contents["Accuracy by difficulty"]] == ["2", "hard"]
    ax = Figure().subplots()
    draw(ax, BY_DIFFICULTY, contents["Accuracy by difficulty"])
    assert [line.get_ydata()[-1] for line in ax.lines] == [50, 25]
    assert sorted(text.get_text() for text in ax.texts) == ["2", "hard"]


def test_runs_without_a_step_in_common_have_no_mean(write_run, tmp_path):
    for name, steps in {"a": (1, 2), "b": (3, 4)}.items():
        rows = "".join(f"{step},0.5\n" for step in steps)
        (write_run(name, [0.1]) / "metrics.csv").write_text(f"optimizer_step,entropy\n{rows}")
    ax = Figure().subplots()
    draw(ax, ENTROPY, [Line(find_runs(tmp_path), LOOKS[0], "both")])
    assert not ax.lines


def test_one_run_has_its_figures_as_png_and_svg(write_run):
    folder = write_run("run", [0.1, 0.3])
    # metrics.csv here has neither response lengths nor groups.
    paths = write_run_figures(folder)
    assert [path.name for path in paths] == ["overview.png", "figure_7_dynamics.png", "answers.png"]
    assert {path.name for path in (folder / "figures").iterdir()} == {
        f"{path.stem}.{kind}" for path in paths for kind in ("png", "svg")
    }
    for path in paths:
        assert path.read_bytes().startswith(b"\x89PNG")
        assert ElementTree.parse(path.with_suffix(".svg")).getroot().tag.endswith("svg")


def test_a_figure_is_drawn_where_its_rows_are(write_run, tmp_path):
    assert {row for plan in OF_A_SWEEP for row in plan.rows} <= ROWS.keys()
    for row in ("naive_grpo", "overlong_filtering", "clip_higher"):
        write_run(row, [0.1, 0.3], ablation=row)
    names = [path.name for path in write_report(tmp_path)]
    assert names == ["table.md", "overview.png", "figure_2_clip_higher.png", "figure_5_overlong_filtering.png"]


def test_the_command_tells_a_run_from_a_sweep(write_run, tmp_path, capsys):
    folder = write_run("run", [0.1])
    assert main([str(folder)]) == 0
    assert (folder / "figures" / "overview.png").is_file()
    assert not (folder / "table.md").exists()
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "table.md").is_file()
    (tmp_path / "empty").mkdir()
    for name, error in {"empty": "error: no run below", "gone": "error: no such folder"}.items():
        assert main([str(tmp_path / name)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"{error}{':' if name == 'gone' else ''} {tmp_path / name}")


def test_importing_the_report_does_not_import_matplotlib():
    code = "import rltoolkit.report, sys; assert not {'matplotlib', 'scipy', 'rich', 'torch', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

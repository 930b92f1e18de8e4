"""Figures: what a line is made of, and that the files are drawn."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from rltoolkit.report import find_runs, write_run_figures
from rltoolkit.report.__main__ import main
from rltoolkit.report.figures import PANELS, _draw, _mean, _running_mean


def test_the_mean_line_spans_what_all_seeds_have():
    # Common range [2, 4]. The second run is a straight line between 2 and 6: at 4 it is at its middle, 30.
    first = (np.array([0.0, 2.0, 4.0]), np.array([0.0, 10.0, 20.0]))
    second = (np.array([2.0, 6.0]), np.array([20.0, 40.0]))
    x, mean, error = _mean([first, second])
    assert x.tolist() == [2, 4]
    assert mean.tolist() == [15, 25]
    # std([10, 20]) = sqrt(2 * 5^2 / 1), over sqrt(2): 5
    assert error == pytest.approx([5, 5])


def test_the_running_mean_is_centred_and_honest_at_the_ends():
    # (0+3)/2, (0+3+6)/3, (3+6+9)/3, (6+9)/2
    assert _running_mean(np.array([0.0, 3.0, 6.0, 9.0]), 3) == pytest.approx([1.5, 3, 6, 7.5])


def test_a_panel_draws_percent_of_finished_seeds(write_run, tmp_path):
    write_run("s0", [0.1, 0.3], ablation="naive_grpo", seed=0)
    write_run("s1", [0.1, 0.5], ablation="naive_grpo", seed=1)
    write_run("s2", [0.9, 0.9], ablation="naive_grpo", seed=2, status="failed")
    ax = Figure().subplots()
    _draw(ax, PANELS[0], {"naive_grpo": find_runs(tmp_path)})
    *singles, mean = ax.lines
    assert len(singles) == 3
    assert mean.get_xdata().tolist() == [0, 5]
    assert mean.get_ydata() == pytest.approx([10, 40])  # (30 + 50) / 2; the failed seed's 90 does not count
    assert ax.get_ylabel() == "avg@32 (%)"


def test_one_run_has_a_figure_for_each_panel_with_data(write_run):
    folder = write_run("run", [0.1, 0.3])
    # metrics.csv here has no response length and no truncated ratio.
    names = {path.name for path in write_run_figures(folder)}
    panels = {"accuracy", "rollout_accuracy", "entropy", "accuracy_by_tokens"}
    assert names == {f"{name}.png" for name in panels | {"overview"}}
    assert {path.name for path in (folder / "figures").iterdir()} == names


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
    code = "import rltoolkit.report, sys; assert not {'matplotlib', 'rich', 'torch', 'hydra'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)

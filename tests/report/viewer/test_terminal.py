"""The viewer in a terminal, by its keys, and its plain output."""

import asyncio
import io
import re
import subprocess
import sys

from rich.console import Console
from textual.widgets import DataTable, Input, Static

from rltoolkit import rollouts
from rltoolkit.report.viewer import read_rollouts
from rltoolkit.report.viewer.terminal import Viewer
from rltoolkit.report.viewer.words import detail, plain, tokens

from .conftest import response_line, update_line


def drive(folder, script):
    """Run ``await script(viewer, pilot)`` on a screen of 80 columns."""

    async def run():
        viewer = Viewer(folder)
        async with viewer.run_test(size=(80, 24)) as pilot:
            await pilot.pause()
            await script(viewer, pilot)

    asyncio.run(run())


def state(viewer):
    return str(viewer.query_one("#state", Static).content)


def shown(viewer):
    return str(viewer.query_one("#response", Static).content)


def test_keys_filter_choose_and_colour(run_folder):
    async def script(viewer, pilot):
        assert state(viewer) == "5 of 5 | all steps | right and wrong | any length | all groups"
        assert "✓ right" in shown(viewer)
        await pilot.press("down")
        assert "✗ wrong  step 1, prompt 10, trained on, optimizer step 2" in shown(viewer)
        assert "reward -1.25 (equation_answer -1, soft_overlong_punishment -0.25)" in shown(viewer)
        await pilot.press("v", "v")
        assert state(viewer) == "4 of 5 | all steps | wrong | any length | all groups"
        assert "optimizer step 2" in shown(viewer)  # the chosen one passes, and stays chosen
        await pilot.press("f", "f")
        assert state(viewer) == "2 of 5 | all steps | wrong | any length | rejected: all wrong"
        await pilot.press("x", "right_square_bracket", "right_square_bracket")
        assert state(viewer) == "1 of 5 | step 2 | right and wrong | any length | all groups"
        await pilot.press("c")
        assert "tokens by entropy" in shown(viewer)
        await pilot.press("x", "slash", *"wait", "enter")
        assert state(viewer).startswith("2 of 5")
        assert state(viewer).endswith("'wait'")
        assert viewer.focused is viewer.query_one(DataTable)
        await pilot.press("slash", *"zz", "enter")
        assert shown(viewer) == "No response passes the filters."
        await pilot.press("x")
        assert (state(viewer)[:6], viewer.query_one("#text", Input).value) == ("5 of 5", "")

    drive(run_folder, script)


def test_a_run_that_goes_on_brings_new_files_and_updates(write_rollouts, tmp_path):
    async def script(viewer, pilot):
        assert shown(viewer).startswith("No responses in")
        write_rollouts({1: [response_line(0)]})
        viewer.refresh_files()
        await pilot.pause()
        assert "not trained on" in shown(viewer)
        write_rollouts({1: [response_line(0)], 2: [response_line(0)]}, {1: [update_line(0, 6, optimizer_step=5)]})
        viewer.refresh_files()
        await pilot.pause()
        assert "optimizer step 5" in shown(viewer)
        assert state(viewer).startswith("2 of 2")

    drive(tmp_path / "run", script)


def test_a_clipped_token_carries_a_sign_and_colours_follow_the_values(run_folder):
    wrong = read_rollouts(run_folder)[1]
    # vermilion for ratios below 1: log(0.7) / log(1.3) < -1, full strength, 0.8 of (213, 94, 0)
    assert next(iter(tokens(wrong, "ratio"))) == ("3▾", "on rgb(170,75,0) underline")
    assert next(iter(tokens(wrong, "none"))) == ("3▾", "underline")
    assert next(iter(tokens(wrong, "entropy")))[1].startswith("on rgb(122,59,112)")  # 0.25 is the most there is


def test_no_escape_sequence_of_a_model_reaches_the_terminal(write_rollouts):
    hostile = "\x1b[2J\x1b]0;title\x07\x9b31m\r\u202e"
    folder = write_rollouts({1: [response_line(0, hostile, tokens=[hostile, "[bold]"], prompt=hostile, answer=hostile)]})
    (response,) = read_rollouts(folder)
    out = Console(file=io.StringIO(), force_terminal=True, width=80, color_system="truecolor")
    out.print(detail(response, "probability"))
    ours = re.sub(r"\x1b\[[0-9;]*m", "", out.file.getvalue())  # colours are ours
    for text in (ours, *plain([response])):
        assert not [character for character in text if not character.isprintable() and character != "\n"]
    assert "[bold]" in ours  # it is text, not Rich's markup

    async def script(viewer, pilot):
        assert "␛[2J" in shown(viewer)

    drive(folder, script)


def test_a_pipe_gets_text(run_folder):
    arguments = [sys.executable, "-m", "rltoolkit.rollouts", str(run_folder), "--wrong", "--fate", "kept"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "step 1, prompt 10: wrong, reward -1.25 (equation_answer -1, soft_overlong_punishment -0.25), advantage -0.5, 6 tokens, "
        "trained on",
        "  3+4= 3+4=8#",
        "step 2, prompt 10: wrong, truncated, reward -1, advantage 0.5, 13 tokens, trained on",
        "  3+4= and on and on",
    ]
    assert (done.returncode, done.stderr) == (0, "")


def test_a_folder_without_a_run_is_refused(tmp_path, capsys):
    assert rollouts.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: no run in {tmp_path}: neither run.json nor rollouts/\n"

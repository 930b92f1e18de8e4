"""The viewer in a terminal, for machines without a browser; it follows a run that goes on.

Model text is shown through ``records.visible``, so no escape sequence in it reaches the terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.widgets import DataTable, Footer, Input, Static

from rltoolkit.report.viewer.records import FATES, Filter, Response, read_rollout_step, rollout_files, visible
from rltoolkit.report.viewer.words import COLOURINGS, detail, number

T = TypeVar("T")

SECONDS = 2.0
"""Between two looks for new files."""
VERDICTS = {True: "right", False: "wrong", None: "right and wrong"}
TRUNCATED = {True: "truncated", False: "complete", None: "any length"}


class Viewer(App[None]):
    """A list of responses and the one that is chosen, with keys for filters and colours.

    Args:
        run_dir: the run's folder; files that appear in it later are added.
        wanted: what to show at first; everything where not given.
    """

    TITLE = "responses"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #state { height: 1; padding: 0 1; text-style: reverse; }
    #text { display: none; height: 3; }
    #text.asked { display: block; }
    DataTable { height: 2fr; }
    #detail { height: 3fr; border-top: solid gray; padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        ("c", "colour", "colour"),
        ("v", "verdict", "verdict"),
        ("t", "truncated", "truncated"),
        ("f", "fate", "group"),
        Binding("left_square_bracket", "step(-1)", "step", key_display="[ ]"),
        Binding("right_square_bracket", "step(1)", show=False),
        ("slash", "text", "text"),
        ("x", "clear", "all"),
        ("q", "quit", "quit"),
        Binding("escape", "leave_text", show=False),
    ]

    def __init__(self, run_dir: Path, wanted: Filter | None = None) -> None:
        super().__init__()
        self.run_dir = run_dir
        self.filter = wanted or Filter()
        self.colouring = COLOURINGS[0]
        self.responses: dict[tuple[int, int], Response] = {}
        self.shown: list[Response] = []
        self._read: dict[Path, tuple[float, ...]] = {}

    def compose(self) -> ComposeResult:
        """State, list, response, keys."""
        with Vertical():
            yield Static(id="state", markup=False)
            yield Input(id="text", placeholder="text in prompt, response or answer; Enter")
            yield DataTable(cursor_type="row")
            with VerticalScroll(id="detail"):
                yield Static(id="response", markup=False)
            yield Footer()

    def on_mount(self) -> None:
        """Read what is there, and look again every few seconds."""
        self.query_one(DataTable).add_columns("step", "", "reward", "len", "", "prompt and response")
        self.query_one(DataTable).focus()
        self.refresh_files()
        self.set_interval(SECONDS, self.refresh_files)

    def refresh_files(self) -> None:
        """Read files that are new or have grown."""
        changed = False
        for file in rollout_files(self.run_dir):
            updates = file.with_name(file.name.replace("step_", "updates_", 1))
            stamp = tuple(
                part for each in (file, updates) if each.exists() for part in (each.stat().st_mtime, each.stat().st_size)
            )
            if self._read.get(file) != stamp:
                self._read[file] = stamp
                self.responses |= {(each.rollout_step, each.row): each for each in read_rollout_step(file)}
                changed = True
        if changed or not self.responses:
            self.fill()

    def fill(self) -> None:
        """List what passes the filter; the chosen response stays chosen if it is among them."""
        table = self.query_one(DataTable)
        chosen = self.chosen
        at = (chosen.rollout_step, chosen.row) if chosen else None
        self.shown = [self.responses[key] for key in sorted(self.responses) if self.filter(self.responses[key])]
        table.clear()
        for response in self.shown:
            table.add_row(*_cells(response))
        places = {(each.rollout_step, each.row): place for place, each in enumerate(self.shown)}
        table.move_cursor(row=places.get(at, 0) if at else 0)
        self.say()

    @property
    def chosen(self) -> Response | None:
        """The response under the cursor."""
        row = self.query_one(DataTable).cursor_row
        return self.shown[row] if 0 <= row < len(self.shown) else None

    def say(self) -> None:
        """The line of the filter, and the response."""
        asked = self.filter
        parts = [
            f"{len(self.shown):,} of {len(self.responses):,}",
            f"step {asked.step}" if asked.step is not None else "all steps",
            VERDICTS[asked.correct],
            TRUNCATED[asked.truncated],
            FATES[asked.fate] if asked.fate else "all groups",
            *([repr(visible(asked.text))] if asked.text else []),
        ]
        self.query_one("#state", Static).update(" | ".join(parts))
        response = self.chosen
        waiting = "No response passes the filters." if self.responses else f"No responses in {self.run_dir} yet."
        self.query_one("#response", Static).update(detail(response, self.colouring) if response else waiting)

    def on_data_table_row_highlighted(self) -> None:
        """Another response is chosen."""
        self.query_one("#detail").scroll_home(animate=False)
        self.say()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The text to look for is complete."""
        self.filter = replace(self.filter, text=event.value)
        self.action_leave_text()
        self.fill()

    def action_text(self) -> None:
        """Ask for a text."""
        self.query_one("#text").add_class("asked").focus()

    def action_leave_text(self) -> None:
        """Back to the list."""
        self.query_one("#text").remove_class("asked")
        self.query_one(DataTable).focus()

    def action_colour(self) -> None:
        """The next colouring."""
        self.colouring = _next(COLOURINGS, self.colouring)
        self.say()

    def action_verdict(self) -> None:
        """Right, wrong, both."""
        self._ask(replace(self.filter, correct=_next((None, True, False), self.filter.correct)))

    def action_truncated(self) -> None:
        """Truncated, complete, both."""
        self._ask(replace(self.filter, truncated=_next((None, True, False), self.filter.truncated)))

    def action_fate(self) -> None:
        """Kept, or one of the reasons for a rejection."""
        there = {each.fate for each in self.responses.values()}
        self._ask(replace(self.filter, fate=_next(("", *(fate for fate in FATES if fate in there)), self.filter.fate)))

    def action_step(self, by: int) -> None:
        """One rollout step forwards or backwards; all of them beyond either end."""
        steps = [None, *sorted({step for step, _ in self.responses})]
        self._ask(replace(self.filter, step=_next(steps, self.filter.step, by)))

    def action_clear(self) -> None:
        """No filter."""
        self.query_one("#text", Input).value = ""
        self._ask(Filter())

    def _ask(self, asked: Filter) -> None:
        self.filter = asked
        self.fill()


def _cells(response: Response) -> tuple[Text, ...]:
    rejected = response.fate not in ("kept", "filled")
    words = (
        str(response.rollout_step),
        "✓" if response.correct else "✗",
        number(response.reward),
        str(response.response_length),
        "cut" if response.truncated else "",
        visible(f"{response.prompt[-40:]} {response.response[:120]}", "⏎"),
    )
    return tuple(Text(word, style="dim italic" if rejected else "") for word in words)


def _next(choices: Sequence[T], now: T, by: int = 1) -> T:
    place = choices.index(now) if now in choices else 0
    return choices[(place + by) % len(choices)]

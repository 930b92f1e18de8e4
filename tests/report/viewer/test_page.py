"""viewer.html as a person uses it, in headless Chromium: open, filter, read, by mouse and keys, whatever a model has written."""

import json
import os
import shutil
from contextlib import suppress

import pytest

from rltoolkit.columns import EVALUATIONS, METRICS
from rltoolkit.report.viewer import page as viewer_page
from rltoolkit.report.viewer import write_viewer, write_viewers

from .conftest import response_line, update_line

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
sync_api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")

# What a model may write; each would do harm in a page or a terminal that took it for markup or control.
HOSTILE = {
    "end of script": "</script><script>window.harmed = true</script><!--",
    "image": "<img src=x onerror='window.harmed = true'>",
    "style": "</style><style>* { display: none }</style>",
    "template": "{{script}} ${window.harmed = true} %s",
    "control characters": "\x00\x01\b\x7f\x9b",
    "terminal escapes": "\x1b[2J\x1b]0;title\x07\x1b[31mred",
    "line separators": "a\u2028b\u2029c",
    "half a surrogate": "\ud83d and \ude00",
    "turned round": "\u202egnp.exe\u2066",
    "long": "x" * 100_000,
    "many lines": "\n" * 3000,
}


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield started
        started.close()


@pytest.fixture
def show(browser):
    """``show(folder, **context) -> page`` of the run's viewer; nothing may be said on the console or fetched, by the test's end."""
    contexts, said = [], []

    def open_page(path, **context):
        contexts.append(browser.new_context(**context))
        page = contexts[-1].new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: request.url == path.as_uri() or said.append(f"fetched {request.url}"))
        page.goto(path.as_uri())
        page.wait_for_selector("main:not([hidden])")
        return page

    yield lambda folder, **context: open_page(write_viewer(folder), **context)
    for context in contexts:
        context.close()
    assert said == []


def rows(page):
    return [row.split("\n")[-1] for row in page.locator(".row").all_inner_texts()]


def test_every_curve_is_a_column_that_runs_write():
    for curve in viewer_page.CURVES:
        assert curve.column in (EVALUATIONS if curve.held_out else METRICS)


def test_filters_narrow_the_list_and_the_first_response_is_shown(show, run_folder):
    page = show(run_folder)
    assert page.inner_text("h1") == "+ Dynamic sampling (DAPO)"
    assert page.inner_text("#facts") == "finished · seed 3 · held-out accuracy 40.0%"
    assert page.inner_text("#count") == "5 of 5 responses"
    assert page.locator("figcaption").all_inner_texts() == [
        "held-out accuracy\n40 %",
        "sampled accuracy\n50 %",
        "entropy\n1.2",
    ]
    page.select_option("#verdict", "wrong")
    page.select_option("#fate", "all_wrong")
    assert rows(page) == ["3+4= wait, 9#", "3+4= wait, 1#"]
    assert page.inner_text("#count") == "2 of 5 responses"
    page.fill("#text", "1#")
    assert rows(page) == ["3+4= wait, 1#"]
    assert "rejected: all wrong" in page.inner_text("#detail")
    page.fill("#text", "nothing like it")
    assert page.inner_text("#detail") == "No response passes the filters."
    page.fill("#text", "")
    page.select_option("#fate", "")
    page.select_option("#truncated", "yes")
    assert rows(page) == ["3+4= and on and on"]
    page.select_option("#truncated", "")
    page.select_option("#verdict", "")
    page.locator("svg").first.click(position={"x": 180, "y": 40})  # the end of a curve: the last rollout step
    assert page.input_value("#step") == "2"


def test_a_response_shows_its_group_its_reward_and_its_tokens(show, run_folder):
    page = show(run_folder)
    page.locator("#siblings button").nth(1).click()
    assert "−1.25 = −1 equation_answer −0.25 soft_overlong_punishment" in page.inner_text("#detail")
    assert page.locator(".token").all_inner_texts() == list("3+4=8#")
    page.select_option("#colouring", "clipped")
    assert page.locator(".token.low").count() == 6  # a line below each, colours or not
    page.hover(".token >> nth=4")
    # exp(-0.5) = 0.6065
    assert page.inner_text("#tip").split("\n") == [
        '"8"', "probability 0.6065", "entropy 0.25", "ratio 0.7", "clipped low ▾", "advantage −0.5"
    ]  # fmt: skip
    colours = {}
    for name in ("probability", "entropy", "ratio", "clipped", "advantage", "none"):
        page.select_option("#colouring", name)
        colours[name] = page.eval_on_selector(".token", "token => getComputedStyle(token).backgroundColor")
    assert colours.pop("none") == "rgba(0, 0, 0, 0)"
    assert colours["ratio"].startswith("rgba(213, 94, 0")  # below 1
    assert colours["entropy"].startswith("rgba(153, 74, 140")
    assert "rgba(0, 0, 0, 0)" not in colours.values()


def test_keys_are_enough(show, run_folder):
    page = show(run_folder)
    page.keyboard.press("j")
    assert "✗ wrong" in page.inner_text("h2")
    page.focus("#list")
    page.keyboard.press("End")
    assert page.get_attribute(".row[aria-selected=true]", "aria-posinset") == "5"
    page.keyboard.press("Home")
    page.keyboard.press("c")
    assert page.input_value("#colouring") == "entropy"
    page.focus("#tokens")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    sync_api.expect(page.locator("#tip")).to_contain_text('"+"')
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    page.keyboard.type("wait")
    assert page.inner_text("#count") == "2 of 5 responses"


def test_nothing_that_a_model_writes_runs_or_breaks_the_page(show, write_rollouts):
    texts = list(HOSTILE.values())
    lines = [
        response_line(row, text, tokens=[text], prompt=text, answer=text, reward_parts={text[:50]: 1.0})
        for row, text in enumerate(texts)
    ]
    page = show(write_rollouts({1: lines}, {1: [update_line(row, 1) for row in range(len(texts))]}))
    assert page.inner_text("#count") == f"{len(texts)} of {len(texts)} responses"
    for name, text in HOSTILE.items():
        page.hover(".token")
        shown = page.text_content(".token")
        assert shown.replace("⏎", "") == text or not text.isprintable(), name  # to the letter, where nothing in it is hidden
        assert not any(ord(character) < 32 and character != "\n" for character in shown), name
        page.keyboard.press("j")
    assert page.evaluate("window.harmed") is None
    assert page.locator("img, main script, main style").count() == 0
    assert page.locator("#filters").is_visible()
    page.fill("#text", HOSTILE["turned round"])
    assert page.text_content(".token") == "⟨U+202E⟩gnp.exe⟨U+2066⟩"


def test_the_policy_of_the_page_would_stop_a_script(browser, run_folder):
    with browser.new_page() as page:
        said = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(write_viewer(run_folder).as_uri())
        with suppress(sync_api.Error):
            page.add_script_tag(content="window.harmed = true")  # as markup that slipped through would
        assert page.evaluate("window.harmed") is None
    assert ["Content Security Policy" in text for text in said] == [True]


def test_two_thousand_responses_are_light_and_drawn_only_where_they_are_seen(show, write_rollouts):
    steps = {step: [response_line(row, f"{step} {row} wait" * 8) for row in range(125)] for step in range(1, 17)}
    updates = {step: [update_line(row, len(lines[row]["tokens"])) for row in range(125)] for step, lines in steps.items()}
    folder = write_rollouts(steps, updates)
    page = show(folder)
    assert (folder / "viewer.html").stat().st_size < 10_000_000
    assert page.inner_text("#count") == "2,000 of 2,000 responses"
    assert page.locator(".row").count() < 100
    page.focus("#list")
    page.keyboard.press("End")
    assert rows(page)[-1].startswith("3+4= 16 124 wait")
    page.fill("#text", "16 7 wait")
    assert page.inner_text("#count") == "1 of 2,000 responses"


def test_a_response_of_many_tokens_comes_in_pieces(show, write_rollouts):
    page = show(write_rollouts({1: [response_line(0, "ab" * 3000)]}))  # 6,000 tokens of a letter
    assert page.locator(".token").count() == 5000
    page.click("text=1,000 more tokens")
    assert page.locator(".token").count() == 6000


def test_a_phone_needs_no_sideways_scrolling_and_the_dark_has_its_colours(show, run_folder):
    page = show(run_folder, viewport={"width": 360, "height": 740}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(23, 24, 26)"


def test_too_much_for_one_page_leaves_rollout_steps_out_and_says_so(show, write_rollouts, monkeypatch):
    monkeypatch.setattr(viewer_page, "LARGEST", 1500)
    # letters that do not compress: about 700 bytes for each of four rollout steps
    texts = {
        step: "".join(chr(0x4E00 + (step * 7919 + place * place * 31) % 20000) for place in range(300)) for step in range(1, 5)
    }
    page = show(write_rollouts({step: [response_line(0, text, tokens=[text])] for step, text in texts.items()}))
    shown = page.locator("#step option").all_inner_texts()
    assert shown in (["all", "1", "3"], ["all", "1"])
    assert f"{5 - len(shown)} responses of other rollout steps are left out" in page.inner_text("#facts")


def test_a_sweep_has_a_page_of_links(run_folder, write_rollouts, tmp_path):
    other = write_rollouts({1: [response_line(0)]}, folder="<b>&other")
    (other / "run.json").write_text(json.dumps({"status": "finished", "ablation": "<i>mine"}))
    written = write_viewers(tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "<b>&other/viewer.html", "run/viewer.html", "viewer.html",
    ]  # fmt: skip
    index = (tmp_path / "viewer.html").read_text()
    assert '<a href="run/viewer.html">+ Dynamic sampling (DAPO)</a></td><td>3</td><td>40.0%</td>' in index
    assert '<a href="&lt;b&gt;&amp;other/viewer.html">&lt;i&gt;mine</a>' in index


def test_a_folder_without_responses_gets_no_page(tmp_path):
    (tmp_path / "results.csv").write_text("ablation,seed\n")  # a published sweep
    assert write_viewers(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]

"""How often the policy answers in which style."""

from rltoolkit.rollout_batch import text_entry
from rltoolkit.task.integer_arithmetic import IntegerArithmetic
from rltoolkit.task.json_lines import JSONLines
from rltoolkit.training.styles import style_metrics


def test_shares_are_of_all_responses_and_every_style_has_its_columns(make_rollouts) -> None:
    sampled = make_rollouts(reward=[[1.0, -1.0], [-1.0, -1.0]], truncated=[[False, False], [True, True]])
    sampled["response_text"] = text_entry([["1+2=3", "=4"], ["1+2=3;3", "~1+2"]])
    metrics = style_metrics(IntegerArithmetic(), sampled)
    # two of four are sound, one of these is cut off; one is direct, and one is junk, cut off
    assert {name: share for name, share in metrics.items() if share} == {
        "sampled_style_direct": 1 / 4,
        "sampled_style_sound": 2 / 4,
        "sampled_style_sound_truncated": 1 / 4,
        "sampled_style_junk": 1 / 4,
        "sampled_style_junk_truncated": 1 / 4,
    }
    assert len(metrics) == 2 * 5


def test_a_task_that_tells_no_styles_apart_has_no_columns(make_rollouts) -> None:
    assert style_metrics(JSONLines(path="x"), make_rollouts(reward=[[1.0]])) == {}

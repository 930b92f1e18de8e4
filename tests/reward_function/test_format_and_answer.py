import pytest

from rltoolkit.reward_function import FormatAndAnswer


def test_accuracy_and_format_add_up():
    cases = {
        "<think>6 * 7</think><answer>42</answer>": 2.0,  # +1 right, +1 format
        "<think>6 * 7</think>\n<answer> 042 </answer>\n": 2.0,
        "<think>6 * 8</think><answer>48</answer>": 0.0,  # -1 wrong, +1 format
        "<answer>42</answer>": 1.0,  # +1 right, no thought
        "so <think>a</think><answer>42</answer>": 1.0,  # words before
        "<think>a</think><answer>42</answer> done": 1.0,  # words after
        "<think>a</think> so <answer>42</answer>": 1.0,  # words between
        "<answer>42</answer><think>a</think>": 1.0,  # order
        "<think>a</think><answer>1</answer><answer>42</answer>": 1.0,  # the last answer counts, twice is no format
        "<think><think>a</think></think><answer>42</answer>": 1.0,  # a tag twice
        "<think>a</think><answer>42": -1.0,  # never closed
        "42": -1.0,
        "": -1.0,
    }
    correct, reward = FormatAndAnswer()(list(cases), ["42"] * len(cases))
    assert reward.tolist() == list(cases.values())
    assert correct.tolist() == ["<answer>42</answer>" in text or "042" in text for text in cases]


def test_format_reward_scales_the_format_alone():
    _, reward = FormatAndAnswer(format_reward=0.25)(["<think>a</think><answer>1</answer>", "<answer>1</answer>"], ["1", "1"])
    assert reward.tolist() == [1.25, 1.0]
    with pytest.raises(ValueError, match=r"reward_function.format_reward=-1: .* \(reward_function=format_and_answer\)"):
        FormatAndAnswer(format_reward=-1)


def test_text_answers_are_compared_with_single_spaces():
    assert FormatAndAnswer()(["<answer>the  blue\none </answer>"], [" the blue one"]).correct.tolist() == [True]

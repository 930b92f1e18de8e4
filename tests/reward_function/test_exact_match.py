from rltoolkit.reward_function import ExactMatch


def test_only_outer_white_space_is_forgiven():
    texts = ["yes", " yes\n", "Yes", "yes.", "y es", ""]
    correct, reward = ExactMatch()(texts, ["yes"] * 6)
    assert correct.tolist() == [True, True, False, False, False, False]
    assert reward.tolist() == [1, 1, -1, -1, -1, -1]


def test_extract_is_the_stripped_response():
    assert ExactMatch().extract("  a  b \n") == "a  b"

"""The samples file: what a kill leaves is cut off, and another evaluation is refused."""

import pytest

from rltoolkit.errors import ConfigError
from rltoolkit.evaluations.samples import Sample, SampleFile
from rltoolkit.evaluations.scores import differences, powers_of_two, score

ASKED = {"model": "tiny", "k": 2}


def group(problem, *correct):
    return [Sample(problem, g, 3, f"Answer: {right}", str(right), right, False) for g, right in enumerate(correct)]


def test_half_a_group_and_half_a_line_are_sampled_anew(tmp_path):
    file = SampleFile(tmp_path, ASKED)
    file.append(group(1, True, False))
    file.append(group(0, True, True))
    file.close()
    whole = file.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    file.path.write_bytes(b"".join(lines[:3]) + lines[3][:10])  # problem 1 has lost its second line
    again = SampleFile(tmp_path, ASKED)
    assert again.groups == {0: group(0, True, True)}
    again.append(group(1, True, False))
    again.close()
    assert again.path.read_bytes() == whole


def test_another_evaluation_is_refused_by_its_first_difference(tmp_path):
    SampleFile(tmp_path, ASKED).close()
    with pytest.raises(ConfigError, match="k was 2, now 4"):
        SampleFile(tmp_path, {**ASKED, "k": 4})
    SampleFile(tmp_path, ASKED).close()  # the refusal holds no lock


def test_scores_by_hand():
    # problem 0: 1 of 2 right, answers True and False tie: 1/2. Problem 1: both right. avg 3/4, pass@1 3/4, pass@2 1, cons 3/4.
    scores = score({0: group(0, True, False), 1: group(1, True, True)}, {0: "level 1", 1: ""}, votes=True)
    assert scores.avg_at_k.mean == scores.pass_at[1].mean == scores.cons_at_k.mean == 3 / 4
    assert scores.pass_at[2].mean == 1
    assert (scores.by_difficulty["level 1"].mean, scores.sizes) == (1 / 2, {"level 1": 1})
    assert [powers_of_two(k) for k in (1, 6, 32)] == [[1], [1, 2, 4, 6], [1, 2, 4, 8, 16, 32]]
    (same,) = differences([scores, scores])
    assert (same.mean, same.pairs) == (0, 2)

"""The paper index: from Source paragraphs to a table."""

import pytest

from rltoolkit import papers
from rltoolkit.components import main
from rltoolkit.papers import Paper

DOCSTRING = """Something: it does something.

Source: GRPO, arXiv:2402.03300, section 4.1,
eq. 3; a remark on it; REINFORCE, 1992 (Williams). Config: ``kind=something``.

More text, 2024.
"""


def test_a_source_is_a_list_of_citations_and_remarks():
    source = papers.source(DOCSTRING)
    assert source == "GRPO, arXiv:2402.03300, section 4.1, eq. 3; a remark on it; REINFORCE, 1992 (Williams)"
    assert papers.citations(source) == [
        (Paper("GRPO", "arXiv:2402.03300"), "section 4.1, eq. 3"),
        (Paper("REINFORCE", "1992"), "(Williams)"),
    ]


def test_a_name_may_have_commas_and_a_place_may_be_missing():
    title = 'Liu et al., "Speed, kills", 2025'
    assert papers.citations(title) == [(Paper('Liu et al., "Speed, kills"', "2025"), "")]


@pytest.mark.parametrize("source", ["none", "none; the contests of 2025, and more", "a library; a data set on the hub"])
def test_what_is_no_paper_is_not_cited(source):
    assert papers.citations(source) == []


def test_without_a_source_there_is_none():
    assert papers.source("Something: it does something.") is None


def test_the_index_holds_components_and_experiments_and_runs_from_old_to_new():
    index = papers.index()
    dapo = index[Paper("DAPO", "arXiv:2503.14476")]
    assert ("clip_strategy=clip_higher", "section 3.1, eq. 10") in dapo
    assert ("'reward_shaper=[soft_overlong_punishment]'", "section 3.4, eq. 13") in dapo
    assert "+experiment=dapo_ablation" in [use.choice for use in dapo]
    # 1707 is July 2017: after 1992, before March 2025
    numbers = [paper.number for paper in index]
    assert numbers.index("1992") < numbers.index("arXiv:1707.06347") < numbers.index("arXiv:2503.14476")


def test_the_command_fits_80_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["--papers"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert max(map(len, shown)) <= 80
    assert shown[shown.index("GSPO, arXiv:2507.18071") + 1].split() == [
        "clip_strategy=gspo",
        "section",
        "4.1,",
        "eq.",
        "5",
        "to",
        "7",
    ]
    assert "clip_strategy=gspo_token" in shown[shown.index("GSPO, arXiv:2507.18071") + 2]
    assert "importance_correction=sequence_error_mask" in " ".join(shown[shown.index("From no paper") :])

"""The rows that a report knows: their order, their titles, the paper's numbers and the row that each is compared with.

Source: DAPO, arXiv:2503.14476, section 4.2, Table 1 (AIME 2024 avg@32 of Qwen2.5-32B, in percent).
"""

from __future__ import annotations

from typing import NamedTuple


class KnownRow(NamedTuple):
    """One ablation under ``conf/ablation``."""

    title: str
    before: str | None
    """the row that differs in one technique: the row before, or full DAPO"""
    paper: int | None = None


NAIVE, DAPO = "naive_grpo", "dynamic_sampling"

TABLE_1 = {
    "naive_grpo": KnownRow("Naive GRPO", None, 30),
    "overlong_filtering": KnownRow("+ Overlong filtering", "naive_grpo", 36),
    "clip_higher": KnownRow("+ Clip-higher", "overlong_filtering", 38),
    "soft_overlong_punishment": KnownRow("+ Soft overlong punishment", "clip_higher", 41),
    "token_level_loss": KnownRow("+ Token-level loss", "soft_overlong_punishment", 42),
    "dynamic_sampling": KnownRow("+ Dynamic sampling (DAPO)", "token_level_loss", 50),
}
"""The paper's Table 1, cumulative and in its order."""

OTHER_ROWS = {
    "r1_zero": KnownRow("R1-Zero's GRPO", "naive_grpo", 47),
    "soft_replaces_filtering": KnownRow("Soft punishment for filtering", "clip_higher"),
    "soft_replaces_filtering_token_level": KnownRow("Soft punishment for filtering, token-level loss", "soft_replaces_filtering"),
}
"""What the paper compares with, and its fourth row read otherwise: soft overlong punishment in the place of overlong filtering, as in
the released recipe. With dynamic sampling on top that is DAPO without overlong filtering, among the following.
"""

LEAVE_ONE_OUT = {
    "without_overlong_filtering": KnownRow("DAPO without overlong filtering", DAPO),
    "without_clip_higher": KnownRow("DAPO without clip-higher", DAPO),
    "without_soft_overlong_punishment": KnownRow("DAPO without soft overlong punishment", DAPO),
    "without_token_level_loss": KnownRow("DAPO without token-level loss", DAPO),
}
"""Full DAPO without one technique. Without dynamic sampling it is the row of token-level loss."""

PROMPT_SELECTION = {
    "plain_dynamic_sampling": KnownRow("Naive GRPO + dynamic sampling", NAIVE),
    "prompts_retire_solved": KnownRow("Dynamic sampling, solved prompts retire", "plain_dynamic_sampling"),
    "prompts_greso": KnownRow("Dynamic sampling, GRESO", "plain_dynamic_sampling"),
    "prompts_thompson": KnownRow("Dynamic sampling, Thompson sampling", "plain_dynamic_sampling"),
    "prompts_predicted_dynamics": KnownRow("Dynamic sampling, predicted dynamics", "plain_dynamic_sampling"),
    "prompts_difficulty_pools": KnownRow("Dynamic sampling, difficulty pools", "plain_dynamic_sampling"),
    "prompts_pilot": KnownRow("Dynamic sampling, pilots", "plain_dynamic_sampling"),
}
"""Prompt samplers that learn, and pilots, each against dynamic sampling of whole groups on shuffled prompts."""

BLOCKS = (TABLE_1, OTHER_ROWS, LEAVE_ONE_OUT, PROMPT_SELECTION)
"""What is corrected together for several comparisons."""
ROWS = TABLE_1 | OTHER_ROWS | LEAVE_ONE_OUT | PROMPT_SELECTION


def order(name: str) -> int:
    """Where a row stands; unknown ones behind all others."""
    return list(ROWS).index(name) if name in ROWS else len(ROWS)


def title(name: str) -> str:
    """A row's name in a reader's words."""
    return ROWS[name].title if name in ROWS else name

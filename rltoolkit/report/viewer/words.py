"""A response in words and colours, for terminals: what the screen of ``terminal.py`` and plain output share.

Colours are those of the browser's page. A clipped token is underlined and carries a sign, for terminals without colour.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from rich.text import Text

from rltoolkit.report.viewer.records import FATES, Response, visible

COLOURINGS = ("probability", "entropy", "ratio", "clipped", "advantage", "none")
MOST_TOKENS = 4000
"""Of one response on the screen."""
LOW, HIGH, MUCH = (213, 94, 0), (0, 114, 178), (153, 74, 140)
"""Red, green, blue: falling or unlikely; rising; uncertain."""


def detail(response: Response, colouring: str) -> Text:
    """One response in full: facts, reward with its parts, prompt, coloured tokens."""
    verdict = "✓ right" if response.correct else "✗ wrong"
    trained = f"optimizer step {response.optimizer_step}" if response.optimizer_step is not None else "no update"
    if response.ratio and all(value is None for value in response.ratio):
        trained += ", all tokens masked"
    text = Text()
    text.append(f"{verdict}{', truncated' if response.truncated else ''}", style="bold")
    text.append(
        f"  step {response.rollout_step}, prompt {response.prompt_index}, {FATES.get(response.fate, response.fate)}, {trained}\n"
    )
    text.append(f"answer {visible(response.answer, '⏎')}  reward {number(response.reward)}{parts(response)}  ")
    advantage = "by token" if isinstance(response.advantage, list) else number(response.advantage)
    text.append(f"advantage {advantage}  {response.response_length} tokens\n")
    text.append(visible(response.prompt), style="dim")
    text.append(f"\ntokens by {colouring}; ▾ clipped low, ▴ clipped high\n" if colouring != "none" else "\n", style="italic dim")
    for piece, style in tokens(response, colouring):
        text.append(piece, style=style)
    return text


def tokens(response: Response, colouring: str) -> Iterator[tuple[str, str]]:
    """(text, style) of each token; a clipped one is underlined and carries its sign behind it, with colours or without."""
    largest = max((value for value in response.entropy if value is not None), default=1.0)
    for place, piece in enumerate(response.pieces[:MOST_TOKENS]):
        clip = response.at("clipped", place) or 0
        share, hue = _share(colouring, response.at(colouring, place) if colouring != "none" else None, largest)
        style = f"on rgb({','.join(str(round(part * share * 0.8)) for part in hue)})" if share > 0.05 else ""
        yield visible(piece) + ("▾" if clip < 0 else "▴" if clip > 0 else ""), f"{style}{' underline' if clip else ''}".strip()
    rest = len(response.pieces) - MOST_TOKENS
    if rest > 0:
        yield f"\n{rest:,} more tokens", "italic"


def _share(colouring: str, value: float | None, largest_entropy: float) -> tuple[float, tuple[int, int, int]]:
    """How strong a token's colour is, 0 to 1, and which."""
    if value is None:
        return 0.0, LOW
    if colouring == "probability":
        return 1 - value, LOW
    if colouring == "entropy":
        return value / max(largest_entropy, 1e-9), MUCH
    signed = {"ratio": math.log(max(value, 1e-9)) / math.log(1.3) if colouring == "ratio" else 0.0, "advantage": value / 2}
    strength = signed.get(colouring, value)
    return min(abs(strength), 1.0), LOW if strength < 0 else HIGH


def plain(responses: Iterable[Response]) -> Iterator[str]:
    """The responses as lines of text: a head line each, then prompt and response."""
    for each in responses:
        marks = f"{'right' if each.correct else 'wrong'}{', truncated' if each.truncated else ''}"
        yield (
            f"step {each.rollout_step}, prompt {each.prompt_index}: {marks}, reward {number(each.reward)}{parts(each)}, "
            f"advantage {'by token' if isinstance(each.advantage, list) else number(each.advantage)}, "
            f"{each.response_length} tokens, {FATES.get(each.fate, each.fate)}"
        )
        yield f"  {visible(each.prompt, '⏎')} {visible(each.response, '⏎')}"


def parts(response: Response) -> str:
    """What a reward is made of, where that is more than the verdict: `` (integer_answer 1, soft_overlong_punishment -0.5)``."""
    if len(response.reward_parts) < 2:
        return ""
    return f" ({', '.join(f'{name} {number(value)}' for name, value in response.reward_parts.items())})"


def number(value: float | None) -> str:
    """Three significant digits, or a dash where there is no value."""
    return "-" if value is None else f"{value:.3g}"

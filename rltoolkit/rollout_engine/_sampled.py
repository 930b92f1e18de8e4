"""What both engines share: random streams, stop tokens, and the way from sampled tokens to a rollout batch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tensordict import TensorDict

from rltoolkit.rollout_batch import stack_groups, text_entry
from rltoolkit.rollout_engine.base import RolloutStream
from rltoolkit.sampling_mask import from_responses

_MASK = (1 << 64) - 1


class Response(NamedTuple):
    """One sampled response: its tokens (end-of-sequence included), their log-probs, and whether the limit cut it.

    ``kept`` has the ids that top-p and top-k left for each token, under a sampling mask.
    """

    token_ids: Sequence[int]
    log_probs: Sequence[float]
    truncated: bool
    kept: Sequence[torch.Tensor] = ()


def response_seed(seed: int, index: int) -> int:
    """The random stream of response ``index`` to a prompt with ``seed``, in [0, 2^63).

    SplitMix64's finaliser spreads the prompts' seeds first: neighbouring prompts usually have neighbouring seeds, and
    ``seed + index`` alone would hand response 1 of one prompt the stream of response 0 of the next.
    """
    mixed = (seed + 0x9E3779B97F4A7C15) & _MASK
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((mixed ^ (mixed >> 31)) & (_MASK >> 2)) + index


def stop_token_ids(model_path: Path, tokenizer: Any) -> list[int]:
    """Tokens that end a response: the tokenizer's end-of-sequence and those of ``generation_config.json``."""
    config = model_path / "generation_config.json"
    declared = json.loads(config.read_text()).get("eos_token_id") if config.exists() else None
    stops = {tokenizer.eos_token_id, *(declared if isinstance(declared, list) else [declared])}
    return sorted(stops - {None})


def check_request(prompts: Sequence[Sequence[int]], group_size: int, seeds: Sequence[int], max_length: int) -> None:
    """Refuse a request that no engine can serve.

    Raises:
        ValueError: no prompts, no responses asked for, one seed too many or too few, an empty prompt, or a prompt that
            leaves no room for a token.
    """
    if not prompts or group_size < 1 or len(seeds) != len(prompts):
        raise ValueError(
            f"generate needs at least one prompt and one response, and a seed for each prompt; "
            f"got {len(prompts)} prompts, group_size={group_size}, {len(seeds)} seeds"
        )
    for row, prompt in enumerate(prompts):
        if not 0 < len(prompt) < max_length:
            raise ValueError(
                f"prompt {row} has {len(prompt)} tokens; the engine takes 1 to {max_length - 1} (max_length={max_length})"
            )


def sample_all(stream: RolloutStream, prompts: Sequence[Sequence[int]], seeds: Sequence[int]) -> TensorDict:
    """Submit all prompts at once and wait for every group: [P, G], in the order of the prompts."""
    stream.submit(range(len(prompts)), prompts, seeds)
    groups: dict[int, TensorDict] = {}
    while len(groups) < len(prompts):
        finished = stream.next_finished()
        assert finished is not None  # without a timeout it waits
        keys, rollouts = finished
        groups.update(zip(keys, rollouts.unbind(0), strict=True))
    return stack_groups(groups[row] for row in range(len(prompts)))


def to_rollouts(
    prompts: Sequence[Sequence[int]], groups: Sequence[Sequence[Response]], tokenizer: Any, version: int
) -> TensorDict:
    """The engine's part of a rollout batch [P, G], rows right-padded with 0; see ``rollout_batch.KEYS``."""
    shape = (len(groups), len(groups[0]))
    responses = [response for group in groups for response in group]
    prompt_of_row = [prompt for prompt in prompts for _ in range(shape[1])]
    start = torch.tensor([len(prompt) for prompt in prompt_of_row]).view(*shape, 1)
    length = torch.tensor([len(response.token_ids) for response in responses]).view(*shape, 1)

    position = torch.arange(int((start + length).max()))
    filled = position < start + length
    sampled = filled & (position >= start)
    rows = zip(prompt_of_row, (response.token_ids for response in responses), strict=True)
    tokens = chain.from_iterable(chain(prompt, response) for prompt, response in rows)
    log_probs = chain.from_iterable(response.log_probs for response in responses)
    texts = tokenizer.batch_decode(
        [list(response.token_ids) for response in responses],
        skip_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )
    sampling_mask = from_responses([response.kept for response in responses], sampled) if responses[0].kept else {}
    return TensorDict(
        {
            **sampling_mask,
            "input_ids": torch.zeros(filled.shape, dtype=torch.int64).masked_scatter(filled, torch.tensor(list(tokens))),
            "response_mask": sampled,
            "rollout_log_probs": torch.zeros(filled.shape).masked_scatter(sampled, torch.tensor(list(log_probs))),
            "response_length": length.squeeze(-1),
            "truncated": torch.tensor([response.truncated for response in responses]).view(shape),
            "policy_version": torch.full(shape, version),
            "response_text": text_entry([texts[row : row + shape[1]] for row in range(0, len(texts), shape[1])]),
        },
        batch_size=shape,
    )

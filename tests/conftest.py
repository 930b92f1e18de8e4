"""Fixtures that every folder of tests may use."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from tensordict import TensorDict

from rltoolkit.rollout_batch import text_entry

PROMPT_LENGTH = 2
LAUNCHER = ("RANK", "LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def pytest_configure() -> None:
    """A shell that starts us in the background has SIGINT ignored, here and in every process that a test starts and interrupts."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked ``gpu`` run where there is one: ``pytest -m gpu``."""
    if item.get_closest_marker("gpu") and not torch.cuda.is_available():
        pytest.skip("needs a GPU (torch.cuda.is_available() is False)")


@pytest.fixture(autouse=True)
def no_launcher_left_behind() -> Iterator[None]:
    """A trainer in a test's own process leaves its launcher's variables in the environment. A process that a later test starts would
    take itself for one of several ranks that somebody else has started, and wait for the others for ever."""
    before = {name: os.environ.get(name) for name in LAUNCHER}
    yield
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="session")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One rank over gloo, as a trainer on a CPU starts it. One for all tests: a process has a single default group."""
    store = torch.distributed.FileStore(str(tmp_path_factory.mktemp("store") / "file"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def _rollouts(
    *,
    reward: Sequence[Sequence[float]],
    correct: Sequence[Sequence[bool]] | None = None,
    response_length: Sequence[Sequence[int]] | None = None,
    truncated: Sequence[Sequence[bool]] | None = None,
    trained: Sequence[Sequence[bool]] | None = None,
    token: Sequence[Sequence[Sequence[int]]] | None = None,
) -> TensorDict:
    """Rollouts [P, G] with every key of ``rollout_batch.KEYS`` that is there before advantages; prompts are 2 tokens long.

    Args:
        reward: [P, G].
        correct: [P, G]; where not given, reward > 0.
        response_length: [P, G] tokens; where not given, 3 (or the lengths of ``token``).
        truncated: [P, G]; where not given, False.
        trained: [P, G], False empties a row's loss mask; where not given, True.
        token: [P][G][length] ids of the responses; where not given, 1, 2, 3, ...
    """
    rewards = torch.tensor(reward, dtype=torch.float32)
    shape = rewards.shape
    if token is not None:
        response_length = [[len(ids) for ids in group] for group in token]
    length = torch.full(shape, 3) if response_length is None else torch.tensor(response_length)
    width = PROMPT_LENGTH + int(length.max())
    position = torch.arange(width).expand(*shape, width)
    response_mask = (position >= PROMPT_LENGTH) & (position < PROMPT_LENGTH + length[..., None])
    input_ids = torch.where(response_mask, position - PROMPT_LENGTH + 1, 0)
    for p, group in enumerate(token or []):
        for g, ids in enumerate(group):
            input_ids[p, g, PROMPT_LENGTH : PROMPT_LENGTH + len(ids)] = torch.tensor(ids)
    never, always = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
    return TensorDict(
        {
            "input_ids": input_ids,
            "response_mask": response_mask,
            "rollout_log_probs": torch.where(response_mask, -0.5, 0.0),
            "teacher_log_probs": torch.where(response_mask, -0.1 * position, 0.0),
            "response_length": length,
            "truncated": never if truncated is None else torch.tensor(truncated),
            "policy_version": torch.zeros(shape, dtype=torch.int64),
            "response_text": text_entry([[f"response {p}.{g}" for g in range(shape[1])] for p in range(shape[0])]),
            "prompt_index": torch.arange(shape[0])[:, None].expand(shape).clone(),
            "answer": text_entry([[f"answer {p}"] * shape[1] for p in range(shape[0])]),
            "correct": rewards > 0 if correct is None else torch.tensor(correct),
            "reward": rewards,
            "loss_mask": response_mask & (always if trained is None else torch.tensor(trained))[..., None],
        },
        batch_size=shape,
    )


@pytest.fixture(scope="session")
def make_rollouts() -> Callable[..., TensorDict]:
    """The function above; session-wide, so that Hypothesis tests may use it."""
    return _rollouts


@pytest.fixture(scope="session")
def mixed_rollouts(make_rollouts: Callable[..., Any]) -> TensorDict:
    """Three groups of four: mixed, all correct with a shaped reward, all wrong.

    Lengths differ; long responses repeat themselves; two are truncated; one of those and another one train no token.
    """
    length = [[3, 5, 2, 8], [4, 7, 1, 3], [2, 2, 6, 8]]
    return make_rollouts(
        reward=[[1.0, -1.0, -1.0, 0.25], [1.0, 0.5, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0]],
        correct=[[True, False, False, True], [True, True, True, True], [False, False, False, False]],
        truncated=[[False, False, False, True], [False, False, False, False], [False, False, False, True]],
        trained=[[True, True, True, False], [True, True, True, True], [True, False, True, True]],
        token=[[[1 + i % 3 for i in range(n)] for n in group] for group in length],
    )

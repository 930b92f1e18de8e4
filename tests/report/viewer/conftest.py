"""A run's rollouts/ as training writes them, with texts of one's own choice."""

import json

import pytest


def response_line(row, text="3+4=7#", **changed):
    """A response that was right, in the second of two groups where ``row`` is 2 or more."""
    tokens = changed.pop("tokens", list(text))
    return {
        "group": row // 2, "fate": "kept", "prompt_index": 10 + row // 2, "policy_version": 0, "correct": True, "reward": 1.0,
        "response_length": len(tokens), "truncated": False, "reward_parts": {"equation_answer": 1.0}, "advantage": 0.5, "answer": "7",
        "prompt": "3+4=", "response": text, "tokens": tokens, "log_probs": [-0.5] * len(tokens), **changed,
    }  # fmt: skip


def update_line(row, tokens, *, optimizer_step=1, ratio=1.1, clipped=0):
    return {
        "row": row, "optimizer_step": optimizer_step, "ratio": [ratio] * tokens, "entropy": [0.25] * tokens,
        "clipped": [clipped] * tokens,
    }  # fmt: skip


@pytest.fixture
def write_rollouts(tmp_path):
    """``write_rollouts({1: [line, ...]}, {1: [update, ...]}) -> run folder``: rollout step -> lines."""

    def write(responses, updates=None, folder="run"):
        rollouts = tmp_path / folder / "rollouts"
        rollouts.mkdir(parents=True, exist_ok=True)
        for what, steps in (("step", responses), ("updates", updates or {})):
            for step, lines in steps.items():
                (rollouts / f"{what}_{step:05d}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return tmp_path / folder

    return write


@pytest.fixture
def run_folder(write_rollouts):
    """Two rollout steps. In the first, a kept group of a right and a wrong, clipped response, and a rejected group of two wrong ones;
    in the second, one truncated response."""
    folder = write_rollouts(
        {
            1: [
                response_line(0),
                response_line(1, "3+4=8#", correct=False, reward=-1.25, advantage=-0.5,
                              reward_parts={"equation_answer": -1.0, "soft_overlong_punishment": -0.25}),
                response_line(2, "wait, 9#", correct=False, reward=-1.0, fate="all_wrong"),
                response_line(3, "wait, 1#", correct=False, reward=-1.0, fate="all_wrong"),
            ],
            2: [response_line(0, "and on and on", truncated=True, correct=False, reward=-1.0)],
        },
        {1: [update_line(0, 6), update_line(1, 6, optimizer_step=2, ratio=0.7, clipped=-1)]},
    )  # fmt: skip
    (folder / "metrics.csv").write_text("optimizer_step,rollout_step,accuracy,entropy\n1,1,0.25,1.5\n2,1,0.25,1.4\n3,2,0.5,1.2\n")
    (folder / "evaluations.csv").write_text("optimizer_step,avg_at_k\n0,0.1\n3,0.4\n")
    (folder / "run.json").write_text(json.dumps({"status": "finished", "seed": 3, "ablation": "dynamic_sampling"}))
    return folder

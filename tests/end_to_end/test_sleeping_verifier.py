"""A plug-in's reward function that never returns for some responses: they are wrong, and the run goes on."""

import os

from .conftest import table

PLUGIN = """
import time
from dataclasses import dataclass
from rltoolkit.registry import register
from rltoolkit.reward_function import ExactMatch

@register("reward_function", "sleeper")
@dataclass(frozen=True, kw_only=True)
class Sleeper(ExactMatch):
    shortest: int = 8

    def __call__(self, texts, answers):
        while any(len(text) < self.shortest for text in texts):
            time.sleep(1)
        return super().__call__(texts, answers)
"""


def test_it_costs_its_responses_and_not_the_run(command, tmp_path, monkeypatch):
    site, run = tmp_path / "site", tmp_path / "run"
    (site / "sleeper-1.0.dist-info").mkdir(parents=True)
    (site / "sleeper.py").write_text(PLUGIN)
    (site / "sleeper-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: sleeper\nVersion: 1.0\n")
    (site / "sleeper-1.0.dist-info" / "entry_points.txt").write_text("[rltoolkit.components]\nsleeper = sleeper\n")
    monkeypatch.setenv("PYTHONPATH", str(site), prepend=os.pathsep)
    done = command("+experiment=grpo", "rollout_engine=transformers", "reward_function=sleeper", "verifier_timeout=2",
                   "reward_shaper=[soft_overlong_punishment]", "cache_length=50", "prompts_per_step=3", "mini_batch_size=6",
                   "evaluation.problems=1", "trainer.max_steps=2", f"hydra.run.dir={run}")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "verified by sleeper" in done.stdout
    rows = table(run / "metrics.csv")
    assert len(rows) == 2
    # of the twelve responses of the rollout step some were too short, and some were not
    assert 0 < int(rows[0]["verifier_failures"]) < 12
    # each of them slept for its two seconds
    assert float(rows[0]["seconds_verification"]) > 2

"""Run folders as training writes them."""

import csv
import json

import pytest


@pytest.fixture
def write_run(tmp_path):
    def write(path, scores, *, status="finished", ablation=None, experiment=None, seed=0, config=None, **evaluation):
        """A run of 10 steps with an evaluation every 5; ``scores`` are its avg@k. Without a config run.json holds none."""
        folder = tmp_path / path
        folder.mkdir(parents=True)
        evaluations = [
            {
                "optimizer_step": 5 * i,
                "rollout_step": i,
                "generated_tokens_total": 1000 * i,
                "seconds": 60 * i,
                "avg_at_k": score,
                "avg_at_k_low": score - 0.1,
                "avg_at_k_high": score + 0.1,
                "k": 32,
                "problems": 30,
                "response_length": 2000,
                "truncated": 0.05,
            }
            | evaluation
            for i, score in enumerate(scores)
        ]
        metrics = [
            {"optimizer_step": step, "sampled_accuracy": 0.1 * step, "entropy": 1 / step, "kept_groups": ""}
            for step in range(1, 11)
        ]
        for name, rows in {"evaluations.csv": evaluations, "metrics.csv": metrics}.items():
            if rows:
                with (folder / name).open("w", newline="") as file:
                    writer = csv.DictWriter(file, list(rows[0]))
                    writer.writeheader()
                    writer.writerows(rows)
        record = {"ablation": ablation, "experiment": experiment, "seed": seed, "status": status}
        record |= {"verifier": "integer_answer(window=300)", "config": config and {"seed": seed, **config}}
        (folder / "run.json").write_text(json.dumps(record))
        return folder

    return write

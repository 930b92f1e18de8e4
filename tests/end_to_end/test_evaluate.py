"""``python -m rltoolkit.evaluate``: models side by side, by a benchmark's own protocol, resumed to the same files."""

import json
import os
import subprocess
import sys

from .conftest import SMALL

UNTRAINED = ["model.skill_steps=0", "model.habit_steps=0", "rollout_engine=transformers"]


def samples(folder):
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def test_two_models_side_by_side_and_a_killed_evaluation_ends_as_another(command, cache, tmp_path):
    # the same model under two names: no difference at all
    arguments = ["tiny", "tiny", *UNTRAINED, "evaluation.problems=7", "evaluation.k=4", "--output", tmp_path / "results"]
    done = command(*arguments, module="rltoolkit.evaluate")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert "avg@4" in said
    assert "difference +0.0 [+0.0, +0.0]" in said
    first, second = (tmp_path / "results" / name for name in ("tiny", "tiny_2"))
    assert [(each["problem"], each["sample"]) for each in samples(first)] == [(p, g) for p in range(7) for g in range(4)]
    assert samples(first) == samples(second)
    record = json.loads((tmp_path / "results" / "evaluation.json").read_text())
    right = [each["correct"] for each in samples(first)]
    assert record["models"]["tiny"]["avg_at_k"]["mean"] == sum(right) / len(right)
    assert record["models"]["tiny"]["asked"]["weights_sha256"] == record["models"]["tiny_2"]["asked"]["weights_sha256"]
    assert (first / "heat_map.png").stat().st_size > 5_000

    # what a kill leaves: four groups and half a line of the fifth
    whole = (second / "samples.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    (second / "samples.jsonl").write_bytes(b"".join(lines[:16]) + lines[16][:20])
    again = command(*arguments, module="rltoolkit.evaluate")
    assert "tiny_2: goes on after 4 of 7 problems" in again.stderr
    assert (second / "samples.jsonl").read_bytes() == whole

    # two ranks share what is left, each with an engine of its own
    (second / "samples.jsonl").write_bytes(b"".join(lines[:8]))
    (second / "samples_1.jsonl").write_bytes(b"".join(lines[8:13]))  # of two ranks that were killed: one group and a quarter
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "rltoolkit.evaluate"]
    environment = {**os.environ, "RLTOOLKIT_CACHE": str(cache)}
    shared = subprocess.run(
        [*torchrun, *SMALL, *map(str, arguments)], capture_output=True, text=True, check=False, env=environment
    )
    assert shared.returncode == 0, shared.stderr
    assert "tiny_2: goes on after 3 of 7 problems" in shared.stderr
    assert shared.stdout == again.stdout
    assert (second / "samples.jsonl").read_bytes() == whole
    assert [file.name for file in sorted(second.glob("s*"))] == ["samples.jsonl"]

    refused = command(*arguments[:-1], tmp_path / "results", "evaluation.top_p=0.5", module="rltoolkit.evaluate")
    assert refused.returncode == 2
    assert "top_p was 1.0, now 0.5" in refused.stderr


def test_a_benchmark_brings_its_protocol(command, tmp_path):
    problems = tmp_path / "aime.jsonl"
    problems.write_text("".join(json.dumps({"problem": f"{n}+1=", "answer": str(n + 1)}) + "\n" for n in range(1, 4)))
    task = ["task=aime_2024", f"task.path={problems}", "task.template='{problem}'"]
    limits = ["evaluation.max_new_tokens=4", "sampling.max_new_tokens=4", "sampling.max_prompt_tokens=8"]
    done = command(*UNTRAINED, *task, *limits, "--output", tmp_path / "out", small=False, module="rltoolkit.evaluate")
    assert done.returncode == 0, done.stderr
    asked = json.loads((tmp_path / "out" / "tiny" / "asked.json").read_text())
    # arXiv:2503.14476, section 4.1: 32 responses at temperature 1.0 and top-p 0.7; what is given on the command line counts
    assert (asked["k"], asked["temperature"], asked["top_p"], asked["max_new_tokens"]) == (32, 1.0, 0.7, 4)
    assert asked["reward_function"].startswith("integer_answer")
    assert len(samples(tmp_path / "out" / "tiny")) == 3 * 32

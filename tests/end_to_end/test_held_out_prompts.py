"""Prompts that no engine can sample are left out at the start, in training and held out alike, and counted."""

import json

from .conftest import table

TRAINING = [f"{a}+{b}=" for a in range(1, 7) for b in range(1, 5)]
HELD_OUT = ["7+1=", "7+2=", "7+3=", "", "+".join(["1"] * 60) + "="]
"""the last two cannot be sampled: no token, and 120 of them"""


def test_held_out_prompts_that_cannot_be_sampled_do_not_end_a_run(command, tmp_path):
    for name, prompts in (("training", ["2+" * 20 + "2=", *TRAINING]), ("held_out", HELD_OUT)):
        rows = [json.dumps({"prompt": prompt, "answer": str(len(prompt))}) for prompt in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    run = tmp_path / "run"
    done = command(
        "+experiment=grpo", "rollout_engine=transformers", "task=json_lines", f"task.path={tmp_path / 'training.jsonl'}",
        f"task.eval_path={tmp_path / 'held_out.jsonl'}", "evaluation.every=1", "trainer.max_steps=2", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "2 of 5 held-out json_lines prompts are left out: 1 are longer than sampling.max_prompt_tokens=24, 1 are empty" in said
    assert "1 of 25 training prompts are left out: 1 are longer than sampling.max_prompt_tokens=24, 0 are empty" in said
    assert [(row["optimizer_step"], row["problems"]) for row in table(run / "evaluations.csv")] == [("0", "3"), ("2", "3")]


def test_several_tasks_are_evaluated_while_another_one_trains(command, tmp_path):
    (tmp_path / "held_out.jsonl").write_text("".join(json.dumps({"prompt": f"7+{n}=", "answer": "none"}) + "\n" for n in (1, 2)))
    run = tmp_path / "run"
    done = command(
        "+experiment=grpo", "rollout_engine=transformers", "eval_task=[integer_arithmetic,json_lines]",
        f"eval_task.json_lines.eval_path={tmp_path / 'held_out.jsonl'}", "+evaluation.verifiers.json_lines=exact_match",
        "evaluation.every=1", "trainer.max_steps=2", f"hydra.run.dir={run}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = table(run / "evaluations.csv")
    assert [(row["optimizer_step"], row["task"], row["problems"], row["reward_function"].split("(")[0]) for row in rows] == [
        ("0", "integer_arithmetic", "8", "equation_answer"), ("0", "json_lines", "2", "exact_match"),
        ("2", "integer_arithmetic", "8", "equation_answer"), ("2", "json_lines", "2", "exact_match"),
    ]  # fmt: skip
    assert (run / "figures" / "held_out_tasks.png").stat().st_size > 5_000
    ambiguous = command(run, module="rltoolkit.evaluate", small=False)
    assert ambiguous.returncode == 2
    assert "one at a time is evaluated; say which, for instance task=json_lines" in " ".join(ambiguous.stderr.split())

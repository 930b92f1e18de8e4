"""Every command and every snippet of the README runs as printed; only sizes are added, so that each takes seconds."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rltoolkit.model.tiny import Tiny

README = (Path(__file__).parents[1] / "README.md").read_text()
COMMANDS = [line.partition("  #")[0].strip() for line in re.findall(r"^    (python -m rltoolkit.*)$", README, flags=re.MULTILINE)]
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

SMALL = [
    "prompts_per_step=2", "group_size=2", "mini_batch_size=4", "trainer.max_steps=1", "sampling.max_new_tokens=16", "cache_length=4",
    "evaluation.every=0", "evaluation.problems=2", "evaluation.k=1", "collector.at_limit=fill_with_rejected",
    "collector.max_generation_batches=2", "rollout_engine=transformers",
]  # fmt: skip
TINY = ["model.skill_steps=2", "model.habit_steps=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with what the README's reader has: a model, a file of problems, a run."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RLTOOLKIT_CACHE", str(home / "cache"))
        model = Tiny(skill_steps=2, habit_steps=1)(0)
    (home / "my").mkdir()
    (home / "my" / "model").symlink_to(model)
    (home / "my" / "model" / "chat_template.jinja").write_text("{% for turn in messages %}{{ turn['content'] }}{% endfor %}")
    (home / "my.jsonl").write_text("".join(f'{{"prompt": "{a}+{a}=", "answer": "{a + a}"}}\n' for a in range(20)))
    return home


def run(home, *arguments):
    environment = {**os.environ, "RLTOOLKIT_CACHE": str(home / "cache"), "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    done = subprocess.run(arguments, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
    return done.stdout


def sizes(command: str) -> list[str]:
    """What is added to a command of the README: sizes, and of a sweep over Table 1 one row."""
    if not command.startswith("python -m rltoolkit "):  # evaluate, export, report, components
        return []
    model = [] if "model=" in command or "preset=smollm2" in command else TINY
    # SmolLM2's tokens are computed one by one here, and the character model takes 128 of them
    length = ["sampling.max_prompt_tokens=64"] if "model=hf" in command else []
    return [*SMALL, *model, *length, *(["+ablation=naive_grpo"] if "dapo_ablation" in command else [])]


def test_the_readme_holds_what_is_tested_here():
    assert len(COMMANDS) > 12
    assert len(SNIPPETS) == 1


@pytest.mark.parametrize("command", [command for command in COMMANDS if "runs/mine" not in command])
def test_a_command(home, command):
    _, *words = shlex.split(command)
    run(home, sys.executable, *words, *sizes(command))


def test_the_commands_about_a_run_of_ones_own(home):
    run(home, sys.executable, "-m", "rltoolkit", *SMALL, *TINY, "hydra.run.dir=runs/mine")
    evaluate, export, report, rollouts = (shlex.split(command)[1:] for command in COMMANDS if "runs/mine" in command)
    assert "avg@1" in run(home, sys.executable, *evaluate)
    run(home, sys.executable, *export)
    assert (home / "exported" / "model.safetensors").is_file()
    run(home, sys.executable, *report)
    assert (home / "runs" / "mine" / "viewer.html").is_file()
    assert "step 1, prompt" in run(home, sys.executable, *rollouts)


def test_the_python_api(home):
    small = ", ".join(map(repr, [*SMALL, *TINY]))
    code = SNIPPETS[0].replace('"trainer.max_steps=64"', f'"trainer.max_steps=64", {small}')
    said = run(home, sys.executable, "-c", code)
    assert "finished" in said.splitlines()[-1]
    # every response is at least ten characters of noise, or right by the rule of the snippet: its verdicts are in the log
    assert (home / "runs" / "short" / "metrics.csv").is_file()


def test_importing_a_component_loads_no_framework():
    probe = "import sys, rltoolkit.clip_strategy, rltoolkit.loss_aggregator, rltoolkit.sampler_filter;"
    probe += "print([m for m in ('hydra', 'lightning', 'vllm', 'transformers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", probe], text=True).strip() == "[]"

"""Tab, as bash asks for it: Hydra's completion behind the console script, with the components of the registry."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rltoolkit import registry

SCRIPTS = Path(sys.executable).parent


def run(*arguments: str, **environment: str) -> str:
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    done = subprocess.run(
        arguments, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=True, timeout=300
    )
    return done.stdout


def query(line: str) -> list[str]:
    return run("rltoolkit", "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line))).split()


@pytest.mark.parametrize("kind", ["clip_strategy", "sampler_filter"])
def test_every_component_of_a_kind(kind):
    assert query(f"rltoolkit seed=3 {kind}=") == [f"{kind}={name}" for name in registry.names(kind)]


def test_the_hyperparameters_of_the_component_chosen_before():
    found = query("rltoolkit clip_strategy=sapo clip_strategy.tau")
    assert found == ["clip_strategy.tau_neg=", "clip_strategy.tau_pos="]


def test_the_line_of_the_docs_teaches_bash_the_command():
    # what bash does when Tab is pressed after "rltoolkit clip_strategy=clip_h": the word at the cursor is number 1
    script = """
        eval "$(rltoolkit -sc install=bash)"
        COMP_LINE="rltoolkit clip_strategy=clip_h" COMP_POINT=30 COMP_CWORD=1
        $(complete -p rltoolkit | sed 's/.*-F \\([^ ]*\\).*/\\1/')
        echo "${COMPREPLY[@]}"
    """
    assert run("bash", "-c", script) == "clip_strategy=clip_higher\n"

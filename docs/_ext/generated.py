"""Pages that are made from the code before every build, so that they cannot go stale: docs/reference/generated/.

A component's page comes from its module's docstring and its fields, the configuration's from the classes that Hydra fills, columns and
rollout keys from the tables that the toolkit itself writes by, commands from their own --help.
"""

import importlib
import inspect
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from explained import keys_of_configuration, meanings_of_fields
from markdown_text import fenced, link_papers, markdown, table
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata

from rltoolkit import columns, papers, registry, rollout_batch
from rltoolkit.components import hyperparameters, relative

ROOT = Path(__file__).parents[2]
CONFIG_LINE = re.compile(r"\s+Config: .*\Z", re.DOTALL)  # how it is chosen stands in a box of its own
COMMANDS = ("", "evaluate", "plan", "report", "rollouts", "serve", "slurm", "components", "export", "transform_dataset")
"""What ``python -m rltoolkit.`` continues with."""

KIND_TITLES = {
    "task": "Problems and answers",
    "prompt_sampler": "Which prompts are tried, and in which order",
    "model": "Where a Hugging Face directory comes from",
    "rollout_engine": "Who samples the responses",
    "weight_transfer": "How weights reach an engine in another process",
    "reward_function": "Who judges a response",
    "reward_shaper": "What changes the reward or the loss mask; a run takes any number",
    "sampler_filter": "Which groups are worth training on; a run takes any number",
    "advantage_estimator": "From rewards to advantages",
    "clip_strategy": "What of an update goes too far",
    "loss_aggregator": "How much each token weighs",
    "kl_penalty": "What ties the policy to a reference",
    "importance_correction": "What corrects for the gap between sampler and trainer",
}


def component(kind: str, name: str) -> Iterator[str]:
    """One component: what it computes, where it comes from, what can be set, how it is chosen."""
    cls, where = registry.get(kind, name), registry.find(kind, name)
    module, own = sys.modules[cls.__module__].__doc__ or "", cls.__doc__ or ""
    yield from (f"({kind}.{name})=", f"## {name}", "", link_papers(markdown(CONFIG_LINE.sub("", module))), "")
    yield markdown(own.partition("Args:")[0]) + "\n"
    prefix = f"{kind}.{name}" if kind in registry.SEVERAL else kind
    meanings = meanings_of_fields(cls)
    rows = [
        (f"`{field}`", f"`{hint}`", f"`{default}`", markdown(meanings.get(field, "")))
        for field, hint, default in hyperparameters(kind, name)
    ]
    if rows:
        yield f"Keys of `{prefix}.`:\n"
        yield table(("key", "type", "default", "meaning"), rows)
    else:
        yield "No hyperparameters.\n"
    yield fenced(f"python -m rltoolkit {registry.choice(kind, name)}", "shell")
    yield fenced(f"from {public_module(kind, cls)} import {cls.__name__}", "python")
    test = ROOT / "tests" / kind / f"test_{name}.py"
    links = [(Path(where.file), relative(where.file)), (test, f"tests/{kind}/test_{name}.py")]
    yield "Files: " + ", ".join(f"{{download}}`{text} </{up(path)}>`" for path, text in links if path.is_file()) + "\n"


def public_module(kind: str, cls: type) -> str:
    """The package of the kind where it exports the class, else the class's own module."""
    package = importlib.import_module(f"rltoolkit.{kind}")
    return package.__name__ if hasattr(package, cls.__name__) else cls.__module__


def up(path: Path) -> str:
    """A path of the repository as seen from docs/, where Sphinx's own paths begin."""
    return os.path.relpath(path, ROOT / "docs")


def kind_page(kind: str) -> str:
    """All components of a kind."""
    contract = importlib.import_module(f"rltoolkit.{kind}").__doc__ or ""
    names = registry.names(kind)
    parts = [f"# {kind}", "", f"*{KIND_TITLES[kind]}.*", "", link_papers(markdown(contract)), ""]
    parts.append(" · ".join(f"[{name}](#{kind}.{name})" for name in names) + f" · [in Python](#contract.{kind})\n")
    for name in names:
        parts += component(kind, name)
    parts += [f"(contract.{kind})=", "## In Python", "", "The contract that each component fits, and what belongs to it.", ""]
    parts.append(fenced(contract_of(kind), "{eval-rst}"))
    return "\n".join(parts)


def contract_of(kind: str) -> str:
    """What the kind's package exports beside its components, for autodoc."""
    package = importlib.import_module(f"rltoolkit.{kind}")
    components = {registry.get(kind, name) for name in registry.names(kind)}
    exported = {name: getattr(package, name) for name in package.__all__}
    directives = []
    for name, symbol in exported.items():
        if inspect.isclass(symbol) and symbol not in components:
            directives.append(f".. autoclass:: {package.__name__}.{name}\n   :members:\n   :special-members: __call__\n")
        elif not inspect.isclass(symbol):
            directive = "autofunction" if inspect.isfunction(symbol) else "autodata"
            directives.append(f".. {directive}:: {package.__name__}.{name}\n")
    return "\n".join(directives)


def kinds_page() -> str:
    """The kinds in the order in which data flows through them."""
    rows = [(f"[`{kind}`]({kind}.md)", KIND_TITLES[kind], str(len(registry.names(kind)))) for kind in registry.kinds()]
    head = ["# Components", "", "In the order in which data flows through them.", ""]
    pages = ["```{toctree}", ":hidden:", "", *registry.kinds(), "```", ""]
    return "\n".join([*head, table(("kind", "what it does", "components"), rows), *pages])


def configuration_page() -> str:
    """Every key that belongs to no component."""
    parts = ["# Configuration", "", INTRODUCTION_TO_KEYS, ""]
    for section, keys in keys_of_configuration().items():
        parts += [f"## {section or 'top level'}", ""]
        rows = [(f"`{key.name}`", f"`{key.type}`", f"`{key.default}`", markdown(key.meaning)) for key in keys]
        parts.append(table(("key", "type", "default", "meaning"), rows))
    return "\n".join(parts)


INTRODUCTION_TO_KEYS = """Every key can be set on the command line, `python -m rltoolkit sampling.temperature=0.9`, and swept with
`-m`. Keys of components stand with the components. `required` means that the preset sets it; `python -m rltoolkit --cfg job` prints a
whole composed configuration without running it.

A file of `conf/` chooses components and sets keys: `preset=smollm2`, `+experiment=dapo`, `+ablation=naive_grpo`. One of `conf/task`
or `conf/model` is a component with settings of its own, `task=laboratory` or `model=qwen2_5_7b`: presets choose those, so that another
task or model takes their place, settings and all. Yours go into a folder of the same form: `--config-dir mine preset=my_own` reads
`mine/preset/my_own.yaml`."""


def columns_page() -> str:
    """metrics.csv and evaluations.csv."""
    parts = ["# Metrics", "", markdown(columns.__doc__ or ""), ""]
    for title, file in (("metrics.csv", columns.METRICS), ("evaluations.csv", columns.EVALUATIONS)):
        rows = [(f"`{name}`", column.over, markdown(column.meaning)) for name, column in file.items()]
        parts += [f"## {title}", "", table(("column", "over", "meaning"), rows)]
    return "\n".join(parts)


def rollouts_page() -> str:
    """The TensorDict vocabulary."""
    parts = ["# Rollouts", "", markdown(rollout_batch.__doc__ or ""), ""]
    for title, entries in (("Rollouts [P, G]", rollout_batch.KEYS), ("Rows [N]", rollout_batch.ROWS)):
        rows = [(f"`{name}`", f"[{key.shape}]", key.dtype or "text", key.writer, key.meaning) for name, key in entries.items()]
        parts += [f"## {title}", "", table(("key", "shape", "dtype", "written by", "meaning"), rows)]
    return "\n".join(parts)


def papers_page() -> str:
    """Which component or experiment comes from which paper."""
    parts = ["# Paper index", "", "What each paper contributes here, oldest first. Add the choice to `python -m rltoolkit`.", ""]
    for paper, uses in papers.index().items():
        parts += [f"## {paper.name}", "", link_papers(paper.number), ""]
        parts.append(table(("choice", "place in the paper"), [(linked(use.choice), markdown(use.place)) for use in uses]))
    without = [linked(choice) for choice, source in papers.sources().items() if not papers.citations(source or "")]
    return "\n".join([*parts, "## From no paper", "", ", ".join(without), ""])


def linked(choice: str) -> str:
    """A choice, with a link to its component where it is one."""
    kind, _, name = choice.strip("'").partition("=")
    name = name.strip("[]")
    return f"[`{choice}`](#{kind}.{name})" if kind in registry.kinds() else f"`{choice}`"


def commands_page() -> str:
    """What every command says of itself."""
    parts = ["# Commands", ""]
    for command in COMMANDS:
        module = f"rltoolkit.{command}" if command else "rltoolkit"
        environment = {**os.environ, "COLUMNS": "100"}
        said = subprocess.check_output([sys.executable, "-m", module, "--help"], text=True, env=environment)
        parts += [f"## python -m {module}", "", fenced(said.strip(), "text")]
    return "\n".join(parts)


def write(app: Sphinx) -> None:
    """Write every page whose content has changed."""
    folder = Path(app.srcdir, "reference", "generated")
    folder.mkdir(parents=True, exist_ok=True)
    pages = {kind: kind_page(kind) for kind in registry.kinds()}
    pages |= {
        "components": kinds_page(),
        "configuration": configuration_page(),
        "metrics": columns_page(),
        "rollouts": rollouts_page(),
        "papers": papers_page(),
        "commands": commands_page(),
    }
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)


def keep_formulas(_app: Sphinx, _what: str, _name: str, _object: object, _options: object, lines: list[str]) -> None:
    """Indented blocks of a docstring are formulas or code, and stay as they are typed."""
    typed: list[str] = []
    inside = False
    for line in lines:
        begins = line.startswith("    ") and not inside and (not typed or not typed[-1].strip())
        if begins and not next((each for each in reversed(typed) if each.strip()), "").endswith("::"):
            typed += ["::", ""]
        inside = begins or (inside and (line.startswith("    ") or not line.strip()))
        typed.append(line)
    lines[:] = typed


def setup(app: Sphinx) -> ExtensionMetadata:
    """Sphinx's hook."""
    app.connect("builder-inited", write)
    app.connect("autodoc-process-docstring", keep_formulas, priority=400)  # before napoleon's
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}

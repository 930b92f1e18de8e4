"""Imports run one way, and each big library has its place: read from the imports themselves."""

import grimp
import pytest

from rltoolkit import registry

FLOORS = (
    "__main__ evaluate rollouts serve slurm transform_dataset",
    "evaluations",
    "export components",
    "training torchrl",
    "plan",
    "command_line",
    "run",
    "report",
    "old_log_probs",
    "objective evaluation transform",
    "collector",
    "model",
    "policy",
    " ".join(kind for kind in registry.kinds() if kind != "model"),
    "rollout_batch arithmetic checkpoint_format columns logits sampling_mask weights_file worker_pool",
    "component papers",
    "registry errors",
)
"""From the top to the bottom: a module imports from floors below its own only, and not from its neighbours on the floor."""

ALLOWED = {
    "vllm": ["rltoolkit.rollout_engine._vllm"],
    "lightning": ["rltoolkit.training"],
    "hydra": [
        "rltoolkit.run.compose",
        "rltoolkit.run.sweep",
        "rltoolkit.run.sweep_options",
        "rltoolkit.__main__",
        "rltoolkit.command_line",
        "rltoolkit.transform_dataset",
    ],
    "omegaconf": ["rltoolkit.run", "rltoolkit.__main__", "rltoolkit.command_line", "rltoolkit.transform_dataset"],
    "httpx2": ["rltoolkit.rollout_engine._server", "rltoolkit.serve"],
    "openai": ["rltoolkit.transform.language_model"],
    "textual": ["rltoolkit.report.viewer.terminal"],
    "torchrl": ["rltoolkit.torchrl", "rltoolkit.training.data"],
    "trackio": ["rltoolkit.training.trackio_logger"],
}
"""Each library, and the packages that may import it."""


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("rltoolkit", include_external_packages=True, exclude_type_checking_imports=True)


def test_imports_run_one_way(graph):
    layers = tuple(grimp.Layer(*(f"rltoolkit.{name}" for name in floor.split())) for floor in FLOORS)
    illegal = graph.find_illegal_dependencies_for_layers(layers=layers)
    assert not [
        f"{dependency.importer} -> {dependency.imported}: {sorted(route.heads)} ... {sorted(route.tails)}"
        for dependency in illegal
        for route in dependency.routes
    ]


def test_every_module_stands_on_a_floor(graph):
    floors = [f"rltoolkit.{name}" for floor in FLOORS for name in floor.split()]
    ours = [module for module in graph.modules if module.startswith("rltoolkit.")]
    lost = [module for module in ours if not any(module == each or module.startswith(f"{each}.") for each in floors)]
    assert set(lost) <= {"rltoolkit.conf"}


@pytest.mark.parametrize("library", ALLOWED)
def test_each_library_has_its_place(graph, library):
    importers = graph.find_modules_that_directly_import(library)
    places = ALLOWED[library]
    assert importers, "the rule guards nothing"
    assert not [name for name in importers if not any(name == each or name.startswith(f"{each}.") for each in places)]

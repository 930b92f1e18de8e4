"""Whether a run fits a machine, and what would make it fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from rltoolkit.component import label
from rltoolkit.errors import ConfigError
from rltoolkit.plan.memory import EngineMemory, TrainerMemory, engine_memory, trainer_memory
from rltoolkit.plan.shape import Shape, UnknownShape, shape_of
from rltoolkit.policy.lora import LoRA

if TYPE_CHECKING:
    from rltoolkit.run.run import Run

GIB = 2**30
PROCESS = 1.5 * GIB
"""of a rank before it loads anything: Python, torch and vLLM, measured on a CPU"""
GPUS_OF_A_NODE = 8
MOST_GPUS = 1024


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What there is, in bytes; None where it is not known, and then nothing is said about it."""

    gpu: float | None
    """memory of each GPU; None also where the run trains on the CPU"""
    host: float | None
    """main memory of each node"""


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that has to fit."""

    what: str
    needed: float
    available: float | None

    @property
    def missing(self) -> float:
        """Bytes too few; 0 where it fits or nobody knows."""
        return 0.0 if self.available is None else max(0.0, self.needed - self.available)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The memory that a run needs on a machine."""

    run: Run
    shape: Shape
    teacher: int
    """parameters of the model that the advantage estimator asks, 0 where there is none"""
    trainer: TrainerMemory
    engine: EngineMemory
    needs: tuple[Need, ...]

    @property
    def first_missing(self) -> Need | None:
        """What does not fit, the first of it."""
        return next((need for need in self.needs if need.missing), None)


def this_machine(run: Run) -> Machine:
    """The machine that this process runs on, as the run would use it."""
    import psutil
    import torch

    on_gpu = uses_gpu(run) and torch.cuda.is_available()
    gpu = (
        min(torch.cuda.get_device_properties(each).total_memory for each in range(torch.cuda.device_count())) if on_gpu else None
    )
    return Machine(gpu=gpu, host=psutil.virtual_memory().total)


def uses_gpu(run: Run) -> bool:
    """Whether the run asks for GPUs, or takes those that it finds here."""
    import torch

    accelerator = run.config.trainer.accelerator
    return accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())


def make_plan(run: Run, machine: Machine) -> Plan:
    """Raises ConfigError where the sizes of the model cannot be known before it is made or downloaded, or it cannot be trained so."""
    model, engine = run.components.model, run.components.rollout_engine
    if not hasattr(engine, "cache_bytes"):
        raise UnknownShape(f"{label(engine)} does not say how much memory it takes (cache_bytes)")
    architecture = model.architecture() if hasattr(model, "architecture") else None
    if architecture is None:
        raise UnknownShape(
            f"{label(model)}: its configuration is not to be had here, so nobody knows how large it is; name a directory"
        )
    try:
        shape = shape_of(architecture, run.config.lora)
    except ValueError as error:
        raise ConfigError(f"{label(model)}: {error}") from error
    return _plan(run, machine, shape, _parameters_of_teacher(run))


def gpus_needed(plan: Plan, machine: Machine) -> int | None:
    """The fewest GPUs, a power of two, on which the run fits with all else as it is; None where more of them do not help."""
    count = 1
    while count <= MOST_GPUS:
        devices, nodes = min(count, GPUS_OF_A_NODE), max(1, count // GPUS_OF_A_NODE)
        trainer = dataclasses.replace(plan.run.config.trainer, devices=devices, num_nodes=nodes)
        run = dataclasses.replace(plan.run, config=dataclasses.replace(plan.run.config, trainer=trainer))
        if _plan(run, machine, plan.shape, plan.teacher).first_missing is None:
            return count
        count *= 2
    return None


def remedies(overrides: Sequence[str], machine: Machine) -> list[str] | None:
    """Overrides that make a run fit, milder ones first and none without need; None where none of those known here do."""
    from rltoolkit.run import compose

    def tried(extra: Sequence[str]) -> Plan:
        return make_plan(compose.load(*overrides, *extra), machine)

    chosen: list[str] = []
    for candidates in (_smaller_micro_batches, _recomputation, _share_of_the_gpu, _more_gpus, _adapters):
        plan = tried(chosen)
        plans = {candidate: tried([*chosen, candidate]) for candidate in candidates(plan)}
        fitting = next((candidate for candidate, each in plans.items() if each.first_missing is None), None)
        if fitting is not None:
            return _without_needless([*chosen, fitting], lambda extra: tried(extra).first_missing is None)
        best = min(plans, key=lambda candidate: _missing(plans[candidate]), default=None)
        if best is not None and _missing(plans[best]) < _missing(plan):
            chosen.append(best)
    return None


def require_fit(run: Run) -> None:
    """Refuse a run that this machine cannot hold, before anything is loaded; ``trainer.memory_check=false`` lets it try.

    Raises ConfigError, which names what does not fit, and the overrides with which it would.
    """
    import torch

    trainer = run.config.trainer
    gpus = torch.cuda.device_count()
    if trainer.accelerator == "gpu" and gpus < trainer.devices:
        raise ConfigError(f"trainer.accelerator=gpu with trainer.devices={trainer.devices}: found {gpus} GPUs here")
    if not trainer.memory_check:
        return
    machine = this_machine(run)
    try:
        plan = make_plan(run, machine)
    except ConfigError:
        return  # loading the model will show
    if (need := plan.first_missing) is None:
        return
    found = remedies(run.stamps["overrides"], machine) if "overrides" in run.stamps else None
    raise ConfigError(
        f"{need.what} need about {need.needed / GIB:.1f} GiB, and there are {(need.available or 0) / GIB:.1f} GiB. "
        + (f"This would fit: {' '.join(found)}. " if found else "")
        + "python -m rltoolkit.plan shows what takes the memory; trainer.memory_check=false tries it all the same"
    )


def _parameters_of_teacher(run: Run) -> int:
    if run.teacher is None:
        return 0
    architecture = run.teacher.architecture()
    if architecture is None:
        raise UnknownShape(f"{run.teacher.name_or_path}: the teacher's configuration is not to be had here; name a directory")
    return shape_of(architecture, LoRA()).parameters


def _plan(run: Run, machine: Machine, shape: Shape, teacher: int) -> Plan:
    trainer = trainer_memory(shape, run.config.trainer, needs_reference=run.needs_reference, teacher=teacher)
    on_gpu = uses_gpu(run)
    spec: Any = run.components.rollout_engine
    dtype = getattr(spec, "dtype", "auto")
    dtype_bytes = {"auto": 2 if on_gpu else 4, "bfloat16": 2, "float16": 2}.get(dtype, 4)
    one = engine_memory(shape, dtype_bytes=dtype_bytes, kv_cache=0, longest=run.longest_row + 1, max_num_seqs=spec.max_num_seqs)
    cache = spec.cache_bytes(gpu=machine.gpu if on_gpu else None, weights=one.weights, response=one.response)
    engine = dataclasses.replace(one, kv_cache=cache, at_once=min(spec.max_num_seqs, max(0, int(cache // one.response))))
    if servers(run):
        needs = _beside_servers(run, machine, shape, trainer, engine, on_gpu)
    else:
        needs = _on_gpus(run, machine, shape, trainer, engine) if on_gpu else _on_a_cpu(run, machine, trainer, engine)
    return Plan(run=run, shape=shape, teacher=teacher, trainer=trainer, engine=engine, needs=needs)


def servers(run: Run) -> tuple[str, ...]:
    """The addresses of the engines that are not in the trainer's processes; none where each rank has an engine of its own."""
    return tuple(getattr(run.components.rollout_engine, "urls", ()))


def _beside_servers(
    run: Run, machine: Machine, shape: Shape, trainer: TrainerMemory, engine: EngineMemory, on_gpu: bool
) -> tuple[Need, ...]:
    """A server has GPUs of its own, of the same size; on a CPU those at loopback addresses share the main memory."""
    spec: Any = run.components.rollout_engine
    if not on_gpu:
        here = sum(urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1") for url in servers(run))
        of_servers = here * (PROCESS + engine.weights + engine.kv_cache)
        needed = run.config.trainer.devices * (PROCESS + trainer.update) + of_servers
        return (
            Need(what="keys and values of one response", needed=engine.response, available=engine.kv_cache),
            Need(what="all processes of a node, servers on it included", needed=needed, available=machine.host),
        )
    share = None if machine.gpu is None else spec.gpu_memory_utilization * machine.gpu
    return (
        Need(what="an update of the trainer", needed=trainer.update, available=machine.gpu),
        Need(
            what="a server's weights and one response, on each of its GPUs",
            needed=(engine.weights + engine.response) / spec.tensor_parallel_size,
            available=share,
        ),
        _host_memory(run, machine, shape, trainer),
    )


def _on_a_cpu(run: Run, machine: Machine, trainer: TrainerMemory, engine: EngineMemory) -> tuple[Need, ...]:
    rank = PROCESS + trainer.update + engine.weights + engine.kv_cache
    return (
        Need(what="keys and values of one response", needed=engine.response, available=engine.kv_cache),
        Need(what="all processes of a node", needed=run.config.trainer.devices * rank, available=machine.host),
    )


def _on_gpus(run: Run, machine: Machine, shape: Shape, trainer: TrainerMemory, engine: EngineMemory) -> tuple[Need, ...]:
    sleeps = getattr(run.components.rollout_engine, "sleep", False)
    lent = engine.weights + max(0.0, engine.kv_cache)
    return (
        Need(what="an update of the trainer", needed=trainer.update + (0 if sleeps else lent), available=machine.gpu),
        Need(
            what="the engine's weights and one response, beside the trainer's state",
            needed=trainer.resident + engine.weights + engine.response,
            available=machine.gpu,
        ),
        Need(
            what="the engine's weights and one response",
            needed=engine.weights + engine.response,
            available=None if machine.gpu is None else lent,
        ),
        Need(what="the engine's share and the trainer's state", needed=trainer.resident + lent, available=machine.gpu),
        _host_memory(run, machine, shape, trainer, asleep=engine.weights if sleeps else 0),
    )


def _host_memory(run: Run, machine: Machine, shape: Shape, trainer: TrainerMemory, asleep: float = 0) -> Need:
    """Ranks that load, or write a checkpoint beside the weights of engines that are ``asleep``; on GPUs."""
    alone = run.config.trainer.world_size == 1  # several ranks read their parts to where they stay
    loading = PROCESS + (4 * shape.parameters + trainer.reference + trainer.teacher if alone else 0)
    saving = PROCESS + trainer.weights + trainer.optimizer + asleep
    return Need(
        what="main memory of a node, all ranks loading or saving",
        needed=run.config.trainer.devices * max(loading, saving),
        available=machine.host,
    )


def _missing(plan: Plan) -> float:
    return sum(need.missing for need in plan.needs)


def _without_needless(chosen: list[str], fits: Callable[[list[str]], bool]) -> list[str]:
    for each in list(chosen):
        fewer = [other for other in chosen if other != each]
        if fits(fewer):
            chosen = fewer
    return chosen


def _smaller_micro_batches(plan: Plan) -> Iterator[str]:
    row = plan.run.config.sampling.max_prompt_tokens + plan.run.config.sampling.max_new_tokens
    tokens = plan.run.config.trainer.micro_batch_tokens // 2
    while tokens > row:
        yield f"trainer.micro_batch_tokens={tokens}"
        tokens //= 2
    if plan.run.config.trainer.micro_batch_tokens > row:
        yield f"trainer.micro_batch_tokens={row}"


def _recomputation(plan: Plan) -> Iterator[str]:
    if plan.run.config.trainer.recompute == "none":
        yield "trainer.recompute=layer"


def _share_of_the_gpu(plan: Plan) -> Iterator[str]:
    if hasattr(plan.run.components.rollout_engine, "gpu_memory_utilization") and uses_gpu(plan.run):
        for share in (0.6, 0.7, 0.8, 0.9, 0.4, 0.3, 0.2):
            yield f"rollout_engine.gpu_memory_utilization={share}"


def _more_gpus(plan: Plan) -> Iterator[str]:
    trainer = plan.run.config.trainer
    if not uses_gpu(plan.run):
        return
    devices = trainer.devices * 2
    while trainer.num_nodes == 1 and devices <= GPUS_OF_A_NODE:
        yield f"trainer.devices={devices}"
        devices *= 2
    nodes = trainer.num_nodes * 2
    while nodes * trainer.devices <= MOST_GPUS:
        yield f"trainer.num_nodes={nodes}"
        nodes *= 2


def _adapters(plan: Plan) -> Iterator[str]:
    if not plan.run.config.lora.rank:
        yield "lora.rank=32"

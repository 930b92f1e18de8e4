"""What only vLLM has: a life in the trainer's process, or one of its own that can end."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import psutil
import pytest
import torch

from rltoolkit.rollout_batch import stack_groups
from rltoolkit.rollout_engine import VLLM, EngineDied, Sampling
from rltoolkit.weights_file import WeightsFile

from .conftest import MAX_LENGTH, add, random_model, reference_log_probs

PROMPTS = [[2, 3, 4]] * 64


def generate_for_ever(engine):
    while True:
        engine.generate(PROMPTS, 8, Sampling(max_new_tokens=40), range(64))


def test_importing_the_engine_does_not_import_vllm():
    heavy = "{'vllm', 'transformers', 'lightning', 'hydra'} & set(sys.modules)"
    program = f"import sys, rltoolkit.rollout_engine; assert not {heavy}, {heavy}"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_missing_vllm_names_the_extras_and_the_alternative(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(ImportError, match=r"rltoolkit\[cpu\].*rltoolkit\[gpu\].*rollout_engine=transformers"):
        VLLM(subprocess=True)(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)


@pytest.mark.parametrize("setting", [{"max_num_seqs": 0}, {"kv_cache_gib": 0.0}, {"gpu_memory_utilization": 1.5}])
def test_settings_out_of_range_are_refused(setting):
    (field,) = setting
    with pytest.raises(ValueError, match=rf"rollout_engine\.{field}=.* \(rollout_engine=vllm\)"):
        VLLM(**setting)


def test_several_ranks_need_a_process_group_first(checkpoint, monkeypatch):
    # vLLM would otherwise make a default group of one rank, which the trainer would take for its own.
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match="process group first"):
        VLLM()(model_path=checkpoint(True), max_length=MAX_LENGTH, seed=0)


def test_generating_leaves_the_trainer_s_random_states_and_threads_alone(vllm_engine):
    torch_state, python_state, threads = torch.get_rng_state(), random.getstate(), torch.get_num_threads()
    handler = signal.getsignal(signal.SIGINT)
    vllm_engine.generate(PROMPTS, 1, Sampling(max_new_tokens=4), range(64))

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert random.getstate() == python_state
    assert torch.get_num_threads() == threads
    assert signal.getsignal(signal.SIGINT) is handler
    torch.set_num_threads(threads + 1)  # vLLM replaces this function by one that does nothing
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)


def test_an_interrupt_drops_the_requests_and_leaves_the_engine_usable(vllm_engine):
    sampling = Sampling(max_new_tokens=40)
    before = vllm_engine.generate(PROMPTS, 1, sampling, range(64))
    interrupt = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        generate_for_ever(vllm_engine)

    after = vllm_engine.generate(PROMPTS, 1, sampling, range(64))
    assert torch.equal(after["input_ids"], before["input_ids"])


def test_other_calls_are_refused_while_groups_are_in_flight(vllm_engine):
    with vllm_engine.stream(2, Sampling(max_new_tokens=4)) as stream:
        stream.submit([0], PROMPTS[:1], [0])
        with pytest.raises(RuntimeError, match="groups of a stream are in flight"):
            vllm_engine.log_probs([[2, 3]])
        keys, rollouts = stream.next_finished()
        assert keys == [0]
        assert rollouts.batch_size == (1, 2)
        vllm_engine.log_probs([[2, 3]])


def engine_processes():
    return [process for process in psutil.Process().children(recursive=True) if process.name().startswith("VLLM")]


def kill_engine():
    next(process for process in engine_processes() if process.name().startswith("VLLM::Engine")).kill()


def test_an_engine_in_a_subprocess_takes_weights_and_survives_one_death_a_step(checkpoint):
    pytest.importorskip("vllm")
    engine = VLLM(subprocess=True)(model_path=checkpoint(False), max_length=MAX_LENGTH, seed=0)
    sequence, sampling = list(range(2, 40)), Sampling(max_new_tokens=40)
    for version in (1, 2):
        model = random_model(tied=False, seed=version)
        if version == 2:
            model.lm_head.weight = model.model.embed_tokens.weight  # two names for one tensor, as a tied model has
        if version == 1:
            kill_engine()  # the engine that is started instead gets these weights, although they can be read only once
        engine.update_weights(iter(model.state_dict().items()), version)
        (scores,) = engine.log_probs([sequence])
        torch.testing.assert_close(scores, reference_log_probs(model, sequence), atol=1e-4, rtol=0)

    before = engine.generate(PROMPTS, 2, sampling, range(64))
    first = engine_processes()
    # started again with version 2 of the weights, and asked again for what was in flight: the same rollouts
    groups = {}
    with engine.stream(2, sampling) as stream:
        stream.submit(range(32), PROMPTS[:32], range(32))
        while not groups:
            add(groups, stream.next_finished())
        kill_engine()
        stream.submit(range(32, 64), PROMPTS[32:], range(32, 64))
        while finished := stream.next_finished():
            add(groups, finished)
    after = stack_groups(groups[key] for key in range(64))
    assert torch.equal(after["input_ids"], before["input_ids"])
    assert after["policy_version"].unique().tolist() == [2]
    _, alive = psutil.wait_procs(first, timeout=20)
    assert not alive

    second = engine_processes()
    threading.Timer(0.2, kill_engine).start()  # in the middle of generating
    with pytest.raises(
        EngineDied,
        match=r"vllm died in generate: (its process ended with exit code -9|EngineDeadError).*restarted once in this rollout step",
    ):
        generate_for_ever(engine)
    engine.close()
    engine.close()
    _, alive = psutil.wait_procs(second, timeout=20)
    assert not alive
    with pytest.raises(EngineDied, match="closed"):
        engine.log_probs([sequence])


def test_a_killed_trainer_leaves_no_engine_and_its_weights_go_at_the_next_start(checkpoint):
    pytest.importorskip("vllm")
    shared = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path(tempfile.gettempdir())
    command = [sys.executable, "-m", "tests.rollout_engine.killed_trainer", str(checkpoint(True))]
    trainer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    try:
        line = next(line for line in trainer.stdout if line.startswith("processes"))
        engine = [psutil.Process(int(pid)) for pid in line.split()[1:]]
        assert any(process.name().startswith("VLLM") for process in engine)
        (weights,) = shared.glob(f"rltoolkit-weights-*-{trainer.pid}-*")
    finally:
        trainer.kill()
        trainer.wait()
        trainer.stdout.close()
    _, alive = psutil.wait_procs(engine, timeout=30)
    assert not alive
    assert weights.exists()  # nobody was left to remove it

    mine = WeightsFile()
    assert not weights.exists()
    assert mine.path.exists()
    WeightsFile().close()  # another engine of a process that lives takes only its own
    assert mine.path.exists()
    mine.close()
    assert not mine.path.exists()

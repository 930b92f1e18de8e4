"""A running vLLM engine: requests, weights, memory and Ctrl-C. Its settings are in ``vllm.py``."""

from __future__ import annotations

import contextlib
import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor

from rltoolkit.rollout_engine._sampled import Response, check_request, response_seed, sample_all, stop_token_ids, to_rollouts
from rltoolkit.rollout_engine._vllm.process_state import (
    forget_launcher,
    held_interrupts,
    kept_process_group,
    preserved_globals,
    quiet_stderr,
    recorded_decorations,
)
from rltoolkit.rollout_engine._vllm.worker import memory_handles, watched_processes
from rltoolkit.rollout_engine.base import EngineDied, Sampling
from rltoolkit.weights_file import WeightsFile


class VLLMEngine:
    """A running engine; see ``RolloutEngine`` for what its methods promise.

    Log-probs of rollouts are those of the distribution that was sampled from: temperature applied, and renormalised over
    the kept tokens where top-p is below 1.

    Args:
        arguments: of ``vllm.LLM``.
        max_length: prompt + response in tokens.
        subprocess: whether the engine runs in processes of its own.
        sleep: whether it lends its memory on a GPU.
    """

    def __init__(self, arguments: dict[str, Any], *, max_length: int, subprocess: bool, sleep: bool) -> None:
        from transformers import AutoTokenizer

        self._in_process, self.max_length, self.version = not subprocess, max_length, 0
        # Even with enforce_eager vLLM compiles the function that ranks sampled tokens: 3 seconds, and no gain on a CPU.
        self._compiles = torch.cuda.is_available()
        self._can_sleep = sleep and torch.cuda.is_available()
        self._asleep: set[str] = set()  # parts of the engine's memory, by vLLM's names
        model_path = Path(arguments["model"])
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        self.stops = stop_token_ids(model_path, self.tokenizer)
        self._brought_process_group = self._in_process and not torch.distributed.is_initialized()
        if self._brought_process_group and int(os.environ.get("WORLD_SIZE", 1)) > 1:
            raise RuntimeError(
                "rollout_engine=vllm in a job of several ranks: start the trainer's process group first, "
                "or set rollout_engine.subprocess=true"
            )
        verbose = os.environ.get("RLTOOLKIT_VERBOSE") == "1"
        # A subprocess would keep the redirected standard error for ever; there only the log level is lowered.
        with preserved_globals(), contextlib.nullcontext() if verbose or subprocess else quiet_stderr():
            _prepare_environment(subprocess, "INFO" if verbose else "ERROR")
            vllm = _import_vllm()
            vllm.envs.disable_envs_cache()  # an engine that was started earlier has cached the environment of that time
            with recorded_decorations() if self._in_process else contextlib.nullcontext() as decorated:
                self._llm: Any = vllm.LLM(**arguments)
            if decorated:
                self._llm.collective_rpc("undecorate", args=(decorated,))
        self._running: dict[str, int] = {}  # vLLM's request id -> our key
        worker_in_process = self._in_process and arguments["tensor_parallel_size"] == 1
        self._file = None if worker_in_process else WeightsFile()
        self._processes = [] if self._in_process else watched_processes(self._llm.llm_engine.engine_core)
        for process in self._processes:
            self._llm.collective_rpc("end_with_trainer", args=(os.getpid(), process.pid))

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """See ``RolloutEngine.generate``. Ctrl-C drops the running requests; the engine stays usable."""
        with self.stream(group_size, sampling) as stream:
            return sample_all(stream, prompts, seeds)

    @contextlib.contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[VLLMStream]:
        """See ``RolloutEngine.stream``. An engine in a process of its own keeps sampling between calls."""
        with self._session():
            yield VLLMStream(self, group_size, sampling)

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """See ``RolloutEngine.log_probs``."""
        from vllm import SamplingParams

        scoring = SamplingParams(max_tokens=1, prompt_logprobs=0, flat_logprobs=True, detokenize=False)
        outputs: dict[int, Any] = {}
        with self._session():
            self._enqueue(range(len(sequences)), sequences, [scoring] * len(sequences))
            while self._running:
                outputs.update(self._serve())
        return [torch.tensor(outputs[row].prompt_logprobs.logprobs) for row in range(len(sequences))]

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``RolloutEngine.update_weights``."""
        if self._file is not None:
            weights = dict(weights).items()  # read all of them first: an error while reading is the trainer's, not the engine's
        with self._alive("update_weights"):
            self._wake("weights")
            if self._file is None:
                self._llm.collective_rpc("replace_weights", args=(weights,))
            elif all(tensor.is_cuda for _, tensor in weights):
                self._llm.collective_rpc("replace_weights_by_handle", args=(memory_handles(weights),))
            else:
                self._file.write(weights)
                self._llm.collective_rpc("replace_weights_from", args=(str(self._file.path),))
            self._llm.reset_prefix_cache()
        self.version = version

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``."""
        if self._can_sleep:
            with self._alive("sleep"):
                self._llm.sleep(level=1)
            self._asleep = {"weights", "kv_cache"}

    def _wake(self, *parts: str) -> None:
        asleep = [part for part in parts if part in self._asleep]
        if asleep:
            torch.cuda.ipc_collect()  # give back memory that the trainer's allocator has freed but still caches
            torch.cuda.empty_cache()
            self._llm.wake_up(tags=asleep)
            self._asleep -= set(asleep)

    def close(self) -> None:
        """See ``RolloutEngine.close``."""
        if self._llm is None:
            return
        llm, self._llm = self._llm, None
        if self._file is not None:
            self._file.close()
        with contextlib.nullcontext() if self._brought_process_group else kept_process_group():
            llm.llm_engine.engine_core.shutdown()
        del llm
        gc.collect()

    @contextlib.contextmanager
    def _session(self) -> Iterator[None]:
        """Drop the requests that were enqueued inside and are unfinished at the end."""
        if self._running:
            raise RuntimeError("rollout_engine=vllm was called while groups of a stream are in flight")
        if self._llm is not None:
            self._wake("weights", "kv_cache")
        try:
            yield
        finally:
            running, self._running = self._running, {}
            if running and self._llm is not None:
                with self._guarded():
                    engine = self._llm.llm_engine
                    engine.abort_request(list(engine.output_processor.request_states), internal=True)

    def _enqueue(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], parameters: Sequence[Any]) -> None:
        with self._guarded():
            ids = self._llm.enqueue([{"prompt_token_ids": list(prompt)} for prompt in prompts], parameters, use_tqdm=False)
            # enqueue returns ids with a random suffix, outputs carry ids without it
            self._running.update(zip((each.partition("-")[0] for each in ids), keys, strict=True))

    def _serve(self, timeout: float | None = None) -> list[tuple[int, Any]]:
        """Run until a request has finished with all its n responses; (key, vLLM's output) of each. None after ``timeout`` seconds."""
        finished: list[Any] = []
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        with self._guarded() as deliver_interrupt:
            while self._running and not finished:
                finished = [output for output in self._llm.llm_engine.step() if output.finished]
                deliver_interrupt()
                if time.monotonic() >= deadline:
                    break
        return [(self._running.pop(output.request_id), output) for output in finished]

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[Callable[[], None]]:
        """Put around sampling in vLLM; yields a function that delivers a held Ctrl-C, to be called between two steps."""
        compilation = contextlib.nullcontext() if self._compiles else torch.compiler.set_stance("force_eager")
        with held_interrupts() as deliver_interrupt, torch.random.fork_rng(), compilation, self._alive("generate"):
            yield deliver_interrupt

    @contextlib.contextmanager
    def _alive(self, what: str) -> Iterator[None]:
        """Turn a failure inside vLLM into EngineDied, and refuse calls on a closed engine."""
        if self._llm is None:
            raise EngineDied(f"rollout_engine=vllm: {what} was called on a closed engine")
        try:
            yield
        except Exception as error:
            exit_codes = [process.exitcode for process in self._processes if process.exitcode is not None]
            cause = f"its process ended with exit code {exit_codes[0]}" if exit_codes else f"{type(error).__name__}: {error}"
            raise EngineDied(f"rollout_engine=vllm died in {what}: {cause}") from error


class VLLMStream:
    """Groups in vLLM's continuous batch; see ``RolloutStream``."""

    def __init__(self, engine: VLLMEngine, group_size: int, sampling: Sampling) -> None:
        if sampling.sampling_mask:
            raise ValueError("rollout_engine=vllm gives no sampling masks (sampling_mask=True); rollout_engine=transformers does")
        self._engine, self._group_size, self._sampling = engine, group_size, sampling

    def submit(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[int], first: int = 0) -> None:
        """See ``RolloutStream.submit``."""
        from vllm import SamplingParams

        sampling, max_length = self._sampling, self._engine.max_length
        check_request(prompts, self._group_size, seeds, max_length)
        parameters = [
            SamplingParams(
                n=self._group_size if sampling.temperature > 0 else 1,  # at temperature 0 vLLM rejects n > 1
                seed=response_seed(seed, first),  # vLLM gives response g the seed of its request plus g
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                max_tokens=min(sampling.max_new_tokens, max_length - len(prompt)),
                stop_token_ids=self._engine.stops,
                logprobs=0,  # only that of the sampled token
                flat_logprobs=True,
                detokenize=False,
            )
            for prompt, seed in zip(prompts, seeds, strict=True)
        ]
        self._engine._enqueue(keys, prompts, parameters)

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict] | None:
        """See ``RolloutStream.next_finished``."""
        finished = self._engine._serve(timeout)
        if not finished:
            return None
        groups = []
        for _, output in finished:
            group = [Response(it.token_ids, it.logprobs.logprobs, it.finish_reason == "length") for it in output.outputs]
            groups.append((group * self._group_size)[: self._group_size])
        prompts = [output.prompt_token_ids for _, output in finished]
        keys = [key for key, _ in finished]
        return keys, to_rollouts(prompts, groups, self._engine.tokenizer, self._engine.version)


def _prepare_environment(subprocess: bool, log_level: str) -> None:
    """What vLLM reads from the environment when it is imported and started."""
    forget_launcher()
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = str(int(subprocess))
    if not torch.cuda.is_available():
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")  # read by the engine's own process; VLLMEngine covers this process
    # Trainer and engine take turns on the same cores; with binding the engine would get one thread per physical core.
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", log_level)


def _import_vllm() -> Any:
    try:
        import vllm
    except ImportError as error:
        raise ImportError(
            "rollout_engine=vllm needs vLLM: pip install 'rltoolkit[cpu]' or 'rltoolkit[gpu]'; "
            "rollout_engine=transformers runs without it"
        ) from error
    return vllm

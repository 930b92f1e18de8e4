"""A fleet of servers behind the contract of a rollout engine: an event loop in a thread does the talking."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from safetensors import safe_open
from tensordict import TensorDict
from torch import Tensor

from rltoolkit.errors import ConfigError, RunFailed
from rltoolkit.rollout_engine._sampled import Response, check_request, response_seed, sample_all, stop_token_ids, to_rollouts
from rltoolkit.rollout_engine._server.fleet import Fleet
from rltoolkit.rollout_engine._server.server import new_owner
from rltoolkit.rollout_engine.base import EngineDied, Sampling

if TYPE_CHECKING:
    from rltoolkit.rollout_engine.vllm_server import VLLMServer
    from rltoolkit.weight_transfer.base import WeightSender, WeightTransfer

T = TypeVar("T")


class VLLMServerEngine:
    """See ``RolloutEngine`` for what its methods promise. The servers start with the weights of ``model_path``, as any engine does."""

    def __init__(self, spec: VLLMServer, model_path: Path, max_length: int, transfer: WeightTransfer) -> None:
        from transformers import AutoConfig, AutoTokenizer

        self.max_length, self.version, self._spec = max_length, 0, spec
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        self.stops = stop_token_ids(model_path, self.tokenizer)
        settings = {
            "vocabulary": AutoConfig.from_pretrained(model_path).get_text_config().vocab_size,
            "max-model-len": max_length + 1,
            "logprobs-mode": "processed_logprobs",
            **({} if spec.dtype == "auto" else {"dtype": spec.dtype}),
            **({} if spec.head_dtype == "auto" else {"hf-overrides": {"head_dtype": spec.head_dtype}}),
        }
        is_first = _is_first()
        self._fleet = Fleet(
            spec.urls, owner=_of_the_first(new_owner()), is_first=is_first, settings=settings, timeout=spec.timeout,
            transfer_timeout=transfer.timeout,
        )  # fmt: skip
        self._sender = transfer() if is_first else None
        self._loop: asyncio.AbstractEventLoop | None = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rollout-engine-servers", daemon=True)
        self._thread.start()
        self.in_flight: dict[int, Future[None]] = {}
        try:
            self.run(self._fleet.open(slots=spec.max_in_flight))
            self.update_weights(_weights_of(model_path) if is_first else (), 0)
            self.run(self._fleet.require_tokens())
        except BaseException:
            self.close()
            raise

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """See ``RolloutEngine.generate``."""
        with self.stream(group_size, sampling) as stream:
            return sample_all(stream, prompts, seeds)

    @contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[ServerStream]:
        """See ``RolloutEngine.stream``. The servers sample between calls, too."""
        self._require_idle()
        try:
            yield ServerStream(self, self._fleet, group_size, sampling)
        finally:
            dropped, self.in_flight = self.in_flight, {}
            for request in dropped.values():
                request.cancel()  # the connection closes, and the server drops the request

    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """See ``RolloutEngine.log_probs``."""
        self._require_idle()

        async def ask() -> list[Any]:
            return await asyncio.gather(*(self._fleet.ask(row, _scoring(tokens)) for row, tokens in enumerate(sequences)))

        return [_scores(reply, tokens) for reply, tokens in zip(self.run(ask()), sequences, strict=True)]

    def log_probs_of_each(self, sequence: Sequence[int]) -> dict[str, Tensor]:
        """One sequence's ``log_probs`` from every server, by address: each holds a copy of the weights."""
        self._require_idle()
        return {url: _scores(reply, sequence) for url, reply in self.run(self._fleet.ask_each(_scoring(sequence))).items()}

    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``RolloutEngine.update_weights``. The first rank sends them, a bucket at a time; what fails there fails on every rank."""
        self._require_idle()
        remaining = iter(weights)
        failure = None if self._sender is None else self._send(self._sender, remaining, version)
        for _ in remaining:  # gathering them is a collective, also when nobody wants them
            pass
        failure = _of_the_first(failure)
        if failure is not None:
            raise failure
        if self._sender is None:
            self.run(self._fleet.adopt(version))
        self.version = version

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``: a server's memory is its own."""

    def close(self) -> None:
        """See ``RolloutEngine.close``. The servers go on running."""
        if self._loop is None:
            return
        for request in self.in_flight.values():
            request.cancel()
        self.run(self._fleet.close())
        loop, self._loop = self._loop, None
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join()
        loop.close()
        if self._sender is not None:
            self._sender.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for what happens in the event loop; Ctrl-C cancels it there."""
        future = self.start(coroutine)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Let it happen in the event loop. Raises EngineDied on a closed engine."""
        if self._loop is None:
            coroutine.close()
            raise EngineDied("rollout_engine=vllm_server was called on a closed engine")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _send(self, sender: WeightSender, weights: Iterator[tuple[str, Tensor]], version: int) -> RunFailed | None:
        """On the first rank. Returns what went wrong."""
        try:
            self.run(self._fleet.begin())
            for call in sender.calls(weights):
                self.run(self._fleet.give(call))
            self.run(self._fleet.finish(version, sender.again()))
        except RunFailed as error:
            return error
        return None

    def _require_idle(self) -> None:
        if self.in_flight:
            raise RuntimeError("rollout_engine=vllm_server was called while groups of a stream are in flight")


class ServerStream:
    """Groups, each one request to one server; see ``RolloutStream``."""

    def __init__(self, engine: VLLMServerEngine, fleet: Fleet, group_size: int, sampling: Sampling) -> None:
        if sampling.sampling_mask:
            raise ValueError(
                "rollout_engine=vllm_server gives no sampling masks (sampling_mask=True); rollout_engine=transformers does"
            )
        self._engine, self._fleet, self._group_size, self._sampling = engine, fleet, group_size, sampling
        self._prompts: dict[int, Sequence[int]] = {}
        self._finished: queue.SimpleQueue[tuple[int, list[Response] | BaseException]] = queue.SimpleQueue()

    def submit(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[int], first: int = 0) -> None:
        """See ``RolloutStream.submit``."""
        check_request(prompts, self._group_size, seeds, self._engine.max_length)
        for key, prompt, seed in zip(keys, prompts, seeds, strict=True):
            self._prompts[key] = prompt
            self._engine.in_flight[key] = self._engine.start(self._sample(key, self._request(prompt, response_seed(seed, first))))

    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict] | None:
        """See ``RolloutStream.next_finished``. Raises EngineDied when no server is left, StaleWeights for a reply of other weights."""
        if not self._prompts:
            return None
        try:
            finished = [self._finished.get(timeout=timeout)]
        except queue.Empty:
            return None
        while not self._finished.empty():
            finished.append(self._finished.get())
        keys, groups = [], []
        for key, group in finished:
            if isinstance(group, BaseException):
                raise group
            keys.append(key)
            groups.append((group * self._group_size)[: self._group_size])
            del self._engine.in_flight[key]
        prompts = [self._prompts.pop(key) for key in keys]
        return keys, to_rollouts(prompts, groups, self._engine.tokenizer, self._engine.version)

    def _request(self, prompt: Sequence[int], seed: int) -> dict[str, Any]:
        """One group, in vLLM's vocabulary, its first response with this seed.

        The values are those of ``_vllm/engine.py``, so that the responses are the same.
        """
        sampling = self._sampling
        parameters = {
            "n": self._group_size if sampling.temperature > 0 else 1,  # at temperature 0 vLLM rejects n > 1
            "seed": seed,  # vLLM gives response g the seed of its request plus g
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
            "max_tokens": min(sampling.max_new_tokens, self._engine.max_length - len(prompt)),
            "stop_token_ids": self._engine.stops,
            "logprobs": 0,  # only that of the sampled token
            "detokenize": False,
        }
        return {"token_ids": list(prompt), "sampling_params": parameters}

    async def _sample(self, key: int, request: Mapping[str, Any]) -> None:
        try:
            self._finished.put((key, _responses(await self._fleet.ask(key, request))))
        except Exception as error:
            self._finished.put((key, error))


def _responses(reply: Mapping[str, Any]) -> list[Response]:
    """The group in vLLM's reply, in the order of its responses."""
    return [
        Response(
            choice["token_ids"],
            [token["logprob"] for token in choice["logprobs"]["content"]],
            choice["finish_reason"] == "length",
        )
        for choice in sorted(reply["choices"], key=lambda choice: choice["index"])
    ]


def _scoring(tokens: Sequence[int]) -> dict[str, Any]:
    """A request that has a sequence scored; vLLM has to sample a token more."""
    return {"token_ids": list(tokens), "sampling_params": {"max_tokens": 1, "prompt_logprobs": 0, "detokenize": False}}


def _scores(reply: Mapping[str, Any], tokens: Sequence[int]) -> Tensor:
    """Float32 [n - 1]; vLLM gives, for each token but the first, its log-prob under its id."""
    scored = zip(reply["prompt_logprobs"][1:], tokens[1:], strict=True)
    return torch.tensor([entries[str(token)]["logprob"] for entries, token in scored])


def _is_first() -> bool:
    return not dist.is_initialized() or dist.get_rank() == 0


def _of_the_first(item: T) -> T:
    """The first rank's, on every rank."""
    items = [item]
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.broadcast_object_list(items)
    return items[0]


def _weights_of(model_path: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a Hugging Face directory. Raises ConfigError where it has no safetensors."""
    files = sorted(model_path.glob("*.safetensors"))
    if not files:
        raise ConfigError(f"rollout_engine=vllm_server sends a model's weights to the servers; {model_path} has no *.safetensors")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a dictionary
                yield name, tensors.get_tensor(name)

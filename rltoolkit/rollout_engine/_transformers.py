"""A running transformers engine: sampling, weights, scoring. Its settings are in ``transformers.py``."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tensordict import TensorDict
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from rltoolkit.checkpoint_format import from_checkpoint
from rltoolkit.logits import project
from rltoolkit.rollout_engine._sampled import Response, check_request, response_seed, sample_all, stop_token_ids, to_rollouts
from rltoolkit.rollout_engine.base import EngineDied, Sampling

_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""All but cuDNN's, which builds a plan for every new shape. Here every token has a new one: the cache is one longer."""


class TransformersEngine:
    """A model of its own beside the trainer's; see ``RolloutEngine`` for what its methods promise."""

    def __init__(
        self, model_path: Path, *, device: str, dtype: str, float32_head: bool, max_num_seqs: int, max_length: int
    ) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        on_gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
        self._device = torch.device(("cuda" if on_gpu else "cpu") if device == "auto" else device)
        dtype = ("bfloat16" if on_gpu else "float32") if dtype == "auto" else dtype
        self.tokenizer = AutoTokenizer.from_pretrained(model_path)
        model: Any = AutoModelForCausalLM.from_pretrained(model_path, dtype=dtype)
        if float32_head:
            model.set_output_embeddings(_Float32Head.of(model.get_output_embeddings()))
        self._model = model.to(self._device).eval()
        self._stops = torch.tensor(stop_token_ids(model_path, self.tokenizer), device=self._device)
        self.max_length, self.max_num_seqs, self.version = max_length, max_num_seqs, 0

    def generate(self, prompts: Sequence[Sequence[int]], group_size: int, sampling: Sampling, seeds: Sequence[int]) -> TensorDict:
        """See ``RolloutEngine.generate``."""
        with self.stream(group_size, sampling) as stream:
            return sample_all(stream, prompts, seeds)

    @contextmanager
    def stream(self, group_size: int, sampling: Sampling) -> Iterator[TransformersStream]:
        """See ``RolloutEngine.stream``; what is submitted while a batch runs starts when the batch is done."""
        yield TransformersStream(self, group_size, sampling)

    @torch.inference_mode()
    def log_probs(self, sequences: Sequence[Sequence[int]]) -> list[Tensor]:
        """See ``RolloutEngine.log_probs``."""
        self._require_open("log_probs")
        scores = []
        for sequence in sequences:
            tokens = torch.tensor(sequence, device=self._device)
            logits = self._model(tokens[None], use_cache=False).logits[0, :-1].float()
            scores.append(logits.log_softmax(-1).gather(-1, tokens[1:, None]).squeeze(-1).cpu())
        return scores

    @torch.no_grad()
    def update_weights(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """See ``RolloutEngine.update_weights``. Raises KeyError on a name that the model does not have."""
        self._require_open("update_weights")
        own = self._model.state_dict()
        for name, tensor in from_checkpoint(self._model, weights):
            own[name].copy_(tensor)
        self.version = version

    def sleep(self) -> None:
        """See ``RolloutEngine.sleep``: between two calls this engine holds its weights and nothing else."""

    def close(self) -> None:
        """See ``RolloutEngine.close``."""
        self._model = None

    def sample(self, rows: Sequence[tuple[Sequence[int], int]], sampling: Sampling) -> Iterator[list[tuple[int, Response]]]:
        """One response to each (prompt, seed): after every token, those that it ended, each with the index of its row.

        Padding on the left puts the next token of every row in the last column.
        """
        self._require_open("generate")
        lengths = torch.tensor([len(prompt) for prompt, _ in rows])
        limits = (self.max_length - lengths).clamp(max=sampling.max_new_tokens)
        uniforms = torch.stack([_uniforms(seed, int(limits.max())) for _, seed in rows]).to(self._device)
        width = int(lengths.max())
        inputs = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt, _ in rows], device=self._device)
        mask = (torch.arange(width) >= width - lengths[:, None]).long().to(self._device)
        limits = limits.to(self._device)

        live, cache = torch.arange(len(rows), device=self._device), None
        tokens = torch.zeros(uniforms.shape, dtype=torch.int64, device=self._device)
        log_probs = torch.zeros(uniforms.shape, device=self._device)
        kept_ids: list[list[Tensor]] = [[] for _ in rows]  # of each row, for each of its tokens
        for count in range(1, uniforms.shape[1] + 1):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
            with sdpa_kernel(_KERNELS):
                output = self._model(
                    inputs, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1
                )
            cache = output.past_key_values
            token, log_prob, kept = _draw(output.logits[:, -1].float(), uniforms[live, count - 1], sampling)
            if sampling.sampling_mask and kept is not None:
                ids = kept.nonzero()[:, 1].int().cpu().split(kept.sum(-1).tolist())
                for row, ids_of_token in zip(live.tolist(), ids, strict=True):
                    kept_ids[row].append(ids_of_token)
            tokens[live, count - 1], log_probs[live, count - 1] = token, log_prob
            stopped = torch.isin(token, self._stops)
            going = ~stopped & (count < limits[live])
            ended = live[~going]
            columns = (ended, tokens[ended, :count], log_probs[ended, :count], ~stopped[~going])
            yield [
                (row, Response(ids_of_row, log_probs_of_row, truncated, kept_ids[row]))
                for row, ids_of_row, log_probs_of_row, truncated in zip(*(column.tolist() for column in columns), strict=True)
            ]
            if not going.all():
                remaining = going.nonzero().squeeze(-1)
                cache.batch_select_indices(remaining)
                live, token, mask = live[remaining], token[remaining], mask[remaining]
            if not len(live):
                return
            inputs, mask = token[:, None], torch.nn.functional.pad(mask, (0, 1), value=1)

    def _require_open(self, what: str) -> None:
        if self._model is None:
            raise EngineDied(f"rollout_engine=transformers: {what} was called on a closed engine")


class TransformersStream:
    """Groups whose responses wait or are in the running batch; see ``RolloutStream``.

    A batch keeps its rows to the end: its left padding and its cache are laid out once. What is submitted meanwhile makes
    the next one, so responses in flight beyond ``max_num_seqs`` and refills wait for the slowest of a batch.
    """

    def __init__(self, engine: TransformersEngine, group_size: int, sampling: Sampling) -> None:
        self._engine, self._group_size, self._sampling = engine, group_size, sampling
        self._prompts: dict[int, Sequence[int]] = {}  # of the groups in flight
        self._responses: dict[int, dict[int, Response]] = {}
        self._waiting: deque[tuple[int, int, int]] = deque()  # key, index in the group, seed
        self._rows: list[tuple[int, int, int]] = []  # of the running batch
        self._batch: Iterator[list[tuple[int, Response]]] = iter(())

    def submit(self, keys: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[int], first: int = 0) -> None:
        """See ``RolloutStream.submit``."""
        check_request(prompts, self._group_size, seeds, self._engine.max_length)
        for key, prompt, seed in zip(keys, prompts, seeds, strict=True):
            self._prompts[key], self._responses[key] = prompt, {}
            self._waiting.extend((key, index, response_seed(seed, first + index)) for index in range(self._group_size))

    @torch.inference_mode()
    def next_finished(self, timeout: float | None = None) -> tuple[list[int], TensorDict] | None:
        """See ``RolloutStream.next_finished``."""
        deadline = time.monotonic() + (math.inf if timeout is None else timeout)
        finished: list[int] = []
        while self._prompts and not finished:
            finished = self._next_token()
            if time.monotonic() >= deadline:
                break
        if not finished:
            return None
        prompts = [self._prompts.pop(key) for key in finished]
        groups = [[response for _, response in sorted(self._responses.pop(key).items())] for key in finished]
        return finished, to_rollouts(prompts, groups, self._engine.tokenizer, self._engine.version)

    def _next_token(self) -> list[int]:
        """One more token for every row of the batch, or the first of the next batch; the groups that it completed."""
        ended = next(self._batch, None)
        if ended is None:
            self._rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._engine.max_num_seqs))]
            self._batch = self._engine.sample([(self._prompts[key], seed) for key, _, seed in self._rows], self._sampling)
            ended = next(self._batch)
        completed = []
        for row, response in ended:
            key, index, _ = self._rows[row]
            self._responses[key][index] = response
            if len(self._responses[key]) == self._group_size:
                completed.append(key)
        return completed


class _Float32Head(nn.Linear):
    """Gives logits in float32, whatever its weights are in."""

    @classmethod
    def of(cls, head: nn.Linear) -> _Float32Head:
        """With the weights of ``head``, which may be tied to others, not a copy."""
        new = cls(head.in_features, head.out_features, bias=head.bias is not None, device="meta")
        new.weight, new.bias = head.weight, head.bias
        return new

    def forward(self, states: Tensor) -> Tensor:
        """[..., width] to [..., vocabulary]."""
        return project(states, self.weight, self.bias, in_float32=True)


def _uniforms(seed: int, count: int) -> Tensor:
    """The random stream of one response: a number in [0, 1) for each of its tokens."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _draw(logits: Tensor, uniforms: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor | None]:
    """Sample by inverting the distribution function: logits [N, V] and uniforms [N] to tokens [N] and their log-probs [N].

    The third is what top-k and top-p kept to choose from, [N, V] bool; None without either.
    """
    if sampling.temperature > 0:
        logits = logits / sampling.temperature
    if sampling.top_k:
        logits = _keep_most_probable(logits, sampling.top_k)
    if sampling.top_p < 1:
        logits = _keep_nucleus(logits, sampling.top_p)
    log_probs = logits.log_softmax(-1)
    if sampling.temperature > 0:
        cumulative = log_probs.double().exp().cumsum(-1)
        # Scaling by the last entry, not by 1, keeps the threshold below it whatever the rounding of the sum.
        tokens = torch.searchsorted(cumulative, uniforms[:, None] * cumulative[:, -1:], right=True).squeeze(-1)
    else:
        tokens = logits.argmax(-1)
    kept = logits > float("-inf") if sampling.top_k or sampling.top_p < 1 else None
    return tokens, log_probs.gather(-1, tokens[:, None]).squeeze(-1), kept


def _keep_most_probable(logits: Tensor, top_k: int) -> Tensor:
    """Mask all but the ``top_k`` most probable tokens, and those that are as probable as the last of them."""
    lowest = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
    return logits.masked_fill(logits < lowest, float("-inf"))


def _keep_nucleus(logits: Tensor, top_p: float) -> Tensor:
    """Mask all but the most probable tokens whose probabilities first reach ``top_p`` together."""
    ranked, order = logits.sort(dim=-1, descending=True)
    probabilities = ranked.softmax(-1)
    outside = probabilities.cumsum(-1) - probabilities >= top_p
    return logits.masked_fill(outside.scatter(-1, order, outside), float("-inf"))

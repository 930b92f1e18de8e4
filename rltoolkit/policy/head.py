"""The language-model head: log-probs and entropies of tokens, without ever holding the full logits.

    z = (states W^T + b) / temperature,   p = softmax(z)
    log_probs[t] = log p[t, target t]
    entropy[t]   = -sum over v of p[t, v] log p[t, v]

Where sampling masks are given (``sampling_mask.py``), v runs over the tokens that were kept at t, and p is 0 for all others.

With 150,000 entries in the vocabulary the logits of one micro-batch would outweigh the model. So tokens go through the head a
chunk at a time, and the backward pass computes each chunk again, all but the last one, which is still there when it begins:

    d log_probs[t] / d z[t, v] = [v = target t] - p[t, v]
    d entropy[t]   / d z[t, v] = -p[t, v] (log p[t, v] + entropy[t])
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from rltoolkit.logits import project
from rltoolkit.sampling_mask import KeptSets


def head_statistics(
    states: Tensor,
    targets: Tensor,
    head: nn.Linear,
    temperature: float,
    *,
    chunk_logits: int,
    kept: KeptSets | None = None,
    in_float32: bool = False,
) -> tuple[Tensor, Tensor]:
    """Log-probs [n] and entropies [n] of ``targets`` [n] after ``states`` [n, width]; differentiable, both of them.

    With ``kept`` the distributions are those over the n kept sets, each of which must hold its target.

    In float32 even where the states are in bfloat16, in float64 where those are; the logits themselves are then rounded to bfloat16
    unless ``in_float32``. The backward pass multiplies in the states' precision. About ``chunk_logits`` logits are held at a time.
    """
    chunk_tokens = max(1, chunk_logits // head.weight.shape[0])
    return _HeadStatistics.apply(states, head.weight, head.bias, targets, temperature, chunk_tokens, kept, in_float32)


class _HeadStatistics(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        temperature: float,
        chunk_tokens: int,
        kept: KeptSets | None,
        in_float32: bool,
    ) -> tuple[Tensor, Tensor]:
        log_probs, entropies = [], []
        chunks = states.split(chunk_tokens), targets.split(chunk_tokens)
        kept_chunks = [None] * len(chunks[0]) if kept is None else kept.split(chunk_tokens)
        for chunk, target, kept_chunk in zip(*chunks, kept_chunks, strict=True):
            log_softmax = _log_softmax(project(chunk, weight, bias, in_float32=in_float32), temperature, kept_chunk)
            log_probs.append(log_softmax.gather(-1, target.unsqueeze(-1)).squeeze(-1))
            entropies.append(-torch.einsum("nv,nv->n", log_softmax.exp(), log_softmax))
        statistics = torch.cat(log_probs), torch.cat(entropies)
        ctx.save_for_backward(states, weight, bias, targets, statistics[1])
        ctx.last = log_softmax
        ctx.temperature, ctx.chunk_tokens, ctx.kept, ctx.in_float32 = temperature, chunk_tokens, kept_chunks, in_float32
        ctx.set_materialize_grads(False)
        return statistics

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, log_probs_grad: Tensor | None, entropies_grad: Tensor | None) -> tuple[Tensor | None, ...]:
        states, weight, bias, targets, entropies = ctx.saved_tensors
        log_softmax, ctx.last = ctx.last, None  # overwritten below; a second backward pass computes it again
        states_grad = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        weight_grad = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        bias_grad = torch.zeros_like(bias) if ctx.needs_input_grad[2] else None
        # the temperature divides these [n] instead of all [n, vocabulary] of the logits' gradient
        log_probs_grad, entropies_grad = (
            None if grad is None else grad / ctx.temperature for grad in (log_probs_grad, entropies_grad)
        )
        for start in reversed(range(0, len(states), ctx.chunk_tokens)):
            part = slice(start, start + ctx.chunk_tokens)
            if log_softmax is None:
                logits = project(states[part], weight, bias, in_float32=ctx.in_float32)
                log_softmax = _log_softmax(logits, ctx.temperature, ctx.kept[start // ctx.chunk_tokens])
            logits_grad = _logits_grad(
                log_softmax,
                targets[part],
                entropies[part],
                None if log_probs_grad is None else log_probs_grad[part],
                None if entropies_grad is None else entropies_grad[part],
            )
            logits_grad = logits_grad.to(weight.dtype)
            log_softmax = None
            if states_grad is not None:
                torch.mm(logits_grad, weight, out=states_grad[part])
            if weight_grad is not None:
                weight_grad.addmm_(logits_grad.T, states[part])
            if bias_grad is not None:
                bias_grad += logits_grad.sum(0)
        return states_grad, weight_grad, bias_grad, None, None, None, None, None


def _log_softmax(logits: Tensor, temperature: float, kept: KeptSets | None) -> Tensor:
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if temperature != 1:
        logits.div_(temperature)
    if kept is not None:
        kept.restrict_(logits)
    return logits.log_softmax(-1)


def _logits_grad(
    log_softmax: Tensor, targets: Tensor, entropies: Tensor, log_probs_grad: Tensor | None, entropies_grad: Tensor | None
) -> Tensor:
    """Gradient [n, vocabulary] of the logits, in the memory of ``log_softmax`` where the entropy has none.

    The gradients that come in are already divided by the temperature.
    """
    push = 0.0 if log_probs_grad is None else -log_probs_grad.unsqueeze(-1)
    if entropies_grad is not None:
        push = push - entropies_grad.unsqueeze(-1) * (log_softmax + entropies.unsqueeze(-1))
    grad = log_softmax.exp_().mul_(push)
    if log_probs_grad is not None:
        grad.scatter_add_(-1, targets.unsqueeze(-1), log_probs_grad.unsqueeze(-1))
    return grad

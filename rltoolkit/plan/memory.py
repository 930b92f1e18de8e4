"""Memory of a trainer's rank and of its engine, in bytes.

N parameters of which M are trained, W ranks; c bytes in the compute dtype, b in the engine's. Master weights, gradients and AdamW's two
moments are float32 and sharded over the ranks (ZeRO, arXiv:1910.02054, section 5), and so are the reference of a KL penalty and a
teacher of N' parameters:

    weights 4 N / W,   gradients 4 M / W,   optimizer 8 M / W,   reference c N / W,   teacher c N' / W

Activations of T tokens in L decoder layers of width h, with n heads and m key-value heads of size d and an MLP of width I, as
transformers' Llama-like models keep them (the accounting of Korthikanti et al. 2022, arXiv:2205.05198, section 4.1, for RMSNorm, SwiGLU
and an attention that keeps no matrix of scores):

    layer = 2 (4 + 2 c) h      two norms: what comes in, in float32; the normalised; the scaled
          + c (2 n + 2 m) d    queries, keys, values, and what attention gives
          + 4 c I              gate, its SiLU, up, and their product
    activations = T (L layer + (4 + 2 c) h + 3 c I)

and where layers are computed again T (L c h + layer + (4 + 2 c) h + 3 c I); the last term are the gradients in the MLP where the
backward pass begins. The head goes over its tokens in chunks of at most 2^26 logits;
two chunks in float32 are there at a time, one in the compute dtype, and the gradient of its weights before it is added.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from rltoolkit.plan.shape import Shape
from rltoolkit.run.config import TrainerConfig

CHUNK_LOGITS = 2**26
"""of ``PolicyModel``"""


@dataclass(frozen=True, kw_only=True)
class TrainerMemory:
    """Bytes of one rank while it computes an update."""

    weights: float
    gradients: float
    optimizer: float
    reference: float
    teacher: float
    gathered: float
    activations: float
    head: float

    @property
    def resident(self) -> float:
        """What stays while the engine samples."""
        return self.weights + self.gradients + self.optimizer + self.reference + self.teacher

    @property
    def update(self) -> float:
        """All of it."""
        return float(sum(getattr(self, field.name) for field in fields(self)))


@dataclass(frozen=True, kw_only=True)
class EngineMemory:
    """Bytes of one engine."""

    weights: float
    kv_cache: float
    response: float
    """keys and values of one prompt and response of the greatest length"""
    at_once: int
    """responses of the greatest length that decode at the same time"""


def trainer_memory(shape: Shape, trainer: TrainerConfig, *, needs_reference: bool, teacher: int = 0) -> TrainerMemory:
    """Of one rank with a teacher of so many parameters, at the budget of ``trainer.micro_batch_tokens``; see above for the formulas."""
    ranks, tokens = trainer.world_size, trainer.micro_batch_tokens
    compute = 2 if trainer.compute_dtype == "bfloat16" else 4
    vocabulary = shape.vocabulary
    chunk = min(tokens, max(1, CHUNK_LOGITS // vocabulary)) * vocabulary
    return TrainerMemory(
        weights=4 * shape.parameters / ranks,
        gradients=4 * shape.trained / ranks,
        optimizer=8 * shape.trained / ranks,
        reference=compute * shape.parameters / ranks if needs_reference else 0,
        teacher=compute * teacher / ranks,
        gathered=_gathered(shape, ranks, compute),
        activations=tokens * _activations(shape, compute, recompute=trainer.recompute == "layer"),
        head=chunk * (8 + (compute if compute < 4 else 0)) + compute * vocabulary * shape.hidden,
    )


def engine_memory(shape: Shape, *, dtype_bytes: int, kv_cache: float, longest: int, max_num_seqs: int) -> EngineMemory:
    """Of one engine with ``kv_cache`` bytes for keys and values: 2 L m d b bytes a token."""
    response = 2 * shape.layers * shape.kv_heads * shape.head_size * dtype_bytes * longest
    return EngineMemory(
        weights=dtype_bytes * shape.parameters,
        kv_cache=kv_cache,
        response=response,
        at_once=min(max_num_seqs, int(kv_cache // response)),
    )


def _gathered(shape: Shape, ranks: int, compute: int) -> float:
    """Whole weights for the forward pass, in the compute dtype, and the largest gradient before it is spread over the ranks.

    A single rank in float32 needs none, a single one in bfloat16 keeps a copy of all weights through the update. Several have the parts
    outside the decoder layers and two of the layers: one that computes, one that is being gathered.
    """
    if ranks == 1:
        return 0 if compute == 4 else compute * shape.parameters
    return compute * (shape.outside + 2 * shape.layer) + (compute + 4) * max(shape.outside, shape.layer)


def _activations(shape: Shape, compute: int, *, recompute: bool) -> float:
    """Bytes a token."""
    norm = (4 + 2 * compute) * shape.hidden
    attention = compute * 2 * (shape.heads + shape.kv_heads) * shape.head_size
    layer = 2 * norm + attention + 4 * compute * shape.intermediate
    kept = shape.layers * compute * shape.hidden + layer if recompute else shape.layers * layer
    return kept + norm + 3 * compute * shape.intermediate

"""PolicyLoss: the objective's components as a loss module of torchrl, in place of its ``GRPOLoss``.

    loss_objective = sum over tokens of weight * rho * clip_loss
    loss_kl_to_ref = sum over tokens of weight * beta * KL
    loss_entropy   = -sum over tokens of weight * c * entropy

The three add up to ``PolicyObjective``; torchrl's loops add up whatever begins with ``loss_``. Only this module and
``rltoolkit.training`` import torchrl, so a component by itself needs nothing but torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from tensordict import NestedKey, TensorDictBase
from torch import Tensor, nn
from torchrl.objectives import LossModule
from torchrl.objectives.llm import LLMLossOutput

from rltoolkit.clip_strategy import ClipHigher, ClipStrategy, StepClipStrategy
from rltoolkit.importance_correction import ImportanceCorrection, NoCorrection
from rltoolkit.kl_penalty import KLPenalty, NoPenalty
from rltoolkit.loss_aggregator import LossAggregator, TokenMean, Totals
from rltoolkit.objective import PolicyObjective

MaskingStrategy = Literal["sft", "rlhf", "generic"]

_DAPO = PolicyObjective(
    clip_strategy=ClipHigher(),
    loss_aggregator=TokenMean(),
    kl_penalty=NoPenalty(),
    importance_correction=NoCorrection(),
)


class PolicyLossOutput(LLMLossOutput):
    """Scalars. The losses carry the gradient; of the others, all means run over the trained tokens.

    ``clip_fraction``: tokens whose gradient the clip removes. ``kl_approx``: k3 of KL(old || new). ``ESS``: effective sample
    size of the ratios, as a fraction of the tokens. ``entropy`` in nats. ``kl_to_ref``: the KL penalty without its
    coefficient. ``kl_to_inference`` and its loss stay None: no component computes them.
    """


class _Scores(NamedTuple):
    """What the actor says of the tokens, all [N, T]."""

    log_probs: Tensor
    entropy: Tensor | None
    mask: Tensor | None


class PolicyLoss(LossModule):
    """A torchrl loss over tensordict keys, made of rltoolkit's components; the defaults are DAPO's.

    Use it wherever torchrl's loops use ``GRPOLoss``::

        loss_fn = PolicyLoss(actor, clip_strategy=DualClip(), loss_aggregator=PromptTokenMean(), kl_penalty=K3())
        loss_fn.set_keys(group_index="query")
        for batch in replay_buffer:
            loss = loss_fn(batch)
            loss.mean(reduce=True).backward()
            optimizer.step()
            optimizer.zero_grad()

    One batch counts as one whole optimizer step: aggregators weigh the tokens against all of its tokens, and clip
    strategies of scope "step" (``ClipCov``, ``KLCov``) select among all of them. A loop that accumulates gradients over k
    batches therefore averages k means, as with ``GRPOLoss``. ``mean(reduce=True)`` is torchrl's mean over all entries, the
    logged ones too, so it divides the gradient by their number. The entries are those of ``GRPOLoss``, so learning rates
    carry over.

    Args:
        actor_network: a torchrl LLM wrapper made with ``generate=False``, or another module with ``get_dist``, whose
            distribution is over the tokens at ``action``; or, without ``get_dist``, a tensordict module whose forward writes
            ``log_probs`` and, where it can, ``entropy`` (``PolicyModel`` in a ``TensorDictModule`` never holds all logits).
        clip_strategy: any of ``rltoolkit.clip_strategy``.
        loss_aggregator: any of ``rltoolkit.loss_aggregator``.
        kl_penalty: any of ``rltoolkit.kl_penalty``; K1, K2 and K3 read ``ref_log_probs``.
        importance_correction: any of ``rltoolkit.importance_correction``; all but ``NoCorrection`` read ``old_log_probs``.
        entropy_coefficient: c above.
        masking_strategy: which tokens of an LLM wrapper train: "sft" the response, "rlhf" what the assistant said in any
            turn, "generic" all but padding.

    Keys, which ``set_keys`` renames. Rows of different lengths (lists, lazy stacks) are padded on the left, as torchrl's
    wrappers do; a trailing dimension of 1 is dropped.

        action            ("tokens", "full"): [N, T] int64; not read where the actor's forward writes log-probs
        advantage         "advantage": [N], [N, 1] or [N, T]
        sample_log_prob   ("log_probs", "full"): [N, T] of the policy that sampled; where it is not finite (wrappers mark
                          prompts with nan) the token does not train
        old_log_probs     ("old_log_probs", "full"): [N, T] of the trainer's policy before the update, as a wrapper with
                          ``log_probs_key="old_log_probs"`` writes; if the batch has none, sample_log_prob takes its place
        ref_log_probs     ("next", "ref_log_probs", "full"): [N, T] of the reference
        group_index       "group_index": [N] int64 or text, the same for all responses to one prompt; torchrl's environments
                          write it as "query". ``PromptTokenMean`` needs it, nothing else reads it
        log_probs         "current_log_probs": [N, T], where an actor without ``get_dist`` writes
        entropy           "entropy": likewise, in nats

    ``loss_mask_key``, which every ``LossModule`` has, names a mask [N, T] or [N] that leaves tokens out, for instance an
    overlong filter's. An actor whose distribution has no mask needs it.

    Raises:
        ValueError: a key is missing from the batch or has the wrong shape; the message names it.
    """

    output_type: type[LLMLossOutput] = PolicyLossOutput

    @dataclass
    class _AcceptedKeys(LossModule._AcceptedKeys):
        advantage: NestedKey = "advantage"
        action: NestedKey = ("tokens", "full")
        sample_log_prob: NestedKey = ("log_probs", "full")
        old_log_probs: NestedKey = ("old_log_probs", "full")
        ref_log_probs: NestedKey = ("next", "ref_log_probs", "full")
        group_index: NestedKey = "group_index"
        log_probs: NestedKey = "current_log_probs"
        entropy: NestedKey = "entropy"

    def __init__(
        self,
        actor_network: nn.Module,
        *,
        clip_strategy: ClipStrategy | StepClipStrategy = _DAPO.clip_strategy,
        loss_aggregator: LossAggregator = _DAPO.loss_aggregator,
        kl_penalty: KLPenalty = _DAPO.kl_penalty,
        importance_correction: ImportanceCorrection = _DAPO.importance_correction,
        entropy_coefficient: float = _DAPO.entropy_coefficient,
        masking_strategy: MaskingStrategy = "sft",
    ) -> None:
        super().__init__()
        if masking_strategy not in get_args(MaskingStrategy):
            raise ValueError(f"masking_strategy={masking_strategy!r}: must be one of {', '.join(get_args(MaskingStrategy))}")
        self.actor_network: Any = actor_network
        self.kl_penalty = kl_penalty
        self.entropy_coefficient = entropy_coefficient
        self.masking_strategy = masking_strategy
        # KL and entropy are losses of their own, as GRPOLoss reports them
        self.surrogate = PolicyObjective(
            clip_strategy=clip_strategy,
            loss_aggregator=loss_aggregator,
            kl_penalty=NoPenalty(),
            importance_correction=importance_correction,
        )

    @property
    def in_keys(self) -> list[NestedKey]:
        """What a batch has to hold."""
        needed = [self.tensor_keys.sample_log_prob, self.tensor_keys.advantage]
        if self._has_distribution:
            needed.append(self.tensor_keys.action)
        if self.kl_penalty.reference == "model":
            needed.append(self.tensor_keys.ref_log_probs)
        if self._needs_old_log_probs:
            needed.append(self.tensor_keys.old_log_probs)
        return list(dict.fromkeys([*self.actor_network.in_keys, *needed]))

    @property
    def out_keys(self) -> list[NestedKey]:
        """The entries of the output that are not None."""
        keys: list[NestedKey] = ["loss_objective", "clip_fraction", "kl_approx", "ESS"]
        if self._has_distribution or self.tensor_keys.entropy in self.actor_network.out_keys:
            keys += ["entropy", "loss_entropy"]
        if self.kl_penalty.reference is not None:
            keys += ["loss_kl_to_ref", "kl_to_ref"]
        return keys

    def forward(self, tensordict: TensorDictBase) -> LLMLossOutput:
        """The losses and metrics of a batch of N rows, which count as a whole optimizer step."""
        if tensordict.batch_dims != 1:
            raise ValueError(f"PolicyLoss: the batch has batch_size {list(tensordict.batch_size)}, expected [N]; see reshape(-1)")
        tensordict = tensordict.copy()  # actors write into what they are given
        scores = self._score(tensordict)
        log_probs = scores.log_probs
        rollout_log_probs = self._per_token(tensordict, "sample_log_prob", log_probs)
        mask = self._mask(tensordict, scores) & rollout_log_probs.isfinite()
        old_log_probs = rollout_log_probs
        if self._needs_old_log_probs or self.tensor_keys.old_log_probs in tensordict:
            old_log_probs = self._per_token(tensordict, "old_log_probs", log_probs)
        weights = self.surrogate.loss_aggregator.weights(mask, Totals.of(mask, self._group_index(tensordict, mask)))
        loss, sums, *_ = self.surrogate(
            log_probs=log_probs,
            old_log_probs=old_log_probs,
            advantages=self._advantages(tensordict, log_probs),
            mask=mask,
            weights=weights,
            rollout_log_probs=rollout_log_probs,
        )

        def weighted(values: Tensor) -> Tensor:
            return (weights.to(values.dtype) * values).sum()

        def mean(total: Tensor) -> Tensor:
            return (total.detach() / mask.sum().clamp(min=1)).to(log_probs.dtype)

        entries = {
            "loss_objective": loss,
            "clip_fraction": mean(sums["clipped_low"] + sums["clipped_high"]),
            "kl_approx": mean(sums["kl_old"]),
            "ESS": mean(_effective_sample_size(log_probs - old_log_probs, mask)),
        }
        if scores.entropy is not None:
            entropy = torch.where(mask, scores.entropy, 0.0)
            entries |= {"entropy": mean(entropy.sum()), "loss_entropy": -self.entropy_coefficient * weighted(entropy)}
        if self.kl_penalty.reference is not None:
            source = "ref_log_probs" if self.kl_penalty.reference == "model" else "sample_log_prob"
            reference_log_probs = self._per_token(tensordict, source, log_probs)
            kl = self.kl_penalty(torch.where(mask, log_probs, 0.0), torch.where(mask, reference_log_probs, 0.0))
            entries |= {"kl_to_ref": mean(kl.sum()), "loss_kl_to_ref": self.kl_penalty.coefficient * weighted(kl)}
        return self.output_type(**entries)

    # --- what the actor says -------------------------------------------------------------------------------------------

    @property
    def _has_distribution(self) -> bool:
        return hasattr(self.actor_network, "get_dist")

    def _score(self, tensordict: TensorDictBase) -> _Scores:
        if self._has_distribution:
            return self._score_by_distribution(tensordict)
        self.actor_network(tensordict)
        log_probs = self._read(tensordict, "log_probs")
        entropy = tensordict.get(self.tensor_keys.entropy, None)
        if self.entropy_coefficient and entropy is None:
            raise ValueError(
                f"entropy_coefficient={self.entropy_coefficient} needs entropy: the actor writes no "
                f"{self.tensor_keys.entropy!r}; set_keys(entropy=...) names another key"
            )
        if entropy is not None and not self.entropy_coefficient:
            entropy = entropy.detach()  # its backward pass would cost and teach nothing
        return _Scores(log_probs, entropy, mask=None)

    def _score_by_distribution(self, tensordict: TensorDictBase) -> _Scores:
        # LLM wrappers have one way to a distribution for each masking strategy, other modules a single one
        get_dist = getattr(self.actor_network, f"_get_{self.masking_strategy}_dist", self.actor_network.get_dist)
        dist = get_dist(tensordict)
        log_probs = dist.log_prob(self._read(tensordict, "action", padding_value=-100))
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.entropy_coefficient != 0):
            entropy = dist.entropy()
        mask = getattr(dist, "mask", None)
        by_token = mask is not None and mask.shape == log_probs.shape  # others mask entries of the vocabulary
        return _Scores(log_probs, entropy, mask if by_token else None)

    # --- what the batch says -------------------------------------------------------------------------------------------

    @property
    def _needs_old_log_probs(self) -> bool:
        return not isinstance(self.surrogate.importance_correction, NoCorrection)

    def _read(self, tensordict: TensorDictBase, name: str, padding_value: float = 0.0) -> Tensor:
        key = getattr(self.tensor_keys, name)
        values = _padded(tensordict, key, padding_value)
        if values is None:
            raise ValueError(f"PolicyLoss: {name} is missing, there is no {key!r}; set_keys({name}=...) names another key")
        return values.squeeze(-1) if values.ndim == 3 else values

    def _per_token(self, tensordict: TensorDictBase, name: str, log_probs: Tensor) -> Tensor:
        values = self._read(tensordict, name)
        if values.shape != log_probs.shape:
            raise ValueError(
                f"PolicyLoss: {name} {getattr(self.tensor_keys, name)!r} has shape {list(values.shape)}, expected "
                f"{list(log_probs.shape)}, as the actor's log-probs have; a masking strategy other than "
                f"{self.masking_strategy!r} may have written it"
            )
        return values.detach()

    def _advantages(self, tensordict: TensorDictBase, log_probs: Tensor) -> Tensor:
        advantages = self._read(tensordict, "advantage")
        if advantages.ndim == 1:
            advantages = advantages.unsqueeze(-1)
        if advantages.shape not in (log_probs.shape, (len(log_probs), 1)):
            raise ValueError(
                f"PolicyLoss: advantage {self.tensor_keys.advantage!r} has shape {list(advantages.shape)}, expected "
                f"{[len(log_probs), 1]} or {list(log_probs.shape)}"
            )
        return advantages.expand_as(log_probs)

    def _mask(self, tensordict: TensorDictBase, scores: _Scores) -> Tensor:
        """[N, T] bool: the tokens that the distribution's mask holds, without those that ``loss_mask_key`` leaves out."""
        mask = scores.mask
        for key in self._loss_mask_keys():
            kept = _padded(tensordict, key, padding_value=0)
            if kept is not None:
                kept = self._expand_loss_mask(kept.bool(), scores.log_probs)
                mask = kept if mask is None else mask & kept
        if mask is None:
            raise ValueError(
                f"PolicyLoss: no mask says which tokens train: loss_mask_key={self.loss_mask_key!r} finds none in the batch, "
                "and the actor brings none"
            )
        return mask

    def _group_index(self, tensordict: TensorDictBase, mask: Tensor) -> Tensor | None:
        groups = tensordict.get(self.tensor_keys.group_index, None)
        if groups is None:
            return None
        if not isinstance(groups, Tensor):
            texts = groups.tolist()
            number = {text: index for index, text in enumerate(texts)}
            groups = torch.tensor([number[text] for text in texts])
        if groups.numel() != len(mask):
            raise ValueError(
                f"PolicyLoss: group_index {self.tensor_keys.group_index!r} has shape {list(groups.shape)}, expected [{len(mask)}]"
            )
        return groups.flatten().to(mask.device)


def _padded(tensordict: TensorDictBase, key: NestedKey, padding_value: float) -> Tensor | None:
    """An entry as one tensor [N, ...], rows of different lengths padded on the left; None where there is none."""
    first_row = tensordict[:1].get(key, None)
    if first_row is None or first_row.ndim == 1:  # tensordict pads sequences, and fails on a scalar for each row
        return tensordict.get(key, None)
    return tensordict.get(key, None, as_padded_tensor=True, padding_side="left", padding_value=padding_value)


def _effective_sample_size(log_ratio: Tensor, mask: Tensor) -> Tensor:
    """(sum r)^2 / sum r^2 over the trained tokens [N, T]: their number where all ratios are equal, 0 without tokens."""
    ratio = torch.where(mask, log_ratio.detach().double(), -torch.inf).exp()
    return ratio.sum().square() / ratio.square().sum().clamp(min=torch.finfo(torch.float64).tiny)
